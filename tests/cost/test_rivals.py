"""What counts as a near duplicate, when two options are not told apart, and what would settle it."""

from types import SimpleNamespace

import pytest

from recsys_lib.cost import choose, turning_points
from recsys_lib.cost.choose import RankedOption, near_duplicates
from recsys_lib.cost.recorded_fractions import default_assumptions
from recsys_lib.cost.services import Service
from recsys_lib.cost.uncertainty import MethodQuality

SMALL = Service(users=10_000, requests_per_s=5.0, items=20_000, cold_requests=0.1)


def ranked_option(
    name, serves=("lookup",), usd=100.0, quality=0.4, net=1.0, probability=0.0, language_model=False
):
    option = SimpleNamespace(serves=serves, has_language_model=language_model)
    deployment = SimpleNamespace(option=option, usd_per_month=usd)
    return RankedOption(name, deployment, quality, quality, quality, net, probability)


@pytest.mark.parametrize(
    ("changed", "same"),
    [
        ({}, True),
        ({"usd": 101.9}, True),
        ({"usd": 98.1}, True),
        ({"usd": 102.1}, False),
        ({"usd": 97.9}, False),
        ({"quality": 0.4019}, True),
        ({"quality": 0.3981}, True),
        ({"quality": 0.4021}, False),
        ({"quality": None}, False),
        ({"serves": ("dense rows",)}, False),
        ({"serves": ()}, False),
        ({"language_model": True}, False),
    ],
)
def test_near_duplicates_do_the_same_work_at_about_the_same_bill_and_quality(changed, same):
    one, other = ranked_option("one"), ranked_option("other", **changed)
    assert near_duplicates(one, other) is same and near_duplicates(other, one) is same


def rival_of(*ranked, draws):
    others = choose._others(ranked)
    rival, chances = choose._rival(ranked, others, draws)
    return rival and rival.name, chances


def test_a_difference_within_the_interval_of_the_draws_is_not_told_apart():
    first = ranked_option("first", probability=0.5)
    second = ranked_option("second", ("dense rows",), probability=0.4)
    third = ranked_option("third", ("scan",), probability=0.1)
    # 1.96 √((0.5 + 0.4 - 0.1²) / n) is 0.185 at 100 draws and 0.092 at 400; the difference is 0.1.
    assert rival_of(first, second, third, draws=100) == ("second", pytest.approx((0.5, 0.4)))
    assert rival_of(first, second, third, draws=400) == (None, pytest.approx((0.5, 0.4)))


def test_what_is_best_more_often_is_a_rival_however_many_draws():
    first = ranked_option("first", probability=0.2)
    second = ranked_option("second", ("dense rows",), probability=0.8)
    assert rival_of(first, second, draws=10**6) == ("second", pytest.approx((0.2, 0.8)))


def test_near_duplicates_are_counted_with_the_option_they_duplicate_and_are_no_rivals():
    ranked = (
        ranked_option("first", probability=0.3),
        ranked_option("like first", usd=101.0, probability=0.25),
        ranked_option("second", ("dense rows",), probability=0.24),
        ranked_option("like second", ("dense rows",), usd=101.0, probability=0.21),
    )
    assert choose._others(ranked) == [2, 3]
    assert rival_of(*ranked, draws=100) == ("second", pytest.approx((0.55, 0.45)))
    assert rival_of(*ranked[:2], draws=100) == (None, (1.0, 0.0))


def test_what_cannot_serve_or_is_never_best_is_no_rival():
    first = ranked_option("first", probability=1.0)
    never = ranked_option("never", ("dense rows",))
    unable = ranked_option("unable", ("scan",), net=None)
    assert choose._others((first, unable)) == [] and choose._others((unable, unable)) == []
    assert rival_of(first, unable, draws=1) == (None, (1.0, 0.0))
    assert rival_of(first, never, unable, draws=1) == (None, (1.0, 0.0))


def test_the_sentence_names_a_tie_and_calls_a_clear_choice_clear():
    # Where quality is worth nothing, two options at one bill are both best in every draw.
    methods = {"a": MethodQuality("ItemKNN", 0.41, 0.0), "b": MethodQuality("ItemKNN", 0.40, 0.0)}
    tied = choose.decide(methods, SMALL, usd_per_point=0.0, draws=4)
    assert tied.rival.name == "b" and tied.rival_probabilities == (0.5, 0.5)
    assert tied.regret_usd_per_month == 0 and "best in 50% and 50% of the draws" in tied.sentence
    clear = choose.decide(methods, SMALL, usd_per_point=10.0, draws=4)
    assert clear.rival is None and clear.rival_probabilities == (1.0, 0.0)
    assert "cannot be told apart" not in clear.sentence and "best with probability 100%" in clear.sentence


@pytest.mark.parametrize(("start", "rival", "side"), [(1 / 1.7, "dense", "above"), (1.7, "cut", "below")])
def test_the_value_of_quality_turns_the_choice_where_it_pays_the_difference_of_the_bills(start, rival, side):
    service, a = SMALL.change(requests_per_s=100.0, items=100_000, cold_requests=0.0), default_assumptions()
    methods = {
        "cut": MethodQuality("EASE top 200", 0.38),
        "dense": MethodQuality("EASE", 0.40),
        "popular": MethodQuality("popularity", 0.1),
    }
    bills = {name: -net for name, net in turning_points.net_usd_by_method(methods, service, a, 0.0).items()}
    # 100 (0.40 - 0.38) worth (millions of lists) = the difference of the bills.
    worth = (bills["dense"] - bills["cut"]) / (100 * 0.02 * service.lists_per_month / 1e6)
    points = turning_points.points_towards(methods, service, a, worth * start, rival)
    found = {point.number: point for point in points}
    assert set(found) == {"usd_per_point", "items"}
    assert found["usd_per_point"].value == pytest.approx(worth, rel=0.02)
    assert found["usd_per_point"].side == side
    # The larger the catalogue, the more the dense matrix costs beside the cut one.
    items = found["items"]
    assert items.side == ("below" if rival == "dense" else "above")
    for factor, best in ((1.05, rival), (0.95, items.best)):
        beyond = (items.value / items.base) ** factor
        net, _ = turning_points.net_usd_moved(methods, service, a, worth * start, "items", beyond)
        assert max(net, key=net.get) == best
    assert all(point.then == rival and point.best != rival for point in points)
    assert turning_points.points_towards(methods, service, a, worth * start, items.best) == []
