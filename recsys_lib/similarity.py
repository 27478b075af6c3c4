"""Cosine and its relatives, and exact top-k.

Inputs are real vectors as rows, ``[n, d]``; they are brought to float32 and products are summed in float32, except where
both inputs are float64, which stay so. Distances are summed in float64. NaN and infinity are refused, naming the row: one
NaN would silently spoil a ranking.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp

from recsys_lib.errors import InputError

METRICS = ("cosine", "dot", "euclidean", "pearson")
# Scores of one block: 64 MB of float32, which bounds the memory of top_k whatever the catalogue.
BLOCK_SCORES = 16 * 2**20


def _vectors(name: str, v: np.ndarray) -> np.ndarray:
    v = np.asarray(v)
    if v.ndim != 2:
        raise InputError(f"{name} has shape {v.shape}: want rows of vectors, [n, d]")
    if not np.issubdtype(v.dtype, np.number) or np.iscomplexobj(v):
        raise InputError(f"{name} holds {v.dtype}: want real numbers")
    v = v if v.dtype == np.float64 else np.ascontiguousarray(v, dtype=np.float32)
    # A sum is finite only if all its terms are (or they overflow); the row is looked for only then.
    with np.errstate(over="ignore", invalid="ignore"):
        total = np.add.reduce(v, axis=None)
    if not np.isfinite(total):
        bad = np.flatnonzero(~np.isfinite(v).all(axis=1))
        if len(bad):
            raise InputError(f"{name} row {bad[0]} holds NaN or infinity ({len(bad)} such rows): want finite numbers")
    return v


def _pair(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    a, b = _vectors("a", a), _vectors("b", b)
    if a.shape[1] != b.shape[1]:
        raise InputError(f"a has shape {a.shape} and b {b.shape}: want the same number of columns")
    if a.dtype != b.dtype:
        a, b = a.astype(np.float32), b.astype(np.float32)
    return a, b


def normalize(v: np.ndarray) -> np.ndarray:
    """Rows scaled to length 1; a zero row stays zero.

    Rows are first divided by their largest component, so that no square overflows or vanishes.
    """
    v = _vectors("v", v)
    largest = np.abs(v).max(axis=1, keepdims=True, initial=0)
    v = v / np.where(largest > 0, largest, 1)
    length = np.sqrt(np.einsum("ij,ij->i", v, v))[:, None]
    return v / np.where(length > 0, length, 1)


def _scaled(v: np.ndarray) -> np.ndarray:
    """Rows times a power of two, which changes no digit: no sum of their squares overflows, and hardly one vanishes."""
    exponent = np.frexp(np.abs(v).max(axis=1, keepdims=True, initial=0))[1]
    return v * np.exp2(-np.maximum(exponent, -100)).astype(v.dtype)


def _centred_rows(v: np.ndarray) -> np.ndarray:
    v = _vectors("v", v)
    if not v.shape[1]:
        return v
    v = _scaled(v)
    centred = v - v.mean(axis=1, keepdims=True)
    # A constant row has no correlation with anything; its rounding noise must not pass for one.
    constant = v.max(axis=1, initial=-np.inf) == v.min(axis=1, initial=np.inf)
    centred[constant] = 0
    return centred


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cosine of every row of ``a [n, d]`` with every row of ``b [m, d]``: ``u·v / (|u||v|)``, ``[n, m]`` in [-1, 1].

    The cosine with a zero vector is 0: it points nowhere.

    >>> cosine(np.array([[1, 2, 3]]), np.array([[4, 5, 6], [0, 0, 0]])).round(4)
    array([[0.9746, 0.    ]], dtype=float32)

    Raises:
        InputError: not ``[n, d]``, different ``d``, NaN or infinity.
    """
    a, b = _pair(a, b)
    return np.clip(normalize(a) @ normalize(b).T, -1, 1)


def dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Dot products ``[n, m]``.

    Raises:
        InputError: as ``cosine``, and components so large that a sum could overflow.
    """
    a, b = _pair(a, b)
    _no_overflow(_lengths(a), _lengths(b))
    return a @ b.T


def _lengths(v: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return np.sqrt(np.einsum("ij,ij->i", v, v))


def _no_overflow(a: np.ndarray, b: np.ndarray) -> None:
    """Refuse rows of such lengths that a sum of products could overflow; by Cauchy and Schwarz no other can."""
    longest = float(a.max(initial=0)), float(b.max(initial=0))
    if not max(longest) < np.sqrt(float(np.finfo(a.dtype).max) / 8):
        raise InputError(
            f"rows of length up to {max(longest):.2g} can overflow a sum in {a.dtype}: scale the vectors down"
        )


def euclidean(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Distances ``|u - v|``, ``[n, m]``, at least 0. Smaller is nearer; ``top_k`` ranks by the negative distance.

    ``sqrt(|u|² + |v|² - 2 u·v)`` cancels where points are near each other and far from the origin, so it is summed in float64
    after subtracting the mean of ``b``; what remains is an error of about 1e-8 of the vectors' length. A distance beyond
    the largest float32 is infinite.
    """
    a, b = _pair(a, b)
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


