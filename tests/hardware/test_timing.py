"""Timing keeps every sample, keeps the cold call apart, and is fair to rivals; memory peaks are seen."""

import json
import mmap
import time

import numpy as np
import pytest

from recsys_lib.core.errors import InputError
from recsys_lib.hardware import timing
from recsys_lib.hardware.timing import Measurement


def test_the_cold_call_and_the_warm_up_are_not_samples():
    calls = []
    m = timing.measure(lambda: calls.append(0), "append", min_samples=5, min_seconds=0.0, warmup=2)
    assert len(m.samples) == 5
    assert len(calls) == 1 + 2 + 5


def test_rivals_take_turns():
    order = []
    both = {"a": lambda: order.append("a"), "b": lambda: order.append("b")}
    found = timing.compare(both, min_samples=3, min_seconds=0.0, warmup=1)
    assert "".join(order) == "ab" * 5
    assert list(found) == ["a", "b"]


def test_minimum_seconds_and_maximum_seconds_bound_the_repeats(monkeypatch):
    class Clock:
        """A clock that only the work moves, so that a busy machine changes nothing."""

        now = 0.0

        def perf_counter(self):
            return self.now

        def work(self, seconds):
            self.now += seconds

    clock = Clock()
    monkeypatch.setattr(timing, "time", clock)
    slow = timing.measure(lambda: clock.work(0.25), "work", min_samples=1, min_seconds=2.5)
    assert slow.samples == (0.25,) * 10
    hasty = timing.measure(lambda: clock.work(0.25), "work", min_samples=1000, max_seconds=2.0)
    assert len(hasty.samples) == 9  # the one that passes the limit is kept
    before = clock.now
    settled = timing.measure(
        lambda: clock.work(0.25), "work", min_samples=2, min_seconds=0, warmup=0, settle=0.6
    )
    # One to begin with, and for each of two samples three that are not counted.
    assert settled.samples == (0.25, 0.25) and clock.now - before == 9 * 0.25


def test_percentiles_against_numpy_and_throughput():
    samples = tuple(np.random.default_rng(0).exponential(size=200))
    m = Measurement("x", samples, first=9.0, amount=50.0, amount_unit="texts")
    assert m.p50 == pytest.approx(np.median(samples))
    assert m.p99 in samples
    assert m.p99 >= np.percentile(samples, 99)
    assert m.p50 <= m.p90 <= m.p99 <= max(samples)
    assert m.throughput == pytest.approx(50 / np.median(samples))
    assert m.spread > 0
    assert json.loads(json.dumps(m.to_dict()))["first"] == 9.0


def test_a_single_sample_has_every_percentile():
    m = Measurement("one", (2.0,), first=3.0)
    assert (m.p50, m.p90, m.p99, m.spread) == (2.0, 2.0, 2.0, 0.0)


@pytest.mark.parametrize("bad", [-1, 101])
def test_a_percentile_outside_0_to_100_is_refused(bad):
    with pytest.raises(InputError, match="between 0 and 100"):
        Measurement("x", (1.0,), 1.0).percentile(bad)


def test_nothing_to_time_is_refused():
    with pytest.raises(InputError, match="no function"):
        timing.compare({})
    with pytest.raises(InputError, match="settle=-1"):
        timing.measure(lambda: None, settle=-1)
    with pytest.raises(InputError, match="min_samples=0"):
        timing.measure(lambda: None, min_samples=0)


def test_an_error_in_the_work_leaves_the_garbage_collector_on():
    import gc

    with pytest.raises(ZeroDivisionError):
        timing.measure(lambda: 1 / 0)
    assert gc.isenabled()


def new_pages():
    """400 MB of the system's: of the heap, what earlier tests freed might serve again and add nothing."""
    block = np.frombuffer(mmap.mmap(-1, 400_000_000), np.float64)
    block[:] = 1
    return block


def test_peak_memory_sees_a_temporary_array():
    use = timing.peak_memory(lambda: new_pages().sum())
    assert 300e6 < use.added < 500e6
    assert timing.peak_memory(lambda: None).added < 50e6


def test_peak_memory_sampled_where_the_kernel_does_not_help(monkeypatch):
    monkeypatch.setattr(timing, "_reset_high_water_mark", lambda: False)

    def work():
        block = new_pages()
        time.sleep(0.05)
        return block.sum()

    assert timing.peak_memory(work).added > 200e6


def test_threads_in_use_are_positive():
    threads = timing.threads_in_use()
    assert threads
    assert all(n >= 1 for n in threads.values())


def test_a_measurement_survives_its_record():
    m = Measurement("x", (1.0, 2.0), first=3.0, amount=4.0, amount_unit="texts")
    assert Measurement.from_dict(json.loads(json.dumps(m.to_dict()))) == m


def test_stages_pass_their_values_on_and_are_timed_apart(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])

    def work(seconds, add):
        def stage(value):
            now[0] += seconds
            return value + add

        return stage

    seen = []
    stages = {"first": work(0.5, 1), "second": work(0.25, 2), "last": seen.append}
    assert timing.stage_seconds(stages, 10) == {"first": 0.5, "second": 0.25, "last": 0.0}
    assert seen == [13]


def test_stages_on_a_gpu_are_timed_by_its_events(monkeypatch):
    import torch

    log = []

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self):
            self.at = len(log)
            log.append("event")

        def elapsed_time(self, later):
            return 1000.0 * (later.at - self.at)

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: log.append("wait"))
    stages = {"a": lambda v: log.append("a"), "b": lambda v: log.append("b")}
    assert timing.stage_seconds(stages, None, "cuda") == {"a": 2.0, "b": 2.0}
    assert log == ["event", "a", "event", "b", "event", "wait"]
