"""How long the slowest hundredth of the requests waits: the load simulator's answer, tabulated.

Requests arrive by a Poisson process at a machine that serves them in dynamic batches: whenever it is free
it takes those that wait, up to ``batch``. A batch of n takes ``s(n) = s(batch) (f + (1 - f) n / batch)``;
``f`` is the fixed fraction, what a batch costs whatever its size. The 99th percentile of the latency, in
units of ``s(batch)``, then depends on the batch, on f and on the load only. ``data/queueing.toml`` holds it
as ``hardware.load_patterns.simulated_server`` finds it; ``tabulate`` makes the file again.
"""

from __future__ import annotations

import tomllib
from functools import lru_cache

import numpy as np

from recsys_lib.core.errors import InputError
from recsys_lib.core.paths import TABLES
from recsys_lib.hardware.load_patterns import simulated_server

TABLE = TABLES / "queueing.toml"
BATCHES = (1, 8, 32)
FIXED = (0.0, 0.25, 0.5, 0.75, 1.0)
LOADS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
REQUESTS = 40_000


def simulated_p99(batch: int, fixed: float, load: float, seed: int = 0, requests: int = REQUESTS) -> float:
    """The 99th percentile of the latency in units of the time of a full batch; without load, the time of a
    batch of one.
    """
    if load == 0:
        return fixed + (1 - fixed) / batch
    found = simulated_server(lambda n: fixed + (1 - fixed) * n / batch, load * batch, requests, batch, seed)
    return float(np.percentile(found.latency.samples, 99))


def tabulate() -> str:
    """The text of ``data/queueing.toml``; a minute or two."""
    lines = [
        "# Written by recsys_lib.cost.queueing.tabulate.",
        "# The 99th percentile of the latency in units of the time of a full batch.",
        "# One row per fixed fraction "
        + ", ".join(f"{f:g}" for f in FIXED)
        + "; one column per load "
        + ", ".join(f"{x:g}" for x in LOADS)
        + ".",
    ]
    for batch in BATCHES:
        lines.append(f"[batch-{batch}]\np99 = [")
        for fixed in FIXED:
            row = [simulated_p99(batch, fixed, load) for load in LOADS]
            lines.append(f"    [{', '.join(f'{value:.4f}' for value in row)}],")
        lines.append("]\n")
    return "\n".join(lines)


@lru_cache
def table() -> dict[int, list[list[float]]]:
    """The tabulated percentiles by batch: a row per fixed fraction, a column per load."""
    with open(TABLE, "rb") as file:
        return {int(name.removeprefix("batch-")): rows["p99"] for name, rows in tomllib.load(file).items()}


def p99_factor(batch: int, fixed: float, load: float) -> float:
    """The 99th percentile of the latency in units of the time of a full batch, linear between the rows and
    columns of the table.

    Raises:
        InputError: a batch that is not tabulated, or a load above the last column.

    >>> p99_factor(1, 0.0, 0.0)
    1.0
    """
    if batch not in table() or not 0 <= load <= LOADS[-1]:
        raise InputError(
            f"batch={batch}, load={load}: expected a batch of {BATCHES} and a load of 0 to {LOADS[-1]}"
        )
    rows, column = table()[batch], _place(LOADS, load)
    row = _place(FIXED, min(max(fixed, 0.0), 1.0))
    upper, lower = (_between(rows[i], column) for i in (row[0], row[0] + 1))
    return upper + (lower - upper) * row[1]


def _place(grid: tuple[float, ...], value: float) -> tuple[int, float]:
    """The interval of the grid that holds the value, and how far into it the value lies."""
    i = 0
    while i < len(grid) - 2 and value > grid[i + 1]:
        i += 1
    return i, (value - grid[i]) / (grid[i + 1] - grid[i])


def _between(row: list[float], place: tuple[int, float]) -> float:
    i, part = place
    return row[i] + (row[i + 1] - row[i]) * part
