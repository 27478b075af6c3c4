"""Columns of an items table that are no texts, such as prices, as vectors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recsys_lib.core.errors import InputError


def numbers(values: Sequence[float] | np.ndarray, centres: int = 8) -> np.ndarray:
    """A number of each item as float32 ``[n, centres]``: Gaussian bumps over its rank among all, from 0 to 1.

    Ranks, since prices are skewed: 5 and 10 differ as 500 and 1,000 do. Equal numbers get the same vector,
    near ones similar ones, and one that is missing (NaN) the zero vector. For categories there is
    ``encoders.load("genres")``.

    >>> (numbers([5.0, 1000.0, float("nan")], 2) > 0.9).astype(int).tolist()
    [[1, 0], [0, 1], [0, 0]]

    Raises:
        InputError: fewer than two centres, an infinite number, or not one number for each item.
    """
    found = np.asarray(values, dtype=np.float64)
    if found.ndim != 1 or np.isinf(found).any() or centres < 2:
        raise InputError(
            f"values of shape {found.shape}, centres={centres!r}: expected a finite number or NaN for each "
            "item, at least 2 centres"
        )
    known = ~np.isnan(found)
    vectors = np.zeros((len(found), centres), dtype=np.float32)
    ordered = np.sort(found[known])
    if not len(ordered):
        return vectors
    below = np.searchsorted(ordered, found[known], "left")
    rank = (below + np.searchsorted(ordered, found[known], "right") - 1) / 2 / max(1, len(ordered) - 1)
    places = np.linspace(0, 1, centres)
    vectors[known] = np.exp(-0.5 * ((rank[:, None] - places) * (centres - 1)) ** 2)
    return vectors
