"""Exact reasons: summands add up to the score, counterfactuals are the smallest, both against an
independent oracle.
"""

import itertools

import numpy as np
import pytest
import scipy.sparse as sp

from recsys_lib.core.errors import InputError
from recsys_lib.recommenders import (
    EASE,
    IALS,
    SLIM,
    EASEMap,
    ItemKNN,
    RidgeMap,
    TextEASE,
    TextItemKNN,
    TextProfile,
)
from recsys_lib.trust import explanations

RNG = np.random.default_rng(3)
TRAIN = sp.csr_matrix((RNG.random((60, 18)) < 0.3).astype(np.float32))
VECTORS = RNG.standard_normal((18, 8)).astype(np.float32)
MODELS = {
    "EASE": EASE(5.0),
    "EASE, pruned": EASE(5.0, top=4),
    "ItemKNN": ItemKNN(6),
    "ItemKNN, normalized": ItemKNN(6, normalize=True, unit_users=True),
    "SLIM": SLIM(0.1, 5.0),
    "TextEASE": TextEASE(VECTORS, 5.0, 0.2),
    "TextItemKNN": TextItemKNN(VECTORS, 5),
    "EASEMap": EASEMap(VECTORS, 1.0, 5.0),
    "RidgeMap": RidgeMap(VECTORS, 4),
    "TextProfile": TextProfile(VECTORS),
    "TextProfile with popularity": TextProfile(VECTORS, popularity=0.4),
}


@pytest.mark.parametrize("name", MODELS)
def test_summands_add_up_to_the_score(name):
    model = MODELS[name].fit(TRAIN)
    for user in range(10):
        found = explanations.contributions(model, TRAIN[user], np.arange(18))
        assert np.allclose(found.scores, model.score(TRAIN[user])[0], atol=1e-5)


def test_weights_of_interactions_count():
    model, history = EASE(5.0).fit(TRAIN), TRAIN[0] * 2.5
    found = explanations.contributions(model, history, [1, 2])
    assert np.allclose(found.scores, model.score(history)[0, [1, 2]], atol=1e-5)
    assert list(found.order(1)) == [
        int(i)
        for _, i in sorted(zip(-found.of(1), found.items, strict=True), key=lambda pair: (pair[0], pair[1]))
    ]


@pytest.mark.parametrize("name", MODELS)
def test_an_empty_history_has_no_reason(name):
    found = explanations.contributions(MODELS[name].fit(TRAIN), sp.csr_matrix((1, 18)), [0, 5])
    assert found.values.shape == (0, 2) and found.scores.tolist() == [0, 0]


def test_duplicates_of_an_item_are_one_summand():
    twice = sp.csr_matrix((np.ones(3, np.float32), ([0, 0, 0], [4, 4, 7])), shape=(1, 18))
    found = explanations.contributions(EASE(5.0).fit(TRAIN), twice, [0])
    assert found.items.tolist() == [4, 7]


@pytest.mark.parametrize(
    ("history", "targets", "said"),
    [
        (sp.csr_matrix((1, 7)), [0], "expected 18"),
        (sp.csr_matrix((2, 18)), [0], "one sparse row"),
        (sp.csr_matrix((1, 18)), [18], "expected item ids"),
        (sp.csr_matrix(([np.nan], ([0], [1])), shape=(1, 18)), [0], "NaN"),
        (np.zeros((1, 18)), [0], "one sparse row"),
    ],
)
def test_bad_input_is_refused_in_one_line(history, targets, said):
    with pytest.raises(InputError, match=said):
        explanations.contributions(EASE(5.0).fit(TRAIN), history, targets)


def test_models_that_are_no_sum_are_refused():
    with pytest.raises(InputError, match="leave_one_out"):
        explanations.contributions(IALS(4, iterations=2).fit(TRAIN), TRAIN[0], [0])
    with pytest.raises(InputError, match="half_life"):
        explanations.weights_between(_fitted_recent(), np.array([0]), np.array([1]))
    with pytest.raises(InputError, match="not fitted"):
        explanations.weights_between(EASE(), np.array([0]), np.array([1]))


def _fitted_recent():
    times = TRAIN.copy()
    times.data = np.arange(1, len(times.data) + 1, dtype=np.float64)
    return TextProfile(VECTORS, half_life=3.0).fit(TRAIN, times)


def smallest_by_brute_force(model, history, target, k):
    """The size of the smallest part without which the target leaves, by trying all of them."""
    items = history.indices
    for size in range(1, len(items) + 1):
        for part in itertools.combinations(items, size):
            rest = explanations.without(history, part)
            if explanations.rank_of(model, rest, target, items)[0] > k:
                return size
    return None


@pytest.mark.parametrize("name", ["EASE", "ItemKNN", "TextProfile", "RidgeMap"])
@pytest.mark.parametrize("k", [1, 3])
def test_counterfactuals_are_the_smallest(name, k):
    model = MODELS[name].fit(TRAIN)
    for user in range(6):
        history = TRAIN[user]
        scores = model.score(history)[0]
        scores[history.indices] = -np.inf
        target = int(np.argmax(scores))
        found = explanations.counterfactual(model, history, target, k)
        smallest = smallest_by_brute_force(model, history, target, k)
        if found is None:
            # Only ties that ids decide may be left to brute force: without any history all scores are 0.
            assert smallest is None or smallest == history.nnz
            continue
        assert found.minimal and found.rank > k and len(found.items) == smallest
        assert set(found.items) <= set(history.indices.tolist())


def test_a_counterfactual_needs_an_item_of_the_list():
    model, history = EASE(5.0).fit(TRAIN), TRAIN[0]
    scores = model.score(history)[0]
    scores[history.indices] = np.inf
    with pytest.raises(InputError, match="expected an item of the top 1"):
        explanations.counterfactual(model, history, int(np.argmin(scores)), 1)
    with pytest.raises(InputError, match="not in the history"):
        explanations.counterfactual(model, history, int(history.indices[0]), 1)
    with pytest.raises(InputError, match="prior"):
        explanations.counterfactual(TextProfile(VECTORS, popularity=0.1).fit(TRAIN), history, 1, 1)
