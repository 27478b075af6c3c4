"""What a reason reveals about other people, and minimum support as a defence.

"Because you watched A" beside item B says that somebody has both. Where a single other person has A, who
reads the reason and knows that person learns that they have B.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from recsys_lib import evaluation
from recsys_lib.core.errors import InputError
from recsys_lib.recommenders import EASE, SLIM, BaseRecommender, ItemKNN, TextEASE
from recsys_lib.trust.explanations.sentences import reasons

if TYPE_CHECKING:
    import pandas as pd

COUNTED = (EASE, ItemKNN, SLIM, TextEASE)


def supporters(train: sp.csr_matrix, items: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """How many users have both ``items[i]`` and ``targets[i]``, int ``[n]``."""
    if len(items) != len(targets):
        raise InputError(f"{len(items)} items and {len(targets)} targets: expected as many")
    columns = (train != 0).astype(np.int64).tocsc()
    both = columns[:, items].multiply(columns[:, targets]) if len(items) else None
    return (
        np.zeros(0, dtype=np.int64) if both is None else np.asarray(both.sum(axis=0)).ravel().astype(np.int64)
    )


def shown_reasons(
    model: BaseRecommender, train: sp.csr_matrix, users: np.ndarray, lists: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The item with the largest positive contribution to every item of ``lists [len(users), k]``.

    Three int arrays ``[n]``: who reads the reason, its item, and the recommended item.
    """
    found = [
        (user, reason.items[0], reason.target)
        for user, targets in zip(users.tolist(), lists, strict=True)
        for reason in reasons(model, train[user], targets[targets >= 0], most=1)
        if reason.items
    ]
    columns = np.array(found, dtype=np.int64).reshape(-1, 3).T
    return columns[0], columns[1], columns[2]


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


def revealed(train: sp.csr_matrix, items: np.ndarray, targets: np.ndarray, least: int = 1) -> Revealed:
    """Of reasons ``items[i]`` for ``targets[i]``, those that rest on 1 to ``least``
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
            f"{type(model).__name__} of {model.n_items} items: expected one of "
            f"{expected}, fitted on {train.shape[1]} items"
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


@dataclass(frozen=True)
class MinimumSupport:
    """A recommender that keeps what ``least`` users support whenever it is fitted: ``fit`` gives the fitted
    copy of ``with_minimum_support``.
    """

    model: BaseRecommender
    least: int

    def fit(self, train: sp.csr_matrix) -> BaseRecommender:
        """Fit on ``train [n_users, n_items]`` and leave out weights of fewer supporters."""
        return with_minimum_support(self.model.fit(train), train, self.least)


def price_of_support(
    model: BaseRecommender,
    train: sp.csr_matrix,
    test: sp.csr_matrix,
    users: np.ndarray,
    supports: Sequence[int],
    k: int = 10,
    least: int = 4,
) -> pd.DataFrame:
    """For each minimum support: NDCG@k over all users, and what the reasons shown to ``users`` reveal.

    Columns ``ndcg``, ``few supporters`` (the fraction of the reasons that rest on 1 to ``least`` people),
    ``guess is right`` and ``without the reason`` (both of those reasons, 0 where there is none); the index is
    the minimum support.
    """
    import pandas as pd

    rows = {}
    for support in supports:
        protected = with_minimum_support(model, train, support)
        lists = evaluation.recommend(protected, train, users, k)
        _, items, targets = shown_reasons(protected, train, users, lists)
        found = revealed(train, items, targets, least)
        rows[support] = {
            "ndcg": evaluation.evaluate(protected, train, test, k).mean()["ndcg"],
            "few supporters": found.few / max(found.reasons, 1),
            "guess is right": found.precision,
            "without the reason": found.baseline,
        }
    return pd.DataFrame(rows).T.rename_axis("minimum support")
