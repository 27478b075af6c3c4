"""An encoder trained on a user's own catalogue, and what that gained on items held out for it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from recsys_lib.core.files import check_folder
from recsys_lib.data.datasets import Dataset
from recsys_lib.evaluation import splits
from recsys_lib.evaluation.tuning import Task
from recsys_lib.experiments.training.variants import Trained, Variant, train_variant
from recsys_lib.llm.finetune.trainer import Trainer

# Of the items with interactions, made cold to decide when training ends.
HELD_OUT = 0.2


@dataclass(frozen=True, eq=False)
class Tuned:
    """A trained encoder in ``folder``. before, after: NDCG@10 on the held-out items by a map from its
    vectors, with the encoder as it was and as it became; the second is the best of ``validations``, so a
    little high. truncated: the fraction of the texts that is longer than the encoder reads.
    """

    folder: Path
    before: float
    after: float
    validations: int
    steps: int
    truncated: float
    trained: Trained


def fine_tune(
    data: Dataset,
    folder: Path,
    variant: Variant,
    seed: int = 0,
    report: Callable[[Trainer], None] | None = None,
) -> Tuned:
    """Train ``variant.encoder`` on the interactions of ``data`` and save it as a sentence-transformers
    folder.

    The state of the run lies beside the folder, ``.NAME.state``, until it is done: a run that was killed
    goes on when it is started again.

    Raises:
        InputError: too few items or users, a folder with other files, too little memory, another run's state.
    """
    folder = folder.expanduser().absolute()
    check_folder(folder, "modules.json")
    split = splits.cold_item_split(data, HELD_OUT, seed)
    task = Task(split.train, split.test, split.train, split.test, candidates=split.cold_items)
    state = folder.with_name(f".{folder.name}.state")
    texts = data.item_texts()
    done = train_variant(texts, task, variant, seed, state, report)
    done.model.save(folder)
    shutil.rmtree(state, ignore_errors=True)
    progress = done.progress
    assert progress.best is not None
    before, after = progress.validated[0][1], progress.best[1]
    cut = done.model.source.truncated(texts)
    return Tuned(folder, before, after, len(progress.validated), progress.best[0], cut, done)
