"""Tables and titles of a catalogue in shards say what the plans hold."""

import numpy as np
import pytest

from recsys_lib.cost import scaling
from recsys_lib.cost.machines import hardware
from recsys_lib.cost.sharded_search import Measured, ScanTimes, ShardedService, plan
from recsys_lib.reporting import plots
from recsys_lib.reporting.figures import sharded_serving

MEASURED = Measured(
    ScanTimes({1: {1000: 0.001, 1_000_000: 0.02}, 64: {1000: 0.01, 1_000_000: 0.05}}, 384, 2),
    np.array([1.0] * 19 + [2.0]),
    {1: 0.0, 100: 0.005},
)
SERVICE, MACHINE = ShardedService(100.0), hardware("c7i-2xlarge")


@pytest.fixture(scope="module")
def table():
    return sharded_serving.plans([1_000_000, 4_000_000], MEASURED, SERVICE, MACHINE, scaling.ETHERNET)


def test_rows_are_the_plans(table):
    found = plan(4_000_000, MEASURED, SERVICE, MACHINE, scaling.ETHERNET)
    row = table.loc[4.0]
    assert (row["shards"], row["machines"], row["groups"]) == (4, 2, 1)
    assert row["p99 ms"] == 1000 * found.p99_s and row["USD a month"] == found.usd_per_month
    shown = sharded_serving.shown(table)
    assert list(shown.index) == ["1", "4"] and shown["USD a month"].iloc[1] == round(found.usd_per_month, -1)


def test_titles_and_bars_add_up(table):
    _, axes = plots.figure(2)
    sharded_serving.waiting(axes[0], table)
    sharded_serving.dollars(axes[1], table, SERVICE)
    heights = np.array([bar.get_height() for bar in axes[0].patches]).reshape(3, 2).sum(axis=0)
    np.testing.assert_allclose(heights, table["p99 ms"])
    title = " ".join(axes[0].get_title("left").split())
    assert title.startswith("4 times the items: the p99 grows from") and "slowest of 4 shards" in title
    title = " ".join(axes[1].get_title("left").split())
    assert title.startswith("100 searches a second over 4 million items cost $520 a month, on 2 machines")
    assert axes[0].get_xticklabels()[0].get_text() == "1 million,\n1 shard"


def test_what_was_recorded_is_said():
    assert sharded_serving.said(MEASURED) == (
        "recorded: a shard of 1,000,000 items answers 1 query in 20 ms, 64 at once in 50 ms; scans take 1.05 "
        "times their median in 1 of 20 cases, at most 2.0 times"
    )
