"""Full ranking without what was seen, paired tests, and the gate against published numbers."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from recsys_lib import encoders, evaluation
from recsys_lib.core.errors import InputError
from recsys_lib.data import datasets
from recsys_lib.evaluation import ranking, splits, statistics
from recsys_lib.recommenders import EASE, ItemKNN, Popularity, TextProfile
from recsys_lib.vectors import geometry


class Fixed:
    """Gives the scores it was made with."""

    def __init__(self, scores):
        self.values = np.asarray(scores, dtype=np.float32)

    def scores(self, users):
        return self.values[users]


TRAIN = sp.csr_matrix(np.array([[1, 0, 0, 0], [0, 1, 0, 0], [1, 1, 1, 0]], dtype=np.float32))
TEST = sp.csr_matrix(np.array([[0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]], dtype=np.float32))
SCORES = [[9, 1, 2, 3], [1, 9, 2, 3], [5, 5, 5, 0]]


def test_seen_items_do_not_compete_and_users_without_test_are_left_out():
    result = evaluation.evaluate(Fixed(SCORES), TRAIN, TEST, k=2)
    assert result.users.tolist() == [0, 2]
    assert result.ids.tolist() == [[3, 2], [3, -1]]
    assert result.mean()["recall"] == 0.5
    assert evaluation.recommend(Fixed(SCORES), TRAIN, [1], 3).tolist() == [[3, 2, 0]]


def test_candidates_restrict_the_competition():
    assert evaluation.recommend(Fixed(SCORES), TRAIN, [0], 3, candidates=np.array([1, 2])).tolist() == [
        [2, 1, -1]
    ]
    by_mask = evaluation.recommend(
        Fixed(SCORES), TRAIN, [0], 3, candidates=np.array([False, True, True, False])
    )
    assert by_mask.tolist() == [[2, 1, -1]]


def test_ties_by_id_go_to_the_smaller_one_and_batches_change_nothing(monkeypatch):
    tied = Fixed(np.zeros((3, 4)))
    whole = evaluation.recommend(tied, TRAIN, np.arange(3), 2, ties="id")
    assert whole.tolist() == [[1, 2], [0, 2], [3, -1]]
    monkeypatch.setattr(ranking, "BATCH_SCORES", 4)
    assert np.array_equal(whole, evaluation.recommend(tied, TRAIN, np.arange(3), 2, ties="id"))


def test_ties_at_random_are_seeded_per_user_and_change_nothing_else(monkeypatch):
    tied, wide = Fixed(np.zeros((50, 30))), sp.csr_matrix((50, 30), dtype=np.float32)
    drawn = evaluation.recommend(tied, wide, np.arange(50), 5)
    assert len({tuple(row) for row in drawn}) > 40
    assert all(len(set(row)) == 5 for row in drawn)
    assert abs(drawn.mean() - 14.5) < 2  # small ids have no advantage
    assert np.array_equal(drawn[7:9], evaluation.recommend(tied, wide, [7, 8], 5, ties="random"))
    assert not np.array_equal(
        drawn, evaluation.recommend(tied, wide, np.arange(50), 5, ties="random", seed=1)
    )
    monkeypatch.setattr(ranking, "BATCH_SCORES", 30)
    assert np.array_equal(drawn, evaluation.recommend(tied, wide, np.arange(50), 5, ties="random"))
    # Without ties both orders agree, also where a list ends early.
    by_id = evaluation.recommend(Fixed([[9, 1, 2, 3]] * 3), TRAIN, np.arange(3), 4, ties="id")
    assert np.array_equal(
        by_id, evaluation.recommend(Fixed([[9, 1, 2, 3]] * 3), TRAIN, np.arange(3), 4, ties="random")
    )
    assert (by_id == -1).any()
    with pytest.raises(InputError, match="ties='score': expected one of id, random"):
        evaluation.evaluate(Fixed(SCORES), TRAIN, TEST, 2, ties="score")


@settings(deadline=None, max_examples=100, derandomize=True)
@given(hnp.arrays(np.float32, (6, 9), elements=st.sampled_from([0.0, 1.0, 2.0, 3.0])), st.integers(1, 10))
def test_only_equal_scores_are_drawn(scores, k):
    """The lists are those of a full sort by score and the user's own order, drawn or not."""
    nothing = sp.csr_matrix(scores.shape, dtype=np.float32)
    lists = evaluation.recommend(Fixed(scores), nothing, np.arange(6), k)
    for user, row in enumerate(scores):
        order = np.random.default_rng([0, user]).permutation(9)
        expected = order[np.argsort(-row[order], kind="stable")][:k].tolist()
        assert lists[user].tolist() == expected + [-1] * (k - 9)


