"""One comparison with a baseline, and what the machine could do at best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from recsys_lib.hardware import machine, timing

# Why a time may lie below its bound.
ABOVE = "below the bound: the bound reads the codes at the speed of memory, and these stay in a cache"


@dataclass(frozen=True)
class Row:
    """One comparison.

    ``baseline``: its name. ``limit_s``: the minimum time by the measured ceilings; ``fraction_of_limit``: its
    fraction of our time. ``quality``: agreement with the baseline's result. ``best``: whether no baseline of
    the same workload and size was faster.
    """

    workload: str
    size: str
    ours_s: float
    baseline: str
    baseline_s: float
    ratio: float
    limit_s: float
    fraction_of_limit: float
    quality: str
    best: bool = False


def row(
    workload: str,
    size: str,
    baseline: str,
    timed: dict[str, timing.Measurement],
    limit_s: float,
    quality: str,
) -> Row:
    ours, theirs = timed["ours"].p50, timed[baseline].p50
    if limit_s > ours:
        quality = f"{quality}; {ABOVE}"
    return Row(workload, size, ours, baseline, theirs, theirs / ours, limit_s, limit_s / ours, quality)


def with_best(rows: Sequence[Row]) -> list[Row]:
    """The rows with the fastest baseline of each workload and size marked, in the same order."""
    fastest: dict[tuple[str, str], float] = {}
    for r in rows:
        key = (r.workload, r.size)
        fastest[key] = min(r.baseline_s, fastest.get(key, r.baseline_s))
    return [replace(r, best=r.baseline_s == fastest[r.workload, r.size]) for r in rows]


def ceilings() -> tuple[float, float]:
    return machine.matmul_peak("float32", seconds=0.3).throughput, machine.read_bandwidth(
        seconds=0.3
    ).throughput
