"""Records: what a run found, as JSON; one schema, one writer, one reader.

A notebook's last code cell calls ``record``; all that comes after (sweep tables, figures, tests) reads those files.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from recsys_lib.core import paths
from recsys_lib.core.errors import InputError
from recsys_lib.core.files import write_atomically

# Where a running notebook leaves its record; set by whoever runs it.
RECORD_VARIABLE = "RECSYS_RECORD"


def _plain(value: Any) -> Any:
    """JSON types only: NumPy scalars and arrays become numbers and lists; NaN is refused by ``json`` later."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value


def record(notebook: str, parameters: Mapping[str, Any], metrics: Mapping[str, Any]) -> Path:
    """Write ``{notebook, parameters, metrics, environment, seconds}`` as one JSON file and return its path.

    ``seconds`` counts from the start of this process, the notebook's kernel. The file lies beside the executed notebook
    when a run asked for it, else at ``runs/<notebook>.json``. The first metrics are the headline ones.

    Raises:
        InputError: a metric that is not finite or not a JSON type.
    """
    from recsys_lib.hardware import machine

    content = {
        "notebook": notebook,
        "parameters": _plain(parameters),
        "metrics": _plain(metrics),
        "environment": machine.describe(),
        "seconds": round(time.time() - psutil.Process().create_time(), 1),
    }
    try:
        text = json.dumps(content, ensure_ascii=False, indent=1, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(f"record of {notebook}: {error}; metrics must be finite numbers, strings or lists") from error
    path = Path(os.environ.get(RECORD_VARIABLE) or paths.RUNS / f"{notebook}.json")
    write_atomically(path, text)
    return path


def rows(table: Any) -> list[dict[str, Any]]:
    """A table of pandas as rows of JSON types for a record: a named index becomes the column ``name``, an absent number null.

    >>> import pandas as pd
    >>> rows(pd.DataFrame({"ndcg": [0.5, None]}, index=["all", "none"]))
    [{'name': 'all', 'ndcg': 0.5}, {'name': 'none', 'ndcg': None}]
    """
    numbered = str(table.index.dtype) == "int64"
    flat_table = table if numbered else table.rename_axis("name").reset_index()
    return json.loads(flat_table.to_json(orient="records", double_precision=10))


def measurements(name: str) -> list[dict[str, Any]]:
    """The records kept in ``data/measurements/<name>.json``.

    Raises:
        InputError: no such file, or one that is no list of records.
    """
    records = read_json(paths.MEASUREMENTS / f"{name}.json")
    if not isinstance(records, list) or not all(isinstance(r, dict) and "metrics" in r for r in records):
        raise InputError(f"data/measurements/{name}.json: want a list of records, as sweep --record writes it")
    return records


def read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path.name}: cannot be read ({error})") from error


def flat(metrics: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested metrics as one level, ``a.b``; lists are left out."""
    level: dict[str, Any] = {}
    for key, value in metrics.items():
        if isinstance(value, Mapping):
            level |= flat(value, f"{prefix}{key}.")
        elif not isinstance(value, list):
            level[f"{prefix}{key}"] = value
    return level
