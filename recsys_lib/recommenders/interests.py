"""Several interests per user: a history as a few vectors instead of one."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from recsys_lib.core.errors import InputError
from recsys_lib.recommenders import checks
from recsys_lib.recommenders.recommender import BaseRecommender
from recsys_lib.vectors import similarity


class Interests(BaseRecommender):
    """Cosine of every item's vector ``[n_items, d]`` with the nearest of a user's ``interests`` vectors.

    The vectors of the history, each of length 1, are grouped by spherical k-means: the first centre is their
    mean's nearest item, each further one the item farthest from all centres so far, and nothing is drawn at
    random. An interest is the mean of its group. One interest is ``TextProfile``; as many as the history has
    items is ``MaxSimilarity``. A shorter history has as many interests as items (Pal et al., "PinnerSage",
    KDD 2020, group histories in the same spirit). A user without history scores 0.
    """

    settings = ("interests", "iterations")
    arrays = ("item_vectors",)

    def __init__(self, item_vectors: np.ndarray, interests: int = 3, iterations: int = 10):
        if interests < 1 or iterations < 1:
            raise InputError(
                f"interests={interests!r}, iterations={iterations!r}: expected at least 1 of each"
            )
        self.item_vectors = similarity.normalize(np.asarray(item_vectors, dtype=np.float32))
        self.interests, self.iterations = interests, iterations
        self._restore({})

    def _restore(self, arrays: dict[str, np.ndarray]) -> None:
        self.rows = similarity.Rows(self.item_vectors)

    def _fit(self, train: sp.csr_matrix, times: sp.csr_matrix | None) -> None:
        checks.vectors_for(train, self.item_vectors)

    def _score(self, histories: sp.csr_matrix) -> np.ndarray:
        scores = np.zeros(histories.shape, dtype=np.float32)
        for row in np.flatnonzero(np.diff(histories.indptr)):
            own = slice(histories.indptr[row], histories.indptr[row + 1])
            vectors = self.item_vectors[histories.indices[own]] * histories.data[own, None]
            scores[row] = self.rows.scores(interests_of(vectors, self.interests, self.iterations)).max(axis=0)
        return scores


def interests_of(vectors: np.ndarray, count: int, iterations: int = 10) -> np.ndarray:
    """Unit vectors ``[at most count, d]`` that stand for groups of the rows of ``vectors [n, d]``.

    >>> interests_of(np.array([[1.0, 0], [1, 0], [0, 1]], dtype=np.float32), 2).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    unit = similarity.normalize(vectors)
    centres = unit[[int(np.argmax(unit @ similarity.normalize(vectors.sum(axis=0)[None])[0]))]]
    while len(centres) < min(count, len(unit)):
        nearest = (unit @ centres.T).max(axis=1)
        if nearest.min() > 1 - 1e-6:
            break  # every row equals a centre already
        centres = np.vstack([centres, unit[[int(np.argmin(nearest))]]])
    if count == 1:
        return similarity.normalize(vectors.sum(axis=0)[None])
    for _ in range(iterations):
        group = (unit @ centres.T).argmax(axis=1)
        sums = np.zeros_like(centres)
        np.add.at(sums, group, vectors)
        filled = np.asarray(sums.any(axis=1))[:, None]
        moved = np.where(filled, similarity.normalize(sums), centres)
        if np.allclose(moved, centres, atol=1e-6):
            break
        centres = moved
    return centres
