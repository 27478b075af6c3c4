"""One bit per component: on which side of the learned mean it lies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recsys_lib.core.errors import InputError
from recsys_lib.vectors.quantization.arrays import NONE, aligned, blocks, check
from recsys_lib.vectors.quantization.bounds import with_errors
from recsys_lib.vectors.quantization.codes import QuantizedVectors
from recsys_lib.vectors.quantization.integers import decode


@dataclass(frozen=True, eq=False)
class Binary:
    """``v̂ = mean + scale · sign(v - mean)``. The scale with the least error is the mean of ``|v - mean|``
    over components.

    Rastegari et al., "XNOR-Net" (2016), section 3.1. A component at the mean counts as below it.
    """

    mean: np.ndarray

    def quantize(self, vectors: np.ndarray) -> QuantizedVectors:
        v = check(vectors, len(self.mean))
        codes = aligned((len(v), -(-v.shape[1] // 8)), np.uint8)
        scale = np.empty(len(v), dtype=np.float32)
        for block in blocks(len(v)):
            centred = v[block].astype(np.float64) - self.mean
            codes[block] = np.packbits(centred > 0, axis=1)
            scale[block] = np.abs(centred).mean(axis=1)
        q = QuantizedVectors(
            "binary", codes, v.shape[1], scale, self.mean, NONE, NONE, self.mean.nbytes, from_bits
        )
        return with_errors(q, v)


def from_bits(q: QuantizedVectors, rows: slice | np.ndarray) -> np.ndarray:
    bits = np.unpackbits(q.codes[rows], axis=1, count=q.dimension).astype(np.int8)
    return decode(2 * bits - 1, q.scale[rows][:, None], q.offset)


def fit(train: np.ndarray, centre: bool = True) -> Binary:
    if not centre:
        return Binary(np.zeros(train.shape[1], dtype=np.float32))
    if not len(train):
        raise InputError("binary learns the mean: expected at least 1 vector, not 0, or centre=False")
    return Binary(train.mean(axis=0, dtype=np.float64).astype(np.float32))
