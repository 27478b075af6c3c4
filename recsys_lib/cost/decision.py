"""Which way to recommend: every way housed at its cheapest for a given traffic, and what follows from comparing them."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from recsys_lib.core.errors import InputError
from recsys_lib.core.paths import TABLES
from recsys_lib.cost import prices
from recsys_lib.cost.deployments import (
    READERS,
    RERANK_BATCHES,
    RERANKER,
    TEXT_LENGTHS,
    WAYS,
    Assumptions,
    Option,
    Way,
    Work,
    encode_work,
    half,
    options,
    rentable,
    rerank_works,
    works,
)
from recsys_lib.cost.energy import IDLE_SHARE
from recsys_lib.cost.machines import Hardware
from recsys_lib.cost.prices import Stack, Traffic
from recsys_lib.cost.quality import Quality, protocols
from recsys_lib.cost.roofline_fractions import recorded_shares
from recsys_lib.cost.units import DAYS_PER_MONTH, HOURS_PER_MONTH, Quantity, convert, positive

SCENARIOS = TABLES / "scenarios.toml"
PROTOCOL = "ml-100k random"


@dataclass(frozen=True)
class Scenario:
    """A service: its traffic, the length of an item's text in tokens, and the NDCG@10 it asks for (0: nothing)."""

    name: str
    about: str
    traffic: Traffic
    text_tokens: int
    seen: float
    new: float

    def change(self, **fields) -> Scenario:
        """The same with other values of any field, those of its traffic included."""
        own = {k: fields.pop(k) for k in ("text_tokens", "seen", "new") if k in fields}
        unknown = sorted(set(fields) - set(vars(self.traffic)))
        if unknown:
            known = ", ".join([*vars(self.traffic), "text_tokens", "seen", "new"])
            raise InputError(f"scenario {self.name}: no field {', '.join(unknown)}; it has {known}")
        return replace(self, traffic=replace(self.traffic, **fields), **own)


def scenarios() -> dict[str, Scenario]:
    """``data/scenarios.toml`` by name."""
    with open(SCENARIOS, "rb") as file:
        return {name: _scenario(name, row) for name, row in tomllib.load(file).items()}


def _scenario(name: str, row: dict[str, Any]) -> Scenario:
    own = {k: row.pop(k) for k in ("about", "text_tokens", "seen", "new")}
    return Scenario(name, traffic=Traffic(**row), **own)


def scenario(name: str) -> Scenario:
    """The scenario of that name.

    >>> scenario("shop").traffic.items
    100000
    """
    if name not in scenarios():
        raise InputError(f"scenario {name!r} is not in data/scenarios.toml: choose from {', '.join(scenarios())}")
    return scenarios()[name]


# ---------------------------------------------------------------- one way


@dataclass(frozen=True)
class Choice:
    """A way housed at its cheapest for a scenario, or with the reason why it cannot be, at its fastest.

    usd_per_month and joules_per_month: all of it. usd_per_million: the work of a million recommendations on shared machines.
    usd_per_refresh: encoding the whole catalogue once and fitting anew. request_s: latency of one request.
    """

    way: Way
    stacks: tuple[Stack, ...]
    usd_per_month: Quantity
    joules_per_month: Quantity
    usd_per_million: Quantity
    usd_per_refresh: Quantity
    request_s: float
    seen: Quality
    new: Quality
    problem: str = ""

    @property
    def name(self) -> str:
        return self.way.name

    @property
    def kind(self) -> str:
        return self.way.kind

    def reaches(self, seen: float, new: float) -> bool:
        """Whether it can be housed and its measured quality reaches both targets; an unknown quality reaches none."""
        return not self.problem and self.seen.reaches(seen) and self.new.reaches(new)

    def usd_per_item(self) -> Quantity:
        """Dollars to encode one new item."""
        stack = self.stacks[0]
        machine = stack.batch_machine or stack.machine
        return prices.usd_per_refresh(machine, 1, stack.item_s, basis=stack.basis)


def problem(stacks: Sequence[Stack], traffic: Traffic) -> str:
    """Why these stacks cannot serve the traffic, in words; empty if they can."""
    request_s = sum(s.request_s for s in stacks)
    if request_s > traffic.latency_limit_s:
        return f"answers in {_three(request_s)} s, limit {_three(traffic.latency_limit_s)} s"
    between_s = convert(1, "month", "s") / traffic.refreshes_per_month if traffic.refreshes_per_month else math.inf
    if stacks[0].refit_s > between_s:
        return f"takes {_three(stacks[0].refit_s / 86400)} days to fit, refreshed every {_three(between_s / 86400)}"
    return ""


