"""The proved bounds of quantization: how far a code, a product and a cosine may lie from those of the vector.

With ``e >= |v - v̂|`` for a vector ``v`` and its dequantized code ``v̂``: ``|q·v - q·v̂| <= |q| e`` by Cauchy
and Schwarz (``dot_errors``), and ``|cos(q, v) - cos(q, v̂)| <= 2 sin(θ/2)`` with ``θ = arcsin(e / |v̂|)``
(``cosine_errors``). ``with_errors`` measures ``e`` and rounds it up, so that it holds in float32 too. What
pca adds, whose codes are decoded by a matrix product, is in ``pca.py``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from recsys_lib.core.errors import InputError
from recsys_lib.vectors.quantization.arrays import blocks

if TYPE_CHECKING:
    from recsys_lib.vectors.quantization.codes import QuantizedVectors


def norms(v: np.ndarray) -> np.ndarray:
    """Lengths of rows in float64, where no square of a float32 number overflows or vanishes."""
    return np.sqrt(np.einsum("ij,ij->i", v, v, dtype=np.float64))


def rounded_up(distances: np.ndarray, dimension: int) -> np.ndarray:
    """Float32 numbers at least as large as the true distances of which ``distances`` are the float64 sums; 0
    stays 0.

    A difference, its square and a sum of ``d`` of them err by at most ``(d + 3) u`` of the result (Higham,
    2002, section 3.1).
    """
    at_least = distances * (1 + (dimension + 8) * 2.0**-52)
    with np.errstate(over="ignore"):
        nearest = at_least.astype(np.float32)
    return np.where(nearest < at_least, np.nextafter(nearest, np.float32(np.inf)), nearest).astype(np.float32)


def with_errors(q: QuantizedVectors, vectors: np.ndarray) -> QuantizedVectors:
    """The same codes with their bounds: how far each ``dequantize()`` really lies from its vector, rounded
    up.

    For decoders that work component by component, whose result depends on nothing but the code.
    """
    errors = np.empty(len(vectors), dtype=np.float32)
    for block in blocks(len(vectors)):
        difference = vectors[block].astype(np.float64) - q.dequantize(block)
        errors[block] = rounded_up(norms(difference), q.dimension)
    return replace(q, errors=errors)


def dot_errors(codes: QuantizedVectors, queries: np.ndarray) -> np.ndarray:
    """At least ``|q·v - q·v̂|`` for each of ``queries [m, d]`` and each vector, ``[m, n]``:
    ``|q| · errors``, by Cauchy and Schwarz.
    """
    q = np.asarray(queries, dtype=np.float64)
    if q.ndim != 2 or q.shape[1] != codes.dimension:
        raise InputError(f"queries have shape {q.shape}: expected [m, {codes.dimension}]")
    lengths = np.sqrt(np.einsum("ij,ij->i", q, q)) * (1 + (codes.dimension + 8) * 2.0**-52)
    return lengths[:, None] * codes.errors.astype(np.float64) * (1 + 2.0**-50)


def cosine_errors(codes: QuantizedVectors) -> np.ndarray:
    """At least ``|cos(q, v) - cos(q, v̂)|`` for any query, ``[n]`` float64, at most 2.

    ``v`` lies within ``e`` of ``v̂``, so the angle between them is at most ``θ = arcsin(e / |v̂|)``, and two
    cosines differ by no more than the chord ``2 sin(θ/2)``. 2 where the bound is as long as the code.
    """
    lengths = np.empty(len(codes))
    for block in blocks(len(codes)):
        lengths[block] = norms(codes.dequantize(block))
    errors = codes.errors.astype(np.float64) * (1 + (codes.dimension + 16) * 2.0**-52)
    near = errors < lengths
    ratio = np.where(near, errors / np.where(near, lengths, 1), 0)
    return np.where(near, 2 * np.sin(np.arcsin(ratio) / 2) * (1 + 2.0**-48), np.where(errors > 0, 2.0, 0.0))
