"""Integer codes: ``v̂ = scale · code (+ offset)``, with the range that the codes span chosen per vector,
group or dimension.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from recsys_lib.core.errors import InputError
from recsys_lib.vectors.quantization.arrays import LARGEST, NONE, aligned, blocks, check
from recsys_lib.vectors.quantization.bounds import with_errors
from recsys_lib.vectors.quantization.codes import QuantizedVectors

CALIBRATIONS = ("min-max", "percentile", "mse")
# Fractions of the full range among which ``mse`` chooses.
FRACTIONS = np.linspace(1.0, 0.3, 29)


# ---------------------------------------------------------------- ranges


def ranges(
    v: np.ndarray, axis: int, symmetric: bool, levels: tuple[int, int], calibration: str, percentile: float
) -> tuple[np.ndarray, np.ndarray]:
    """The least and the greatest value along ``axis`` of ``v [n, m]`` that codes shall represent, float64.

    ``symmetric`` ranges are about 0 and reach equally far both ways. ``levels`` are the least and the
    greatest code, on which the squared error of ``mse`` depends; its ranges shrink towards the middle of the
    full one.
    """
    if calibration == "percentile":
        tail = (100 - percentile) * (1 if symmetric else 0.5)
        if symmetric:
            high = np.percentile(np.abs(v), 100 - tail, axis=axis).astype(np.float64)
            return -high, high
        low, high = np.percentile(v, [tail, 100 - tail], axis=axis).astype(np.float64)
        return low, high
    low, high = (edge(v, axis=axis).astype(np.float64) for edge in (np.min, np.max))
    if symmetric:
        high = np.maximum(-low, high)
        low = -high
    if calibration == "min-max":
        return low, high
    middle, half = (low + high) / 2, (high - low) / 2
    best, least = np.ones_like(half), np.full_like(half, np.inf)
    for fraction in FRACTIONS:
        scale, offset = affine(middle - fraction * half, middle + fraction * half, symmetric, levels)
        error = _squared_error(v, axis, scale, offset, levels)
        best, least = np.where(error < least, fraction, best), np.minimum(error, least)
    return middle - best * half, middle + best * half


def _squared_error(
    v: np.ndarray, axis: int, scale: np.ndarray, offset: np.ndarray, levels: tuple[int, int]
) -> np.ndarray:
    along = (slice(None), None) if axis == 1 else (None, slice(None))
    total = np.zeros(v.shape[1] if axis == 0 else len(v))
    for block in blocks(len(v)):
        s, o = (scale[block], offset[block]) if axis == 1 else (scale, offset)
        codes = nearest_codes(v[block], s[along], o[along], levels)
        part = np.square(v[block].astype(np.float64) - (codes * s[along].astype(np.float64) + o[along])).sum(
            axis=axis
        )
        if axis == 1:
            total[block] = part
        else:
            total += part
    return total


def affine(
    low: np.ndarray, high: np.ndarray, symmetric: bool, levels: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Scale and offset, float32, with which the codes ``levels[0] ... levels[1]`` span ``low`` to ``high``.

    A scale has 16 significant bits: its product with a code is then exact in float32, and codes of
    dequantized vectors are the same codes again.
    """
    mantissa, exponent = np.frexp((high - low) / (levels[1] - levels[0]))
    scale = np.ldexp(np.rint(mantissa * 2**16), exponent - 16).astype(np.float32)
    if symmetric:
        return scale, np.zeros_like(scale)
    return scale, np.clip(low - levels[0] * scale.astype(np.float64), -LARGEST, LARGEST).astype(np.float32)


def nearest_codes(
    v: np.ndarray, scale: np.ndarray, offset: np.ndarray | float, levels: tuple[int, int]
) -> np.ndarray:
    """The nearest code of each component, the outermost beyond the range; 0 where the scale is 0.

    As float64.
    """
    steps = (v.astype(np.float64) - offset) / np.where(scale > 0, scale, 1)
    return np.clip(np.rint(np.where(scale > 0, steps, 0)), *levels)


def decode(codes: np.ndarray, scale: np.ndarray, offset: np.ndarray | None) -> np.ndarray:
    """``scale · codes + offset`` in float32, each component by itself;
    what would overflow is the largest number.
    """
    v = codes.astype(np.float32)
    reach = 128.0 * float(scale.max(initial=0))
    if offset is not None:
        reach += float(np.abs(offset).max(initial=0))
    with np.errstate(over="ignore"):
        v *= scale
        if offset is not None:
            v += offset
    return v if reach < LARGEST else np.clip(v, -LARGEST, LARGEST)


def _check_options(calibration: str, percentile: float) -> None:
    if calibration not in CALIBRATIONS:
        raise InputError(f"calibration={calibration!r}: expected one of {', '.join(CALIBRATIONS)}")
    if not 50 < percentile <= 100:
        raise InputError(f"percentile={percentile!r}: expected above 50, at most 100")


# ---------------------------------------------------------------- int8


@dataclass(frozen=True)
class PerVector:
    """int8 with a scale per vector, and with an offset too unless ``symmetric``:
    nothing is learned from other vectors.
    """

    dimension: int
    symmetric: bool
    calibration: str
    percentile: float

    def quantize(self, vectors: np.ndarray) -> QuantizedVectors:
        v = check(vectors, self.dimension)
        levels = (-127, 127) if self.symmetric else (-128, 127)
        codes = aligned(v.shape, np.int8)
        scale, offset = np.empty(len(v), dtype=np.float32), np.empty(len(v), dtype=np.float32)
        for block in blocks(len(v)):
            part = v[block]
            low, high = ranges(part, 1, self.symmetric, levels, self.calibration, self.percentile)
            scale[block], offset[block] = affine(low, high, self.symmetric, levels)
            codes[block] = nearest_codes(part, scale[block, None], offset[block, None], levels)
        if self.symmetric:
            q = QuantizedVectors("int8", codes, self.dimension, scale, NONE, NONE, NONE, 0, from_int8)
        else:
            q = QuantizedVectors(
                "int8-offset", codes, self.dimension, scale, offset, NONE, NONE, 0, from_int8_offset
            )
        return with_errors(q, v)


