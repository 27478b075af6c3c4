"""What the command line shows: tables of runs and sweeps, the sweep figure, this machine."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recsys_lib.core import records
from recsys_lib.core.errors import InputError
from recsys_lib.experiments import sweeps
from recsys_lib.experiments.runs import Run
from recsys_lib.reporting import plots

if TYPE_CHECKING:
    import pandas as pd

HEADLINES = 3


def two_digits(table: pd.DataFrame) -> pd.DataFrame:
    """A table with its fractions in two significant digits: what another processor does not change.

    >>> import pandas as pd
    >>> two_digits(pd.DataFrame({"gain": [0.00553], "answer": ["better"]})).to_numpy().tolist()
    [['0.0055', 'better']]
    """
    from recsys_lib.cost import units

    return table.map(lambda value: units.two_digits(value) if isinstance(value, float) else value)


def _value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _columns(rows: Sequence[Sequence[str]]) -> str:
    """Left-aligned columns, the last one ragged."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)]
    return "\n".join(
        "  ".join([*(c.ljust(w) for c, w in zip(row, widths, strict=False)), row[-1]]) for row in rows
    )


def run_line(run: Run) -> str:
    """One line on a run just done; a failed one names its cell and error."""
    if run.status == "finished":
        return f"{run.notebook}: finished in {run.seconds:.0f} s"
    return f"{run.notebook}: FAILED at {_where(run)}: {run.error}"


def _where(run: Run) -> str:
    return f"cell [{run.cell}]" if run.cell else "no cell"


def run_table(runs: Sequence[Run]) -> str:
    """Notebook, seconds and headline metrics (the first scalar ones of its record)."""
    rows = [("notebook", "seconds", "headline metrics")]
    for run in runs:
        metrics = [f"{k} {_value(v)}" for k, v in records.flat(run.metrics).items()][:HEADLINES]
        rows.append((run.notebook, f"{run.seconds:.0f}", ", ".join(metrics) if metrics else run.status))
    return "\n" + _columns(rows)


def sweep_summary(runs: Sequence[Run], axes: Sequence[str], metric: str | None, folder: Path) -> str:
    """The tidy table in words, failures by cell, and where table, figure and manifest lie."""
    table = sweeps.tidy(runs)
    failed = [_failure(run) for run in runs if run.status == "failed"]
    lines = []
    if len(table):
        metric = metric or _numeric(runs)[0]
        check_metric(runs, metric)
        shown = [*axes, metric, "seconds"] if metric != "seconds" else [*axes, metric]
        lines.append(table[shown].to_string(index=False, float_format=lambda v: f"{v:.4g}"))
        lines.append(f"figure    {_shown(sweep_figure(table, axes, metric, folder))}")
        lines.append(f"table     {_shown(folder / 'table.csv')}")
    lines.append(f"manifest  {_shown(folder / 'manifest.json')}")
    return "\n".join([*lines, *failed])


def check_metric(runs: Sequence[Run], metric: str) -> None:
    """Refuse a metric that none of the finished runs has; without a finished run nothing is known.

    Raises:
        InputError: with the metrics that there are.
    """
    numeric = _numeric(runs)
    if numeric and metric not in numeric:
        raise InputError(f"metric {metric!r} is no number of the table: it has {', '.join(numeric)}")


def _numeric(runs: Sequence[Run]) -> list[str]:
    """The columns of the tidy table that hold numbers, without the parameters."""
    table = sweeps.tidy(runs)
    return [c for c in table.select_dtypes("number").columns if c not in runs[0].parameters]


def _failure(run: Run) -> str:
    parameters = ", ".join(f"{name}={value}" for name, value in run.parameters.items())
    return f"FAILED {parameters} at {_where(run)}: {run.error}"


def _shown(path: Path) -> str:
    return os.path.relpath(path)


def sweep_figure(table, axes: Sequence[str], metric: str, folder: Path) -> Path:
    """Bars of ``metric`` over the grid, best first; the title names the best point.

    Saved as ``table.png``.
    """
    import matplotlib.pyplot as plt

    table = table.dropna(subset=[metric])  # a run whose record lacks the metric
    labels = [", ".join(f"{row[a]}" for a in axes) for _, row in table.iterrows()]
    order = table[metric].astype(float).to_numpy().argsort(kind="stable")[::-1]
    fig, (ax,) = plots.figure(width=7, height=1.2 + 0.32 * len(labels))
    values = [float(table[metric].iloc[i]) for i in order]
    plots.bars(ax, [labels[i] for i in order], values)
    plots.finish(
        ax, f"Highest {metric}: {values[0]:.3g} with {labels[order[0]]}", x=metric, y=", ".join(axes)
    )
    path = folder / "table.png"
    fig.savefig(path)
    plt.close(fig)
    return path


# ---------------------------------------------------------------- this machine


def probe(json_file: Path | None = None, device: str = "cpu") -> str:
    """What this machine is and its ``device`` reaches, as a table;
    optionally everything, raw samples included, as JSON.
    """
    from recsys_lib.hardware import machine

    description, ceilings = machine.describe(), machine.ceilings(device)
    if json_file:
        content = {"environment": description, "measurements": [m.to_dict() for m in ceilings.measurements]}
        records.write(json_file, content)
    d = description
    rows = [
        (
            "processor",
            f"{d['processor']} ({d['architecture']}), {d['cores_physical']} cores, {d['cores_logical']} "
            f"threads",
        ),
        ("instructions", " ".join(d["flags"]) or "not readable"),
        ("caches", ", ".join(f"{k} {v}" for k, v in d["caches"].items()) or "not readable"),
        ("memory", f"{d['memory_bytes'] / 2**30:.1f} GiB"),
        ("GPU", ", ".join(f"{g['name']}, {g['memory_bytes'] / 2**30:.0f} GiB" for g in d["gpus"]) or "none"),
        ("driver", d["driver"]),
        ("governor", d["governor"]),
        ("system", f"{d['system']}, Python {d['python']}, CUDA {d['cuda']}"),
        ("packages", ", ".join(f"{k} {v}" for k, v in d["versions"].items())),
        ("threads", ", ".join(f"{k} {v}" for k, v in d["threads"].items())),
    ]
    for m in ceilings.measurements:
        unit = "GB/s" if m.amount_unit == "bytes" else "Gop/s"
        rows.append(
            (m.name, f"{m.throughput / 1e9:8.1f} {unit}  median of {len(m.samples)}, spread {m.spread:.1%}")
        )
    rows += [
        (f"ridge point {p}", f"{ceilings.ridge_point(p):8.1f} operations per byte read")
        for p in ceilings.operations_per_s
    ]
    return _columns(rows)
