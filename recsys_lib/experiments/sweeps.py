"""Sweeps: one notebook at every point of a grid of parameters, each in its own process, resumable."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import psutil

from recsys_lib.core import paths, records
from recsys_lib.core.errors import InputError
from recsys_lib.core.files import check_writable, write_atomically
from recsys_lib.experiments.notebooks import read_notebook
from recsys_lib.experiments.runs import Run, execute

# What decides a result beside a notebook: code of every language, and the tables and records that are read.
SOURCES = ("*.py", "*.c", "*.h", "*.js", "*.html", "*.css", "*.txt")
TABLES = ("*.toml", "*.csv", "measurements/*.json")


@lru_cache
def library_hash() -> str:
    """SHA-256 over the library's sources and the tables it reads (among them the pinned revisions of models
    and data).
    """
    digest = hashlib.sha256()
    package = Path(__file__).parent.parent
    places = [(package, pattern, "**/") for pattern in SOURCES] + [
        (paths.TABLES, pattern, "") for pattern in TABLES
    ]
    for folder, pattern, below in places:
        for path in sorted(folder.glob(below + pattern)):
            digest.update(path.relative_to(folder).as_posix().encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def run_id(path: Path, parameters: Mapping[str, Any]) -> str:
    """A name that changes with the parameters, the notebook's code and all that decides its results:
    no stale run is kept.
    """
    code = [c.source for c in read_notebook(path).cells if c.cell_type == "code"]
    text = json.dumps([code, library_hash(), parameters], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def execute_apart(job: dict[str, Any], outcome: Path) -> Run:
    """Run ``execute(**job)`` in a process of its own, which writes ``outcome`` the moment it is done."""
    command = [
        sys.executable,
        "-m",
        "recsys_lib.experiments.sweeps",
        json.dumps(job),
        str(outcome),
        str(os.getpid()),
    ]
    process = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    run = _read_run(outcome)
    if run is None:
        reason = process.stderr.strip().splitlines()[-1:] or [f"exit status {process.returncode}"]
        error = f"the run's process ended early: {reason[0]}"
        run = Run(job["run_id"], Path(job["path"]).stem, job["parameters"], "failed", 0.0, error=error)
    return run


def _end_with(parent: int) -> None:
    """End this process and its kernel once ``parent`` is gone:
    a killed sweep leaves nothing running behind it.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        for process in psutil.Process().children(recursive=True):
            process.kill()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _read_run(path: Path) -> Run | None:
    try:
        outcome = records.read(path)
        return Run(**{key: value for key, value in outcome.items() if key != "schema"})
    except (InputError, AttributeError, TypeError):
        return None


class Pool(Protocol):
    """Where runs are executed: ``submit(function, *arguments)`` starts one, ``stop`` ends all at once."""

    def submit(self, function: Callable[..., Run], /, *arguments: Any) -> Future[Run]: ...

    def stop(self) -> None: ...

    def shutdown(self) -> None: ...


class LocalPool(ThreadPoolExecutor):
    """Threads of this process, each of which waits for the process of one run."""

    def stop(self) -> None:
        """Begin no further run, and kill what is running."""
        self.shutdown(wait=False, cancel_futures=True)
        for process in psutil.Process().children(recursive=True):
            process.kill()


