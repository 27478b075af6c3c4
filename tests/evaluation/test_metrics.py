"""Metrics against naive loops and scikit-learn, with answers known by hand."""

import math

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from recsys_lib.core.errors import InputError
from recsys_lib.evaluation import metrics


def naive(ids, relevant):
    """All metrics of one user from their definitions."""
    k, t = len(ids), len(relevant)
    hit = [i in relevant for i in ids]
    dcg = sum(h / math.log2(r + 2) for r, h in enumerate(hit))
    ideal = sum(1 / math.log2(r + 2) for r in range(min(k, t)))
    first = next((r for r, h in enumerate(hit) if h), None)
    ap = sum(sum(hit[: r + 1]) / (r + 1) for r, h in enumerate(hit) if h) / min(k, t)
    return {
        "precision": sum(hit) / k, "recall": sum(hit) / t, "ndcg": dcg / ideal,
        "mrr": 0 if first is None else 1 / (first + 1),
        "hit_rate": float(any(hit)), "map": ap,
    }  # fmt: skip


def csr(sets, n_items):
    rows = np.repeat(np.arange(len(sets)), [len(s) for s in sets])
    columns = [i for s in sets for i in sorted(s)]
    return sp.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(len(sets), n_items))


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.permutations(range(8)), st.sets(st.integers(0, 7), min_size=1), st.integers(0, 3)),
        min_size=1,
        max_size=5,
    ),
    st.integers(1, 8),
)
def test_against_a_naive_loop(users, k):
    # The last few entries of a list may be missing (-1), as where a user has seen almost everything.
    ids = np.array([[*order[: max(0, k - short)], *[-1] * min(short, k)] for order, _, short in users])
    found = metrics.all_metrics(ids, csr([s for _, s, _ in users], 8))
    for row, (_, relevant, _) in enumerate(users):
        for name, value in naive(ids[row].tolist(), relevant).items():
            assert found[name][row] == pytest.approx(value), name


def test_known_answers():
    found = metrics.all_metrics(np.array([[3, 1, 0], [2, 1, 0]]), csr([{0, 1}, {4}], 5))
    assert found["precision"].tolist() == pytest.approx([2 / 3, 0])
    assert found["recall"].tolist() == [1, 0]
    assert found["mrr"].tolist() == [0.5, 0]
    assert found["ndcg"][0] == pytest.approx((1 / math.log2(3) + 0.5) / (1 + 1 / math.log2(3)))
    assert found["map"][0] == pytest.approx((1 / 2 + 2 / 3) / 2)


def test_ndcg_against_scikit_learn():
    rng = np.random.default_rng(0)
    scores = rng.standard_normal((30, 20))
    relevant = (rng.random((30, 20)) < 0.2).astype(float)
    relevant[:, 0] = 1
    ids = np.argsort(-scores, axis=1)[:, :10]
    assert metrics.all_metrics(ids, sp.csr_matrix(relevant))["ndcg"].mean() == pytest.approx(
        ndcg_score(relevant, scores, k=10)
    )


def test_nothing_to_find_is_nan_not_zero():
    found = metrics.all_metrics(np.array([[0, 1]]), sp.csr_matrix((1, 3)))
    assert all(np.isnan(v).all() for v in found.values())


def test_stored_zeros_are_no_test_items():
    relevant = csr([{0, 1}], 3)
    relevant.data[0] = 0
    assert metrics.all_metrics(np.array([[0, 1]]), relevant)["recall"][0] == 1
    assert metrics.hits(np.array([[0, 1]]), relevant).tolist() == [[False, True]]


def test_shapes_must_match():
    with pytest.raises(InputError, match="ids has 1 rows, relevant 2"):
        metrics.hits(np.array([[0]]), sp.csr_matrix((2, 3)))


def test_items_that_do_not_exist_are_refused():
    # Item 7 of 5 for user 0 must not pass for item 2 of user 1.
    for ids in (np.array([[7], [0]]), np.array([[-2], [0]])):
        with pytest.raises(InputError, match="expected items from 0 to 4"):
            metrics.all_metrics(ids, csr([{0}, {2}], 5))
        with pytest.raises(InputError, match="expected items from 0 to 4"):
            metrics.gini(ids, 5)
    with pytest.raises(InputError, match="k of at least 1"):
        metrics.hits(np.empty((2, 0), int), csr([{0}, {2}], 5))


