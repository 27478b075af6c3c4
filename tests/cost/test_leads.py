"""Leads in dollars: by hand, paired, and what counts as tied."""

import numpy as np
import pytest

from recsys_lib.cost import choose
from recsys_lib.cost.leads import Lead, dollars, lead, leads_of
from recsys_lib.cost.services import Service
from recsys_lib.cost.uncertainty import MethodQuality

HALF = Service(users=10, requests_per_s=2.0, items=10, cold_requests=0.5)
# Dollars of one unit of NDCG: 100 hundredths of 10 dollars, per million lists.
UNIT = 1000 * HALF.lists_per_month / 1e6


def test_a_lead_is_what_quality_earns_less_the_difference_of_the_bills():
    one, other = MethodQuality("EASE", 0.4, 0.2), MethodQuality("EASE", 0.3, 0.1)
    found = lead(one, other, (30.0, 10.0), HALF, 10.0)
    assert found.usd_per_month == pytest.approx(0.1 * UNIT - 20)
    # Without samples a quality is exact.
    assert found.low == found.high == pytest.approx(found.usd_per_month) and not found.tied


def test_samples_are_paired_and_the_interval_is_of_their_differences():
    noise = np.random.default_rng(0).normal(0, 0.05, 400)
    gain = np.linspace(-0.01, 0.03, 400)
    one = MethodQuality("EASE", 0.41, 0.2, 0.4 + noise + gain, 0.2 + noise)
    other = MethodQuality("EASE", 0.40, 0.2, 0.4 + noise, 0.2 + noise)
    found = lead(one, other, (1.0, 1.0), HALF, 10.0)
    expected = np.percentile(gain, [2.5, 97.5]) / 2 * UNIT
    assert (found.low, found.high) == pytest.approx(tuple(expected)) and found.tied
    back = lead(other, one, (1.0, 1.0), HALF, 10.0)
    assert (back.low, back.high) == pytest.approx((-found.high, -found.low))


def test_only_what_requests_concern_has_to_be_measured():
    warm_only = MethodQuality("EASE", 0.4)
    assert lead(warm_only, warm_only, (1.0, 1.0), HALF, 10.0) is None
    found = lead(warm_only, warm_only, (1.0, 2.0), HALF.change(cold_requests=0.0), 10.0)
    assert found.usd_per_month == pytest.approx(1.0)
    methods = {"a": warm_only, "b": MethodQuality("EASE", 0.4, 0.1), "c": MethodQuality("EASE", 0.3, 0.1)}
    assert list(leads_of(methods, {"a": 1.0, "b": 1.0, "c": 1.0}, "b", HALF, 10.0)) == ["c"]


def test_amounts_carry_their_sign_first():
    assert dollars(-22_657) == "-$23,000"
    assert str(Lead(77_000.0, -22_657.0, 209_270.0)) == "$77,000 a month [-$23,000, $210,000]"


def test_a_decision_names_what_it_is_tied_with():
    samples = np.linspace(-0.02, 0.02, 50)
    methods = {
        "a": MethodQuality("ItemKNN", 0.400, 0.05, 0.400 + samples, np.full(50, 0.05)),
        "b": MethodQuality("ItemKNN", 0.395, 0.05, 0.395 - samples, np.full(50, 0.05)),
        "c": MethodQuality("popularity", 0.2, 0.05),
    }
    found = choose.decide(methods, HALF.change(requests_per_s=50.0), draws=4, among="among three")
    assert [o.name for o in found.tied] == ["b"] and not found.leads["c"].tied
    assert "against b." in found.sentence
    assert found.lead(found.ranked[0], found.ranked[-1]) == found.leads["c"]


def test_a_cell_has_no_dollar_sign():
    assert Lead(-17.2, -64.0, 100.0).cell == "-17 [-64, 100], tied"
    assert Lead(1200.0, 800.0, 1600.0).cell == "1,200 [800, 1,600]"
