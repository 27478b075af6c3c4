"""Search over codes: exact search is ``similarity.top_k`` bit for bit,
approximate search is exact over the decoded vectors.
"""

import faiss
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from search_cases import BACKENDS, SCHEMES, quantized, same, searches, use, vectors_of

from recsys_lib.core import storage
from recsys_lib.core.errors import InputError
from recsys_lib.hardware import timing
from recsys_lib.vectors import quantization, search, similarity
from recsys_lib.vectors.search import kernel


@pytest.fixture(params=BACKENDS)
def backend(request, monkeypatch):
    use(request.param, monkeypatch)
    return request.param


# ---------------------------------------------------------------- exact search


@pytest.mark.parametrize("scheme", SCHEMES)
@settings(
    deadline=None,
    derandomize=True,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    searches(),
    st.sampled_from(("cosine", "dot")),
    st.sampled_from(BACKENDS),
    st.sampled_from((None, "int4", "binary", "float16")),
)
def test_exact_search_is_brute_force_bit_for_bit(scheme, case, metric, backend, few):
    items, queries, k, exclude = case
    with pytest.MonkeyPatch.context() as patch:
        use(backend, patch)
        longer = scheme.startswith(("int8", "float32", "pca"))
        shorter = quantized(items, few) if few and longer else None
        index = search.Index.build(quantized(items, scheme), items, metric, shorter)
        found = index.exact_top_k(queries, k, exclude)
    assert same(found, similarity.top_k(queries, items, k, exclude, metric))


@pytest.mark.parametrize(
    "scheme", ["float32", "float16", "bfloat16", "int8", "int8-dimension", "int4", "pq", "binary"]
)
@pytest.mark.parametrize(
    ("n", "d", "n_queries"), [(4099, 48, 1), (4099, 48, 3), (6007, 67, 4), (5001, 64, 53), (9001, 20, 130)]
)
def test_exact_search_over_several_blocks_and_threads(scheme, n, d, n_queries, backend, monkeypatch):
    rng = np.random.default_rng(n + n_queries)
    items = vectors_of("clustered", n, d, rng) + 0.3 * vectors_of("random", n, d, rng)
    items[rng.integers(0, n, 200)] = items[rng.integers(0, n, 200)]
    queries = items[rng.integers(0, n, n_queries)] + 0.1 * vectors_of("random", n_queries, d, rng)
    exclude = sp.random(n_queries, n, 0.02, "csr", random_state=1)
    monkeypatch.setattr(kernel, "threads", lambda: 3)
    index = search.Index.build(quantized(items, scheme), items)
    found = index.exact_top_k(queries, 10, exclude)
    assert same(found, similarity.top_k(queries, items, 10, exclude))
    alone = [index.exact_top_k(q[None], 10, e) for q, e in zip(queries[:3], exclude, strict=False)]
    assert all(np.array_equal(a.ids[0], ids) for a, ids in zip(alone, found.ids, strict=False))


def test_the_bounds_prune_and_say_how_much(backend):
    rng = np.random.default_rng(0)
    items, queries = vectors_of("random", 6000, 64, rng), vectors_of("random", 20, 64, rng)
    found = search.Index.build(quantized(items, "int8"), items).exact_top_k(queries, 5)
    assert not found.fell_back.any()
    assert (found.rescored >= 5).all() and found.kept_share < 0.01
    assert found.kept_share == pytest.approx(found.rescored.mean() / 6000)
    finer = search.Index.build(quantized(items, "float16"), items).exact_top_k(queries, 5)
    assert finer.kept_share < found.kept_share


@pytest.mark.parametrize(("items", "scheme"), [
    (np.ones((6000, 16), np.float32), "int8"),  # all of them tie
    (vectors_of("random", 6000, 64, np.random.default_rng(0)), "binary"),  # bounds as wide as the vectors
])  # fmt: skip
def test_where_bounds_do_not_prune_it_falls_back_and_says_so(items, scheme, backend):
    queries = vectors_of("random", 6, items.shape[1], np.random.default_rng(1))
    queries[2] = 0
    found = search.Index.build(quantized(items, scheme), items).exact_top_k(queries, 7, [[0, 3]] * 6)
    assert same(found, similarity.top_k(queries, items, 7, [[0, 3]] * 6))
    # A zero query scores 0 with everything: there is nothing to look for.
    assert found.fell_back.tolist() == [True, True, False, True, True, True]
    assert found.rescored.tolist() == [6000, 6000, 0, 6000, 6000, 6000]


