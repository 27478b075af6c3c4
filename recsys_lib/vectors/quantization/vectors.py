"""Codes of vectors, what is needed to read them, and the bound of every one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from recsys_lib.core.errors import InputError
from recsys_lib.vectors import similarity

# Rows that are encoded or checked at once: their float64 temporaries stay in the cache.
BLOCK_ROWS = 1024
LINE = 64
NONE = np.empty(0, dtype=np.float32)
LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True, eq=False)
class QuantizedVectors:
    """``n`` vectors of ``dimension`` components as codes; made by ``quantize``.

    codes: ``[n, width]``: float32, float16, bfloat16 as uint16, int8, or packed uint8 (int4: low half first, 8 more than the
    code; binary: first component in the highest bit; pq: as faiss packs them).
    scale: what codes are multiplied with: ``[n]`` (int8, int8-offset, binary, pca-int8), ``[d]`` (int8-dimension), ``[n, groups]``
    (int4), else empty. offset: what is added: ``[n]`` (int8-offset), ``[d]`` (int8-dimension, binary, pca), else empty.
    codebook: shared by all vectors: pq ``[subspaces, 2^bits, components]``, pca ``[kept, d]``, else empty.
    errors: ``[n]`` float32, at least the Euclidean distance between vector and ``dequantize()``, rounding included.
    shared_bytes: of what does not grow with ``n``. decoder: reads codes.
    """

    scheme: str
    codes: np.ndarray
    dimension: int
    scale: np.ndarray
    offset: np.ndarray
    errors: np.ndarray
    codebook: np.ndarray
    shared_bytes: int
    decoder: Callable[[QuantizedVectors, slice | np.ndarray], np.ndarray]

    def __len__(self) -> int:
        return len(self.errors)

    def dequantize(self, rows: np.ndarray | slice | None = None) -> np.ndarray:
        """Float32 vectors ``[m, d]`` of the given ``rows`` (places, a mask or a slice), by default of all."""
        rows = slice(None) if rows is None else rows if isinstance(rows, slice) else np.asarray(rows)
        if isinstance(rows, np.ndarray) and not rows.size:
            rows = rows.astype(np.int64)
        return self.decoder(self, rows)

    @property
    def bytes_per_vector(self) -> float:
        """All that is stored to dequantize, over ``n``: codes, scales, offsets and the share of what is common to all.

        The bounds, 4 bytes per vector, are not in it: only exact search reads them.
        """
        return self.bytes_among(len(self))

    def bytes_among(self, n: int) -> float:
        """Bytes per vector in a collection of ``n`` such vectors: what is common to all is shared by so many; 0 leaves it out."""
        stored = self.codes.nbytes + self.scale.nbytes + self.offset.nbytes + self.codebook.nbytes - self.shared_bytes
        of_one = stored / len(self) if len(self) else self.codes.shape[1] * self.codes.itemsize
        return of_one + (self.shared_bytes / n if n else 0)

    def dot_errors(self, queries: np.ndarray) -> np.ndarray:
        """At least ``|q·v - q·v̂|`` for each of ``queries [m, d]`` and each vector, ``[m, n]``: ``|q| · errors``, by Cauchy and Schwarz."""
        q = np.asarray(queries, dtype=np.float64)
        if q.ndim != 2 or q.shape[1] != self.dimension:
            raise InputError(f"queries have shape {q.shape}: expected [m, {self.dimension}]")
        lengths = np.sqrt(np.einsum("ij,ij->i", q, q)) * (1 + (self.dimension + 8) * 2.0**-52)
        return lengths[:, None] * self.errors.astype(np.float64) * (1 + 2.0**-50)

    def cosine_errors(self) -> np.ndarray:
        """At least ``|cos(q, v) - cos(q, v̂)|`` for any query, ``[n]`` float64, at most 2.

        ``v`` lies within ``e`` of ``v̂``, so the angle between them is at most ``θ = arcsin(e / |v̂|)``, and two cosines differ by no more
        than the chord ``2 sin(θ/2)``. 2 where the bound is as long as the code.
        """
        lengths = np.empty(len(self))
        for block in blocks(len(self)):
            lengths[block] = norms(self.dequantize(block))
        errors = self.errors.astype(np.float64) * (1 + (self.dimension + 16) * 2.0**-52)
        near = errors < lengths
        ratio = np.where(near, errors / np.where(near, lengths, 1), 0)
        return np.where(near, 2 * np.sin(np.arcsin(ratio) / 2) * (1 + 2.0**-48), np.where(errors > 0, 2.0, 0.0))


def check(vectors: np.ndarray, dimension: int | None = None) -> np.ndarray:
    """Float32 rows ``[n, d]``.

    Raises:
        InputError: another shape or dtype, no component, NaN, infinity or a number beyond float32.
    """
    v = np.asarray(vectors)
    if v.dtype == np.float64:
        with np.errstate(over="ignore"):
            v = v.astype(np.float32)
    v = similarity._vectors("vectors", v)
    if not v.shape[1] or v.shape[1] != (dimension or v.shape[1]):
        raise InputError(f"vectors have shape {v.shape}: expected [n, {dimension or 'at least 1'}]")
    return v


def aligned(shape: tuple[int, ...], dtype: type) -> np.ndarray:
    """An array of zeros that begins with a line of the cache: NumPy's begin 16 bytes later, and each wide read would take two lines."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    room = np.zeros(size + LINE, dtype=np.uint8)
    start = -room.ctypes.data % LINE
    return room[start : start + size].view(dtype).reshape(shape)


def blocks(n: int) -> list[slice]:
    """The rows ``0 ... n - 1`` in blocks."""
    return [slice(start, min(start + BLOCK_ROWS, n)) for start in range(0, n, BLOCK_ROWS)]


def norms(v: np.ndarray) -> np.ndarray:
    """Lengths of rows in float64, where no square of a float32 number overflows or vanishes."""
    return np.sqrt(np.einsum("ij,ij->i", v, v, dtype=np.float64))


def rounded_up(distances: np.ndarray, dimension: int) -> np.ndarray:
    """Float32 numbers at least as large as the true distances of which ``distances`` are the float64 sums; 0 stays 0.

    A difference, its square and a sum of ``d`` of them err by at most ``(d + 3) u`` of the result (Higham, 2002, section 3.1).
    """
    at_least = distances * (1 + (dimension + 8) * 2.0**-52)
    with np.errstate(over="ignore"):
        nearest = at_least.astype(np.float32)
    return np.where(nearest < at_least, np.nextafter(nearest, np.float32(np.inf)), nearest).astype(np.float32)


def with_errors(q: QuantizedVectors, vectors: np.ndarray) -> QuantizedVectors:
    """The same codes with their bounds: how far each ``dequantize()`` really lies from its vector, rounded up.

    For decoders that work component by component, whose result depends on nothing but the code.
    """
    errors = np.empty(len(vectors), dtype=np.float32)
    for block in blocks(len(vectors)):
        difference = vectors[block].astype(np.float64) - q.dequantize(block)
        errors[block] = rounded_up(norms(difference), q.dimension)
    return replace(q, errors=errors)
