"""The mixed slate: its rule, its quota, and propensities that are the true frequencies."""

import numpy as np
import pytest

from recsys_lib.core.errors import InputError
from recsys_lib.serving.slate import Rule, mixed, ranked

SCORES = np.array([9, 8, 7, 6, 5, 4, 3, 2, 1, 0], dtype=np.float32)
COLD = np.arange(10) >= 5


def rng(seed=0):
    return np.random.default_rng(seed)


def test_without_quota_the_list_is_the_models():
    found = mixed(SCORES, COLD, 4, Rule(quota=0), rng())
    assert found.ids.tolist() == [0, 1, 2, 3] and not found.explored.any()
    assert (found.propensities == 1).all()


def test_the_quota_is_at_the_end_and_cold():
    for seed in range(50):
        found = mixed(SCORES, COLD, 5, Rule(quota=2), rng(seed))
        assert found.ids[:3].tolist() == [0, 1, 2] and COLD[found.ids[3:]].all()
        assert len(set(found.ids.tolist())) == 5
        assert found.explored.tolist() == [False, False, False, True, True]


def test_propensities_are_the_frequencies():
    rule, source, n = Rule(quota=2, pool=5), rng(1), 4000
    counts = np.zeros((2, 10))
    stated = np.zeros((2, 10))
    for _ in range(n):
        found = mixed(SCORES, COLD, 4, rule, source)
        for place in range(2):
            counts[place, found.ids[2 + place]] += 1
            stated[place, found.ids[2 + place]] = found.propensities[2 + place]
    assert (stated > 0).sum() == 5
    np.testing.assert_allclose(stated.sum(axis=1), 1)
    np.testing.assert_allclose(counts / n, stated, atol=4 * np.sqrt(0.25 / n))


@pytest.mark.parametrize("left", [0, 1, 2])
def test_too_few_cold_items_leave_the_places_to_the_model(left):
    allowed = SCORES.copy()
    allowed[5 : 10 - left] = -np.inf
    found = mixed(allowed, COLD, 5, Rule(quota=2), rng())
    assert found.explored.sum() == left and len(found.ids) == 5 and len(set(found.ids.tolist())) == 5


def test_a_list_is_as_long_as_what_may_be_shown():
    allowed = np.where(np.arange(10) == 7, SCORES, -np.inf)
    assert mixed(allowed, COLD, 5, Rule(quota=1), rng()).ids.tolist() == [7]
    assert mixed(np.full(10, -np.inf), COLD, 5, Rule(quota=1), rng()).ids.tolist() == []
    assert len(mixed(SCORES, COLD, 100, Rule(quota=3), rng()).ids) == 10
    assert mixed(SCORES, COLD, 1, Rule(quota=3), rng()).ids.tolist() == [0]


def test_every_item_occurs_once_whatever_the_scores():
    source = rng(2)
    for _ in range(300):
        n = int(source.integers(1, 30))
        scores = source.integers(0, 4, n).astype(np.float32)
        scores[source.random(n) < 0.3] = -np.inf
        cold = source.random(n) < 0.4
        k, quota = int(source.integers(1, 12)), int(source.integers(0, 5))
        found = mixed(scores, cold, k, Rule(quota=quota, pool=max(quota, 1)), source)
        assert len(set(found.ids.tolist())) == len(found.ids) <= k
        assert (scores[found.ids] > -np.inf).all() and cold[found.ids[found.explored]].all()
        assert len(found.ids) == min(k, int((scores > -np.inf).sum()))


def test_equal_scores_go_by_the_smaller_id():
    source = rng(3)
    for _ in range(100):
        scores = source.integers(0, 3, 20).astype(np.float32)
        expected = np.lexsort((np.arange(20), -scores))
        for k in (1, 5, 19, 20, 25):
            assert ranked(scores, k).tolist() == expected[:k].tolist()


@pytest.mark.parametrize("rule", [{"quota": -1}, {"cold_below": 0}, {"pool": 0}, {"quota": 9, "pool": 3}])
def test_rules_that_say_nothing_are_refused(rule):
    with pytest.raises(InputError, match="expected a quota"):
        Rule(**rule)
