"""An index over quantized vectors and, where results are rescored, their float32 rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from recsys_lib.core.errors import InputError
from recsys_lib.vectors import similarity
from recsys_lib.vectors.quantization import QuantizedVectors
from recsys_lib.vectors.quantization.product import grouped
from recsys_lib.vectors.search import kernel, torch_scan
from recsys_lib.vectors.search.forms import Form, linear_form, sign_form
from recsys_lib.vectors.search.kernel import NO_ID, Bounds, Candidates

METRICS = ("cosine", "dot")
# Rows that are checked against their codes at once: their float64 temporaries stay in the cache.
BLOCK_ROWS = 1024
# What a block of queries may use for its candidates, 64 MB as one block of scores in similarity.top_k; nearly all of it stays untouched.
BLOCK_BYTES = 64 * 2**20
BLOCK_QUERIES, FEWEST_CANDIDATES = 1024, 4096
# Lengths of rows that products with unit vectors in float32 neither lose nor overflow; others are never ranked by their codes.
SHORTEST, LONGEST = 1e-30, 1e37
# Beyond this share of the items, scoring all of them by matrix products is faster than scoring candidates one by one.
MOST_KEPT = 1 / 8
# Scores are rounded to float32: true scores of unit vectors nearer than this may change places.
TIE = 2.0**-22


@dataclass(frozen=True, eq=False)
class Found:
    """The best items of every query: ids ``[n, k]`` int64 and scores ``[n, k]`` float32, best first; -1 and -inf where none is left.

    rescored: ``[n]``, how many of the ``n_items`` were scored by their float32 rows. fell_back: ``[n]``, queries for which the
    bounds could not rule out enough items, so that all were scored by ``similarity.top_k``.
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


@dataclass(frozen=True, eq=False)
class Certificate:
    """What exact search knows of the rows of its codes.

    margin: ``[n]`` float32, how far the score of a unit query may lie from that of the code; infinite where nothing is known. direction: ``[d]`` float64,
    near which most vectors point, and along: ``[n]``, how far each row lies from its code in this direction. size: what all parts of
    a score can sum up to. scaled: whether ``similarity.top_k`` would scale the rows.
    """

    rows: np.ndarray
    margin: np.ndarray
    direction: np.ndarray
    along: np.ndarray
    size: float
    scaled: bool


@dataclass(frozen=True, eq=False)
class Index:
    """Codes ready to be searched; made by ``Index.build``.

    weight: ``[n]`` float32, what a product with an item is scaled by so that scores of unit queries stay near 1: its inverse length, or for dot
    products the inverse of ``longest``, the longest length. form: how the kernel scores codes, exact_form: the same with what is known
    of the residuals; None where torch decodes and multiplies.
    """

    quantized: QuantizedVectors
    metric: str
    weight: np.ndarray
    longest: float
    certificate: Certificate | None
    form: Form | None
    exact_form: Form | None

    @staticmethod
    def build(quantized: QuantizedVectors, rows: np.ndarray | None = None, metric: str = "cosine") -> Index:
        """Make codes searchable by cosine or dot product; with their float32 ``rows [n, d]`` also exactly.

        ``rows`` may be a ``np.memmap``. They are read once, in blocks: the bound of every code is checked against its row, so that a
        certificate rests on no promise.

        Raises:
            InputError: an unknown metric, rows of another shape or dtype, NaN, or a row farther from its code than its bound.
        """
        if metric not in METRICS:
            raise InputError(f"metric={metric!r}: expected one of {', '.join(METRICS)}")
        if rows is None:
            parts = [_lengths(quantized.dequantize(block)) for block in _blocks(len(quantized))]
            weight, longest = _weights(metric, np.concatenate(parts or [np.empty(0)]))
            quantized, form = _readable(quantized, weight)
            return Index(quantized, metric, weight, longest, None, form, None)
        rows = np.asanyarray(rows)
        if rows.dtype != np.float32 or rows.shape != (len(quantized), quantized.dimension):
            expected = (len(quantized), quantized.dimension)
            raise InputError(
                f"rows are {rows.dtype} {rows.shape}: expected the float32 vectors of the codes, {expected}"
            )
        rows = rows if rows.flags.c_contiguous else np.ascontiguousarray(rows)
        direction = _common_direction(rows)
        lengths, along = _check(quantized, rows, direction)
        weight, longest = _weights(metric, lengths)
        quantized, form = _readable(quantized, weight)
        scaled = metric == "cosine" and not ((lengths > 1e-15) & (lengths < 1e15)).all()
        with np.errstate(invalid="ignore"):  # an infinite bound of a row without length
            margin = quantized.errors * (weight.astype(np.float64) * (1 + 1e-5))
        margin = np.where(lengths > 0, np.where(weight > 0, margin, np.inf), 0)
        size = 2.0 + float(margin[np.isfinite(margin)].max(initial=0)) * 2 + (form.size if form else 0)
        if not size < LONGEST:
            size, margin = 1.0, np.full(len(margin), np.inf)
        with np.errstate(over="ignore"):
            certificate = Certificate(rows, margin.astype(np.float32), direction, along, size, scaled)
        exact_form = form.with_term(np.where(np.isfinite(margin), along * weight, 0), direction) if form else None
        return Index(quantized, metric, weight, longest, certificate, form, exact_form)

    def top_k(
        self,
        queries: np.ndarray,
        k: int,
        exclude: sp.csr_matrix | Sequence[Sequence[int]] | None = None,
        rescore: int = 0,
        query_bits: int = 16,
    ) -> Found:
        """The ``k`` best by the codes; with ``rescore=r`` the best ``k`` of the ``r·k`` best, by their float32 rows.

        Equal scores are ordered by the smaller id. Without ``rescore`` the scores are those of the codes. ``exclude`` as in
        ``similarity.top_k``. ``query_bits=1`` compares binary codes with the signs of the query instead of the query itself, several times
        faster and less well; the score is then the share of equal signs minus that of different ones.

        Raises:
            InputError: as ``similarity.top_k``, a negative ``rescore`` or one without rows, ``query_bits`` other than 16, or 1 for
                codes that are not binary.
        """
        if not isinstance(rescore, int | np.integer) or rescore < 0:
            raise InputError(f"rescore={rescore!r}: expected how many candidates per result, or 0")
        if rescore and self.certificate is None:
            raise InputError(f"rescore={rescore} needs the float32 rows: build the index with rows")
        if query_bits != 16 and (query_bits != 1 or self.quantized.scheme != "binary"):
            raise InputError(
                f"query_bits={query_bits!r} with {self.quantized.scheme} codes: expected 16, or 1 for binary"
            )
        return _Search(self, queries, k, exclude, int(rescore), False, query_bits == 1).run()

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
        if self.certificate is None:
            raise InputError("exact search needs the float32 rows: build the index with rows")
        return _Search(self, queries, k, exclude, 0, True, False).run()


