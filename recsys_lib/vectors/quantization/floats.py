"""Floating-point codes: fewer bits of every component, and nothing learned."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recsys_lib.vectors.quantization.arrays import NONE, aligned, check
from recsys_lib.vectors.quantization.bounds import with_errors
from recsys_lib.vectors.quantization.codes import QuantizedVectors


@dataclass(frozen=True)
class Floats:
    """Rounding to ``scheme``: float32, float16 or bfloat16."""

    scheme: str
    dimension: int

    def quantize(self, vectors: np.ndarray) -> QuantizedVectors:
        v = check(vectors, self.dimension)
        encode, decode = CODERS[self.scheme]
        q = QuantizedVectors(self.scheme, encode(v), self.dimension, NONE, NONE, NONE, NONE, 0, decode)
        return with_errors(q, v)


def to_float16(v: np.ndarray) -> np.ndarray:
    """Rounded to nearest even; what is beyond 65,504 becomes that, not infinity."""
    return np.clip(v, -65504, 65504).astype(np.float16)


def to_bfloat16(v: np.ndarray) -> np.ndarray:
    """The upper half of a float32, rounded to nearest even, as uint16;
    numbers that would round to infinity saturate.
    """
    bits = v.view(np.uint32)
    upper = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return np.where((upper & 0x7FFF) == 0x7F80, upper - 1, upper).astype(np.uint16)


def _copy(v: np.ndarray) -> np.ndarray:
    copy = aligned(v.shape, np.float32)
    copy[:] = v
    return copy


def _from_float(q: QuantizedVectors, rows: slice | np.ndarray) -> np.ndarray:
    return q.codes[rows].astype(np.float32)


def _from_bfloat16(q: QuantizedVectors, rows: slice | np.ndarray) -> np.ndarray:
    return (q.codes[rows].astype(np.uint32) << 16).view(np.float32)


CODERS = {
    "float32": (_copy, _from_float),
    "float16": (to_float16, _from_float),
    "bfloat16": (to_bfloat16, _from_bfloat16),
}


def fit_float32(train: np.ndarray) -> Floats:
    return Floats("float32", train.shape[1])


def fit_float16(train: np.ndarray) -> Floats:
    return Floats("float16", train.shape[1])


def fit_bfloat16(train: np.ndarray) -> Floats:
    return Floats("bfloat16", train.shape[1])
