"""The recommender that knows nobody: what it reaches is not to anyone's credit."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

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
