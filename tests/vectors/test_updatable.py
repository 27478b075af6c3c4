"""Inserts and deletes while an index is searched: every answer is exact for the items of one moment."""

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_lib.core.errors import InputError
from recsys_lib.vectors import similarity
from recsys_lib.vectors.search.updatable import UpdatableIndex, merge_top_k


def naive(items, queries, k, exclude=None, metric="cosine"):
    """Top-k of a dict of rows by ``similarity.top_k``, with ids in place of positions."""
    ids = np.array(sorted(items))
    if not len(ids):
        return np.full((len(queries), k), -1), np.full((len(queries), k), -np.inf, np.float32)
    places = [[p for p, i in enumerate(ids) if i in own] for own in exclude or [[]] * len(queries)]
    at, scores = similarity.top_k(
        queries, np.stack([items[i] for i in ids]), min(k, len(ids)), places, metric
    )
    pad = ((0, 0), (0, k - at.shape[1]))
    found = np.where(at < 0, -1, ids[np.maximum(at, 0)])
    return np.pad(found, pad, constant_values=-1), np.pad(scores, pad, constant_values=-np.inf)


def rows_of(rng, n):
    """Few distinct values in few dimensions: many items tie."""
    return rng.integers(-1, 2, (n, 3)).astype(np.float32)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), metric=st.sampled_from(["cosine", "dot"]))
def test_after_any_updates_it_finds_what_a_naive_search_finds(seed, metric):
    rng = np.random.default_rng(seed)
    start = rng.permutation(60)[: rng.integers(0, 40)]
    items = dict(zip(start.tolist(), rows_of(rng, len(start)), strict=True))
    index = UpdatableIndex(start, np.array([items[i] for i in start], np.float32).reshape(-1, 3), metric)
    for _ in range(rng.integers(1, 8)):
        ids = rng.permutation(60)[: rng.integers(1, 6)]
        if rng.random() < 0.5:
            new = rows_of(rng, len(ids))
            index.insert(ids, new)
            items |= dict(zip(ids.tolist(), new, strict=True))
        else:
            index.delete(ids)
            items = {i: row for i, row in items.items() if i not in ids}
        queries, k = rows_of(rng, 3), int(rng.integers(1, 70))
        exclude = [rng.permutation(60)[: rng.integers(0, 9)].tolist() for _ in range(3)]
        found, expected = index.top_k(queries, k, exclude), naive(items, queries, k, exclude, metric)
        assert np.array_equal(found[0], expected[0])
        assert np.array_equal(found[1], expected[1])
        assert len(index) == len(items)
    ids, rows = index.items()
    assert ids.tolist() == sorted(items)
    assert all(np.array_equal(row, items[i]) for i, row in zip(ids.tolist(), rows, strict=True))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), shards=st.integers(1, 5), k=st.integers(1, 30))
def test_merged_shards_are_the_whole(seed, shards, k):
    rng = np.random.default_rng(seed)
    rows, queries, owner = rows_of(rng, 25), rows_of(rng, 4), rng.integers(0, shards, 25)
    parts = []
    for shard in range(shards):
        own = {int(i): rows[i] for i in np.flatnonzero(owner == shard)}
        parts.append(naive(own, queries, k))
    expected = naive(dict(enumerate(rows)), queries, k)
    found = merge_top_k(parts, k)
    assert np.array_equal(found[0], expected[0])
    assert np.array_equal(found[1], expected[1])


def test_every_answer_during_updates_is_exact_for_one_moment_and_time_goes_forward():
    rng = np.random.default_rng(0)
    rows, queries = rng.standard_normal((400, 16)).astype(np.float32), rng.standard_normal((3, 16))
    queries = queries.astype(np.float32)
    items = dict(enumerate(rows[:300]))
    index = UpdatableIndex(np.arange(300), rows[:300])
    moments, answers, over = [naive(items, queries, 10)[0]], [], threading.Event()

    def search():
        while not over.is_set():
            answers.append(index.top_k(queries, 10)[0])

    searcher = threading.Thread(target=search)
    searcher.start()
    for step in range(60):
        added, gone = 300 + step, int(moments[-1][step % 3, 0])  # what is deleted was the best of a query
        index.insert([added], rows[added : added + 1])
        items[added] = rows[added]
        moments.append(naive(items, queries, 10)[0])
        index.delete([gone])
        items.pop(gone)
        moments.append(naive(items, queries, 10)[0])
    over.set()
    searcher.join()
    answers.append(index.top_k(queries, 10)[0])
    place = 0
    for answer in answers:
        while place < len(moments) and not np.array_equal(moments[place], answer):
            place += 1
        assert place < len(moments), "an answer of no moment, or of one that was over"
    assert np.array_equal(answers[-1], moments[-1])


def test_mistakes_are_named():
    index = UpdatableIndex(np.arange(4), np.eye(4, dtype=np.float32))
    with pytest.raises(InputError, match="rows have 3 numbers: expected 4"):
        index.insert([9], np.ones((1, 3), np.float32))
    with pytest.raises(InputError, match="queries have 2 numbers, items 4"):
        index.top_k(np.ones((1, 2), np.float32), 1)
    with pytest.raises(InputError, match="distinct whole numbers"):
        index.insert([5, 5], np.ones((2, 4), np.float32))
    with pytest.raises(InputError, match="k=0"):
        index.top_k(np.ones((1, 4), np.float32), 0)
    with pytest.raises(InputError, match="NaN"):
        index.insert([9], np.full((1, 4), np.nan, np.float32))
    assert len(index) == 4


def test_a_fork_and_its_origin_go_their_own_ways():
    rng = np.random.default_rng(0)
    rows, queries = rng.standard_normal((40, 8)).astype(np.float32), rng.standard_normal((2, 8))
    index = UpdatableIndex(np.arange(30), rows[:30])
    fork = index.fork()
    fork.insert(np.arange(30, 40), rows[30:])
    fork.delete([0, 1])
    index.delete([5])
    items = dict(enumerate(rows))
    one = {i: row for i, row in items.items() if i < 30 and i != 5}
    other = {i: row for i, row in items.items() if i > 1}
    for found, expected in ((index, one), (fork, other)):
        ids, _ = naive(expected, queries.astype(np.float32), 8)
        assert np.array_equal(found.top_k(queries.astype(np.float32), 8)[0], ids)
        assert len(found) == len(expected)
