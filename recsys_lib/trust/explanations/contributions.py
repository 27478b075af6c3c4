"""Exact reasons of linear models: a score is a sum over the items of the history."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from recsys_lib.core.errors import InputError
from recsys_lib.recommenders import (
    EASE,
    SLIM,
    BaseRecommender,
    EASEMap,
    ItemKNN,
    RidgeMap,
    TextEASE,
    TextItemKNN,
    TextProfile,
)
from recsys_lib.trust.explanations.partial_history import one_history

# Scores are ``history @ weights`` with an array ``weights [n_items, n_items]``, dense or sparse.
WITH_WEIGHTS = (EASE, EASEMap, ItemKNN, SLIM, TextEASE, TextItemKNN)


@dataclass(frozen=True, eq=False)
class Contributions:
    """What each item of a history adds to the scores of some items.

    items: ``[h]`` ids of the history, ascending. targets: ``[m]`` ids. values: float64 ``[h, m]``. base:
    float64 ``[m]``, what is added whatever the history holds (a popularity prior), else 0.
    """

    items: np.ndarray
    targets: np.ndarray
    values: np.ndarray
    base: np.ndarray

    @property
    def scores(self) -> np.ndarray:
        """The sums ``[m]``, which equal the model's scores up to float32 rounding."""
        return self.values.sum(axis=0) + self.base

    def order(self, target: int) -> np.ndarray:
        """The history from the largest contribution to the smallest, equal ones by id."""
        return self.items[np.argsort(-self.values[:, self._column(target)], kind="stable")]

    def of(self, target: int) -> np.ndarray:
        """Contributions ``[h]`` to one target."""
        return self.values[:, self._column(target)]

    def _column(self, target: int) -> int:
        found = np.flatnonzero(self.targets == target)
        if not len(found):
            raise InputError(f"target={target!r}: expected one of the {len(self.targets)} items asked about")
        return int(found[0])


def weights_between(model: BaseRecommender, items: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """What one unit of each of ``items [h]`` adds to the score of each of ``targets [m]``, float64 ``[h,
    m]``.

    Of a ``TextProfile`` it is the part that decides the order, the cosine of both items: the score divides
    the sum by the length of the user's vector.

    Raises:
        InputError: a model that is not fitted, or whose score is not linear in the history.
    """
    if not model.n_items:
        raise InputError(f"{type(model).__name__} is not fitted: call fit(train) first")
    if isinstance(model, WITH_WEIGHTS):
        weights: Any = model.weights
        found = (
            weights[items][:, targets]
            if sp.issparse(weights)
            else np.asarray(weights)[np.ix_(items, targets)]
        )
        return np.asarray(found.toarray() if sp.issparse(found) else found, dtype=np.float64)
    if isinstance(model, RidgeMap):
        return model.projection[items].astype(np.float64) @ model.item_factors[targets].T.astype(np.float64)
    if isinstance(model, TextProfile) and model.half_life is None:
        return model.item_vectors[items].astype(np.float64) @ model.item_vectors[targets].T.astype(np.float64)
    known = ", ".join(kind.__name__ for kind in (*WITH_WEIGHTS, RidgeMap, TextProfile))
    raise InputError(
        f"{type(model).__name__}: its score is no sum over the history, "
        f"expected {known} (without half_life); "
        "use faithfulness.leave_one_out"
    )


def contributions(
    model: BaseRecommender, history: sp.csr_matrix, targets: Sequence[int] | np.ndarray
) -> Contributions:
    """What each item of ``history [1, n_items]`` adds to the score of each of ``targets [m]``.

    ``score(i) = base(i) + Σ_j h_j w_ji``: EASE, SLIM, ItemKNN and the maps by their weights, a text profile
    by cosines over the length of the user's vector. An empty history has no summands.

    Raises:
        InputError: as ``weights_between``; items that do not exist, another number of items than in training.
    """
    row = one_history(history)
    if row.shape[1] != model.n_items:
        raise InputError(f"history has {row.shape[1]} items: expected {model.n_items}, as in training")
    targets = np.asarray(targets, dtype=np.int64)
    if targets.ndim != 1 or (len(targets) and not (targets.min() >= 0 and targets.max() < model.n_items)):
        raise InputError(f"targets={targets.tolist()}: expected item ids from 0 to {model.n_items - 1}")
    items = row.indices.astype(np.int64)
    values = weights_between(model, items, targets) * row.data[:, None].astype(np.float64)
    base = np.zeros(len(targets))
    if isinstance(model, TextProfile):
        total = row.data.astype(np.float64) @ model.item_vectors[items].astype(np.float64)
        values /= max(float(np.linalg.norm(total)), 1e-12)
        if model.popularity and len(items):
            base = model.prior[targets].astype(np.float64)
    return Contributions(items, targets, values, base)
