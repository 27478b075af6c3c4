"""What the article proposes: a user is the mean of the texts of what they chose, and cosine ranks the rest."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from recsys_lib import similarity
from recsys_lib.errors import InputError
from recsys_lib.recommenders import checks


class TextProfile:
    """Cosine of every item's vector ``[n_items, d]`` with the mean of the vectors, each of length 1, of the history.

    Items need no interaction to be scored, which is this recommender's point. A user without history scores 0.
    """

    def __init__(self, item_vectors: np.ndarray):
        self.item_vectors = similarity.normalize(np.asarray(item_vectors, dtype=np.float32))
        self.train: sp.csr_matrix | None = None

    def fit(self, train: sp.csr_matrix) -> TextProfile:
        self.train = checks.interactions(train)
        if self.train.shape[1] != len(self.item_vectors):
            raise InputError(
                f"train has {self.train.shape[1]} items, item_vectors {len(self.item_vectors)} rows: want as many"
            )
        return self

    def profiles(self, users: np.ndarray) -> np.ndarray:
        """User vectors ``[len(users), d]`` of length 1, or 0 without history."""
        return similarity.normalize(np.asarray(checks.histories(self.train, users) @ self.item_vectors))

    def scores(self, users: np.ndarray) -> np.ndarray:
        return self.profiles(users) @ self.item_vectors.T