def _three(value: float) -> str:
    """Three significant digits, without an exponent where that is short."""
    return f"{float(f'{value:.3g}'):.15g}"


def house(way: Way, case: Scenario, assumed: Assumptions, protocol: str = PROTOCOL) -> Choice:
    """The option with the lowest monthly bill among those without a problem; without any, the fastest, with its problem.

    Machines are tried in the order of ``data/hardware.toml``; equal bills go to the faster, and then to the first.
    """
    traffic = case.traffic
    found: list[tuple[float, float, int, Option, tuple[Stack, ...]]] = []
    refused: list[tuple[float, int, tuple[Stack, ...]]] = []
    for number, option in enumerate(options(way, case.text_tokens, assumed)):
        stacks = option.stacks(traffic, case.text_tokens, assumed)
        request_s = sum(s.request_s for s in stacks)
        if problem(stacks, traffic):
            refused.append((request_s, number, stacks))
        else:
            bill = sum(prices.usd_per_month(s, _of(s, stacks, traffic), assumed.utilization).value for s in stacks)
            found.append((bill, request_s, number, option, stacks))
    stacks = min(found, key=lambda row: row[:3])[4] if found else min(refused, key=lambda row: row[:2])[2]
    return _choice(way, stacks, case, assumed, protocol)


def _of(stack: Stack, stacks: Sequence[Stack], traffic: Traffic) -> Traffic:
    """The traffic a stack sees: only the first encodes and refreshes."""
    return traffic if stack is stacks[0] else replace(traffic, new_items_per_day=0.0, refreshes_per_month=0.0)


def _choice(way: Way, stacks: tuple[Stack, ...], case: Scenario, assumed: Assumptions, protocol: str) -> Choice:
    traffic, first, u = case.traffic, stacks[0], assumed.utilization
    batch = first.batch_machine or first.machine
    refresh = prices.usd_per_refresh(batch, traffic.items, first.item_s, basis=first.basis)
    refresh += prices.usd_per_refresh(first.machine, traffic.items, 0.0, first.refit_s, basis=first.basis)
    seen, new = way.quality(protocol)
    return Choice(
        way, stacks,
        _sum(prices.usd_per_month(s, _of(s, stacks, traffic), u) for s in stacks),
        _sum(prices.joules_per_month(s, _of(s, stacks, traffic), u) for s in stacks),
        _sum(prices.usd_per_million(s.machine, 1 / s.requests_per_s, u, s.basis) for s in stacks),
        refresh, sum(s.request_s for s in stacks), seen, new, problem(stacks, traffic),
    )  # fmt: skip


def _sum(quantities: Iterable[Quantity]) -> Quantity:
    first, *others = quantities
    for other in others:
        first += other
    return first


# ---------------------------------------------------------------- all ways


def decide(case: Scenario, assumed: Assumptions | None = None, protocol: str = PROTOCOL) -> list[Choice]:
    """Every way, housed for the scenario, in the order of ``deployments.WAYS``."""
    return [house(w, case, assumed or Assumptions(), protocol) for w in WAYS]


def cheapest_reaching(choices: Sequence[Choice], seen: float, new: float) -> Choice | None:
    """The lowest monthly bill among choices whose measured quality reaches both targets; ties go to the better, then the first."""
    able = [c for c in choices if c.reaches(seen, new)]
    return min(able, key=lambda c: (c.usd_per_month.value, -(c.seen.value or 0.0) - (c.new.value or 0.0)), default=None)


def verdict(choices: Sequence[Choice], case: Scenario) -> Choice:
    """The cheapest that reaches the scenario's targets.

    Raises:
        InputError: none does; the message says how far those go that can serve it.
    """
    best = cheapest_reaching(choices, case.seen, case.new)
    if best is None:
        able = [c for c in choices if not c.problem]
        seen, new = (
            (
                max((q.value for q in both if q.value is not None), default=0.0)
                for both in zip(*((c.seen, c.new) for c in able), strict=True)
            )
            if able
            else (0.0, 0.0)
        )
        raise InputError(
            f"scenario {case.name}: no way measured reaches NDCG {case.seen:g} on known and {case.new:g} among new items; "
            f"those that can serve it reach {seen:.3f} and {new:.3f}: lower its targets seen and new"
        )
    return best


