"""What a reason reveals about other people, and minimum support as a defence.

"Because you watched A" beside item B says that somebody has both. Where a single other person has A, who
reads the reason and knows that person learns that they have B.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from recsys_lib.core.errors import InputError
from recsys_lib.recommenders import EASE, SLIM, BaseRecommender, ItemKNN, TextEASE

COUNTED = (EASE, ItemKNN, SLIM, TextEASE)


def supporters(train: sp.csr_matrix, items: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """How many users have both ``items[i]`` and ``targets[i]``, int ``[n]``."""
    if len(items) != len(targets):
        raise InputError(f"{len(items)} items and {len(targets)} targets: expected as many")
    columns = (train != 0).astype(np.int64).tocsc()
    both = columns[:, items].multiply(columns[:, targets]) if len(items) else None
    return np.zeros(0, dtype=np.int64) if both is None else np.asarray(both.sum(axis=0)).ravel().astype(np.int64)


@dataclass(frozen=True)
class Revealed:
    """What reasons give away: of ``reasons`` shown, how many rest on ``least`` supporters or fewer, and how
    sure a guess is.

    precision: how often an attacker is right who knows one of the people who have the reason's item, and
    concludes from the reason that this person has the recommended item. baseline: the same guess without the
    reason: how often the holders of the reason's item have an item as popular as the recommended one.
    """

    reasons: int
    few: int
    precision: float
    baseline: float


def revealed(
    train: sp.csr_matrix, user: np.ndarray, items: np.ndarray, targets: np.ndarray, least: int = 1
) -> Revealed:
    """Of reasons ``items[i]`` for ``targets[i]`` shown to ``user[i]``, those that rest on 1 to ``least``
    supporters.

    ``train`` holds everybody, the reader of the reason too, who has the item and not the target. The attacker
    picks one of the other holders of the item.
    """
    if least < 1:
        raise InputError(f"least={least!r}: expected at least 1")
    both = supporters(train, items, targets)
    counts = np.asarray((train != 0).sum(axis=0)).ravel()
    # Whoever reads the reason holds its item and is not who is guessed about.
    holders = np.maximum(counts[items] - 1, 0)
    few = (both > 0) & (both <= least) & (holders > 0)
    if not few.any():
        return Revealed(len(items), 0, 0.0, 0.0)
    precision = both[few] / holders[few]
    baseline = counts[targets[few]] / train.shape[0]
    return Revealed(len(items), int(few.sum()), float(precision.mean()), float(baseline.mean()))


def with_minimum_support(model: BaseRecommender, train: sp.csr_matrix, least: int) -> BaseRecommender:
    """A copy of a fitted model without the weights between items that fewer than ``least`` users have both
    of.

    Neither a list nor a reason then rests on fewer people.

    Raises:
        InputError: a model without weights between items, or of other items; ``least`` below 1.
    """
    if not isinstance(model, COUNTED) or model.n_items != train.shape[1]:
        expected = ", ".join(kind.__name__ for kind in COUNTED)
        raise InputError(
            f"{type(model).__name__} of {model.n_items} items: expected one of {expected}, fitted on {train.shape[1]} items"
        )
    if least < 1:
        raise InputError(f"least={least!r}: expected at least 1")
    ones = (train != 0).astype(np.float32)
    enough = (ones.T @ ones >= least).astype(np.float32)
    protected: Any = copy.copy(model)
    weights: Any = model.weights
    kept = sp.csr_matrix(weights.multiply(enough) if sp.issparse(weights) else enough.multiply(weights))
    protected.weights = kept if sp.issparse(weights) else kept.toarray()
    return protected