def pearson(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Pearson correlation ``[n, m]``: the cosine after each row lost its own mean; 0 with a constant row."""
    a, b = _pair(a, b)
    return np.clip(normalize(_centred_rows(a)) @ normalize(_centred_rows(b)).T, -1, 1)


def _prepare(metric: str, v: np.ndarray) -> np.ndarray:
    if metric == "cosine":
        return normalize(v)
    return normalize(_centred_rows(v)) if metric == "pearson" else v


def top_k(
    queries: np.ndarray,
    items: np.ndarray,
    k: int,
    exclude: sp.csr_matrix | Sequence[Sequence[int]] | None = None,
    metric: str = "cosine",
) -> tuple[np.ndarray, np.ndarray]:
    """The ``k`` best items of every query, exactly: ids ``[n, k]`` int64 and scores ``[n, k]``, best first.

    Equal scores are ordered by the smaller id. Items to leave out per query come as CSR ``[n, n_items]`` (non-zeros) or as
    one sequence of ids per query; where fewer than ``k`` remain, the rest is id -1 with score -inf. Queries are taken in
    blocks so that never more than 64 MB of scores exist; scores may differ in the last bit with the block a query is in.

    Raises:
        InputError: an unknown metric, ``k`` below 1 or above the number of items, mismatched shapes, NaN.
    """
    if metric not in METRICS:
        raise InputError(f"metric={metric!r}: want one of {', '.join(METRICS)}")
    queries, items = _pair(queries, items)
    if not isinstance(k, int | np.integer) or not 1 <= k <= len(items):
        raise InputError(f"k={k!r}: want between 1 and the number of items, {len(items)}")
    seen = _exclusion(exclude, len(queries), len(items))
    prepared_q, prepared_x = _prepare(metric, queries), _prepare(metric, items)
    block = max(1, BLOCK_SCORES // len(items))
    ids = np.empty((len(queries), k), dtype=np.int64)
    best = np.empty((len(queries), k), dtype=queries.dtype)
    for start in range(0, len(queries), block):
        rows = slice(start, min(start + block, len(queries)))
        if metric == "euclidean":
            scores = -euclidean(queries[rows], items)
        else:
            scores = prepared_q[rows] @ prepared_x.T
            if metric != "dot":
                np.clip(scores, -1, 1, out=scores)
        if seen is not None:
            mask(scores, seen[rows])
        ids[rows], best[rows] = rank_scores(scores, k)
    return ids, best


def _exclusion(exclude, n_queries: int, n_items: int) -> sp.csr_matrix | None:
    if exclude is None:
        return None
    if not sp.issparse(exclude):
        if len(exclude) != n_queries:
            raise InputError(f"exclude has {len(exclude)} lists: want one per query, {n_queries}")
        indices = np.concatenate([np.asarray(list(e), dtype=np.int64) for e in exclude] or [np.empty(0, np.int64)])
        if len(indices) and not (indices.min() >= 0 and indices.max() < n_items):
            raise InputError(
                f"exclude holds id {indices.max() if indices.min() >= 0 else indices.min()}: want 0 to {n_items - 1}"
            )
        indptr = np.concatenate([[0], np.cumsum([len(e) for e in exclude])])
        return sp.csr_matrix((np.ones(len(indices), np.float32), indices, indptr), shape=(n_queries, n_items))
    if exclude.shape != (n_queries, n_items):
        raise InputError(f"exclude has shape {exclude.shape}: want {(n_queries, n_items)}")
    return exclude.tocsr()


def mask(scores: np.ndarray, seen: sp.csr_matrix) -> None:
    """Set ``scores [n, n_items]`` to -inf wherever ``seen`` has a non-zero, in place."""
    rows = np.repeat(np.arange(seen.shape[0]), np.diff(seen.indptr))
    present = seen.data != 0
    scores[rows[present], seen.indices[present]] = -np.inf


def rank_scores(scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The ``k`` best columns of every row, best first, equal scores by the smaller id: ids and scores ``[n, k]``.

    A row with fewer than ``k`` scores above -inf ends in ids of -1. A selection in linear time finds the k-th score; only
    rows where ties straddle it are mended by a full sort.
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

    # torch selects several times faster than NumPy partitions; one more than k shows whether a tie straddles the cut.
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