def test_items_without_interactions_are_at_chance():
    """EASE and ItemKNN score cold items 0: among themselves they must be ranked by chance,
    whatever their ids.
    """
    rng = np.random.default_rng(0)
    chosen = rng.random((400, 60)) < 0.2
    chosen[:, :30] = False
    train = sp.csr_matrix(chosen.astype(np.float32))
    test = sp.csr_matrix((np.ones(400), (np.arange(400), rng.integers(0, 8, 400))), shape=train.shape)
    cold = np.arange(30)
    for model in (EASE(10.0), ItemKNN(10)):
        found = evaluation.evaluate(model.fit(train), train, test, 10, cold).mean()["hit_rate"]
        assert found == pytest.approx(1 / 3, abs=0.07)  # three standard deviations of 400 draws


def test_scores_are_not_changed_by_masking():
    model = Fixed(SCORES)
    evaluation.evaluate(model, TRAIN, TEST, k=2)
    assert model.values.tolist() == SCORES


@pytest.mark.parametrize(("call", "message"), [
    (lambda: evaluation.evaluate(Fixed(SCORES), TRAIN, TEST[:2]), "expected the same users and items"),
    (lambda: evaluation.evaluate(Fixed(SCORES), TRAIN, 0 * TEST), "nothing to evaluate"),
    (lambda: evaluation.recommend(Fixed(SCORES), TRAIN, [0], 0), "k=0"),
    (lambda: evaluation.recommend(Fixed(SCORES), TRAIN, [0], 1.5), "k=1.5"),
    (lambda: evaluation.recommend(Fixed(SCORES), TRAIN, [0], 1, candidates=[4]), "4 to 4, expected item ids "
        "from 0 to 3"),
    (lambda: evaluation.recommend(Fixed(SCORES), TRAIN, [0], 1, candidates=[-1]), "-1 to -1, expected"),
    (lambda: evaluation.recommend(Fixed(SCORES), TRAIN, [0], 1, candidates=[]), "none, expected item ids"),
    (lambda: evaluation.recommend(Fixed(np.full((3, 4), np.nan)), TRAIN, [0], 1), "without NaN"),
    (lambda: evaluation.recommend(Fixed(np.ones((3, 5))), TRAIN, [0], 1), r"expected \(1, 4\)"),
])  # fmt: skip
def test_bad_input_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


# ---------------------------------------------------------------- paired tests


def evaluation_of(values):
    values = np.asarray(values, float)
    return evaluation.Evaluation(10, np.arange(len(values)), {"ndcg": values}, np.zeros((len(values), 10)))


def test_comparison_sees_a_difference_and_no_difference():
    rng = np.random.default_rng(0)
    base = rng.random(400)
    better = evaluation.compare(
        evaluation_of(base + 0.05 + 0.1 * rng.standard_normal(400)), evaluation_of(base)
    )
    assert 0 < better.low < better.difference < better.high < 0.1
    assert better.p_value < 1e-6
    same = evaluation.compare(evaluation_of(base + 0.1 * rng.standard_normal(400)), evaluation_of(base))
    assert same.low < 0 < same.high
    assert same.p_value > 0.01
    assert evaluation.compare(evaluation_of(base), evaluation_of(base)).p_value == 1


def test_bootstrap_interval_against_the_normal_one():
    d = np.random.default_rng(1).standard_normal(1000)
    c = evaluation.compare(evaluation_of(d), evaluation_of(np.zeros(1000)))
    assert (c.high - c.low) / 2 == pytest.approx(1.96 * d.std() / np.sqrt(1000), rel=0.1)


@pytest.mark.parametrize("counts", [1, 1000, 3333])
def test_blocks_of_the_bootstrap_draw_the_same_samples(monkeypatch, counts):
    d = np.random.default_rng(1).standard_normal(100)
    weights = np.random.default_rng(0).multinomial(100, np.full(100, 1 / 100), size=2000)
    low, high = np.percentile(weights @ d / 100, [2.5, 97.5])
    monkeypatch.setattr(statistics, "BLOCK_COUNTS", counts)
    found = evaluation.compare(evaluation_of(d), evaluation_of(np.zeros(100)))
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-12)


def test_equivalence_by_hand():
    base = np.array([0.2, 0.4, 0.6, 0.4])
    ours = base + np.array([0.01, -0.01, 0.01, -0.01])
    found = evaluation.equivalent(evaluation_of(ours), evaluation_of(base), 0.1)
    low, high = ours - 0.9 * base, 1.1 * base - ours
    for p, d in ((found.p_not_worse, low), (found.p_not_better, high)):
        assert p == pytest.approx(stats.t.sf(d.mean() / (d.std(ddof=1) / 2), 3))
    assert found.relative_difference == pytest.approx(0, abs=1e-12)
    assert found.p_value == max(found.p_not_worse, found.p_not_better)


