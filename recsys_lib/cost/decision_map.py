"""The decision without a threshold: which option is best where, how surely, and what the second best would
lose.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from recsys_lib.core.errors import InputError
from recsys_lib.cost.assumptions import Assumptions
from recsys_lib.cost.leads import INTERVAL
from recsys_lib.cost.services import Service
from recsys_lib.cost.turning_points import net_usd_by_method, net_usd_moved
from recsys_lib.cost.uncertainty import RANGES, Draws, MethodQuality


@dataclass(frozen=True)
class DecisionMap:
    """Over the fraction of requests for cold items ``[x]`` and the dollars that 0.01 NDCG@10 is worth per
    million lists ``[y]``.

    best: index into ``names`` of the best option in the base case ``[y, x]``, -1 where none can serve.
    probability: that it is the best, over all draws. regret: mean dollars per million lists lost by the
    second best of the base case, 0 without one. tied: whether the 95% interval of that loss holds 0.
    """

    names: tuple[str, ...]
    cold_shares: np.ndarray
    usd_per_point: np.ndarray
    best: np.ndarray
    probability: np.ndarray
    regret: np.ndarray
    tied: np.ndarray

    def name_at(self, y: int, x: int) -> str:
        """The best option there, or "none"."""
        return self.names[self.best[y, x]] if self.best[y, x] >= 0 else "none"

    @property
    def winners(self) -> list[str]:
        """The options that are best somewhere, by falling area."""
        found, counts = np.unique(self.best[self.best >= 0], return_counts=True)
        return [self.names[i] for i in found[np.argsort(-counts, kind="stable")]]


def decision_map(draws: Draws, cold_shares: Sequence[float], usd_per_point: Sequence[float]) -> DecisionMap:
    """The best option at every point of the two axes.

    Raises:
        InputError: an empty axis.
    """
    if not len(cold_shares) or not len(usd_per_point):
        raise InputError("decision_map: expected at least one value on each axis")
    shape = (len(usd_per_point), len(cold_shares))
    best, probability, regret = np.full(shape, -1), np.zeros(shape), np.zeros(shape)
    tied = np.zeros(shape, dtype=bool)
    for x, share in enumerate(cold_shares):
        for y, worth in enumerate(usd_per_point):
            net = draws.net_usd(share, worth)
            order = np.argsort(-net[0], kind="stable")
            if not np.isfinite(net[0, order[0]]):
                continue
            best[y, x] = order[0]
            leads = net.max(axis=1) == net[:, order[0]]
            probability[y, x] = float((leads & np.isfinite(net[:, order[0]])).mean())
            if len(order) > 1 and np.isfinite(net[0, order[1]]):
                both = np.isfinite(net[:, order[:2]]).all(axis=1)
                lost = net[both, order[0]] - net[both, order[1]]
                regret[y, x] = float((lost / draws.millions[both]).mean())
                low, high = np.percentile(lost, INTERVAL)
                tied[y, x] = low <= 0 <= high
    axes = np.asarray(cold_shares), np.asarray(usd_per_point)
    return DecisionMap(draws.names, *axes, best, probability, regret, tied)


def pareto(points: Mapping[str, tuple[float, float]]) -> list[str]:
    """Names of the points (dollars, quality) that no other beats: none costs at most as much and is at
    least as good, and better in one.

    >>> pareto({"a": (1, 1), "b": (2, 2), "c": (2, 1), "d": (3, 2)})
    ['a', 'b']
    """
    best, front = -math.inf, []
    for name, (_, quality) in sorted(points.items(), key=lambda p: (p[1][0], -p[1][1])):
        if quality > best:
            front.append(name)
            best = quality
    return front


# ---------------------------------------------------------------- what moves it


@dataclass(frozen=True)
class TornadoRow:
    """One input moved alone by a factor: the lead of the base case's best over the best of all others, in
    dollars per million lists, at both ends; below 0 the choice changes, to ``then_low`` or ``then_high``.
    """

    name: str
    low: float
    high: float
    at_low: float
    at_high: float
    at_base: float
    then_low: str
    then_high: str

    @property
    def flips(self) -> bool:
        return min(self.at_low, self.at_high) < 0

    @property
    def swing(self) -> float:
        return abs(self.at_high - self.at_low)


# Factors on every input that the choice depends on. Prices, load and speed: the ranges of ``uncertainty``.
TORNADO: dict[str, tuple[float, float]] = {
    "usd_per_point": (0.1, 10.0),
    "cold_requests": (0.1, 10.0),
    "requests_per_s": (0.1, 10.0),
    "items": (0.1, 10.0),
    "users": (0.1, 10.0),
    "new_items_per_day": (0.1, 10.0),
    "text_tokens": (0.25, 4.0),
    "latency_limit_s": (0.3, 10.0),
    "refits_per_month": (0.25, 8.0),
    **RANGES,
}


def tornado(
    methods: Mapping[str, MethodQuality],
    service: Service,
    a: Assumptions,
    usd_per_point: float,
    ranges: Mapping[str, tuple[float, float]] | None = None,
) -> list[TornadoRow]:
    """Every input moved alone, and the qualities together over 95% of their bootstrap samples, largest
    swing first.

    Raises:
        InputError: no option can serve the base case.
    """
    fixed = service.change(cold_requests=service.cold_share)
    base = net_usd_by_method(methods, fixed, a, usd_per_point)
    best = max(base, key=lambda name: base[name])
    if base[best] == -math.inf:
        raise InputError(f"tornado: no option measured can serve {service.name}")
    at_base = _lead(base, best)[0] / (fixed.lists_per_month / 1e6)
    rows = []
    for name, factors in (ranges or TORNADO).items():
        ends = []
        for factor in factors:
            net, millions = net_usd_moved(methods, fixed, a, usd_per_point, name, factor)
            lead, leader = _lead(net, best)
            ends.append((lead / millions if math.isfinite(lead) else -usd_per_point * 100, leader))
        (at_low, then_low), (at_high, then_high) = ends
        rows.append(TornadoRow(name, *factors, at_low, at_high, at_base, then_low, then_high))
    rows += _quality_row(methods, base, fixed, usd_per_point, best)
    return sorted(rows, key=lambda row: -row.swing)


def _lead(net: Mapping[str, float], best: str) -> tuple[float, str]:
    """How far ``best`` leads the best of the others, and who leads."""
    other = max((name for name in net if name != best), key=lambda name: net[name], default=best)
    if other == best or net[other] == -math.inf:
        return (0.0 if net[best] == -math.inf else net[best]), best
    lead = net[best] - net[other]
    return lead, best if lead >= 0 else other


def _quality_row(
    methods: Mapping[str, MethodQuality],
    net: Mapping[str, float],
    service: Service,
    usd_per_point: float,
    best: str,
) -> list[TornadoRow]:
    """All qualities at once, each from the same resampled users: the lead's 95% interval; none without
    samples.
    """
    share, leads, leaders = service.cold_share, [], []
    draws = min((len(q.warm_samples) for n, q in methods.items() if net[n] > -math.inf), default=0)
    for i in range(draws):
        drawn = {}
        for name, q in methods.items():
            if net[name] == -math.inf:
                continue
            warm = (1 - share) * (q.warm_samples[i] - (q.warm or 0.0))
            cold = share * (q.cold_samples[i] - (q.cold or 0.0)) if share else 0.0
            drawn[name] = net[name] / (service.lists_per_month / 1e6) + 100 * usd_per_point * (warm + cold)
        lead, leader = _lead(drawn, best)
        leads.append(lead)
        leaders.append(leader)
    if not leads:
        return []
    order = np.argsort(leads, kind="stable")
    low, high = order[int(0.025 * draws)], order[min(draws - 1, int(0.975 * draws))]
    base = _lead(net, best)[0] / (service.lists_per_month / 1e6)
    return [TornadoRow("quality", 0.025, 0.975, leads[low], leads[high], base, leaders[low], leaders[high])]
