"""The service that is decided for: its traffic, its catalogue and its limits."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields, replace
from typing import Any

from recsys_lib.core.errors import InputError
from recsys_lib.core.paths import TABLES
from recsys_lib.cost.units import DAYS_PER_MONTH, convert, fraction, positive

SERVICES = TABLES / "services.toml"
WHOLE_NUMBERS = ("users", "items", "text_tokens")


@dataclass(frozen=True)
class Service:
    """What a service asks for.

    users, items: in all. requests_per_s: lists a second at the peak, which machines are held for.
    new_items_per_day: encoded as they come. refits_per_month: times a model of interactions is fitted anew.
    latency_limit_s: for the 99th percentile, waiting included. text_tokens: of an item's text.
    cold_requests: fraction of the requests that concern items without interactions; None: estimated as the
    fraction of the catalogue that is cold. cold_days: days until an item has interactions; it stays cold
    until the refit that learns them. mean_to_peak: mean rate over a month as a fraction of the peak.

    Raises:
        InputError: a number out of its range.
    """

    users: int
    requests_per_s: float
    items: int
    new_items_per_day: float = 0.0
    latency_limit_s: float = 0.1
    refits_per_month: float = 4.0
    text_tokens: int = 64
    cold_requests: float | None = None
    cold_days: float = 7.0
    mean_to_peak: float = 0.5
    name: str = "your service"
    about: str = ""

    def __post_init__(self) -> None:
        for name in ("users", "requests_per_s", "items", "latency_limit_s", "text_tokens", "cold_days"):
            positive(name, getattr(self, name))
        for name in ("new_items_per_day", "refits_per_month"):
            positive(name, getattr(self, name), zero=True)
        fraction("mean_to_peak", self.mean_to_peak)
        if self.cold_requests is not None and not 0 <= self.cold_requests <= 1:
            raise InputError(f"cold_requests={self.cold_requests!r}: expected a fraction from 0 to 1")

    @property
    def cold_items(self) -> float:
        """Items that no model of interactions knows: those of the last ``cold_days``, or of the days between
        two refits if these are more; at most all.
        """
        between = DAYS_PER_MONTH / self.refits_per_month if self.refits_per_month else 0.0
        return min(float(self.items), self.new_items_per_day * max(self.cold_days, between))

    @property
    def cold_share(self) -> float:
        """Fraction of the requests that concern cold items, as given or as estimated from the new items."""
        return self.cold_items / self.items if self.cold_requests is None else self.cold_requests

    @property
    def lists_per_month(self) -> float:
        """Lists served in a mean month."""
        return self.requests_per_s * self.mean_to_peak * convert(1, "month", "s")

    def change(self, **moved: Any) -> Service:
        """The same with other values of the named fields; counts are rounded.

        Raises:
            InputError: a field that does not exist, or a value out of its range.
        """
        known = [f.name for f in fields(self)]
        unknown = sorted(set(moved) - set(known))
        if unknown:
            raise InputError(
                f"service {self.name}: no field {', '.join(unknown)}; expected one of {', '.join(known)}"
            )
        # A small count divided by a large factor stays a count: 300 items over 1,000 are 1.
        counts = {k: max(1, round(v)) if v > 0 else v for k, v in moved.items() if k in WHOLE_NUMBERS}
        return replace(self, **moved | counts)


def services() -> dict[str, Service]:
    """The examples of ``data/services.toml`` by name."""
    with open(SERVICES, "rb") as file:
        return {name: Service(name=name, **row) for name, row in tomllib.load(file).items()}


def service(name: str) -> Service:
    """The example of that name.

    Raises:
        InputError: there is none.

    >>> service("shop").items
    100000
    """
    found = services()
    if name not in found:
        raise InputError(f"service {name!r}: expected one of {', '.join(found)} (data/services.toml)")
    return found[name]
