"""What a notebook's last code cell calls: the parameters and metrics of this run become its record."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from recsys_lib.core import paths, records
from recsys_lib.core.errors import InputError

# Where a running notebook leaves its record; set by whoever runs it.
RECORD_VARIABLE = "RECSYS_RECORD"


def _plain(value: Any) -> Any:
    """JSON types only: NumPy scalars and arrays become numbers and lists;
    NaN is refused by ``json`` later.
    """
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value


def entry(
    notebook: str, parameters: Mapping[str, Any], metrics: Mapping[str, Any], seconds: float
) -> dict[str, Any]:
    """The record of a run, for a file of one or several: ``{notebook, parameters, metrics, environment,
    seconds}``, with this machine as environment.
    """
    from recsys_lib.hardware import machine

    return {
        "notebook": notebook,
        "parameters": _plain(parameters),
        "metrics": _plain(metrics),
        "environment": machine.describe(),
        "seconds": round(seconds, 1),
    }


def record(notebook: str, parameters: Mapping[str, Any], metrics: Mapping[str, Any]) -> Path:
    """Write ``{schema, notebook, parameters, metrics, environment, seconds}`` as one JSON file and return its
    path.

    ``seconds`` counts from the start of this process, the notebook's kernel. The file lies beside the
    executed notebook when a run asked for it, else at ``runs/<notebook>.json``. The first metrics are the
    headline ones.

    Raises:
        InputError: a metric that is not finite or not a JSON type.
    """
    content = entry(notebook, parameters, metrics, time.time() - psutil.Process().create_time())
    path = Path(os.environ.get(RECORD_VARIABLE) or paths.RUNS / f"{notebook}.json")
    try:
        records.write(path, content)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"record of {notebook}: {error}; metrics must be finite numbers, strings or lists"
        ) from error
    return path


def resume(
    path: Path,
    notebook: str,
    cases: Sequence[Mapping[str, Any]],
    measure: Callable[[Mapping[str, Any]], Mapping[str, Any]],
) -> Path:
    """Measure every case that the file of records at ``path`` lacks, and write the file after each.

    A case is the parameters of its record. One that cannot run here (a model or catalogue that is not
    fetched, a package that is missing) is named and left out. The file is read again before each case and
    each write: two processes may do different cases.
    """
    for number, case in enumerate(cases, 1):
        parameters = _plain(case)
        if any(one["parameters"] == parameters for one in _kept(path)):
            continue
        named = f"{path.stem}: {number}/{len(cases)} {', '.join(str(v) for v in parameters.values())}"
        start = time.perf_counter()
        try:
            metrics = measure(case)
        except InputError as error:
            print(f"{named}: left out: {error}", flush=True)
            continue
        made = entry(notebook, parameters, metrics, time.perf_counter() - start)
        records.write(path, [*_kept(path), made], indent=None)
        print(f"{named}: {made['seconds']:.0f} s", flush=True)
    return path


def _kept(path: Path) -> list[dict[str, Any]]:
    return records.read(path) if path.is_file() else []


def rows(table: Any) -> list[dict[str, Any]]:
    """A table of pandas as rows of JSON types: a named index becomes the column ``name``, an absent number
    null.

    >>> import pandas as pd
    >>> rows(pd.DataFrame({"ndcg": [0.5, None]}, index=["all", "none"]))
    [{'name': 'all', 'ndcg': 0.5}, {'name': 'none', 'ndcg': None}]
    """
    numbered = str(table.index.dtype) == "int64"
    flat_table = table if numbered else table.rename_axis("name").reset_index()
    return json.loads(flat_table.to_json(orient="records", double_precision=10))
