"""Top-k over codes against baselines, on the vectors of all books of Book-Crossing."""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from recsys_lib.benchmarks.baselines.rows import Row, row
from recsys_lib.core.errors import InputError
from recsys_lib.experiments import vector_compression as compression
from recsys_lib.hardware import machine, timing
from recsys_lib.vectors import quantization, search, similarity
from recsys_lib.vectors.search import kernel

K = 10
BATCHES = (1, 64, 1024)
# For baselines that score one query after another, 12 s and more for 1,024: faiss's scalar quantizers,
# usearch's exact search.
SLOW_BATCHES = BATCHES[:2]
# Seconds of calls before each timed one of SLOW_BATCHES, longer than threads of another library spin.
SETTLE = 0.05
# Queries one by one whose exact results are checked.
FEW = 64
GROWTH = (10_000, 100_000, 1_000_000)
# Ours, how it is made, and the faiss index of the same kind.
KINDS: dict[str, tuple[str, dict[str, Any], str]] = {
    "float32": ("float32", {}, "Flat"),
    "float16": ("float16", {}, "SQfp16"),
    "bfloat16": ("bfloat16", {}, "SQbf16"),
    "int8": ("int8", {}, "SQ8"),
    "int4": ("int4", {}, "SQ4"),
    "pq 8 bits": ("pq", {"subspaces": 48}, "PQ48"),
    "pq 4 bits": ("pq", {"subspaces": 96, "bits": 4}, "PQ96x4fs"),
    "signs": ("binary", {}, "binary Flat"),
}
# A graph of all books takes minutes to build: graphs are made of so many.
MAX_LINKED = 100_000
# Vectors that ranges, a mean or centroids are learned from.
MAX_LEARNED = 65_536

# Rows rescored per place of the list, and the fraction of the best that is enough, for equal recall.
DEPTHS = (1, 2, 4, 8, 16, 32, 64)
ENOUGH = 0.99

Find = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class Comparison:
    """Searches of the same queries, on the same threads.

    work: what is done. ours: queries ``[n, d]`` to ids ``[n, K]``; baselines: the same, by name. codes:
    what ours reads of every item. per_code: operations that one query needs for one byte of them, 0 where
    none are counted. note: what else to say of it. batches: how many queries at once.
    """

    work: str
    ours: Find
    baselines: dict[str, Find]
    codes: np.ndarray
    per_code: float = 0.0
    note: str = ""
    batches: tuple[int, ...] = BATCHES


@dataclass(frozen=True, eq=False)
class Catalogue:
    """What all rows share. items ``[m, d]``, queries ``[n, d]``, kth:
    ``[n]``, score of the last of the best ``K``; peaks: operations/s by precision.
    """

    items: np.ndarray
    queries: np.ndarray
    kth: np.ndarray
    peaks: dict[str, float]
    threads: int


def check_parts(parts: Sequence[str]) -> list[str]:
    """The names of all parts.

    Raises:
        InputError: one of ``parts`` is none of them.
    """
    names = ["exact", *KINDS, "rabitq", "graphs", "growth"]
    if unknown := set(parts) - set(names):
        raise InputError(f"part {min(unknown)!r} is unknown: choose from {', '.join(names)}")
    return names


def search_rows(parts: Sequence[str] = ()) -> Iterator[tuple[str, list[Row]]]:
    """Certified exact, rescored and approximate top-10 against faiss, usearch (if installed), NumPy and torch
    for 1, 64 and 1,024 queries.

    Part by part: "exact", each of ``KINDS``, "rabitq", "graphs", and "growth" to a million items; ``parts``
    picks some. Baselines of the same precision come first, each at its own defaults, warmed once. The limit
    is what streaming the codes once takes, or the products at the measured int8 or float32 peak, whichever is
    longer. Fractions of the best count ties (``compression.recall``).

    Raises:
        InputError: an unknown part.
    """
    names = check_parts(parts)
    import faiss
    import torch
    from threadpoolctl import threadpool_limits

    threads = torch.get_num_threads()
    faiss.omp_set_num_threads(threads)
    books, queries = compression.book_vectors(n_queries=max(BATCHES), progress=True)
    if not _has_usearch():
        print(
            "usearch is not installed, its rows are left out: pip install -r requirements-bench.txt",
            file=sys.stderr,
        )
    with threadpool_limits(threads, "blas"):
        catalogue = catalogue_of(books, queries, threads)
        for name in parts or names:
            if name == "exact":
                yield name, exact_rows(catalogue)
            elif name == "rabitq":
                yield name, one_bit_rows(catalogue)
            elif name == "graphs":
                yield name, graph_rows(catalogue_of(books[:MAX_LINKED], queries, threads))
            elif name == "growth":
                for n in GROWTH:
                    items = books[:n] if n <= len(books) else compression.fill_up(books, n)
                    yield name, size_rows(catalogue_of(items, queries[:64], threads))
            else:
                yield name, same_kind_rows(name, catalogue)


