"""Numbers that know their unit, what they were computed from, and whether they were measured.

A cost off by 3,600 is a second taken for an hour. Here a unit is text such as ``USD/h`` or ``J/million``,
conversion refuses another dimension, and a sum of dollars and joules is an error.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from recsys_lib.core.errors import InputError

# A mean month: 365.25 days over 12.
DAYS_PER_MONTH = 365.25 / 12
HOURS_PER_MONTH = 24 * DAYS_PER_MONTH

# Each unit by its dimension and its size in that dimension's base unit. A watt is J/s and is spelt so in a
# quotient.
_UNITS = {
    "s": ("time", 1.0),
    "ms": ("time", 1e-3),
    "min": ("time", 60.0),
    "h": ("time", 3600.0),
    "day": ("time", 86400.0),
    "month": ("time", 3600.0 * HOURS_PER_MONTH),
    "year": ("time", 86400.0 * 365.25),
    "J": ("energy", 1.0),
    "kJ": ("energy", 1e3),
    "MJ": ("energy", 1e6),
    "Wh": ("energy", 3600.0),
    "kWh": ("energy", 3.6e6),
    "B": ("information", 1.0),
    "kB": ("information", 1e3),
    "MB": ("information", 1e6),
    "GB": ("information", 1e9),
    "TB": ("information", 1e12),
    "KiB": ("information", 2.0**10),
    "MiB": ("information", 2.0**20),
    "GiB": ("information", 2.0**30),
    "TiB": ("information", 2.0**40),
    "USD": ("money", 1.0),
    "cent": ("money", 0.01),
    "1": ("count", 1.0),
    "thousand": ("count", 1e3),
    "million": ("count", 1e6),
}
_WATTS = {"W": 1.0, "kW": 1e3}


def _parse(unit: str) -> tuple[str, float]:
    """Dimension and size of a unit or a quotient of two."""
    if unit in _WATTS:
        return "energy/time", _WATTS[unit]
    parts = unit.split("/")
    if len(parts) > 2 or any(part not in _UNITS for part in parts):
        known = ", ".join([*_UNITS, *_WATTS])
        raise InputError(f"unit {unit!r}: expected one of {known}, or a quotient of two such as USD/h")
    dimensions, sizes = zip(*(_UNITS[part] for part in parts), strict=True)
    return "/".join(dimensions), sizes[0] / math.prod(sizes[1:])


def convert(value: float, unit: str, to: str) -> float:
    """``value`` in another unit of the same dimension.

    Raises:
        InputError: an unknown unit, or one of another dimension.

    >>> convert(1, "kWh", "J"), convert(90, "s", "min"), round(convert(1, "USD/h", "USD/month"), 2)
    (3600000.0, 1.5, 730.5)
    """
    (dimension, size), (wanted, wanted_size) = _parse(unit), _parse(to)
    if dimension != wanted:
        raise InputError(f"cannot turn {unit} ({dimension}) into {to} ({wanted})")
    return value if unit == to else value * size / wanted_size


@dataclass(frozen=True)
class Quantity:
    """A value with its unit, the inputs it was computed from, and its basis: measured, bound or model."""

    value: float
    unit: str
    inputs: Mapping[str, Any] = field(default_factory=dict)
    basis: str = "model"

    def __post_init__(self) -> None:
        _parse(self.unit)
        if math.isnan(self.value):
            raise InputError(f"a quantity of {self.unit} is not a number")
        object.__setattr__(self, "inputs", MappingProxyType(dict(self.inputs)))

    def to(self, unit: str) -> Quantity:
        """The same quantity in another unit of its dimension."""
        return Quantity(convert(self.value, self.unit, unit), unit, self.inputs, self.basis)

    def __add__(self, other: Quantity) -> Quantity:
        """Sum in this one's unit; ``inputs`` of both, those of the same name and another value numbered
        apart.
        """
        inputs = dict(self.inputs)
        for name, value in other.inputs.items():
            same = name not in inputs or inputs[name] == value
            inputs[name if same else f"{name} (2)"] = value
        basis = self.basis if self.basis == other.basis else f"{self.basis} and {other.basis}"
        return Quantity(self.value + convert(other.value, other.unit, self.unit), self.unit, inputs, basis)

    def __str__(self) -> str:
        shown = ", ".join(f"{name}={_short(value)}" for name, value in self.inputs.items())
        return f"{self.value:,.4g} {self.unit} ({self.basis}{': ' + shown if shown else ''})"


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def positive(name: str, value: float, zero: bool = False) -> float:
    """``value`` as a float, if it is finite and above zero (or zero where allowed); else an InputError
    naming it.
    """
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not (math.isfinite(number) and (number > 0 or (zero and number == 0))):
        raise InputError(f"{name}={value!r}: expected a finite number {'of at least' if zero else 'above'} 0")
    return number


def fraction(name: str, value: float) -> float:
    """``value`` as a float, if it is above 0 and at most 1; else an InputError naming it."""
    if not 0 < positive(name, value) <= 1:
        raise InputError(f"{name}={value!r}: expected a fraction above 0 and at most 1")
    return float(value)


def two_digits(value: float) -> str:
    """A modelled number as it is printed: two significant digits, with commas.

    >>> two_digits(26081.3), two_digits(0.04402), two_digits(7.0), two_digits(0)
    ('26,000', '0.044', '7.0', '0')
    """
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else str(value)
    rounded = float(f"{value:.1e}")
    return f"{rounded:,.{max(0, 1 - math.floor(math.log10(abs(rounded))))}f}"
