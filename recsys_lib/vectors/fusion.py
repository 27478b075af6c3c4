"""Several kinds of vectors of the same items as one: blocks side by side with weights, canonical correlation,
and the control that shuffles one block.

A block is float32 ``[n_items, d]``; a row of zeros says that the item has nothing of this kind.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from recsys_lib.core.errors import InputError
from recsys_lib.vectors import geometry, similarity
from recsys_lib.vectors.geometry import Geometry


def present(block: np.ndarray) -> np.ndarray:
    """Which items have something of this kind, bool ``[n_items]``."""
    return np.asarray(np.asarray(block).any(axis=1))


def mapped(
    block: np.ndarray, known: np.ndarray, fit: Callable[[np.ndarray], Geometry] = geometry.whiten
) -> np.ndarray:
    """A block after ``fit`` (whitening, centring), which is fitted on the ``known`` items that have it; rows
    of zeros stay zeros. A block that no known item has stays as it is.
    """
    has = present(block)
    taught = has & np.asarray(known, dtype=bool)
    if not taught.any():
        return block
    return np.where(has[:, None], fit(block[taught]).apply(block), np.float32(0))


def checked(blocks: Sequence[np.ndarray], shares: Sequence[float] | None = None) -> list[float]:
    """The shares of the blocks, 1 for each unless given.

    Raises:
        InputError: no block, blocks of different items, a share for each but one, negative ones, nothing but
        0.
    """
    if not len(blocks) or len({len(b) for b in blocks}) > 1:
        sizes = ", ".join(str(np.shape(b)) for b in blocks) or "none"
        raise InputError(f"blocks of shapes {sizes}: expected at least one, all with a row for each item")
    found = [1.0] * len(blocks) if shares is None else [float(s) for s in shares]
    if len(found) != len(blocks) or not all(0 <= s < np.inf for s in found) or not any(found):
        raise InputError(
            f"shares={found!r} of {len(blocks)} blocks: expected one of at least 0 for each, one above 0"
        )
    return found


def joined(blocks: Sequence[np.ndarray], shares: Sequence[float] | None = None) -> np.ndarray:
    """Blocks side by side, each row of a block at the length ``√share`` (or 0): float32 ``[n_items, Σ d]``.

    The cosine of two items that have all blocks is the mean of the blocks' cosines with the shares as
    weights. Blocks of share 0 are left out.

    >>> joined([np.array([[3.0, 0.0]]), np.array([[0.0, 5.0]])], [1, 4]).tolist()
    [[1.0, 0.0, 0.0, 2.0]]

    Raises:
        InputError: as ``checked``.
    """
    used = [(b, s) for b, s in zip(blocks, checked(blocks, shares), strict=True) if s]
    return np.hstack([similarity.normalize(np.asarray(b, np.float32)) * np.float32(s**0.5) for b, s in used])


def shuffled(block: np.ndarray, seed: int = 0) -> np.ndarray:
    """The control: every item that has this kind gets another's vector, and those without stay without.

    Who has a picture or a tag may itself tell popular items from others; the control keeps that.
    """
    rows = np.flatnonzero(present(block))
    out = np.array(block)
    out[rows] = block[np.random.default_rng(seed).permutation(rows)]
    return out


# ---------------------------------------------------------------- canonical correlation


@dataclass(frozen=True, eq=False)
class Canonical:
    """A linear map of each block into one space in which they agree: ``means`` and ``maps [d, k]``.

    agreement: for each of the ``k`` directions, how much of it the blocks share, from 1 / blocks to 1.
    """

    means: tuple[np.ndarray, ...]
    maps: tuple[np.ndarray, ...]
    agreement: np.ndarray

    def apply(self, blocks: Sequence[np.ndarray]) -> np.ndarray:
        """The mean of what an item's blocks are mapped to, ``[n_items, k]``, 0 for an item without any.

        Raises:
            InputError: other blocks than it was fitted on.
        """
        widths, fitted = [np.shape(b)[1] for b in blocks], [len(m) for m in self.means]
        if widths != fitted:
            raise InputError(f"blocks of {widths} numbers: the map was fitted on {fitted}")
        total, count = np.zeros((len(blocks[0]), len(self.agreement))), np.zeros(len(blocks[0]))
        for block, mean, matrix in zip(blocks, self.means, self.maps, strict=True):
            has = present(block)
            total[has] += (block[has] - mean) @ matrix
            count += has
        return (total / np.maximum(count, 1)[:, None]).astype(np.float32)


def canonical(
    blocks: Sequence[np.ndarray], known: np.ndarray, dimension: int = 64, regularization: float = 1.0
) -> Canonical:
    """Canonical correlation of two or more blocks (MAXVAR: Kettenring, "Canonical analysis of several sets of
    variables", Biometrika 1971), fitted on the ``known`` items that have all of them.

    ``regularization``: what is added to each covariance, relative to its mean eigenvalue.

    Raises:
        InputError: fewer than two blocks, fewer items than ``dimension + 1``, numbers out of range.
    """
    checked(blocks)
    rows = np.flatnonzero(np.asarray(known, bool) & np.all([present(b) for b in blocks], axis=0))
    if len(blocks) < 2 or not 1 <= dimension < len(rows) or not regularization > 0:
        raise InputError(
            f"{len(blocks)} blocks, {len(rows)} items with all, dimension={dimension!r}, "
            f"regularization={regularization!r}: expected two blocks, more items than dimensions, above 0"
        )
    means, shared, inner = [], [], []
    for block in blocks:
        mean = block[rows].mean(axis=0, dtype=np.float64)
        left, values, right = np.linalg.svd(block[rows] - mean, full_matrices=False)
        ridge = regularization * max(float((values**2).sum()) / block.shape[1], 1e-12)
        means.append(mean)
        shared.append(left * (values / np.sqrt(values**2 + ridge)))
        inner.append((right.T * (values / (values**2 + ridge)), left))
    common, strength, _ = np.linalg.svd(np.hstack(shared), full_matrices=False)
    common, strength = common[:, :dimension], strength[:dimension]
    maps = tuple(right @ (left.T @ common) for right, left in inner)
    return Canonical(tuple(means), maps, strength**2 / len(blocks))