# ---------------------------------------------------------------- making an index


def _readable(quantized: QuantizedVectors, weight: np.ndarray) -> tuple[QuantizedVectors, Form | None]:
    """The codes in the order in which the kernel reads them, and how it scores them."""
    if not kernel.load():
        return quantized, None
    if quantized.scheme == "pq" and quantized.codebook.shape[1] == 16 and quantized.codes.ndim == 2:
        quantized = grouped(quantized)
    return quantized, linear_form(quantized, weight)


def _blocks(n: int) -> list[slice]:
    return [slice(start, min(start + BLOCK_ROWS, n)) for start in range(0, n, BLOCK_ROWS)]


def _lengths(v: np.ndarray) -> np.ndarray:
    """In float64, where no square of a float32 number overflows or vanishes."""
    return np.sqrt(np.einsum("ij,ij->i", v, v, dtype=np.float64))


def _weights(metric: str, lengths: np.ndarray) -> tuple[np.ndarray, float]:
    """What to scale the product with each item by, 0 where its length is not usable; and the longest length, for dot."""
    if metric == "cosine":
        usable = (lengths >= SHORTEST) & (lengths <= LONGEST)
        return np.where(usable, 1 / np.where(usable, lengths, 1), 0).astype(np.float32), 1.0
    longest = float(lengths.max(initial=0))
    fits = SHORTEST <= longest <= LONGEST
    return np.full(len(lengths), 1 / longest if fits else 0, dtype=np.float32), longest


