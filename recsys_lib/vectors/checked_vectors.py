"""What may be a vector: real, finite numbers as rows, refused by name and row otherwise."""

from __future__ import annotations

import numpy as np

from recsys_lib.core.errors import InputError


def vectors(name: str, v: np.ndarray) -> np.ndarray:
    """``v`` as rows ``[n, d]`` of float32, or of float64 where it is so; ``name`` is for the message.

    Raises:
        InputError: another shape, other types than real numbers, NaN or infinity.
    """
    try:
        v = np.asarray(v)
    except ValueError as error:
        raise InputError(f"{name}: rows of different lengths, expected rows of vectors, [n, d]") from error
    if v.ndim != 2:
        raise InputError(f"{name} has shape {v.shape}: expected rows of vectors, [n, d]")
    if not np.issubdtype(v.dtype, np.number) or np.iscomplexobj(v):
        raise InputError(f"{name} holds {v.dtype}: expected real numbers")
    return finite(name, v if v.dtype == np.float64 else np.ascontiguousarray(v, dtype=np.float32))


def finite(name: str, v: np.ndarray) -> np.ndarray:
    """``v [n, d]`` itself.

    Raises:
        InputError: the first row that holds NaN or infinity.
    """
    # A sum is finite only if all its terms are (or they overflow); the row is looked for only then.
    with np.errstate(over="ignore", invalid="ignore"):
        total = np.add.reduce(v, axis=None)
    if not np.isfinite(total):
        bad = np.flatnonzero(~np.isfinite(v).all(axis=1))
        if len(bad):
            raise InputError(
                f"{name} row {bad[0]} holds NaN or infinity ({len(bad)} such rows): expected finite numbers"
            )
    return v


def pair(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as ``vectors`` of one type.

    Raises:
        InputError: as ``vectors``, or different numbers of columns.
    """
    a, b = vectors("a", a), vectors("b", b)
    if a.shape[1] != b.shape[1]:
        raise InputError(f"a has shape {a.shape} and b {b.shape}: expected the same number of columns")
    if a.dtype != b.dtype:
        with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and refused as such
            a, b = finite("a", a.astype(np.float32)), finite("b", b.astype(np.float32))
    return a, b


def as_rows(name: str, v: np.ndarray) -> tuple[np.ndarray, bool]:
    """Rows, and whether they were given as one plain vector."""
    try:
        v = np.asarray(v)
    except ValueError:
        return v, False  # refused by ``vectors``, which says why
    if v.ndim != 1:
        return v, False
    if not len(v):
        raise InputError(f"{name} is empty: expected at least one number")
    return v[None], True
