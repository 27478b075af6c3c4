"""Short codes are read first, longer ones where these leave a doubt: nothing that is found changes."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from search_cases import BACKENDS, quantized, same, searches, use, vectors_of

from recsys_lib.vectors import search, similarity
from recsys_lib.vectors.search import kernel, query


@pytest.fixture(params=BACKENDS)
def backend(request, monkeypatch):
    use(request.param, monkeypatch)
    return request.param


@pytest.mark.parametrize("n_queries", [1, 4, 5])
def test_shorter_codes_leave_longer_ones_few_items_to_tell_apart(n_queries, backend):
    rng = np.random.default_rng(0)
    items = vectors_of("random", 6000, 64, rng)
    items[:1500] = items[0] + 0.3 * items[:1500]
    queries = vectors_of("random", n_queries, 64, rng)
    queries[0] = items[0]
    exclude = [np.arange(i, 6000, 3) for i in range(n_queries)]
    four, eight = quantized(items, "int4"), quantized(items, "int8")
    found = [
        search.Index.build(eight, items, few=few).exact_top_k(queries, 7, exclude) for few in (None, four)
    ]
    assert same(found[1], similarity.top_k(queries, items, 7, exclude))
    assert not found[1].fell_back.any()
    # As many rows are read as 8 bits alone leave, not as many as 4 bits do.
    assert found[1].rescored.tolist() == found[0].rescored.tolist()
    alone = search.Index.build(four, items).exact_top_k(queries, 7, exclude)
    assert (alone.rescored > 5 * found[1].rescored).all()


def test_codes_that_a_cache_holds_are_read_alone(monkeypatch):
    if not kernel.load():
        pytest.skip("no C compiler here")
    rng = np.random.default_rng(0)
    items = vectors_of("random", 3000, 64, rng)
    index = search.Index.build(quantized(items, "int8"), items, few=quantized(items, "int4"))
    assert index.quantized.codes.nbytes < kernel.CACHED and index._few_for(items[:1]) is None
    monkeypatch.setattr(kernel, "CACHED", index.quantized.codes.nbytes - 1)
    assert index._few_for(items[:4]) is index.few and index._few_for(items[:5]) is None


@pytest.mark.parametrize("few", ["int4", "binary", "pq"])
@pytest.mark.parametrize("longer", ["int8", "float32"])
@pytest.mark.parametrize("room", [query.BLOCK_BYTES, 1])  # 1: lists are full all the time
def test_shorter_codes_over_several_blocks_and_threads(few, longer, room, backend, monkeypatch):
    rng = np.random.default_rng(2)
    n, d = 9001, 67
    items = vectors_of("clustered", n, d, rng) + 0.3 * vectors_of("random", n, d, rng)
    items[rng.integers(0, n, 200)] = items[rng.integers(0, n, 200)]
    queries = items[rng.integers(0, n, 4)] + 0.1 * vectors_of("random", 4, d, rng)
    exclude = sp.random(4, n, 0.02, "csr", random_state=1)
    monkeypatch.setattr(kernel, "threads", lambda: 3)
    monkeypatch.setattr(query, "BLOCK_BYTES", room)
    index = search.Index.build(quantized(items, longer), items, few=quantized(items, few))
    for n_queries in (1, 4):
        found = index.exact_top_k(queries[:n_queries], 10, exclude[:n_queries])
        assert same(found, similarity.top_k(queries[:n_queries], items, 10, exclude[:n_queries]))
        assert found.fell_back.sum() == 0 or room == 1


@pytest.mark.parametrize("scheme", ["int8", "int8-offset", "float32", "pca-int8"])
@settings(
    deadline=None,
    derandomize=True,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(searches(), st.sampled_from(("cosine", "dot")), st.sampled_from(BACKENDS), st.sampled_from((0, 1, 2)))
def test_codes_find_the_same_after_shorter_ones(scheme, case, metric, backend, rescore):
    items, queries, k, exclude = case
    with pytest.MonkeyPatch.context() as patch:
        use(backend, patch)
        longer, shorter = quantized(items, scheme), quantized(items, "int4")
        found = [
            search.Index.build(longer, items, metric, few).top_k(queries, k, exclude, rescore)
            for few in (None, shorter)
        ]
    assert same(found[1], (found[0].ids, found[0].scores))


@pytest.mark.parametrize("room", [query.BLOCK_BYTES, 1])
def test_codes_find_the_same_after_shorter_ones_over_several_blocks(room, backend, monkeypatch):
    rng = np.random.default_rng(4)
    items, queries = vectors_of("random", 9001, 67, rng), vectors_of("random", 4, 67, rng)
    items[rng.integers(0, 9001, 300)] = items[rng.integers(0, 9001, 300)]
    queries[0] = 0  # all items tie
    exclude = sp.random(4, 9001, 0.02, "csr", random_state=1)
    monkeypatch.setattr(kernel, "threads", lambda: 3)
    monkeypatch.setattr(query, "BLOCK_BYTES", room)
    eight, four = quantized(items, "int8"), quantized(items, "int4")
    indexes = [search.Index.build(eight, items, few=few) for few in (None, four)]
    for rows in (slice(0, 4), slice(1, 2)):
        alone, after = (index.top_k(queries[rows], 10, exclude[rows], rescore=2) for index in indexes)
        assert same(after, (alone.ids, alone.scores))
