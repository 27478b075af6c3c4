"""What every recommender checks of its input."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

from recsys_lib.core.errors import InputError


def interactions(train: Any) -> sp.csr_matrix:
    """The training matrix as CSR float32 without stored zeros; anything else is refused."""
    if not sp.issparse(train):
        raise InputError(f"train is {type(train).__name__}: want a SciPy sparse matrix [n_users, n_items]")
    train = sp.csr_matrix(train, dtype=np.float32, copy=True)
    train.sum_duplicates()
    train.eliminate_zeros()
    if not train.shape[0] or not train.shape[1]:
        raise InputError(f"train has shape {train.shape}: want at least one user and one item")
    if not np.isfinite(train.data).all() or (train.data < 0).any():
        raise InputError("train holds negative, infinite or NaN values: want non-negative weights")
    return train


def histories(train: sp.csr_matrix | None, users: np.ndarray) -> sp.csr_matrix:
    """The rows of ``users``, or an InputError before ``fit`` and for users that do not exist."""
    if train is None:
        raise InputError("scores before fit: call fit(train) first")
    users = np.asarray(users)
    if len(users) and not (users.min() >= 0 and users.max() < train.shape[0]):
        raise InputError(f"users from {users.min()} to {users.max()}: want indices from 0 to {train.shape[0] - 1}")
    return train[users]


def vectors_for(train: sp.csr_matrix, item_vectors: np.ndarray) -> None:
    """One row of ``item_vectors`` for every item of ``train``, or an InputError."""
    if train.shape[1] != len(item_vectors):
        raise InputError(f"train has {train.shape[1]} items, item_vectors {len(item_vectors)} rows: want as many")


def fit(recommender: Any, train: sp.csr_matrix, times: sp.csr_matrix | None = None) -> Any:
    """``recommender.fit``, with ``times`` for those whose class says ``reads_times``."""
    return recommender.fit(train, times) if getattr(recommender, "reads_times", False) else recommender.fit(train)


def times_for(train: sp.csr_matrix, times: sp.csr_matrix | None) -> sp.csr_matrix:
    """``times`` as CSR in the order of ``train``'s entries (as ``Dataset.times`` gives them).

    Raises:
        InputError: none, or another pattern than that of ``train``.
    """
    if times is None:
        raise InputError(
            "times=None: this recommender reads times, give fit(train, times) a CSR matrix of the same pattern"
        )
    times = sp.csr_matrix(times, dtype=np.float64, copy=True)
    times.sort_indices()
    same = times.shape == train.shape and times.nnz == train.nnz and bool((times.data != 0).all())
    ordered = train.sorted_indices()
    if not same or (times.indices != ordered.indices).any() or (times.indptr != ordered.indptr).any():
        raise InputError("times: want a stored time, never 0, for every training interaction and for no other")
    return times
