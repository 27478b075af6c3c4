"""Records as JSON files: their forms, the one reader and the one writer.

A record is a run of a notebook, what became of a run in a sweep, a comparison with baselines (``bench``), the
parts measured on one machine (``measure``), or the description of a machine (``probe``). A file holds one
record or a list of them. ``schema`` is the version of the forms; a record without it has version 1.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recsys_lib.core import paths
from recsys_lib.core.errors import InputError
from recsys_lib.core.files import write_atomically

SCHEMA = 1
NUMBER = int | float
# The key that tells a form from the others, and the JSON type at each key of that form. The first form that
# fits counts.
FORMS: dict[str, dict[str, Any]] = {
    "status": {"id": str, "notebook": str, "parameters": dict, "status": str, "seconds": NUMBER},
    "notebook": {
        "notebook": str,
        "parameters": dict,
        "metrics": dict,
        "environment": dict,
        "seconds": NUMBER,
    },
    "bench": {"bench": str, "date": str, "environment": dict, "rows": list},
    "machine": {"machine": str, "parts": dict},
    "measurements": {"measurements": list, "environment": dict},
}
PART = {"date": str, "method": str, "device": str, "environment": dict, "seconds": NUMBER, "rows": list}


def read(path: Path) -> Any:
    """The record, or the list of records, in a file.

    Raises:
        InputError: no such file, no JSON, none of the forms, or a later schema.
    """
    content = read_json(path)
    check(content, path.name)
    return content


def write(path: Path, content: Any, *, indent: int | None = 1) -> None:
    """Write a record, or a list of records, with its schema: beside ``path`` first, then renamed.

    Raises:
        InputError: none of the forms.
        TypeError, ValueError: a value that is no JSON type or not finite.
    """
    check(content, path.name)
    write_json(
        path,
        [_stamped(c) for c in content] if isinstance(content, list) else _stamped(content),
        indent=indent,
    )


def runs_of(path: Path) -> list[dict[str, Any]]:
    """The runs of a notebook in a file that ``sweep --record`` wrote.

    Raises:
        InputError: as ``read``, or records of another kind.
    """
    content = read(path)
    if not isinstance(content, list) or not all("metrics" in run for run in content):
        raise InputError(f"{path.name}: expected a list of runs, as sweep --record writes it")
    return content


def measurements(name: str) -> list[dict[str, Any]]:
    """The runs kept in ``data/measurements/<name>.json``.

    Raises:
        InputError: as ``runs_of``.
    """
    return runs_of(paths.MEASUREMENTS / f"{name}.json")


def read_json(path: Path) -> Any:
    """The content of a JSON file of any form.

    Raises:
        InputError: no such file, or no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path.name}: cannot be read ({error})") from error


def write_json(path: Path, content: Any, *, indent: int | None = 1) -> None:
    """Write JSON of any form beside ``path``, then rename it.

    Raises:
        TypeError, ValueError: a value that is no JSON type or not finite.
    """
    write_atomically(path, json.dumps(content, ensure_ascii=False, indent=indent, allow_nan=False) + "\n")


def check(content: Any, name: str) -> None:
    """Refuse what has none of the forms; ``name`` is the file's, for the message.

    Raises:
        InputError: the file, the record in it, the missing key or wrong type, or a later schema.
    """
    if isinstance(content, list):
        for number, record in enumerate(content):
            _check_record(record, f"{name}, record {number}")
    else:
        _check_record(content, name)


def _check_record(content: Any, where: str) -> None:
    if not isinstance(content, dict):
        raise InputError(f"{where}: expected a record as an object, found {type(content).__name__}")
    if content.get("schema", 1) != SCHEMA:
        raise InputError(f"{where}: schema {content['schema']!r}, expected {SCHEMA}: update recsys_lib")
    form = next((key for key in FORMS if key in content), None)
    if form is None:
        raise InputError(
            f"{where}: expected a record with one of the keys {', '.join(FORMS)}, found none of them"
        )
    _check_keys(content, FORMS[form], where)
    for name, part in content["parts"].items() if form == "machine" else ():
        _check_keys(part, PART, f"{where}, part {name}")


def _check_keys(content: Any, keys: Mapping[str, Any], where: str) -> None:
    if not isinstance(content, dict):
        raise InputError(
            f"{where}: expected an object with {', '.join(keys)}, found {type(content).__name__}"
        )
    for key, kind in keys.items():
        if not isinstance(content.get(key), kind):
            found = type(content[key]).__name__ if key in content else "nothing"
            raise InputError(
                f"{where}: expected {key} as {getattr(kind, '__name__', 'a number')}, found {found}"
            )


def _stamped(record: dict[str, Any]) -> dict[str, Any]:
    return {"schema": SCHEMA, **record}


def flat(metrics: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested metrics as one level, ``a.b``; lists are left out.

    >>> flat({"ndcg": {"EASE": 0.449}, "curve": [1, 2]})
    {'ndcg.EASE': 0.449}
    """
    level: dict[str, Any] = {}
    for key, value in metrics.items():
        if isinstance(value, Mapping):
            level |= flat(value, f"{prefix}{key}.")
        elif not isinstance(value, list):
            level[f"{prefix}{key}"] = value
    return level