def _common_direction(rows: np.ndarray) -> np.ndarray:
    """The unit mean of some unit rows, float64 ``[d]``: queries point along it more than along any other direction."""
    some = np.asarray(rows[:: max(1, len(rows) // 4096)], dtype=np.float64)
    lengths = _lengths(some)
    mean = (some / np.where(lengths > 0, lengths, 1)[:, None]).sum(axis=0)
    length = np.sqrt(mean @ mean)
    return mean / length if np.isfinite(length) and length > 0 else np.zeros(rows.shape[1])


def _check(quantized: QuantizedVectors, rows: np.ndarray, direction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lengths of the rows and how far each lies from its code along ``direction``, after checking each bound."""
    lengths, along = np.empty(len(rows)), np.empty(len(rows))
    for block in _blocks(len(rows)):
        exact = np.asarray(rows[block], dtype=np.float64)
        lengths[block] = _lengths(exact)
        lost = exact - quantized.dequantize(block)
        along[block] = lost @ direction
        distances, bounds = _lengths(lost), quantized.errors[block]
        bad = np.flatnonzero(~(distances <= bounds * (1 + 1e-6) + 1e-44))
        if len(bad):
            i = int(bad[0])
            why = "rows and codes do not match" if np.isfinite(exact[i]).all() else "it holds NaN or infinity"
            raise InputError(
                f"row {block.start + i} lies {distances[i]:.3g} from its code, whose bound is {bounds[i]:.3g}: {why}"
            )
    return lengths, along


# ---------------------------------------------------------------- searching


class _Search:
    """One call of ``top_k`` or ``exact_top_k``."""

    def __init__(self, index: Index, queries: np.ndarray, k: int, exclude, rescore: int, exact: bool, signs: bool):
        n_items = len(index.weight)
        queries = np.ascontiguousarray(similarity._vectors("queries", queries), dtype=np.float32)
        if queries.shape[1] != index.quantized.dimension:
            raise InputError(f"queries have {queries.shape[1]} columns: the codes have {index.quantized.dimension}")
        if not isinstance(k, int | np.integer) or not 1 <= k <= n_items:
            raise InputError(f"k={k!r}: expected between 1 and the number of items, {n_items}")
        if index.metric == "dot":
            similarity._no_overflow(similarity._lengths(queries), np.array([index.longest], dtype=np.float32))
        self.index, self.queries, self.k, self.exact, self.rescore = index, queries, int(k), exact, rescore
        self.signs = signs
        self.seen = _plain(similarity._exclusion(exclude, len(queries), n_items))
        self.width = self.k if exact else min(n_items, self.k * max(1, rescore))
        n = len(queries)
        self.found = Found(
            np.full((n, self.k), -1, dtype=np.int64), np.full((n, self.k), -np.inf, dtype=np.float32),
            np.zeros(n, dtype=np.int64), np.zeros(n, dtype=bool), n_items,
        )  # fmt: skip

    def run(self) -> Found:
        candidates = max(FEWEST_CANDIDATES, 4 * self.width) if self.exact else self.width
        each = 8 * candidates * kernel.threads_for(len(self.index.weight))
        block = int(np.clip(BLOCK_BYTES // each, 1, BLOCK_QUERIES))
        for start in range(0, len(self.queries), block):
            self._search(slice(start, min(start + block, len(self.queries))))
        self._fall_back()
        return self.found

    def _search(self, part: slice) -> None:
        lengths = _lengths(self.queries[part])
        unit = self.queries[part] / np.where(lengths > 0, lengths, 1)[:, None]
        seen = None if self.seen is None else self.seen[part]
        if self.exact:
            row, ids = self._certain(part, unit, lengths, seen)
        else:
            row, ids, score = self._nearest_signs(part, seen) if self.signs else self._nearest(unit, seen)
        if self.rescore:
            self.found.rescored[part] = np.bincount(row, minlength=len(unit))
            row, ids = self._rescored(unit, lengths, row, ids)
        if self.exact or self.rescore:
            score = self._pair_scores(row + part.start, ids)
        elif self.index.metric == "dot" and not self.signs:
            score = score * (lengths * self.index.longest)[row]
        _place(self.found, row + part.start, ids, score.astype(np.float32))

    def _certain(self, part: slice, unit: np.ndarray, lengths: np.ndarray, seen) -> tuple[np.ndarray, np.ndarray]:
        """Pairs of which the best k of each query surely are; none of queries that must fall back, which are marked."""
        index, certificate = self.index, self.index.certificate
        assert certificate is not None
        n, n_items = len(unit), len(index.weight)
        tie, most = self._tie(lengths), max(self.k, int(MOST_KEPT * n_items))
        rounding = _rounding(index, certificate.size)
        if index.exact_form is None:
            slack = tie + 2 * rounding
            pairs, given_up = torch_scan.scan(
                index.quantized, unit, index.weight, certificate.margin, slack, self.k, most, seen
            )
            self.found.rescored[part] = np.where(given_up, -1, np.bincount(pairs.row, minlength=n))
            return pairs.row, pairs.id
        form = index.exact_form
        queries = kernel.prepare(form, unit)
        across = unit - (unit @ certificate.direction)[:, None] * certificate.direction
        fine, coarse = queries.fine_error, queries.coarse_error
        slack = tie + 2 * (fine + rounding)
        bounds = Bounds(
            certificate.margin, _lengths(across) * (1 + 1e-6) + 1e-6, slack, (fine + coarse) * (1 + 1e-5) + 2 * rounding
        )
        capacity = max(4 * self.k, min(n_items, BLOCK_BYTES // (8 * n * kernel.threads_for(n_items))))
        candidates = kernel.scan(form, unit, queries, bounds, self.k, capacity, seen)
        best = candidates.best.swapaxes(0, 1).reshape(n, -1)
        limit = np.partition(best, best.shape[1] - self.k, axis=1)[:, best.shape[1] - self.k] - slack
        self.found.rescored[part] = self._filter(candidates, unit, lengths, limit, most)
        return candidates.pairs()

    def _nearest(self, unit: np.ndarray, seen) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The best ``width`` pairs of each query by their codes, with their scores."""
        index, n = self.index, len(unit)
        if index.form is None:
            pairs, _ = torch_scan.scan(
                index.quantized, unit, index.weight, None, np.zeros(n), self.width, self.width, seen
            )
            return pairs.row, pairs.id, pairs.score
        queries = kernel.prepare(index.form, unit)
        coarse_slack = (queries.fine_error + queries.coarse_error) * (1 + 1e-5) + 2 * _rounding(index, index.form.size)
        bounds = Bounds(None, np.ones(n), np.zeros(n), coarse_slack)
        return self._best(kernel.scan(index.form, unit, queries, bounds, self.width, 0, seen))

    def _nearest_signs(self, part: slice, seen) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The same by equal signs, whose share minus that of the others is the score."""
        queries, quantized = self.queries[part], self.index.quantized
        d, padding = quantized.dimension, -quantized.dimension % 8  # of equal bits
        if self.index.form is None:
            pairs, _ = torch_scan.scan(
                torch_scan.SignVectors(quantized), np.where(queries > quantized.offset, 1.0, -1.0),
                np.ones(len(quantized), dtype=np.float32), None, np.zeros(len(queries)), self.width, self.width, seen,
            )  # fmt: skip
            return pairs.row, pairs.id, pairs.score / d
        form = sign_form(quantized)
        nothing = np.zeros(len(queries))
        bounds = Bounds(None, np.ones(len(queries)), nothing, nothing)
        row, ids, score = self._best(
            kernel.scan(form, queries, kernel.prepare(form, queries), bounds, self.width, 0, seen)
        )
        return row, ids, (score - padding) / d

    def _best(self, candidates: Candidates) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The best ``width`` pairs of each query of what all threads found."""
        n = candidates.best.shape[1]
        best, ids = (a.swapaxes(0, 1).reshape(n, -1) for a in (candidates.best, candidates.best_id))
        row, column = np.nonzero(ids != NO_ID)
        return _ranked(row, ids[row, column].astype(np.int64), best[row, column], self.width)

    def _rescored(self, unit: np.ndarray, lengths: np.ndarray, row: np.ndarray, ids: np.ndarray):
        """Of these pairs, those that may be among the best k by their rows."""
        if self.index.form is None:
            return row, ids
        n = len(unit)
        listed = np.zeros((1, n, self.width), dtype=np.int32)
        place = np.arange(len(row)) - np.searchsorted(row, row)
        listed[0, row, place] = ids
        count = np.bincount(row, minlength=n)[None].astype(np.int64)
        empty = np.empty((1, n, 0), dtype=np.float32)
        candidates = Candidates(empty, empty, np.full(listed.shape, np.inf, np.float32), listed, count)
        self._filter(candidates, unit, lengths, np.full(n, -np.inf), self.width)
        return candidates.pairs()

    def _filter(
        self, candidates: Candidates, unit: np.ndarray, lengths: np.ndarray, limit: np.ndarray, most: int
    ) -> np.ndarray:
        certificate = self.index.certificate
        assert certificate is not None
        band = self._tie(lengths) + 2 * _rounding(self.index, 1.001)
        return kernel.rescore(
            candidates, certificate.rows, unit, self.index.weight, certificate.margin, limit, band, self.k, most
        )

    def _tie(self, lengths: np.ndarray) -> np.ndarray:
        """How near to each other two true scores of a unit query may lie and change places when they are rounded to float32.

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
        """Score every item for the queries whose bounds did not prune; a zero query needs no item to be scored."""
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


def _rounding(index: Index, size: float) -> float:
    """What float32 may add to or take from a score: a sum of ``d`` products in any order and a few operations more."""
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


def _ranked(row: np.ndarray, ids: np.ndarray, score: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The best ``k`` pairs of each row, best first, equal scores by the smaller id."""
    order = np.lexsort((ids, -score, row))
    row, ids, score = row[order], ids[order], score[order]
    kept = np.arange(len(row)) - np.searchsorted(row, row) < k
    return row[kept], ids[kept], score[kept]


def _place(found: Found, row: np.ndarray, ids: np.ndarray, score: np.ndarray) -> None:
    row, ids, score = _ranked(row, ids, score, found.ids.shape[1])
    place = np.arange(len(row)) - np.searchsorted(row, row)
    found.ids[row, place], found.scores[row, place] = ids, score
