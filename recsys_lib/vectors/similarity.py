"""Cosine and its relatives, and exact top-k.

Inputs are real vectors as rows, ``[n, d]``; they are brought to float32 and products are summed in float32,
except where both inputs are float64, which stay so. Distances, and the scores that ``top_k`` returns, are
summed in float64. NaN and
infinity are refused, naming the row: one NaN would silently spoil a ranking.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp

from recsys_lib.core import memory
from recsys_lib.core.errors import InputError
from recsys_lib.vectors import checked_vectors

METRICS = ("cosine", "dot", "euclidean", "pearson")
# Scores of one block, 64 MB of float32: bounds the memory of top_k whatever the number of queries.
BLOCK_SCORES = 16 * 2**20
# Components of the pairs that are scored again at once: 512 KB of float64, which stays in the cache.
BLOCK_COMPONENTS = 2**16


def _pairwise(a: np.ndarray, b: np.ndarray, compute: Callable[[np.ndarray, np.ndarray], np.ndarray]):
    """``compute`` on rows ``[n, d]`` and ``[m, d]``; a plain vector ``[d]`` is one row,
    whose axis the result lacks.
    """
    (a, plain_a), (b, plain_b) = checked_vectors.as_rows("a", a), checked_vectors.as_rows("b", b)
    if plain_a and plain_b and a.shape != b.shape:
        raise InputError(
            f"a has {a.shape[1]} numbers and b {b.shape[1]}: expected vectors of the same length"
        )
    a, b = checked_vectors.pair(a, b)
    if len(a) * len(b) > BLOCK_SCORES:
        memory.require(
            float(a.itemsize) * len(a) * len(b),
            f"a matrix of {len(a):,} by {len(b):,} similarities",
            "rank with top_k, which takes the rows in blocks",
        )
    found = compute(a, b)
    if plain_a and plain_b:
        return float(found[0, 0])
    return found[0] if plain_a else found[:, 0] if plain_b else found


def normalize(v: np.ndarray) -> np.ndarray:
    """Rows scaled to length 1; a zero row stays zero.

    Rows are first divided by their largest component, so that no square overflows or vanishes.
    """
    return _normalized(checked_vectors.vectors("v", v))


def _normalized(v: np.ndarray) -> np.ndarray:
    largest = np.maximum(v.max(axis=1, keepdims=True, initial=0), -v.min(axis=1, keepdims=True, initial=0))
    v = v / np.where(largest > 0, largest, 1)
    length = np.sqrt(np.einsum("ij,ij->i", v, v))[:, None]
    v /= np.where(length > 0, length, 1)
    return v


def _scaled(v: np.ndarray) -> np.ndarray:
    """Rows times a power of two, which changes no digit: no sum of their squares overflows,
    and hardly one vanishes.
    """
    exponent = np.frexp(np.abs(v).max(axis=1, keepdims=True, initial=0))[1]
    return v * np.exp2(-np.maximum(exponent, -100)).astype(v.dtype)


def _centred_rows(v: np.ndarray) -> np.ndarray:
    v = checked_vectors.vectors("v", v)
    if not v.shape[1]:
        return v
    v = _scaled(v)
    centred = v - v.mean(axis=1, keepdims=True)
    # A constant row has no correlation with anything; its rounding noise must not pass for one.
    constant = v.max(axis=1, initial=-np.inf) == v.min(axis=1, initial=np.inf)
    centred[constant] = 0
    return centred


def cosine(a: np.ndarray, b: np.ndarray) -> Any:
    """Cosine of every row of ``a [n, d]`` with every row of ``b [m, d]``: ``u·v / (|u||v|)``, ``[n, m]`` in
    [-1, 1].

    The cosine with a zero vector is 0: it has no direction. Of two plain vectors ``[d]`` it is one number, of
    a plain vector and rows ``[m]``; so it is for ``dot``, ``euclidean`` and ``pearson``.

    >>> round(cosine([1, 2, 3], [4, 5, 6]), 4)
    0.9746

    >>> cosine(np.array([[1, 2, 3]]), np.array([[4, 5, 6], [0, 0, 0]])).round(4)
    array([[0.9746, 0.    ]], dtype=float32)

    Raises:
        InputError: neither ``[d]`` nor ``[n, d]``, different ``d``, NaN or infinity.
    """
    return _pairwise(a, b, _cosines)


def _cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    cosines = _normalized(a) @ _normalized(b).T
    return np.clip(cosines, -1, 1, out=cosines)


def dot(a: np.ndarray, b: np.ndarray) -> Any:
    """Dot products ``[n, m]``; plain vectors as in ``cosine``.

    Raises:
        InputError: as ``cosine``, and components so large that a sum could overflow.
    """
    return _pairwise(a, b, _dots)


def _dots(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    _no_overflow(_lengths(a), _lengths(b))
    return a @ b.T


def _lengths(v: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return np.sqrt(np.einsum("ij,ij->i", v, v))


def _no_overflow(a: np.ndarray, b: np.ndarray) -> None:
    """Refuse rows of such lengths that a sum of products could overflow;
    by Cauchy and Schwarz no other can.
    """
    longest = float(a.max(initial=0)), float(b.max(initial=0))
    if not max(longest) < np.sqrt(float(np.finfo(a.dtype).max) / 8):
        raise InputError(
            f"rows of length up to {max(longest):.2g} can overflow a sum in {a.dtype}: scale the vectors down"
        )


def euclidean(a: np.ndarray, b: np.ndarray) -> Any:
    """Distances ``|u - v|``, ``[n, m]``, at least 0. Smaller is nearer; ``top_k`` ranks by the negative
    distance.

    ``sqrt(|u|² + |v|² - 2 u·v)`` cancels where points are near each other and far from the origin, so it is
    summed in float64 after subtracting the mean of ``b``; what remains is an error of about 1e-8 of the
    vectors' length. A distance beyond the largest float32 is infinite.
    """
    return _pairwise(a, b, _rounded_distances)


def _rounded_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return _distances(a.astype(np.float64), b.astype(np.float64)).astype(a.dtype)


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Distances of float64 vectors, of which float32 ones cannot overflow."""
    _no_overflow(_lengths(a), _lengths(b))
    mean = b.mean(axis=0) if len(b) else 0.0
    a, b = a - mean, b - mean
    squares = a @ b.T
    squares *= -2
    squares += np.einsum("ij,ij->i", a, a)[:, None]
    squares += np.einsum("ij,ij->i", b, b)
    return np.sqrt(np.maximum(squares, 0, out=squares), out=squares)


