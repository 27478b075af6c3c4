"""Dollars of defences: what must cost less, what must cost the same, and sums by hand."""

import numpy as np
import pandas as pd
import pytest

from recsys_lib.core.errors import InputError
from recsys_lib.cost.recorded_fractions import default_assumptions
from recsys_lib.cost.services import service
from recsys_lib.experiments import privacy_dollars
from recsys_lib.experiments.federated_map import CHOSEN

FEED = service("social-feed")


def bill(name, each):
    return privacy_dollars.bill_of(name, each, 384, FEED).total


def test_fewer_bytes_and_fewer_dimensions_cost_no_more():
    plain = bill("float32", 1536.0)
    assert bill("int8", 388.0) <= plain and bill("1 bit", 54.0) <= bill("int8", 388.0)
    assert bill("first 32 axes", 128.0) < bill("first 128 axes", 512.0) < plain
    assert bill("noise, ε = 100", 1536.0) == plain


def test_memory_multiplies_machines_where_it_binds():
    few = privacy_dollars.vector_bill(FEED, 48.0, 384)
    many = privacy_dollars.vector_bill(FEED, 48.0 * 1000, 384)
    assert many.serving > 2 * few.serving and many.machines > few.machines


def test_shared_vectors_take_less_memory_and_a_refit():
    shared = privacy_dollars.bill_of("shared by 20", 1536.0, 384, FEED)
    alone = privacy_dollars.bill_of("float32", 1536.0, 384, FEED)
    assert 0 < shared.refit < shared.serving <= alone.serving and alone.refit == 0


def test_updates_cost_by_their_rounds_and_hold_no_machine():
    sent = {name: privacy_dollars.rounds_of(name) for name in ("update", "noisy sum, ε = 10", "int8")}
    assert sent == {"update": CHOSEN[np.inf][0], "noisy sum, ε = 10": CHOSEN[10.0][0], "int8": 0}
    one = privacy_dollars.update_bill(FEED, 3076.0, 384, 10)
    two = privacy_dollars.update_bill(FEED, 3076.0, 384, 20)
    assert one.machines == 0 and two.total == pytest.approx(2 * one.total)
    # Twice the time of one core for a message costs more, and no less than the messages alone.
    slow = default_assumptions().change(handling_s=0.002)
    more = privacy_dollars.update_bill(FEED, 3076.0, 384, 10, slow)
    assert one.total < more.total < 2 * one.total


def test_what_devices_send_in_a_month():
    table = pd.DataFrame({"bytes": [1000.0, 1000.0]}, index=["float32", "update"])
    found = privacy_dollars.with_dollars(table, 384, "social-feed")
    assert found.loc["float32", "sent TB"] == pytest.approx(1e-9 * FEED.lists_per_month)
    rounds = CHOSEN[np.inf][0] * FEED.refits_per_month
    assert found.loc["update", "sent TB"] == pytest.approx(1e-9 * FEED.users * rounds)
    assert (found["usd"] > 0).all() and "usd" not in table


def test_bad_numbers_are_refused():
    with pytest.raises(InputError, match="positive"):
        privacy_dollars.vector_bill(FEED, 0.0, 384)
    with pytest.raises(InputError, match="positive"):
        privacy_dollars.update_bill(FEED, 1.0, 384, 0)
    with pytest.raises(InputError, match="expected one of"):
        privacy_dollars.with_dollars(pd.DataFrame({"bytes": [1.0]}, index=["int8"]), 384, "nowhere")
