"""Parameters of notebooks: their defaults, values typed on a command line, and grids of them."""

from __future__ import annotations

import ast
import csv
import itertools
import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from recsys_lib.core.errors import InputError, did_you_mean
from recsys_lib.experiments.notebooks import read_notebook

# The folder in which the command was given: a path among the parameters starts there, while notebooks run in
# their own folder.
FOLDER_VARIABLE = "RECSYS_FOLDER"


def parameters_of(path: Path) -> dict[str, Any]:
    """Names and defaults of the literals in the cell tagged ``parameters``;
    an empty dict where there is none.
    """
    cells = [c for c in read_notebook(path).cells if "parameters" in c.metadata.get("tags", [])]
    if not cells:
        return {}
    defaults: dict[str, Any] = {}
    for node in ast.parse(cells[0].source).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            defaults[node.targets[0].id] = ast.literal_eval(node.value)
    return defaults


def given_path(path: str) -> Path:
    """A path among a notebook's parameters: relative to where the command was given,
    in Jupyter to the notebook.
    """
    return Path(os.environ.get(FOLDER_VARIABLE, "")) / Path(path).expanduser()


def parse_parameter(notebook: str, defaults: Mapping[str, Any], name: str, text: str) -> Any:
    """Turn a command line's ``text`` into a value of the type that the notebook's default has; a dict may be
    ``a=b,c=d``.

    >>> parse_parameter("n", {"k": 10, "encoder": "minilm"}, "k", "20")
    20
    >>> parse_parameter("n", {"k": 10, "encoder": "minilm"}, "encoder", "007")
    '007'

    Raises:
        InputError: an unknown name (a near one is suggested) or a value of another type.
    """
    if name not in defaults:
        hint = did_you_mean(name, defaults)
        raise InputError(
            f"{notebook} has no parameter {name!r}: {hint}it has {', '.join(defaults) or 'none'}"
        )
    default = defaults[name]
    if isinstance(default, str):
        return text
    value = _literal(text, default)
    if isinstance(default, dict) and value == text and all("=" in pair for pair in text.split(",")):
        value = {key.strip(): v.strip() for key, _, v in (pair.partition("=") for pair in text.split(","))}
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if default is not None and type(value) is not type(default):
        form = ", written as name=value,name=value" if isinstance(default, dict) else ""
        raise InputError(
            f"{notebook}: parameter {name}={text!r} is no {type(default).__name__}{form} (the default is "
            f"{default!r})"
        )
    return value


def _literal(text: str, default: Any) -> Any:
    """``text`` as JSON, else as people also write it: ``.05``, ``{'user': 'Kunde'}``;
    else the text itself.
    """
    try:
        return json.loads(text.lower() if isinstance(default, bool) else text)
    except ValueError:
        pass
    try:
        if isinstance(default, float) and re.fullmatch(
            r"[-+]?(\d+\.?|\d*\.\d+)(e[-+]?\d+)?", text, re.ASCII | re.I
        ):
            return float(text)
        return ast.literal_eval(text) if isinstance(default, list | dict) else text
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def grid_of(path: Path, axes: Iterable[str], fixed: Mapping[str, str] = {}) -> list[dict[str, Any]]:
    """All combinations of ``NAME=V1,V2`` axes (lists as JSON: ``NAME=[1,2],[3]``), checked before anything
    starts.

    Raises:
        InputError: no axis, an axis without values or given twice, an unknown parameter, a wrong type.
    """
    defaults, values = parameters_of(path), {}
    constants = {name: parse_parameter(path.stem, defaults, name, text) for name, text in fixed.items()}
    for axis in axes:
        name, separator, texts = axis.partition("=")
        parts = _axis_values(texts)
        if not separator or not all(parts):
            raise InputError(f"grid {axis!r}: expected NAME=V1,V2 with at least one value and none empty")
        if name in values or name in constants:
            raise InputError(f"grid {axis!r}: parameter {name!r} is given twice")
        parsed = [parse_parameter(path.stem, defaults, name, text) for text in parts]
        values[name] = list({json.dumps(value): value for value in parsed}.values())
    if not values:
        raise InputError("a sweep needs at least one axis: -g NAME=V1,V2")
    return [
        constants | dict(zip(values, point, strict=True)) for point in itertools.product(*values.values())
    ]


def _axis_values(texts: str) -> list[str]:
    """The values of ``V1,V2`` (``"a, b",c`` where a value has a comma), or of ``[1,2],[3]`` and ``{...}``,
    each as the text of one.
    """
    if texts.startswith(("[", "{")):
        try:
            return [json.dumps(value) for value in json.loads(f"[{texts}]")]
        except ValueError:
            pass  # a text that begins so
    try:
        values = next(csv.reader([texts], skipinitialspace=True))
    except csv.Error:  # a line break, or a field of a megabyte
        values = texts.split(",")
    return [text.strip() for text in values] or [""]
