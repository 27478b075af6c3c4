"""``study``: the sweeps behind the recorded studies."""

from __future__ import annotations

from typing import Annotated

import typer

from recsys_lib.cli.options import choose
from recsys_lib.cli.sweep import check_record, grid, run_sweep


def study(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help="ranking, cold, search, model-quantization (default: all)."),
    ] = None,
) -> int:
    """Rerun the full studies of notebooks 04 to 09 and refresh data/measurements/: about five hours in all.

    Example: python -m recsys_lib study cold
    """
    from recsys_lib.core import paths
    from recsys_lib.experiments import notebooks
    from recsys_lib.experiments.studies import STUDIES

    chosen = [choose(name, STUDIES, "study") for name in names or STUDIES]
    jobs = []
    for name in dict.fromkeys(chosen):
        record = paths.MEASUREMENTS / f"{name}-study.json"
        check_record(record)
        for one in STUDIES[name]:
            path, axes = notebooks.find_notebook(one.notebook), list(one.axes)
            jobs.append((path, grid(path, axes, dict(one.fixed)), axes, record))
    statuses = [run_sweep(path, points, axes, jobs=1, record=record) for path, points, axes, record in jobs]
    return max(statuses)
