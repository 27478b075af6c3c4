"""Cosine and its relatives against SciPy; top-k against a full sort and faiss;
odd input is refused or defined.
"""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial import distance

from recsys_lib.core.errors import InputError
from recsys_lib.vectors import similarity

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


@pytest.mark.parametrize("f", [similarity.cosine, similarity.dot, similarity.euclidean, similarity.pearson])
def test_plain_vectors_give_a_number(f):
    number = f([1, 2, 3], [4, 5, 6])
    assert type(number) is float and number == f(np.array([[1, 2, 3]]), np.array([[4, 5, 6]]))[0, 0]
    assert np.array_equal(f(A[0], B), f(A[:1], B)[0]) and f(A[0], B).shape == (31,)
    assert np.array_equal(f(A, B[0]), f(A, B[:1])[:, 0]) and f(A, B[0]).shape == (7,)
    assert type(f((0.5, 1.5), np.array([2.0, 1.0]))) is float
    with pytest.raises(InputError, match="a has 3 numbers and b 2: expected vectors of the same length"):
        f([1, 2, 3], [4, 5])
    with pytest.raises(InputError, match="b row 0 holds NaN or infinity"):
        f([1, 2], [1, np.inf])


def test_plain_zero_vectors_are_defined():
    assert (
        similarity.cosine([0, 0], [1, 2])
        == similarity.cosine([0, 0], [0, 0])
        == similarity.dot([0, 0], [1, 2])
        == 0
    )
    assert similarity.euclidean([0, 0], [3, 4]) == 5
    assert similarity.cosine([1, 2, 3], [4, 5, 6]) == pytest.approx(0.974631846, abs=1e-6)


def test_zero_and_constant_vectors_are_defined():
    zero = np.zeros((1, 12), np.float32)
    assert (similarity.cosine(zero, B) == 0).all()
    assert (similarity.pearson(np.full((1, 12), 3.3, np.float32), B) == 0).all()
    assert (similarity.normalize(zero) == 0).all()


@settings(deadline=None, derandomize=True)
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
    (np.ones((1, 2, 2)), r"a has shape \(1, 2, 2\)"),
    (3.0, r"a has shape \(\)"),
    ([], "a is empty"),
    ([1.0, 2.0, 3.0], "expected the same number of columns"),
    (np.array([[1.0, np.nan]]), "a row 0 holds NaN"),
    (np.array([[0, 1.0], [np.inf, 0]]), "a row 1 holds NaN or infinity"),
    (np.ones((2, 3)), r"a has shape \(2, 3\) and b \(2, 2\)"),
    (np.array([["x", "y"]]), "expected real numbers"),
    (np.ones((1, 2), complex), "expected real numbers"),
    ([[1, 2], [3]], "a: rows of different lengths"),
])  # fmt: skip
def test_bad_vectors_are_refused(a, message):
    with pytest.raises(InputError, match=message):
        similarity.cosine(a, np.ones((2, 2)))


@pytest.mark.parametrize("f", [similarity.cosine, similarity.dot, similarity.euclidean, similarity.pearson])
def test_what_only_float64_can_hold_is_refused_beside_float32(f):
    with pytest.raises(InputError, match="b row 1 holds NaN or infinity"):
        f(A, B[:2].astype(np.float64) * [[1], [1e300]])
    with pytest.raises(InputError, match="a row 0 holds NaN or infinity"):
        f(np.full((1, 12), 1e300), B)


def test_normalizing_leaves_its_input_alone():
    for v in (A.copy(), A.astype(np.float64)):
        before = v.copy()
        similarity.normalize(v)
        similarity.cosine(v, v)
        assert np.array_equal(v, before)


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


