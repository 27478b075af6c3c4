"""What a shorter vector costs a recommendation: every method to store items, by its ranking and its bytes."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from recsys_lib import evaluation
from recsys_lib.core.errors import InputError
from recsys_lib.evaluation import metrics
from recsys_lib.experiments import cold_ranking
from recsys_lib.experiments.cold_ranking import ColdRanking
from recsys_lib.hardware import timing
from recsys_lib.recommenders.text import TextProfile
from recsys_lib.vectors import geometry, quantization, search, similarity

if TYPE_CHECKING:
    import pandas as pd


def variants(dimension: int) -> dict[str, tuple[str, dict[str, Any]]]:
    """Methods to store a vector of ``dimension`` components, by name:
    scheme and options, from the most bytes to the fewest.
    """
    eighth = max(1, dimension // 8)
    chosen: dict[str, tuple[str, dict[str, Any]]] = {
        "float32": ("float32", {}),
        "float16": ("float16", {}),
        "bfloat16": ("bfloat16", {}),
        "int8": ("int8", {}),
        "int8, offset": ("int8-offset", {}),
        "int8, dimension": ("int8-dimension", {}),
        "int8, dimension, percentile": ("int8-dimension", {"calibration": "percentile"}),
        "int8, dimension, mse": ("int8-dimension", {"calibration": "mse"}),
        "int4, groups of 32": ("int4", {"group": min(32, dimension)}),
        "int4": ("int4", {}),
        "pq, 2 bits": ("pq", {"subspaces": max(1, dimension // 4)}),
        "pq, 1 bit": ("pq", {"subspaces": eighth}),
        "pq, 1/2 bit": ("pq", {"subspaces": max(1, dimension // 16)}),
        "binary": ("binary", {}),
        "binary, uncentred": ("binary", {"centre": False}),
    }
    for name, share in (("1/2", 2), ("1/4", 4), ("1/8", 8), ("1/32", 32)):
        chosen[f"pca {name}"] = ("pca", {"dimensions": max(1, dimension // share)})
    for name, share in (("1/2", 2), ("1/4", 4), ("1/8", 8)):
        chosen[f"pca {name}, int8"] = ("pca-int8", {"dimensions": max(1, dimension // share)})
    return chosen


class CodedProfile(TextProfile):
    """``TextProfile`` whose users are made of float32 ``item_vectors``, while ``coded [n_items, d]``,
    decoded codes, are what is ranked.
    """

    def __init__(self, item_vectors: np.ndarray, coded: np.ndarray):
        super().__init__(item_vectors)
        if np.shape(coded) != self.item_vectors.shape:
            raise InputError(
                f"coded has shape {np.shape(coded)}: expected that of item_vectors, {self.item_vectors.shape}"
            )
        self.coded = similarity.Rows(similarity.normalize(coded))

    def scores(self, users: np.ndarray) -> np.ndarray:
        return self.coded.scores(self.profiles(users))


def shared(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Share of each row of ids ``a [n, k]`` that is in the same row of ``b [n, k]``, ``[n]``; ids of -1 do
    not count.

    >>> shared(np.array([[3, 1, 2]]), np.array([[2, 3, 9]])).round(3).tolist()
    [0.667]
    """
    found = (a[:, :, None] == b[:, None, :]) & (a[:, :, None] >= 0)
    return found.any(axis=2).sum(axis=1) / np.maximum((a >= 0).sum(axis=1), 1)


