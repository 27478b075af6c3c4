"""Sharded search priced: what records say, the fork and join against the tabulated queue, the plan."""

import shutil

import numpy as np
import pytest

from recsys_lib.core import paths, records
from recsys_lib.core.errors import InputError
from recsys_lib.cost import queueing, scaling, sharded_search
from recsys_lib.cost.machines import hardware
from recsys_lib.cost.sharded_search import Measured, ScanTimes, ShardedService
from recsys_lib.vectors.search.updatable import UpdatableIndex

SCANS = ScanTimes({1: {100_000: 0.002, 1_000_000: 0.02}, 64: {100_000: 0.01, 1_000_000: 0.05}}, 384, 2)
STEADY = Measured(SCANS, np.ones(1), {1: 0.0, 100: 0.001})
MACHINE = hardware("c7i-2xlarge")


def test_scans_are_read_from_the_record_and_are_linear_between_its_sizes():
    content = records.read_json(paths.MEASUREMENTS / "search-bench.json")
    found = sharded_search.recorded_scans(content["rows"], 2)
    row = next(
        r for r in content["rows"]
        if (r["instructions"], r["part"], r["size"]) == ("AMX", "growth", "64 x 1,000,000 x 384")
    )  # fmt: skip
    assert found.seconds(64, 1_000_000) == row["ours_s"] and found.largest == 1_000_000
    assert SCANS.seconds(1, 550_000) == pytest.approx(0.011)
    assert SCANS.seconds(32, 1_000_000) == pytest.approx(0.02 + 0.03 * 31 / 63)
    assert SCANS.seconds(1, 5) == 0.002
    for queries, items in ((1, 1_000_001), (65, 10), (0, 10), (1, 0)):
        with pytest.raises(InputError, match="measured were 1 to 64 queries and at most 1,000,000 items"):
            SCANS.seconds(queries, items)
    with pytest.raises(InputError, match="recorded for 0 dimensions"):
        sharded_search.recorded_scans(content["rows"], 2, "MMX")


def test_an_item_takes_the_bytes_that_an_index_holds():
    n, dimension = 500, 64
    rows = np.random.default_rng(0).standard_normal((n, dimension)).astype(np.float32)
    state = UpdatableIndex(np.arange(n), rows)._state
    own = state.index
    held = [own.certificate.rows, own.certificate.margin, own.certificate.along, own.weight, state.index_ids,
            own.quantized.codes, own.quantized.scale, own.quantized.errors]  # fmt: skip
    counted = sum(np.asarray(array).nbytes for array in held)
    assert counted / n == pytest.approx(sharded_search.bytes_per_item(dimension), rel=0.03)


@pytest.mark.parametrize(("batch", "fixed", "load"), [(1, 0.0, 0.5), (8, 0.5, 0.7), (32, 0.75, 0.3)])
def test_one_steady_shard_waits_as_the_tabulated_queue_says(batch, fixed, load):
    def seconds_of(n):
        return fixed + (1 - fixed) * n / batch

    found = sharded_search.simulated_latencies(seconds_of, load * batch, 1, batch, np.ones(1), 40_000)
    assert np.percentile(found, 99) == pytest.approx(queueing.p99_factor(batch, fixed, load), rel=0.08)


def test_steady_shards_keep_step_and_uneven_ones_wait_for_the_slowest():
    def p99(shards, scatter):
        found = sharded_search.simulated_latencies(lambda n: 0.01, 20.0, shards, 8, np.array(scatter))
        return np.percentile(found, 99)

    assert p99(20, [1.0]) == p99(1, [1.0])
    rare = [1.0] * 199 + [3.0]
    assert p99(1, rare) < 0.025 and p99(30, rare) >= 0.03
    one = sharded_search.simulated_latencies(lambda n: 0.01, 1e-3, 50, 8, np.array([1.0, 2.0]), 100)
    assert one == pytest.approx(0.02)


def test_a_plan_by_hand():
    found = sharded_search.plan(10_000_000, STEADY, ShardedService(100.0), MACHINE, scaling.ETHERNET)
    assert (found.shards, found.groups, found.machines) == (10, 1, 5)
    assert found.shard_bytes == 1_948e6 and found.scan_s == 0.02
    assert found.usd_per_month == pytest.approx(5 * 0.357 * 730.5)
    assert found.merge_s == pytest.approx(0.001 * 9 / 99)
    sent = 10 * 32 * (4 * 384 + 12 * 10)
    assert found.network_s == pytest.approx(100e-6 + sent / (25e9 / 8))
    assert found.p99_s == pytest.approx(found.one_p99_s + found.network_s + found.merge_s)
    assert found.load == pytest.approx(100 * SCANS.seconds(32, 1_000_000) / 32)


def test_rates_take_groups_and_small_memories_take_shards():
    busy = sharded_search.plan(2_000_000, STEADY, ShardedService(5000.0), MACHINE, scaling.ETHERNET)
    assert busy.groups > 1 and busy.load <= 0.7 and busy.machines == busy.groups
    wide = Measured(ScanTimes(SCANS.measured, 4096, 2), np.ones(1), {1: 0.0})
    assert sharded_search.plan(1_000_000, wide, ShardedService(9.0), MACHINE, scaling.ETHERNET).shards == 3
    with pytest.raises(InputError, match="has 1 cores: a shard was measured on 2"):
        sharded_search.plan(10, STEADY, ShardedService(1.0), hardware("c7i-large"), scaling.ETHERNET)


def test_records_are_read_and_what_is_not_recorded_is_named(tmp_path):
    with pytest.raises(InputError, match="no int8 scan is recorded"):
        sharded_search.recorded_scatter([])
    for name in ("search-bench", "intel-xeon-2-cores", "serve-bench"):
        shutil.copy(paths.MEASUREMENTS / f"{name}.json", tmp_path)
    found = sharded_search.recorded(tmp_path)
    assert found.scans.cores == 2 and len(found.scatter) >= 20 and max(found.merge_s) >= 100
    content = records.read(tmp_path / "serve-bench.json")
    content["rows"] = [row for row in content["rows"] if row["scenario"] != "merge"]
    records.write(tmp_path / "serve-bench.json", content)
    with pytest.raises(InputError, match="no merge is recorded: run python -m recsys_lib bench"):
        sharded_search.recorded(tmp_path)
