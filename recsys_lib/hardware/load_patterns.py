"""How long an answer takes under load: three scenarios after MLPerf Inference, and the highest rate within a
limit.

The rules are MLPerf's in spirit only (Reddi et al., "MLPerf Inference Benchmark", ISCA 2020): single stream,
offline and server, without its data sets, accuracy targets, minimum durations or audit. Results are not
MLPerf results and must not be called so.

A service is a function that answers a batch of requests, given by number, and returns the seconds of its
stages.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from recsys_lib.core.errors import InputError
from recsys_lib.hardware.timing import Measurement

METHOD = "scenarios/1"
Service = Callable[[Sequence[int]], dict[str, float]]


class Clock(Protocol):
    """Time in seconds, and waiting."""

    def now(self) -> float: ...

    def sleep(self, seconds: float) -> None: ...


class WallClock:
    """The machine's clock."""

    def now(self) -> float:
        return time.perf_counter()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class SimulatedClock:
    """A clock that moves only when told to: for queues computed instead of waited for."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds


@dataclass(frozen=True)
class Result:
    """What a scenario found.

    latency: seconds from a request's arrival to its answer, one sample each (offline: one per batch); its
    ``first`` is the cold call, before the scenario starts. stages: the same for each stage, one sample per
    call of the service. seconds: of the whole scenario. target_per_s: arrivals per second that were asked
    for, None where requests do not arrive by themselves.
    """

    scenario: str
    requests: int
    seconds: float
    latency: Measurement
    stages: dict[str, Measurement]
    target_per_s: float | None = None
    largest_batch: int = 1

    @property
    def throughput(self) -> float:
        """Requests answered per second."""
        return self.requests / self.seconds

    def to_dict(self) -> dict[str, Any]:
        """Everything, JSON-ready, raw samples included."""
        return {
            "scenario": self.scenario,
            "requests": self.requests,
            "seconds": self.seconds,
            "throughput_per_s": self.throughput,
            "target_per_s": self.target_per_s,
            "largest_batch": self.largest_batch,
            "latency": self.latency.to_dict(),
            "stages": {name: m.to_dict() for name, m in self.stages.items()},
            "method": METHOD,
            "compliance": "MLPerf-like, not compliant",
        }


class _Log:
    """Calls of a service with their stages; the first call of all, before the scenario, is the cold one."""

    def __init__(self, serve: Service, clock: Clock, progress: str, total: int):
        from tqdm import tqdm

        self.serve, self.clock = serve, clock
        self.stages: dict[str, list[float]] = {}
        started = clock.now()
        self.first_stages = serve([0])
        self.first = clock.now() - started
        self.bar = tqdm(
            total=total, desc=progress, unit="request", disable=None if progress else True, leave=False
        )

    def call(self, requests: Sequence[int]) -> None:
        for name, seconds in self.serve(requests).items():
            self.stages.setdefault(name, []).append(seconds)
        self.bar.update(len(requests))

    def result(
        self, scenario: str, n: int, seconds: float, latencies: Sequence[float], amount: float = 1.0, **more
    ) -> Result:
        self.bar.close()
        measured = {
            name: Measurement(name, tuple(samples), self.first_stages.get(name, 0.0), method=METHOD)
            for name, samples in self.stages.items()
        }
        latency = Measurement("latency", tuple(latencies), self.first, "s", amount, "requests", METHOD)
        return Result(scenario, n, seconds, latency, measured, **more)


def single_stream(
    serve: Service, requests: int = 1024, warmup: int = 8, clock: Clock | None = None, progress: str = ""
) -> Result:
    """One request after another, the next when the last is answered: what a single caller sees. MLPerf asks
    for 1,024 and quotes p90.

    Raises:
        InputError: fewer than one request.
    """
    _at_least_one(requests=requests)
    clock = clock or WallClock()
    log = _Log(serve, clock, progress, requests)
    for i in range(warmup):
        serve([i])
    latencies, started = [], clock.now()
    for i in range(requests):
        sent = clock.now()
        log.call([i])
        latencies.append(clock.now() - sent)
    return log.result("single stream", requests, clock.now() - started, latencies)


def offline(
    serve: Service, requests: int = 24_576, batch: int = 64, clock: Clock | None = None, progress: str = ""
) -> Result:
    """All requests at once, in batches of ``batch``: throughput. MLPerf asks for 24,576 samples.

    Raises:
        InputError: fewer than one request, or an empty batch.
    """
    _at_least_one(requests=requests, batch=batch)
    clock = clock or WallClock()
    log = _Log(serve, clock, progress, requests)
    serve(range(min(batch, requests)))
    seconds, started = [], clock.now()
    for start in range(0, requests, batch):
        sent = clock.now()
        log.call(range(start, min(start + batch, requests)))
        seconds.append(clock.now() - sent)
    took = clock.now() - started
    return log.result("offline", requests, took, seconds, float(min(batch, requests)), largest_batch=batch)


def server(
    serve: Service,
    rate_per_s: float,
    requests: int = 1000,
    largest_batch: int = 1,
    seed: int = 0,
    clock: Clock | None = None,
    progress: str = "",
) -> Result:
    """Requests arrive by a Poisson process of ``rate_per_s`` whether or not the last is answered, and wait in
    one queue.

    A worker takes up to ``largest_batch`` of those waiting, first come first served; latency counts from
    arrival, so the wait is in it.

    Raises:
        InputError: a rate that is not positive, fewer than one request, or an empty batch.
    """
    _at_least_one(requests=requests, largest_batch=largest_batch)
    _positive_rate(rate_per_s)
    clock = clock or WallClock()
    log = _Log(serve, clock, progress, requests)
    arrivals = poisson_arrivals(rate_per_s, requests, seed).tolist()
    latencies, started, begin = [], clock.now(), 0
    while begin < requests:
        now = clock.now() - started
        if arrivals[begin] > now:
            clock.sleep(arrivals[begin] - now)
            now = max(clock.now() - started, arrivals[begin])
        end = begin + 1
        while end < min(requests, begin + largest_batch) and arrivals[end] <= now:
            end += 1
        log.call(range(begin, end))
        done = clock.now() - started
        latencies += [done - arrival for arrival in arrivals[begin:end]]
        begin = end
    took = clock.now() - started
    return log.result(
        "server", requests, took, latencies, target_per_s=rate_per_s, largest_batch=largest_batch
    )


def poisson_arrivals(rate_per_s: float, requests: int, seed: int = 0) -> np.ndarray:
    """Seconds ``[requests]`` at which requests of a Poisson process arrive, rising.

    Raises:
        InputError: a rate that is not positive.
    """
    _positive_rate(rate_per_s)
    return np.cumsum(np.random.default_rng(seed).exponential(1 / rate_per_s, requests))


def bursty_arrivals(
    rate_per_s: float, requests: int, burst: float = 3.0, period_s: float = 1.0, seed: int = 0
) -> np.ndarray:
    """Seconds ``[requests]`` of arrivals that come in bursts, ``rate_per_s`` of them a second on average.

    A Poisson process whose rate alternates between ``burst`` times the mean and a tenth of that: a process
    with two states, which last exponential times; one of each takes ``period_s`` on average.

    Raises:
        InputError: a rate or period that is not positive, or a burst that is not above 1 and below 10.
    """
    _positive_rate(rate_per_s)
    if not 1 < burst < 10 or not period_s > 0:
        raise InputError(f"burst={burst!r}, period_s={period_s!r}: expected from 1 to 10, and above 0")
    rng, high, low = np.random.default_rng(seed), burst * rate_per_s, burst * rate_per_s / 10
    busy = (rate_per_s - low) / (high - low)  # the fraction of time at the high rate
    found: list[np.ndarray] = []
    start, count, state = 0.0, 0, 0
    while count < requests:
        lasts = float(rng.exponential(period_s * (busy if state else 1 - busy)))
        n = int(rng.poisson((high if state else low) * lasts))
        found.append(start + np.sort(rng.uniform(0, lasts, n)))
        start, count, state = start + lasts, count + n, 1 - state
    return np.concatenate(found)[:requests]


def _positive_rate(rate_per_s: float) -> None:
    if not 0 < rate_per_s < np.inf:
        raise InputError(f"rate_per_s={rate_per_s!r}: expected a positive number of requests per second")


def simulated_server(
    seconds_of_batch: Callable[[int], float],
    rate_per_s: float,
    requests: int = 10_000,
    largest_batch: int = 1,
    seed: int = 0,
) -> Result:
    """The same queue with service times that ``seconds_of_batch`` gives for a batch of so many requests,
    on a simulated clock.
    """
    clock = SimulatedClock()

    def serve(batch: Sequence[int]) -> dict[str, float]:
        clock.sleep(seconds_of_batch(len(batch)))
        return {}

    return server(serve, rate_per_s, requests, largest_batch, seed, clock)


def sampled_seconds(by_batch: dict[int, Sequence[float]], seed: int = 0) -> Callable[[int], float]:
    """Service times drawn from measured samples: those of the smallest measured batch that is at least as
    large.

    Raises:
        InputError: no samples.
    """
    if not by_batch or not all(len(samples) for samples in by_batch.values()):
        raise InputError("no measured service times to draw from")
    rng, sizes = np.random.default_rng(seed), sorted(by_batch)

    def draw(n: int) -> float:
        samples = by_batch[next((size for size in sizes if size >= n), sizes[-1])]
        return float(samples[int(rng.integers(len(samples)))])

    return draw


def highest_rate(
    p99_s: Callable[[float], float], limit_s: float, most_per_s: float, steps: int = 12
) -> float:
    """The highest rate, up to ``most_per_s``, at which ``p99_s(rate)`` stays within ``limit_s``; 0 where none
    of those tried does.

    Bisection, since the wait grows with the rate; ``steps`` halvings of the range.

    Raises:
        InputError: a limit or range that is not positive.
    """
    if not (limit_s > 0 and most_per_s > 0):
        raise InputError(f"limit_s={limit_s!r}, most_per_s={most_per_s!r}: expected both above 0")
    if p99_s(most_per_s) <= limit_s:
        return most_per_s
    low, high = 0.0, most_per_s
    for _ in range(steps):
        middle = (low + high) / 2
        low, high = (middle, high) if p99_s(middle) <= limit_s else (low, middle)
    return low


def _at_least_one(**counts: int) -> None:
    for name, count in counts.items():
        if count < 1:
            raise InputError(f"{name}={count!r}: expected at least 1")
