"""Every deployment option at its cheapest: on which machines, in which batches, for how many dollars, and
what stops it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from recsys_lib.cost.assumptions import Assumptions
from recsys_lib.cost.deployment_options import OPTIONS, PATTERNS, DeploymentOption
from recsys_lib.cost.energy import model_watts
from recsys_lib.cost.fleet import Fleet, fleets_at, shards_for
from recsys_lib.cost.machines import Hardware
from recsys_lib.cost.queueing import BATCHES
from recsys_lib.cost.services import Service
from recsys_lib.cost.units import DAYS_PER_MONTH, convert
from recsys_lib.cost.workloads import (
    DENSE_BYTES,
    ENCODERS,
    Workload,
    encode_workload,
    has_8_bits,
    refit_workload,
    rentable,
    request_workloads,
    rerank_bytes,
    rerank_workloads,
)

# Loads tried, as fractions of the highest allowed: where the wait breaks the limit, more machines may keep
# it.
LOADS = (1.0, 0.5, 0.2)
HOUR_S = convert(1, "h", "s")
MONTH_S = convert(1, "month", "s")


@dataclass(frozen=True)
class Bill:
    """US dollars a month: machines held for serving and for reranking, hours for encoding new items, for
    refits and for lists made at night.
    """

    serving: float
    reranking: float = 0.0
    encoding: float = 0.0
    refits: float = 0.0
    nightly: float = 0.0

    @property
    def total(self) -> float:
        return self.serving + self.reranking + self.encoding + self.refits + self.nightly


@dataclass(frozen=True)
class Deployment:
    """An option on the machines where it costs least within the service's limits; without such, where it
    costs least, with the limit it breaks.

    p99_s: the 99th percentile of the latency at the peak: the sum over the stages of theirs, which is at
    least that of the sum. item_s: seconds to encode one item on ``encode_machine``. refit_s: of one
    machine; ``refit_machines`` share it. problem: why it cannot serve, empty if it can. nearest: what would
    have to change for it to serve. basis: model, or bound: the price is then the least it could be.
    """

    option: DeploymentOption
    service: Service
    serving: Fleet
    reranking: Fleet | None
    encode_machine: Hardware | None
    item_s: float
    usd_per_item: float
    refit_machine: Hardware
    refit_machines: int
    refit_s: float
    bill: Bill
    p99_s: float
    joules_per_month: float
    problem: str
    nearest: str
    basis: str

    @property
    def name(self) -> str:
        return self.option.name

    @property
    def kind(self) -> str:
        return self.option.kind

    @property
    def usd_per_month(self) -> float:
        return self.bill.total

    @property
    def usd_per_million(self) -> float:
        """The bill over the lists that it serves."""
        return self.bill.total / (self.service.lists_per_month / 1e6)

    @property
    def fleets(self) -> tuple[Fleet, ...]:
        return (self.serving, self.reranking) if self.reranking else (self.serving,)


# ---------------------------------------------------------------- parts of a deployment


def state_bytes(option: DeploymentOption, items: float, cold_items: float, a: Assumptions) -> float:
    """Memory of what serves requests: entries of 8 bytes, a dense float16 matrix, vectors of one byte a
    value.
    """
    total = 0.0
    if "lookup" in option.serves:
        total += 8.0 * a.entries_kept * items
    if "dense rows" in option.serves:
        total += DENSE_BYTES * (items * items)
    if "scan" in option.serves:
        total += option.dimensions * items
    if "scan cold items" in option.serves:
        total += option.dimensions * cold_items
    return total


def serving_workloads(option: DeploymentOption, service: Service, a: Assumptions) -> list[Workload]:
    """What a request asks of the machine that serves it, the encoding of its text included where the
    pattern has one.
    """
    works = request_workloads(option, float(service.items), service.cold_items, a)
    if option.pattern == PATTERNS[1]:
        works += [encode_workload(name, service.text_tokens) for name in option.encoders]
    return works


def item_seconds(option: DeploymentOption, machine: Hardware, tokens: int, a: Assumptions) -> float:
    """Seconds to encode one item with every encoder of the option, in batches."""
    total = 0.0
    for name in option.encoders:
        total += a.seconds(encode_workload(name, tokens), machine, a.encode_batch) / a.encode_batch
    return total


def encode_machine(option: DeploymentOption, tokens: int, a: Assumptions) -> Hardware | None:
    """Where encoding an item costs least, among the machines on which such work was measured."""
    if not option.encoders:
        return None
    works = [encode_workload(name, tokens) for name in option.encoders]
    # Looking vectors up in a table needs no card.
    kinds = ("cpu", "gpu") if any(ENCODERS[name][0] for name in option.encoders) else ("cpu",)
    found = a.where_known(rentable(kinds), works)
    return min(found, key=lambda m: item_seconds(option, m, tokens, a) * a.usd_per_hour(m))


def front(fleets: Sequence[Fleet]) -> list[Fleet]:
    """Those that no other beats: of falling latency as the price rises; equals go to the first."""
    kept: list[Fleet] = []
    for one in sorted(fleets, key=lambda f: (f.usd_per_month, f.p99_s)):
        if not kept or one.p99_s < kept[-1].p99_s:
            kept.append(one)
    return kept


def fleets(
    machines: Sequence[Hardware],
    works: Sequence[Workload],
    rate_per_s: float,
    state_of: Callable[[Hardware, int], float],
    a: Assumptions,
    handling_s: float = 0.0,
) -> list[Fleet]:
    """The front over machines, batches and loads; ``state_of`` a machine and a batch is the memory taken."""
    loads, found = [load * a.max_load for load in LOADS], []
    for machine in machines:
        for batch in BATCHES:
            state = state_of(machine, batch)
            found += fleets_at(loads, works, machine, batch, rate_per_s, state, a, handling_s)
    return front(found)


def serving_fleets(option: DeploymentOption, service: Service, a: Assumptions) -> list[Fleet]:
    """Fleets of processors that serve the requests, the cheapest first."""
    works = serving_workloads(option, service, a)
    state = state_bytes(option, float(service.items), service.cold_items, a)
    machines = a.where_known(rentable(("cpu",)), works)
    return fleets(machines, works, service.requests_per_s, lambda *_: state, a, a.handling_s)


def rerankers_of(
    option: DeploymentOption, service: Service, a: Assumptions
) -> tuple[tuple[Workload, ...], tuple[Hardware, ...]]:
    """The work of ordering one request's candidates, and the machines to do it on."""
    works = rerank_workloads(option.reranker, service.text_tokens, a.shown, a.candidates, a.answer_tokens)
    return works, a.where_known(rentable(), works)


