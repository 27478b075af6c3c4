"""Numbers in prose, taken from records: ``{03_ranking/recall/EASE:.3f}`` becomes ``0.244``.

The first part names a record: of a notebook (``data/measurements/notebooks/``, kept by ``run --in-place``),
or of a study (``data/measurements/``), whose run is chosen by values of its parameters: ``{cold-study@ml-100k
random/strict/chance:.3f}``.
The other parts are keys of its metrics, and after the last colon stands a format of Python.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from recsys_lib.core import paths, records
from recsys_lib.core.errors import InputError
from recsys_lib.cost.units import two_digits

PLACE = re.compile(r"\{([^{}]+):([^{}:]+)\}")
FOLDER = paths.MEASUREMENTS / "notebooks"


def places(text: str) -> list[str]:
    """The references in a text, without their formats.

    >>> places("EASE {03_ranking/recall/EASE:.3f}, chance {cold-study@ml-100k random/strict/chance:.2f}")
    ['03_ranking/recall/EASE', 'cold-study@ml-100k random/strict/chance']
    """
    return [found[1] for found in PLACE.finditer(text)]


def filled(text: str, folder: Path = paths.MEASUREMENTS) -> str:
    """The text with every reference replaced by its number.

    Raises:
        InputError: no such record, no run with these parameters, or no number at these keys.
    """
    return PLACE.sub(lambda found: _formatted(value(found[1], folder), found[2]), text)


def _formatted(number: float, form: str) -> str:
    """A number in a format of Python, or with "two digits", as modelled dollars are shown.

    >>> _formatted(19912.5, "two digits"), _formatted(0.2443, ".3f")
    ('20,000', '0.244')
    """
    return two_digits(number) if form == "two digits" else f"{number:{form}}"


def value(place: str, folder: Path = paths.MEASUREMENTS) -> float:
    """The number at ``record[@parameter,parameter]/key/key``.

    Raises:
        InputError: as ``filled``.
    """
    source, *keys = place.split("/")
    name, _, chosen = source.partition("@")
    found: Any = _metrics(name, chosen, folder)
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise InputError(f"record {source!r} has no number at {' / '.join(keys)!r}")
    return float(found)


@lru_cache
def _metrics(name: str, chosen: str, folder: Path) -> dict[str, Any]:
    kept = folder / "notebooks" / f"{name}.json"
    if kept.exists():
        return records.read(kept)["metrics"]
    wanted = [part.strip() for part in chosen.split(",") if part.strip()]
    for run in records.runs_of(folder / f"{name}.json"):
        values = [str(v) for v in run["parameters"].values()]
        if all(part in values for part in wanted):
            return run["metrics"]
    raise InputError(f"{name}.json: no run with the parameters {chosen!r}")


def keep(record: Path) -> None:
    """Keep the record that a committed notebook wrote, so that texts may refer to its numbers."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    records.write(FOLDER / record.name, records.read(record))
    _metrics.cache_clear()
