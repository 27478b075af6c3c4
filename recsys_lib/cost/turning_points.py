"""Which numbers would change the choice, and how far each has to move."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np

from recsys_lib.cost.assumptions import Assumptions
from recsys_lib.cost.deployments import cheapest
from recsys_lib.cost.services import Service
from recsys_lib.cost.uncertainty import MethodQuality, moved, options_of
from recsys_lib.cost.units import two_digits

# Factors tried on every number, nearest first; between the last that changes nothing and the first that
# does, bisection.
FACTORS = (1.5, 2.0, 4.0, 10.0, 30.0, 100.0, 1000.0)
STEPS = 6
WORDS = {
    "usd_per_point": "the value of 0.01 NDCG@10 per million lists",
    "cold_requests": "the fraction of requests for cold items",
    "requests_per_s": "the lists a second at the peak",
    "items": "the items in the catalogue",
    "latency_limit_s": "the latency limit in seconds",
    "new_items_per_day": "the new items a day",
    "cpu_price": "the price of processors, times the list",
    "speed": "the speed of the software, times the measured",
}


@dataclass(frozen=True)
class TurningPoint:
    """The value of one number at which another method becomes the best, and which."""

    number: str
    base: float
    value: float
    best: str
    then: str

    @property
    def factor(self) -> float:
        """How far away it is: the ratio of the larger to the smaller value."""
        return max(self.value, self.base) / max(min(self.value, self.base), 1e-12)

    @property
    def side(self) -> str:
        """Where the other method is the best: above or below ``value``."""
        return "above" if self.value > self.base else "below"

    def __str__(self) -> str:
        if self.number in WORDS:
            words, value, base = WORDS[self.number], two_digits(self.value), two_digits(self.base)
        else:
            # A quality differs in its third digit.
            words, value, base = self.number, f"{self.value:.4f}", f"{self.base:.4f}"
        return f"{words} {self.side} {value} (now {base}): {self.then}"


def nearest_turning_points(
    methods: Mapping[str, MethodQuality],
    service: Service,
    a: Assumptions,
    usd_per_point: float,
    count: int = 3,
) -> tuple[TurningPoint, ...]:
    """The ``count`` numbers that change the best method with the smallest change of their own, nearest
    first.
    """
    best_at = _best_at(methods, service, a, usd_per_point)
    found = []
    for number, base in _bases(service, a, usd_per_point).items():
        changes = [_first_change(best_at, number, base, up) for up in (True, False)]
        near = [p for p in changes if p]
        if near:
            found.append(min(near, key=lambda p: p.factor))
    found += _quality_point(methods, service, a, usd_per_point)
    return tuple(sorted(found, key=lambda p: p.factor)[:count])


def points_towards(
    methods: Mapping[str, MethodQuality], service: Service, a: Assumptions, usd_per_point: float, rival: str
) -> list[TurningPoint]:
    """Where ``rival`` becomes the best as the value of quality, or the catalogue, moves alone."""
    best_at, bases = _best_at(methods, service, a, usd_per_point), _bases(service, a, usd_per_point)
    found = [
        _first_change(best_at, number, bases[number], up)
        for number in ("usd_per_point", "items")
        if number in bases
        for up in (True, False)
    ]
    return [point for point in found if point and point.then == rival]


def _quality_point(
    methods: Mapping[str, MethodQuality], service: Service, a: Assumptions, usd_per_point: float
) -> list[TurningPoint]:
    """The NDCG@10 over all requests at which the second best would be the best."""
    net = net_usd_by_method(methods, service, a, usd_per_point)
    order = sorted(net, key=lambda name: -net[name])
    if usd_per_point == 0 or len(order) < 2 or net[order[1]] == -np.inf:
        return []
    second, share = methods[order[1]], service.cold_share
    now = (1 - share) * (second.warm or 0.0) + share * (second.cold or 0.0)
    needed = now + (net[order[0]] - net[order[1]]) / (usd_per_point * 100 * service.lists_per_month / 1e6)
    return (
        [TurningPoint(f"the NDCG@10 of {order[1]}", now, needed, order[0], order[1])]
        if 0 < now < needed <= 1
        else []
    )


def _bases(service: Service, a: Assumptions, usd_per_point: float) -> dict[str, float]:
    """The numbers that may move, with their values now; what is 0 has no factor and is left out."""
    values = {
        "usd_per_point": usd_per_point,
        "cold_requests": service.cold_share,
        "requests_per_s": service.requests_per_s,
        "items": float(service.items),
        "latency_limit_s": service.latency_limit_s,
        "new_items_per_day": service.new_items_per_day,
        "cpu_price": a.cpu_price,
        "speed": 1.0,
    }
    return {name: value for name, value in values.items() if value > 0}


def net_usd_by_method(
    methods: Mapping[str, MethodQuality], service: Service, a: Assumptions, usd_per_point: float
) -> dict[str, float]:
    """Dollars a month that each method's quality earns less what serving it costs; -inf where it cannot
    serve or was not measured.
    """
    share, found = service.cold_share, dict.fromkeys(methods, -np.inf)
    for (name, quality), option in zip(methods.items(), options_of(methods), strict=True):
        warm = 0.0 if share == 1 else quality.warm
        cold = 0.0 if share == 0 else quality.cold
        # What was not measured can never be best: it is not placed on machines.
        if warm is None or cold is None:
            continue
        one = cheapest(option, service, a)
        if not one.problem:
            mixed = (1 - share) * warm + share * cold
            found[name] = 100 * mixed * usd_per_point * service.lists_per_month / 1e6 - one.usd_per_month
    return found


def net_usd_moved(
    methods: Mapping[str, MethodQuality],
    service: Service,
    a: Assumptions,
    usd_per_point: float,
    number: str,
    factor: float,
) -> tuple[dict[str, float], float]:
    """``net_usd_by_method`` with one number multiplied (``usd_per_point``, or one of ``uncertainty.moved``),
    and the millions of lists a month then served.
    """
    if number == "usd_per_point":
        usd_per_point *= factor
    else:
        service, a = moved(service, a, {number: factor})
    return net_usd_by_method(methods, service, a, usd_per_point), service.lists_per_month / 1e6


def _best_at(
    methods: Mapping[str, MethodQuality], service: Service, a: Assumptions, usd_per_point: float
) -> Callable[[str, float], str]:
    """A function that names the best method when one number is multiplied."""
    # The fraction of cold requests moves on its own, not with the new items.
    fixed = service.change(cold_requests=service.cold_share)

    @cache
    def best(number: str, factor: float) -> str:
        net, _ = net_usd_moved(methods, fixed, a, usd_per_point, number, factor)
        leader = max(net, key=lambda name: net[name])
        return leader if net[leader] > -np.inf else "no option"

    return best


def _first_change(
    best_at: Callable[[str, float], str], number: str, base: float, up: bool
) -> TurningPoint | None:
    """Where the best method changes first as the number grows, or shrinks; None where it never does."""
    now, same = best_at(number, 1.0), 1.0
    for factor in FACTORS:
        factor = factor if up else 1 / factor
        if number == "cold_requests" and base * factor > 1:
            factor = 1 / base
        if best_at(number, factor) != now:
            for _ in range(STEPS):
                middle = (same * factor) ** 0.5
                same, factor = (middle, factor) if best_at(number, middle) == now else (same, middle)
            return TurningPoint(number, base, base * factor, now, best_at(number, factor))
        same = factor
    return None
