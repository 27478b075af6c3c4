"""How well each way recommends, as the studies recorded it in ``data/measurements/``; what was not measured is unknown.

Two numbers that are never added up: NDCG@10 where items have interactions (notebook 04, the whole catalogue ranked) and NDCG@10
among items that have none (notebook 05, the cold items ranked among themselves).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from recsys_lib.core.errors import InputError
from recsys_lib.core.paths import MEASUREMENTS
from recsys_lib.core.records import runs_of

# What a record of data/measurements is called, and the notebook that shows it.
STUDIES = {
    "ranking-study": "04_beyond_cosine.ipynb",
    "cold-study": "05_cold_start.ipynb",
    "cold-readers": "05_cold_start.ipynb",
}


@dataclass(frozen=True)
class Quality:
    """NDCG@10 with the record and the row it stands in, or None where nothing was measured."""

    value: float | None
    record: str = ""
    row: str = ""

    @property
    def known(self) -> bool:
        return self.value is not None

    def reaches(self, target: float) -> bool:
        """Whether it is known to be at least ``target``; a target of 0 asks for nothing."""
        return target <= 0 or (self.value is not None and self.value >= target)

    def __str__(self) -> str:
        return "unknown" if self.value is None else f"{self.value:.3f}"


UNKNOWN = Quality(None)


@lru_cache
def _records(name: str) -> tuple[dict, ...]:
    path = MEASUREMENTS / f"{name}.json"
    if not path.exists():
        return ()
    return tuple(runs_of(path))


def recorded(record: str, keys: Sequence[str], protocol: str) -> Quality:
    """The value at ``keys`` in the first record of that protocol that has it; unknown if none has.

    >>> recorded("ranking-study", ("ndcg", "EASE"), "ml-100k random").value > 0.4
    True
    """
    if record not in STUDIES:
        raise InputError(f"record {record!r}: expected one of {', '.join(STUDIES)}")
    for found in _records(record):
        value = found["metrics"] if found["parameters"].get("protocol") == protocol else {}
        for key in keys:
            value = value.get(key, {}) if isinstance(value, dict) else {}
        if isinstance(value, int | float):
            return Quality(float(value), record, " / ".join(keys))
    return UNKNOWN


def protocols() -> list[str]:
    """Protocols with a record of both kinds, items with interactions and items without."""
    seen, new = ({r["parameters"]["protocol"] for r in _records(name)} for name in ("ranking-study", "cold-study"))
    return sorted(seen & new)
