"""Fewer components: the first coordinates along the principal axes of the training vectors."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from recsys_lib.core.errors import InputError
from recsys_lib.vectors.quantization import integers
from recsys_lib.vectors.quantization.arrays import LARGEST, NONE, blocks, check
from recsys_lib.vectors.quantization.bounds import norms, rounded_up
from recsys_lib.vectors.quantization.codes import QuantizedVectors

# How far axes may be from orthonormal matters to no bound: errors are measured against what is really
# decoded.


@dataclass(frozen=True, eq=False)
class Principal:
    """``v̂ = mean + z · axes`` with the coordinates ``z = (v - mean) · axesᵀ`` as float32 or as int8 with a
    scale per vector.

    mean ``[d]``; axes ``[kept, d]``, rows of length 1, in descending order of variance.
    """

    scheme: str
    mean: np.ndarray
    axes: np.ndarray

    def quantize(self, vectors: np.ndarray) -> QuantizedVectors:
        v = check(vectors, len(self.mean))
        z = np.empty((len(v), len(self.axes)), dtype=np.float32)
        for block in blocks(len(v)):
            exact = (v[block].astype(np.float64) - self.mean) @ self.axes.T.astype(np.float64)
            z[block] = np.clip(exact, -LARGEST, LARGEST)
        codes, scale = z, NONE
        if self.scheme == "pca-int8":
            coordinates = integers.fit_int8(z).quantize(z)
            codes, scale = coordinates.codes, coordinates.scale
        shared = self.mean.nbytes + self.axes.nbytes
        q = QuantizedVectors(
            self.scheme, codes, v.shape[1], scale, self.mean, NONE, self.axes, shared, from_coordinates
        )
        return replace(q, errors=_errors(q, v))


def _coordinates(q: QuantizedVectors, rows: slice | np.ndarray) -> np.ndarray:
    if q.scheme == "pca":
        return q.codes[rows]
    return integers.decode(q.codes[rows], q.scale[rows][:, None], None)


def from_coordinates(q: QuantizedVectors, rows: slice | np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore"):
        v = _coordinates(q, rows) @ q.codebook
        v += q.offset
    return v if np.isfinite(v).all() else np.clip(np.nan_to_num(v, nan=0.0), -LARGEST, LARGEST)


def _errors(q: QuantizedVectors, vectors: np.ndarray) -> np.ndarray:
    """Distance to the exact ``mean + z · axes``, plus what the float32 product may add to it in any order of
    summation.

    A sum of ``m`` products and the mean errs by at most ``(m + 2) u (|z| · |axes| + |mean|)`` in each
    component (Higham, 2002, section 3.1), and by less than the smallest normal number for each product that
    vanishes. Where it could overflow, the bound is infinite.
    """
    unit = (q.codebook.shape[0] + 4) * 2.0**-24
    axes, mean = q.codebook.astype(np.float64), q.offset.astype(np.float64)
    errors = np.empty(len(vectors), dtype=np.float32)
    for block in blocks(len(vectors)):
        z = _coordinates(q, block).astype(np.float64)
        terms = np.abs(z) @ np.abs(axes) + np.abs(mean)
        distance = norms(vectors[block] - (mean + z @ axes))
        # Float64 sums err by as many units of 2^-53 of the same terms: far below 2^-24, but the vector's own
        # size counts.
        distance += norms(unit * terms * (1 + 2.0**-20)) + norms(terms + np.abs(vectors[block])) * 2.0**-43
        distance += q.codebook.shape[0] * np.sqrt(q.dimension) * 2.0**-126 * (terms.max(axis=1) > 0)
        distance[terms.max(axis=1) > LARGEST / 2] = np.inf
        errors[block] = rounded_up(distance, q.dimension)
    return errors


def _fit(scheme: str, train: np.ndarray, dimensions: int | None) -> Principal:
    d = train.shape[1]
    kept = max(1, d // 4) if dimensions is None else dimensions
    if not isinstance(kept, int | np.integer) or not 1 <= kept <= d:
        raise InputError(f"dimensions={dimensions!r}: expected from 1 to {d}")
    if not len(train):
        raise InputError(f"{scheme} learns its axes: expected at least 1 vector, not 0")
    v = train.astype(np.float64)
    mean = v.mean(axis=0)
    v -= mean
    # Divided by the largest, so that no square overflows float64's range of what eigh handles well.
    v /= np.abs(v).max() or 1
    axes = np.linalg.eigh(v.T @ v)[1][:, ::-1].T[:kept]
    # An axis has no sign of its own: its largest component is made positive.
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1)
    axes = axes * np.where(largest < 0, -1, 1)
    # In the order of a loaded file: another order would sum products otherwise.
    return Principal(scheme, mean.astype(np.float32), np.ascontiguousarray(axes, dtype=np.float32))


def fit_float32(train: np.ndarray, dimensions: int | None = None) -> Principal:
    return _fit("pca", train, dimensions)


def fit_int8(train: np.ndarray, dimensions: int | None = None) -> Principal:
    return _fit("pca-int8", train, dimensions)