CALLS = {
    "hits": lambda ids: metrics.hits(ids, csr([{3}, {1}], 5)),
    "all_metrics": lambda ids: metrics.all_metrics(ids, csr([{3}, {1}], 5)),
    "at_cuts": lambda ids: metrics.at_cuts(ids, csr([{3}, {1}], 5), (1,)),
    "exposure": lambda ids: metrics.exposure(ids, 5),
    "coverage": lambda ids: metrics.coverage(ids, 5),
    "gini": lambda ids: metrics.gini(ids, 5),
    "novelty": lambda ids: metrics.novelty(ids, csr([{3}, {1}], 5)),
    "popularity_lift": lambda ids: metrics.popularity_lift(ids, csr([{3}, {1}], 5), np.arange(2)),
    "intra_list_diversity": lambda ids: metrics.intra_list_diversity(ids, np.eye(5)),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_an_item_twice_in_a_list_is_refused(call):
    with pytest.raises(InputError, match="ids row 1 holds item 3 more than once"):
        call(np.array([[1, 2, 3], [3, 0, 3]]))
    call(np.array([[1, -1, -1], [3, 1, -1]]))  # padding may repeat


def test_catalogue_metrics():
    ids = np.array([[0, 1], [0, 1], [0, -1]])
    assert metrics.exposure(ids, 4).tolist() == [3, 2, 0, 0]
    assert metrics.coverage(ids, 4) == 0.5
    assert metrics.gini(np.array([[0, 1, 2, 3]]), 4) == pytest.approx(0)
    assert metrics.gini(np.array([[0], [0]]), 4) == pytest.approx(0.75)
    assert metrics.gini(np.array([[-1]]), 4) == 0
    counts = np.sort(metrics.exposure(ids, 4))
    naive_gini = np.abs(counts[:, None] - counts).sum() / (2 * 4 * counts.sum())
    assert metrics.gini(ids, 4) == pytest.approx(naive_gini)


def test_novelty_in_bits():
    train = sp.csr_matrix(np.array([[1, 1, 0], [1, 0, 0], [1, 0, 0], [1, 0, 0]]))
    assert metrics.novelty(np.array([[0]]), train) == 0
    assert metrics.novelty(np.array([[1]]), train) == 2
    assert metrics.novelty(np.array([[2]]), train) == 2  # never seen counts as seen once
    assert metrics.novelty(np.array([[-1]]), train) == 0


def test_every_metric_at_every_cut_from_one_set_of_lists():
    rng = np.random.default_rng(0)
    ids = np.array([rng.permutation(30)[:20] for _ in range(7)])
    relevant = sp.csr_matrix(rng.random((7, 30)) < 0.2)
    found = metrics.at_cuts(ids, relevant, (1, 5, 20))
    assert len(found) == 3 * len(metrics.PER_USER)
    for k in (1, 5, 20):
        for name, values in metrics.all_metrics(ids[:, :k], relevant).items():
            assert np.array_equal(found[f"{name}@{k}"], values, equal_nan=True)
    for cuts in ((), (0, 5), (21,)):
        with pytest.raises(InputError, match="expected from 1 to 20"):
            metrics.at_cuts(ids, relevant, cuts)


def test_popularity_lift_by_hand():
    # Items 0, 1, 2 are known to 3, 2 and 1 users; the empty user and the empty list are passed over.
    train = sp.csr_matrix(np.array([[1, 1, 1], [1, 1, 0], [1, 0, 0], [0, 0, 0]], dtype=np.float32))
    users = np.array([2, 0, 3, 1])
    ids = np.array([[1, 2], [0, -1], [0, 1], [-1, -1]])
    lists, histories = (1.5 + 3) / 2, (3 + 2) / 2
    assert metrics.popularity_lift(ids, train, users) == pytest.approx(lists / histories - 1)
    assert metrics.popularity_lift(ids[2:3], train, users[2:3]) == 0


def test_diversity_against_all_pairs():
    from sklearn.metrics.pairwise import cosine_similarity

    rng = np.random.default_rng(1)
    vectors = rng.standard_normal((12, 5)).astype(np.float32)
    vectors[3] = 0
    ids = np.array([[0, 1, 2, 3], [4, 5, -1, -1], [6, -1, -1, -1]])
    distance = 1 - cosine_similarity(vectors)
    first = np.mean([distance[a, b] for a in range(4) for b in range(4) if a != b])
    assert metrics.intra_list_diversity(ids, vectors) == pytest.approx((first + distance[4, 5]) / 2, abs=1e-6)
    assert metrics.intra_list_diversity(ids[2:], vectors) == 0
    vectors[8] = 2 * vectors[7]
    assert metrics.intra_list_diversity(np.array([[7, 8]]), vectors) == pytest.approx(0, abs=1e-6)


def test_the_catalogue_metrics_together():
    train = sp.csr_matrix(np.eye(4, dtype=np.float32))
    ids = np.array([[1, 2], [2, 3], [3, 0], [0, 1]])
    found = metrics.of_catalogue(ids, train, np.arange(4), np.eye(4))
    assert found == pytest.approx(
        {"coverage": 1, "gini": 0, "novelty": 2, "popularity_lift": 0, "diversity": 1}
    )
    assert "diversity" not in metrics.of_catalogue(ids, train, np.arange(4))
