"""Scenarios against queues whose answers are known, on a clock that only the work moves."""

import json
import math

import numpy as np
import pytest

from recsys_lib.core.errors import InputError
from recsys_lib.hardware import load_patterns
from recsys_lib.hardware.load_patterns import (
    SimulatedClock,
    bursty_arrivals,
    highest_rate,
    offline,
    poisson_arrivals,
    sampled_seconds,
    server,
    simulated_server,
    single_stream,
)


def service(clock, seconds=0.25):
    """Takes ``seconds`` for every call, the first one four times as long; a quarter of it encoding."""
    calls = []

    def serve(requests):
        took = seconds if calls else 4 * seconds
        calls.append(list(requests))
        clock.sleep(took)
        return {"encode": took / 4, "search": 3 * took / 4}

    serve.calls = calls
    return serve


def test_single_stream_keeps_cold_and_warm_apart_and_times_stages():
    clock = SimulatedClock()
    serve = service(clock)
    found = single_stream(serve, 10, warmup=3, clock=clock)
    assert found.latency.samples == (0.25,) * 10 and found.latency.first == 1.0
    assert found.stages["encode"].samples == (0.0625,) * 10 and found.stages["encode"].first == 0.25
    assert found.seconds == 2.5 and found.throughput == 4.0
    assert serve.calls[4:] == [[i] for i in range(10)]
    assert found.target_per_s is None


def test_offline_answers_all_in_batches():
    clock = SimulatedClock()
    serve = service(clock)
    found = offline(serve, 10, batch=4, clock=clock)
    assert serve.calls[2:] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert found.throughput == 10 / 0.75 and found.latency.amount == 4.0


def test_an_idle_server_answers_in_its_service_time():
    found = simulated_server(lambda n: 0.001, rate_per_s=0.01, requests=50)
    assert found.latency.samples == pytest.approx([0.001] * 50)


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
def test_the_wait_is_that_of_m_d_1(load):
    # Pollaczek and Khinchine: the mean wait with constant service D is D rho / (2 (1 - rho)).
    found = simulated_server(lambda n: 1.0, rate_per_s=load, requests=150_000, seed=1)
    assert np.mean(found.latency.samples) - 1 == pytest.approx(load / (2 * (1 - load)), rel=0.05)


def test_the_latency_is_that_of_m_m_1():
    # With exponential service the time in the system is exponential with rate mu - lambda, so its p99 is
    # ln(100) / (mu - lambda).
    rng = np.random.default_rng(2)
    found = simulated_server(lambda n: rng.exponential(1.0), rate_per_s=0.5, requests=150_000, seed=3)
    assert np.mean(found.latency.samples) == pytest.approx(2.0, rel=0.05)
    assert found.latency.p99 == pytest.approx(math.log(100) / 0.5, rel=0.07)


def test_an_overloaded_server_falls_behind_by_the_excess():
    # Arrivals at twice the capacity: the last of n waits n (D - 1/rate), near enough.
    found = simulated_server(lambda n: 1.0, rate_per_s=2.0, requests=10_000)
    assert found.latency.samples[-1] == pytest.approx(5_000, rel=0.05)
    assert found.throughput == pytest.approx(1.0, rel=0.01)


def test_a_batch_takes_those_who_wait_and_no_more():
    sizes = []

    def seconds(n):
        sizes.append(n)
        return 1.0

    found = simulated_server(seconds, rate_per_s=3.0, requests=5000, largest_batch=4)
    assert sum(sizes[1:]) == 5000 and max(sizes) == 4
    # Four at a time can serve 4 per second, one at a time could not: nobody waits long.
    assert found.latency.p99 < 8 < simulated_server(lambda n: 1.0, 3.0, 5000).latency.p99


def test_the_highest_rate_is_found_where_the_formula_has_it():
    # p99 of M/M/1 at rate r is ln(100) / (1 - r): within 10 it holds up to 1 - ln(100) / 10.
    found = highest_rate(
        lambda r: math.log(100) / (1 - r) if r < 1 else math.inf, 10.0, most_per_s=2.0, steps=20
    )
    assert found == pytest.approx(1 - math.log(100) / 10, rel=1e-4)
    assert highest_rate(lambda r: 0.0, 1.0, 5.0) == 5.0
    assert highest_rate(lambda r: 2.0, 1.0, 5.0) == 0.0


def test_service_times_are_drawn_from_the_next_larger_batch():
    draw = sampled_seconds({1: [1.0], 8: [2.0, 3.0]})
    assert draw(1) == 1.0
    assert {draw(n) for n in (2, 8, 9) for _ in range(20)} == {2.0, 3.0}


def test_a_result_is_json_and_says_what_it_is_not():
    found = json.loads(json.dumps(simulated_server(lambda n: 0.5, 1.0, 20).to_dict()))
    assert found["compliance"] == "MLPerf-like, not compliant"
    assert len(found["latency"]["samples"]) == 20 and found["method"] == load_patterns.METHOD


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: single_stream(lambda r: {}, 0), "requests=0"),
        (lambda: offline(lambda r: {}, 1, batch=0), "batch=0"),
        (lambda: server(lambda r: {}, 0.0), "rate_per_s=0.0"),
        (lambda: server(lambda r: {}, float("inf")), "rate_per_s=inf"),
        (lambda: highest_rate(lambda r: 0.0, 0.0, 1.0), "limit_s=0.0"),
        (lambda: sampled_seconds({}), "no measured"),
    ],
)
def test_senseless_scenarios_are_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


# ---------------------------------------------------------------- arrivals


def test_poisson_arrivals_have_their_rate_and_their_variance():
    counts = np.bincount(poisson_arrivals(50.0, 20_000, seed=1).astype(int), minlength=400)[:390]
    assert abs(counts.mean() - 50) < 3 * np.sqrt(50 / 390)
    assert 0.8 < counts.var() / counts.mean() < 1.25


def test_bursts_keep_the_mean_rate_and_vary_more():
    arrivals = bursty_arrivals(50.0, 60_000, seed=1)
    counts = np.bincount(arrivals.astype(int))[:-1]
    assert (np.diff(arrivals) >= 0).all() and len(arrivals) == 60_000
    assert abs(counts.mean() - 50) < 5 and counts.var() / counts.mean() > 5


@pytest.mark.parametrize(
    "wrong", [{"rate_per_s": 0.0}, {"rate_per_s": np.inf}, {"burst": 1.0}, {"burst": 10.0}, {"period_s": 0.0}]
)
def test_arrivals_that_never_come_are_refused(wrong):
    with pytest.raises(InputError, match="expected"):
        bursty_arrivals(**({"rate_per_s": 1.0, "requests": 3} | wrong))
