"""What the article proposes: a user is the mean of the texts of what they chose, and cosine ranks the rest."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from recsys_lib.core.errors import InputError
from recsys_lib.recommenders import checks
from recsys_lib.vectors import similarity


class TextProfile:
    """Cosine of every item's vector ``[n_items, d]`` with the mean of the vectors, each of length 1, of the history.

    ``half_life`` (a number of items) makes the mean a recent one: each step back from the user's latest item halves its
    weight after so many steps; ``fit`` then needs times. ``popularity`` w adds ``w · log(1 + n_i) / log(1 + max n)`` of the item's
    ``n_i`` training interactions. Items need no interaction to be scored, which is this recommender's point. A user without
    history scores 0.
    """

    def __init__(self, item_vectors: np.ndarray, half_life: float | None = None, popularity: float = 0.0):
        if (half_life is not None and not half_life > 0) or popularity < 0:
            raise InputError(
                f"half_life={half_life!r}, popularity={popularity!r}: want more than 0 or None, at least 0"
            )
        self.item_vectors = similarity.normalize(np.asarray(item_vectors, dtype=np.float32))
        self.rows = similarity.Rows(self.item_vectors)
        self.half_life, self.popularity = half_life, popularity
        self.reads_times = half_life is not None
        self.train: sp.csr_matrix | None = None
        self.prior = np.empty(0, dtype=np.float32)

    def fit(self, train: sp.csr_matrix, times: sp.csr_matrix | None = None) -> TextProfile:
        self.train = checks.interactions(train)
        checks.vectors_for(self.train, self.item_vectors)
        counts = np.asarray(self.train.sum(axis=0)).ravel()
        self.prior = (self.popularity * np.log1p(counts) / max(np.log1p(counts.max()), 1e-12)).astype(np.float32)
        if self.half_life is not None:
            self.train.sort_indices()
            self.train.data *= 0.5 ** (places_back(checks.times_for(self.train, times)) / self.half_life)
        return self

    def profiles(self, users: np.ndarray) -> np.ndarray:
        """User vectors ``[len(users), d]`` of length 1, or 0 without history."""
        return similarity.normalize(np.asarray(checks.histories(self.train, users) @ self.item_vectors))

    def scores(self, users: np.ndarray) -> np.ndarray:
        scores = self.rows.scores(self.profiles(users))
        if self.popularity:
            scores += self.prior
            scores[np.diff(checks.histories(self.train, users).indptr) == 0] = 0
        return scores


def places_back(times: sp.csr_matrix) -> np.ndarray:
    """For every stored entry of ``times`` its place from its row's latest, which is 0; ties count back by column.

    >>> places_back(sp.csr_matrix([[30.0, 10.0, 20.0], [0, 5.0, 0]])).tolist()
    [0, 2, 1, 0]
    """
    rows = np.repeat(np.arange(times.shape[0]), np.diff(times.indptr))
    order = np.lexsort((times.indices, times.data, rows))
    places = np.empty(times.nnz, dtype=np.int64)
    places[order] = times.indptr[rows[order] + 1] - 1 - np.arange(times.nnz)
    return places


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
