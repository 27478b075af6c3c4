"""``study``: the sweeps behind the recorded studies."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Annotated

import typer

from recsys_lib.cli.arguments import choose
from recsys_lib.cli.sweep import check_record, grid, run_sweep
from recsys_lib.core.errors import InputError

# The study of public catalogues that somebody downloaded; the others fetch what they need.
OWN = "own"


def study(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME",
            help="ranking, cold, explanations, search, quantization, cold-bits, model-quantization, rerank, "
            "histories, generation, training, deployment-quality, privacy, distributed, catalogues "
            "(default: all), or own.",
        ),
    ] = None,
    catalogues: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="For own and catalogues: the folder of the public catalogues."),
    ] = None,
) -> int:
    """Rerun the full studies of notebooks 04 to 09 and refresh data/measurements/: about seven hours in all.

    ``rerank`` does only what its record lacks: remove the file to run all of it again.

    ``catalogues`` reads those of its catalogues that lie in the folder or in RECSYS_DATA, and resumes too.

    The study own compares and prices the methods of notebook 90 on public catalogues that you downloaded.

    Example: python -m recsys_lib study cold
    """
    from recsys_lib.core import paths
    from recsys_lib.data.datasets import locations
    from recsys_lib.experiments import notebooks
    from recsys_lib.experiments.studies import PROGRAMS, STUDIES

    known = [*STUDIES, *PROGRAMS]
    chosen = list(dict.fromkeys(choose(name, [*known, OWN], "study") for name in names or known))
    if catalogues is not None:
        os.environ[locations.VARIABLE] = str(catalogues.expanduser().resolve())
    if OWN in chosen:
        chosen.remove(OWN)
        _own(catalogues)
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


def _own(catalogues: Path | None) -> None:
    from recsys_lib.core import paths
    from recsys_lib.experiments.own_catalogue.public import PUBLIC, record_public
    from recsys_lib.reporting.catalogues import table

    if catalogues is None:
        raise InputError(f"study {OWN}: expected --catalogues FOLDER, which holds {', '.join(PUBLIC)}")
    record = paths.MEASUREMENTS / f"{OWN}-study.json"
    check_record(record)
    print(table(record_public(catalogues.expanduser(), record)).to_string())
