"""Machines by data sheet and price list: ``data/hardware.toml``.

Peaks are dense. NVIDIA's sheets print twice as much "with sparsity" for Ampere and later; no model here is
sparse. What a row does not say is refused, never guessed: an unknown precision, power or price is an
InputError.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from datetime import date
from functools import lru_cache

from recsys_lib.core.errors import InputError
from recsys_lib.core.paths import TABLES
from recsys_lib.cost.units import Quantity

TABLE = TABLES / "hardware.toml"
PUBLISHED = TABLES / "published.toml"


@dataclass(frozen=True)
class Price:
    """One offer: what an hour costs, of what, where it stands and when it was read."""

    usd_per_hour: float
    offer: str
    counts: str
    source: str
    date: date
    obtained: str


@dataclass(frozen=True)
class Hardware:
    """One machine or accelerator; ``peaks`` in dense operations per second by precision; ``cores`` of a
    processor.
    """

    name: str
    about: str
    kind: str
    memory_bytes: float
    bandwidth_bytes_per_s: float
    peaks: dict[str, float]
    source: str
    date: date
    obtained: str
    power_w: float | None = None
    power_counts: str = ""
    prices: tuple[Price, ...] = ()
    cores: int | None = None

    def operations_per_s(self, precision: str) -> float:
        """The dense peak in that precision."""
        if precision not in self.peaks:
            raise InputError(f"{self.name} has no peak for {precision!r}: known are {', '.join(self.peaks)}")
        return self.peaks[precision]

    def least_seconds(self, operations: float, n_bytes: float, precision: str) -> float:
        """The roofline's lower bound on time for so many operations and bytes moved."""
        return max(operations / self.operations_per_s(precision), n_bytes / self.bandwidth_bytes_per_s)

    def ridge_point(self, precision: str) -> float:
        """Operations per byte above which work is bound by arithmetic, below by memory."""
        return self.operations_per_s(precision) / self.bandwidth_bytes_per_s

    @property
    def watts(self) -> float:
        """Rated power.

        Raises:
            InputError: the table has none.
        """
        if self.power_w is None:
            raise InputError(f"{self.name} has no power in data/hardware.toml: add power_w with its source")
        return self.power_w

    @property
    def price(self) -> Price:
        """The first offer listed, which calculations use unless told otherwise.

        Raises:
            InputError: the table has none.
        """
        if not self.prices:
            raise InputError(
                f"{self.name} has no price in data/hardware.toml: add one with its source and date"
            )
        return self.prices[0]

    def price_range(self) -> tuple[float, float]:
        """Cheapest and dearest offer in USD per hour, for sensitivity."""
        found = [self.price.usd_per_hour, *(p.usd_per_hour for p in self.prices)]
        return min(found), max(found)

    def usd_per_hour(self) -> Quantity:
        """The price with its origin."""
        p = self.price
        inputs = {"machine": self.name, "offer": p.offer, "date": p.date.isoformat()}
        return Quantity(p.usd_per_hour, "USD/h", inputs, f"price list ({p.obtained})")


@lru_cache
def table() -> dict[str, Hardware]:
    """Every machine of ``data/hardware.toml`` by name."""
    with open(TABLE, "rb") as file:
        rows = tomllib.load(file)
    return {name: _read(name, row) for name, row in rows.items()}


def _read(name: str, row: dict) -> Hardware:
    prices = tuple(Price(**offer) for offer in row.pop("prices", ()))
    return Hardware(name=name, prices=prices, **row)


def hardware(name: str) -> Hardware:
    """The machine of that name.

    >>> hardware("h100-sxm").operations_per_s("bfloat16") / 1e12
    989.4
    """
    if name not in table():
        raise InputError(f"machine {name!r} is not in data/hardware.toml: choose from {', '.join(table())}")
    return table()[name]


# What drivers call the cards, in whole words after the maker's: word for word, so that an L40S is no L4 and
# an A6000 no 4090. Two sizes of one card are told apart by their memory.
CARD_NAMES: dict[str, tuple[str, ...]] = {
    "t4": ("t4",),
    "a10g": ("a10g",),
    "l4": ("l4",),
    "l40s": ("l40s",),
    "rtx-4090": ("rtx 4090",),
    "a100-40": ("a100-sxm4-40gb",),
    "a100-80": ("a100-sxm4-80gb",),
    "h100-pcie": ("h100 pcie",),
    "h100-sxm": ("h100 80gb hbm3", "h100 sxm5 80gb"),
    "h200": ("h200",),
    "b200": ("b200",),
    "mi300x": ("instinct mi300x", "instinct mi300x oam"),
}
_MAKERS = ("nvidia", "tesla", "geforce", "amd", "ati")


def card(name: str, memory_bytes: float | None = None) -> Hardware | None:
    """The accelerator that a driver calls ``name``; None for one that is not in the table, however alike
    its name.

    ``memory_bytes``, where the driver gives it, must agree within a tenth.

    >>> card("NVIDIA L40S").name, card("NVIDIA A100-SXM4-80GB").name, card("NVIDIA RTX A6000")
    ('l40s', 'a100-80', None)
    """
    words = [word for word in name.lower().split() if word not in _MAKERS]
    found = next((key for key, names in CARD_NAMES.items() if " ".join(words) in names), None)
    if found is None:
        return None
    machine = hardware(found)
    if memory_bytes and not 0.9 < memory_bytes / machine.memory_bytes < 1.1:
        return None
    return machine


@lru_cache
def published() -> dict[str, list[dict]]:
    """``data/published.toml``: figures of others that estimates are held against, by kind."""
    with open(PUBLISHED, "rb") as file:
        return tomllib.load(file)
