"""An encoder trained on every catalogue: MiniLM distilled from EASE's columns, and the map of cold items from
its vectors against the same map from MiniLM as it is.

Trained and evaluated on the first draw of cold items. Both maps are tuned with the same points on the same
validation part, which also ends training, and may keep the weights from before it. Both encoders read the
same texts, ``protocol.beginnings``. The budget below was fixed before any run, and is the same for every
catalogue.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from recsys_lib.data.datasets import Dataset
from recsys_lib.evaluation import tuning
from recsys_lib.experiments.catalogues import protocol
from recsys_lib.experiments.catalogues.evaluated_methods import TRIALS
from recsys_lib.experiments.own_catalogue.compare_methods import cold_splits
from recsys_lib.experiments.reranking.reranking_study import paired
from recsys_lib.experiments.study.item_texts import encode
from recsys_lib.experiments.training import trained_quality, variants
from recsys_lib.experiments.training.variants import Budget, Trained, Variant

# About one minute of one core a catalogue. Validation looks before training and at its end.
BUDGET = Budget(tokens=40_000, looks=1)
VARIANT = Variant()
USES = ("map", "alone")


def measure(name: str) -> dict[str, Any]:
    """The two encoders on a catalogue of ``protocol.CATALOGUES``; a run that was killed goes on."""
    state = variants.state_folder(f"catalogues {name}")
    found = measure_data(protocol.catalogue(name), state=state)
    shutil.rmtree(state, ignore_errors=True)
    return found


def measure_data(
    data: Dataset, variant: Variant = VARIANT, budget: Budget = BUDGET, trials: int = TRIALS,
    state: Path | None = None,
) -> dict[str, Any]:  # fmt: skip
    """As ``measure``, for any data set.

    "frozen" and "trained" hold the metrics of ``trained_quality.metrics_of`` of the encoder before and after,
    "gains" the paired difference of their NDCG by use: the tuned map, and the cosine with the profile alone.
    """
    texts = protocol.beginnings(data)
    seed, part = cold_splits(data, 1)[0]
    task = tuning.cold_task(part, seed)
    raw = encode(data, variant.encoder, texts)
    frozen = trained_quality.cold_outcomes(raw, task, seed, trials, False)
    done = variants.train_variant(texts, task, variant, seed, state, budget=budget, vectors=raw)
    trained = trained_quality.cold_outcomes(done.vectors, task, seed, trials, False)
    return {
        "frozen": trained_quality.metrics_of(frozen),
        "trained": trained_quality.metrics_of(trained),
        "gains": {use: paired(trained[use].test, frozen[use].test) for use in USES},
        "budget": {"tokens": budget.tokens, "looks": budget.looks, "words": protocol.FIRST_WORDS},
        "course": _course(done),
    }


def _course(done: Trained) -> dict[str, Any]:
    """How training went, and the step whose weights were kept, 0 for those from before it."""
    assert done.progress.best is not None
    return done.course() | {"steps": len(done.progress.losses), "kept": done.progress.best[0]}