def bill_at(
    case: Scenario, assumed: Assumptions, moved: Mapping[str, float], protocol: str = PROTOCOL
) -> tuple[Quantity, Choice]:
    """The monthly bill of the cheapest way that reaches the targets, and the way, with some inputs moved: a tornado's function.

    moved: fields of the scenario, ``cpu_price`` and ``gpu_price`` (factors), ``utilization``, and ``unmeasured_share``, the share of
    the bound that all work without a recorded share reaches.

    Raises:
        InputError: no way reaches the targets then.
    """
    own: dict[str, Any] = {k: v for k, v in moved.items() if k in ("cpu_price", "gpu_price", "utilization")}
    fields: dict[str, Any] = {k: v for k, v in moved.items() if k not in (*own, "unmeasured_share")}
    for name in ("items", "users", "text_tokens"):
        if name in fields:
            fields[name] = round(fields[name])
    share = moved.get("unmeasured_share", 1.0)
    # Naming a share makes its machine a candidate: only what nobody measured anywhere is slowed.
    shares = {w: share for w in works() if share < 1 and _nowhere(w, assumed)} | dict(assumed.shares)
    there = case.change(**fields)
    best = verdict(decide(there, replace(assumed, shares=shares, **own), protocol), there)
    return best.usd_per_month, best


def tornado(
    case: Scenario,
    assumed: Assumptions,
    ranges: Mapping[str, tuple[float, float, float]],
    protocol: str = PROTOCOL,
) -> tuple[tuple[prices.TornadoRow, ...], dict[str, tuple[str, str]]]:
    """The bill of the verdict as each input of ``bill_at`` moves alone, largest swing first, and the verdict at both ends of each.

    ranges: input to ``(low, base, high)``.
    """
    names: dict[tuple[float, ...], str] = {}

    def bill(**at: float) -> Quantity:
        total, best = bill_at(case, assumed, at, protocol)
        names[tuple(at.values())] = best.name
        return total

    rows = prices.sensitivity(bill, ranges)
    bases = {name: base for name, (_, base, _) in ranges.items()}
    ends = {}
    for row in rows:
        low, high = (names[tuple({**bases, row.name: end}.values())] for end in (row.low, row.high))
        ends[row.name] = (low, high)
    return rows, ends


def _nowhere(work: str, assumed: Assumptions) -> bool:
    """Whether no machine has a known share of that kind of work."""
    return not any(known.split(" on ")[0] == work.split(" on ")[0] for known in assumed.shares)


def pareto(points: Mapping[str, tuple[float, float]]) -> list[str]:
    """Names of the points (cost, quality) that no other beats: none is at most as dear and at least as good, and better in one.

    >>> pareto({"a": (1, 1), "b": (2, 2), "c": (2, 1), "d": (3, 2)})
    ['a', 'b']
    """
    best, front = -math.inf, []
    for name, (_, quality) in sorted(points.items(), key=lambda p: (p[1][0], -p[1][1])):
        if quality > best:
            front.append(name)
            best = quality
    return front


def recommendations_per_month(traffic: Traffic, utilization: float) -> float:
    """Lists served in a month: the rate is a peak, and its mean is the share of held time that does work."""
    return traffic.requests_per_s * utilization * convert(1, "month", "s")


def quality_to_pay(
    dearer: Choice, base: Choice, recommendations: float, usd_per_million_and_point: float, quality: str = "seen"
) -> Quantity:
    """NDCG@10 that the dearer way must have to earn its extra bill.

    One hundredth of NDCG@10 earns ``usd_per_million_and_point`` more per million recommendations. Needed is
    ``base + extra / (millions x earnings per hundredth) / 100``; at most 1 is possible, and more than 1 says that it never pays.

    Raises:
        InputError: the base's quality is unknown.
    """
    value = (base.seen if quality == "seen" else base.new).value
    if value is None:
        raise InputError(f"{base.name}: quality_to_pay wants a base whose quality was measured")
    positive("usd_per_million_and_point", usd_per_million_and_point)
    extra = dearer.usd_per_month.value - base.usd_per_month.value
    points = extra / (positive("recommendations", recommendations) / 1e6 * usd_per_million_and_point)
    inputs = {
        "base": base.name,
        "base_ndcg": value,
        "extra_usd_per_month": extra,
        "recommendations_per_month": recommendations,
        "usd_per_million_and_point": usd_per_million_and_point,
    }
    return Quantity(max(0.0, value + points / 100), "1", inputs, dearer.usd_per_month.basis)


