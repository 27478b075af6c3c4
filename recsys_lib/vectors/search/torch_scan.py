"""The scan where there is no compiled kernel for the codes: blocks of items are decoded and multiplied by
torch.

Slower than the kernel and with bounds a little wider, but for every scheme and on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import scipy.sparse as sp

from recsys_lib.vectors.quantization import QuantizedVectors

# Scores of one block, 2 MB of float32, and the pairs that may be pending: they bound the memory of a scan.
BLOCK_SCORES = 2**19
MAX_BLOCK_ITEMS = 2**13


class Decodable(Protocol):
    """Codes that can be decoded in blocks."""

    def dequantize(self, rows: slice) -> np.ndarray: ...


@dataclass(frozen=True, eq=False)
class SignVectors:
    """Binary codes as vectors of ones and minus ones."""

    quantized: QuantizedVectors

    def dequantize(self, rows: slice) -> np.ndarray:
        """Float32 ``[m, d]``."""
        bits = np.unpackbits(self.quantized.codes[rows], axis=1, count=self.quantized.dimension)
        return 2 * bits.astype(np.float32) - 1


@dataclass(frozen=True, eq=False)
class Pairs:
    """Queries ``row [m]``, items ``id [m]`` and the ``score [m]`` of their codes, ordered by row and then
    best first.
    """

    row: np.ndarray
    id: np.ndarray
    score: np.ndarray


class Best:
    """The pairs seen so far that may be among the best ``k`` of their query, and the limit below which no
    other can be.

    margin: ``[n_items]`` or None for approximate search. slack: ``[n]``. capacity: a query of which more
    pairs remain is given up.
    """

    def __init__(self, n: int, k: int, margin: np.ndarray | None, slack: np.ndarray, capacity: int):
        self.k, self.margin, self.slack, self.capacity = k, margin, slack, capacity
        self.limit = np.full(n, -np.inf, dtype=np.float32)
        self.given_up = np.zeros(n, dtype=bool)
        self.pairs = Pairs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))
        self.pending: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def add(self, row: np.ndarray, ids: np.ndarray, score: np.ndarray) -> None:
        self.pending.append((row, ids, score))
        if sum(len(part[0]) for part in self.pending) > min(BLOCK_SCORES, 2 * len(self.pairs.row)):
            self.tighten()

    def tighten(self) -> None:
        """Raise every limit to the k-th best lower bound so far and drop the pairs below it."""
        old = self.pairs
        parts = [(old.row, old.id, old.score), *self.pending]
        row, ids, score = (np.concatenate(part) for part in zip(*parts, strict=True))
        margin = np.zeros(len(ids), np.float32) if self.margin is None else self.margin[ids]
        lower = score - margin
        row, ids, score, margin, lower = (
            a[np.lexsort((ids, -lower, row))] for a in (row, ids, score, margin, lower)
        )
        place = np.arange(len(row)) - np.searchsorted(row, row)
        at = place == self.k - 1
        self.limit[row[at]] = np.maximum(self.limit[row[at]], lower[at] - self.slack[row[at]])
        keep = ~(score + margin < self.limit[row]) if self.margin is not None else place < self.k
        self.given_up |= np.bincount(row[keep], minlength=len(self.limit)) > self.capacity
        self.limit[self.given_up] = np.inf
        keep &= ~self.given_up[row]
        self.pairs, self.pending = Pairs(row[keep], ids[keep], score[keep]), []


def scan(
    codes: Decodable,
    unit: np.ndarray,
    weight: np.ndarray,
    margin: np.ndarray | None,
    slack: np.ndarray,
    k: int,
    capacity: int,
    seen: sp.csr_matrix | None,
) -> tuple[Pairs, np.ndarray]:
    """Pairs that may be among the best ``k`` of each ``unit [n, d]`` query, and which queries were given up.

    weight: ``[n_items]``, what each item's product is scaled by. margin: how far its true score may lie from
    it. slack: ``[n]``, how far below the k-th best lower bound an upper bound may lie. seen: items to leave
    out, without stored zeros.
    """
    import torch

    best = Best(len(unit), k, margin, slack, capacity)
    queries = torch.from_numpy(unit.astype(np.float32))
    by_item = None if seen is None else seen.tocsc()
    block = int(np.clip(BLOCK_SCORES // max(1, len(unit)), 1, MAX_BLOCK_ITEMS))
    for start in range(0, len(weight), block):
        items = slice(start, min(start + block, len(weight)))
        decoded = torch.from_numpy(np.ascontiguousarray(codes.dequantize(items)))
        scores = (queries @ decoded.T).numpy()
        scores *= weight[items]
        reach = scores
        if margin is not None:
            scores[:, np.isinf(margin[items])] = 0  # not known at all, not even to be a number
            reach = scores + margin[items]
        if by_item is not None:
            hidden = by_item[:, items].tocoo()
            reach[hidden.row, hidden.col] = -np.inf
        if not start and k < reach.shape[1]:  # the first block sets the limits, or all of it would pass
            lower = scores if margin is None else np.where(np.isneginf(reach), reach, scores - margin[items])
            best.limit[:] = np.partition(lower, lower.shape[1] - k, axis=1)[:, lower.shape[1] - k] - slack
        row, column = np.nonzero(~(reach < best.limit[:, None]) & ~np.isneginf(reach))
        best.add(row, column + start, scores[row, column])
    best.tighten()
    return best.pairs, best.given_up
