"""The replay through the service: what is sent, what is evaluated, and that nothing is known too early."""

from dataclasses import replace

import numpy as np
import pytest
from shop_server import shop

from recsys_lib.core.errors import InputError
from recsys_lib.experiments import replay
from recsys_lib.reporting.figures import serving as figures
from recsys_lib.serving import artefact, off_policy
from recsys_lib.serving.interleaving import preference
from recsys_lib.serving.refit import Policy
from recsys_lib.serving.slate import draw_probabilities

WEEKS = 5


def by_weeks():
    """The shop over five weeks; item 3 is first chosen in the fourth."""
    data = shop()
    order = np.argsort(np.argsort(data.timestamp))
    week = order * WEEKS // len(order)
    week[data.item == 3] = np.maximum(week[data.item == 3], 3)
    times = week * replay.WEEK_S + order * 10
    times[0] = 0 if week[0] == 0 else times[0]
    return replace(data, timestamp=times.astype(np.int64))


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("replay")
    policy = Policy(margin=0.2, min_events=20)
    return replay.run(by_weeks(), folder, 2, 3, "tfidf", policy=policy, quotas=(0, 2))


def test_every_event_and_item_of_the_weeks_arrives(found):
    data = by_weeks()
    week = (data.timestamp - data.timestamp.min()) // replay.WEEK_S
    assert [w.events for w in found.weeks] == [int((week == n).sum()) for n in (2, 3, 4)]
    assert found.weeks[-1].stored == int((week >= 2).sum())
    before = set(data.item[week < 2].tolist())
    assert sum(w.new_items for w in found.weeks) == len(set(data.item.tolist()) - before) > 0
    last = artefact.load(found.store)
    assert {w.outcome.decision for w in found.weeks} <= {"swapped", "kept"}
    assert last.n_items == len(set(data.item.tolist())) or found.weeks[-1].outcome.decision == "kept"


def test_in_the_first_week_the_frozen_model_is_the_running_one(found):
    first = found.weeks[0].evaluations
    np.testing.assert_allclose(first["refitted"].per_user["ndcg"], first["frozen"].per_user["ndcg"])
    assert set(first) == set(replay.MODELS)
    assert not any((e.per_user["ndcg"] > 1).any() for w in found.weeks for e in w.evaluations.values())


def test_tastes_are_found(found):
    overall = {name: e.mean()["ndcg"] for name, e in found.overall().items()}
    assert overall["refitted"] > 1.2 * overall["recent popularity"]
    assert figures.weeks(found)["users"].sum() == len(found.sessions)


def test_logged_draws_agree_with_the_truth(found):
    def logging(candidates):
        return draw_probabilities(len(candidates))

    estimates = off_policy.estimates(found.draws, logging)
    assert estimates["ips"].value == pytest.approx(np.mean([d.reward for d in found.draws]))
    low, high = estimates["dr"].interval
    assert low - 0.1 <= replay.true_value(found, logging) <= high + 0.1
    assert all(found.truth[str(n)][d.shown] == d.reward for n, d in enumerate(found.draws))
    table = figures.off_policy({"logging": estimates}, {"logging": replay.true_value(found, logging)})
    assert list(table.index.get_level_values(1)) == ["ips", "snips", "dr"]


def test_a_quota_gives_places_to_cold_items(found):
    table = figures.slates(found.slates)
    assert table.loc[2, "cold"] > table.loc[0, "cold"]
    assert len(found.slates[0]["ndcg"]) == len(found.sessions)
    assert 0 <= preference(found.sessions).p_value <= 1


def test_halves_are_in_order_of_time_for_each_user():
    users, rows = np.array([1, 1, 2, 1, 2, 3]), np.array([10, 11, 12, 13, 14, 15])
    first, second = replay._halves(users, rows)
    assert first.tolist() == [10, 11, 12, 15] and second.tolist() == [13, 14]


def test_weeks_that_are_not_there_are_refused(tmp_path):
    with pytest.raises(InputError, match="expected 5 in all at most"):
        replay.run(by_weeks(), tmp_path, 2, 9, "tfidf")
    with pytest.raises(InputError, match="no timestamps"):
        replay.run(replace(by_weeks(), timestamp=None), tmp_path)
