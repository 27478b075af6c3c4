"""Queries in the layouts that the search kernel reads: rounded, in planes of bytes, and 16 together."""

from __future__ import annotations

import numpy as np

from recsys_lib.vectors.quantization.arrays import LINE, aligned

# As in search_lanes.h: queries of a panel.
LANES = 16


def in_c_order(v: np.ndarray, dtype: type) -> np.ndarray:
    """In C order, which the kernel reads; arithmetic keeps whatever order it finds."""
    return np.ascontiguousarray(v, dtype=dtype)


def rounded(v: np.ndarray, max_code: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Whole numbers up to ``max_code``, the scale of every row, and the length of what rounding took."""
    largest = np.abs(v).max(axis=1, initial=0)
    scale = (largest / max_code).astype(np.float32)
    scale = np.where(scale > 0, scale, np.float32(1))
    exact = scale[:, None].astype(np.float64)
    codes = np.clip(np.rint(v / exact), -max_code, max_code)
    lost = v - codes * exact
    return codes, scale, np.sqrt(np.einsum("ij,ij->i", lost, lost))


def planes(codes: np.ndarray) -> np.ndarray:
    """Codes ``[n, d]`` as bytes ``[n, 2d + 4]``: lower ones, higher ones, 8 times the sum as int32."""
    lower = (codes + 128) % 256 - 128
    sums = (8 * codes.sum(axis=1, dtype=np.int32, keepdims=True)).view(np.int8)
    return in_c_order(np.hstack([lower, (codes - lower) // 256, sums]), np.int8)


def sign_tables(v: np.ndarray) -> np.ndarray:
    """How many of 4 signs of packed queries ``[n, width]`` are those of each of the 16 codes of 4 signs,
    ``[n, 2 width, 16]``: of all lower halves of bytes, then of all higher ones.
    """
    nibbles = np.hstack([v & 15, v >> 4])
    return np.uint8(4) - np.bitwise_count(nibbles[..., None] ^ np.arange(16, dtype=np.uint8))


def padded(v: np.ndarray) -> np.ndarray:
    """``v [..., n]`` as float32 with zeros up to a multiple of 16."""
    out = np.zeros((*v.shape[:-1], -(-v.shape[-1] // LANES) * LANES), dtype=np.float32)
    out[..., : v.shape[-1]] = v
    return out


def norms(v: np.ndarray) -> np.ndarray:
    """Lengths of rows, summed in the precision of ``v``."""
    return np.sqrt(np.einsum("ij,ij->i", v, v))


def panels8(codes: np.ndarray, raised: int) -> np.ndarray:
    """Each code plus ``raised``, as bytes."""
    return lines((codes + np.float32(raised)).astype(np.int16).astype(np.uint8))


def lines(codes: np.ndarray) -> np.ndarray:
    """4 bytes of each of 16 queries together, which one instruction multiplies; zeros up to 64 bytes of
    each.
    """
    n, d = codes.shape
    width = -(-d * codes.itemsize // LINE) * LINE
    filled = np.zeros((-(-n // LANES) * LANES, width // codes.itemsize), codes.dtype)
    filled[:n, :d] = codes
    lines = aligned((len(filled) // LANES, width // 4, LANES), np.uint32)
    lines[:] = filled.view(np.uint32).reshape(-1, LANES, width // 4).swapaxes(1, 2)
    return lines


def panels(v: np.ndarray, dtype: type = np.float32) -> np.ndarray:
    """``v [n, ...]`` as ``[panels, ..., 16]``."""
    raised = np.zeros((-(-len(v) // LANES) * LANES, *v.shape[1:]), dtype=dtype)
    raised[: len(v)] = v
    return np.ascontiguousarray(np.moveaxis(raised.reshape(-1, LANES, *v.shape[1:]), 1, -1))
