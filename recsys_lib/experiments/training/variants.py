"""An encoder trained on a task of ``evaluation.tuning``: what is trained, on which loss, and how long.

Training reads the task's training part only; validation interactions decide when it ends.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recsys_lib import evaluation, recommenders
from recsys_lib.core import paths
from recsys_lib.core.errors import InputError
from recsys_lib.evaluation.tuning import Task
from recsys_lib.llm.finetune import memory_estimate
from recsys_lib.llm.finetune.batches import ItemBlocks
from recsys_lib.llm.finetune.objectives import Contrastive, EASEColumns, Objective, Sum
from recsys_lib.llm.finetune.text_model import TextModel
from recsys_lib.llm.finetune.trainer import Progress, Settings, Trainer
from recsys_lib.vectors import geometry

OBJECTIVES = ("contrastive", "distilled", "both")
# The map whose validation NDCG ends training, the same for every variant. Those that are compared are tuned.
EASE_LAMBDA, MAP_LAMBDA = 400.0, 8.0


@dataclass(frozen=True)
class Variant:
    """``objective``: "contrastive" (items of the step against each other), "distilled" (EASE's columns) or
    "both". ``block``: items a step; ``epochs``: at most. The others as in ``TextModel`` and ``Settings``.
    """

    objective: str = "distilled"
    trained: str = "layers"
    learning_rate: float = 1e-4
    block: int = 64
    epochs: int = 8
    rank: int = 8
    encoder: str = "minilm"
    max_pairs: int = 4096

    def __post_init__(self) -> None:
        if self.objective not in OBJECTIVES:
            raise InputError(f"objective={self.objective!r}: expected one of {', '.join(OBJECTIVES)}")


@dataclass(frozen=True)
class Budget:
    """Training that reads at most so many ``tokens``, beside the epochs of its variant, and is validated
    before it begins and ``looks`` times, at equal distances, the last at its end. There is at least one step
    between two looks, however few the tokens.

    Raises:
        InputError: no token or no look.
    """

    tokens: int
    looks: int

    def __post_init__(self) -> None:
        if self.tokens < 1 or self.looks < 1:
            raise InputError(f"tokens={self.tokens!r}, looks={self.looks!r}: expected at least 1")

    def steps(self, model: TextModel, batches: ItemBlocks, most: int) -> tuple[int, int]:
        """Steps that fit, at most ``most``, a multiple of the steps between two looks; and these."""
        read = np.cumsum([model.n_tokens(batches.batch(step).items) for step in range(most)])
        between = max(1, int(np.searchsorted(read, self.tokens, side="right")) // self.looks)
        return between * self.looks, between


@dataclass(frozen=True, eq=False)
class Trained:
    """What came of a variant: item vectors ``[n_items, d]``, the course, the model, seconds of its steps."""

    vectors: np.ndarray
    progress: Progress
    model: TextModel
    seconds: float
    tokens: int
    phases: dict[str, float]

    def course(self) -> dict[str, Any]:
        """How training went, for a record: loss of every step, validations, core seconds, tokens read."""
        return {
            "losses": [round(loss, 5) for loss in self.progress.losses],
            "validated": self.progress.validated,
            "core_seconds": self.seconds,
            "tokens": self.tokens,
        }


def objective_of(
    variant: Variant, model: TextModel, task: Task, seed: int, start: np.ndarray | None = None
) -> Objective:
    """The loss of a variant on a task's training part; ``start``: as ``vectors`` of ``train_variant``."""
    contrast = Contrastive(model.dimension, temperature=0.1, seed=seed)
    if variant.objective == "contrastive":
        return contrast
    start = model.encode() if start is None else start
    columns = EASEColumns(task.train, start, EASE_LAMBDA, MAP_LAMBDA)
    return columns if variant.objective == "distilled" else Sum([(1.0, columns), (0.1, contrast)])


def centred(vectors: np.ndarray, train) -> np.ndarray:
    """Vectors less the mean of the items with interactions."""
    known = np.asarray(train.sum(axis=0)).ravel() > 0
    return geometry.centre(vectors[known]).apply(vectors)


def validation_value(task: Task, k: int = 10) -> Callable[[np.ndarray], float]:
    """NDCG@k on the task's validation part of an EASE map from given vectors, all else fixed."""
    columns = np.asarray(recommenders.EASE(EASE_LAMBDA).fit(task.train).weights)

    def value(vectors: np.ndarray) -> float:
        own = centred(vectors, task.train)
        model = recommenders.EASEMap(own, MAP_LAMBDA, EASE_LAMBDA, columns=columns).fit(task.train)
        return evaluation.evaluate(model, task.train, task.validation, k, task.candidates).mean()["ndcg"]

    return value


def train_variant(
    texts: list[str], task: Task, variant: Variant, seed: int = 0, state: Path | None = None,
    report: Callable[[Trainer], None] | None = None, budget: Budget | None = None,
    vectors: np.ndarray | None = None,
) -> Trained:  # fmt: skip
    """Train the encoder on ``task.train``; validation once an epoch, or as often as a ``budget`` says, and
    the weights of the best one are kept, which may be those before training.

    state: folder in which a run that was killed goes on; the caller removes it when the result is kept.
    vectors: those of the texts by the encoder as it is, where they are known; else they are made.

    Raises:
        InputError: a step needs more memory than there is, or the state is of another run.
    """
    model = TextModel(variant.encoder, texts, variant.trained, variant.rank, seed=seed)
    batches = ItemBlocks(task.train, variant.block, variant.max_pairs, seed)
    steps, every = variant.epochs * batches.per_epoch, batches.per_epoch
    if budget is not None:
        steps, every = budget.steps(model, batches, steps)
    settings = Settings(steps=steps, learning_rate=variant.learning_rate, warmup=10, seed=seed)
    trainer = Trainer(model, batches, objective_of(variant, model, task, seed, vectors), settings)
    memory_estimate.check_fits(trainer)
    validate, best = _remembering(validation_value(task))
    start = time.process_time()
    progress = trainer.fit(validate, every, 3, state, report)
    seconds = time.process_time() - start
    tokens = sum(model.n_tokens(batches.batch(step).items) for step in range(trainer.step_number))
    # A run that went on from a state may have validated its best before that.
    assert progress.best is not None
    found = best[1] if best and best[0] == progress.best[1] else model.encode()
    return Trained(found, progress, model, seconds, tokens, dict(trainer.phases))


def _remembering(value: Callable[[np.ndarray], float]) -> tuple[Callable[[np.ndarray], float], list[Any]]:
    """``value``, and the best value so far with its vectors: to encode a catalogue once more takes long."""
    best: list[Any] = []

    def remembered(vectors: np.ndarray) -> float:
        found = value(vectors)
        if not best or found > best[0]:
            best[:] = [found, vectors]
        return found

    return remembered, best


def state_folder(name: str) -> Path:
    """Where a recorded study keeps the state of a run that is not finished."""
    return paths.cache_dir() / "training" / name.replace(" ", "-")
