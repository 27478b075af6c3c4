"""What all schemes need of arrays: checked float32 rows, blocks of rows, and memory aligned to the cache."""

from __future__ import annotations

import mmap
from contextlib import suppress

import numpy as np

from recsys_lib.core.errors import InputError
from recsys_lib.vectors import checked_vectors

# Rows that are encoded or checked at once: their float64 temporaries stay in the cache.
BLOCK_ROWS = 1024
LINE = 64
HUGE = 2 * 2**20
NONE = np.empty(0, dtype=np.float32)
LARGEST = float(np.finfo(np.float32).max)


def check(vectors: np.ndarray, dimension: int | None = None) -> np.ndarray:
    """Float32 rows ``[n, d]``.

    Raises:
        InputError: another shape or dtype, no component, NaN, infinity or a number beyond float32.
    """
    v = np.asarray(vectors)
    if v.dtype == np.float64:
        with np.errstate(over="ignore"):
            v = v.astype(np.float32)
    v = checked_vectors.vectors("vectors", v)
    if not v.shape[1] or v.shape[1] != (dimension or v.shape[1]):
        raise InputError(f"vectors have shape {v.shape}: expected [n, {dimension or 'at least 1'}]")
    return v


def aligned(shape: tuple[int, ...], dtype: type) -> np.ndarray:
    """An array of zeros that begins with a line of the cache, and where it is large lies in huge pages.

    NumPy's begin 16 bytes later, and each wide read would take two lines; its zeros lie in pages of 4 KB,
    whose addresses take longer to find than their 64 lines to read.
    """
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    if size >= HUGE and hasattr(mmap, "MADV_HUGEPAGE"):
        pages = mmap.mmap(-1, -(-size // HUGE) * HUGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        with suppress(OSError):  # a kernel without them
            pages.madvise(mmap.MADV_HUGEPAGE)
        return np.frombuffer(pages, dtype=np.uint8, count=size).view(dtype).reshape(shape)
    room = np.zeros(size + LINE, dtype=np.uint8)
    start = -room.ctypes.data % LINE
    return room[start : start + size].view(dtype).reshape(shape)


def blocks(n: int) -> list[slice]:
    """The rows ``0 ... n - 1`` in blocks."""
    return [slice(start, min(start + BLOCK_ROWS, n)) for start in range(0, n, BLOCK_ROWS)]