def from_int8(q: QuantizedVectors, rows: slice | np.ndarray) -> np.ndarray:
    return decode(q.codes[rows], q.scale[rows][:, None], None)


def from_int8_offset(q: QuantizedVectors, rows: slice | np.ndarray) -> np.ndarray:
    return decode(q.codes[rows], q.scale[rows][:, None], q.offset[rows][:, None])


def fit_int8(train: np.ndarray, calibration: str = "min-max", percentile: float = 99.9) -> PerVector:
    _check_options(calibration, percentile)
    return PerVector(train.shape[1], True, calibration, percentile)


def fit_int8_offset(train: np.ndarray, calibration: str = "min-max", percentile: float = 99.9) -> PerVector:
    _check_options(calibration, percentile)
    return PerVector(train.shape[1], False, calibration, percentile)


@dataclass(frozen=True, eq=False)
class PerDimension:
    """int8 with a learned ``scale [d]`` and ``offset [d]``."""

    scale: np.ndarray
    offset: np.ndarray

    def quantize(self, vectors: np.ndarray) -> QuantizedVectors:
        v = check(vectors, len(self.scale))
        codes = aligned(v.shape, np.int8)
        for block in blocks(len(v)):
            codes[block] = nearest_codes(v[block], self.scale, self.offset, (-128, 127))
        shared = self.scale.nbytes + self.offset.nbytes
        q = QuantizedVectors(
            "int8-dimension", codes, v.shape[1], self.scale, self.offset, NONE, NONE, shared, from_dimensions
        )
        return with_errors(q, v)


def from_dimensions(q: QuantizedVectors, rows: slice | np.ndarray) -> np.ndarray:
    return decode(q.codes[rows], q.scale, q.offset)


def fit_int8_dimension(
    train: np.ndarray, calibration: str = "min-max", percentile: float = 99.9
) -> PerDimension:
    _check_options(calibration, percentile)
    if not len(train):
        raise InputError("int8-dimension learns its ranges: expected at least 1 vector, not 0")
    return PerDimension(
        *affine(*ranges(train, 0, False, (-128, 127), calibration, percentile), False, (-128, 127))
    )


# ---------------------------------------------------------------- int4


@dataclass(frozen=True)
class Int4:
    """Codes from -7 to 7, two in a byte, with a scale per vector,
    or per ``group`` of components (the last may be smaller).
    """

    dimension: int
    calibration: str
    percentile: float
    group: int

    def quantize(self, vectors: np.ndarray) -> QuantizedVectors:
        v = check(vectors, self.dimension)
        starts = range(0, self.dimension, self.group)
        codes = aligned((len(v), -(-self.dimension // 2)), np.uint8)
        scale = np.empty((len(v), len(starts)), dtype=np.float32)
        for block in blocks(len(v)):
            unpacked = np.empty((block.stop - block.start, self.dimension), dtype=np.int8)
            for g, start in enumerate(starts):
                part = v[block, start : start + self.group]
                low, high = ranges(part, 1, True, (-7, 7), self.calibration, self.percentile)
                scale[block, g] = affine(low, high, True, (-7, 7))[0]
                unpacked[:, start : start + self.group] = nearest_codes(
                    part, scale[block, g, None], 0.0, (-7, 7)
                )
            codes[block] = pack(unpacked)
        decoder = partial(from_int4, group=self.group)
        return with_errors(
            QuantizedVectors("int4", codes, self.dimension, scale, NONE, NONE, NONE, 0, decoder), v
        )


def pack(codes: np.ndarray) -> np.ndarray:
    """int8 codes from -8 to 7, ``[n, d]``, as uint8 ``[n, ceil(d / 2)]``:
    each plus 8, the first of a pair in the lower half.
    """
    biased = (codes + 8).astype(np.uint8)
    if biased.shape[1] % 2:
        biased = np.pad(biased, ((0, 0), (0, 1)), constant_values=8)
    return biased[:, 0::2] | (biased[:, 1::2] << 4)


def unpack(packed: np.ndarray, dimension: int) -> np.ndarray:
    """What ``pack`` packed, ``[n, dimension]``."""
    codes = np.empty((len(packed), 2 * packed.shape[1]), dtype=np.int8)
    codes[:, 0::2], codes[:, 1::2] = packed & 15, packed >> 4
    codes -= 8
    return codes[:, :dimension]


def from_int4(q: QuantizedVectors, rows: slice | np.ndarray, group: int) -> np.ndarray:
    scale = np.repeat(q.scale[rows], group, axis=1)[:, : q.dimension]
    return decode(unpack(q.codes[rows], q.dimension), scale, None)


def fit_int4(
    train: np.ndarray, calibration: str = "mse", percentile: float = 99.9, group: int | None = None
) -> Int4:
    _check_options(calibration, percentile)
    dimension = train.shape[1]
    if group is not None and (not isinstance(group, int | np.integer) or not 1 <= group <= dimension):
        raise InputError(f"group={group!r}: expected a number of components from 1 to {dimension}, or None")
    return Int4(dimension, calibration, percentile, int(group or dimension))