def sweep(
    path: Path,
    points: Sequence[dict[str, Any]],
    folder: Path | None = None,
    jobs: int = 0,
    progress: bool = True,
    pool: Pool | None = None,
) -> list[Run]:
    """Run a notebook at every point, each in its own process, skipping finished ones; returns runs in grid
    order.

    Files in ``folder`` (default ``runs/sweep-<notebook>``): per run ``<id>.ipynb``, its record ``<id>.json``
    and what became of it ``<id>.run.json``; over all ``manifest.json`` and a tidy ``table.csv`` (parameters,
    metrics, seconds). ``jobs`` processes at once (default: one per core) share the cores' threads; measure
    time with ``jobs=1``. Ctrl-C stops, keeps the finished runs and raises KeyboardInterrupt. Another ``pool``
    than this machine's cores executes the runs elsewhere, ``jobs`` at once.

    Raises:
        InputError: a negative number of jobs, or a folder that cannot be written to.
    """
    from tqdm import tqdm

    if jobs < 0:
        raise InputError(f"jobs={jobs}: expected how many runs at once, or 0 for one per core")
    folder = folder or paths.RUNS / f"sweep-{path.stem}"
    check_writable(folder / "table.csv")
    ids = [run_id(path, point) for point in points]
    known = {i: _read_run(folder / f"{i}.run.json") for i in ids}
    done = {i: run for i, run in known.items() if run and run.status == "finished"}
    todo = {i: point for i, point in zip(ids, points, strict=True) if i not in done}
    cores = os.cpu_count() or 1
    jobs = max(1, min(jobs or cores, len(todo)))
    pool = pool or LocalPool(jobs)
    bar = tqdm(
        total=len(points), initial=len(done), desc=path.stem, unit="run", disable=None if progress else True
    )
    pending = [_submit(pool, path, folder, i, point, max(1, cores // jobs)) for i, point in todo.items()]
    try:
        for future in as_completed(pending):
            run = future.result()
            done[run.id] = run
            bar.update()
    except KeyboardInterrupt:
        pool.stop()
        raise
    finally:
        pool.shutdown()
        bar.close()
        _write_tables(folder, [done[i] for i in ids if i in done])
    return [done[i] for i in ids]


def _submit(
    pool: Pool, path: Path, folder: Path, name: str, point: dict[str, Any], threads: int
) -> Future[Run]:
    """Have one run executed in a process of its own; its old outcome is removed first."""
    outcome = folder / f"{name}.run.json"
    outcome.unlink(missing_ok=True)
    job = {
        "path": str(path),
        "parameters": point,
        "output": str(folder / f"{name}.ipynb"),
        "run_id": name,
        "threads": threads,
    }
    return pool.submit(execute_apart, job, outcome)


def _write_tables(folder: Path, runs: Sequence[Run]) -> None:
    manifest = [{key: value for key, value in asdict(run).items() if key != "metrics"} for run in runs]
    records.write(folder / "manifest.json", manifest)
    table = tidy(runs)
    if len(table):
        write_atomically(folder / "table.csv", table.to_csv(index=False))


def gather(folder: Path, runs: Sequence[Run], path: Path, axes: Sequence[str] = ()) -> None:
    """Write the records of a sweep's finished runs, in grid order, as one JSON list: what
    ``data/measurements/`` keeps.

    Records that are there of other values of the swept ``axes`` (parameters) stay, so that one protocol can
    be rerun alone.
    """
    new = [records.read(folder / f"{run.id}.json") for run in runs if run.status == "finished"]
    swept = [[r["parameters"].get(axis) for axis in axes] for r in new]
    there = records.runs_of(path) if axes and path.exists() else []
    kept = [r for r in there if [r["parameters"].get(axis) for axis in axes] not in swept]
    records.write(path, [*kept, *new])


def tidy(runs: Sequence[Run]):
    """One row per finished run: its parameters, its scalar metrics (nested ones as ``a.b``), seconds."""
    import pandas as pd

    rows = [
        {**run.parameters, **records.flat(run.metrics), "seconds": run.seconds}
        for run in runs
        if run.status == "finished"
    ]
    return pd.DataFrame(rows)


if __name__ == "__main__":
    # One run of a sweep: what to execute as JSON, the file that says what became of it, and the sweep's
    # process.
    _end_with(int(sys.argv[3]))
    _job = json.loads(sys.argv[1])
    _run = execute(**_job | {"path": Path(_job["path"]), "output": Path(_job["output"])})
    records.write(Path(sys.argv[2]), asdict(_run))