def test_one_query_that_falls_back_does_not_disturb_the_others(backend):
    rng = np.random.default_rng(3)
    items = vectors_of("random", 6000, 32, rng)
    items[:3000, 0], items[:3000, 1:] = 1, 0
    queries = vectors_of("random", 5, 32, rng)
    queries[:, 0] = -5
    queries[1] = items[0]
    found = search.Index.build(quantized(items, "int8"), items).exact_top_k(queries, 5)
    assert found.fell_back.tolist() == [False, True, False, False, False]
    assert same(found, similarity.top_k(queries, items, 5))


def test_rows_may_lie_on_disk_and_memory_stays_small(tmp_path, backend):
    rng = np.random.default_rng(0)
    n, d = 60_000, 128
    rows = np.lib.format.open_memmap(tmp_path / "rows.npy", "w+", np.float32, (n, d))
    for start in range(0, n, 10_000):
        rows[start : start + 10_000] = vectors_of("random", 10_000, d, rng)
    index = search.Index.build(quantized(rows, "int8"), rows)
    rows.flush()
    queries = vectors_of("random", 400, d, rng)
    expected = similarity.top_k(queries, rows, 10)
    del rows
    found = []
    used = timing.peak_memory(lambda: found.append(index.exact_top_k(queries, 10)))
    assert same(found[0], expected)
    # All scores would take 96 MB, all rows 31 MB; a block of scores in similarity.top_k takes 64 MB.
    assert used.added < 64 * 2**20


# ---------------------------------------------------------------- approximate search


@pytest.mark.parametrize("metric", ["cosine", "dot"])
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(("d", "n_queries"), [(24, 2), (65, 40)])
def test_search_by_codes_is_search_over_the_decoded_vectors(scheme, metric, d, n_queries, backend):
    rng = np.random.default_rng(d)
    items, queries = vectors_of("random", 3001, d, rng), vectors_of("random", n_queries, d, rng)
    codes = quantized(items, scheme)
    exclude = [rng.integers(0, 3001, 50) for _ in range(n_queries)]
    found = search.Index.build(codes, metric=metric).top_k(queries, 9, exclude)
    ids, scores = similarity.top_k(queries, codes.dequantize(), 9, exclude, metric)
    assert (found.ids == ids).mean() > 0.99
    # 16 bits of a query are one part in 65,534.
    assert np.abs(found.scores - scores).max() < 2e-4 * np.abs(scores).max()
    assert not np.any([np.isin(row, e).any() for row, e in zip(found.ids, exclude, strict=True)])
    assert (found.rescored == 0).all() and found.kept_share == 0


def test_equal_codes_are_ordered_by_id_and_results_depend_on_nothing_else(backend, monkeypatch):
    rng = np.random.default_rng(5)
    items = np.repeat(vectors_of("random", 700, 40, rng), 9, axis=0)[rng.permutation(6300)]
    queries = vectors_of("random", 40, 40, rng)
    index = search.Index.build(quantized(items, "int8"), items)
    found = index.top_k(queries, 30)
    for n_threads, part in [(1, slice(40)), (3, slice(1)), (2, slice(5))]:
        monkeypatch.setattr(kernel, "threads", lambda n=n_threads: n)
        again = index.top_k(queries[part], 30)
        assert np.array_equal(again.ids, found.ids[part])
    for ids, scores in zip(found.ids, found.scores, strict=True):
        assert np.array_equal(np.lexsort((ids, -scores)), np.arange(30))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_rescoring_everything_is_exact_and_more_depth_never_hurts(scheme, backend):
    rng = np.random.default_rng(7)
    items, queries = vectors_of("clustered", 400, 24, rng), vectors_of("random", 12, 24, rng)
    index = search.Index.build(quantized(items, scheme), items, "dot")
    expected = similarity.top_k(queries, items, 5, metric="dot")
    found = [index.top_k(queries, 5, rescore=r) for r in (1, 4, 80)]
    assert same(found[-1], expected)
    assert [set(f.rescored.tolist()) for f in found] == [{5}, {20}, {400}]
    hits = [np.mean([np.isin(a, b).mean() for a, b in zip(f.ids, expected[0], strict=True)]) for f in found]
    assert hits[0] <= hits[1] <= hits[2] == 1


