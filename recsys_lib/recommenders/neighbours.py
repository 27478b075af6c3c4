"""Neighbourhood recommenders."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from recsys_lib.core.errors import InputError
from recsys_lib.recommenders import checks
from recsys_lib.vectors import similarity

# Columns of the item-item product formed at once: bounds memory to this times n_items floats.
BLOCK = 1024


class ItemKNN:
    """Items like those of the history, by the cosine of their columns (Sarwar et al., WWW 2001).

    ``cos(i, j) = x_i · x_j / (|x_i||x_j| + shrinkage)``; each item keeps its ``neighbours`` most similar others, and a user's
    score of ``i`` is the sum of the similarities of ``i`` to the history. ``normalize=True`` divides by the sum of all
    similarities of ``i``, which favours rare items. ``unit_users=True`` scales every user's row to the same length, so that a user
    who met everything says less about any two items (inverse user frequency, Breese, Heckerman and Kadie, UAI 1998). With
    ``item_vectors [n_items, d]`` the texts stand below the users' rows as ``text_weight`` more users would (Dacrema et al., "A
    Troubling Analysis", TOIS 2021, section on CF-CBF): an item that nobody has seen then has neighbours too. A user without
    history scores 0 everywhere.
    """

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
                f"neighbours={neighbours!r}, shrinkage={shrinkage!r}, text_weight={text_weight!r}: want at least 1, 0 and 0"
            )
        self.neighbours, self.shrinkage, self.normalize, self.unit_users = neighbours, shrinkage, normalize, unit_users
        self.item_vectors = None if item_vectors is None else similarity.normalize(np.asarray(item_vectors, np.float32))
        self.text_weight = text_weight
        self.train: sp.csr_matrix | None = None
        self.weights: sp.csr_matrix | None = None

    def fit(self, train: sp.csr_matrix) -> ItemKNN:
        self.train = checks.interactions(train)
        columns = (_unit_rows(self.train) if self.unit_users else self.train).tocsc()
        squares = np.asarray(columns.multiply(columns).sum(axis=0)).ravel()
        if self.item_vectors is not None:
            checks.vectors_for(self.train, self.item_vectors)
            squares += self.text_weight * (self.item_vectors**2).sum(axis=1)
        lengths = np.sqrt(squares)
        blocks = []
        for start in range(0, columns.shape[1], BLOCK):
            stop = min(start + BLOCK, columns.shape[1])
            cosines = (columns[:, start:stop].T @ columns).toarray()
            if self.item_vectors is not None:
                cosines += self.text_weight * (self.item_vectors[start:stop] @ self.item_vectors.T)
            cosines /= np.maximum(np.outer(lengths[start:stop], lengths) + self.shrinkage, 1e-12)
            cosines[np.arange(stop - start), np.arange(start, stop)] = 0
            blocks.append(_keep_largest(cosines, self.neighbours))
        neighbours = sp.vstack(blocks, format="csr")
        if self.normalize:
            total = np.asarray(neighbours.sum(axis=1)).ravel()
            neighbours = sp.diags(1 / np.where(total > 0, total, 1)) @ neighbours
        self.weights = neighbours.T.tocsr().astype(np.float32)
        return self

    def scores(self, users: np.ndarray) -> np.ndarray:
        return (checks.histories(self.train, users) @ self.weights).toarray()


def _unit_rows(train: sp.csr_matrix) -> sp.csr_matrix:
    """Rows of equal length, the root mean square of the lengths they had, so that a shrinkage means the same."""
    squares = np.asarray(train.multiply(train).sum(axis=1)).ravel()
    present = squares > 0
    mean = squares[present].mean() if present.any() else 1.0
    return sp.csr_matrix(sp.diags(np.sqrt(mean / np.where(present, squares, 1)).astype(np.float32)) @ train)


class UserKNN:
    """What the users like this one chose, by the cosine of their rows (Herlocker et al., SIGIR 1999).

    Each user keeps the ``neighbours`` most similar others, ``cos(u, v) = x_u · x_v / (|x_u||x_v| + shrinkage)``, and an item's
    score is the sum of the similarities of those who have it. A user without history scores 0.
    """

    def __init__(self, neighbours: int = 100, shrinkage: float = 0.0):
        if neighbours < 1 or shrinkage < 0:
            raise InputError(f"neighbours={neighbours!r}, shrinkage={shrinkage!r}: want at least 1 and at least 0")
        self.neighbours, self.shrinkage = neighbours, shrinkage
        self.train: sp.csr_matrix | None = None

    def fit(self, train: sp.csr_matrix) -> UserKNN:
        self.train = checks.interactions(train)
        return self

    def scores(self, users: np.ndarray) -> np.ndarray:
        histories = checks.histories(self.train, users)
        assert self.train is not None
        lengths = np.sqrt(np.asarray(self.train.multiply(self.train).sum(axis=1))).ravel()
        users = np.asarray(users, dtype=np.int64)
        cosines = (histories @ self.train.T).toarray()
        cosines /= np.maximum(np.outer(lengths[users], lengths) + self.shrinkage, 1e-12)
        cosines[np.arange(len(users)), users] = 0
        return (_keep_largest(cosines, self.neighbours) @ self.train).toarray().astype(np.float32)


def _keep_largest(similarities: np.ndarray, k: int) -> sp.csr_matrix:
    """The ``k`` largest positive entries of every row, ties by the smaller column, as CSR."""
    k = min(k, similarities.shape[1])
    ids, values = similarity.rank_scores(similarities.astype(np.float32), k)
    rows = np.repeat(np.arange(len(ids)), k)
    positive = values.ravel() > 0
    entries = (values.ravel()[positive], (rows[positive], ids.ravel()[positive]))
    return sp.csr_matrix(entries, shape=similarities.shape)
