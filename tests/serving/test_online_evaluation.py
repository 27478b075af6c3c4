"""Interleaving and off-policy estimates against simulators whose truth is known."""

import numpy as np
import pytest

from recsys_lib.core.errors import InputError
from recsys_lib.serving import off_policy
from recsys_lib.serving.interleaving import Interleaved, preference, team_draft
from recsys_lib.serving.off_policy import Draw, estimates
from recsys_lib.serving.slate import draw_probabilities

# ---------------------------------------------------------------- interleaving


def test_teams_pick_their_best_item_that_is_left():
    rng = np.random.default_rng(0)
    for _ in range(200):
        a, b = rng.permutation(12)[:8], rng.permutation(12)[:8]
        k = int(rng.integers(1, 10))
        found = team_draft(a, b, k, rng)
        assert len(set(found.ids.tolist())) == len(found.ids) == k
        lists = (a.tolist(), b.tolist())
        for place, (item, team) in enumerate(zip(found.ids, found.teams, strict=True)):
            left = [i for i in lists[team] if i not in found.ids[:place]]
            assert item == left[0]
        # Within every round of two both teams pick once, unless one has no item left.
        pairs = found.teams[: 2 * (k // 2)].reshape(-1, 2)
        assert (pairs.sum(axis=1) == 1).all()


def test_lists_end_when_both_have_no_more():
    found = team_draft([1, 2], [2, 1], 10, np.random.default_rng(0))
    assert sorted(found.ids.tolist()) == [1, 2]
    assert team_draft([], [5], 3, np.random.default_rng(0)).ids.tolist() == [5]


def sessions(chance_first, chance_second, n, seed):
    """Choices from items of the first version (even) and of the second (odd)."""
    rng = np.random.default_rng(seed)
    for _ in range(n):
        shown = team_draft(range(0, 20, 2), range(1, 20, 2), 10, rng)
        chances = np.where(shown.ids % 2 == 0, chance_first, chance_second)
        yield shown, shown.ids[rng.random(10) < chances].tolist()


def test_the_better_version_wins_and_the_test_says_so():
    better = preference(sessions(0.05, 0.10, 600, 0))
    assert better.second > better.first and better.p_value < 0.001 and better.fraction_second > 0.55
    worse = preference(sessions(0.10, 0.05, 600, 0))
    assert worse.first > worse.second and worse.p_value < 0.001


def test_equal_versions_are_told_apart_as_often_as_the_level_says():
    found = [preference(sessions(0.1, 0.1, 60, seed)).p_value < 0.05 for seed in range(200)]
    assert np.mean(found) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 200)


def test_lists_without_a_winner_are_ties():
    shown = Interleaved(np.array([1, 2]), np.array([0, 1]))
    found = preference([(shown, []), (shown, [1, 2]), (shown, [9])])
    assert (found.first, found.second, found.ties, found.p_value) == (0, 0, 3, 1.0)
    assert found.fraction_second == 0.5


@pytest.mark.parametrize(("a", "b", "k"), [([1], [2], 0), ([1, 1], [2], 3), ([1], [2, 2], 3)])
def test_lists_that_cannot_be_interleaved_are_refused(a, b, k):
    with pytest.raises(InputError, match="expected at least 1"):
        team_draft(a, b, k, np.random.default_rng(0))


# ---------------------------------------------------------------- off-policy

ITEMS = tuple(f"i{n}" for n in range(8))
# The map ranks imperfectly: its second item is the best.
TRUE = dict(zip(ITEMS, [0.20, 0.40, 0.15, 0.25, 0.05, 0.10, 0.02, 0.08], strict=True))


def simulated(n, seed):
    """Draws as the service logs them, with rewards of known expectation; candidates differ."""
    rng, found = np.random.default_rng(seed), []
    for _ in range(n):
        candidates = tuple(ITEMS[i] for i in sorted(rng.permutation(8)[:5]))
        p = draw_probabilities(5)
        place = int(rng.choice(5, p=p))
        shown = candidates[place]
        found.append(Draw(candidates, shown, float(p[place]), float(rng.random() < TRUE[shown])))
    return found


def truth(policy, draws):
    return float(np.mean([policy(d.candidates) @ [TRUE[i] for i in d.candidates] for d in draws]))


@pytest.mark.parametrize("policy", [off_policy.uniform, off_policy.greedy])
def test_estimates_cover_the_truth_as_often_as_they_say(policy):
    inside = {"ips": [], "snips": [], "dr": []}
    errors = {"ips": [], "snips": [], "dr": []}
    for seed in range(40):
        draws = simulated(500, seed)
        found = estimates(draws, policy)
        for name in inside:
            low, high = found[name].interval
            inside[name].append(low <= truth(policy, draws) <= high)
            errors[name].append(found[name].value - truth(policy, draws))
    for name in inside:
        assert np.mean(inside[name]) > 0.82, name
        bias, error = np.mean(errors[name]), np.std(errors[name]) / np.sqrt(40)
        assert abs(bias) < 3.5 * error + 0.002, name
    assert np.std(errors["dr"]) < np.std(errors["ips"])
    logged = [np.mean([d.reward for d in simulated(500, seed)]) for seed in range(20)]
    assert abs(np.mean(logged) - truth(policy, simulated(500, 0))) > 0.01, (
        "the naive mean is another quantity"
    )


def test_a_model_of_rewards_makes_the_estimate_sharper():
    draws = simulated(2000, 1)
    blind, knowing = (estimates(draws, off_policy.uniform, model)["dr"] for model in ({}, TRUE))
    assert knowing.error < blind.error
    assert blind.value == pytest.approx(estimates(draws, off_policy.uniform)["ips"].value)


def test_of_the_logging_policy_all_estimates_are_the_mean():
    draws = simulated(500, 2)
    found = estimates(draws, lambda candidates: draw_probabilities(len(candidates)))
    mean = np.mean([d.reward for d in draws])
    assert found["ips"].value == pytest.approx(mean) and found["snips"].value == pytest.approx(mean)
    assert found["ips"].effective == pytest.approx(500)


def test_draws_come_from_logged_lists():
    shown = {"ids": ["a", "b", "c"], "explored": [False, True, True], "propensities": [1.0, 0.6, 0.3],
             "pools": [["b", "d"], ["e", "c"]]}  # fmt: skip
    found = off_policy.draws_of([{"shown": shown, "chosen": ["c", "a"]}])
    assert found == [Draw(("b", "d"), "b", 0.6, 0.0), Draw(("e", "c"), "c", 0.3, 1.0)]


def test_what_says_nothing_is_refused():
    draw = Draw(("a", "b"), "a", 0.5, 1.0)
    with pytest.raises(InputError, match="at least 2"):
        estimates([draw], off_policy.uniform)
    with pytest.raises(InputError, match="more than 0"):
        estimates([draw, Draw(("a",), "a", 0.0, 1.0)], off_policy.uniform)
    for wrong in (lambda c: np.ones(len(c)), lambda c: np.array([1.0]), lambda c: np.array([1.5, -0.5])):
        with pytest.raises(InputError, match="probabilities of sum 1"):
            estimates([draw, draw], wrong)
