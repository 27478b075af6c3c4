"""Splits are disjoint, complete, deterministic, and respect users, time and cold items."""

import dataclasses
import hashlib
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import small

from recsys_lib.core.errors import InputError
from recsys_lib.data import datasets
from recsys_lib.evaluation import splits


@pytest.fixture(scope="module")
def films():
    return datasets.load("ml-100k")


def timed(times, users=None):
    users = np.zeros(len(times), int) if users is None else users
    data = small(users, np.arange(len(times)))
    return dataclasses.replace(data, timestamp=np.asarray(times, np.int64))


def all_splits(films):
    return [
        splits.random_split(films, 0.2, 0.1, seed=3),
        splits.random_split(films, 0.2, 0.1, seed=3, per_user=False),
        splits.temporal_split(films, 0.2, 0.1),
        splits.leave_one_out(films, validation=True),
        splits.cold_item_split(films, 0.2),
    ]


def test_a_split_shows_itself_in_one_line(films):
    assert repr(splits.random_split(films, 0.2, 0.1)) == (
        "<Split 'random per user 80%/20%, seed 0' of 'ml-100k': 943 users, 1,682 items, "
        "69,963 + 10,037 + 20,000 interactions to train, validate and test>"
    )


def test_every_row_has_exactly_one_role(films):
    for split in all_splits(films):
        rows = np.concatenate([split.train_rows, split.validation_rows, split.test_rows])
        assert np.array_equal(np.sort(rows), np.arange(films.n_interactions)), split.name
        assert split.train.multiply(split.test).nnz == 0
        assert split.train.shape == (943, 1682)


def test_random_split_takes_its_share_of_every_user(films):
    split = splits.random_split(films, 0.2, 0.1, seed=0)
    counts = np.bincount(films.user)
    assert np.array_equal(np.diff(split.test.indptr), np.rint(counts * 0.2))
    assert np.diff(split.train.indptr).min() >= 1
    together = splits.random_split(films, 0.2, seed=0, per_user=False)
    assert len(together.test_rows) == 20_000


def test_the_seed_decides_and_nothing_else(films):
    a, b, c = (splits.random_split(films, seed=s) for s in (1, 1, 2))
    assert np.array_equal(a.test_rows, b.test_rows)
    assert not np.array_equal(a.test_rows, c.test_rows)
    # A validation part is cut from the training part: the test stays the same.
    d = splits.random_split(films, validation_fraction=0.1, seed=1)
    assert np.array_equal(a.test_rows, d.test_rows)


def test_known_answer_of_a_seed(films):
    """The same rows on every machine and version: published numbers are of these splits."""
    rows = splits.random_split(films, seed=0).test_rows
    assert hashlib.sha256(rows.astype("<i8").tobytes()).hexdigest()[:16] == "6c9539879d887255"
    together = splits.random_split(films, seed=0, per_user=False).test_rows
    assert hashlib.sha256(together.astype("<i8").tobytes()).hexdigest()[:16] == "d2189f2e59750d67"
    assert splits.cold_item_split(films, seed=0).cold_items[:5].tolist() == [12, 20, 38, 44, 53]


@settings(deadline=None, derandomize=True)
@given(st.sets(st.tuples(st.integers(0, 5), st.integers(0, 9)), min_size=1, max_size=40),
       st.sampled_from([0.1, 0.2, 0.5, 0.9]), st.sampled_from([0.0, 0.05]), st.integers(0, 99))  # fmt: skip
def test_random_split_against_a_naive_loop(pairs, test_fraction, validation_fraction, seed):
    rows = sorted(pairs)
    data = small([u for u, _ in rows], [i for _, i in rows])
    split = splits.random_split(data, test_fraction, validation_fraction, seed=seed)
    order = np.random.default_rng(seed).permutation(len(rows)).tolist()
    test, held = set(), set()
    for user in {u for u, _ in rows}:
        mine = [n for n in order if rows[n][0] == user]
        n_test = min(round(len(mine) * test_fraction), len(mine) - 1)
        n_held = min(round(len(mine) * (test_fraction + validation_fraction)), len(mine) - 1)
        test |= set(mine[::-1][:n_test])
        held |= set(mine[::-1][n_test:n_held])
    assert set(split.test_rows) == test
    assert set(split.validation_rows) == held
    assert set(split.train_rows) == set(range(len(rows))) - test - held


