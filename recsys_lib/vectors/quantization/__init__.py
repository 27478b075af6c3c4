"""Vectors in fewer bytes, with a proved bound on what each lost.

``quantize(vectors, scheme)`` gives codes; their ``dequantize()`` gives float32 vectors again, and
``errors[i] >= |v_i - v̂_i|`` holds for every one of them. Schemes that learn something from data (ranges, a
mean, a codebook) learn it from the vectors themselves, or with
``calibrate(train_vectors, scheme).quantize(vectors)`` from others. What lies outside of a learned range
saturates. Vectors are brought to float32 first, and NaN and infinity are refused, naming the row.

| scheme | codes | options (defaults) |
|---|---|---|
| ``float32`` | the vectors | |
| ``float16``, ``bfloat16`` | rounded to nearest even; beyond the largest, the largest | |
| ``int8`` | a scale per vector, symmetric | ``calibration="min-max"``, ``percentile=99.9`` |
| ``int8-offset`` | a scale and an offset per vector | the same |
| ``int8-dimension`` | a scale and an offset per dimension, learned | the same |
| ``int4`` | two in a byte, a scale per vector or per ``group`` of components | ``calibration="mse"``,
``percentile``, ``group=None`` |
| ``pq`` | product quantization: the nearest of 2^``bits`` learned centroids in each subspace |
``subspaces=d//8``, ``bits=8``, ``seed=0`` |
| ``binary`` | the sign after subtracting the learned mean, a scale per vector | ``centre=True`` |
| ``pca`` | the first coordinates along the learned principal axes, float32 | ``dimensions=d//4`` |
| ``pca-int8`` | the same coordinates as ``int8`` | ``dimensions=d//4`` |

``calibration`` decides the range that codes span: ``min-max`` all values, ``percentile`` that fraction of
them, ``mse`` the fraction of the full range with the least squared error.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Protocol

import numpy as np

from recsys_lib.core.errors import InputError
from recsys_lib.vectors.quantization import binary, floats, integers, pca, product
from recsys_lib.vectors.quantization.arrays import check
from recsys_lib.vectors.quantization.codes import QuantizedVectors
from recsys_lib.vectors.quantization.integers import CALIBRATIONS

__all__ = ["CALIBRATIONS", "SCHEMES", "QuantizedVectors", "Quantizer", "calibrate", "quantize"]


class Quantizer(Protocol):
    """A scheme ready to use: its options, and what it learned from the vectors it was calibrated on."""

    def quantize(self, vectors: np.ndarray) -> QuantizedVectors: ...


FITS: dict[str, Callable[..., Quantizer]] = {
    "float32": floats.fit_float32,
    "float16": floats.fit_float16,
    "bfloat16": floats.fit_bfloat16,
    "int8": integers.fit_int8,
    "int8-offset": integers.fit_int8_offset,
    "int8-dimension": integers.fit_int8_dimension,
    "int4": integers.fit_int4,
    "pq": product.fit,
    "binary": binary.fit,
    "pca": pca.fit_float32,
    "pca-int8": pca.fit_int8,
}
SCHEMES = tuple(FITS)


def calibrate(train_vectors: np.ndarray, scheme: str, **options) -> Quantizer:
    """Learn what ``scheme`` needs from ``train_vectors [n, d]``; the result quantizes any vectors of ``d``
    components.

    Raises:
        InputError: an unknown scheme or option, NaN, too few vectors to learn from.
    """
    if scheme not in FITS:
        raise InputError(f"scheme={scheme!r}: expected one of {', '.join(SCHEMES)}")
    vectors = check(train_vectors)
    fit = FITS[scheme]
    known = list(inspect.signature(fit).parameters)[1:]
    unknown = [name for name in options if name not in known]
    if unknown:
        raise InputError(
            f"scheme {scheme!r} has no option {unknown[0]!r}: it has {', '.join(known) or 'none'}"
        )
    return fit(vectors, **options)


def quantize(vectors: np.ndarray, scheme: str, **options) -> QuantizedVectors:
    """``vectors [n, d]`` as codes, calibrated on themselves.

    >>> q = quantize(np.array([[0.5, -1.0], [0.0, 0.0]]), "int8")
    >>> q.codes.tolist(), q.bytes_per_vector, bool(q.errors[1] == 0 < q.errors[0] < 0.5 / 127)
    ([[64, -127], [0, 0]], 6.0, True)

    Raises:
        InputError: as ``calibrate``.
    """
    return calibrate(vectors, scheme, **options).quantize(vectors)
