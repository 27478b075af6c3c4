"""What every recommender checks of its input."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp

from recsys_lib.core import memory
from recsys_lib.core.errors import InputError
from recsys_lib.hardware import machine

# Squares of larger weights, summed over millions of interactions, leave the range of float32.
MAX_WEIGHT = 1e9


def interactions(train: Any) -> sp.csr_matrix:
    """The training matrix as CSR float32 without stored zeros, rows in order of items;
    anything else is refused.
    """
    matrix = _weights("train", "[n_users, n_items]", train)
    if not matrix.shape[0] or not matrix.shape[1]:
        raise InputError(f"train has shape {matrix.shape}: expected at least one user and one item")
    return matrix


def as_matrix(histories: Sequence[np.ndarray], n_items: int) -> sp.csr_matrix:
    """Histories of item ids, each once, as a matrix of ones, float32 ``[n, n_items]``.

    >>> as_matrix([np.array([2, 0]), np.array([], dtype=int)], 3).toarray().tolist()
    [[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]]
    """
    starts = np.cumsum([0, *map(len, histories)])
    items = np.concatenate([*histories, np.empty(0, dtype=np.int64)]).astype(np.int64, copy=False)
    return sp.csr_matrix((np.ones(len(items), np.float32), items, starts), shape=(len(histories), n_items))


def new_histories(histories: Any, n_items: int) -> sp.csr_matrix:
    """Histories of any users as ``interactions`` gives them, of the width that the recommender was fitted on.

    Raises:
        InputError: before ``fit`` (``n_items`` 0), another width, what ``interactions`` refuses.
    """
    if not n_items:
        raise InputError("score before fit: call fit(train) first")
    matrix = _weights("histories", f"[n, {n_items}]", histories)
    if matrix.shape[1] != n_items:
        raise InputError(f"histories have shape {matrix.shape}: expected {n_items} items, as in training")
    return matrix


def _weights(name: str, shape: str, matrix: Any) -> sp.csr_matrix:
    if not sp.issparse(matrix) or matrix.ndim != 2:
        raise InputError(f"{name} is {type(matrix).__name__}: expected a SciPy sparse matrix {shape}")
    if matrix.dtype.kind not in "biuf":
        raise InputError(f"{name} holds {matrix.dtype}: expected real numbers")
    try:
        with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and refused as such
            csr = sp.csr_matrix(matrix, dtype=np.float32, copy=True)
        csr.check_format(full_check=True)
    except ValueError as error:
        raise InputError(
            f"{name} is no valid sparse matrix ({error}): expected indices inside {shape}"
        ) from error
    csr.sum_duplicates()
    csr.eliminate_zeros()
    if not np.isfinite(csr.data).all() or (csr.data < 0).any():
        raise InputError(f"{name} holds negative, infinite or NaN values: expected non-negative weights")
    if csr.data.max(initial=0) > MAX_WEIGHT:
        raise InputError(
            f"{name} holds weights up to {csr.data.max():.3g}: expected at most {MAX_WEIGHT:.0g}"
        )
    return csr


def users_of(train: sp.csr_matrix | None, users: Any, loaded: bool = False) -> np.ndarray:
    """``users`` as int64 row numbers of ``train``.

    Raises:
        InputError: before ``fit``, of a recommender without training users (``loaded``), users that do not
            exist.
    """
    if train is None and loaded:
        raise InputError("scores(users): a loaded recommender holds no training users; call score(histories)")
    if train is None:
        raise InputError("scores before fit: call fit(train) first")
    users = np.asarray(users)
    if users.ndim != 1 or (len(users) and users.dtype.kind not in "iu"):
        raise InputError(
            f"users of shape {users.shape} and dtype {users.dtype}: expected a list of row numbers"
        )
    if len(users) and not (users.min() >= 0 and users.max() < train.shape[0]):
        raise InputError(
            f"users from {users.min()} to {users.max()}: expected indices from 0 to {train.shape[0] - 1}"
        )
    return users.astype(np.int64)


def rows(train: sp.csr_matrix | None, users: np.ndarray) -> sp.csr_matrix:
    """The rows of ``users``, which ``users_of`` has checked."""
    assert train is not None
    return train[users]


def vectors_for(train: sp.csr_matrix, item_vectors: np.ndarray) -> None:
    """One row of ``item_vectors`` for every item of ``train``, or an InputError."""
    if train.shape[1] != len(item_vectors):
        raise InputError(
            f"train has {train.shape[1]} items, item_vectors {len(item_vectors)} rows: expected as many"
        )


def fit(recommender: Any, train: sp.csr_matrix, times: sp.csr_matrix | None = None) -> Any:
    """``recommender.fit``, with ``times`` for those whose class says ``reads_times``."""
    return (
        recommender.fit(train, times)
        if getattr(recommender, "reads_times", False)
        else recommender.fit(train)
    )


def score(recommender: Any, histories: sp.csr_matrix, times: sp.csr_matrix | None = None) -> np.ndarray:
    """``recommender.score``, with ``times`` for those whose class says ``reads_times``.

    Raises:
        InputError: a recommender that cannot score histories.
    """
    if not hasattr(recommender, "score"):
        raise InputError(
            f"{type(recommender).__name__} has no score(histories): it knows training users only"
        )
    reads_times = getattr(recommender, "reads_times", False)
    return recommender.score(histories, times) if reads_times else recommender.score(histories)


def times_for(train: sp.csr_matrix, times: sp.csr_matrix | None) -> sp.csr_matrix:
    """``times`` as CSR in the order of ``train``'s entries (as ``Dataset.times`` gives them).

    Raises:
        InputError: none, or another pattern than that of ``train``.
    """
    if times is None:
        raise InputError(
            "times=None: this recommender reads times, give fit(train, times) a CSR matrix of the same "
            "pattern"
        )
    if not sp.issparse(times):
        raise InputError(
            f"times is {type(times).__name__}: expected a SciPy sparse matrix of the interactions' pattern"
        )
    times = sp.csr_matrix(times, dtype=np.float64, copy=True)
    times.sort_indices()
    same = times.shape == train.shape and times.nnz == train.nnz and bool((times.data != 0).all())
    ordered = train.sorted_indices()
    if not same or (times.indices != ordered.indices).any() or (times.indptr != ordered.indptr).any():
        raise InputError("times: expected a stored time, never 0, for every interaction and for no other")
    if not np.isfinite(times.data).all():
        raise InputError("times holds infinite or NaN values: expected seconds")
    return times


def device(name: str) -> str:
    """``cpu`` or ``cuda``: the device named, or for ``auto`` a GPU where there is one.

    Raises:
        InputError: none of these, or ``cuda`` without a usable GPU.
    """
    if name == "cpu":
        return name
    if name == "auto":
        import torch

        return "cuda" if torch.cuda.is_available() else "cpu"
    machine.check_device(name)
    return name


def square_memory(n_items: int, matrices: int, what: str, instead: str) -> None:
    """Refuse ``matrices`` matrices ``[n_items, n_items]`` of float32 that do not fit into memory.

    Raises:
        InputError: naming ``what``, the number of items, the bytes needed and available, and what to do
            ``instead``.
    """
    memory.require(4 * matrices * n_items**2, f"{what} of {n_items:,} items", instead)


@contextlib.contextmanager
def solvable(settings: str) -> Iterator[None]:
    """Turn a system of equations that cannot be solved into one line that names the ``settings`` to raise.

    Raises:
        InputError: a factorization failed inside.
    """
    import torch

    try:
        yield
    except (np.linalg.LinAlgError, torch.linalg.LinAlgError) as error:
        raise InputError(f"{settings}: too small to solve the equations in float32, expected more") from error
