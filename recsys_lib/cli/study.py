"""``study``: the sweeps behind the recorded studies."""

from __future__ import annotations

import importlib
from typing import Annotated

import typer

from recsys_lib.cli.options import choose
from recsys_lib.cli.sweep import check_record, grid, run_sweep


def study(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME",
            help="ranking, cold, explanations, search, model-quantization, rerank, deployment-quality "
            "(default: all).",
        ),
    ] = None,
) -> int:
    """Rerun the full studies of notebooks 04 to 09 and refresh data/measurements/: about seven hours in all.

    ``rerank`` does only what its record lacks: remove the file to run all of it again.

    Example: python -m recsys_lib study cold
    """
    from recsys_lib.core import paths
    from recsys_lib.experiments import notebooks
    from recsys_lib.experiments.studies import PROGRAMS, STUDIES

    known = [*STUDIES, *PROGRAMS]
    chosen = list(dict.fromkeys(choose(name, known, "study") for name in names or known))
    jobs = []
    for name in chosen:
        record = paths.MEASUREMENTS / f"{name}-study.json"
        check_record(record)
        for one in STUDIES.get(name, ()):
            path, axes = notebooks.find_notebook(one.notebook), list(one.axes)
            jobs.append((path, grid(path, axes, dict(one.fixed)), axes, record))
    statuses = [run_sweep(path, points, axes, jobs=1, record=record) for path, points, axes, record in jobs]
    for name in chosen:
        if name in PROGRAMS:
            print(importlib.import_module(PROGRAMS[name]).run())
    return max(statuses, default=0)
