"""One pass over all codes that keeps what may be among the best ``k`` of each query.

A score here is ``unit query · code · weight``, at most about 1 in size. Every item has a ``margin``: its true score lies within that of the
score of its code. Approximate search is the same pass with margins of 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

# Scores of one block, 8 MB of float32, and the pairs that may be pending: they bound the memory of a scan.
BLOCK_SCORES = 2**21
MAX_BLOCK_ITEMS = 2**14
# Scores of a unit query are rounded to float32 when they are reported: two true scores nearer than this may change places.
TIE = 2.0**-22


@dataclass(frozen=True, eq=False)
class Pairs:
    """Candidates: query ``row [m]``, item ``id [m]`` and the ``score [m]`` of its code, ordered by row, then best first.

    too_many: ``[n_queries]``, queries of which more than the capacity may be among the best, and all of whose pairs were dropped.
    """

    row: np.ndarray
    id: np.ndarray
    score: np.ndarray
    too_many: np.ndarray


class Best:
    """The pairs seen so far that may be among the best ``k`` of their query, and below what limit no other can be."""

    def __init__(self, n_queries: int, k: int, margin: np.ndarray | None, slack: np.ndarray, capacity: int):
        self.k, self.margin, self.slack, self.capacity = k, margin, slack, capacity
        self.limit = np.full(n_queries, -np.inf, dtype=np.float32)
        self.too_many = np.zeros(n_queries, dtype=bool)
        self.parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self.pending = 0

    def add(self, row: np.ndarray, ids: np.ndarray, score: np.ndarray) -> None:
        self.parts.append((row, ids, score))
        self.pending += len(row)
        if self.pending > BLOCK_SCORES // 2:
            self.tighten()

    def tighten(self) -> None:
        """Raise every limit to the k-th best lower bound so far and drop the pairs below it."""
        row, ids, score = (np.concatenate(part) for part in zip(*self.parts, strict=True))
        margin = self.margin[ids] if self.margin is not None else np.zeros(len(ids), dtype=np.float32)
        row, ids, score, margin = (a[np.lexsort((ids, margin - score, row))] for a in (row, ids, score, margin))
        place = np.arange(len(row)) - np.searchsorted(row, row)
        at = place == self.k - 1
        self.limit[row[at]] = np.maximum(self.limit[row[at]], (score - margin)[at] - self.slack[row[at]])
        keep = ~(score + margin < self.limit[row])
        if self.margin is None:
            keep &= place < self.k
        count = np.bincount(row[keep], minlength=len(self.limit))
        self.too_many |= count > self.capacity
        self.limit[self.too_many] = np.inf
        keep &= ~self.too_many[row]
        self.parts = [(row[keep], ids[keep], score[keep])]
        self.pending = int(keep.sum())

    def pairs(self) -> Pairs:
        if self.parts:
            self.tighten()
        row, ids, score = self.parts[0] if self.parts else (np.empty(0, int), np.empty(0, int), np.empty(0, np.float32))
        order = np.lexsort((ids, -score, row))
        return Pairs(row[order], ids[order], score[order], self.too_many)


def scan(
    dequantize,
    n_items: int,
    unit: np.ndarray,
    weight: np.ndarray,
    margin: np.ndarray | None,
    slack: np.ndarray,
    k: int,
    capacity: int,
    seen: sp.csr_matrix | None,
) -> Pairs:
    """Candidates for the best ``k`` items of each ``unit [n, d]`` query by matrix products over blocks of decoded items.

    weight: ``[n_items]``, what each item's product is scaled by. margin: ``[n_items]`` or None. slack: ``[n]``, how far below the
    k-th best a score may lie and still belong to the best. seen: items to leave out.
    """
    import torch

    best = Best(len(unit), k, margin, slack, capacity)
    block = int(np.clip(BLOCK_SCORES // max(1, len(unit)), 1, MAX_BLOCK_ITEMS))
    by_item = seen.tocsc() if seen is not None else None
    queries = torch.from_numpy(unit)
    for start in range(0, n_items, block):
        items = np.arange(start, min(start + block, n_items))
        decoded = torch.from_numpy(np.ascontiguousarray(dequantize(items), dtype=np.float32))
        scores = (queries @ decoded.T).numpy()
        scores *= weight[items]
        reach = scores if margin is None else scores + margin[items]
        if margin is not None:
            loose = np.flatnonzero(np.isinf(margin[items]))
            scores[:, loose], reach[:, loose] = 0, np.inf
        if by_item is not None:
            part = by_item[:, start : start + len(items)].tocoo()
            hidden = part.data != 0
            reach[part.row[hidden], part.col[hidden]] = -np.inf
        row, column = np.nonzero((reach >= best.limit[:, None]) & (reach > -np.inf))
        best.add(row, items[column], scores[row, column])
        if not start:
            best.tighten()
    return best.pairs()