def catalogue_of(items: np.ndarray, queries: np.ndarray, threads: int) -> Catalogue:
    peaks = {p: machine.matmul_peak(p, seconds=0.3).throughput for p in ("int8", "float32")}
    return Catalogue(items, queries, similarity.top_k(queries, items, K)[1][:, -1], peaks, threads)


def exact_rows(c: Catalogue) -> list[Row]:
    """Certified and rescored search: against int8 with refinement, then against exact searches of float32."""
    index, exact, says = _certified(c)
    exactly, found = similarity.top_k(c.queries, c.items, K), index.exact_top_k(c.queries, K)
    says = f"{_exactness(found.ids, found.scores, exactly)}, {says}"
    codes = index.quantized.codes

    def rescored(q: np.ndarray) -> np.ndarray:
        return index.top_k(q, K, rescore=2).ids

    same_precision: dict[str, Find] = {"faiss SQ8, refined": _faiss("SQ8,RFlat", c.items, refine=2)}
    full: dict[str, Find] = {
        "faiss Flat": _faiss("Flat", c.items),
        "NumPy": lambda q: _numpy(c.items, q),
        "torch": lambda q: similarity.top_k(q, c.items, K, metric="dot")[0],
    }
    note = f"{2 * K} rows read"
    rows = _rows(Comparison("int8 rescored", rescored, same_precision, codes, 2.0, note, SLOW_BATCHES), c)
    rows += _rows(Comparison("int8 rescored", rescored, full, codes, 2.0, note), c)
    rows += _rows(Comparison("exact int8", exact, full, codes, 2.0, says), c)
    for comparison in _of_few(c, index.quantized, exactly, full):
        rows += _rows(comparison, c)
    if _has_usearch():
        baselines: dict[str, Find] = {"usearch, exact": lambda q: _usearch_exact(c.items, q, c.threads)}
        rows += _rows(Comparison("exact int8", exact, baselines, codes, 2.0, says, SLOW_BATCHES), c)
    return rows


def _of_few(
    c: Catalogue,
    codes: quantization.QuantizedVectors,
    exactly: tuple[np.ndarray, np.ndarray],
    baselines: dict[str, Find],
) -> list[Comparison]:
    """Searches of one query that read 4 bits first: exact, and by the 8-bit ``codes`` with rescoring. None
    where a cache holds the codes: then they are read alone.
    """
    if codes.codes.nbytes <= kernel.CACHED:
        return []
    short, few = quantization.quantize(c.items, "int4"), min(FEW, len(c.queries))
    index = search.Index.build(codes, c.items, few=short)
    found = [index.exact_top_k(c.queries[i : i + 1], K) for i in range(few)]
    ids, scores, read = (
        np.concatenate([getattr(f, name) for f in found]) for name in ("ids", "scores", "rescored")
    )
    same = _exactness(ids, scores, (exactly[0][:few], exactly[1][:few]))
    says = f"{same}, {read.mean():.0f} rows read per query"

    def rescored(q: np.ndarray) -> np.ndarray:
        return index.top_k(q, K, rescore=2).ids

    return [
        Comparison(
            "exact int4", lambda q: index.exact_top_k(q, K).ids, baselines, short.codes, 2.0, says, (1,)
        ),
        Comparison("int4 rescored", rescored, baselines, short.codes, 2.0, f"{2 * K} rows read", (1,)),
    ]


def _exactness(ids: np.ndarray, scores: np.ndarray, exactly: tuple[np.ndarray, np.ndarray]) -> str:
    same = np.array_equal(ids, exactly[0]) and np.array_equal(scores, exactly[1])
    return f"ids and scores {'' if same else 'NOT '}those of float32"


