"""Exact search over a catalogue in shards, priced: how many, how long one scans, what waiting for the slowest
adds, dollars a month.

A shard takes as many cores as the recorded scans had, and holds at most as many items as the largest of them:
nothing is extrapolated. Between recorded sizes, and between recorded numbers of queries, seconds of a scan
are linear. A request goes to all shards of a group and is answered when the slowest has answered and the
lists are merged (fork and join; Dean and Barroso, "The Tail at Scale", CACM 2013). Shards of one group see
the same arrivals; what tells them apart is the scatter of their scans, drawn from recorded samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recsys_lib.core import records
from recsys_lib.core.errors import InputError
from recsys_lib.core.paths import MEASUREMENTS
from recsys_lib.cost.fleet import USABLE, machines_held
from recsys_lib.cost.machines import Hardware
from recsys_lib.cost.scaling import Network
from recsys_lib.cost.units import HOURS_PER_MONTH, positive
from recsys_lib.hardware.load_patterns import simulated_server

# Of an item in a shard beside its codes of one byte and its row of four bytes a number: scale, error, weight,
# margin and the product with the common direction of 4 bytes each, and its id of 8.
BESIDE_BYTES = 28
# An id of 8 bytes and a score of 4 in a shard's answer.
ANSWER_BYTES = 12
SIMULATED = 4000


def bytes_per_item(dimension: int) -> int:
    """Bytes that a shard of exact search over int8 codes holds for an item, its float32 row included.

    >>> bytes_per_item(384)
    1948
    """
    return 5 * dimension + BESIDE_BYTES


@dataclass(frozen=True)
class ScanTimes:
    """Seconds of one shard's exact search, from a record.

    measured: by number of queries, then by items. dimension: of the vectors. cores: of the recorded machine.
    """

    measured: Mapping[int, Mapping[int, float]]
    dimension: int
    cores: int

    @property
    def largest(self) -> int:
        """Most items that were measured for every number of queries."""
        return min(max(times) for times in self.measured.values())

    def seconds(self, queries: int, items: int) -> float:
        """Seconds to search ``items`` for ``queries`` at once; fewer items than measured take as long as the
        fewest.

        Raises:
            InputError: more queries or items than were measured, or fewer than one.
        """
        counts = sorted(self.measured)
        if not (1 <= items <= self.largest and counts[0] <= queries <= counts[-1]):
            raise InputError(
                f"queries={queries}, items={items}: measured were {counts[0]} to {counts[-1]} queries and at "
                f"most {self.largest:,} items"
            )
        times = {q: _between(self.measured[q], items) for q in counts}
        return _between(times, queries)


def _between(measured: Mapping[int, float], place: float) -> float:
    """Linear between what was measured at some places, constant beyond."""
    places = sorted(measured)
    return float(np.interp(place, places, [measured[p] for p in places]))


def recorded_scans(rows: Sequence[Mapping[str, Any]], cores: int, instructions: str = "AMX") -> ScanTimes:
    """The scans that ``bench search`` recorded as ``growth`` of exact int8 search with these instructions.

    Raises:
        InputError: none are recorded, or of vectors of several dimensions.
    """
    found: dict[int, dict[int, float]] = {}
    dimensions = set()
    for row in rows:
        if (row["instructions"], row["part"], row["workload"]) == (instructions, "growth", "exact int8"):
            queries, items, dimension = (int(n.replace(",", "")) for n in row["size"].split(" x "))
            found.setdefault(queries, {})[items] = row["ours_s"]
            dimensions.add(dimension)
    if len(dimensions) != 1:
        raise InputError(
            f"exact int8 search with {instructions} over growing catalogues: recorded for {len(dimensions)} "
            "dimensions, expected 1; run python -m recsys_lib bench search"
        )
    return ScanTimes(found, dimensions.pop(), cores)


def recorded_scatter(rows: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Times of recorded int8 scans over their medians, all samples of a machine's record together.

    Raises:
        InputError: no such scan.
    """
    found = [
        np.array(row["measurement"]["samples"]) / np.median(row["measurement"]["samples"])
        for row in rows
        if (row.get("workload"), row.get("precision")) == ("scan", "int8")
    ]
    if not found:
        raise InputError("no int8 scan is recorded: run python -m recsys_lib measure")
    return np.concatenate(found)


