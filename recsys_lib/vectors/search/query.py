"""One call of ``Index.top_k`` or ``Index.exact_top_k``: scan the codes, keep what the bounds allow, rescore,
fall back.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from recsys_lib.core.errors import InputError
from recsys_lib.vectors import checked_vectors, similarity
from recsys_lib.vectors.quantization.bounds import norms
from recsys_lib.vectors.search import kernel, torch_scan
from recsys_lib.vectors.search.forms import PRODUCT4, Form
from recsys_lib.vectors.search.kernel import Bounds, Candidates, Reading

if TYPE_CHECKING:
    from recsys_lib.vectors.search.index import Index

# What a block of queries may use for its candidates, 64 MB as one block of scores in similarity.top_k; nearly
# all of it stays untouched.
BLOCK_BYTES = 64 * 2**20
BLOCK_QUERIES, MIN_CANDIDATES = 1024, 4096
# Beyond this fraction of the items, scoring all of them by matrix products is faster than scoring candidates
# one by one.
MAX_KEPT = 1 / 8
# Scores are rounded to float32: true scores of unit vectors nearer than this may change places.
TIE = 2.0**-22


@dataclass(frozen=True, eq=False)
class Found:
    """The best items of every query: ids ``[n, k]`` int64 and scores ``[n, k]`` float32, best first; -1 and
    -inf where none is left.

    rescored: ``[n]``, how many of the ``n_items`` were scored by their float32 rows. fell_back: ``[n]``,
    queries for which the bounds could not rule out enough items, so that all were scored by
    ``similarity.top_k``.
    """

    ids: np.ndarray
    scores: np.ndarray
    rescored: np.ndarray
    fell_back: np.ndarray
    n_items: int

    @property
    def kept_share(self) -> float:
        """Mean fraction of the items that were scored in float32, 0 to 1."""
        return float(self.rescored.mean() / self.n_items) if len(self.rescored) else 0.0


class Search:
    """One call of ``top_k`` or ``exact_top_k``. few: shorter codes of the same rows, which are read first."""

    def __init__(
        self, index: Index, queries: np.ndarray, k: int, exclude, rescore: int, exact: bool, signs: bool,
        few: Index | None = None,
    ):  # fmt: skip
        n_items = len(index.weight)
        queries = np.ascontiguousarray(checked_vectors.vectors("queries", queries), dtype=np.float32)
        if queries.shape[1] != index.quantized.dimension:
            raise InputError(
                f"queries have {queries.shape[1]} columns: the codes have {index.quantized.dimension}"
            )
        if not isinstance(k, int | np.integer) or not 1 <= k <= n_items:
            raise InputError(f"k={k!r}: expected between 1 and the number of items, {n_items}")
        if index.metric == "dot":
            similarity._no_overflow(similarity._lengths(queries), np.array([index.longest], dtype=np.float32))
        self.index, self.queries, self.k, self.exact, self.rescore = index, queries, int(k), exact, rescore
        self.signs = signs
        self.few = few if few is not None and few.exact_form is not None else None
        self.seen = _plain(similarity._exclusion(exclude, len(queries), n_items))
        self.width = self.k if exact else min(n_items, self.k * max(1, rescore))
        n = len(queries)
        self.found = Found(
            np.full((n, self.k), -1, dtype=np.int64), np.full((n, self.k), -np.inf, dtype=np.float32),
            np.zeros(n, dtype=np.int64), np.zeros(n, dtype=bool), n_items,
        )  # fmt: skip

    def run(self) -> Found:
        candidates = max(MIN_CANDIDATES, 4 * self.width) if self.exact else self.width
        each = 8 * candidates * kernel.threads_for(len(self.index.weight))
        block = min(max(BLOCK_BYTES // each, 1), BLOCK_QUERIES)
        for start in range(0, len(self.queries), block):
            self._search(slice(start, min(start + block, len(self.queries))))
        self._fall_back()
        return self.found

    def _search(self, part: slice) -> None:
        seen = None if self.seen is None else self.seen[part]
        if self.exact:
            unit, lengths = self._unit(part)
            row, ids = self._certain(part, unit, lengths, seen)
        else:
            ids, score = self._nearest_signs(part, seen) if self.signs else self._nearest(part, seen)
            if not self.rescore:
                self.found.ids[part], self.found.scores[part] = ids, score
                return
            self.found.rescored[part] = (ids >= 0).sum(axis=1)
            row, ids = self._rescored(part, ids)
        score, found = self._pair_scores(row + part.start, ids), self.found
        _place(found.ids, found.scores, row + part.start, ids, score.astype(np.float32))

    def _unit(self, part: slice) -> tuple[np.ndarray, np.ndarray]:
        """Queries of length 1 (or 0), float64, and their lengths."""
        lengths = norms(self.queries[part])
        return self.queries[part] / np.where(lengths > 0, lengths, 1)[:, None], lengths

    def _scaled(self, ids: np.ndarray, score: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Scores of unit queries ``[n, width]`` as those of queries of these lengths."""
        if self.index.metric == "cosine":
            return score
        some = np.where(ids < 0, 0, score) * (lengths * self.index.longest)[:, None]
        return np.where(ids < 0, -np.inf, some)

    def _certain(
        self, part: slice, unit: np.ndarray, lengths: np.ndarray, seen
    ) -> tuple[np.ndarray, np.ndarray]:
        """Pairs of which the best k of each query surely are; none of queries that must fall back, which are
        marked.
        """
        index, certificate = self.index, self.index.certificate
        assert certificate is not None
        n, n_items = len(unit), len(index.weight)
        tie, max_kept = self._tie(lengths), max(self.k, int(MAX_KEPT * n_items))
        if index.exact_form is None:
            slack = tie + 2 * _rounding(index, certificate.size)
            pairs, given_up = torch_scan.scan(
                index.quantized, unit, index.weight, certificate.margin, slack, self.k, max_kept, seen
            )
            self.found.rescored[part] = np.where(given_up, -1, np.bincount(pairs.row, minlength=n))
            return pairs.row, pairs.id
        whole = _reading(index, unit, tie, self.few is None)
        first, longer = (whole, None) if self.few is None else (_reading(self.few, unit, tie, False), whole)
        candidates = kernel.scan(first, self.k, self._capacity(n), seen, longer)
        limit = self._limit(candidates, whole.bounds.slack)
        self.found.rescored[part] = self._filter(candidates, unit, lengths, limit, max_kept)
        return candidates.pairs()

    def _capacity(self, n: int) -> int:
        """How many candidates of each of ``n`` queries a thread may list."""
        n_items = self.found.n_items
        room = BLOCK_BYTES // (8 * n * kernel.threads_for(n_items))
        return max(4 * self.width, min(n_items, room))

    def _limit(self, candidates: Candidates, slack: np.ndarray) -> np.ndarray:
        """Per query the k-th best lower bound of all threads, less the slack."""
        best = candidates.best.swapaxes(0, 1).reshape(len(slack), -1)
        return np.partition(best, best.shape[1] - self.k, axis=1)[:, best.shape[1] - self.k] - slack

    def _nearest(self, part: slice, seen) -> tuple[np.ndarray, np.ndarray]:
        """The best ``width`` items of each query by their codes and their scores, ``[n, width]``, best first;
        -1 and -inf where there are no more.
        """
        index, form = self.index, self.index.form
        if form is not None and form.kind == PRODUCT4:
            longest = index.longest if index.metric == "dot" else -1.0
            rounding = _rounding(index, form.size)
            return kernel.nearest(form, self.queries[part], self.width, seen, rounding, longest)
        unit, lengths = self._unit(part)
        n = len(unit)
        if form is None:
            pairs, _ = torch_scan.scan(
                index.quantized, unit, index.weight, None, np.zeros(n), self.width, self.width, seen
            )
            ids, score = self._in_order(pairs, n)
        else:
            ids, score = kernel.ranked(self._by_codes(form, unit, seen))
        return ids, self._scaled(ids, score, lengths)

    def _by_codes(self, form: Form, unit: np.ndarray, seen) -> Candidates:
        """The best ``width`` of each query by the codes; of few queries what shorter codes leave."""
        n = len(unit)
        if self.few is not None and n:
            longer, first = self._readings_of_two(form, self.few, unit)
            found = kernel.scan(first, self.width, self._capacity(n), seen, longer)
            if (found.count >= 0).all():  # else shorter codes leave too many
                return found
        queries = kernel.prepare(form, unit)
        coarse = (queries.fine_error + queries.coarse_error) * (1 + 1e-5) + 2 * _rounding(
            self.index, form.size
        )
        reading = Reading(form, queries, Bounds(None, np.ones(n), np.zeros(n), coarse))
        return kernel.scan(reading, self.width, 0, seen)

    def _readings_of_two(self, form: Form, few: Index, unit: np.ndarray) -> tuple[Reading, Reading]:
        """The codes, whose own scores count, and shorter ones before them, whose scores differ from these by
        what both differ from the true ones.
        """
        n, queries = len(unit), kernel.prepare(form, unit, False)
        longer = Reading(form, queries, Bounds(None, np.ones(n), np.zeros(n), np.zeros(n)))
        short = _reading(few, unit, np.zeros(n), False)
        slack = short.bounds.slack + 2 * (queries.fine_error + _rounding(self.index, form.size))
        margin = self.index.margin_of_two
        return longer, replace(short, bounds=Bounds(margin, np.ones(n), slack, np.zeros(n)))

    def _nearest_signs(self, part: slice, seen) -> tuple[np.ndarray, np.ndarray]:
        """The same by equal signs, whose share minus that of the others is the score."""
        queries, quantized = self.queries[part], self.index.quantized
        d, padding = quantized.dimension, -quantized.dimension % 8  # of equal bits
        form = self.index.sign_form
        if form is None:
            pairs, _ = torch_scan.scan(
                torch_scan.SignVectors(quantized), np.where(queries > quantized.offset, 1.0, -1.0),
                np.ones(len(quantized), dtype=np.float32), None, np.zeros(len(queries)), self.width,
                self.width, seen,
            )  # fmt: skip
            ids, score = self._in_order(pairs, len(queries))
            return ids, score / d
        nothing = np.zeros(len(queries))
        bounds = Bounds(None, np.ones(len(queries)), nothing, nothing)
        reading = Reading(form, kernel.prepare(form, queries), bounds)
        ids, score = kernel.ranked(kernel.scan(reading, self.width, 0, seen))
        return ids, (score - padding) / d

    def _in_order(self, pairs: torch_scan.Pairs, n: int) -> tuple[np.ndarray, np.ndarray]:
        """The best ``width`` of these pairs, as ``_nearest`` gives them."""
        shape = (n, self.width)
        ids, score = np.full(shape, -1), np.full(shape, -np.inf, pairs.score.dtype)
        _place(ids, score, pairs.row, pairs.id, pairs.score)
        return ids, score

    def _rescored(self, part: slice, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Query and item of those of ``ids [n, width]`` that may be among the best k by their rows."""
        count = (ids >= 0).sum(axis=1)
        if self.index.form is None:
            return np.repeat(np.arange(len(ids)), count), ids[ids >= 0]
        empty = np.empty((1, len(ids), 0), dtype=np.float32)
        listed = ids[None].astype(np.int32)
        candidates = Candidates(empty, empty, np.full(listed.shape, np.inf, np.float32), listed, count[None])
        self._filter(candidates, *self._unit(part), np.full(len(ids), -np.inf), self.width)
        return candidates.pairs()

    def _filter(
        self, candidates: Candidates, unit: np.ndarray, lengths: np.ndarray, limit: np.ndarray, max_kept: int
    ) -> np.ndarray:
        certificate = self.index.certificate
        assert certificate is not None
        band = self._tie(lengths) + 2 * _rounding(self.index, 1.001)
        return kernel.rescore(
            candidates,
            certificate.rows,
            unit,
            self.index.weight,
            certificate.margin,
            limit,
            band,
            self.k,
            max_kept,
        )

    def _tie(self, lengths: np.ndarray) -> np.ndarray:
        """How near to each other two true scores of a unit query may lie and change places when they are
        rounded to float32.

        A score below the smallest float32 is rounded by up to that.
        """
        scale = lengths * self.index.longest if self.index.metric == "dot" else np.ones(len(lengths))
        return TIE + np.minimum(2.0**-149 / np.maximum(scale, 1e-100), 10)

    def _pair_scores(self, row: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """As ``similarity.top_k`` scores the pairs, in float64."""
        certificate = self.index.certificate
        assert certificate is not None
        rows = certificate.rows
        if certificate.scaled:
            needed, ids = np.unique(ids, return_inverse=True)
            rows = similarity._scaled(np.asarray(rows[needed]))
        # As similarity.top_k scales them before it scores pairs.
        queries = similarity._safe(self.queries)[0] if self.index.metric == "cosine" else self.queries
        return similarity._pair_scores(self.index.metric, queries, rows, row, ids)

    def _fall_back(self) -> None:
        """Score every item for the queries whose bounds did not prune; a zero query needs no item to be
        scored.
        """
        found = self.found
        given_up = np.flatnonzero(found.rescored < 0)
        if not len(given_up):
            return
        zero = ~self.queries[given_up].any(axis=1)
        for query in given_up[zero]:
            hidden = [] if self.seen is None else self.seen[query].indices
            first = np.setdiff1d(np.arange(min(found.n_items, self.k + len(hidden))), hidden)[: self.k]
            found.ids[query, : len(first)], found.scores[query, : len(first)] = first, 0
        found.rescored[given_up[zero]] = 0
        rest = given_up[~zero]
        if not len(rest):
            return
        certificate = self.index.certificate
        assert certificate is not None
        seen = None if self.seen is None else self.seen[rest]
        found.ids[rest], found.scores[rest] = similarity.top_k(
            self.queries[rest], certificate.rows, self.k, seen, self.index.metric
        )
        found.rescored[rest], found.fell_back[rest] = found.n_items, True


def _reading(index: Index, unit: np.ndarray, tie: np.ndarray, alone: bool) -> Reading:
    """What exact search reads of an index: its codes, the queries for them, and how far scores by them may
    lie from the true ones. ``alone``: whether it reads codes of one length only.
    """
    form, certificate = index.exact_form, index.certificate
    assert form is not None and certificate is not None
    queries, rounding = kernel.prepare(form, unit, alone), _rounding(index, certificate.size)
    across = unit - (unit @ certificate.direction)[:, None] * certificate.direction
    slack = tie + 2 * (queries.fine_error + rounding)
    coarse = (queries.fine_error + queries.coarse_error) * (1 + 1e-5) + 2 * rounding
    bounds = Bounds(certificate.margin, norms(across) * (1 + 1e-6) + 1e-6, slack, coarse)
    return Reading(form, queries, bounds)


def _rounding(index: Index, size: float) -> float:
    """What float32 may add to or take from a score: a sum of ``d`` products in any order and a few operations
    more.
    """
    d = max(index.quantized.dimension, index.form.d if index.form else 0)
    # A code of pca is decoded by a product of its own; each component of it is a sum of that many terms.
    decoded = np.sqrt(index.quantized.codebook.shape[0]) if index.quantized.scheme.startswith("pca") else 1.0
    return (d + 64) * 2.0**-24 * size * decoded


def _plain(seen: sp.csr_matrix | None) -> sp.csr_matrix | None:
    """The same items with ascending ids, each once and without stored zeros."""
    if seen is None:
        return None
    row = np.repeat(np.arange(seen.shape[0]), np.diff(seen.indptr))[seen.data != 0]
    ids = seen.indices[seen.data != 0]
    plain = sp.csr_matrix((np.ones(len(ids), dtype=np.float32), (row, ids)), shape=seen.shape)
    plain.sort_indices()
    return plain


def _ranked(
    row: np.ndarray, ids: np.ndarray, score: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The best ``k`` pairs of each row, best first, equal scores by the smaller id."""
    order = np.lexsort((ids, -score, row))
    row, ids, score = row[order], ids[order], score[order]
    kept = np.arange(len(row)) - np.searchsorted(row, row) < k
    return row[kept], ids[kept], score[kept]


def _place(
    found_ids: np.ndarray, found_scores: np.ndarray, row: np.ndarray, ids: np.ndarray, score: np.ndarray
) -> None:
    """Put the best pairs of each row into ``[n, k]``."""
    row, ids, score = _ranked(row, ids, score, found_ids.shape[1])
    place = np.arange(len(row)) - np.searchsorted(row, row)
    found_ids[row, place], found_scores[row, place] = ids, score
