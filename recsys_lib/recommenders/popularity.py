"""The same ranking for every user: the baseline that shows what personalization adds."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from recsys_lib.core.errors import InputError
from recsys_lib.recommenders import checks
from recsys_lib.recommenders.recommender import BaseRecommender


class Popularity(BaseRecommender):
    """Every item's number of training interactions, for every user alike."""

    arrays = ("counts",)

    def __init__(self) -> None:
        self.counts = np.empty(0, dtype=np.float32)

    def _fit(self, train: sp.csr_matrix, times: sp.csr_matrix | None) -> None:
        self.counts = np.asarray(train.sum(axis=0), dtype=np.float32).ravel()

    def _score(self, histories: sp.csr_matrix) -> np.ndarray:
        return np.tile(self.counts, (histories.shape[0], 1))


class RecentPopularity(Popularity):
    """Popularity in which an interaction loses half its weight every ``half_life_days`` before the latest of
    all.

    ``fit`` reads times in seconds, as ``Dataset.times`` gives them; ``score`` reads none.
    """

    reads_times = True
    settings = ("half_life_days",)

    def __init__(self, half_life_days: float = 30.0):
        if not half_life_days > 0:
            raise InputError(f"half_life_days={half_life_days!r}: expected more than 0")
        super().__init__()
        self.half_life_days = half_life_days

    def _fit(self, train: sp.csr_matrix, times: sp.csr_matrix | None) -> None:
        age_days = checks.times_for(train, times)
        age_days.data = (age_days.data.max(initial=0) - age_days.data) / 86_400
        weights = train.data * 0.5 ** (age_days.data / self.half_life_days)
        self.counts = np.bincount(train.indices, weights, minlength=train.shape[1]).astype(np.float32)