def quality(
    vectors: np.ndarray,
    train: sp.csr_matrix,
    test: sp.csr_matrix,
    k: int = 10,
    geometries: Sequence[str] = ("raw", "centred", "zca"),
    methods: Mapping[str, tuple[str, dict[str, Any]]] | None = None,
) -> pd.DataFrame:
    """Every method to store ``vectors [n_items, d]`` in every geometry: one row each, ``float32`` first.

    Items are mapped, scaled to length 1 and quantized; users stay float32. Columns: geometry, stored, bytes
    (per item, with what is common to all shared among this catalogue), code_bytes (the same in a catalogue so
    large that what is common weighs nothing), ndcg and recall at ``k``; against float32 of the same
    geometry: ndcg_kept (their ratio), low and high (95% of the paired difference of NDCG) and lists_kept
    (share of the recommended items); error (mean length of what was lost, of vectors of length 1), bound
    (mean of its proved bound).
    """
    import pandas as pd

    methods = dict(methods or variants(vectors.shape[1]))
    methods = {"float32": ("float32", {}), **methods}
    rows = []
    for name in geometries:
        unit = similarity.normalize(geometry.fit_geometry(name, vectors).apply(vectors))
        reference: evaluation.Evaluation | None = None
        for stored, (scheme, options) in methods.items():
            codes = quantization.quantize(unit, scheme, **options)
            decoded = codes.dequantize()
            found = evaluation.evaluate(CodedProfile(unit, decoded).fit(train), train, test, k)
            reference = reference or found
            difference = (
                evaluation.compare(found, reference, "ndcg", resamples=1000)
                if found is not reference
                else None
            )
            mean, full = found.mean(), reference.mean()
            rows.append({
                "geometry": name, "stored": stored, "bytes": codes.bytes_per_vector,
                "code_bytes": codes.bytes_among(0),
                "ndcg": mean["ndcg"], "recall": mean["recall"], "ndcg_kept": mean["ndcg"] / full["ndcg"],
                "low": difference.low if difference else 0.0, "high": difference.high if difference else 0.0,
                "lists_kept": shared(reference.ids, found.ids).mean(),
                "error": np.sqrt(np.square(unit.astype(np.float64) - decoded).sum(axis=1)).mean(),
                "bound": codes.errors.mean(),
            })  # fmt: skip
    return pd.DataFrame(rows)


def rounding_errors(unit: np.ndarray, profiles: np.ndarray, names: Sequence[str]) -> pd.DataFrame:
    """What storing ``unit [n_items, d]`` by each of ``names`` does to items and to the scores of ``profiles
    [n_users, d]``.

    Columns: bytes (per item in a large catalogue), error (mean ``|v - v̂|``),
    predicted (by formula; nan where there is none),
    moved (mean of ``|q·v - q·v̂|``), max_moved, of_bound (the largest fraction of its proved bound that a
    score moved).
    """
    import pandas as pd

    rows = {}
    for name in names:
        scheme, options = variants(unit.shape[1])[name]
        codes = quantization.quantize(unit, scheme, **options)
        lost = unit.astype(np.float64) - codes.dequantize()
        moved = np.abs(profiles @ lost.T)
        # Errors spread evenly over a step have the variance step²/12; the sign of a Gaussian keeps 2/π of its
        # variance.
        spread = (codes.scale * np.sqrt(unit.shape[1] / 12)).mean() if scheme == "int8" else np.nan
        rows[name] = {
            "bytes": codes.bytes_among(0), "error": np.linalg.norm(lost, axis=1).mean(),
            "predicted": np.sqrt(1 - 2 / np.pi) if scheme == "binary" else spread, "moved": moved.mean(),
            "max_moved": moved.max(), "of_bound": (moved / codes.dot_errors(profiles)).max(),
        }  # fmt: skip
    return pd.DataFrame(rows).T


def cold_quality(ranking: ColdRanking, vectors: np.ndarray, names: Sequence[str]) -> pd.DataFrame:
    """NDCG of cold items from ``vectors [n_items, d]`` stored by each of ``names``: ``cold_ranking.compare``,
    and code_bytes.
    """
    methods = variants(vectors.shape[1])
    reference = ranking.evaluate(vectors)
    table = cold_ranking.compare(
        {name: ranking.evaluate(vectors, *methods[name]) for name in names}, reference
    )
    few = similarity.normalize(vectors[:1024])
    sizes = [
        quantization.quantize(few, methods[name][0], **methods[name][1]).bytes_among(0) for name in names
    ]
    table.insert(0, "code_bytes", sizes)
    return table


def sign_information(vectors: np.ndarray) -> np.ndarray:
    """Bits that the sign of each dimension of ``vectors [n, d]`` says about an item, ``[d]``: the entropy of
    its two sides.

    >>> sign_information(np.array([[1.0, 1.0], [-1.0, 1.0]])).round(3).tolist()
    [1.0, 0.0]
    """
    p = np.clip((vectors > 0).mean(axis=0), 1e-9, 1 - 1e-9)
    return -(p * np.log2(p) + (1 - p) * np.log2(1 - p))


