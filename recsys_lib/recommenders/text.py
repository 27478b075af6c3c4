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
        checks.vectors_for(self.train, self.item_vectors)
        return self

    def profiles(self, users: np.ndarray) -> np.ndarray:
        """User vectors ``[len(users), d]`` of length 1, or 0 without history."""
        return similarity.normalize(np.asarray(checks.histories(self.train, users) @ self.item_vectors))

    def scores(self, users: np.ndarray) -> np.ndarray:
        return self.profiles(users) @ self.item_vectors.T


class MaxSimilarity:
    """Cosine with the nearest single item of the history instead of with its mean: a user may have several tastes.

    Holds all cosines, ``[n_items, n_items]`` float32. A user without history scores 0.
    """

    def __init__(self, item_vectors: np.ndarray):
        self.item_vectors = np.asarray(item_vectors, dtype=np.float32)
        self.train: sp.csr_matrix | None = None
        self.cosines = np.empty((0, 0), dtype=np.float32)

    def fit(self, train: sp.csr_matrix) -> MaxSimilarity:
        self.train = checks.interactions(train)
        checks.vectors_for(self.train, self.item_vectors)
        self.cosines = similarity.cosine(self.item_vectors, self.item_vectors)
        return self

    def scores(self, users: np.ndarray) -> np.ndarray:
        histories = checks.histories(self.train, users)
        scores = np.zeros(histories.shape, dtype=np.float32)
        for row in np.flatnonzero(np.diff(histories.indptr)):
            scores[row] = self.cosines[histories.indices[histories.indptr[row] : histories.indptr[row + 1]]].max(axis=0)
        return scores


class TextItemKNN:
    """Item-kNN whose neighbours are found by text: the sum of cosines to those history items that are among the nearest.

    Each item keeps its ``neighbours`` nearest others with a positive cosine. A user without history scores 0.
    """

    def __init__(self, item_vectors: np.ndarray, neighbours: int = 50):
        if neighbours < 1:
            raise InputError(f"neighbours={neighbours!r}: want at least 1")
        self.item_vectors, self.neighbours = np.asarray(item_vectors, dtype=np.float32), neighbours
        self.train: sp.csr_matrix | None = None
        self.weights: sp.csr_matrix | None = None

    def fit(self, train: sp.csr_matrix) -> TextItemKNN:
        self.train = checks.interactions(train)
        checks.vectors_for(self.train, self.item_vectors)
        n = len(self.item_vectors)
        k = max(1, min(self.neighbours, n - 1))
        itself = sp.identity(n, dtype=np.float32, format="csr")
        ids, cosines = similarity.top_k(self.item_vectors, self.item_vectors, k, exclude=itself)
        near = (ids >= 0) & (cosines > 0)
        rows = np.repeat(np.arange(n), k).reshape(n, k)
        self.weights = sp.csr_matrix((cosines[near], (ids[near], rows[near])), shape=(n, n), dtype=np.float32)
        return self

    def scores(self, users: np.ndarray) -> np.ndarray:
        return (checks.histories(self.train, users) @ self.weights).toarray()
