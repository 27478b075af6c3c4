"""What recommendations cost: per million, per catalogue refresh, per month; what is cheapest, and what pays.

A *recommendation* is one list served to one user. Prices are of hours that a machine is held, so time not used is paid for:
``utilization`` is the share of held time that does work. Every result is a ``Quantity`` with its inputs and its basis.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from recsys_lib.core.errors import InputError
from recsys_lib.cost.energy import model_watts
from recsys_lib.cost.machines import Hardware
from recsys_lib.cost.units import DAYS_PER_MONTH, HOURS_PER_MONTH, Quantity, convert, fraction, positive

# Held time that does work on a machine sized for the peak of a day: a planning value, not a measurement.
UTILIZATION = 0.5
# Memory that a model may fill; the rest is the system's and the runtime's.
USABLE = 0.9
BASES = ("measured", "bound", "model")


def _basis(basis: str) -> str:
    if basis not in BASES:
        raise InputError(f"basis={basis!r}: expected one of {', '.join(BASES)}")
    return basis


def _paid(machine: Hardware, work_s: float, unit: str, utilization: float, basis: str, **inputs) -> Quantity:
    """Dollars for ``work_s`` seconds of work on ``machine``; the unit's denominator is the caller's."""
    price = machine.price
    usd = convert(price.usd_per_hour, "USD/h", "USD/s") * work_s / fraction("utilization", utilization)
    shown = {
        **inputs,
        "machine": machine.name,
        "usd_per_hour": price.usd_per_hour,
        "price_offer": price.offer,
        "price_date": price.date.isoformat(),
        "utilization": utilization,
    }
    return Quantity(usd, unit, shown, _basis(basis))


def _spent(machine: Hardware, work_s: float, unit: str, utilization: float, basis: str, **inputs) -> Quantity:
    """Joules for ``work_s`` seconds of work, by the power model; idling between pieces of work is charged to them."""
    fraction("utilization", utilization)
    held_s = work_s / utilization
    expected, low, high = (watts * held_s for watts in model_watts(machine.watts, utilization))
    shown = {
        **inputs,
        "machine": machine.name,
        "power_w": machine.watts,
        "power_counts": machine.power_counts,
        "utilization": utilization,
        "low_joules": low,
        "high_joules": high,
        "time_basis": _basis(basis),
    }
    return Quantity(expected, unit, shown, "model")


def usd_per_million(
    machine: Hardware, seconds_each: float, utilization: float = UTILIZATION, basis: str = "measured"
) -> Quantity:
    """Dollars per million recommendations that each occupy the machine for ``seconds_each`` (one over its throughput).

    >>> from recsys_lib.cost.machines import hardware
    >>> round(usd_per_million(hardware("t4"), 0.001, utilization=1.0).value, 4)
    0.1461
    """
    seconds = positive("seconds_each", seconds_each)
    return _paid(machine, 1e6 * seconds, "USD/million", utilization, basis, seconds_each=seconds)


def joules_per_million(
    machine: Hardware, seconds_each: float, utilization: float = UTILIZATION, basis: str = "measured"
) -> Quantity:
    """Joules per million recommendations, by the power model; ``low_joules`` and ``high_joules`` are in the inputs."""
    seconds = positive("seconds_each", seconds_each)
    return _spent(machine, 1e6 * seconds, "J/million", utilization, basis, seconds_each=seconds)


def _refresh_s(items: float, seconds_per_item: float, refit_s: float) -> float:
    return positive("items", items) * positive("seconds_per_item", seconds_per_item, zero=True) + positive(
        "refit_s", refit_s, zero=True
    )


def usd_per_refresh(
    machine: Hardware,
    items: int,
    seconds_per_item: float,
    refit_s: float = 0.0,
    utilization: float = 1.0,
    basis: str = "measured",
) -> Quantity:
    """Dollars to make the catalogue anew: encode every item, refit what is fitted. A batch job keeps its machine busy."""
    work_s = _refresh_s(items, seconds_per_item, refit_s)
    inputs = {"items": items, "seconds_per_item": seconds_per_item, "refit_s": refit_s}
    return _paid(machine, work_s, "USD", utilization, basis, **inputs)


def joules_per_refresh(
    machine: Hardware,
    items: int,
    seconds_per_item: float,
    refit_s: float = 0.0,
    utilization: float = 1.0,
    basis: str = "measured",
) -> Quantity:
    """Joules to make the catalogue anew, by the power model."""
    work_s = _refresh_s(items, seconds_per_item, refit_s)
    inputs = {"items": items, "seconds_per_item": seconds_per_item, "refit_s": refit_s}
    return _spent(machine, work_s, "J", utilization, basis, **inputs)


def usd_of_energy(energy: Quantity, usd_per_kwh: float, pue: float = 1.0) -> Quantity:
    """What energy costs at a price per kWh; ``pue`` (power usage effectiveness, at least 1) adds cooling and conversion.

    >>> usd_of_energy(Quantity(7.2e6, "J"), 0.25).value
    0.5
    """
    if positive("pue", pue) < 1:
        raise InputError(f"pue={pue}: a data centre draws at least what its machines draw (1)")
    kwh = energy.to("kWh").value
    inputs = {**energy.inputs, "kwh": kwh, "usd_per_kwh": positive("usd_per_kwh", usd_per_kwh), "pue": pue}
    return Quantity(kwh * usd_per_kwh * pue, "USD", inputs, energy.basis)


def usd_per_hour_owned(
    purchase_usd: float, years: float, power_w: float, usd_per_kwh: float, pue: float = 1.2, utilization: float = 1.0
) -> Quantity:
    """An hour of a machine one owns: its price written off evenly, and its power (the model's at ``utilization``)."""
    write_off = convert(positive("purchase_usd", purchase_usd) / positive("years", years), "USD/year", "USD/h")
    watts = model_watts(power_w, fraction("utilization", utilization))[0]
    power = usd_of_energy(Quantity(watts * 3600, "J"), usd_per_kwh, pue).value
    inputs = {
        "purchase_usd": purchase_usd,
        "years": years,
        "power_w": power_w,
        "usd_per_kwh": usd_per_kwh,
        "pue": pue,
        "utilization": utilization,
    }
    return Quantity(write_off + power, "USD/h", inputs, "model")


@dataclass(frozen=True)
class Traffic:
    """What a service asks for. ``requests_per_s`` is the rate to be sized for, the peak rather than the mean."""

    users: int
    requests_per_s: float
    items: int
    new_items_per_day: float
    refreshes_per_month: float
    latency_limit_s: float

    def __post_init__(self) -> None:
        for name in ("users", "requests_per_s", "items", "latency_limit_s"):
            positive(name, getattr(self, name))
        for name in ("new_items_per_day", "refreshes_per_month"):
            positive(name, getattr(self, name), zero=True)


@dataclass(frozen=True)
class Stack:
    """One way to recommend, on one machine, with its times measured or bounded there.

    request_s: latency of one request. requests_per_s: most that one replica serves (one machine, or as many as hold it).
    item_s: to bring one item in (encode it). refit_s: what a refresh takes besides. memory_bytes: model and index overhead;
    bytes_per_item and bytes_per_user grow with the traffic. basis: where the times come from. batch_machine: where items are
    brought in, held only for that long, if it is not the one that serves (an encoder may need a card, its vectors do not).
    """

    name: str
    machine: Hardware
    request_s: float
    requests_per_s: float
    item_s: float = 0.0
    refit_s: float = 0.0
    memory_bytes: float = 0.0
    bytes_per_item: float = 0.0
    bytes_per_user: float = 0.0
    basis: str = "measured"
    batch_machine: Hardware | None = None

    def __post_init__(self) -> None:
        _basis(self.basis)
        for name in ("request_s", "requests_per_s"):
            positive(name, getattr(self, name))
        for name in ("item_s", "refit_s", "memory_bytes", "bytes_per_item", "bytes_per_user"):
            positive(name, getattr(self, name), zero=True)

    def needs_bytes(self, traffic: Traffic) -> float:
        """Memory one replica holds."""
        return self.memory_bytes + self.bytes_per_item * traffic.items + self.bytes_per_user * traffic.users


def machines_serving(stack: Stack, traffic: Traffic, utilization: float = UTILIZATION, usable: float = USABLE) -> int:
    """Machines held to serve the traffic: enough for the rate at ``utilization``, each replica spread over enough memory."""
    replicas = math.ceil(traffic.requests_per_s / (stack.requests_per_s * fraction("utilization", utilization)))
    shards = math.ceil(stack.needs_bytes(traffic) / (stack.machine.memory_bytes * fraction("usable", usable)))
    return replicas * max(1, shards)


def usd_per_month(stack: Stack, traffic: Traffic, utilization: float = UTILIZATION, usable: float = USABLE) -> Quantity:
    """Dollars per month: machines held all month to serve, hours to refresh the catalogue, hours to bring new items in.

    The three parts are in the inputs as ``serving_usd``, ``refresh_usd`` and ``new_items_usd``.
    """
    machine, price, batch = stack.machine, stack.machine.price, stack.batch_machine or stack.machine
    held = machines_serving(stack, traffic, utilization, usable)
    serving = held * convert(price.usd_per_hour, "USD/h", "USD/month")
    encode = usd_per_refresh(batch, traffic.items, stack.item_s).value
    refit = usd_per_refresh(machine, traffic.items, 0.0, stack.refit_s).value
    refresh = (encode + refit) * traffic.refreshes_per_month
    new_s = traffic.new_items_per_day * DAYS_PER_MONTH * stack.item_s
    new = _paid(batch, new_s, "USD", 1.0, stack.basis).value
    inputs = {
        "stack": stack.name,
        "machine": machine.name,
        "machines": held,
        "usd_per_hour": price.usd_per_hour,
        "price_offer": price.offer,
        "price_date": price.date.isoformat(),
        "batch_machine": batch.name,
        "batch_usd_per_hour": batch.price.usd_per_hour,
        "item_s": stack.item_s,
        "refit_s": stack.refit_s,
        "requests_per_s_and_machine": stack.requests_per_s,
        "hours_per_month": HOURS_PER_MONTH,
        "utilization": utilization,
        **vars(traffic),
        "serving_usd": serving,
        "refresh_usd": refresh,
        "new_items_usd": new,
    }
    return Quantity(serving + refresh + new, "USD/month", inputs, stack.basis)


def joules_per_month(
    stack: Stack, traffic: Traffic, utilization: float = UTILIZATION, usable: float = USABLE
) -> Quantity:
    """Joules per month, by the power model: machines held all month, refreshes and new items."""
    machine, held = stack.machine, machines_serving(stack, traffic, utilization, usable)
    serving_s = held * convert(1, "month", "s") * utilization
    items = traffic.refreshes_per_month * traffic.items + traffic.new_items_per_day * DAYS_PER_MONTH
    serving = _spent(machine, serving_s, "J/month", utilization, stack.basis, stack=stack.name, machines=held)
    encode = _spent(stack.batch_machine or machine, items * stack.item_s, "J/month", 1.0, stack.basis)
    refit = _spent(machine, traffic.refreshes_per_month * stack.refit_s, "J/month", 1.0, stack.basis)
    batch = encode.value + refit.value
    inputs = {**serving.inputs, **vars(traffic), "serving_joules": serving.value, "batch_joules": batch}
    for end in ("low_joules", "high_joules"):
        inputs[end] = serving.inputs[end] + encode.inputs[end] + refit.inputs[end]
    return Quantity(serving.value + batch, "J/month", inputs, "model")


@dataclass(frozen=True)
class Verdict:
    """The cheapest stack that meets the limit, its bill, and why each other one was passed over."""

    stack: Stack
    usd_per_month: Quantity
    passed_over: dict[str, str]


def cheapest(stacks: Iterable[Stack], traffic: Traffic, utilization: float = UTILIZATION) -> Verdict:
    """The stack (a model on a machine) with the lowest monthly bill among those within the latency limit.

    Raises:
        InputError: none is within the limit; the message names the fastest.
    """
    candidates = list(stacks)
    if not candidates:
        raise InputError("cheapest: no stack to choose from")
    within = [s for s in candidates if s.request_s <= traffic.latency_limit_s]
    if not within:
        fastest = min(candidates, key=lambda s: s.request_s)
        raise InputError(
            f"no stack answers within {traffic.latency_limit_s:g} s: "
            f"the fastest, {fastest.name} on {fastest.machine.name}, takes {fastest.request_s:g} s"
        )
    bills = [(s, usd_per_month(s, traffic, utilization)) for s in within]
    # Ties go to the faster.
    best, bill = min(bills, key=lambda pair: (pair[1].value, pair[0].request_s))
    reasons = {
        f"{s.name} on {s.machine.name}": f"takes {s.request_s:g} s, limit {traffic.latency_limit_s:g} s"
        for s in candidates
        if s.request_s > traffic.latency_limit_s
    }
    reasons |= {
        f"{s.name} on {s.machine.name}": f"costs {b.value:,.2f} USD/month, {b.value - bill.value:,.2f} more"
        for s, b in bills
        if s is not best
    }
    return Verdict(best, bill, reasons)


def break_even_items_per_day(
    extra_usd_per_month: float, usd_per_item: float, value_usd_per_item: float, basis: str = "model"
) -> Quantity:
    """New items per day above which a dearer stack pays.

    It costs ``extra_usd_per_month`` more to run and ``usd_per_item`` more for each new item, and earns ``value_usd_per_item``
    more on each. ``n = extra / (days per month x (value - cost))``; infinite where an item earns no more than it costs, 0
    where the stack is no dearer to run.

    >>> round(break_even_items_per_day(304.375, 0.01, 0.11).value, 6)
    100.0
    """
    if not math.isfinite(extra_usd_per_month):
        raise InputError(f"extra_usd_per_month={extra_usd_per_month}: expected a finite number")
    cost, value = positive("usd_per_item", usd_per_item, zero=True), positive("value", value_usd_per_item, zero=True)
    margin = (value - cost) * DAYS_PER_MONTH
    items = max(0.0, extra_usd_per_month) / margin if margin > 0 else math.inf
    inputs = {
        "extra_usd_per_month": extra_usd_per_month,
        "usd_per_item": usd_per_item,
        "value_usd_per_item": value_usd_per_item,
        "days_per_month": DAYS_PER_MONTH,
    }
    return Quantity(items, "1/day", inputs, _basis(basis))


@dataclass(frozen=True)
class TornadoRow:
    """One input moved alone from ``low`` to ``high``: the result at each end, the rest at their base values."""

    name: str
    low: float
    high: float
    at_low: float
    at_high: float
    at_base: float
    unit: str

    @property
    def swing(self) -> float:
        return abs(self.at_high - self.at_low)


def sensitivity(
    function: Callable[..., Quantity | float], ranges: Mapping[str, tuple[float, float, float]]
) -> tuple[TornadoRow, ...]:
    """One-at-a-time sensitivity: rows for a tornado figure, largest swing first.

    ranges: keyword argument of ``function`` to ``(low, base, high)``.

    >>> rows = sensitivity(lambda price, hours: price * hours, {"price": (1, 2, 3), "hours": (9, 10, 11)})
    >>> [(r.name, r.at_low, r.at_high) for r in rows]
    [('price', 10.0, 30.0), ('hours', 18.0, 22.0)]
    """
    if not ranges:
        raise InputError("sensitivity: no input to move")
    for name, (low, base, high) in ranges.items():
        if not low <= base <= high:
            raise InputError(f"{name}: expected low <= base <= high, got {low}, {base}, {high}")
    bases = {name: base for name, (_, base, _) in ranges.items()}
    at_base, unit = _value(function(**bases))
    rows = []
    for name, (low, _, high) in ranges.items():
        (at_low, low_unit), (at_high, high_unit) = (_value(function(**{**bases, name: end})) for end in (low, high))
        if {low_unit, high_unit} != {unit}:
            raise InputError(f"{name}: the result changes its unit from {unit} to {low_unit} or {high_unit}")
        rows.append(TornadoRow(name, low, high, at_low, at_high, at_base, unit))
    return tuple(sorted(rows, key=lambda row: -row.swing))


def _value(result: Quantity | float) -> tuple[float, str]:
    return (result.value, result.unit) if isinstance(result, Quantity) else (float(result), "1")