def test_equivalence_needs_evidence():
    rng = np.random.default_rng(3)
    base = rng.random(2000)
    noisy = base + 0.02 * rng.standard_normal(2000)
    assert evaluation.equivalent(evaluation_of(noisy), evaluation_of(base), 0.02).equivalent
    # A difference beyond the margin, and a small one known too little about, are both not equivalent.
    assert not evaluation.equivalent(evaluation_of(0.95 * noisy), evaluation_of(base), 0.02).equivalent
    assert evaluation.equivalent(evaluation_of(0.95 * noisy), evaluation_of(base), 0.02).p_not_better < 1e-6
    few = base[:10] + 0.3 * rng.standard_normal(10)
    assert evaluation.compare(evaluation_of(few), evaluation_of(base[:10])).p_value > 0.05
    assert not evaluation.equivalent(evaluation_of(few), evaluation_of(base[:10]), 0.02).equivalent
    assert evaluation.equivalent(evaluation_of(base), evaluation_of(base), 0.02).equivalent


def test_equivalence_at_the_margin_is_declared_as_often_as_alpha_says():
    rng = np.random.default_rng(4)
    declared = []
    for _ in range(400):
        base = rng.random(200)
        ours = 0.95 * base + 0.05 * rng.standard_normal(200)
        declared.append(evaluation.equivalent(evaluation_of(ours), evaluation_of(base), 0.05).equivalent)
    assert 0.02 < np.mean(declared) < 0.09


@pytest.mark.parametrize(("ours", "theirs", "margin", "message"), [
    ([0.1, 0.2], [0.1, 0.2], 0, "margin=0: expected a fraction"),
    ([0.1, 0.2], [0.1, 0.2], 2, "margin=2: expected a fraction"),
    ([0.1, 0.2], [0.0, 0.0], 0.1, "a mean above 0"),
    ([0.1], [0.1], 0.1, "at least 2 users"),
    ([0.1, 0.2], [0.1], 0.1, "expected the same users and k"),
])  # fmt: skip
def test_equivalence_refuses_what_it_cannot_test(ours, theirs, margin, message):
    with pytest.raises(InputError, match=message):
        evaluation.equivalent(evaluation_of(ours), evaluation_of(theirs), margin)


def test_comparison_needs_the_same_users():
    with pytest.raises(InputError, match="expected the same users and k"):
        evaluation.compare(evaluation_of([1, 2]), evaluation_of([1, 2, 3]))
    with pytest.raises(InputError, match="expected one of ndcg"):
        evaluation.compare(evaluation_of([1, 2]), evaluation_of([1, 2]), "recall")


def test_holm_is_monotone_and_never_below_the_raw_value():
    p = np.random.default_rng(2).random(20) ** 3
    adjusted = evaluation.holm(p)
    assert (adjusted >= p).all() and (adjusted <= 1).all()
    assert np.array_equal(np.argsort(p, kind="stable"), np.lexsort((p, adjusted)))
    assert evaluation.holm([]).shape == (0,)
    for p in ([0.1, np.nan], [1.1], [-0.1]):
        with pytest.raises(InputError, match="expected numbers from 0 to 1"):
            evaluation.holm(p)


# ---------------------------------------------------------------- the gate (sources: notebook 03)


@pytest.fixture(scope="module")
def gate():
    films = datasets.load("ml-100k")
    return films, [splits.random_split(films, 0.2, seed=s, per_user=False) for s in range(5)]


def mean_recall(make, parts):
    return np.mean(
        [evaluation.evaluate(make().fit(s.train), s.train, s.test).mean()["recall"] for s in parts]
    )


def test_popularity_is_where_three_publications_have_it(gate):
    assert mean_recall(Popularity, gate[1]) == pytest.approx(0.118, abs=0.007)


def test_item_knn_reaches_its_published_band(gate):
    assert mean_recall(lambda: ItemKNN(100, 30), gate[1]) >= 0.207


def test_ease_reaches_its_published_value(gate):
    assert mean_recall(lambda: EASE(600), gate[1]) >= 0.238


def test_whitened_text_passes_the_best_published_content_only_result(gate):
    films, parts = gate
    vectors = encoders.load("minilm", precision="float32").encode(films.item_texts())
    white = geometry.whiten(vectors).apply(vectors)
    raw, whitened = (mean_recall(lambda v=v: TextProfile(v), parts) for v in (vectors, white))
    assert whitened >= 0.05
    assert whitened > 2 * raw