def one_bit_rows(c: Catalogue) -> list[Row]:
    """One bit per number with rescoring against faiss's RaBitQ with refinement, both at equal recall.

    Gao and Long, "RaBitQ" (2024). Either reads as few float32 rows as finds ``ENOUGH`` of the best for the
    first queries; faiss rotates at random first, as the paper does.
    """
    codes = quantization.calibrate(c.items[:MAX_LEARNED], "binary").quantize(c.items)
    index, few = search.Index.build(codes, c.items), min(64, len(c.queries))

    def enough(find_at: Callable[[int], Find]) -> int:
        for depth in DEPTHS:
            ids = find_at(depth)(c.queries[:few])
            if compression.recall(ids, c.items, c.queries[:few], c.kth[:few]).mean() >= ENOUGH:
                return depth
        return DEPTHS[-1]

    def ours_at(depth: int) -> Find:
        return lambda q: index.top_k(q, K, rescore=depth).ids

    baseline = _faiss_index(f"RR{c.items.shape[1]},RaBitQfs,RFlat", c.items)

    def theirs_at(depth: int) -> Find:
        return lambda q: _refined(baseline, q, depth)

    ours, theirs = enough(ours_at), enough(theirs_at)
    note = f"float32 rows read per place: {ours} and {theirs}, for {ENOUGH:.0%} of the best"
    baselines = {"faiss RaBitQfs, refined": theirs_at(theirs)}
    return _rows(Comparison("one bit", ours_at(ours), baselines, codes.codes, 0.0, note), c)


def same_kind_rows(name: str, c: Catalogue) -> list[Row]:
    """Codes without rescoring against the faiss index that keeps the same."""
    scheme, options, description = KINDS[name]
    codes = quantization.calibrate(c.items[:MAX_LEARNED], scheme, **options).quantize(c.items)
    index = search.Index.build(codes)
    bits = 1 if scheme == "binary" else 16
    baselines: dict[str, Find] = {f"faiss {description}": _faiss(description, c.items)}
    if name == "int8" and _has_usearch():
        baselines["usearch i8, exact"] = lambda q: _usearch_exact(
            codes.codes, quantization.quantize(q, "int8").codes, c.threads
        )
    per_code = 0.0 if scheme in ("pq", "binary") else 2.0 * codes.dimension / codes.codes[0].nbytes
    note = f"{codes.bytes_among(0):.0f} bytes per item"
    batches = SLOW_BATCHES if description.startswith("SQ") else BATCHES
    ours = Comparison(
        name,
        lambda q: index.top_k(q, K, query_bits=bits).ids,
        baselines,
        codes.codes,
        per_code,
        note,
        batches,
    )
    return _rows(ours, c)


def graph_rows(c: Catalogue) -> list[Row]:
    """Certified search against indexes that look at a part of the items only."""
    start = time.perf_counter()
    index, exact, _ = _certified(c)
    built = time.perf_counter() - start
    rows = []
    for name, baseline, seconds in _graphs(c):
        note = f"built in {seconds:.0f} s, ours in {built:.1f}"
        rows += _rows(Comparison("exact int8", exact, {name: baseline}, index.quantized.codes, 2.0, note), c)
    return rows


def size_rows(c: Catalogue) -> list[Row]:
    """Certified search against brute force in a catalogue of another size."""
    index, exact, says = _certified(c)
    return _rows(
        Comparison(
            "exact int8", exact, {"faiss Flat": _faiss("Flat", c.items)}, index.quantized.codes, 2.0, says
        ),
        c,
    )


def _certified(c: Catalogue) -> tuple[search.Index, Find, str]:
    """An index of int8 codes, its exact search, and what that read and took."""
    index = search.Index.build(quantization.quantize(c.items, "int8"), c.items)
    read = index.exact_top_k(c.queries, K).rescored.mean()
    memory = timing.peak_memory(lambda: index.exact_top_k(c.queries, K)).added
    says = f"{read:.0f} rows read per query, {memory / 2**20:.0f} MB more at its peak"
    return index, lambda q: index.exact_top_k(q, K).ids, says


def _rows(comparison: Comparison, c: Catalogue) -> list[Row]:
    """One row for each batch and baseline: medians of interleaved calls."""
    peak = c.peaks["int8" if comparison.codes.dtype in (np.int8, np.uint8) else "float32"]
    rows = []
    for n in (n for n in comparison.batches if n <= len(c.queries)):
        queries = c.queries[:n]
        timed, ids = _timed(comparison, queries)
        limit = max(timed["stream"].p50, comparison.per_code * comparison.codes.nbytes * n / peak)
        right = {
            name: compression.recall(found, c.items, queries, c.kth[:n]).mean() for name, found in ids.items()
        }
        for baseline in comparison.baselines:
            found = f"of the best {K} {right['ours']:.2%}, {baseline} {right[baseline]:.2%}"
            quality = f"{found}; {comparison.note}".rstrip("; ")
            rows.append(
                row(
                    comparison.work,
                    f"{n} x {len(c.items):,} x {queries.shape[1]}",
                    baseline,
                    timed,
                    limit,
                    quality,
                )
            )
    return rows