@settings(deadline=None, max_examples=200, derandomize=True)
@given(
    hnp.arrays(np.int8, st.tuples(st.integers(1, 4), st.integers(1, 9)), elements=st.integers(0, 3)),
    st.integers(1, 12),
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


@pytest.mark.parametrize("metric", similarity.METRICS)
@pytest.mark.parametrize(
    ("n", "d", "n_queries"), [(33, 3, 2), (33, 64, 1), (100, 12, 7), (1001, 384, 3), (2053, 100, 65)]
)
def test_equal_rows_tie_wherever_they_lie(metric, n, d, n_queries):
    # A matrix product sums the last columns of a matrix in another order than the first.
    rng = np.random.default_rng(n + d)
    items, queries = (rng.standard_normal((m, d)).astype(np.float32) for m in (n, n_queries))
    equal = np.sort(rng.choice(n, 20, replace=False))
    items[equal] = items[equal[0]]
    ids, scores = similarity.top_k(queries, items, n, metric=metric)
    for row, values in zip(ids, scores, strict=True):
        where = np.isin(row, equal)
        assert np.array_equal(row[where], equal)
        assert len(np.unique(values[where])) == 1


def test_more_equal_rows_than_are_looked_at_first():
    items = np.zeros((500, 12), np.float32)
    items[100:], items[::7] = A[0], A[1]
    ids, scores = similarity.top_k(A[:2], items, 5, exclude=[[104], [0, 7]])
    assert ids.tolist() == [[100, 101, 102, 103, 106], [14, 21, 28, 35, 42]]
    assert (scores == 1).all()
    assert similarity.top_k(np.zeros((1, 12)), items, 3, exclude=[[1]])[0].tolist() == [[0, 2, 3]]


@pytest.mark.parametrize("metric", similarity.METRICS)
def test_top_k_is_exact_among_nearly_equal_scores(metric):
    # All items within a few units in the last place of each other: only exact sums can tell them apart.
    rng = np.random.default_rng(5)
    base = rng.standard_normal(64).astype(np.float32)
    items = base + np.float32(1e-6) * rng.standard_normal((300, 64)).astype(np.float32)
    query = rng.standard_normal((1, 64)).astype(np.float32)
    ids, scores = similarity.top_k(query, items, 10, metric=metric)
    q, x = query.astype(float), items.astype(float)
    if metric == "pearson":
        q, x = (similarity._centred_rows(v).astype(float) for v in (query, items))
    exact = -distance.cdist(q, x)[0] if metric == "euclidean" else (x * q).sum(1)
    if metric in ("cosine", "pearson"):
        exact /= np.linalg.norm(x, axis=1) * np.linalg.norm(q)
    assert ids[0].tolist() == naive_top_k(exact.astype(np.float32), 10)
    assert np.allclose(scores[0], exact[ids[0]], rtol=1e-6)


def test_exclusion_as_matrix_or_lists():
    lists = [[0, 1, 2], [], list(range(31)), list(range(28)), [5], [6], [7]]
    rows = np.repeat(np.arange(7), [len(x) for x in lists])
    matrix = sp.csr_matrix((np.ones(len(rows)), (rows, np.concatenate(lists).astype(int))), shape=(7, 31))
    ids, scores = similarity.top_k(A, B, 5, exclude=lists)
    full = similarity.cosine(A, B)
    assert ids.tolist() == [naive_top_k(row, 5, out) for row, out in zip(full, lists, strict=True)]
    assert np.array_equal(ids, similarity.top_k(A, B, 5, exclude=matrix)[0])
    assert np.array_equal(ids, similarity.top_k(A, B, 5, exclude=matrix.toarray() > 0)[0])
    assert (ids[2] == -1).all() and np.isneginf(scores[2]).all()
    assert (ids[3] >= 28).sum() == 3


@pytest.mark.parametrize("metric", similarity.METRICS)
@pytest.mark.parametrize("rows", [1, 2, 3, 16])
def test_blocks_change_no_bit(monkeypatch, metric, rows):
    rng = np.random.default_rng(6)
    queries, items = (rng.standard_normal((n, 64)).astype(np.float32) for n in (20, 1001))
    whole = similarity.top_k(queries, items, 5, metric=metric)
    monkeypatch.setattr(similarity, "BLOCK_SCORES", rows * len(items))
    monkeypatch.setattr(similarity, "BLOCK_COMPONENTS", 64 * 7)
    blocked = similarity.top_k(queries, items, 5, metric=metric)
    assert all(np.array_equal(a, b) for a, b in zip(whole, blocked, strict=True))


@pytest.mark.parametrize("metric", ["cosine", "pearson"])
def test_a_very_long_vector_beside_changes_no_bit(metric):
    rng = np.random.default_rng(7)
    queries, items = (rng.standard_normal((n, 64)).astype(np.float32) for n in (5, 200))
    beside = [
        np.vstack([v, v[:1] * np.float32(1e30), 0 * v[:1], v[:1] * np.float32(1e-30)])
        for v in (queries, items)
    ]
    alone = similarity.top_k(queries, items, 5, exclude=[[]] * 5, metric=metric)
    together = similarity.top_k(*beside, 5, exclude=[[200, 201, 202]] * 8, metric=metric)
    assert all(np.array_equal(a, b[:5]) for a, b in zip(alone, together, strict=True))
    assert np.array_equal(together[0][5], alone[0][0]) and np.array_equal(together[0][6], np.arange(5))
    assert (together[1][6] == 0).all()


def test_distance_of_near_points_far_from_the_origin():
    far = np.vstack([B + 1000, B - 1000])
    found = similarity.euclidean(far, far)
    assert np.allclose(found, distance.cdist(far.astype(float), far.astype(float)), atol=1e-3)
    assert np.diag(found).max() < 1e-3
    ids, scores = similarity.top_k(far, far, 1, metric="euclidean")
    assert ids.ravel().tolist() == list(range(len(far)))
    assert (scores == 0).all()


def test_sums_that_overflow_are_refused_or_avoided():
    huge = np.array([[3e38, 3e38, -3e38], [1, 2, 3]], np.float32)
    assert similarity.pearson(huge, huge) == pytest.approx(
        similarity.pearson(huge / 1e30, huge / 1e30), abs=1e-6
    )
    assert not np.isnan(similarity.euclidean(huge, huge)).any()
    assert similarity.top_k(huge, huge, 1)[0].ravel().tolist() == [0, 1]
    for call in (similarity.dot, lambda a, b: similarity.top_k(a, b, 1, metric="dot")):
        with pytest.raises(InputError, match="can overflow a sum in float32"):
            call(huge, huge)


def test_against_faiss():
    import faiss

    q, x = (rng.standard_normal((n, 64)).astype(np.float32) for n in (50, 5000))
    index = faiss.IndexFlatIP(64)
    index.add(x)
    assert np.array_equal(similarity.top_k(q, x, 10, metric="dot")[0], index.search(q, 10)[1])


@pytest.mark.parametrize(("k", "options", "message"), [
    (0, {}, "k=0: expected between 1 and the number of items, 31"),
    (32, {}, "k=32"),
    (2.0, {}, "k=2.0"),
    (1, {"metric": "cosin"}, "expected one of cosine, dot"),
    (1, {"exclude": [[1]]}, "exclude has 1 lists: expected one per query, 7"),
    (1, {"exclude": [[99]] + [[]] * 6}, "exclude holds id 99"),
    (1, {"exclude": [[1.0]] + [[]] * 6}, "exclude holds float64: expected ids, whole numbers"),
    (1, {"exclude": np.zeros((7, 31))}, r"exclude holds float64: .* or a mask of \(7, 31\)"),
    (1, {"exclude": np.zeros((7, 30), bool)}, r"exclude has shape \(7, 30\): expected \(7, 31\)"),
    (1, {"exclude": ["ab"] * 7}, "exclude holds <U1"),
    (True, {}, "k=True"),
    (1, {"exclude": sp.csr_matrix((7, 30))}, r"expected \(7, 31\)"),
])  # fmt: skip
def test_bad_arguments_of_top_k(k, options, message):
    with pytest.raises(InputError, match=message):
        similarity.top_k(A, B, k, **options)


def test_no_queries():
    ids, scores = similarity.top_k(A[:0], B, 3)
    assert ids.shape == scores.shape == (0, 3)


def test_products_of_rows_so_short_that_their_squares_vanish_depend_on_no_other_query():
    rng = np.random.default_rng(0)
    items = np.repeat(rng.standard_normal((1, 8)), 6, axis=0).astype(np.float32)
    items = np.nextafter(items, rng.choice([-9, 9], items.shape).astype(np.float32)) * np.float32(1e-37)
    queries = np.tile(rng.standard_normal((1, 8)).astype(np.float32), (5, 1))
    together = similarity.top_k(queries, items, 1, metric="dot")[0]
    exact = (queries.astype(np.float64) @ items.T.astype(np.float64)).astype(np.float32)
    assert np.array_equal(together[:, 0], exact.argmax(axis=1))


@pytest.mark.parametrize("n", [3, 37, 501])
def test_equal_rows_have_equal_scores_wherever_they_stand(n):
    """A matrix product alone does not promise that: its last columns are summed in another order."""
    rng = np.random.default_rng(n)
    few = rng.standard_normal((7, 384)).astype(np.float32)
    of = rng.integers(0, 7, n)
    queries = rng.standard_normal((5, 384)).astype(np.float32)
    scores = similarity.Rows(few[of]).scores(queries)
    assert scores.shape == (5, n)
    for kind in range(7):
        mine = scores[:, of == kind]
        assert (mine == mine[:, :1]).all()
    assert np.allclose(scores, queries @ few[of].T, rtol=1e-4, atol=1e-4)


def test_rows_that_differ_are_multiplied_as_they_stand():
    v = np.random.default_rng(0).standard_normal((20, 8)).astype(np.float32)
    assert similarity.Rows(v).place is None
    assert similarity.Rows(np.array([[0.0, 1.0], [-0.0, 1.0]], dtype=np.float32)).place is not None
    assert similarity.Rows(v[:0]).scores(v[:2]).shape == (2, 0)
