"""Dollars a month of each defence of notebook 11, by the project's cost model, for one of its services.

A user's vector (of any release) is stored at the server, which ranks by it: the machines held for all
requests scan the items' int8 vectors and read the user's, and their memory holds both; forming groups of
users who share a vector is paid at every refit. Of federated training the devices rank by themselves: the
server pays for receiving and adding the updates of all rounds, at every refit. **Not in it**: traffic over
the network, which the bytes tell, the devices' own time, and the masks of secure aggregation.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from recsys_lib.core.errors import InputError
from recsys_lib.cost.assumptions import Assumptions
from recsys_lib.cost.deployments import fleets
from recsys_lib.cost.fleet import Fleet
from recsys_lib.cost.recorded_fractions import default_assumptions
from recsys_lib.cost.services import Service
from recsys_lib.cost.services import service as service_of
from recsys_lib.cost.workloads import Workload, rentable
from recsys_lib.experiments.federated_map import CHOSEN

if TYPE_CHECKING:
    import pandas as pd

HOUR_S = 3600.0
# Who shares a vector is found by this id.
ID_BYTES = 4.0


@dataclass(frozen=True)
class Bill:
    """Dollars a month. serving: machines held for ranking. refit: what every refit takes. machines: held."""

    serving: float
    refit: float
    machines: int

    @property
    def total(self) -> float:
        return self.serving + self.refit


def vector_bill(
    service: Service, bytes_per_vector: float, dimensions: int, group: int = 1, a: Assumptions | None = None
) -> Bill:
    """Of a server that ranks by users' vectors of ``bytes_per_vector``, in the items' ``dimensions``.

    group: users who share a vector, at least.

    Raises:
        InputError: a number that is not positive.
    """
    if min(bytes_per_vector, dimensions, group) <= 0:
        raise InputError(f"{bytes_per_vector!r} bytes, {dimensions!r} dimensions, groups of {group!r}: "
                         "expected positive numbers")  # fmt: skip
    a, items, users = a or default_assumptions(), float(service.items), float(service.users)
    shared = group > 1
    stored = users * ((ID_BYTES if shared else 0.0) + bytes_per_vector / group)
    scan = Workload("scan", 2 * items * dimensions, 0.0, items * dimensions, "int8")
    read = Workload("lookup", 2.0 * dimensions, bytes_per_vector)
    machines = a.where_known(rentable(("cpu",)), [scan, read])
    state = stored + items * dimensions
    held = fleets(machines, [scan, read], service.requests_per_s, lambda *_: state, a, a.handling_s)
    best = _within(held, service)
    levels = math.ceil(math.log2(max(users / group, 2.0))) if shared else 0
    # At each level the Gram matrix of every group's vectors, whose first axis divides the group.
    form = Workload("fit", 2 * users * dimensions * dimensions * levels, bytes_per_vector * users * levels)
    return Bill(best.usd_per_month, _refits(form, service, a) if shared else 0.0, best.machines)


def update_bill(
    service: Service, bytes_per_update: float, dimensions: int, rounds: int, a: Assumptions | None = None
) -> Bill:
    """Of a server that adds the updates ``[dimensions + 1, dimensions]`` of all users in every round.

    Raises:
        InputError: a number that is not positive.
    """
    if min(bytes_per_update, dimensions, rounds) <= 0:
        raise InputError(f"{bytes_per_update!r} bytes, {dimensions!r} dimensions, {rounds!r} rounds: "
                         "expected positive numbers")  # fmt: skip
    a, sent = a or default_assumptions(), float(service.users) * rounds
    add = Workload("fit", 2 * sent * dimensions * (dimensions + 1), sent * bytes_per_update)
    machines = a.where_known(rentable(("cpu",)), [add])
    # One core receives and parses a message, as it does a request.
    receive = min(sent * a.handling_s / (m.cores or 1) * a.usd_per_hour(m) / HOUR_S for m in machines)
    return Bill(0.0, _refits(add, service, a) + service.refits_per_month * receive, 0)


def _within(held: list[Fleet], service: Service) -> Fleet:
    """The cheapest within the limit of latency, else the cheapest."""
    fast = [one for one in held if one.p99_s <= service.latency_limit_s]
    return min(fast or held, key=lambda one: one.usd_per_month)


def _refits(work: Workload, service: Service, a: Assumptions) -> float:
    machines = a.where_known(rentable(("cpu",)), [work])
    once = min(a.seconds(work, m) * a.usd_per_hour(m) for m in machines) / HOUR_S
    return service.refits_per_month * once


def rounds_of(name: str) -> int:
    """Rounds of federated training behind a row of the table, 0 for a vector: those of the validated choice,
    and of ε = 10 where every device adds noise of its own.
    """
    if not name.startswith(("update", "noisy sum", "sum of")):
        return 0
    found = re.search(r"noisy sum, ε = (.+)", name)
    return CHOSEN[float(found[1]) if found else 10.0 if "own noise" in name else math.inf][0]


def bill_of(name: str, each: float, dimensions: int, service: Service) -> Bill:
    """The bill of a row of notebook 11's table, by its name and the bytes of one: "first 32 axes" scans 32
    dimensions, "shared by 5" stores one vector for 5 users, updates and sums of them are added.
    """
    rounds = rounds_of(name)
    if rounds:
        return update_bill(service, each, dimensions, rounds)
    axes, group = re.fullmatch(r"first (\d+) axes", name), re.fullmatch(r"shared by (\d+)", name)
    kept = int(axes[1]) if axes else dimensions
    return vector_bill(service, each, kept, int(group[1]) if group else 1)


def sent_bytes(name: str, each: float, service: Service) -> float:
    """Bytes that all devices send in a month: a vector with every list, an update in every round."""
    rounds = rounds_of(name)
    if rounds:
        return each * service.users * rounds * service.refits_per_month
    return each * service.lists_per_month


def with_dollars(table: pd.DataFrame, dimensions: int, service: str) -> pd.DataFrame:
    """The table of releases and updates, index names, column ``bytes``, with ``usd`` a month at the server
    and ``sent TB`` a month by all devices.

    Raises:
        InputError: a service that is not in ``data/services.toml``.
    """
    asked, each = service_of(service), {str(name): float(row["bytes"]) for name, row in table.iterrows()}
    usd = [bill_of(name, size, dimensions, asked).total for name, size in each.items()]
    sent = [sent_bytes(name, size, asked) / 1e12 for name, size in each.items()]
    return table.assign(usd=usd, **{"sent TB": sent})