def rerank_state(
    option: DeploymentOption, machine: Hardware, batch: int, service: Service, a: Assumptions
) -> float:
    """Memory that a batch of the reranker takes on that machine."""
    narrow, wide, each = rerank_bytes(option.reranker, service.text_tokens, a.shown, a.candidates)
    return (narrow if has_8_bits(machine) else wide) + batch * each


def rerank_fleets(option: DeploymentOption, service: Service, a: Assumptions) -> list[Fleet]:
    """Fleets that rerank every request, the cheapest first."""
    works, machines = rerankers_of(option, service, a)

    def state_of(machine: Hardware, batch: int) -> float:
        return rerank_state(option, machine, batch, service, a)

    return fleets(machines, works, service.requests_per_s, state_of, a)


def nightly_usd(option: DeploymentOption, service: Service, a: Assumptions) -> tuple[float, bool]:
    """Dollars a month to order the list of every user once a night, where that costs least, and whether its
    time was measured.
    """
    works, machines = rerankers_of(option, service, a)
    best, known = float("inf"), False
    for machine in machines:
        batch = BATCHES[-1]
        shards = shards_for(rerank_state(option, machine, batch, service, a), machine)
        seconds = 0.0
        for work in works:
            seconds += a.seconds(work, machine, batch) / batch
        # Shards divide the time and multiply the machines.
        usd = (
            DAYS_PER_MONTH * service.users * (seconds / shards) * (shards * a.usd_per_hour(machine)) / HOUR_S
        )
        if usd < best:
            best, known = usd, all(a.knows(work, machine) for work in works)
    return best, known


def refit(option: DeploymentOption, service: Service, a: Assumptions) -> tuple[Hardware, int, float]:
    """The machine that fits at the lowest price, how many share a fit so that their memory holds it, and
    its machine-seconds.
    """
    work = refit_workload(option, float(service.users), float(service.items), a)
    machines = a.where_known(rentable(("cpu",)), [work])
    machine = min(machines, key=lambda m: a.seconds(work, m) * a.usd_per_hour(m))
    # Of a dense matrix the Gram matrix is overwritten by its inverse; a kernel map holds three.
    matrices = 3.0 if "map" in option.fits else 1.0 if "ease" in option.fits else 0.0
    shared_by = shards_for(4.0 * matrices * (float(service.items) * service.items), machine)
    return machine, shared_by, a.seconds(work, machine) if option.fits else 0.0