@settings(deadline=None, derandomize=True)
@given(st.sets(st.tuples(st.integers(0, 5), st.integers(0, 9)), min_size=2, max_size=40),
       st.sampled_from([0.2, 0.5, 0.8]), st.integers(0, 99))  # fmt: skip
def test_cold_items_against_a_naive_loop(pairs, fraction, seed):
    rows = sorted(pairs)
    data = small([u for u, _ in rows], [i for _, i in rows], n_items=10)
    split = splits.cold_item_split(data, fraction, seed)
    cold = set(split.cold_items.tolist())
    assert len(cold) == round(10 * fraction)
    assert split.test_rows.tolist() == [n for n, (_, i) in enumerate(rows) if i in cold]
    assert split.train_rows.tolist() == [n for n, (_, i) in enumerate(rows) if i not in cold]


def test_items_keep_as_many_interactions_as_asked_and_the_same_ones():
    data = datasets.load("ml-100k")
    counts = np.bincount(data.item)
    by_kept = [splits.cold_item_split(data, 0.2, 3, kept, 40) for kept in (0, 1, 8, 39)]
    for kept, split in zip((0, 1, 8, 39), by_kept, strict=True):
        left = np.bincount(data.item[split.train_rows], minlength=data.n_items)[split.cold_items]
        assert (left == kept).all() and (counts[split.cold_items] >= 40).all()
        assert np.array_equal(split.cold_items, by_kept[0].cold_items)
    for less, more in itertools.pairwise(by_kept):
        assert set(less.train_rows) < set(more.train_rows)
    for kept, at_least in ((1, 1), (-1, 5), (40, 40), (1, 0)):
        with pytest.raises(InputError, match=f"kept={kept}, at_least={at_least}"):
            splits.cold_item_split(data, 0.2, 3, kept, at_least)
    with pytest.raises(InputError, match="of 0 items with at least 10000"):
        splits.cold_item_split(data, 0.2, 3, 0, 10_000)


def test_a_user_with_one_interaction_only_trains():
    data = small([0, 1, 1, 1, 1, 1], [0, 0, 1, 2, 3, 4])
    for seed in range(5):
        split = splits.random_split(data, 0.5, 0.4, seed=seed)
        assert 0 in split.train_rows
        assert len(split.train_rows) == 2


@settings(deadline=None, derandomize=True)
@given(st.lists(st.integers(0, 6), min_size=4, max_size=30), st.sampled_from([0.1, 0.25, 0.5]))
def test_temporal_split_never_trains_on_the_future(times, fraction):
    data = timed(times)
    try:
        split = splits.temporal_split(data, fraction, 0.2)
    except InputError:
        assert min(times) == sorted(times)[int(np.floor(len(times) * (1 - fraction - 0.2)))]
        return
    t = data.timestamp
    assert t[split.train_rows].max() < t[split.test_rows].min()
    if len(split.validation_rows):
        assert t[split.train_rows].max() < t[split.validation_rows].min()
        assert t[split.validation_rows].max() < t[split.test_rows].min()
    assert len(split.test_rows) >= np.floor(len(times) * fraction)


@settings(deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), min_size=1, max_size=25), st.booleans())
def test_leave_one_out_against_a_naive_loop(rows, validation):
    data = timed([t for _, t in rows], [u for u, _ in rows])
    split = splits.leave_one_out(data, validation)
    test, held = set(), set()
    for user in {u for u, _ in rows}:
        mine = sorted((t, n) for n, (u, t) in enumerate(rows) if u == user)
        if len(mine) > 1 + validation:
            test.add(mine[-1][1])
            held |= {mine[-2][1]} if validation else set()
    assert set(split.test_rows) == test
    assert set(split.validation_rows) == held


