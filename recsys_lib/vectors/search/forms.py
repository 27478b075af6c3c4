"""The score of a code as the kernel computes it, for every scheme whose ``dequantize`` is linear in its
codes.

``w_i q·v̂_i = factor_i (q'·c_i) + Σ_t term_ti (q·direction_t)``, where ``q'`` is the query in the coordinates
of the codes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from recsys_lib.vectors.quantization import QuantizedVectors
from recsys_lib.vectors.quantization.product import in_groups

# As in search.h.
INT8, INT4, BINARY, FLOAT32, FLOAT16, BFLOAT16, PRODUCT, PRODUCT4, BITS = range(9)
KINDS = {
    "float32": FLOAT32, "float16": FLOAT16, "bfloat16": BFLOAT16, "int8": INT8, "int8-offset": INT8,
    "int8-dimension": INT8,
    "int4": INT4, "binary": BINARY, "pca": FLOAT32, "pca-int8": INT8, "pq": PRODUCT,
}  # fmt: skip

# What the two numbers of a byte of 4-bit codes, which stand for themselves less 8, add to a square.
_SQUARES_OF_HALVES = sum(np.square(np.arange(256.0) // by % 16 - 8) for by in (1, 16))
# Sums of more 8-bit entries of tables could exceed 16 bits.
MAX_PARTS = 256


@dataclass(frozen=True, eq=False)
class Form:
    """codes: ``[n_items, width]``, C order; PRODUCT4 ``[groups, width, 64]``. d: numbers, or parts of a
    product code, per item. codebook: of product codes ``[d, width, entries]`` float32, where the components
    of each part begin, start ``[d]``; in PRODUCT4 all lower halves of bytes come first. rows: codes of
    PRODUCT4 item by item, ``[n_items, width]``, where they are at hand: an item is scored faster from one
    line of the cache.

    to_codes: queries ``[n, d]`` float64 in the coordinates of the codes, ``[n, m]``. factor: ``[n_items]``
    float32. terms, directions: ``[t, n_items]`` float32 and ``[t, d]`` float64. code_length: the largest
    ``|factor_i c_i|``.
    """

    kind: int
    codes: np.ndarray
    d: int
    codebook: np.ndarray
    to_codes: Callable[[np.ndarray], np.ndarray]
    factor: np.ndarray
    terms: np.ndarray
    directions: np.ndarray
    code_length: float
    rows: np.ndarray | None = None
    start: np.ndarray | None = None

    @cached_property
    def size(self) -> float:
        """What all parts of a score of a unit query can sum up to, of which rounding takes its share."""
        largest = np.abs(self.terms).max(axis=1, initial=0).astype(np.float64)
        return self.code_length + float(largest @ np.sqrt(np.square(self.directions).sum(axis=1)))

    @cached_property
    def largest_factor(self) -> float:
        return float(self.factor.max(initial=0))

    @cached_property
    def extremes(self) -> np.ndarray:
        """The least and the largest of all factors and of each term, float32 ``[1 + t, 2]``."""
        both = np.vstack([self.factor, self.terms])
        if not both.shape[1]:
            return np.zeros((len(both), 2), np.float32)
        return np.ascontiguousarray(np.stack([both.min(axis=1), both.max(axis=1)], axis=1))

    @property
    def entries(self) -> int:
        return self.codebook.shape[2] if self.kind in (PRODUCT, PRODUCT4) else 0

    def with_term(self, term: np.ndarray, direction: np.ndarray) -> Form:
        """The form with one more term."""
        return replace(
            self,
            terms=np.ascontiguousarray(np.vstack([self.terms, term.astype(np.float32)])),
            directions=np.vstack([self.directions, direction]),
        )


def linear_form(q: QuantizedVectors, weight: np.ndarray) -> Form | None:
    """The form of ``q`` with weights ``[n]``; None for codes that the kernel does not read."""
    if q.scheme not in KINDS or (q.scheme == "int4" and q.scale.shape[1] > 1):
        return None
    kind = KINDS[q.scheme]
    if kind == BINARY and 2 * q.codes.shape[1] <= MAX_PARTS:
        return _form_of_signs(q, weight)
    if kind == PRODUCT and (q.codebook.shape[1] not in (16, 256) or len(q.codebook) > MAX_PARTS):
        return None
    if kind == PRODUCT and q.codes.ndim == 3:
        kind = PRODUCT4
    codes = np.ascontiguousarray(q.codes)
    w = weight.astype(np.float64)
    per_item = q.scale.size == len(q) and q.scheme != "int8-dimension"
    factor = w * q.scale.reshape(-1) if per_item else w * _largest_scale(q)
    per_byte = {INT4: 2, BINARY: 8, PRODUCT4: 2}.get(kind, 1)
    terms, directions = _terms(q, w)
    d, codebook, start = per_byte * codes.shape[1], q.codebook, None
    if kind in (PRODUCT, PRODUCT4):
        codebook, start = _parts(codebook, d, per_byte)
    return Form(
        kind, codes, d, codebook, _query_map(q, kind),
        factor.astype(np.float32), terms.astype(np.float32), directions,
        _code_length(q, kind, factor), start=start,
    )  # fmt: skip


def _parts(codebook: np.ndarray, d: int, per_byte: int) -> tuple[np.ndarray, np.ndarray]:
    """Centroids ``[parts, entries, width]`` as ``[d, width, entries]``, and where each part begins: first the
    first of every ``per_byte``, then the second; a part that is missing is 0.
    """
    parts, entries, width = codebook.shape
    filled = np.zeros((d, width, entries), dtype=np.float32)
    filled[:parts] = codebook.swapaxes(1, 2)
    order = np.arange(d).reshape(-1, per_byte).T.ravel()
    return np.ascontiguousarray(filled[order]), order * width


def _form_of_signs(q: QuantizedVectors, weight: np.ndarray) -> Form:
    """Binary codes as product codes of 4 bits: what 4 components of a query add for each of 16 patterns of
    signs is looked up, for many items in one instruction. The codes are held once more, in groups.
    """
    parts, w = 2 * q.codes.shape[1], weight.astype(np.float64)
    # The highest of 4 bits is the first component's.
    signs_of = 2.0 * (np.arange(16)[:, None] >> np.arange(3, -1, -1) & 1) - 1
    codebook = np.ascontiguousarray(np.broadcast_to(signs_of.T, (parts, 4, 16)), dtype=np.float32)
    # The lower half of a byte holds its later components.
    start = 4 * np.arange(parts).reshape(-1, 2)[:, ::-1].T.ravel()
    factor, (terms, directions) = w * q.scale, _terms(q, w)
    return Form(
        PRODUCT4, in_groups(q.codes), parts, codebook, lambda v: v,
        factor.astype(np.float32), terms.astype(np.float32), directions, _code_length(q, BINARY, factor),
        np.ascontiguousarray(q.codes), start,
    )  # fmt: skip


def sign_form(q: QuantizedVectors) -> Form:
    """How signs are compared with signs: equal ones minus different ones of the padded bits of binary
    codes.
    """
    n, width = q.codes.shape
    return Form(
        BITS, np.ascontiguousarray(q.codes), 8 * width, q.codebook, lambda v: signs(q, v), np.ones(n,
        dtype=np.float32),
        np.empty((0, n), dtype=np.float32), np.empty((0, q.dimension)), 1.0,
    )  # fmt: skip


def signs(q: QuantizedVectors, v: np.ndarray) -> np.ndarray:
    """Packed signs of vectors ``v [n, d]`` as ``q`` has them of its own."""
    return np.packbits(v > q.offset, axis=1)


def _terms(q: QuantizedVectors, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if q.scheme == "int8-offset":
        return (w * q.offset)[None], np.ones((1, q.dimension))
    if q.offset.size:
        return w[None], q.offset[None].astype(np.float64)
    return np.empty((0, len(q))), np.empty((0, q.dimension))


def _largest_scale(q: QuantizedVectors) -> float:
    """Of int8-dimension, so that queries in its coordinates stay near 1; 1 for other schemes."""
    return float(q.scale.max(initial=0)) if q.scheme == "int8-dimension" else 1.0


def _query_map(q: QuantizedVectors, kind: int) -> Callable[[np.ndarray], np.ndarray]:
    if q.scheme == "int8-dimension":
        return lambda v: v * (q.scale / (_largest_scale(q) or 1.0))
    if q.scheme in ("pca", "pca-int8"):
        return lambda v: v @ q.codebook.T.astype(np.float64)
    if kind in (BINARY, INT4):
        if kind == BINARY:  # NumPy packs the first bit highest, the kernel reads the lowest first
            order = np.arange(8 * q.codes.shape[1]).reshape(-1, 8)[:, ::-1].ravel()
        else:  # the kernel reads all lower halves of bytes first
            order = np.arange(2 * q.codes.shape[1]).reshape(-1, 2).T.ravel()
        return lambda v: _with_zeros(v, len(order))[:, order]
    return lambda v: v


def _with_zeros(v: np.ndarray, width: int) -> np.ndarray:
    """``v [n, d]`` with zeros up to ``width`` columns; ``np.pad`` takes a twentieth of a search."""
    if v.shape[1] == width:
        return v
    out = np.zeros((len(v), width), v.dtype)
    out[:, : v.shape[1]] = v
    return out


def _code_length(q: QuantizedVectors, kind: int, factor: np.ndarray) -> float:
    if kind == BINARY:
        return float(factor.max(initial=0)) * np.sqrt(q.dimension)
    if kind in (PRODUCT, PRODUCT4):
        return float(factor.max(initial=0)) * float(
            np.sqrt(np.square(q.codebook.astype(np.float64)).sum(2).max(1).sum())
        )
    longest = 0.0
    for start in range(0, len(q), 1024):
        part = q.codes[start : start + 1024]
        if q.scheme == "bfloat16":
            part = q.dequantize(slice(start, start + 1024))
        if kind == INT4:
            squares = _SQUARES_OF_HALVES[part].sum(axis=1)
        else:
            squares = np.einsum("ij,ij->i", part, part, dtype=np.float64)
        longest = max(longest, float((factor[start : start + 1024] * np.sqrt(squares)).max()))
    return longest