def rescoring(
    unit: np.ndarray,
    profiles: np.ndarray,
    seen: sp.csr_matrix,
    depths: Sequence[int],
    names: Sequence[str],
    k: int = 10,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """How much of the exact lists is found with ``r·k`` candidates rescored in float32, and what certified
    search needs.

    Returns two tables with a row for each of ``names``: the fraction found for each of ``depths`` r; and of
    certified search exact (whether the lists are those of float32), scored (mean fraction of the items that
    were scored in float32) and fell_back (fraction of the queries whose bound ruled out too little).
    """
    import pandas as pd

    exact = similarity.top_k(profiles, unit, k, exclude=seen)[0]
    found, certified = {}, {}
    for name in names:
        scheme, options = variants(unit.shape[1])[name]
        index = search.Index.build(quantization.quantize(unit, scheme, **options), unit)
        found[name] = {r: shared(exact, index.top_k(profiles, k, seen, rescore=r).ids).mean() for r in depths}
        proved = index.exact_top_k(profiles, k, seen)
        certified[name] = {
            "exact": np.array_equal(proved.ids, exact), "scored": proved.kept_share,
            "fell_back": proved.fell_back.mean(),
        }  # fmt: skip
    return pd.DataFrame(found).T, pd.DataFrame(certified).T


def latencies(
    unit: np.ndarray, query: np.ndarray, names: Sequence[str], k: int = 10, seconds: float = 0.2
) -> dict[str, float]:
    """Milliseconds that one ``query [1, d]`` takes over ``unit [n, d]`` stored by each of ``names``.

    The shortest of interleaved calls: on a shared machine a median measures the other work as well.
    """
    work: dict[str, Callable[[], object]] = {}
    for name in names:
        scheme, options = variants(unit.shape[1])[name]
        index = search.Index.build(quantization.calibrate(unit[:2048], scheme, **options).quantize(unit))
        work[name] = lambda index=index: index.top_k(query, k)  # type: ignore[misc]
    timed = timing.compare(work, min_samples=10, min_seconds=seconds)
    return {name: 1e3 * min(timed[name].samples) for name in work}


def forgetful_codes(vectors: np.ndarray) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """What is compared when codes are taken for vectors, by name: each maps vectors to numbers of which the
    cosine is taken.

    Codes per dimension are ``floor((v - low) / step) - 128`` with the minimum and the maximum of each
    dimension of ``vectors [n, d]`` and 255 steps between them, as sentence-transformers'
    ``quantize_embeddings`` makes them. Comparing them forgets ``low`` and ``step``; the others forget one
    thing at a time, or nothing. The sign is what its "binary" keeps.
    """
    low, high = vectors.min(axis=0).astype(np.float32), vectors.max(axis=0).astype(np.float32)
    step = np.where(high > low, (high - low) / 255, 1).astype(np.float32)
    middle, mean = (low + high) / 2, vectors.mean(axis=0, dtype=np.float64).astype(np.float32)

    def codes(v: np.ndarray) -> np.ndarray:
        return np.clip(np.floor((v - low) / step), 0, 255) - 128

    return {
        "float32": lambda v: v,
        "codes as they are": codes,
        "rounded to nearest": lambda v: np.clip(np.rint((v - low) / step), 0, 255) - 128,
        "only the shift forgotten": lambda v: np.rint((v - middle) / step.max()),
        "only the steps forgotten": lambda v: np.rint(v / step),
        "the same codes, dequantized": lambda v: (codes(v) + 128) * step + low,
        "sign": np.sign,
        "sign after centring": lambda v: np.sign(v - mean),
    }


def loss_by_part(
    vectors: np.ndarray, train: sp.csr_matrix, test: sp.csr_matrix, users: np.ndarray, k: int = 10
) -> pd.DataFrame:
    """For each of ``forgetful_codes``, both sides coded: ``nearest`` (share of each item's ``k`` nearest that
    stay) and ``ndcg`` of ``users``.

    vectors: ``[n_items, d]`` in the geometry to be coded, scaled to length 1 here.
    """
    import pandas as pd

    unit = similarity.normalize(vectors)
    profiles = TextProfile(unit).fit(train).profiles(users)
    itself = sp.identity(len(unit), dtype=np.float32, format="csr")
    rows, reference = {}, None
    for name, coded in forgetful_codes(unit).items():
        items = coded(unit)
        nearest = similarity.top_k(items, items, k, exclude=itself)[0]
        reference = nearest if reference is None else reference
        ids = similarity.top_k(coded(profiles), items, k, exclude=train[users])[0]
        rows[name] = {
            "nearest": shared(reference, nearest).mean(),
            "ndcg": metrics.all_metrics(ids, test[users])["ndcg"].mean(),
        }
    return pd.DataFrame(rows).T


def book_vectors(
    n: int | None = None, n_queries: int = 200, seed: int = 0, progress: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """``n`` centred vectors of Book-Crossing's books (by default of all) and the profiles of ``n_queries``
    users, float32 rows of length 1.

    MiniLM in float32, the same on every processor, on title and author. As many books as the 5-core has come
    from it, more from all, drawn at random; ``fill_up`` makes what is wanted beyond. Users have at least 5 of
    the books of their catalogue (before the draw). Only books that are drawn or that these users have are
    encoded, and centred by their mean.
    """
    from recsys_lib import encoders
    from recsys_lib.data import datasets

    books = datasets.load("book-crossing")
    core = books.k_core(5) if n is not None else books
    books = core if n is not None and n <= core.n_items else books
    rng, seen = np.random.default_rng(seed), books.matrix()
    users = np.flatnonzero(np.diff(seen.indptr) >= 5)
    asking = seen[rng.choice(users, n_queries, replace=False)]
    drawn = rng.permutation(books.n_items)[:n]
    needed = np.union1d(drawn, asking.indices)
    texts = books.item_texts(("title", "author"))
    raw = encoders.load("minilm", precision="float32").encode([texts[i] for i in needed], progress=progress)
    unit = similarity.normalize(geometry.centre(raw).apply(raw))
    queries = TextProfile(unit).fit(asking[:, needed]).profiles(np.arange(n_queries))
    shelf = unit[np.searchsorted(needed, drawn)]
    return (shelf if n is None or n <= len(shelf) else fill_up(shelf, n, seed)), queries


def fill_up(unit: np.ndarray, n: int, seed: int = 0) -> np.ndarray:
    """``n`` rows of length 1: those of ``unit [m, d]``, then midpoints of random pairs of them."""
    pairs = np.random.default_rng(seed).integers(0, len(unit), (2, n - len(unit)))
    return np.concatenate([unit, similarity.normalize(unit[pairs[0]] + unit[pairs[1]])])


def recall(ids: np.ndarray, items: np.ndarray, queries: np.ndarray, kth: np.ndarray) -> np.ndarray:
    """Share of ``ids [n, k]`` that are among the best of ``items [m, d]`` for each of ``queries [n, d]``,
    both of length 1.

    kth: ``[n]``, the score of the last of the best. Whatever is as good as that counts: equal items, books
    with the same title and author, may stand for each other. Scores within the rounding of float32 products
    (1e-6) are equal; ids of -1 do not count.

    >>> items = np.eye(2, dtype=np.float32)[[0, 0, 1]]
    >>> recall(np.array([[1], [2]]), items, items[:2], np.ones(2)).tolist()
    [1.0, 0.0]
    """
    scores = np.einsum("nd,nkd->nk", queries, items[ids])
    return ((ids >= 0) & (scores >= kth[:, None] - 1e-6)).mean(axis=1)


SEARCH_COLUMNS = ("search", "items", "build_s", "query_s", "recall", "bytes", "exact")


def searches(
    items: np.ndarray, queries: np.ndarray, k: int = 10, seconds: float = 0.2, names: Sequence[str] = ()
) -> pd.DataFrame:
    """Methods to find the ``k`` best of ``items [n, d]`` by cosine for one query at a time: what each takes
    to build, to ask, and finds.

    Columns: search, items, build_s (codes or graph from float32 vectors; once), query_s (median of single
    queries, interleaved), recall (of the ``k`` best, ``recall``), bytes (per item, with the float32 rows
    where they are read), exact (whether it always finds the best). ``names`` picks some of faiss Flat, int8
    exact, int8 rescored, binary rescored, HNSW (32 links, 64 candidates), IVF (4√n lists, 16 visited).
    """
    import pandas as pd

    items, queries = (similarity.normalize(np.asarray(v, dtype=np.float32)) for v in (items, queries))
    n, d = items.shape
    kth = similarity.top_k(queries, items, k)[1][:, -1]
    rows: list[dict[str, Any]] = []
    work: dict[str, Callable[[], object]] = {}
    for name, build in search_methods(items, k).items():
        if names and name not in names:
            continue
        start = time.perf_counter()
        find, extra = build()
        rows.append({"search": name, "items": n, "build_s": time.perf_counter() - start, "query_s": 0.0,
                     "recall": recall(find(queries), items, queries, kth).mean(), "bytes": 4.0 * d + extra,
                     "exact": name in ("faiss Flat", "int8 exact")})  # fmt: skip
        work[name] = _one_by_one(find, queries)
    timed = timing.compare(work, min_samples=20, min_seconds=seconds, max_seconds=60)
    return pd.DataFrame([row | {"query_s": timed[row["search"]].p50} for row in rows])


def _one_by_one(find: Callable[[np.ndarray], np.ndarray], queries: np.ndarray) -> Callable[[], np.ndarray]:
    """Asks for the next query whenever it is called."""
    turn = itertools.cycle(range(len(queries)))

    def ask() -> np.ndarray:
        i = next(turn)
        return find(queries[i : i + 1])

    return ask


def search_methods(
    items: np.ndarray, k: int
) -> dict[str, Callable[[], tuple[Callable[[np.ndarray], np.ndarray], float]]]:
    """How each search of ``items [n, d]`` is built: a call gives what finds ``k`` ids for queries,
    and its bytes per item beside the float32 rows.
    """
    import faiss

    n, d = items.shape

    def added(index):
        index.add(items)
        return index

    def flat():
        index = added(faiss.IndexFlatIP(d))
        return lambda q: index.search(q, k)[1], 0.0

    def coded(scheme: str, rescore: int):
        codes = quantization.quantize(items, scheme)
        index = search.Index.build(codes, items)
        extra = codes.bytes_per_vector + 4
        if not rescore:
            return lambda q: index.exact_top_k(q, k).ids, extra
        return lambda q: index.top_k(q, k, rescore=rescore).ids, extra

    def graph():
        index = faiss.IndexHNSWFlat(d, 32, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efSearch = 64
        added(index)
        return lambda q: index.search(q, k)[1], 2 * 32 * 4.0  # 64 links of 4 bytes on the lowest level

    def lists():
        n_lists = max(1, int(4 * n**0.5))
        index = faiss.IndexIVFFlat(faiss.IndexFlatIP(d), d, n_lists, faiss.METRIC_INNER_PRODUCT)
        index.cp.min_points_per_centroid, index.cp.max_points_per_centroid, index.cp.niter = 1, 39, 10
        index.train(items)
        index.nprobe = 16
        added(index)
        return lambda q: index.search(q, k)[1], 8.0 + 4.0 * d * n_lists / n

    return {
        "faiss Flat": flat,
        "int8 exact": lambda: coded("int8", 0),
        "int8 rescored": lambda: coded("int8", 2),
        "binary rescored": lambda: coded("binary", 16),
        "HNSW": graph,
        "IVF": lists,
    }


def pareto(costs: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Which points are not dominated, ``[n]`` bool: no other has at most each of their ``costs [n, m]`` and
    at least their ``value [n]``.

    Of equal points all are kept.

    >>> pareto(np.array([[1.0], [2.0], [3.0]]), np.array([0.2, 0.5, 0.4])).tolist()
    [True, True, False]
    """
    costs, values = np.asarray(costs, dtype=float), np.asarray(values, dtype=float)
    if costs.ndim != 2 or len(costs) != len(values):
        raise InputError(f"costs of shape {costs.shape} and {len(values)} values: expected [n, m] and [n]")
    better = (costs[:, None] <= costs[None]).all(axis=2) & (values[:, None] >= values[None])
    strictly = (costs[:, None] < costs[None]).any(axis=2) | (values[:, None] > values[None])
    return np.logical_not((better & strictly).any(axis=0))