def break_even(reader: Choice, base: Choice, usd_per_new_item: float, gain: float | None = None) -> Quantity:
    """New items a day above which a way that reads texts pays, against one that does not.

    An item placed as well as can be (NDCG 1) instead of not at all (0) earns ``usd_per_new_item`` until people have spoken about
    it; the reader earns its share by the NDCG it gains on new items. ``gain`` replaces the measured one. Serving and refreshes are
    the bill's difference, encoding is counted per item.

    Raises:
        InputError: the gain was not measured and none is given.
    """
    if gain is None:
        if reader.new.value is None or base.new.value is None:
            raise InputError(f"{reader.name}: its quality on new items was not measured; say what gain to assume")
        gain = reader.new.value - base.new.value
    extra = _standing_usd(reader) - _standing_usd(base)
    value = max(0.0, gain) * positive("usd_per_new_item", usd_per_new_item)
    found = prices.break_even_items_per_day(extra, reader.usd_per_item().value, value)
    inputs = {**found.inputs, "reader": reader.name, "base": base.name, "gain_ndcg": gain}
    return Quantity(found.value, found.unit, inputs, reader.stacks[0].basis)


def _standing_usd(choice: Choice) -> float:
    """What the month costs without the items that are new in it."""
    return choice.usd_per_month.value - choice.usd_per_month.inputs["new_items_usd"]


def items_per_month(traffic: Traffic) -> float:
    """Items encoded in a month: the new ones and the refreshed ones."""
    return traffic.new_items_per_day * DAYS_PER_MONTH + traffic.refreshes_per_month * traffic.items


# ---------------------------------------------------------------- the same model elsewhere


def tables() -> dict[str, Any]:
    """All that the model reads, as plain JSON types: from it ``recsys_lib/explorer/model.js`` computes the same numbers."""
    readers = sorted({reader for w in WAYS for reader in w.readers})
    assumed = Assumptions()
    return {
        "units": {"hour_s": convert(1, "h", "s"), "month_h": HOURS_PER_MONTH, "month_days": DAYS_PER_MONTH},
        "idle_share": IDLE_SHARE,
        "usable": prices.USABLE,
        "machines": [_machine_row(m) for m in rentable()],
        "ways": [_way_row(w) for w in WAYS],
        "quality": {p: {w.name: [q.value for q in w.quality(p)] for w in WAYS} for p in protocols()},
        "text_lengths": list(TEXT_LENGTHS),
        "encode": {r: {t: _work(encode_work(r, t, assumed.encode_batch)) for t in TEXT_LENGTHS} for r in readers},
        "static_readers": [r for r in readers if not READERS[r][0]],
        "rerank_batches": list(RERANK_BATCHES),
        "rerank": {t: {b: _rerank_row(t, b, assumed) for b in RERANK_BATCHES} for t in TEXT_LENGTHS},
        "assumptions": {k: v for k, v in vars(assumed).items() if k != "shares"},
        "shares": recorded_shares(),
        "works": list(works()),
        "scenarios": {
            name: {**vars(s.traffic), "about": s.about, "text_tokens": s.text_tokens, "seen": s.seen, "new": s.new}
            for name, s in scenarios().items()
        },
        "protocol": PROTOCOL,
    }


def _work(work: Work) -> list:
    return [work.operations, work.bytes, work.precision]


def _machine_row(machine: Hardware) -> dict[str, Any]:
    offer = machine.price
    return {
        "name": machine.name,
        "about": machine.about,
        "kind": machine.kind,
        "cores": machine.cores,
        "memory_bytes": machine.memory_bytes,
        "bandwidth": machine.bandwidth_bytes_per_s,
        "peaks": {p: machine.operations_per_s(half(machine, p)) for p in ("float32", "int8", "half")},
        "watts": machine.watts,
        "usd_per_hour": offer.usd_per_hour,
        "offer": offer.offer,
        "date": offer.date.isoformat(),
    }


def _way_row(way: Way) -> dict[str, Any]:
    return {
        "name": way.name,
        "kind": way.kind,
        "serves": list(way.serves),
        "readers": list(way.readers),
        "reranker": way.reranker,
        "dimensions": way.dimensions,
    }


def _rerank_row(tokens: int, batch: int, assumed: Assumptions) -> list:
    read, write, held = rerank_works(RERANKER, tokens, batch, assumed.shown, assumed.candidates)
    return [_work(read), _work(write), held]
