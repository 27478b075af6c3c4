"""How many machines serve a rate: groups for throughput, shards for memory, and what the slowest hundredth
waits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from recsys_lib.cost import queueing
from recsys_lib.cost.assumptions import Assumptions
from recsys_lib.cost.machines import Hardware
from recsys_lib.cost.units import HOURS_PER_MONTH, positive
from recsys_lib.cost.workloads import Workload

# Memory that a model may fill; the rest is the system's and the runtime's.
USABLE = 0.9


def machines_held(rate_per_s: float, machine_per_s: float, shards: int, load: float) -> tuple[int, int]:
    """Machines that serve ``rate_per_s``, and the groups they form.

    A group is ``shards`` machines that together hold the state once and divide the work of every request,
    so that it serves ``shards`` times what one machine would. A rate that one group serves costs no more
    than its memory asks for; a state that one machine holds costs no more than its rate asks for; both
    multiply only where both bind.

    >>> machines_held(100.0, 50.0, 1, 0.5), machines_held(100.0, 50.0, 8, 0.5)
    ((4, 4), (8, 1))
    >>> machines_held(900.0, 50.0, 8, 0.5)
    (40, 5)
    """
    groups = math.ceil(positive("rate_per_s", rate_per_s) / (machine_per_s * shards * load))
    return groups * shards, groups


@dataclass(frozen=True)
class Fleet:
    """Machines of one kind that serve one stage of every request.

    batch: requests that a group serves at once at most. batch_s, single_s: time of a full batch and of a
    batch of one. load: of a group's throughput at the peak. p99_s: the 99th percentile of the stage's
    latency at the peak, waiting included. basis: model, or bound where the time of some work is a lower
    bound.
    """

    machine: Hardware
    batch: int
    shards: int
    groups: int
    batch_s: float
    single_s: float
    load: float
    p99_s: float
    usd_per_month: float
    basis: str

    @property
    def machines(self) -> int:
        return self.shards * self.groups

    @property
    def requests_per_s(self) -> float:
        """The most that one group serves."""
        return self.batch / self.batch_s


def shards_for(state_bytes: float, machine: Hardware) -> int:
    """Machines whose usable memory holds the state once."""
    return max(1, math.ceil(state_bytes / (machine.memory_bytes * USABLE)))


def batch_seconds(
    works: Sequence[Workload], machine: Hardware, batch: int, shards: int, handling_s: float, a: Assumptions
) -> float:
    """Seconds that a group takes for a batch: its work divided among the shards, and the handling by the
    cores of each.
    """
    work_s = 0.0
    for work in works:
        work_s += a.seconds(work, machine, batch)
    return handling_s * batch / (machine.cores or 1) + work_s / shards


def fleets_at(
    loads: Sequence[float],
    works: Sequence[Workload],
    machine: Hardware,
    batch: int,
    rate_per_s: float,
    state_bytes: float,
    a: Assumptions,
    handling_s: float = 0.0,
) -> list[Fleet]:
    """The machines of one kind that serve the rate at no more than each of ``loads``, fractions of their
    throughput.
    """
    shards = shards_for(state_bytes, machine)
    batch_s = batch_seconds(works, machine, batch, shards, handling_s, a)
    single_s = batch_seconds(works, machine, 1, shards, handling_s, a)
    fixed = 0.0 if batch == 1 else (single_s / batch_s - 1 / batch) / (1 - 1 / batch)
    basis = "model" if all(a.knows(work, machine) for work in works) else "bound"
    usd_each, found = a.usd_per_hour(machine) * HOURS_PER_MONTH, []
    for load in loads:
        machines, groups = machines_held(rate_per_s, batch / batch_s / shards, shards, load)
        reached = rate_per_s / (groups * (batch / batch_s))
        # One core receives, parses and answers a request whatever the batch.
        p99_s = handling_s + batch_s * queueing.p99_factor(batch, fixed, reached)
        usd = machines * usd_each
        found.append(Fleet(machine, batch, shards, groups, batch_s, single_s, reached, p99_s, usd, basis))
    return found
