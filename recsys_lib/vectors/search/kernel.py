"""Compiles ``search.c`` once per machine and calls it, one scan per thread.

Without a C compiler there is no kernel and searches use torch, with the same results. The kernel starts
threads of its own, as many as torch uses.
"""

from __future__ import annotations

import ctypes
import math
import mmap
import threading
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import scipy.sparse as sp

from recsys_lib.kernels.compiler import SEARCH_SOURCE, address, compiled, isa_flags, structure
from recsys_lib.vectors.quantization.arrays import HUGE
from recsys_lib.vectors.quantization.floats import to_bfloat16
from recsys_lib.vectors.search import forms
from recsys_lib.vectors.search.forms import Form
from recsys_lib.vectors.search.layouts import (
    LANES,
    in_c_order,
    lines,
    norms,
    padded,
    panels,
    panels8,
    planes,
    rounded,
    sign_tables,
)

# Products and sums are rounded one by one, as GCC does by this standard and clang only if told.
FLAGS = ("-O3", "-std=c11", "-ffp-contract=off", "-shared", "-fPIC", "-pthread")
# As in threads.h.
MAX_THREADS = 64
# Up to so many queries, fine products alone are faster than panels (without matrix units); tables are the
# quickest to read in panels.
FEW, FEW_TABLES = 4, 1
# The least room for pairs that are put aside.
MIN_ASIDE = 64
# More equal signs would not fit 16 bits.
MAX_SIGN_BYTES = 8191
# Codes that lie in memory as products read them.
LONGER = (forms.INT8, forms.FLOAT32)
# Bytes of codes that a processor's largest cache may hold: from there they come so fast that shorter codes
# before them cost more than they save (measured with 32 MB: 1.7 times the seconds at 20 MB, .75 at 45 MB).
CACHED = 32 * 2**20
# As in search.c.
INSTRUCTIONS = ("portable", "NEON", "AVX2", "AVX-VNNI", "AVX-512 VNNI", "AMX")


_INT, _REAL, _POINTER = ctypes.c_int64, ctypes.c_double, ctypes.c_void_p
# Field by field as in search.h, search_queries.h, search_nearest.h and search.c.
Scan = structure(
    "Scan", n_items=_INT, d=_INT, kind=_INT, row_bytes=_INT, entries=_INT, n_queries=_INT, k=_INT,
    capacity=_INT, n_terms=_INT, tiles=_INT, aside=_INT, longer=_INT,
    codes=_POINTER, rows=_POINTER, factor=_POINTER, margin=_POINTER, term=_POINTER, extremes=_POINTER,
    fine=_POINTER, coarse=_POINTER, fine_scale=_POINTER, coarse_scale=_POINTER, coarse_min=_POINTER,
    spread=_POINTER, term_scale=_POINTER, slack=_POINTER, coarse_slack=_POINTER, seen_start=_POINTER,
    seen=_POINTER, next=_POINTER,
)  # fmt: skip
Found = structure(
    "Found", limit=_POINTER, gate=_POINTER, best=_POINTER, best_id=_POINTER, reach=_POINTER, id=_POINTER,
    count=_POINTER,
)  # fmt: skip
Tables = structure(
    "Tables", n_queries=_INT, dimension=_INT, parts=_INT, width=_INT, entries=_INT, kind=_INT,
    queries=_POINTER, codebook=_POINTER, start=_POINTER, fine=_POINTER, coarse=_POINTER, scale=_POINTER,
    min=_POINTER, lost=_POINTER, next=_POINTER,
)  # fmt: skip
Nearest = structure(
    "Nearest", scan=Scan, dimension=_INT, width=_INT, queries=_POINTER, codebook=_POINTER, start=_POINTER,
    directions=_POINTER, rounding=_REAL, largest_factor=_REAL, longest=_REAL, ids=_POINTER, scores=_POINTER,
)  # fmt: skip
Ranking = structure(
    "Ranking", n_lists=_INT, n_queries=_INT, k=_INT, best=_POINTER, best_id=_POINTER, ids=_POINTER
)
Rescore = structure(
    "Rescore", n_lists=_INT, n_queries=_INT, k=_INT, capacity=_INT, d=_INT, max_rescored=_INT,
    rows=_POINTER, queries=_POINTER, weight=_POINTER, margin=_POINTER, limit=_POINTER, band=_POINTER,
    reach=_POINTER, id=_POINTER, count=_POINTER, rescored=_POINTER, next=_POINTER,
)  # fmt: skip


