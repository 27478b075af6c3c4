"""Where the time and the memory of a training step go, beside estimates and what the machine can do."""

from __future__ import annotations

import gc
import time
from typing import Any

import numpy as np

from recsys_lib.cost import architectures, sizing
from recsys_lib.evaluation.protocols import dataset_of, split_of
from recsys_lib.llm.finetune import memory_estimate
from recsys_lib.llm.finetune.batches import ItemBlocks
from recsys_lib.llm.finetune.objectives import Contrastive
from recsys_lib.llm.finetune.text_model import GROUP, TextModel
from recsys_lib.llm.finetune.trainer import Settings, Trainer

FILMS = "ml-100k random"
# What is trained, texts a step, texts a pass, and whether activations are computed again.
CASES = {
    "all weights": ("full", 64, 64, False),
    "all layers": ("layers", 128, 128, False),
    "all layers, 32 texts a pass": ("layers", 128, 32, False),
    "all layers, activations again": ("layers", 128, 128, True),
    "last 2 layers": ("last 2", 128, 128, False),
    "LoRA": ("lora", 128, 128, False),
}


def trainer_of(case: str, encoder: str = "minilm") -> Trainer:
    """A trainer of one case on the films, by contrast within blocks of items."""
    trained, block, per_pass, again = CASES[case]
    model = TextModel(encoder, dataset_of(FILMS).item_texts(), trained, checkpointing=again)
    batches = ItemBlocks(split_of(FILMS).train, block)
    settings = Settings(steps=100, texts_per_pass=per_pass)
    return Trainer(model, batches, Contrastive(model.dimension), settings)


def times(steps: int = 3) -> dict[str, Any]:
    """Core seconds of each phase of a step, tokens a second and the fraction of the roofline, for every case.

    The time is that of the processor for this process, on one thread: what other programs take does not
    count. The operations are those of the texts' own tokens, forward once and backward once for every
    activation and every trained weight; computing activations again and a second forward pass count as
    overhead.
    """
    peak = _peak()
    return {"peak_flops": peak, "cases": {case: _times_of(case, steps, peak) for case in CASES}}


def _peak(n: int = 1024, repeats: int = 12) -> float:
    """Operations a core second of float32 matrix products, the best of several."""
    import torch

    a, b = torch.rand(n, n), torch.rand(n, n)
    best = 0.0
    for _ in range(repeats):
        start = time.process_time()
        a @ b
        best = max(best, 2 * n**3 / (time.process_time() - start))
    return best


def _times_of(case: str, steps: int, peak: float) -> dict[str, Any]:
    trainer = trainer_of(case)
    trainer.step()  # the first allocates
    trainer.clock = time.process_time
    samples = []
    for _ in range(steps):
        trainer.phases = dict.fromkeys(trainer.phases, 0.0)
        trainer.step()
        samples.append(dict(trainer.phases))
    phases = {name: float(np.median([s[name] for s in samples])) for name in samples[0]}
    lengths = [
        [len(trainer.model.tokens[i][0]) for i in trainer.batches.batch(step).items]
        for step in range(1, steps + 1)
    ]
    tokens = float(np.mean([sum(row) for row in lengths]))
    operations = float(np.mean([_operations(case, row) for row in lengths]))
    seconds = sum(phases.values())
    start = time.process_time()
    trainer.model.source.tokenize(trainer.model.texts)
    tokenizing = (time.process_time() - start) / len(trainer.model.texts)
    return {
        "phases_s": phases, "samples": samples, "tokens": tokens, "texts": CASES[case][1],
        "tokens_per_s": tokens / seconds, "operations": operations,
        "fraction_of_peak": operations / seconds / peak,
        "padding": float(np.mean([_padding(row) for row in lengths])),
        "tokenizing_s_per_text": tokenizing,
    }  # fmt: skip


def _operations(case: str, lengths: list[int], encoder: str = "minilm") -> float:
    """Operations that a step needs: forward, gradients of activations, gradients of trained weights."""
    model = architectures.architecture(encoder)
    forward = float(sum(sizing.encode_flops(model, n) for n in lengths))
    layers = sum(attention.layers for attention in model.attention)
    trained = CASES[case][0]
    if trained.startswith("last "):
        kept = int(trained[5:]) / layers
        return forward * (1 + 2 * kept)
    return forward * (2 if trained == "lora" else 3)


def _padding(lengths: list[int]) -> float:
    """The fraction of the padded tokens that is padding."""
    ordered = sorted(lengths)
    groups = [ordered[i : i + GROUP] for i in range(0, len(ordered), GROUP)]
    padded = sum(len(group) * group[-1] for group in groups)
    return 1 - sum(lengths) / padded


def memories() -> dict[str, Any]:
    """The estimate of every case by part, and the measured peak of two steps."""
    found = {}
    for case in CASES:
        trainer = trainer_of(case)
        estimate = memory_estimate.estimate(trainer)
        measured = memory_estimate.measured(trainer)
        found[case] = {
            "parts": {name: float(value) for name, value in vars(estimate).items()},
            "estimated": estimate.added, "measured": measured, "ratio": estimate.added / measured,
        }  # fmt: skip
        del trainer
        gc.collect()
    return {"cases": found}
