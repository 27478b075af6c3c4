"""Ranking, turning points, the map and the tornado: by hand and with known winners."""

import math

import numpy as np
import pytest

from recsys_lib.core.errors import InputError
from recsys_lib.cost import choose, decision_map, turning_points, uncertainty
from recsys_lib.cost.choose import quality_needed, with_and_without
from recsys_lib.cost.deployment_options import OPTIONS
from recsys_lib.cost.recorded_fractions import default_assumptions
from recsys_lib.cost.services import Service
from recsys_lib.cost.uncertainty import MethodQuality

SMALL = Service(users=10_000, requests_per_s=5.0, items=20_000, cold_requests=0.1)
METHODS = {
    "popular": MethodQuality("popularity", 0.2, 0.05),
    "neighbours": MethodQuality("ItemKNN", 0.4, 0.05),
    "mapped": MethodQuality("EASE + MiniLM map", 0.39, 0.3),
    "large": MethodQuality("8B LLM reranks, logits"),
}


def test_the_best_earns_most_less_its_bill():
    found = choose.decide(METHODS, SMALL, usd_per_point=10.0, draws=3)
    net = turning_points.net_usd_by_method(METHODS, SMALL, default_assumptions(), 10.0)
    assert [o.name for o in found.ranked] == sorted(net, key=lambda name: -net[name])
    best = found.best
    assert best.name == "mapped" and best.quality == pytest.approx(0.9 * 0.39 + 0.1 * 0.3)
    earned = 100 * best.quality * 10.0 * SMALL.lists_per_month / 1e6
    assert best.net_usd_per_month == pytest.approx(earned - best.usd_per_month)
    last = found.ranked[-1]
    assert last.name == "large" and last.quality is None and last.probability == 0
    assert sum(o.probability for o in found.ranked) == pytest.approx(1.0)
    assert "use mapped" in found.sentence and 1 <= len(found.changes) <= 3
    assert quality_needed(found)["large"] == pytest.approx(
        best.quality + (last.usd_per_month - best.usd_per_month) / (1000.0 * SMALL.lists_per_month / 1e6)
    )
    model, cheap, without = with_and_without(found)
    assert (model.name, cheap, without.name) == ("mapped", None, "neighbours")


def test_where_quality_is_worth_nothing_the_cheapest_is_best():
    found = choose.decide(METHODS, SMALL, usd_per_point=0.0, draws=2)
    able = [o for o in found.ranked if o.quality is not None]
    assert found.best.usd_per_month == min(o.usd_per_month for o in able)


def test_the_fraction_of_cold_requests_turns_the_choice_where_the_lines_cross():
    # 0.4 (1 - x) + 0.05 x = 0.39 (1 - x) + 0.3 x at x = 0.01 / 0.26, up to the difference of the bills.
    service = SMALL.change(cold_requests=0.01, requests_per_s=1000.0)
    points = turning_points.nearest_turning_points(METHODS, service, default_assumptions(), 1e4)
    cold = next(p for p in points if p.number == "cold_requests")
    assert cold.value == pytest.approx(0.01 / 0.26, rel=0.05) and cold.then == "mapped"


def test_paired_samples_decide_the_probability():
    rng = np.random.default_rng(0)
    shared = rng.normal(0, 0.1, 50)
    same = {
        "a": MethodQuality("ItemKNN", 0.41, 0.0, 0.41 + shared, np.zeros(50)),
        "b": MethodQuality("ItemKNN", 0.40, 0.0, 0.40 + shared, np.zeros(50)),
    }
    # What both gain or lose together cannot change the order.
    assert choose.decide(same, SMALL, draws=40).best.probability == 1.0
    apart = same | {"b": MethodQuality("ItemKNN", 0.40, 0.0, 0.40 - shared, np.zeros(50))}
    assert 0.3 < choose.decide(apart, SMALL, draws=100).best.probability < 0.7


def test_none_can_serve_names_what_stops_it():
    found = choose.decide(METHODS, SMALL.change(latency_limit_s=1e-6), draws=2)
    assert found.best is None and found.changes == () and "it needs a limit of" in found.sentence


def test_the_map_agrees_with_the_decision_at_every_point():
    drawn = uncertainty.draw(METHODS, SMALL, default_assumptions(), n=5)
    found = decision_map.decision_map(drawn, [0.0, 0.1, 1.0], [0.0, 10.0])
    for x, share in enumerate(found.cold_shares):
        for y, worth in enumerate(found.usd_per_point):
            service = SMALL.change(cold_requests=float(share))
            net = turning_points.net_usd_by_method(METHODS, service, default_assumptions(), float(worth))
            assert net[found.name_at(y, x)] == max(net.values())
    assert ((found.probability > 0) & (found.probability <= 1)).all() and set(found.winners) <= set(METHODS)
    # Without samples no difference is open, whatever the prices; with both alike every one is.
    assert not found.tied.all()
    alike = {"a": MethodQuality("ItemKNN", 0.4, 0.05), "b": MethodQuality("ItemKNN", 0.4, 0.05)}
    same = decision_map.decision_map(uncertainty.draw(alike, SMALL, default_assumptions(), n=3), [0.1], [1.0])
    assert same.tied.all()
    with pytest.raises(InputError, match="at least one value"):
        decision_map.decision_map(drawn, [], [1.0])


def test_the_tornado_starts_from_the_base_and_names_who_leads():
    rows = decision_map.tornado(METHODS, SMALL, default_assumptions(), 10.0, {"usd_per_point": (1e-6, 1.0)})
    (row,) = rows
    assert row.at_high == pytest.approx(row.at_base) and row.then_high == "mapped"
    assert row.flips == (row.at_low < 0)
    hopeless = SMALL.change(latency_limit_s=1e-6)
    with pytest.raises(InputError, match="can serve"):
        decision_map.tornado(METHODS, hopeless, default_assumptions(), 10.0)


def test_pareto_keeps_what_nothing_beats():
    points = {"cheap": (1.0, 0.1), "good": (5.0, 0.4), "beaten": (6.0, 0.4), "same as good": (5.0, 0.4)}
    assert decision_map.pareto(points) == ["cheap", "good"]
    assert decision_map.pareto({}) == []


def test_senseless_inputs_are_refused():
    with pytest.raises(InputError, match="expected one of popularity"):
        choose.decide({"x": MethodQuality("oracle", 0.1, 0.1)}, SMALL)
    with pytest.raises(InputError, match="at least one"):
        choose.decide({}, SMALL)
    with pytest.raises(InputError, match="NDCG from 0 to 1"):
        MethodQuality("ItemKNN", 1.4)
    with pytest.raises(InputError, match="finite numbers"):
        MethodQuality("ItemKNN", 0.4, 0.1, [math.nan])
    with pytest.raises(InputError, match="draws"):
        choose.decide(METHODS, SMALL, draws=0)
    assert len({o.name for o in OPTIONS}) == len(OPTIONS)