@pytest.mark.parametrize(("d", "n_queries"), [(64, 1), (13, 20), (100, 3), (384, 5), (2_060, 9), (129, 64)])
def test_one_bit_queries_count_equal_signs(d, n_queries, backend):
    rng = np.random.default_rng(d)
    items, queries = vectors_of("random", 5003, d, rng) + 0.2, vectors_of("random", n_queries, d, rng) + 0.2
    codes = quantized(items, "binary")
    found = search.Index.build(codes).top_k(queries, 20, query_bits=1)
    index = faiss.IndexBinaryFlat(8 * codes.codes.shape[1])
    index.add(codes.codes)
    distances, _ = index.search(np.packbits(queries > items.mean(axis=0), axis=1), 20)
    assert np.allclose(found.scores, 1 - 2 * distances / d, atol=1e-6)
    signs = [np.where(v > items.mean(axis=0), 1, -1) for v in (queries, items)]
    assert np.allclose(found.scores, np.take_along_axis(signs[0] @ signs[1].T / d, found.ids, 1), atol=1e-6)
    assert all(
        np.array_equal(np.lexsort((i, -s)), np.arange(20))
        for i, s in zip(found.ids, found.scores, strict=True)
    )


def test_fewer_items_than_asked_for():
    items = vectors_of("random", 5, 4, np.random.default_rng(0))
    index = search.Index.build(quantized(items, "int8"), items)
    for found in (index.top_k(items[:1], 5, [[0, 2]]), index.exact_top_k(items[:1], 5, [[0, 2]])):
        assert set(found.ids[0, :3]) == {1, 3, 4} and found.ids[0, 3:].tolist() == [-1, -1]
        assert np.isneginf(found.scores[0, 3:]).all()
    assert index.top_k(items[:0], 3).ids.shape == (0, 3)
    assert index.exact_top_k(items[:0], 3).kept_share == 0


# ---------------------------------------------------------------- saved


@pytest.mark.parametrize("metric", ["cosine", "dot"])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_loaded_index_finds_the_same(scheme, metric, backend, tmp_path):
    rng = np.random.default_rng(2)
    items, queries = vectors_of("random", 900, 24, rng), vectors_of("random", 9, 24, rng)
    few = quantized(items, "int4") if scheme == "int8" else None
    made = search.Index.build(quantized(items, scheme), items, metric, few)
    made.save(tmp_path / "index")
    loaded = search.Index.load(tmp_path / "index")
    assert (loaded.few is None) == (made.few is None)
    assert isinstance(loaded.certificate.rows, np.memmap) and loaded.metric == metric
    for ask in (
        lambda i: i.exact_top_k(queries, 10),
        lambda i: i.exact_top_k(queries[:2], 10),
        lambda i: i.top_k(queries, 10),
        lambda i: i.top_k(queries, 10, rescore=3),
    ):
        before, after = ask(made), ask(loaded)
        assert np.array_equal(before.ids, after.ids) and np.array_equal(before.scores, after.scores)


def test_an_index_without_rows_and_one_without_items(tmp_path):
    items = vectors_of("random", 50, 8, np.random.default_rng(0))
    search.Index.build(quantization.quantize(items, "int8")).save(tmp_path)
    found = search.Index.load(tmp_path)
    assert found.certificate is None and found.top_k(items, 1).ids[:, 0].tolist() == list(range(50))
    empty = items[:0]
    search.Index.build(quantization.quantize(empty, "int8"), empty).save(tmp_path)
    assert len(search.Index.load(tmp_path).quantized) == 0


def test_saving_again_replaces_all_of_it(tmp_path):
    items = vectors_of("random", 60, 8, np.random.default_rng(0))
    for rows in (items, items[:40]):
        search.Index.build(quantization.quantize(rows, "int8"), rows).save(tmp_path)
    assert len(search.Index.load(tmp_path).quantized) == 40
    assert len(list(tmp_path.glob("rows-*.npy"))) == len(list(tmp_path.glob("arrays-*"))) == 1
    again = search.Index.load(tmp_path)
    again.save(tmp_path)  # onto the rows that it maps itself
    assert np.array_equal(search.Index.load(tmp_path).certificate.rows, items[:40])


