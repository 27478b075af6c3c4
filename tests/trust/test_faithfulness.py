"""Tests of reasons: the exact order is faithful, random ones are not; sentences; what reasons reveal."""

import numpy as np
import pytest
import scipy.sparse as sp

from recsys_lib import evaluation
from recsys_lib.core.errors import InputError
from recsys_lib.recommenders import EASE, IALS, ItemKNN, MaxSimilarity
from recsys_lib.trust import explanations
from recsys_lib.trust.explanations import faithfulness, rationale, sentences, support

RNG = np.random.default_rng(5)


def clustered(n_users=80, n_items=40, seed=0):
    """Users of two tastes, each of which is one half of the items."""
    rng = np.random.default_rng(seed)
    half = n_items // 2
    rates = np.where((np.arange(n_users)[:, None] % 2) == (np.arange(n_items)[None] // half), 0.4, 0.05)
    return sp.csr_matrix((rng.random((n_users, n_items)) < rates).astype(np.float32))


TRAIN = clustered()
MODEL = EASE(10.0).fit(TRAIN)
USERS = np.arange(30)
TARGETS = evaluation.recommend(MODEL, TRAIN, USERS, 2)


def exact(history, target):
    return explanations.contributions(MODEL, history, [target]).of(target)


def chance(history, target):
    return np.random.default_rng([history.nnz, target]).random(history.nnz)


def test_leave_one_out_equals_the_contributions_of_a_linear_model():
    for user, target in zip(USERS, TARGETS[:, 0], strict=True):
        assert np.allclose(
            faithfulness.leave_one_out(MODEL, TRAIN[user], target), exact(TRAIN[user], target), atol=1e-5
        )


def test_leave_one_out_sees_only_the_nearest_item_of_max_similarity():
    vectors = RNG.standard_normal((40, 6)).astype(np.float32)
    model = MaxSimilarity(vectors).fit(TRAIN)
    assert (faithfulness.leave_one_out(model, TRAIN[0], 39) > 0).sum() <= 1


def test_exact_reasons_are_more_faithful_than_chance_on_every_measure():
    table = faithfulness.measure(MODEL, TRAIN, USERS, TARGETS, {"exact": exact, "random": chance}, k=3)
    ours, theirs = (faithfulness.as_evaluation(table, name) for name in ("exact", "random"))
    for measure, sign in zip(faithfulness.MEASURES, (-1, 1, 1, -1), strict=True):
        test = evaluation.compare(ours, theirs, measure)
        assert sign * test.difference > 0 and test.p_value < 0.01, measure


def test_curves_begin_and_end_with_the_whole_history():
    found = faithfulness.curve(MODEL, TRAIN, USERS, TARGETS, exact, k=2)
    assert found["deletion"][0] == 1 and found["insertion"][-1] == 1
    assert found["deletion"][-1] < 0.5


def test_a_model_that_is_no_sum_is_tested_as_well():
    model = IALS(4, iterations=3).fit(TRAIN)
    target = int(evaluation.recommend(model, TRAIN, [0], 1)[0, 0])
    importance = faithfulness.leave_one_out(model, TRAIN[0], target)
    _, deletion, insertion = faithfulness.in_list(
        model, TRAIN[0], target, faithfulness.order_of(TRAIN[0], importance), 5
    )
    assert deletion[0] and insertion[-1]


def test_agreement_of_known_orders():
    assert faithfulness.agreement([3, 2, 1], [30, 20, 10]) == (1.0, 1.0)
    assert faithfulness.agreement([3, 2, 1, 0], [0, 1, 2, 3], top=2) == (-1.0, 0.0)
    assert faithfulness.agreement([1, 1], [0, 1])[0] == 0.0


@pytest.mark.parametrize("order", [[0], [0, 0], [99]])
def test_an_order_of_other_items_is_refused(order):
    with pytest.raises(InputError, match="every item of the history"):
        faithfulness.in_list(MODEL, TRAIN[0], int(TARGETS[0, 0]), np.array(order), 5)


def test_empty_histories_and_nan_are_refused():
    with pytest.raises(InputError, match="empty"):
        faithfulness.in_list(MODEL, sp.csr_matrix((1, 40)), 3, np.array([], dtype=int), 5)
    with pytest.raises(InputError, match="NaN"):
        faithfulness.order_of(TRAIN[0], np.full(TRAIN[0].nnz, np.nan))


def test_reasons_name_the_largest_contributions_and_decisive_ones_are():
    titles = [f"Film {i}" for i in range(40)]
    plain = sentences.reasons(MODEL, TRAIN[0], TARGETS[0])
    for reason in plain:
        values = exact(TRAIN[0], reason.target)
        assert reason.items[0] == TRAIN[0].indices[np.argmax(values)]
        assert sentences.sentence(reason, titles).startswith("Because you watched Film ")
        assert sentences.sentence(reason, titles, "zh", "book").startswith("因为你读过《Film ")
    for user in USERS:
        for reason in sentences.faithful_reasons(MODEL, TRAIN[user], TARGETS[user], k=2):
            rest = explanations.without(TRAIN[user], reason.items)
            rank = explanations.rank_of(MODEL, rest, reason.target, TRAIN[user].indices)[0]
            assert (rank > 2) == reason.decisive


def test_a_user_without_history_gets_a_sentence_too():
    reason = sentences.faithful_reasons(MODEL, sp.csr_matrix((1, 40)), [3], k=2)[0]
    assert reason.items == () and "Nothing" in sentences.sentence(reason, [])
    assert sentences.sentence(reason, [], "zh") == "这一条与你的历史无关。"
    with pytest.raises(InputError, match="expected en or zh"):
        sentences.sentence(reason, [], "fr")


def test_a_reason_with_one_supporter_reveals_that_person():
    # Users 0 and 1 alone have item 0; user 1 also has item 1, which nobody else has with it.
    train = sp.csr_matrix(np.array([[1, 0, 0, 1], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]], np.float32))
    found = support.revealed(train, np.array([0]), np.array([1]))
    assert (found.few, found.precision, found.baseline) == (1, 1.0, 0.5)


@pytest.mark.parametrize("model", [ItemKNN(10), EASE(10.0)], ids=lambda m: type(m).__name__)
def test_minimum_support_leaves_no_reason_with_fewer(model):
    model = model.fit(TRAIN)
    protected = support.with_minimum_support(model, TRAIN, 5)
    counts = (TRAIN.T @ TRAIN).toarray()
    weights = protected.weights.toarray() if sp.issparse(protected.weights) else protected.weights
    assert not weights[counts < 5].any() and weights[counts >= 5].any()
    refitted = support.MinimumSupport(type(model)(10), 5).fit(TRAIN)
    assert abs(refitted.weights - protected.weights).max() == 0
    kept = protected.score(TRAIN[:3])
    assert kept.shape == (3, 40) and np.isfinite(kept).all()
    with pytest.raises(InputError, match="at least 1"):
        support.with_minimum_support(model, TRAIN, 0)


def test_shown_reasons_are_the_largest_contributions():
    user, items, targets = support.shown_reasons(MODEL, TRAIN, USERS, TARGETS)
    assert len(user) == TARGETS.size
    for u, item, target in zip(user[:10], items[:10], targets[:10], strict=True):
        assert explanations.contributions(MODEL, TRAIN[u], [target]).order(target)[0] == item
    assert support.revealed(TRAIN, items, targets).reasons == TARGETS.size
    assert support.shown_reasons(MODEL, TRAIN, USERS[:0], TARGETS[:0])[0].shape == (0,)


def test_what_a_rationale_names_is_removed_and_compared():
    history, target = TRAIN[0], int(TARGETS[0, 0])
    least = explanations.counterfactual(MODEL, history, target, 2)
    found = rationale.leaves(MODEL, history, target, least.items, 2)
    assert found["named"] == 1.0 and 0 <= found["random"] <= 1
    assert rationale.leaves(MODEL, history, target, [], 2) == {"named": 0.0, "random": 0.0, "exact": 0.0}
