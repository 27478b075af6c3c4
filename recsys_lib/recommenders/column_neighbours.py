"""The columns of a sparse matrix that are most like each column: by ``neighbours.c``, or by SciPy.

Without a C compiler there is no kernel and SciPy multiplies, block by block, with the same result.
"""

from __future__ import annotations

import ctypes
from functools import lru_cache

import numpy as np
import scipy.sparse as sp

from recsys_lib.core import memory
from recsys_lib.kernels.compiler import NEIGHBOURS_SOURCE, address, compiled, isa_flags, structure
from recsys_lib.vectors import similarity

# The kernel and SciPy multiply and add with a rounding each.
FLAGS = (
    "-O3", "-std=c11", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC",
    "-pthread",
)  # fmt: skip
# Rows of similarities formed at once: at most this many, and at most 256 MB of float32.
BLOCK = 1024
BLOCK_SIMILARITIES = 2**26
# As in threads.h; and items that are worth starting a thread for.
MAX_THREADS, ITEMS_PER_THREAD = 64, 64

_INT, _POINTER = ctypes.c_int64, ctypes.c_void_p
# Field by field as in neighbours.c.
Neighbours = structure(
    "Neighbours", n_items=_INT, first=_INT, end=_INT, k=_INT, item_start=_POINTER, user_start=_POINTER,
    user=_POINTER, item=_POINTER, by_item=_POINTER, by_user=_POINTER, length=_POINTER, added=_POINTER,
    id=_POINTER, cosine=_POINTER, next=_POINTER, shrinkage=ctypes.c_float,
)  # fmt: skip


@lru_cache
def load() -> ctypes.CDLL | None:
    """The compiled kernel, from the cache if this source was compiled for this processor before; None without
    a compiler.
    """
    return compiled(NEIGHBOURS_SOURCE, (*FLAGS, *isa_flags()))


def find(
    columns: sp.csc_matrix,
    lengths: np.ndarray,
    k: int,
    shrinkage: float,
    texts: tuple[np.ndarray, float] | None = None,
) -> sp.csr_matrix:
    """For each column of ``columns [n_users, n]`` the ``k`` others with the largest positive
    ``x_i · x_j / (|x_i||x_j| + shrinkage)``, ties by the smaller column, as CSR ``[n, n]`` whose rows
    are in no order.

    columns: float32, none negative, users in ascending order. lengths: ``|x_i|``, float32 ``[n]``. texts:
    vectors ``[n, d]`` and a weight, whose weighted products are added to those of the columns.

    Raises:
        InputError: too little memory.
    """
    library = load()
    if library is None:
        return _by_scipy(columns, lengths, k, shrinkage, texts)
    n = columns.shape[1]
    k = min(k, n)
    memory.require(12 * n * k, f"{k:,} neighbours of each of {n:,} items")
    ids, cosines = np.empty((n, k), np.int32), np.empty((n, k), np.float32)
    rows, int64 = columns.tocsr(), np.int64
    arrays = [
        columns.indptr.astype(int64), rows.indptr.astype(int64), columns.indices, rows.indices,
        columns.data, rows.data, np.ascontiguousarray(lengths, np.float32),
    ]  # fmt: skip
    step = n if texts is None else rows_at_once(n)
    for start in range(0, n, step):
        end = min(start + step, n)
        added = None if texts is None else _text_products(*texts, start, end)
        pointed = [*arrays, added, ids, cosines, np.array([start])]
        problem = Neighbours(n, start, end, k, *map(address, pointed), shrinkage)
        if library.neighbours(ctypes.byref(problem), _INT(_threads(end - start))):
            raise MemoryError("no memory for a row of sums")
    found = cosines > 0
    indptr = np.concatenate([[0], np.cumsum(found.sum(axis=1))])
    return sp.csr_matrix((cosines[found], ids[found], indptr), shape=(n, n))


def _threads(n: int) -> int:
    """As many as torch uses, of which each has enough to do."""
    import torch

    return max(1, min(torch.get_num_threads(), n // ITEMS_PER_THREAD, MAX_THREADS))


def _text_products(vectors: np.ndarray, weight: float, start: int, end: int) -> np.ndarray:
    return weight * (vectors[start:end] @ vectors.T)


def _by_scipy(
    columns: sp.csc_matrix,
    lengths: np.ndarray,
    k: int,
    shrinkage: float,
    texts: tuple[np.ndarray, float] | None,
) -> sp.csr_matrix:
    n, blocks = columns.shape[1], []
    step = rows_at_once(n)
    for start in range(0, n, step):
        end = min(start + step, n)
        cosines = (columns[:, start:end].T @ columns).toarray()
        if texts is not None:
            cosines += _text_products(*texts, start, end)
        cosines /= np.maximum(np.outer(lengths[start:end], lengths) + shrinkage, 1e-12)
        cosines[np.arange(end - start), np.arange(start, end)] = 0
        blocks.append(keep_largest(cosines, k))
    return sp.vstack(blocks, format="csr")


def rows_at_once(columns: int) -> int:
    """Rows of a dense block of similarities with so many ``columns``;
    refused if not even one row fits into memory.
    """
    rows = max(1, min(BLOCK, BLOCK_SIMILARITIES // columns))
    # The block, its sparse form and the copies that a selection makes.
    memory.require(24 * rows * columns, f"a block of {rows:,} x {columns:,} similarities")
    return rows


def keep_largest(similarities: np.ndarray, k: int) -> sp.csr_matrix:
    """The ``k`` largest positive entries of every row, ties by the smaller column, as CSR."""
    k = min(k, similarities.shape[1])
    ids, values = similarity.rank_scores(similarities.astype(np.float32), k)
    rows = np.repeat(np.arange(len(ids)), k)
    positive = values.ravel() > 0
    entries = (values.ravel()[positive], (rows[positive], ids.ravel()[positive]))
    return sp.csr_matrix(entries, shape=similarities.shape)