def test_a_save_that_fails_leaves_the_old_index(tmp_path, monkeypatch):
    items = vectors_of("random", 60, 8, np.random.default_rng(0))
    search.Index.build(quantization.quantize(items, "int8"), items).save(tmp_path)

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(storage, "save", full)
        with pytest.raises(InputError, match=r"cannot be written .No space left on device"):
            search.Index.build(quantization.quantize(items[:9], "int8"), items[:9]).save(tmp_path)
    assert np.array_equal(search.Index.load(tmp_path).certificate.rows, items)


def test_a_damaged_index_is_told_in_one_line(tmp_path):
    INDEX.save(tmp_path)
    rows = next(tmp_path.glob("rows-*.npy"))
    whole = rows.read_bytes()
    for damaged in (whole[:-1], whole[:-1] + bytes([whole[-1] ^ 1]), b""):
        rows.write_bytes(damaged)
        with pytest.raises(InputError, match="damaged, its checksum differs"):
            search.Index.load(tmp_path)
    rows.unlink()
    with pytest.raises(InputError, match="is missing; save the index again"):
        search.Index.load(tmp_path)
    with pytest.raises(InputError, match="no saved object"):
        search.Index.load(tmp_path / "elsewhere")
    CODES.save(tmp_path / "codes")
    with pytest.raises(InputError, match="'quantized vectors', expected 'index'"):
        search.Index.load(tmp_path / "codes")


# ---------------------------------------------------------------- mistakes


ITEMS = vectors_of("random", 8, 4, np.random.default_rng(0))
CODES = quantization.quantize(ITEMS, "int8")
INDEX = search.Index.build(CODES, ITEMS)


@pytest.mark.parametrize(("call", "message"), [
    (lambda: search.Index.build(CODES, ITEMS, "euclidean"), "metric='euclidean': expected one of cosine, "
        "dot"),
    (lambda: search.Index.build(CODES, few=CODES), "few queries serve exact search: build the index "
        "with rows"),
    (lambda: search.Index.build(quantized(ITEMS, "float16"), ITEMS, few=CODES), "go with int8 or float32 "
        "ones, not with float16"),
    (lambda: search.Index.build(CODES, ITEMS[:7]), r"rows are float32 \(7, 4\)"),
    (lambda: search.Index.build(CODES, ITEMS.astype(np.float64)), r"rows are float64"),
    (lambda: search.Index.build(CODES, ITEMS[::-1]), "row 0 lies .* rows and codes do not match"),
    (lambda: search.Index.build(CODES, np.where(np.arange(8)[:, None] == 3, np.nan, ITEMS)), "row 3 .* NaN "
        "or infinity"),
    (lambda: INDEX.top_k(ITEMS, 0), "k=0: expected between 1 and the number of items, 8"),
    (lambda: INDEX.exact_top_k(ITEMS, 9), "k=9: expected between 1 and the number of items, 8"),
    (lambda: INDEX.exact_top_k(ITEMS[:, :3], 2), "queries have 3 columns: the codes have 4"),
    (lambda: INDEX.exact_top_k(ITEMS * np.nan, 2), "queries row 0 holds NaN"),
    (lambda: INDEX.exact_top_k(ITEMS[:1], 2, [[8]]), "exclude holds id 8: expected 0 to 7"),
    (lambda: INDEX.exact_top_k(ITEMS[:1], 2, []), "exclude has 0 lists: expected one per query, 1"),
    (lambda: INDEX.top_k(ITEMS, 2, rescore=-1), "rescore=-1"),
    (lambda: INDEX.top_k(ITEMS, 2, query_bits=1), "query_bits=1 with int8 codes: expected 16, or 1 for "
        "binary"),
    (lambda: search.Index.build(CODES).top_k(ITEMS, 2, rescore=2), "rescore=2 needs the float32 rows"),
    (lambda: search.Index.build(CODES).exact_top_k(ITEMS, 2), "exact search needs the float32 rows"),
    (lambda: search.Index.build(CODES, ITEMS, "dot").top_k(ITEMS * np.float32(1e30), 2), "can overflow a "
        "sum"),
])  # fmt: skip
def test_a_mistake_is_told_in_one_line(call, message):
    with pytest.raises(InputError, match=message):
        call()