def pearson(a: np.ndarray, b: np.ndarray) -> Any:
    """Pearson correlation ``[n, m]``: the cosine after each row's own mean is subtracted;
    0 with a constant row.
    """
    return _pairwise(a, b, _correlations)


def _correlations(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    correlations = _normalized(_centred_rows(a)) @ _normalized(_centred_rows(b)).T
    return np.clip(correlations, -1, 1, out=correlations)


def top_k(
    queries: np.ndarray,
    items: np.ndarray,
    k: int,
    exclude: sp.csr_matrix | np.ndarray | Sequence[Sequence[int]] | None = None,
    metric: str = "cosine",
) -> tuple[np.ndarray, np.ndarray]:
    """The ``k`` best items of every query, exactly: ids ``[n, k]`` int64 and scores ``[n, k]``, best first.

    A matrix product finds the candidates: whatever its rounding error could have kept out of the best ``k``.
    Only these are scored again, pair by pair in float64, rounded to the dtype of the input and ordered, equal
    scores by the smaller id. So equal items tie exactly, and no result depends on the blocks, on the other
    queries or on the number of threads.

    Items to leave out per query come as CSR ``[n, n_items]`` (non-zeros), as a mask of that shape, or as one
    sequence of ids per query; where fewer than ``k`` remain, the rest is id -1 with score -inf. Queries are
    taken in blocks of 64 MB of scores (or one query, where that is more). Thousands of items equal to within
    rounding at the k-th place are exact as well, but slow.

    Raises:
        InputError: an unknown metric, ``k`` below 1 or above the number of items, mismatched shapes, NaN.
    """
    if metric not in METRICS:
        raise InputError(f"metric={metric!r}: expected one of {', '.join(METRICS)}")
    queries, items = checked_vectors.pair(queries, items)
    if not isinstance(k, int | np.integer) or isinstance(k, bool) or not 1 <= k <= len(items):
        raise InputError(f"k={k!r}: expected between 1 and the number of items, {len(items)}")
    seen = _exclusion(exclude, len(queries), len(items))
    dtype = queries.dtype
    q, x, scale, error = _prepare(metric, queries, items)
    block = max(1, BLOCK_SCORES // len(items))
    ids, best = np.full((len(q), k), -1, dtype=np.int64), np.full((len(q), k), -np.inf, dtype=dtype)
    for start in range(0, len(q), block):
        rows = slice(start, min(start + block, len(q)))
        scores = -_distances(q[rows], x) if metric == "euclidean" else q[rows] @ x.T
        if scale is not None:
            scores *= scale
        if seen is not None:
            mask(scores, seen[rows])
        at, found = _candidates(scores, k, error[rows])
        exact = _pair_scores(metric, q[rows], x, at, found).astype(dtype)
        order = np.lexsort((found, -exact, at))
        at, found, exact = at[order], found[order], exact[order]
        place = np.arange(len(at)) - np.searchsorted(at, at)
        kept = place < k
        ids[start + at[kept], place[kept]], best[start + at[kept], place[kept]] = found[kept], exact[kept]
    return ids, best


def _prepare(
    metric: str, queries: np.ndarray, items: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, np.ndarray]:
    """Queries and items to multiply, what to scale every item's product by, and the error of each query's
    scores ``[n]``.

    The error bounds the rounding of a sum of ``d`` products in any order, ``(d + 8) u |q||x|`` (Higham,
    "Accuracy and Stability of Numerical Algorithms", 2002, section 3.1).
    """
    if metric == "euclidean":
        q, x = queries.astype(np.float64), items.astype(np.float64)
        centre = x.mean(axis=0)
        size = _lengths(q - centre) + _lengths(x - centre).max()
        # The error of a square is at worst that of its root near 0; scores are rounded to the dtype of the
        # input besides.
        return q, x, None, (np.sqrt(4 * _rounding(x)) + np.finfo(items.dtype).eps) * size
    if metric == "dot":
        of_queries, of_items = _lengths(queries), _lengths(items)
        _no_overflow(of_queries, of_items)
        for v, lengths in ((queries, of_queries), (items, of_items)):
            short = np.flatnonzero(lengths < 1e-15)  # their squares may have vanished
            largest = np.abs(v[short]).max(axis=1, initial=0)
            lengths[short] = largest * _lengths(v[short] / np.where(largest > 0, largest, 1)[:, None])
        # Products below the smallest normal number are rounded to multiples of the smallest one.
        vanishing = (items.shape[1] + 8) * float(np.finfo(items.dtype).smallest_subnormal)
        return queries, items, None, 2 * (_rounding(items) * of_queries * of_items.max() + vanishing)
    if metric == "pearson":
        queries, items = _centred_rows(queries), _centred_rows(items)
    # The length of a query does not change its order, and a zero query scores exactly 0 everywhere.
    (queries, of_queries), (items, of_items) = _safe(queries), _safe(items)
    return queries, items, 1 / np.where(of_items > 0, of_items, 1), 2 * _rounding(items) * of_queries


def _safe(v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and their lengths, scaled if any is so long or short that its square is in danger."""
    lengths = _lengths(v)
    if ((lengths > 1e-15) & (lengths < 1e15)).all():
        return v, lengths
    v = _scaled(v)
    return v, _lengths(v)


def _rounding(v: np.ndarray) -> float:
    return (v.shape[1] + 8) * float(np.finfo(v.dtype).eps) / 2


def _candidates(scores: np.ndarray, k: int, error: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of all ``scores`` that may belong to the best ``k`` of their row,
    each being wrong by up to ``error``.
    """
    import torch

    # torch selects several times faster than NumPy partitions. A few more than k mostly reach below the
    # doubtful ones.
    width = min(k + 8, scores.shape[1])
    selected = torch.from_numpy(scores).topk(width, dim=1)
    values, ids = selected.values.numpy(), selected.indices.numpy()
    # As much for the k-th score as for the one compared with it, and as much again for the rounding of the
    # exact scores.
    least = values[:, k - 1] - 4 * error
    doubtful = np.zeros(len(scores), dtype=bool) if width == scores.shape[1] else values[:, -1] >= least
    keep = (values >= least[:, None]) & ~np.isneginf(values) & ~doubtful[:, None]
    rows, columns = [np.nonzero(keep)[0]], [ids[keep]]
    for row in np.flatnonzero(doubtful):
        more = np.flatnonzero((scores[row] >= least[row]) & ~np.isneginf(scores[row]))
        if not error[row]:
            more = more[np.lexsort((more, -scores[row, more]))[:k]]
        rows.append(np.full(len(more), row))
        columns.append(more)
    return np.concatenate(rows), np.concatenate(columns)


def _pair_scores(metric: str, q: np.ndarray, x: np.ndarray, rows: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Scores in float64 of the pairs ``q[rows]``, ``x[ids]``,
    each summed by itself and so in one order always.
    """
    if metric == "euclidean":
        return -np.sqrt(_sums(q, x, rows, ids, _squared_difference))
    products = _sums(q, x, rows, ids, _product)
    if metric == "dot":
        return products
    needed, where = np.unique(ids, return_inverse=True)
    lengths_x = np.sqrt(_sums(x, x, needed, needed, _product))[where]
    every = np.arange(len(q))
    lengths = np.sqrt(_sums(q, q, every, every, _product))[rows] * lengths_x
    return np.clip(products / np.where(lengths > 0, lengths, 1), -1, 1)


def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.multiply(a, b, dtype=np.float64)


def _squared_difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a - b) ** 2


def _sums(a: np.ndarray, b: np.ndarray, rows: np.ndarray, ids: np.ndarray, combine: Callable) -> np.ndarray:
    """``Σ_j combine(a[rows], b[ids])_j`` of every pair, in blocks."""
    out = np.empty(len(rows))
    block = max(1, BLOCK_COMPONENTS // max(1, a.shape[1]))
    for start in range(0, len(rows), block):
        part = slice(start, start + block)
        out[part] = combine(a[rows[part]], b[ids[part]]).sum(axis=1)
    return out


def _exclusion(exclude, n_queries: int, n_items: int) -> sp.csr_matrix | None:
    if exclude is None:
        return None
    if isinstance(exclude, np.ndarray) and exclude.dtype == bool and exclude.ndim == 2:
        exclude = sp.csr_matrix(exclude)
    if not sp.issparse(exclude):
        if len(exclude) != n_queries:
            raise InputError(f"exclude has {len(exclude)} lists: expected one per query, {n_queries}")
        lists = [np.asarray(list(e)) for e in exclude]
        wrong = next((e.dtype for e in lists if len(e) and not np.issubdtype(e.dtype, np.integer)), None)
        if wrong is not None:
            raise InputError(
                f"exclude holds {wrong}: expected ids, whole numbers, or a mask of {(n_queries, n_items)}"
            )
        indices = np.concatenate([e.astype(np.int64) for e in lists] or [np.empty(0, np.int64)])
        if len(indices) and not (indices.min() >= 0 and indices.max() < n_items):
            raise InputError(
                f"exclude holds id {indices.max() if indices.min() >= 0 else indices.min()}: expected 0 to "
                f"{n_items - 1}"
            )
        indptr = np.concatenate([[0], np.cumsum([len(e) for e in lists])])
        return sp.csr_matrix((np.ones(len(indices), np.float32), indices, indptr), shape=(n_queries, n_items))
    if exclude.shape != (n_queries, n_items):
        raise InputError(f"exclude has shape {exclude.shape}: expected {(n_queries, n_items)}")
    return exclude.tocsr()


class Rows:
    """Rows ``[n, d]`` to multiply with, equal rows once: the scores of equal items are equal in every bit.

    A matrix product rounds equal rows differently by where they stand in a block, and each processor has
    blocks of its own: without this, rounding would order equal items, and differently on every machine.
    """

    def __init__(self, v: np.ndarray):
        v = np.ascontiguousarray(v) + np.float32(0)  # -0 becomes 0
        seen: dict[bytes, int] = {}
        place = np.fromiter(
            (seen.setdefault(row.tobytes(), len(seen)) for row in v), dtype=np.int64, count=len(v)
        )
        self.place = place if len(seen) < len(v) else None
        self.distinct = v if self.place is None else v[np.unique(place, return_index=True)[1]]

    def scores(self, queries: np.ndarray) -> np.ndarray:
        """Dot products ``[len(queries), n]``."""
        found = queries @ self.distinct.T
        return found if self.place is None else found[:, self.place]


def mask(scores: np.ndarray, seen: sp.csr_matrix) -> None:
    """Set ``scores [n, n_items]`` to -inf wherever ``seen`` has a non-zero, in place."""
    rows = np.repeat(np.arange(seen.shape[0]), np.diff(seen.indptr))
    present = seen.data != 0
    scores[rows[present], seen.indices[present]] = -np.inf


def rank_scores(scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The ``k`` best columns of every row, best first, equal scores by the smaller id: ids and scores
    ``[n, k]``.

    A row with fewer than ``k`` scores above -inf ends in ids of -1. A selection in linear time finds the k-th
    score; only rows where ties straddle it are sorted in full.
    """
    n_items = scores.shape[1]
    if k >= n_items:
        ids = np.argsort(-scores, axis=1, kind="stable")
    else:
        ids = _selected(scores, k)
    best = np.take_along_axis(scores, ids, axis=1)
    ids = np.where(np.isneginf(best), -1, ids)
    if k > n_items:
        pad = ((0, 0), (0, k - n_items))
        ids, best = np.pad(ids, pad, constant_values=-1), np.pad(best, pad, constant_values=-np.inf)
    return ids, best


def _selected(scores: np.ndarray, k: int) -> np.ndarray:
    import torch

    # torch selects several times faster than NumPy partitions; one more than k shows whether a tie straddles
    # the cut.
    selected = torch.from_numpy(np.ascontiguousarray(scores)).topk(k + 1, dim=1)
    best, ids = selected.values.numpy(), selected.indices.numpy()
    straddled = np.flatnonzero(best[:, k - 1] == best[:, k])
    best, ids = best[:, :k], ids[:, :k].copy()
    order = np.lexsort((ids, -best), axis=1)
    ids = np.take_along_axis(ids, order, axis=1)
    for row in straddled:
        cut = best[row, k - 1]
        above = np.flatnonzero(scores[row] > cut)
        equal = np.flatnonzero(scores[row] == cut)[: k - len(above)]
        chosen = np.concatenate([above, equal])
        ids[row] = chosen[np.lexsort((chosen, -scores[row, chosen]))]
    return ids
