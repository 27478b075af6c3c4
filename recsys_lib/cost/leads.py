"""How far one option leads another in dollars, with the interval that its measured quality leaves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from recsys_lib.cost.services import Service
from recsys_lib.cost.uncertainty import MethodQuality
from recsys_lib.cost.units import two_digits

INTERVAL = (2.5, 97.5)


def dollars(value: float) -> str:
    """US dollars with two significant digits, the sign first.

    >>> dollars(-22657.0), dollars(41.9)
    ('-$23,000', '$42')
    """
    return f"{'-' if value < 0 else ''}${two_digits(abs(value))}"


@dataclass(frozen=True)
class Lead:
    """What one option earns a month less its bill, beyond what another does, in US dollars; low and high:
    the 95% interval over the paired bootstrap samples of both qualities, at the bills of the base case.
    """

    usd_per_month: float
    low: float
    high: float

    @property
    def tied(self) -> bool:
        """Whether the interval holds 0: which of the two earns more is not decided."""
        return self.low <= 0 <= self.high

    @property
    def interval(self) -> str:
        """Both ends as printed."""
        return f"[{dollars(self.low)}, {dollars(self.high)}]"

    @property
    def cell(self) -> str:
        """For a table whose head names dollars a month: a page takes what stands between two dollar signs
        for a formula.
        """
        text = f"{dollars(self.usd_per_month)} {self.interval}{', tied' if self.tied else ''}"
        return text.replace("$", "")

    def __str__(self) -> str:
        return f"{dollars(self.usd_per_month)} a month {self.interval}"


def lead(
    one: MethodQuality,
    other: MethodQuality,
    bills: tuple[float, float],
    service: Service,
    usd_per_point: float,
) -> Lead | None:
    """How far ``one`` leads ``other``; ``bills``: of both, in dollars a month. None where a quality that
    counts was not measured.

    A method without samples is taken as exact.

    >>> a, b = MethodQuality("EASE", 0.4, 0.0, [0.3, 0.5]), MethodQuality("ItemKNN", 0.3, 0.0, [0.29, 0.31])
    >>> service = Service(users=1, requests_per_s=1.0, items=10, cold_requests=0.0)
    >>> print(lead(a, b, (100.0, 100.0), service, 10.0))
    $130 a month [$19, $240]
    """
    worth = 100 * usd_per_point * service.lists_per_month / 1e6
    found = [_quality(method, service.cold_share) for method in (one, other)]
    if any(value is None for value, _ in found):
        return None
    bill = bills[0] - bills[1]
    (first, of_first), (second, of_second) = found
    assert first is not None and second is not None
    counts = [len(samples) for samples in (of_first, of_second) if len(samples) > 1]
    n = min(counts, default=1)
    drawn = worth * (of_first[:n] - of_second[:n]) - bill
    low, high = np.percentile(drawn, INTERVAL)
    return Lead(worth * (first - second) - bill, float(low), float(high))


def _quality(method: MethodQuality, cold_share: float) -> tuple[float | None, np.ndarray]:
    """NDCG@10 over all requests, None where a part was not measured, and its samples; one value without."""
    parts: list[tuple[float, float | None, np.ndarray]] = [
        (1 - cold_share, method.warm, np.asarray(method.warm_samples)),
        (cold_share, method.cold, np.asarray(method.cold_samples)),
    ]
    counted = [part for part in parts if part[0] > 0]
    if any(value is None for _, value, _ in counted):
        return None, np.empty(0)
    n = min((len(samples) for _, _, samples in counted if len(samples)), default=1)
    value, total = 0.0, np.zeros(n)
    for weight, part, samples in counted:
        assert part is not None
        value += weight * part
        total = total + weight * (samples[:n] if len(samples) else part)
    return value, total


def leads_of(
    methods: Mapping[str, MethodQuality],
    bills: Mapping[str, float],
    best: str,
    service: Service,
    usd_per_point: float,
) -> dict[str, Lead]:
    """How far ``best`` leads each of the others that were measured and have a bill."""
    found = {
        name: lead(methods[best], methods[name], (bills[best], bill), service, usd_per_point)
        for name, bill in bills.items()
        if name != best
    }
    return {name: one for name, one in found.items() if one is not None}