# ---------------------------------------------------------------- the whole


def cheapest(option: DeploymentOption, service: Service, a: Assumptions) -> Deployment:
    """The option where it costs least within the limits; if every plan breaks the latency limit, the
    cheapest that does.
    """
    serving = serving_fleets(option, service, a)
    reranked = rerank_fleets(option, service, a) if option.reranker and not option.nightly else [None]
    plans = [(one, two) for one in serving for two in reranked]
    within = [plan for plan in plans if plan_p99_s(*plan) <= service.latency_limit_s]
    first, second = min(within or plans, key=lambda plan: (plan_usd(*plan), plan_p99_s(*plan)))
    fastest_s = min(plan_p99_s(*plan) for plan in plans)
    return _deployment(option, service, a, first, second, fastest_s)


def plan_p99_s(serving: Fleet, reranking: Fleet | None) -> float:
    """The sum of the stages' 99th percentiles."""
    return serving.p99_s + (reranking.p99_s if reranking else 0.0)


def plan_usd(serving: Fleet, reranking: Fleet | None) -> float:
    """Dollars a month for machines that are held."""
    return serving.usd_per_month + (reranking.usd_per_month if reranking else 0.0)


def _deployment(
    option: DeploymentOption,
    service: Service,
    a: Assumptions,
    serving: Fleet,
    reranking: Fleet | None,
    fastest_s: float,
) -> Deployment:
    encoder, item_s, usd_per_item = encode_machine(option, service.text_tokens, a), 0.0, 0.0
    if encoder:
        item_s = item_seconds(option, encoder, service.text_tokens, a)
        usd_per_item = item_s * a.usd_per_hour(encoder) / HOUR_S
    fitter, shared_by, refit_s = refit(option, service, a)
    nightly, nightly_known = nightly_usd(option, service, a) if option.nightly else (0.0, True)
    bill = Bill(
        serving.usd_per_month,
        reranking.usd_per_month if reranking else 0.0,
        service.new_items_per_day * DAYS_PER_MONTH * usd_per_item,
        service.refits_per_month * refit_s * a.usd_per_hour(fitter) / HOUR_S,
        nightly,
    )
    works = [encode_workload(name, service.text_tokens) for name in option.encoders]
    known = nightly_known and all(encoder is None or a.knows(work, encoder) for work in works)
    known = known and all(f.basis == "model" for f in (serving, reranking) if f)
    # A transformer that is divided among machines scales ideally here: real ones do not.
    known = known and not (reranking and reranking.shards > 1)
    problem, nearest = limits(service, plan_p99_s(serving, reranking), fastest_s, refit_s / shared_by)
    return Deployment(
        option, service, serving, reranking, encoder, item_s, usd_per_item, fitter, shared_by, refit_s, bill,
        plan_p99_s(serving, reranking), joules(service, serving, reranking), problem, nearest,
        "model" if known else "bound",
    )  # fmt: skip


def limits(service: Service, p99_s: float, fastest_s: float, refit_s: float) -> tuple[str, str]:
    """Which limit is broken, in words, and the nearest change that would lift it; empty texts if none is."""
    if p99_s > service.latency_limit_s:
        return (
            f"latency: p99 {three(p99_s)} s, limit {three(service.latency_limit_s)} s",
            f"a limit of {three(fastest_s)} s or more",
        )
    between_s = MONTH_S / service.refits_per_month if service.refits_per_month else float("inf")
    if refit_s > between_s:
        return (
            f"refit: takes {three(refit_s / 86400)} days, refitted every {three(between_s / 86400)}",
            f"at most {three(MONTH_S / refit_s)} refits a month",
        )
    return "", ""


def three(value: float) -> str:
    """Three significant digits, without an exponent where that is short."""
    return f"{float(f'{value:.3g}'):.15g}"


def joules(service: Service, serving: Fleet, reranking: Fleet | None) -> float:
    """Joules a month of the machines held, by the power model at their mean load; encoding and fits are
    small beside them.
    """
    total = 0.0
    for one in (serving, reranking):
        if one:
            watts, _, _ = model_watts(one.machine.watts, one.load * service.mean_to_peak)
            total += one.machines * watts * MONTH_S
    return total


def deployments(
    service: Service, a: Assumptions, options: Sequence[DeploymentOption] = OPTIONS
) -> list[Deployment]:
    """Every option at its cheapest, in the order of ``options``."""
    return [cheapest(one, service, a) for one in options]
