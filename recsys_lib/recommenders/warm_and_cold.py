"""One ranking of warm items by a model of interactions and of cold items by their text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import numpy as np
import scipy.sparse as sp

from recsys_lib.core.errors import InputError
from recsys_lib.recommenders.blends import _Parts
from recsys_lib.recommenders.recommender import BaseRecommender


class WarmAndCold(_Parts):
    """Warm items keep the scores of ``warm``; cold items get those of ``text``, calibrated to the same scale
    for each user.

    Cold items are those with at most ``max_interactions`` training interactions. ``text`` scores warm items
    as well, so that its scores can be compared: with ``a_u``, ``b_u`` mean and standard deviation of the text
    scores of user u over the warm items, and ``m_u``, ``s_u`` those of the scores of ``warm``, a cold item of
    text score ``t`` gets ``m_u + s_u (t - a_u) / b_u``. A user without history scores as ``warm`` says, cold
    items at its mean. ``reserve`` guarantees places.
    """

    settings = ("max_interactions",)
    arrays = ("is_cold",)

    def __init__(self, warm: BaseRecommender, text: BaseRecommender, max_interactions: int = 0):
        if max_interactions < 0:
            raise InputError(f"max_interactions={max_interactions!r}: expected at least 0")
        self.recommenders, self.max_interactions = [warm, text], max_interactions
        self.is_cold = np.empty(0, dtype=bool)

    def fit(self, train: sp.csr_matrix, times: sp.csr_matrix | None = None) -> Self:
        super().fit(train, times)
        self.is_cold = np.asarray((train != 0).sum(axis=0)).ravel() <= self.max_interactions
        return self

    def _joined(self, of_part: Callable[[Any], np.ndarray]) -> np.ndarray:
        scores, text = (np.array(of_part(part), dtype=np.float32) for part in self.recommenders)
        known = ~self.is_cold
        if not known.any() or known.all():
            return text if not known.any() else scores
        mean, spread = _moments(scores[:, known])
        text_mean, text_spread = _moments(text[:, known])
        ratio = np.where(text_spread > 0, spread / np.where(text_spread > 0, text_spread, 1), 0)
        scores[:, self.is_cold] = mean + ratio * (text[:, self.is_cold] - text_mean)
        return scores


def _moments(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of every row, ``[n, 1]`` each."""
    return scores.mean(axis=1, keepdims=True), scores.std(axis=1, keepdims=True)


def reserve(ids: np.ndarray, cold_ids: np.ndarray, is_cold: np.ndarray, places: int) -> np.ndarray:
    """Lists ``ids [n, k]`` of which at least ``places`` are cold items, added at the end in the order of
    ``cold_ids [n, places]``.

    A list that holds as many cold items already stays as it is. Warm items give way from the end; -1 marks no
    item.

    >>> reserve(np.array([[4, 1, 2]]), np.array([[7, 8]]), np.arange(9) > 5, 2).tolist()
    [[4, 7, 8]]

    Raises:
        InputError: more places than a list has, or than ``cold_ids`` names.
    """
    n, k = ids.shape
    if not 0 <= places <= min(k, cold_ids.shape[1]):
        raise InputError(f"places={places!r}: expected from 0 to {min(k, cold_ids.shape[1])}")
    lists = ids.copy()
    for row in range(n):
        own = [i for i in ids[row] if i >= 0 and is_cold[i]]
        added = [i for i in cold_ids[row, :places] if i >= 0 and i not in own][: max(0, places - len(own))]
        if added:
            leaving = [p for p in range(k) if ids[row, p] < 0 or not is_cold[ids[row, p]]][-len(added) :]
            kept = np.delete(ids[row], leaving)
            lists[row] = np.concatenate([kept, added])
    return lists
