"""One run of a notebook: with parameters into a file of its own, or in place with its outputs kept.

Every run is a papermill execution in its own process, because papermill changes the working directory of its
process.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from recsys_lib.core import paths, records
from recsys_lib.core.errors import InputError
from recsys_lib.core.files import write_atomically
from recsys_lib.experiments.notebook_kernel import kernel_environment
from recsys_lib.experiments.notebook_record import RECORD_VARIABLE
from recsys_lib.experiments.notebooks import mark_executed, read_notebook, strip_volatile
from recsys_lib.experiments.parameters import FOLDER_VARIABLE

# A cell of the full study works for half an hour on two busy cores.
CELL_TIMEOUT_S = 4 * 3600
# Kernels listen on this machine only; their warning that the connection is not encrypted would head every
# run, and the interrupt that ends one would look like a failure. Cells report their errors themselves.
KERNEL_ARGUMENTS = ["--IPKernelApp.log_level=50"]
# Where a running notebook saves its figures; set by whoever runs it.
FIGURES_VARIABLE = "RECSYS_FIGURES"


@dataclass(frozen=True)
class Run:
    """What became of one execution.

    ``status``: finished or failed; ``cell``: the failing code cell, counted from 1.
    """

    id: str
    notebook: str
    parameters: dict[str, Any]
    status: str
    seconds: float
    metrics: dict[str, Any] = field(default_factory=dict)
    cell: int | None = None
    error: str = ""


def execute(
    path: Path,
    parameters: Mapping[str, Any],
    output: Path,
    *,
    run_id: str = "",
    threads: int = 0,
    progress: bool = False,
) -> Run:
    """Run one notebook with papermill into ``output`` (a ``.ipynb``); its record and figures land beside it.

    It works in a folder of its own and moves what it made last, so that two runs at once do not mix. A cell
    that raises makes a failed ``Run``, not an exception. ``threads`` > 0 fixes the numerical libraries'
    threads.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(output)
    folder = Path(tempfile.mkdtemp(prefix=f".{output.stem}-{os.getpid()}-", dir=output.parent))
    variables = {
        RECORD_VARIABLE: str(folder / "record.json"),
        FIGURES_VARIABLE: str(folder / "figures"),
        FOLDER_VARIABLE: os.getcwd(),
    }
    if threads:
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        variables |= dict.fromkeys(names, str(threads))
    started = time.perf_counter()
    try:
        with kernel_environment(**variables):
            cell, error = _papermill(path, parameters, folder / "run.ipynb", progress)
        seconds = round(time.perf_counter() - started, 1)
        metrics = {} if error else _metrics(folder / "record.json")
        _move_results(folder, output)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    status = "failed" if error else "finished"
    return Run(run_id or output.stem, path.stem, dict(parameters), status, seconds, metrics, cell, error)


def _papermill(
    path: Path, parameters: Mapping[str, Any], part: Path, progress: bool
) -> tuple[int | None, str]:
    """Execute into ``part``; the failing cell and its error, or ``(None, "")``."""
    import papermill

    logging.getLogger("papermill").addHandler(logging.NullHandler())  # what it has to say is in the Run
    try:
        papermill.execute_notebook(
            str(path), str(part), dict(parameters), cwd=str(path.parent), kernel_name="python3",
            progress_bar=progress,
            execution_timeout=CELL_TIMEOUT_S, log_output=False, extra_arguments=list(KERNEL_ARGUMENTS),
        )  # fmt: skip
    except papermill.PapermillExecutionError as failure:
        return failure.exec_count, f"{failure.ename}: {_first_line(failure.evalue)}"
    # A kernel that dies or a cell that takes too long ends this run, not the others.
    except Exception as failure:
        return _running_cell(part), f"{type(failure).__name__}: {_first_line(str(failure))}{_hint(failure)}"
    return None, ""


def _hint(failure: Exception) -> str:
    """What a kernel that died most often died of."""
    died = "kernel died" in str(failure).lower() or type(failure).__name__ == "DeadKernelError"
    return " (often too little memory: try smaller parameters)" if died else ""


def _metrics(record: Path) -> dict[str, Any]:
    return records.read(record)["metrics"] if record.exists() else {}


def _move_results(folder: Path, output: Path) -> None:
    """Rename the executed notebook, its record and its figures to where they are looked for."""
    for name, target in {"record.json": output.with_suffix(".json"), "run.ipynb": output}.items():
        if (folder / name).exists():
            os.replace(folder / name, target)
        else:
            target.unlink(missing_ok=True)
    for figure in (folder / "figures").glob("*.png"):
        (output.parent / "figures").mkdir(exist_ok=True)
        os.replace(figure, output.parent / "figures" / figure.name)


def _remove_abandoned(output: Path) -> None:
    """Remove the folders that killed runs of this output left behind."""
    for folder in output.parent.glob(f".{output.stem}-*-*"):
        pid = folder.name.removeprefix(f".{output.stem}-").partition("-")[0]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)


def _running_cell(part: Path) -> int | None:
    """The code cell, counted from 1, that the kernel said it had begun last."""
    if not part.exists():
        return None
    counts = [c.execution_count for c in read_notebook(part).cells if c.cell_type == "code"]
    return max((number for number, count in enumerate(counts, 1) if count is not None), default=None)


def _first_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[0] if lines else ""


def execute_in_place(path: Path, progress: bool = False) -> float:
    """Execute a notebook of the repository and keep its outputs, without anything volatile; returns seconds.

    Raises:
        InputError: a cell failed; the file is left as it was.
    """
    import nbclient
    import nbformat

    notebook = read_notebook(path)
    started = time.perf_counter()
    record = {RECORD_VARIABLE: str(paths.RUNS / "in-place" / f"{path.stem}.json")}
    client = nbclient.NotebookClient(
        notebook, timeout=CELL_TIMEOUT_S, kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
        record_timing=False, extra_arguments=list(KERNEL_ARGUMENTS),
    )  # fmt: skip
    try:
        with kernel_environment(**record):
            client.execute()
    except nbclient.exceptions.CellExecutionError as failure:
        code = [c for c in notebook.cells if c.cell_type == "code"]
        cell = next(n for n, c in enumerate(code, 1) if any(o.output_type == "error" for o in c.outputs))
        raise InputError(
            f"{path.name} cell [{cell}]: {failure.ename}: {_first_line(failure.evalue)}"
        ) from failure
    except (nbclient.exceptions.DeadKernelError, nbclient.exceptions.CellTimeoutError) as failure:
        raise InputError(
            f"{path.name}: {type(failure).__name__}: {_first_line(str(failure))}{_hint(failure)}"
        ) from failure
    write_atomically(path, nbformat.writes(mark_executed(strip_volatile(notebook))) + "\n")
    return time.perf_counter() - started
