"""Neighbourhood recommenders."""

from __future__ import annotations

import hashlib

import numpy as np
import scipy.sparse as sp

from recsys_lib.core.errors import InputError
from recsys_lib.recommenders import checks, column_neighbours
from recsys_lib.recommenders.recommender import BaseRecommender
from recsys_lib.vectors import similarity


class ItemKNN(BaseRecommender):
    """Items like those of the history, by the cosine of their columns (Sarwar et al., WWW 2001).

    ``cos(i, j) = x_i · x_j / (|x_i||x_j| + shrinkage)``; each item keeps its ``neighbours`` most similar
    others, and a user's score of ``i`` is the sum of the similarities of ``i`` to the history.
    ``normalize=True`` divides by the sum of all similarities of ``i``, which favours rare items.
    ``unit_users=True`` scales every user's row to the same length, so that a user who met everything says
    less about any two items (inverse user frequency, Breese, Heckerman and Kadie, UAI 1998). With
    ``item_vectors [n_items, d]`` the texts stand below the users' rows as ``text_weight`` more users would
    (Dacrema et al., "A Troubling Analysis", TOIS 2021, section on CF-CBF): a cold item then has neighbours
    too. A user without history scores 0 everywhere.
    """

    settings = ("neighbours", "shrinkage", "normalize", "unit_users", "text_weight")
    arrays = ("item_vectors", "weights")

    def __init__(
        self,
        neighbours: int = 100,
        shrinkage: float = 0.0,
        normalize: bool = False,
        unit_users: bool = False,
        item_vectors: np.ndarray | None = None,
        text_weight: float = 10.0,
    ):
        if neighbours < 1 or shrinkage < 0 or text_weight < 0:
            raise InputError(
                f"neighbours={neighbours!r}, shrinkage={shrinkage!r}, text_weight={text_weight!r}: expected "
                f"at least 1, "
                "0 and 0"
            )
        self.neighbours, self.shrinkage, self.normalize, self.unit_users = (
            neighbours,
            shrinkage,
            normalize,
            unit_users,
        )
        self.item_vectors = (
            None if item_vectors is None else similarity.normalize(np.asarray(item_vectors, np.float32))
        )
        self.text_weight = text_weight
        self.weights: sp.csr_matrix | None = None

    def _fit(self, train: sp.csr_matrix, times: sp.csr_matrix | None) -> None:
        columns = (_unit_rows(train) if self.unit_users else train).tocsc()
        squares = np.asarray(columns.multiply(columns).sum(axis=0)).ravel()
        if self.item_vectors is not None:
            checks.vectors_for(train, self.item_vectors)
            squares += self.text_weight * (self.item_vectors**2).sum(axis=1)
        texts = None if self.item_vectors is None else (self.item_vectors, self.text_weight)
        neighbours = column_neighbours.find(
            columns, np.sqrt(squares), self.neighbours, float(self.shrinkage), texts
        )
        if self.normalize:
            neighbours.sort_indices()  # sums are added in this order
            total = np.asarray(neighbours.sum(axis=1)).ravel()
            neighbours = sp.diags(1 / np.where(total > 0, total, 1)) @ neighbours
        self.weights = neighbours.T.tocsr().astype(np.float32)

    def _score(self, histories: sp.csr_matrix) -> np.ndarray:
        return (histories @ self.weights).toarray()


def _unit_rows(train: sp.csr_matrix) -> sp.csr_matrix:
    """Rows of equal length, the root mean square of the lengths they had,
    so that a shrinkage means the same.
    """
    squares = np.asarray(train.multiply(train).sum(axis=1)).ravel()
    present = squares > 0
    mean = squares[present].mean() if present.any() else 1.0
    return sp.csr_matrix(sp.diags(np.sqrt(mean / np.where(present, squares, 1)).astype(np.float32)) @ train)


class UserKNN(BaseRecommender):
    """What the users like this one chose, by the cosine of their rows (Herlocker et al., SIGIR 1999).

    Each user keeps the ``neighbours`` most similar others,
    ``cos(u, v) = x_u · x_v / (|x_u||x_v| + shrinkage)``, and an item's score is the sum of the similarities
    of those who have it. Neighbours are users of the training matrix; one whose history is exactly the user's
    own (a training user's own row, above all) is no neighbour, since it holds nothing new. The training
    histories are the model: ``save`` stores them. A user without history scores 0.
    """

    settings = ("neighbours", "shrinkage")
    arrays = ("train",)

    def __init__(self, neighbours: int = 100, shrinkage: float = 0.0):
        if neighbours < 1 or shrinkage < 0:
            raise InputError(
                f"neighbours={neighbours!r}, shrinkage={shrinkage!r}: expected at least 1 and at least 0"
            )
        self.neighbours, self.shrinkage = neighbours, shrinkage
        self._users_with: dict[bytes, list[int]] = {}

    def _fit(self, train: sp.csr_matrix, times: sp.csr_matrix | None) -> None:
        self._restore({})

    def _restore(self, arrays: dict[str, np.ndarray]) -> None:
        assert self.train is not None
        self._users_with = {}
        for user, history in enumerate(_fingerprints(self.train)):
            self._users_with.setdefault(history, []).append(user)

    def _score(self, histories: sp.csr_matrix) -> np.ndarray:
        assert self.train is not None
        step = column_neighbours.rows_at_once(self.train.shape[0])
        blocks = [
            self._block(histories[start : start + step]) for start in range(0, histories.shape[0], step)
        ]
        return np.concatenate(blocks) if blocks else np.empty(histories.shape, dtype=np.float32)

    def _block(self, histories: sp.csr_matrix) -> np.ndarray:
        assert self.train is not None
        lengths, own_lengths = _lengths(self.train), _lengths(histories)
        cosines = (histories @ self.train.T).toarray()
        cosines /= np.maximum(np.outer(own_lengths, lengths) + self.shrinkage, 1e-12)
        for row, history in enumerate(_fingerprints(histories)):
            cosines[row, self._users_with.get(history, [])] = 0
        nearest = column_neighbours.keep_largest(cosines, self.neighbours)
        return (nearest @ self.train).toarray().astype(np.float32)


def _lengths(rows: sp.csr_matrix) -> np.ndarray:
    return np.sqrt(np.asarray(rows.multiply(rows).sum(axis=1))).ravel()


def _fingerprints(rows: sp.csr_matrix) -> list[bytes]:
    """16 bytes for every row, equal where items and weights are; rows are in order of items."""
    found = []
    for start, stop in zip(rows.indptr[:-1], rows.indptr[1:], strict=True):
        items, weights = rows.indices[start:stop].astype(np.int64), rows.data[start:stop]
        found.append(hashlib.blake2b(items.tobytes() + weights.tobytes(), digest_size=16).digest())
    return found
