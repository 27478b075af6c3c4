"""``sweep``: one notebook over a grid of parameters."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recsys_lib.cli.arguments import (
    Address,
    Engine,
    Pair,
    check_engine,
    check_finite,
    check_output_file,
    fixed_parameters,
    jobs_option,
    pair_option,
)
from recsys_lib.core.errors import InputError

if TYPE_CHECKING:
    from recsys_lib.experiments.sweeps import Pool


def sweep(
    notebook: Annotated[str, typer.Argument(metavar="NOTEBOOK", help="Path, name or number.")],
    axes: Annotated[
        list[str] | None, typer.Option("-g", metavar="NAME=V1,V2", help="An axis of the grid; repeatable.")
    ] = None,
    pairs: Annotated[list[Pair] | None, pair_option("A fixed parameter; repeatable.")] = None,
    jobs: Annotated[int, jobs_option("Runs at once (default: 0, one per core).")] = 0,
    metric: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The metric that the figure shows (default: the first)."),
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Where runs go (default: runs/sweep-NOTEBOOK).")
    ] = None,
    record: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Also gather the finished runs' records in one JSON file; it keeps those of other values of "
            "-g.",
        ),
    ] = None,
    engine: Engine = "local",
    address: Address = None,
) -> int:
    """Run one notebook over a grid of parameters; finished runs are kept and skipped the next time.

    Example: python -m recsys_lib sweep 03 -g encoder=minilm,e5 -p k 20 -j 2
    """
    from recsys_lib.experiments import notebooks

    path, texts = notebooks.find_notebook(notebook), fixed_parameters(pairs or ())
    points = grid(path, axes or [], texts)
    check_record(record)
    if not check_engine(engine, 0, address):
        return run_sweep(path, points, axes or [], jobs, metric, folder, record)
    from recsys_lib.distributed.sweep_on_cluster import ray_pool

    with ray_pool(jobs, address) as (pool, at_once):
        return run_sweep(path, points, axes or [], at_once, metric, folder, record, pool)


def grid(path: Path, axes: list[str], texts: dict[str, str]) -> list[dict[str, Any]]:
    """The points of a grid, checked before anything starts."""
    from recsys_lib.experiments.parameters import grid_of

    for axis in axes:
        name, _, values = axis.partition("=")
        check_finite(f"-g {name}", values)
    return grid_of(path, axes, texts)


def check_record(record: Path | None) -> None:
    """Refuse a file that ``--record`` could not extend, before the sweep.

    Raises:
        InputError: it cannot be written, or holds no list of records.
    """
    from recsys_lib.core.records import runs_of

    check_output_file(record)
    if record is None or not record.exists():
        return
    try:
        runs_of(record)
    except InputError as error:
        raise InputError(f"{error}; choose another file") from error


def run_sweep(
    path: Path,
    points: list[dict[str, Any]],
    axes: list[str],
    jobs: int = 0,
    metric: str | None = None,
    folder: Path | None = None,
    record: Path | None = None,
    pool: Pool | None = None,
) -> int:
    """Run a checked grid, gather its records, print its table; returns the exit status."""
    from recsys_lib.core import paths
    from recsys_lib.experiments import sweeps
    from recsys_lib.reporting import tables

    # Notebooks run in their own folder: a relative path would name another place there.
    folder = (folder or paths.RUNS / f"sweep-{path.stem}").resolve()
    if metric:
        # The first run alone tells which metrics there are; the sweep then finds it finished.
        tables.check_metric(sweeps.sweep(path, points[:1], folder, 1, progress=False), metric)
    runs = sweeps.sweep(path, points, folder, jobs, pool=pool)
    names = [axis.partition("=")[0] for axis in axes]
    if record:
        sweeps.gather(folder, runs, record, names)
    print(tables.sweep_summary(runs, names, metric, folder))
    return 1 if any(run.status == "failed" for run in runs) else 0