def simulated_latencies(
    seconds_of: Callable[[int], float],
    rate_per_s: float,
    shards: int,
    batch: int,
    scatter: np.ndarray,
    requests: int = SIMULATED,
    seed: int = 0,
) -> np.ndarray:
    """Seconds until all of ``shards`` have answered each of ``requests`` Poisson arrivals, ``[requests]``.

    Each shard is ``load_patterns.simulated_server`` with the same arrivals: it takes what waits, up to
    ``batch``, for ``seconds_of`` so many requests times a draw from ``scatter``.
    """
    rng, slowest = np.random.default_rng([seed, 1]), np.zeros(requests)
    needed = [0.0, *(seconds_of(n) for n in range(1, batch + 1))]
    for _ in range(shards):
        draws = iter(rng.choice(scatter, requests + 1).tolist())  # one for the cold call before the first

        def seconds(n: int, draws: Iterator[float] = draws) -> float:
            return needed[n] * next(draws)

        found = simulated_server(seconds, rate_per_s, requests, batch, seed)
        slowest = np.maximum(slowest, found.latency.samples)
    return slowest


@dataclass(frozen=True)
class ShardPlan:
    """A catalogue in shards. scan_s: of one query in one shard. network_s, merge_s: of a full batch.
    one_p99_s: of a single shard under the same load; p99_s: of all of a group, with network and merge.
    """

    items: int
    shards: int
    groups: int
    machines: int
    shard_bytes: float
    scan_s: float
    network_s: float
    merge_s: float
    one_p99_s: float
    p99_s: float
    load: float
    usd_per_month: float


@dataclass(frozen=True)
class ShardedService:
    """What is asked of every catalogue alike: requests a second, results, requests of a batch, and the
    fraction of a group's throughput that is used at most.
    """

    rate_per_s: float
    k: int = 10
    batch: int = 32
    max_load: float = 0.7


@dataclass(frozen=True, eq=False)
class Measured:
    """What is read from records. scatter: times of scans over their median. merge_s: by number of shards the
    seconds to merge the lists of a full batch.
    """

    scans: ScanTimes
    scatter: np.ndarray
    merge_s: Mapping[int, float]


def recorded(folder: Path = MEASUREMENTS) -> Measured:
    """From the records of ``bench search``, of the machine on which it ran, and of ``bench serve``.

    Raises:
        InputError: one of them is absent, or lacks what is needed.
    """
    names = ("search-bench", "intel-xeon-2-cores", "serve-bench")
    search, machine, serve = (records.read(folder / f"{name}.json") for name in names)
    cores = search["runs"]["AMX"]["environment"]["cores_physical"]
    merges = {row["shards"]: row["median_s"] for row in serve["rows"] if row["scenario"] == "merge"}
    if not merges:
        raise InputError("no merge is recorded: run python -m recsys_lib bench serve --parts merge")
    return Measured(
        recorded_scans(search["rows"], cores), recorded_scatter(machine["parts"]["points"]["rows"]), merges
    )


def plan(
    items: int, measured: Measured, service: ShardedService, machine: Hardware, network: Network
) -> ShardPlan:
    """The fewest shards that memory and the largest recorded scan allow, and groups of them for the rate.

    Raises:
        InputError: a machine with fewer cores than a shard takes.
    """
    scans = measured.scans
    fraction = scans.cores / (machine.cores or 1)
    if fraction > 1:
        raise InputError(f"{machine.name} has {machine.cores} cores: a shard was measured on {scans.cores}")
    fits = fraction * machine.memory_bytes * USABLE / bytes_per_item(scans.dimension)
    shards = math.ceil(positive("items", items) / min(fits, scans.largest))
    own = math.ceil(items / shards)
    batch_s = scans.seconds(service.batch, own)
    slots, groups = machines_held(service.rate_per_s, service.batch / batch_s / shards, shards,
                                  service.max_load)  # fmt: skip
    machines = math.ceil(slots * fraction)

    def p99(n: int) -> float:
        found = simulated_latencies(
            lambda q: scans.seconds(q, own), service.rate_per_s / groups, n, service.batch, measured.scatter
        )
        return float(np.percentile(found, 99))

    sent = shards * service.batch * (4 * scans.dimension + ANSWER_BYTES * service.k)
    network_s = 2 * network.latency_s + sent / network.bytes_per_s
    merge_s = _between(measured.merge_s, shards)
    return ShardPlan(
        items=items, shards=shards, groups=groups, machines=machines,
        shard_bytes=float(own * bytes_per_item(scans.dimension)), scan_s=scans.seconds(1, own),
        network_s=network_s, merge_s=merge_s, one_p99_s=p99(1), p99_s=p99(shards) + network_s + merge_s,
        load=service.rate_per_s / groups * batch_s / service.batch,
        usd_per_month=machines * machine.price.usd_per_hour * HOURS_PER_MONTH,
    )  # fmt: skip
