"""Cosine and its relatives against SciPy; top-k against a full sort and faiss; odd input is refused or defined."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial import distance

from recsys_lib import similarity
from recsys_lib.errors import InputError

rng = np.random.default_rng(0)
A, B = rng.standard_normal((7, 12)).astype(np.float32), rng.standard_normal((31, 12)).astype(np.float32) + 0.5


@pytest.mark.parametrize(("ours", "theirs"), [
    (similarity.cosine, lambda a, b: 1 - distance.cdist(a, b, "cosine")),
    (similarity.dot, lambda a, b: a @ b.T),
    (similarity.euclidean, lambda a, b: distance.cdist(a, b)),
    (similarity.pearson, lambda a, b: 1 - distance.cdist(a, b, "correlation")),
])  # fmt: skip
def test_against_scipy(ours, theirs):
    assert np.allclose(ours(A, B), theirs(A.astype(float), B.astype(float)), atol=2e-6)
    assert ours(A, B).dtype == np.float32
    assert ours(A[:0], B).shape == (0, 31)
    assert ours(A[:1], B[:1]).shape == (1, 1)


def test_the_worked_example_of_the_article():
    found = similarity.cosine(np.array([[1, 2, 3]]), np.array([[4, 5, 6]]))[0, 0]
    assert found == pytest.approx(0.974631846, abs=1e-6)


def test_zero_and_constant_vectors_are_defined():
    zero = np.zeros((1, 12), np.float32)
    assert (similarity.cosine(zero, B) == 0).all()
    assert (similarity.pearson(np.full((1, 12), 3.3, np.float32), B) == 0).all()
    assert (similarity.normalize(zero) == 0).all()


@settings(deadline=None)
@given(hnp.arrays(np.float32, (4, 3), elements=st.floats(-(2.0**100), 2.0**100, width=32)))
def test_a_cosine_is_never_nan_and_never_beyond_one(v):
    for f in (similarity.cosine, similarity.pearson):
        c = f(v, v)
        assert np.isfinite(c).all()
        assert (np.abs(c) <= 1).all()
        assert np.allclose(c, c.T, atol=1e-5)


@pytest.mark.parametrize("scale", [1e-38, 1e-20, 1e19, 1e38])
def test_very_short_and_very_long_vectors(scale):
    v = np.array([[1, 2, 2], [2, 1, -2]], np.float32)
    assert similarity.cosine(v * np.float32(scale), v) == pytest.approx(similarity.cosine(v, v), abs=1e-3)


@pytest.mark.parametrize(("a", "message"), [
    (np.array([1.0, 2.0]), r"shape \(2,\)"),
    (np.array([[1.0, np.nan]]), "a row 0 holds NaN"),
    (np.array([[0, 1.0], [np.inf, 0]]), "a row 1 holds NaN or infinity"),
    (np.ones((2, 3)), r"a has shape \(2, 3\) and b \(2, 2\)"),
    (np.array([["x", "y"]]), "want real numbers"),
    (np.ones((1, 2), complex), "want real numbers"),
])  # fmt: skip
def test_bad_vectors_are_refused(a, message):
    with pytest.raises(InputError, match=message):
        similarity.cosine(a, np.ones((2, 2)))


def naive_top_k(scores, k, excluded=()):
    scores = scores.copy()
    scores[list(excluded)] = -np.inf
    order = sorted(range(len(scores)), key=lambda i: (-scores[i], i))
    return [i if scores[i] > -np.inf else -1 for i in order[:k]]


@pytest.mark.parametrize("metric", similarity.METRICS)
@pytest.mark.parametrize("k", [1, 5, 31])
def test_top_k_against_a_full_sort(metric, k):
    ids, scores = similarity.top_k(A, B, k, metric=metric)
    full = getattr(similarity, metric)(A, B) * (-1 if metric == "euclidean" else 1)
    assert ids.tolist() == [naive_top_k(row, k) for row in full]
    assert np.allclose(scores, np.take_along_axis(full, ids, 1), atol=1e-6)
    assert (np.diff(scores, axis=1) <= 0).all()


@settings(deadline=None, max_examples=200)
@given(
    hnp.arrays(np.int8, st.tuples(st.integers(1, 4), st.integers(1, 9)), elements=st.integers(0, 3)), st.integers(1, 12)
)
def test_ties_go_to_the_smaller_id(scores, k):
    scores = np.where(scores == 0, -np.inf, scores).astype(np.float32)
    ids, _ = similarity.rank_scores(scores, k)
    expected = [naive_top_k(row, k) + [-1] * (k - len(row)) for row in scores]
    assert ids.tolist() == expected


def test_equal_rows_tie_exactly():
    items = np.repeat(B[:3], 4, axis=0)
    ids, _ = similarity.top_k(A, items, 12)
    assert all(np.array_equal(g % 4, np.arange(4)) for row in ids for g in row.reshape(3, 4))


def test_exclusion_as_matrix_or_lists():
    lists = [[0, 1, 2], [], list(range(31)), list(range(28)), [5], [6], [7]]
    rows = np.repeat(np.arange(7), [len(x) for x in lists])
    matrix = sp.csr_matrix((np.ones(len(rows)), (rows, np.concatenate(lists).astype(int))), shape=(7, 31))
    ids, scores = similarity.top_k(A, B, 5, exclude=lists)
    full = similarity.cosine(A, B)
    assert ids.tolist() == [naive_top_k(row, 5, out) for row, out in zip(full, lists, strict=True)]
    assert np.array_equal(ids, similarity.top_k(A, B, 5, exclude=matrix)[0])
    assert (ids[2] == -1).all() and np.isneginf(scores[2]).all()
    assert (ids[3] >= 28).sum() == 3


def test_blocks_change_nothing(monkeypatch):
    ids, _ = similarity.top_k(A, B, 5)
    monkeypatch.setattr(similarity, "BLOCK_SCORES", 40)
    assert np.array_equal(ids, similarity.top_k(A, B, 5)[0])


def test_distance_of_near_points_far_from_the_origin():
    far = np.vstack([B + 1000, B - 1000])
    found = similarity.euclidean(far, far)
    assert np.allclose(found, distance.cdist(far.astype(float), far.astype(float)), atol=1e-3)
    assert np.diag(found).max() < 1e-3
    ids, _ = similarity.top_k(far, far, 1, metric="euclidean")
    assert ids.ravel().tolist() == list(range(len(far)))


def test_sums_that_overflow_are_refused_or_avoided():
    huge = np.array([[3e38, 3e38, -3e38], [1, 2, 3]], np.float32)
    assert similarity.pearson(huge, huge) == pytest.approx(similarity.pearson(huge / 1e30, huge / 1e30), abs=1e-6)
    assert not np.isnan(similarity.euclidean(huge, huge)).any()
    assert similarity.top_k(huge, huge, 1)[0].ravel().tolist() == [0, 1]
    with pytest.raises(InputError, match="can overflow a sum in float32"):
        similarity.dot(huge, huge)


def test_against_faiss():
    import faiss

    q, x = (rng.standard_normal((n, 64)).astype(np.float32) for n in (50, 5000))
    index = faiss.IndexFlatIP(64)
    index.add(x)
    assert np.array_equal(similarity.top_k(q, x, 10, metric="dot")[0], index.search(q, 10)[1])


@pytest.mark.parametrize(("k", "options", "message"), [
    (0, {}, "k=0: want between 1 and the number of items, 31"),
    (32, {}, "k=32"),
    (2.0, {}, "k=2.0"),
    (1, {"metric": "cosin"}, "want one of cosine, dot"),
    (1, {"exclude": [[1]]}, "exclude has 1 lists: want one per query, 7"),
    (1, {"exclude": [[99]] + [[]] * 6}, "exclude holds id 99"),
    (1, {"exclude": sp.csr_matrix((7, 30))}, r"want \(7, 31\)"),
])  # fmt: skip
def test_bad_arguments_of_top_k(k, options, message):
    with pytest.raises(InputError, match=message):
        similarity.top_k(A, B, k, **options)


def test_no_queries():
    ids, scores = similarity.top_k(A[:0], B, 3)
    assert ids.shape == scores.shape == (0, 3)
