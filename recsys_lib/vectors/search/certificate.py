"""What exact search knows of the float32 rows of its codes, and how it is measured when an index is built."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recsys_lib.core.errors import InputError
from recsys_lib.vectors.quantization import QuantizedVectors
from recsys_lib.vectors.quantization.arrays import blocks
from recsys_lib.vectors.quantization.bounds import norms

# Lengths of rows that products with unit vectors in float32 neither lose nor overflow; others are never
# ranked by their codes.
SHORTEST, LONGEST = 1e-30, 1e37


@dataclass(frozen=True, eq=False)
class Certificate:
    """What exact search knows of the rows of its codes.

    margin: ``[n]`` float32, how far the score of a unit query may lie from that of the code; infinite where
    nothing is known. direction: ``[d]`` float64, near which most vectors point, and along: ``[n]``, how far
    each row lies from its code in this direction. size: what all parts of a score can sum up to. scaled:
    whether ``similarity.top_k`` would scale the rows.
    """

    rows: np.ndarray
    margin: np.ndarray
    direction: np.ndarray
    along: np.ndarray
    size: float
    scaled: bool


def weights(metric: str, lengths: np.ndarray) -> tuple[np.ndarray, float]:
    """What to scale the product with each item by, 0 where its length is not usable; and the longest length,
    for dot.
    """
    if metric == "cosine":
        usable = (lengths >= SHORTEST) & (lengths <= LONGEST)
        return np.where(usable, 1 / np.where(usable, lengths, 1), 0).astype(np.float32), 1.0
    longest = float(lengths.max(initial=0))
    fits = SHORTEST <= longest <= LONGEST
    return np.full(len(lengths), 1 / longest if fits else 0, dtype=np.float32), longest


def common_direction(rows: np.ndarray) -> np.ndarray:
    """The unit mean of some unit rows, float64 ``[d]``: queries point along it more than along any other
    direction.
    """
    some = np.asarray(rows[:: max(1, len(rows) // 4096)], dtype=np.float64)
    lengths = norms(some)
    mean = (some / np.where(lengths > 0, lengths, 1)[:, None]).sum(axis=0)
    length = np.sqrt(mean @ mean)
    return mean / length if np.isfinite(length) and length > 0 else np.zeros(rows.shape[1])


def checked_rows(
    quantized: QuantizedVectors, rows: np.ndarray, direction: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Lengths of the rows and how far each lies from its code along ``direction``, after checking each
    bound.
    """
    lengths, along = np.empty(len(rows)), np.empty(len(rows))
    for block in blocks(len(rows)):
        exact = np.asarray(rows[block], dtype=np.float64)
        lengths[block] = norms(exact)
        lost = exact - quantized.dequantize(block)
        along[block] = lost @ direction
        distances, bounds = norms(lost), quantized.errors[block]
        bad = np.flatnonzero(~(distances <= bounds * (1 + 1e-6) + 1e-44))
        if len(bad):
            i = int(bad[0])
            why = "rows and codes do not match" if np.isfinite(exact[i]).all() else "it holds NaN or infinity"
            raise InputError(
                f"row {block.start + i} lies {distances[i]:.3g} from its code, whose bound is "
                f"{bounds[i]:.3g}: {why}"
            )
    return lengths, along
