"""The recommender that knows nobody: what it reaches is not to anyone's credit."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from recsys_lib.core.errors import InputError
from recsys_lib.recommenders import checks


class Popularity:
    """Every item's number of training interactions, for every user alike."""

    def __init__(self) -> None:
        self.train: sp.csr_matrix | None = None
        self.counts = np.empty(0, dtype=np.float32)

    def fit(self, train: sp.csr_matrix) -> Popularity:
        self.train = checks.interactions(train)
        self.counts = np.asarray(self.train.sum(axis=0), dtype=np.float32).ravel()
        return self

    def scores(self, users: np.ndarray) -> np.ndarray:
        checks.histories(self.train, users)
        return np.tile(self.counts, (len(users), 1))


class RecentPopularity:
    """Popularity in which an interaction loses half its weight every ``half_life_days`` before the latest of all."""

    reads_times = True

    def __init__(self, half_life_days: float = 30.0):
        if not half_life_days > 0:
            raise InputError(f"half_life_days={half_life_days!r}: want more than 0")
        self.half_life_days = half_life_days
        self.train: sp.csr_matrix | None = None
        self.counts = np.empty(0, dtype=np.float32)

    def fit(self, train: sp.csr_matrix, times: sp.csr_matrix | None = None) -> RecentPopularity:
        """``times`` in seconds, as ``Dataset.times`` gives them."""
        self.train = checks.interactions(train)
        self.train.sort_indices()
        age_days = checks.times_for(self.train, times)
        age_days.data = (age_days.data.max(initial=0) - age_days.data) / 86_400
        weights = self.train.data * 0.5 ** (age_days.data / self.half_life_days)
        self.counts = np.bincount(self.train.indices, weights, minlength=train.shape[1]).astype(np.float32)
        return self

    def scores(self, users: np.ndarray) -> np.ndarray:
        checks.histories(self.train, users)
        return np.tile(self.counts, (len(users), 1))