@lru_cache
def load() -> ctypes.CDLL | None:
    """The compiled kernel, from the cache if this source was compiled for this processor before; None without
    a compiler.
    """
    return compiled(SEARCH_SOURCE, (*FLAGS, *isa_flags()))


def matrix_units() -> bool:
    """Whether the kernel multiplies panels of queries with the matrix units of the processor (AMX)."""
    return bool(_library().matrix_units())


def instructions() -> str:
    """The instructions that the kernel multiplies with; ``torch`` where there is no kernel."""
    return INSTRUCTIONS[_library().instructions()] if load() else "torch"


def coarse_codes() -> tuple[int, int]:
    """The largest code of a query in coarse products, 0 where there are none, and what is added to it."""
    library = _library()
    return library.max_code(), library.raise_of_codes()


def threads() -> int:
    """How many threads a scan uses: as many as torch does."""
    import torch

    return torch.get_num_threads()


def threads_for(n_items: int) -> int:
    """How many of them are worth starting for so many items."""
    return max(1, min(threads(), n_items // 2048, MAX_THREADS))


@dataclass(frozen=True, eq=False)
class Queries:
    """Queries in the coordinates of the codes, in the layouts that the kernel reads; ``padded`` is ``n`` up
    to a multiple of 16.

    fine: of integer codes ``[n, d]`` int16, of 4-bit codes bytes ``[n, 2d + 4]``, of floats ``[n, d]``, of
    product codes tables ``[n, parts, entries]``, of signs bits. coarse: the same of 16 queries together,
    ``[panels, d/4, 16, 4]`` uint8, ``[panels, d, 16]`` float32 or ``[panels, parts, entries, 16]`` uint8, and
    of 4-bit parts and signs tables ``[n, parts, 16]``; None for few queries. fine_scale, coarse_scale,
    coarse_min: ``[padded]``, what a number stands for, and what 0 does. fine_error, coarse_error: ``[n]``,
    how much rounding took from scores. term_scale: ``[t, padded]``, products with the directions of terms.
    """

    fine: np.ndarray
    fine_scale: np.ndarray | None
    fine_error: np.ndarray
    coarse: np.ndarray | None
    coarse_scale: np.ndarray | None
    coarse_min: np.ndarray | None
    coarse_error: np.ndarray
    term_scale: np.ndarray


def prepare(form: Form, unit: np.ndarray, alone: bool = True) -> Queries:
    """Queries ``unit [n, d]`` float64 for a scan of ``form``; ``alone``: without codes of another length."""
    v = form.to_codes(unit)
    nothing, along = np.zeros(len(v)), padded(form.directions @ unit.T)
    tiles, (max_code, raised) = matrix_units(), coarse_codes()
    few = not max_code or len(v) <= _fine_alone(form.kind, tiles, alone)
    if form.kind <= forms.BINARY:
        # A sum of d products with 8-bit codes must fit 32 bits; of 4-bit codes, the higher byte must fit 8,
        # and longer codes make it needless.
        most = (127 * 257 if alone else 127) if form.kind == forms.INT4 else 2**15 - 1
        fine, scale, lost = rounded(v, min(most, (2**31 - 1) // (128 * v.shape[1])))
        scale, fine_error = padded(scale), lost * form.code_length
        fine = planes(fine.astype(np.int32)) if form.kind == forms.INT4 else in_c_order(fine, np.int16)
        if few:
            return Queries(fine, scale, fine_error, None, None, None, nothing, along)
        coarse, coarse_scale, lost = rounded(v, max_code)
        lost = lost * form.code_length
        coarse = panels8(coarse, raised)
        return Queries(fine, scale, fine_error, coarse, padded(coarse_scale), None, lost, along)
    if form.kind in (forms.PRODUCT, forms.PRODUCT4):
        fine, coarse, scale, minimum, lost = _tables(form, in_c_order(v, np.float64), not few)
        if few:
            return Queries(fine, None, nothing, None, None, None, nothing, along)
        coarse = panels(coarse, np.uint8) if form.kind == forms.PRODUCT else coarse
        lost = lost * (1 + 1e-5) * form.largest_factor
        return Queries(fine, None, nothing, coarse, scale, minimum, lost, along)
    if form.kind == forms.BITS:
        ones = np.ones(-(-len(v) // LANES) * LANES, np.float32)
        v = in_c_order(v, np.uint8)
        if few or not tiles:
            signs = None if few or v.shape[1] > MAX_SIGN_BYTES else sign_tables(v)
            return Queries(v, ones, nothing, signs, 2 * ones, -8 * v.shape[1] * ones, nothing, along)
        bits = 2 * np.unpackbits(v, axis=1, bitorder="little").astype(np.int8) - 1
        return Queries(v, ones, nothing, panels8(bits, raised), ones, None, nothing, along)
    fine = in_c_order(v, np.float32)
    if few or not tiles:
        in_panels = None if few else panels(fine)
        return Queries(fine, None, nothing, in_panels, None, None, nothing, along)
    coarse = to_bfloat16(fine)
    kept = (coarse.astype(np.uint32) << 16).view(np.float32)
    lost = norms(v - kept) + (0 if form.kind == forms.BFLOAT16 else 2.0**-8) * norms(kept)
    # Numbers below the smallest normal one are taken for 0; scaled by at most 1e30, products of them come to
    # no more than this.
    lost = lost * form.code_length + form.d * 2.0**-26
    return Queries(fine, None, nothing, lines(coarse), None, None, lost, along)


def _fine_alone(kind: int, tiles: bool, alone: bool) -> int:
    """Up to how many queries fine products alone are the fastest."""
    if kind in (forms.PRODUCT, forms.PRODUCT4):
        return FEW_TABLES if kind == forms.PRODUCT else 0
    return 1 if tiles and alone and kind != forms.BITS else FEW


def _tables(form: Form, v: np.ndarray, coarse: bool) -> tuple[np.ndarray, ...]:
    """Tables of queries ``v [n, m]`` float64: fine, as whole numbers if ``coarse``, and of these the steps,
    what a sum of zeros stands for, both ``[padded]``, and the maximum error of a sum ``[n]``.
    """
    n, (parts, width, entries) = len(v), form.codebook.shape
    fine = np.empty((n, parts, entries), np.float32)
    whole = np.empty(fine.shape if coarse else 0, np.uint8)
    scale, minimum = np.zeros((2, -(-n // LANES) * LANES), np.float32)
    lost = np.empty(n)
    out = (fine, whole if coarse else None, scale, minimum, lost)
    arrays = (v, form.codebook, form.start, *out, np.zeros(1, np.int64))
    problem = Tables(n, v.shape[1], parts, width, entries, form.kind, *map(address, arrays))
    _check(_library().tables(ctypes.byref(problem), _INT(min(threads(), -(-n // 64)))))
    return fine, whole, scale, minimum, lost


@dataclass(frozen=True, eq=False)
class Candidates:
    """What every thread found: its best lower bounds ``[threads, n, k]`` with their ids, and candidates per
    query.

    reach, id: ``[threads, n, capacity]``, of which ``count [threads, n]`` are filled; -1 where there were too
    many.
    """

    best: np.ndarray
    best_id: np.ndarray
    reach: np.ndarray
    id: np.ndarray
    count: np.ndarray

    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """Query and item of every candidate."""
        _, n, capacity = self.id.shape
        count = np.maximum(self.count.ravel(), 0)
        at = np.repeat(np.arange(len(count)), count)
        place = np.arange(len(at)) - np.repeat(np.cumsum(count) - count, count)
        return at % n, self.id.reshape(-1)[at * capacity + place].astype(np.int64)


@dataclass(frozen=True, eq=False)
class Bounds:
    """How far true scores may lie from those of the codes: ``margin[item] * spread[query]``, and per query
    what rounding adds.

    margin: ``[n_items]`` or None for 0. spread: ``[n]``. slack, coarse_slack: ``[n]``, as in search.h.
    """

    margin: np.ndarray | None
    spread: np.ndarray
    slack: np.ndarray
    coarse_slack: np.ndarray


@dataclass(frozen=True, eq=False)
class Reading:
    """Codes that a scan reads, the queries in their layout, and how far scores by them may be wrong."""

    form: Form
    queries: Queries
    bounds: Bounds


def scan(
    reading: Reading, k: int, capacity: int, seen: sp.csr_matrix | None, longer: Reading | None = None
) -> Candidates:
    """One pass over all codes; ``seen`` has ascending ids and no stored zeros. ``capacity``: of the list of
    candidates; 0: only the best ``k`` are asked for.

    ``longer``: codes of the same items, of a kind in ``LONGER``. What passes by the first ones is scored by
    these at once, and candidates are so by these.
    """
    n, n_threads = len(reading.bounds.spread), threads_for(len(reading.form.factor))
    if longer is None:
        problems = [_problem(reading, k, capacity, seen)]
    else:
        first = replace(reading, bounds=_before(longer.bounds, reading))
        problems = [_problem(first, k, capacity, seen), _problem(longer, k, capacity, None)]
    scans, _kept = zip(*problems, strict=True)
    problem = (Scan * len(scans))(*scans)
    problem[0].longer = len(scans) - 1
    out, limits = _room(n_threads, n, k, capacity)
    _check(_library().scan(ctypes.byref(problem), _found(out, limits), _INT(n_threads)))
    return out


def _before(longer: Bounds, reading: Reading) -> Bounds:
    """Bounds of codes before longer ones: their upper bounds are held against lower bounds by those, and what
    rounding takes more from them is part of the coarse slack.
    """
    more = np.maximum(reading.bounds.slack - longer.slack, 0) / 2 * (1 + 1e-5)
    coarse = 0 if reading.queries.coarse is None else reading.bounds.coarse_slack
    return replace(reading.bounds, slack=longer.slack, coarse_slack=coarse + more)


def nearest(
    form: Form, queries: np.ndarray, k: int, seen: sp.csr_matrix | None, rounding: float, longest: float
) -> tuple[np.ndarray, np.ndarray]:
    """The best ``k`` of each of ``queries [n, d]`` by codes of 4 bits or signs (PRODUCT4), in one call.

    queries: float32. rounding: what float32 takes from a score. longest: length of the longest item, below
    0 for cosine.

    Returns:
        ids ``[n, k]`` int64 and scores ``[n, k]`` float32, best first, equal ones by the smaller id; -1 and
        -inf where there are no more.
    """
    n, (d, width, entries), kept = len(queries), form.codebook.shape, _csr(seen)
    ids, scores = np.empty((n, k), np.int64), np.empty((n, k), np.float32)
    codes = Scan(
        len(form.factor), d, form.kind, form.codes.shape[1], entries, n, k, max(MIN_ASIDE, 8 * k),
        len(form.terms), 0, 1, 0, address(form.codes), address(form.rows), address(form.factor), None,
        address(form.terms), address(form.extremes),
    )  # fmt: skip
    codes.seen_start, codes.seen = map(address, kept)
    arrays = map(address, (queries, form.codebook, form.start, form.directions))
    problem = Nearest(
        codes, queries.shape[1], width, *arrays, rounding, form.largest_factor, longest, address(ids),
        address(scores)
    )  # fmt: skip
    _check(_library().nearest(ctypes.byref(problem), _INT(threads_for(len(form.factor)))))
    return ids, scores


def _problem(
    reading: Reading, k: int, capacity: int, seen: sp.csr_matrix | None
) -> tuple[ctypes.Structure, list[np.ndarray | None]]:
    """What the kernel is told of a scan, and the arrays that must live as long."""
    form, queries, bounds = reading.form, reading.queries, reading.bounds
    arrays = [
        form.codes, form.rows, form.factor, bounds.margin, form.terms, None, queries.fine, queries.coarse,
        queries.fine_scale, queries.coarse_scale, queries.coarse_min, padded(bounds.spread),
        queries.term_scale, bounds.slack.astype(np.float32), bounds.coarse_slack.astype(np.float32),
        *_csr(seen), np.zeros(1, np.int64),
    ]  # fmt: skip
    row_bytes = form.codes.shape[1] * form.codes.itemsize
    sizes = (len(form.factor), form.d, form.kind, row_bytes, form.entries, len(bounds.slack), k, capacity)
    return Scan(*sizes, len(form.terms), matrix_units(), 0, 0, *map(address, arrays)), arrays


class _Kept(threading.local):
    """Memory for the candidates of few queries, which each thread that asks keeps from call to call: to give
    it back and take it again costs a tenth of a search.
    """

    def __init__(self) -> None:
        self.maps: dict[str, mmap.mmap] = {}


_kept_room = _Kept()
# Not shared with the child of a fork, which would write to the same memory.
_PRIVATE = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}


def _room(n_threads: int, n: int, k: int, capacity: int) -> tuple[Candidates, np.ndarray]:
    """Room for what the threads find, and for their limits ``[2, n_threads, padded]`` while they look. Of few
    queries it holds until the thread's next scan.
    """
    shape, keep = (n_threads, n), n <= FEW
    out = Candidates(
        np.empty((*shape, k), np.float32), np.empty((*shape, k), np.int32),
        _lazy_empty((*shape, capacity), np.float32, "reach" if keep else ""),
        _lazy_empty((*shape, capacity), np.int32, "id" if keep else ""),
        np.empty(shape, np.int64),
    )  # fmt: skip
    return out, np.empty((2, n_threads, -(-n // LANES) * LANES), np.float32)


def _found(c: Candidates, limits: np.ndarray) -> ctypes.Array:
    """Candidates and limits as C sees them, one ``Found`` for each thread."""
    shared = (*limits, c.best, c.best_id, c.reach, c.id, c.count)
    starts = [(address(array) or 0, array.nbytes // len(c.count)) for array in shared]
    return (Found * len(c.count))(
        *(Found(*(start + i * size for start, size in starts)) for i in range(len(c.count)))
    )


def ranked(candidates: Candidates) -> tuple[np.ndarray, np.ndarray]:
    """The best of all threads: ids ``[n, k]`` int64 and scores, best first, equal ones by the smaller id; -1
    and -inf where there are no more. What was found is changed.
    """
    n_lists, n, k = candidates.best.shape
    ids = np.empty((n, k), np.int64)
    arrays = map(address, (candidates.best, candidates.best_id, ids))
    _check(_library().rank(ctypes.byref(Ranking(n_lists, n, k, *arrays))))
    return ids, candidates.best[0]


def rescore(
    candidates: Candidates, rows: np.ndarray, unit: np.ndarray, weight: np.ndarray, margin: np.ndarray | None,
    limit: np.ndarray, band: np.ndarray, k: int, max_rescored: int,
) -> np.ndarray:  # fmt: skip
    """Leave of ``candidates`` those that may be among the best ``k`` by their ``rows`` in float32.

    Returns how many of each query were scored, ``[n]``, or -1 where they would have been more than
    ``max_rescored``: none is left.
    """
    n_lists, n, capacity = candidates.id.shape
    rescored = np.empty(n, dtype=np.int64)
    arrays = [
        rows, unit.astype(np.float32), weight, margin, limit.astype(np.float32),
        band.astype(np.float32), candidates.reach,
        candidates.id, candidates.count, rescored, np.zeros(1, np.int64),
    ]  # fmt: skip
    problem = Rescore(n_lists, n, k, capacity, rows.shape[1], max_rescored, *map(address, arrays))
    _check(_library().rescore(ctypes.byref(problem), _INT(min(threads(), -(-n // 4)))))
    return rescored


def _check(failed: int) -> None:
    if failed:
        raise MemoryError("no memory for a block of codes")


def _lazy_empty(shape: tuple[int, ...], dtype: type, keep: str = "") -> np.ndarray:
    """Room whose pages are taken when they are first written: NumPy asks for huge pages where there are many,
    and few are written. ``keep``: the name under which this thread keeps it.
    """
    count = math.prod(shape)
    size = count * np.dtype(dtype).itemsize
    if size < HUGE:
        return np.empty(shape, dtype)
    room = _kept_room.maps.get(keep) if keep else None
    if room is None or len(room) < size:
        room = mmap.mmap(-1, size, **_PRIVATE)
        if keep:
            _kept_room.maps[keep] = room
    return np.frombuffer(room, dtype, count).reshape(shape)


def _csr(seen: sp.csr_matrix | None) -> tuple[np.ndarray | None, np.ndarray | None]:
    return (None, None) if seen is None else (seen.indptr.astype(np.int64), seen.indices.astype(np.int64))


def _library() -> ctypes.CDLL:
    library = load()
    if library is None:
        raise RuntimeError("there is no kernel: ask load() first")
    return library