def test_a_part_of_the_users():
    result = evaluation.evaluate(Fixed(SCORES), TRAIN, TEST, k=2)
    part = result.of_users(np.array([False, True, True]))
    assert part.users.tolist() == [2] and part.ids.tolist() == [[3, -1]] and part.mean()["recall"] == 1
    with pytest.raises(InputError, match="none of the chosen users"):
        result.of_users(np.array([False, True, False]))


def test_slices_by_count_and_restriction():
    masks = evaluation.by_count(np.array([0, 1, 5, 6, 20, 21, 900]))
    assert {k: np.flatnonzero(m).tolist() for k, m in masks.items()} == {
        "0": [0], "1–5": [1, 2], "6–20": [3, 4], "over 20": [5, 6],
    }  # fmt: skip
    assert list(evaluation.by_count(np.array([3]), (2, 9))) == ["2–8"]
    with pytest.raises(InputError, match="expected rising numbers"):
        evaluation.by_count(np.array([3]), (5, 2))
    kept = evaluation.restrict(TEST, np.array([True, False, True, True]))
    assert kept.toarray().tolist() == [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]]


def test_the_average_over_seeds_is_by_user():
    one = evaluation.evaluate(Fixed(SCORES), TRAIN, TEST, k=2)
    other_test = sp.csr_matrix(np.array([[0, 0, 0, 1], [0, 0, 1, 0], [0, 0, 0, 0]], dtype=np.float32))
    two = evaluation.evaluate(Fixed(SCORES), TRAIN, other_test, k=2)
    both = evaluation.average([one, two])
    assert both.users.tolist() == [0, 1, 2]
    assert both.per_user["recall"].tolist() == [(0 + 1) / 2, 1, 1]
    with pytest.raises(InputError, match="0 evaluations"):
        evaluation.average([])
    with pytest.raises(InputError, match="same k"):
        evaluation.average([one, evaluation.evaluate(Fixed(SCORES), TRAIN, TEST, k=1)])


def test_sampled_metrics_by_hand_and_their_flattery():
    # One unseen item beside the test item: user 0 ranks its item below it, user 1 above.
    train = sp.csr_matrix(np.array([[1, 0, 0], [1, 0, 0]], dtype=np.float32))
    test = sp.csr_matrix(np.array([[0, 1, 0], [0, 0, 1]], dtype=np.float32))
    scores = Fixed([[0, 1, 2], [0, 1, 2]])
    assert evaluation.evaluate_sampled(scores, train, test, 1, k=1) == {"hit_rate": 0.5, "ndcg": 0.5}
    assert evaluation.evaluate_sampled(scores, train, test, 1, k=2)["ndcg"] == pytest.approx(
        (1 + 1 / np.log2(3)) / 2
    )
    with pytest.raises(InputError, match="user 0 has 1 unseen items"):
        evaluation.evaluate_sampled(scores, train, test, 5)
    # Random scores find an item among 1 000 in one list of a hundred, but in one of ten among 99 negatives.
    rng = np.random.default_rng(0)
    chance = Fixed(rng.random((300, 1000)))
    nothing = sp.csr_matrix((300, 1000), dtype=np.float32)
    one_each = sp.csr_matrix((np.ones(300), (np.arange(300), rng.integers(0, 1000, 300))), shape=(300, 1000))
    full = evaluation.evaluate(chance, nothing, one_each, 10).mean()["hit_rate"]
    assert evaluation.evaluate_sampled(chance, nothing, one_each, 99)["hit_rate"] > 4 * max(full, 0.01)


def test_bootstrap_means_share_the_drawn_users():
    one = evaluation.evaluate(Fixed(SCORES), TRAIN, TEST, k=2)
    drawn = evaluation.bootstrap_means({"a": one, "b": one}, resamples=50)
    assert np.array_equal(drawn["a"], drawn["b"]) and drawn["a"].shape == (50,)
    assert drawn["a"].mean() == pytest.approx(one.mean()["ndcg"], abs=0.15)
    other = evaluation.Evaluation(2, one.users + 1, one.per_user, one.ids)
    with pytest.raises(InputError, match="expected the same users"):
        evaluation.bootstrap_means({"a": one, "b": other})


def test_sampled_ranking_averages_over_users_as_the_full_one_does():
    """One user with one test item found, one with three not found: a half, not a quarter."""
    train = sp.csr_matrix((2, 40), dtype=np.float32)
    test = sp.csr_matrix(([1.0] * 4, ([0, 1, 1, 1], [0, 1, 2, 3])), shape=(2, 40), dtype=np.float32)
    scores = np.ones((2, 40), dtype=np.float32)
    scores[0, 0], scores[1, 1:4] = 2, 0
    assert evaluation.evaluate_sampled(Fixed(scores), train, test, 20, k=5)["hit_rate"] == 0.5
