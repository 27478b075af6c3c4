"""Recommenders that read the text vectors of items only: a user is the texts of what they chose."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from recsys_lib.core.errors import InputError
from recsys_lib.recommenders import checks
from recsys_lib.recommenders.recommender import BaseRecommender
from recsys_lib.vectors import similarity


class TextProfile(BaseRecommender):
    """Cosine of every item's vector ``[n_items, d]`` with the mean of the vectors, each of length 1, of the
    history.

    ``half_life`` (a number of items) makes the mean a recent one: each step back from the user's latest item
    halves its weight after so many steps; ``fit`` and ``score`` then need times. ``popularity`` w adds
    ``w · log(1 + n_i) / log(1 + max n)`` of the item's ``n_i`` training interactions. Items need no
    interaction to be scored, which is this recommender's point. A user without history scores 0.
    """

    settings = ("half_life", "popularity")
    arrays = ("item_vectors", "prior")

    def __init__(self, item_vectors: np.ndarray, half_life: float | None = None, popularity: float = 0.0):
        if (half_life is not None and not half_life > 0) or popularity < 0:
            raise InputError(
                f"half_life={half_life!r}, popularity={popularity!r}: expected more than 0 or None, at least "
                f"0"
            )
        self.item_vectors = similarity.normalize(np.asarray(item_vectors, dtype=np.float32))
        self.half_life, self.popularity = half_life, popularity
        self.prior = np.empty(0, dtype=np.float32)
        self._restore({})

    def _restore(self, arrays: dict[str, np.ndarray]) -> None:
        self.rows = similarity.Rows(self.item_vectors)
        self.reads_times = self.half_life is not None

    def _fit(self, train: sp.csr_matrix, times: sp.csr_matrix | None) -> None:
        checks.vectors_for(train, self.item_vectors)
        counts = np.asarray(train.sum(axis=0)).ravel()
        self.prior = (self.popularity * np.log1p(counts) / max(np.log1p(counts.max()), 1e-12)).astype(
            np.float32
        )

    def _prepared(self, histories: sp.csr_matrix, times: sp.csr_matrix | None) -> sp.csr_matrix:
        if self.half_life is None:
            return histories
        recent = histories.copy()
        recent.data *= 0.5 ** (places_back(checks.times_for(histories, times)) / self.half_life)
        return recent

    def profiles(self, users: np.ndarray) -> np.ndarray:
        """User vectors ``[len(users), d]`` of length 1, or 0 without history."""
        return self._profiles(
            checks.rows(self.train, checks.users_of(self.train, users, loaded=self.n_items > 0))
        )

    def _profiles(self, histories: sp.csr_matrix) -> np.ndarray:
        return similarity.normalize(np.asarray(histories @ self.item_vectors))

    def _score(self, histories: sp.csr_matrix) -> np.ndarray:
        scores = self.rows.scores(self._profiles(histories))
        if self.popularity:
            scores += self.prior
            scores[np.diff(histories.indptr) == 0] = 0
        return scores


def places_back(times: sp.csr_matrix) -> np.ndarray:
    """For every stored entry of ``times`` its place from its row's latest, which is 0; ties count back by
    column.

    >>> places_back(sp.csr_matrix([[30.0, 10.0, 20.0], [0, 5.0, 0]])).tolist()
    [0, 2, 1, 0]
    """
    rows = np.repeat(np.arange(times.shape[0]), np.diff(times.indptr))
    order = np.lexsort((times.indices, times.data, rows))
    places = np.empty(times.nnz, dtype=np.int64)
    places[order] = times.indptr[rows[order] + 1] - 1 - np.arange(times.nnz)
    return places


class MaxSimilarity(BaseRecommender):
    """Cosine with the nearest single item of the history instead of with its mean: a user may have several
    tastes.

    Holds all cosines, ``[n_items, n_items]`` float32; saved are the vectors. A user without history scores 0.
    """

    arrays = ("item_vectors",)

    def __init__(self, item_vectors: np.ndarray):
        self.item_vectors = np.asarray(item_vectors, dtype=np.float32)
        self.cosines = np.empty((0, 0), dtype=np.float32)

    def _fit(self, train: sp.csr_matrix, times: sp.csr_matrix | None) -> None:
        checks.vectors_for(train, self.item_vectors)
        self._restore({})

    def _restore(self, arrays: dict[str, np.ndarray]) -> None:
        checks.square_memory(len(self.item_vectors), 2, "MaxSimilarity", "use TextProfile or TextItemKNN")
        self.cosines = similarity.cosine(self.item_vectors, self.item_vectors)

    def _score(self, histories: sp.csr_matrix) -> np.ndarray:
        scores = np.zeros(histories.shape, dtype=np.float32)
        for row in np.flatnonzero(np.diff(histories.indptr)):
            scores[row] = self.cosines[
                histories.indices[histories.indptr[row] : histories.indptr[row + 1]]
            ].max(axis=0)
        return scores


class TextItemKNN(BaseRecommender):
    """Item-kNN whose neighbours are found by text: the sum of cosines to those history items that are among
    the nearest.

    Each item keeps its ``neighbours`` nearest others with a positive cosine. A user without history scores 0.
    """

    settings = ("neighbours",)
    arrays = ("item_vectors", "weights")

    def __init__(self, item_vectors: np.ndarray, neighbours: int = 50):
        if neighbours < 1:
            raise InputError(f"neighbours={neighbours!r}: expected at least 1")
        self.item_vectors, self.neighbours = np.asarray(item_vectors, dtype=np.float32), neighbours
        self.weights: sp.csr_matrix | None = None

    def _fit(self, train: sp.csr_matrix, times: sp.csr_matrix | None) -> None:
        checks.vectors_for(train, self.item_vectors)
        n = len(self.item_vectors)
        k = max(1, min(self.neighbours, n - 1))
        itself = sp.identity(n, dtype=np.float32, format="csr")
        ids, cosines = similarity.top_k(self.item_vectors, self.item_vectors, k, exclude=itself)
        near = (ids >= 0) & (cosines > 0)
        rows = np.repeat(np.arange(n), k).reshape(n, k)
        self.weights = sp.csr_matrix((cosines[near], (ids[near], rows[near])), shape=(n, n), dtype=np.float32)

    def _score(self, histories: sp.csr_matrix) -> np.ndarray:
        return (histories @ self.weights).toarray()
