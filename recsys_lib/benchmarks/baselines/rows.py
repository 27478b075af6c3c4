"""One comparison with a peer, and what the machine could do at best."""

from __future__ import annotations

from dataclasses import dataclass

from recsys_lib.hardware import machine, measure


@dataclass(frozen=True)
class Row:
    """One comparison.

    ``limit_s``: the least time by the measured ceilings; ``quality``: agreement with the peer's result.
    """

    work: str
    size: str
    ours_s: float
    peer: str
    peer_s: float
    ratio: float
    limit_s: float
    share_of_limit: float
    quality: str


def row(
    work: str, size: str, peer: str, timed: dict[str, measure.Measurement], limit_s: float, quality: str
) -> Row:
    ours, theirs = timed["ours"].p50, timed[peer].p50
    return Row(work, size, ours, peer, theirs, theirs / ours, limit_s, limit_s / ours, quality)


def ceilings() -> tuple[float, float]:
    return machine.matmul_peak("float32", seconds=0.3).throughput, machine.read_bandwidth(
        seconds=0.3
    ).throughput