def _timed(
    comparison: Comparison, queries: np.ndarray
) -> tuple[dict[str, timing.Measurement], dict[str, np.ndarray]]:
    """Times of ours, the baselines and of streaming the codes; and the ids that each found."""
    import torch

    flat = comparison.codes.reshape(-1).view(np.uint8)
    # Words of 4 bytes are read faster than single bytes: the stream should wait for memory, not for torch.
    stream = torch.from_numpy(flat[: len(flat) // 4 * 4].view(np.int32))
    ids: dict[str, np.ndarray] = {}

    def asking(name: str, find: Find) -> Callable[[], object]:
        return lambda: ids.update({name: find(queries)})

    work = {
        name: asking(name, find) for name, find in {"ours": comparison.ours, **comparison.baselines}.items()
    }
    protocol: dict[str, Any] = {"min_samples": 15, "min_seconds": 0.0, "max_seconds": 6.0, "settle": SETTLE}
    if len(queries) > max(SLOW_BATCHES):  # the slowest take seconds for so many
        protocol = {"min_samples": 3, "min_seconds": 0.0, "max_seconds": 4.0}
    return timing.compare(work | {"stream": stream.amax}, **protocol), ids


# ---------------------------------------------------------------- baselines


def _has_usearch() -> bool:
    try:
        return importlib.util.find_spec("usearch") is not None
    except ValueError:  # named as missing
        return False


def _faiss(description: str, vectors: np.ndarray, refine: int = 0) -> Find:
    """What faiss builds by this description, by inner product; signs by their Hamming distance.

    refine: float32 rows scored for each place, of an index with refinement.
    """
    import faiss

    if description == "binary Flat":
        mean = vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
        binary = faiss.IndexBinaryFlat(8 * -(-vectors.shape[1] // 8))
        binary.add(np.packbits(vectors > mean, axis=1))
        return lambda q: binary.search(np.packbits(q > mean, axis=1), K)[1]
    index = _faiss_index(description, vectors)
    return (lambda q: _refined(index, q, refine)) if refine else (lambda q: index.search(q, K)[1])


def _faiss_index(description: str, vectors: np.ndarray) -> Any:
    """A trained and filled faiss index by inner product."""
    import faiss

    index = faiss.index_factory(vectors.shape[1], description, faiss.METRIC_INNER_PRODUCT)
    index.train(vectors[:MAX_LEARNED])
    index.add(vectors)
    return index


def _refined(index: Any, queries: np.ndarray, depth: int) -> np.ndarray:
    """Ids of an index with refinement that scores ``depth`` float32 rows for each place."""
    index.k_factor = depth
    return index.search(queries, K)[1]


def _numpy(items: np.ndarray, queries: np.ndarray) -> np.ndarray:
    scores = queries @ items.T
    places = np.argpartition(scores, -K, axis=1)[:, -K:]
    order = np.argsort(-np.take_along_axis(scores, places, axis=1), axis=1)
    return np.take_along_axis(places, order, axis=1)


def _usearch_exact(items: np.ndarray, queries: np.ndarray, threads: int) -> np.ndarray:
    from usearch.index import MetricKind, search

    found = search(items, queries, K, MetricKind.Cos, exact=True, threads=threads)
    return np.asarray(found.keys, dtype=np.int64).reshape(len(queries), K)


def _graphs(c: Catalogue) -> list[tuple[str, Find, float]]:
    """Approximate indexes: name, search, and the seconds that building took."""
    made = []
    for name in ("HNSW", "IVF"):
        start = time.perf_counter()
        find, _ = compression.search_methods(c.items, K)[name]()
        made.append((f"faiss {name}", find, time.perf_counter() - start))
    if _has_usearch():
        from usearch.index import Index

        start = time.perf_counter()
        graph = Index(ndim=c.items.shape[1], metric="cos", dtype="i8")
        graph.add(np.arange(len(c.items)), c.items, threads=c.threads)

        def ask(q: np.ndarray) -> np.ndarray:
            return np.asarray(graph.search(q, K, threads=c.threads).keys, dtype=np.int64).reshape(len(q), K)

        made.append(("usearch HNSW i8", ask, time.perf_counter() - start))
    return made
