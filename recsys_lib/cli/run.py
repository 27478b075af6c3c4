"""``run``: notebooks, executed with papermill."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from recsys_lib.cli.arguments import Pair, fixed_parameters, jobs_option, pair_option, parameter_values
from recsys_lib.core.errors import InputError


def run(
    notebook: Annotated[
        list[str] | None, typer.Argument(metavar="NOTEBOOK", help="Path, name or number (default: all).")
    ] = None,
    pairs: Annotated[list[Pair] | None, pair_option("Set a parameter of the notebooks; repeatable.")] = None,
    in_place: Annotated[
        bool, typer.Option("--in-place", help="Execute the committed notebooks and keep their outputs.")
    ] = False,
    jobs: Annotated[
        int, jobs_option("Notebooks at once (default: 0, one per core as far as memory goes).")
    ] = 0,
) -> int:
    """Execute notebooks with papermill into runs/.

    Those that measure time run alone, after the others. A failing notebook is named with its cell, the others
    still run, and the exit status is 1.

    Example: python -m recsys_lib run 03 -p k 20
    """
    from recsys_lib.core import paths
    from recsys_lib.core.files import check_writable
    from recsys_lib.experiments import notebooks

    texts = fixed_parameters(pairs or ())
    if in_place and texts:
        raise InputError(
            f"--in-place with -p {next(iter(texts))}: expected the committed parameters, leave out -p"
        )
    named = [notebooks.find_notebook(n) for n in notebook or ()]
    # A notebook that is named twice runs once.
    chosen = list(dict.fromkeys(named)) or notebooks.numbered_notebooks()
    if in_place:
        return _in_place(chosen)
    notebooks_with_values = [(path, parameter_values(path, texts)) for path in chosen]
    check_writable(paths.RUNS / "run")
    return _into_runs(notebooks_with_values, jobs)


def _into_runs(chosen: list[tuple[Path, dict[str, Any]]], jobs: int) -> int:
    from recsys_lib.core import paths
    from recsys_lib.experiments.runs import Run, execute
    from recsys_lib.experiments.several_runs import execute_several, runs_at_once
    from recsys_lib.reporting import tables

    if len(chosen) == 1:
        path, parameters = chosen[0]
        found = iter([execute(path, parameters, paths.RUNS / path.name, progress=sys.stderr.isatty())])
    else:
        found = execute_several(chosen, paths.RUNS, runs_at_once(jobs))
    runs: dict[str, Run] = {}
    for run in found:
        runs[run.id] = run
        print(tables.run_line(run), flush=True)
    in_order = [runs[path.stem] for path, _ in chosen]
    print(tables.run_table(in_order))
    return 1 if any(run.status == "failed" for run in in_order) else 0


def _in_place(chosen: list[Path]) -> int:
    from recsys_lib.core import paths
    from recsys_lib.experiments.runs import execute_in_place
    from recsys_lib.reporting import numbers, plots, readme

    for path in chosen:
        print(f"{path.stem:28} {execute_in_place(path):7.1f} s", flush=True)
        numbers.keep(paths.RUNS / "in-place" / f"{path.stem}.json")
    plots.write_index()
    readme.write()
    return 0
