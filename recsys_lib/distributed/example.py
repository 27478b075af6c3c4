"""One small training job that notebook, study and tests divide among workers: an encoder of films, trained on
who watched what.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from recsys_lib.data import datasets
from recsys_lib.distributed.train_on_cluster import Group
from recsys_lib.llm.finetune.batches import ItemBlocks
from recsys_lib.llm.finetune.objectives import Contrastive
from recsys_lib.llm.finetune.text_model import TextModel
from recsys_lib.llm.finetune.trainer import Settings, Trainer
from recsys_lib.llm.finetune.workers import Alone, Workers


@dataclass(frozen=True)
class Example:
    """``steps`` over ``batch`` film titles each, ``per_pass`` at once; ``trained`` as in ``TextModel``."""

    encoder: str = "minilm"
    trained: str = "full"
    batch: int = 64
    per_pass: int = 16
    steps: int = 4
    seed: int = 0

    def trainer(self, workers: Workers | None = None) -> Trainer:
        """The same trainer for any workers."""
        films = datasets.load("ml-100k")
        model = TextModel(self.encoder, films.item_texts(), self.trained)
        settings = Settings(steps=self.steps, texts_per_pass=self.per_pass, warmup=1, seed=self.seed)
        blocks = ItemBlocks(films.matrix(), self.batch, seed=self.seed)
        return Trainer(model, blocks, Contrastive(model.dimension, seed=self.seed), settings, workers)


def steps(example: Example, alone: bool = False) -> dict[str, Any]:
    """Losses, seconds and processor seconds of each step in this process, phases of all, and what was sent.

    It is one of the default group of ``torch.distributed`` (``processes.run``), or ``alone``.
    """
    workers: Any = Alone() if alone else Group()
    trainer = example.trainer(workers)
    seconds, processor = [], []
    for _ in range(example.steps):
        start, used = time.perf_counter(), time.process_time()
        trainer.step()
        seconds.append(time.perf_counter() - start)
        processor.append(time.process_time() - used)
    return {
        "losses": trainer.progress.losses,
        "step_s": seconds,
        "processor_s": processor,
        "phases": trainer.phases,
        "parameters": sum(p.numel() for p in trainer.trained.values()),
        "sent_bytes": 0.0 if alone else workers.sent_bytes / example.steps,
        "gathered_bytes": 0.0 if alone else workers.gathered / example.steps,
        "added_bytes": 0.0 if alone else workers.added / example.steps,
    }
