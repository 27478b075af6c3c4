"""An index over quantized vectors and, where results are rescored, their float32 rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import scipy.sparse as sp

from recsys_lib import similarity
from recsys_lib.errors import InputError
from recsys_lib.search import scan

METRICS = ("cosine", "dot")
# Rows that are read, decoded or checked at once: 12 MB at 384 dimensions.
BLOCK_ROWS = 8192
BLOCK_QUERIES = 1024
# Lengths whose squares neither overflow nor vanish in float32; an item outside is never judged by its code.
SHORTEST, LONGEST = 1e-15, 1e15
# Beyond this share of the items, scoring all of them by matrix products is faster than scoring candidates one by one.
MOST_KEPT = 1 / 16


class Quantized(Protocol):
    """What the search needs of ``quantization.QuantizedVectors``."""

    @property
    def errors(self) -> np.ndarray: ...

    def dequantize(self, rows: np.ndarray | None = None) -> np.ndarray: ...


@dataclass(frozen=True, eq=False)
class Found:
    """The best items of every query: ids ``[n, k]`` int64 and scores ``[n, k]`` float32, best first; -1 and -inf where none is left.

    rescored: ``[n]``, how many of the ``n_items`` were scored by their float32 rows. fell_back: ``[n]``, queries for which the
    bounds could not rule out enough items, so that all were scored.
    """

    ids: np.ndarray
    scores: np.ndarray
    rescored: np.ndarray
    fell_back: np.ndarray
    n_items: int

    @property
    def kept_share(self) -> float:
        """Mean share of the items that were scored in float32, 0 to 1."""
        return float(self.rescored.mean() / self.n_items) if len(self.rescored) else 0.0


def index(quantized: Quantized, rows: np.ndarray | None = None, metric: str = "cosine") -> Index:
    """Make codes searchable by cosine or dot product; with their float32 ``rows [n, d]`` also exactly.

    ``rows`` may be a ``np.memmap``. They are read once, in blocks: the bound of every code is checked against its row, so a
    certificate rests on no promise.

    Raises:
        InputError: an unknown metric, rows of another shape or dtype, NaN, or a row farther from its code than its bound.
    """
    if metric not in METRICS:
        raise InputError(f"metric={metric!r}: want one of {', '.join(METRICS)}")
    n = len(quantized.errors)
    if rows is None:
        lengths = _lengths_of_codes(quantized, n)
        return Index(quantized, None, metric, *_weights(metric, lengths))
    rows = np.asanyarray(rows)
    if rows.dtype != np.float32 or rows.ndim != 2 or len(rows) != n:
        raise InputError(f"rows are {rows.dtype} {rows.shape}: want the float32 vectors of the {n} codes")
    lengths = _checked_lengths(quantized, rows)
    weight, unit_length = _weights(metric, lengths)
    errors = quantized.errors.astype(np.float64) * (1 + 1e-5)
    # Rounding of a sum of d products in float32 (as in similarity.top_k), of the query, the weight and the bounds themselves.
    rounding = (rows.shape[1] + 32) * 2.0**-24
    margin = ((errors + rounding * (lengths + errors)) * weight * (1 + 1e-6)).astype(np.float32)
    margin[~(lengths <= LONGEST) | (weight == 0) & (lengths > 0)] = np.inf
    return Index(quantized, rows, metric, weight, unit_length, margin)


def _weights(metric: str, lengths: np.ndarray) -> tuple[np.ndarray, float]:
    """What to scale the product with each item by, so that scores of unit queries stay near 1; and what undoes it for dot."""
    if metric == "cosine":
        usable = (lengths >= SHORTEST) & (lengths <= LONGEST)
        return np.where(usable, 1 / np.where(usable, lengths, 1), 0).astype(np.float32), 1.0
    longest = float(lengths.max(initial=0))
    usable = SHORTEST <= longest <= LONGEST
    return np.full(len(lengths), 1 / longest if usable else 0, dtype=np.float32), longest if usable else 1.0


def _lengths_of_codes(quantized: Quantized, n: int) -> np.ndarray:
    blocks = (np.arange(start, min(start + BLOCK_ROWS, n)) for start in range(0, n, BLOCK_ROWS))
    return np.concatenate([_lengths(quantized.dequantize(b)) for b in blocks] or [np.empty(0)])


def _lengths(v: np.ndarray) -> np.ndarray:
    return np.sqrt(np.einsum("ij,ij->i", v, v, dtype=np.float64))


def _checked_lengths(quantized: Quantized, rows: np.ndarray) -> np.ndarray:
    lengths = np.empty(len(rows))
    for start in range(0, len(rows), BLOCK_ROWS):
        block = np.arange(start, min(start + BLOCK_ROWS, len(rows)))
        exact = np.asarray(rows[start : start + BLOCK_ROWS], dtype=np.float64)
        lengths[block] = _lengths(exact)
        decoded = quantized.dequantize(block)
        if decoded.shape != exact.shape:
            raise InputError(f"rows have {exact.shape[1]} columns: the codes have {decoded.shape[1]}")
        distances = _lengths(exact - decoded)
        bad = ~(distances <= quantized.errors[block] * (1 + 1e-5) + 1e-30)
        if bad.any():
            i = int(block[bad][0])
            why = "it holds NaN or infinity" if not np.isfinite(exact[bad][0]).all() else "rows and codes do not match"
            raise InputError(
                f"row {i} lies {distances[bad][0]:.3g} from its code, whose bound is {quantized.errors[i]:.3g}: {why}"
            )
    return lengths


@dataclass(frozen=True, eq=False)
class Index:
    """Codes ready to be searched; made by ``index``.

    weight: ``[n]``, scales each item's product. unit_length: what a score is divided by inside a scan beside the query's length.
    margin: ``[n]``, how far the score of a unit query may lie from that of the code; None without rows.
    """

    quantized: Quantized
    rows: np.ndarray | None
    metric: str
    weight: np.ndarray
    unit_length: float
    margin: np.ndarray | None = None

    @property
    def n_items(self) -> int:
        return len(self.weight)

    def top_k(
        self,
        queries: np.ndarray,
        k: int,
        exclude: sp.csr_matrix | Sequence[Sequence[int]] | None = None,
        rescore: int = 0,
    ) -> Found:
        """The ``k`` best by the codes; with ``rescore=r`` the best ``k`` of the ``r·k`` best, by their float32 rows.

        Equal scores are ordered by the smaller id. Without ``rescore`` the scores are those of the codes.

        Raises:
            InputError: as ``similarity.top_k``, a negative ``rescore``, or one without rows.
        """
        if not isinstance(rescore, int | np.integer) or rescore < 0:
            raise InputError(f"rescore={rescore!r}: want how many candidates per result, or 0")
        if rescore and self.rows is None:
            raise InputError(f"rescore={rescore} needs the float32 rows: make the index with rows")
        return self._search(queries, k, exclude, None if not rescore else rescore, exact=False)

    def exact_top_k(
        self,
        queries: np.ndarray,
        k: int,
        exclude: sp.csr_matrix | Sequence[Sequence[int]] | None = None,
    ) -> Found:
        """What ``similarity.top_k(queries, rows, k, exclude, metric)`` returns, ids and scores, bit for bit.

        Raises:
            InputError: as ``similarity.top_k``, or an index without rows.
        """
        if self.rows is None:
            raise InputError("exact search needs the float32 rows: make the index with rows")
        return self._search(queries, k, exclude, None, exact=True)

    def _search(self, queries, k, exclude, rescore, exact: bool) -> Found:
        queries = np.ascontiguousarray(similarity._vectors("queries", queries), dtype=np.float32)
        if not isinstance(k, int | np.integer) or not 1 <= k <= self.n_items:
            raise InputError(f"k={k!r}: want between 1 and the number of items, {self.n_items}")
        seen = similarity._exclusion(exclude, len(queries), self.n_items)
        found = Found(
            np.full((len(queries), k), -1, dtype=np.int64),
            np.full((len(queries), k), -np.inf, dtype=np.float32),
            np.zeros(len(queries), dtype=np.int64),
            np.zeros(len(queries), dtype=bool),
            self.n_items,
        )
        for start in range(0, len(queries), BLOCK_QUERIES):
            part = slice(start, start + BLOCK_QUERIES)
            self._search_block(found, part, queries[part], k, None if seen is None else seen[part], rescore, exact)
        return found

    def _search_block(self, found: Found, part: slice, queries: np.ndarray, k: int, seen, rescore, exact: bool) -> None:
        lengths = _lengths(queries)
        unit = (queries / np.where(lengths > 0, lengths, 1)[:, None]).astype(np.float32)
        width = k if exact else min(self.n_items, k * (rescore or 1))
        capacity = max(4 * k, int(MOST_KEPT * self.n_items)) if exact else width
        slack = np.zeros(len(queries), dtype=np.float32)
        if exact:  # a score is rounded to float32, below the smallest of which there is only 0
            slack += np.minimum(scan.TIE + 2.0**-149 / np.maximum(lengths * self.unit_length, 1e-100), 10)
        pairs = scan.scan(
            self.quantized.dequantize, self.n_items, unit, self.weight, self.margin if exact else None, slack, width,
            capacity, seen,
        )  # fmt: skip
        score = pairs.score.astype(np.float64)
        if exact or rescore:
            score = similarity._pair_scores(self.metric, queries, self.rows, pairs.row, pairs.id)
            found.rescored[part] = np.bincount(pairs.row, minlength=len(queries))
        elif self.metric == "dot":
            score *= (lengths * self.unit_length)[pairs.row]
        _place(found, part, pairs.row, pairs.id, score.astype(np.float32))
        for row in np.flatnonzero(pairs.too_many):
            here = slice(part.start + row, part.start + row + 1)
            found.ids[here], found.scores[here] = similarity.top_k(
                queries[row : row + 1], self.rows, k, None if seen is None else seen[row : row + 1], self.metric
            )
            found.rescored[here], found.fell_back[here] = self.n_items, True


def _place(found: Found, part: slice, row: np.ndarray, ids: np.ndarray, score: np.ndarray) -> None:
    """Write the best of each query's pairs into ``found``, equal scores by the smaller id."""
    order = np.lexsort((ids, -score, row))
    row, ids, score = row[order], ids[order], score[order]
    place = np.arange(len(row)) - np.searchsorted(row, row)
    kept = place < found.ids.shape[1]
    found.ids[part.start + row[kept], place[kept]] = ids[kept]
    found.scores[part.start + row[kept], place[kept]] = score[kept]