def test_cold_items_were_never_seen(films):
    split = splits.cold_item_split(films, 0.2, seed=1)
    assert len(split.cold_items) == 336
    assert split.train[:, split.cold_items].nnz == 0
    warm = np.setdiff1d(np.arange(films.n_items), split.cold_items)
    assert split.test[:, warm].nnz == 0


@pytest.mark.parametrize("bad", [0, 1, -0.1, 1.5, float("nan")])
def test_bad_fractions_are_refused(films, bad):
    for split in (splits.random_split, splits.temporal_split, splits.cold_item_split):
        with pytest.raises(InputError, match="fraction"):
            split(films, bad)
    with pytest.raises(InputError, match="test_fraction \\+ validation_fraction"):
        splits.random_split(films, 0.6, 0.4)


@pytest.mark.parametrize("seed", [-1, 1.5, None, "0"])
def test_bad_seeds_are_refused(films, seed):
    for split in (splits.random_split, splits.cold_item_split):
        with pytest.raises(InputError, match=r"seed=.*whole number of at least 0"):
            split(films, seed=seed)


def test_without_times_there_is_no_order():
    data = small([0, 0], [0, 1])
    for split in (splits.temporal_split, splits.leave_one_out):
        with pytest.raises(InputError, match="'small' has no timestamps: use random_split"):
            split(data)
    with pytest.raises(InputError, match="of 2 items"):
        splits.cold_item_split(data, 0.1)


def test_times_have_the_pattern_of_the_training_matrix():
    data = dataclasses.replace(small([0, 0, 1, 1], [0, 1, 0, 2]), timestamp=np.array([50, -10, 7, 99]))
    times = data.times()
    assert times.toarray().tolist() == [[61, 1, 0], [18, 0, 110]]
    split = splits.leave_one_out(data)
    assert ((split.train_times != 0) != (split.train != 0)).nnz == 0
    assert dataclasses.replace(data, timestamp=None).times() is None


def test_the_validation_part_returns_to_training():
    data = datasets.load("ml-100k")
    split = splits.random_split(data, 0.2, 0.1, seed=3)
    whole = split.with_validation()
    assert not len(whole.validation_rows) and np.array_equal(whole.test_rows, split.test_rows)
    assert (whole.train != split.train + split.validation).nnz == 0


# ---------------------------------------------------------------- the last of each user


def test_the_last_of_each_user_by_hand():
    """User 0 has five in reverse order of time, user 1 one, user 2 none, user 3 two."""
    data = dataclasses.replace(
        small([0] * 5 + [1] + [3] * 2, [0, 1, 2, 3, 4, 0, 1, 2]),
        timestamp=np.array([50, 40, 30, 20, 10, 7, 1, 2], dtype=np.int64),
    )
    part = splits.last_of_each_user(data, 0.2, 0.2)
    assert part.test_rows.tolist() == [0]  # user 3: a fifth of two rounds to none
    assert part.validation_rows.tolist() == [1, 7] and part.train_rows.tolist() == [2, 3, 4, 5, 6]
    half = splits.last_of_each_user(data, 0.5)
    assert half.test_rows.tolist() == [0, 1, 7]
    assert np.diff(half.train.indptr).tolist() == [3, 1, 0, 1] and np.diff(half.test.indptr).tolist() == [
        2,
        0,
        0,
        1,
    ]


def test_equal_times_of_a_user_go_by_row_and_always_alike():
    data = dataclasses.replace(small([0] * 4, [3, 1, 2, 0]), timestamp=np.zeros(4, dtype=np.int64))
    part = splits.last_of_each_user(data, 0.25, 0.25)
    assert part.test_rows.tolist() == [3]
    again = splits.last_of_each_user(data, 0.25, 0.25)
    assert (part.test != again.test).nnz == 0 and (part.train != again.train).nnz == 0
