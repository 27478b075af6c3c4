"""Notebooks as experiments: records of what a run found, single runs, and sweeps over parameters.

A notebook's last code cell calls ``record``; all that comes after (sweep tables, figures, tests) reads those files.
Every run is a papermill execution in its own process, because papermill changes the working directory of its process.
"""

from __future__ import annotations

import ast
import hashlib
import itertools
import json
import logging
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

from recsys_lib.errors import InputError

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"
RUNS = ROOT / "runs"
MEASUREMENTS = ROOT / "data" / "measurements"
# A cell of the full study works for half an hour on two busy cores.
CELL_TIMEOUT_S = 4 * 3600
# Kernels listen on this machine only; their warning that the connection is not encrypted would head every run.
KERNEL_ARGUMENTS = ["--IPKernelApp.log_level=40"]
# Where a running notebook leaves its record and its figures; set by whoever runs it.
RECORD_VARIABLE, FIGURES_VARIABLE = "RECSYS_RECORD", "RECSYS_FIGURES"
# The folder in which the command was given: a path among the parameters starts there, while notebooks run in their own folder.
FOLDER_VARIABLE = "RECSYS_FOLDER"


# ---------------------------------------------------------------- records


def write_atomically(path: Path, text: str) -> None:
    """Write beside ``path``, then rename: a reader never sees half a file, a kill leaves the old one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        beside.write_text(text, encoding="utf-8")
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def check_writable(path: Path) -> None:
    """Refuse a file that could not be written, before the work is done whose result it is to hold.

    Raises:
        InputError: its folder cannot be made or written to, or it is a folder itself.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); choose another place") from error
    if path.is_dir():
        raise InputError(f"{path}: is a folder, want a file")


def _plain(value: Any) -> Any:
    """JSON types only: NumPy scalars and arrays become numbers and lists; NaN is refused by ``json`` later."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value


def record(notebook: str, parameters: Mapping[str, Any], metrics: Mapping[str, Any]) -> Path:
    """Write ``{notebook, parameters, metrics, environment, seconds}`` as one JSON file and return its path.

    ``seconds`` counts from the start of this process, the notebook's kernel. The file lies beside the executed notebook
    when a run asked for it, else at ``runs/<notebook>.json``. The first metrics are the headline ones.

    Raises:
        InputError: a metric that is not finite or not a JSON type.
    """
    from recsys_lib import machine

    content = {
        "notebook": notebook,
        "parameters": _plain(parameters),
        "metrics": _plain(metrics),
        "environment": machine.describe(),
        "seconds": round(time.time() - psutil.Process().create_time(), 1),
    }
    try:
        text = json.dumps(content, ensure_ascii=False, indent=1, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(f"record of {notebook}: {error}; metrics must be finite numbers, strings or lists") from error
    path = Path(os.environ.get(RECORD_VARIABLE) or RUNS / f"{notebook}.json")
    write_atomically(path, text)
    return path


def rows(table: Any) -> list[dict[str, Any]]:
    """A table of pandas as rows of JSON types for a record: a named index becomes the column ``name``, an absent number null.

    >>> import pandas as pd
    >>> rows(pd.DataFrame({"ndcg": [0.5, None]}, index=["all", "none"]))
    [{'name': 'all', 'ndcg': 0.5}, {'name': 'none', 'ndcg': None}]
    """
    numbered = str(table.index.dtype) == "int64"
    flat_table = table if numbered else table.rename_axis("name").reset_index()
    return json.loads(flat_table.to_json(orient="records", double_precision=10))


# ---------------------------------------------------------------- parameters


def find_notebook(name: str | Path) -> Path:
    """The notebook at a path, or the one in ``notebooks/`` whose name begins with ``name`` (``03``, ``03_ranking``).

    Raises:
        InputError: no such file, or another number of notebooks than one whose name begins so.
    """
    path = Path(name)
    if path.is_file() and path.suffix == ".ipynb":
        return path.resolve()
    # A path is taken at its word, never for a notebook of that name elsewhere.
    if path.is_file() or len(path.parts) > 1:
        raise InputError(f"notebook {str(name)!r}: {'not a .ipynb file' if path.is_file() else 'no such file'}")
    matches = [p for p in sorted(NOTEBOOKS.glob("*.ipynb")) if p.name.startswith(path.name.removesuffix(".ipynb"))]
    if len(matches) != 1:
        known = ", ".join(p.stem for p in matches or sorted(NOTEBOOKS.glob("*.ipynb")))
        raise InputError(f"notebook {str(name)!r}: {len(matches)} notebooks match; choose one of {known}")
    return matches[0]


def read_notebook(path: Path):
    """The notebook as nbformat reads it; an unreadable one is refused in one line."""
    import nbformat

    try:
        return nbformat.read(path, as_version=4)
    except Exception as error:  # nbformat raises half a dozen kinds for a broken file
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(f"{path.name}: not a readable notebook ({reason[0]})") from error


def parameters_of(path: Path) -> dict[str, Any]:
    """Names and defaults of the literals in the cell tagged ``parameters``; an empty dict where there is none."""
    cells = [c for c in read_notebook(path).cells if "parameters" in c.metadata.get("tags", [])]
    if not cells:
        return {}
    defaults: dict[str, Any] = {}
    for node in ast.parse(cells[0].source).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            defaults[node.targets[0].id] = ast.literal_eval(node.value)
    return defaults


def given_path(path: str) -> Path:
    """A path among a notebook's parameters: relative to where the command was given, in Jupyter to the notebook."""
    return Path(os.environ.get(FOLDER_VARIABLE, "")) / Path(path).expanduser()


def parse_parameter(notebook: str, defaults: Mapping[str, Any], name: str, text: str) -> Any:
    """Turn a command line's ``text`` into a value of the type that the notebook's default has; a dict may be ``a=b,c=d``.

    >>> parse_parameter("n", {"k": 10, "encoder": "minilm"}, "k", "20")
    20
    >>> parse_parameter("n", {"k": 10, "encoder": "minilm"}, "encoder", "007")
    '007'

    Raises:
        InputError: an unknown name (a near one is suggested) or a value of another type.
    """
    import difflib

    if name not in defaults:
        near = difflib.get_close_matches(name, defaults, 1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise InputError(f"{notebook} has no parameter {name!r}: {hint}it has {', '.join(defaults) or 'none'}")
    default = defaults[name]
    if isinstance(default, str):
        return text
    try:
        value = json.loads(text.lower() if isinstance(default, bool) else text)
    except ValueError:
        value = text
    if isinstance(default, dict) and value == text and all("=" in pair for pair in text.split(",")):
        value = {key.strip(): v.strip() for key, _, v in (pair.partition("=") for pair in text.split(","))}
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if default is not None and type(value) is not type(default):
        form = ", written as name=value,name=value" if isinstance(default, dict) else ""
        raise InputError(
            f"{notebook}: parameter {name}={text!r} is no {type(default).__name__}{form} (the default is {default!r})"
        )
    return value


def grid_of(path: Path, axes: Iterable[str], fixed: Mapping[str, str] = {}) -> list[dict[str, Any]]:
    """All combinations of ``NAME=V1,V2`` axes (lists as JSON: ``NAME=[1,2],[3]``), checked before anything starts.

    Raises:
        InputError: no axis, an axis without values or given twice, an unknown parameter, a wrong type.
    """
    defaults, values = parameters_of(path), {}
    constants = {name: parse_parameter(path.stem, defaults, name, text) for name, text in fixed.items()}
    for axis in axes:
        name, separator, texts = axis.partition("=")
        parts = _axis_values(texts)
        if not separator or not all(parts):
            raise InputError(f"grid {axis!r}: want NAME=V1,V2 with at least one value and none empty")
        if name in values or name in constants:
            raise InputError(f"grid {axis!r}: parameter {name!r} is given twice")
        parsed = [parse_parameter(path.stem, defaults, name, text) for text in parts]
        values[name] = list({json.dumps(value): value for value in parsed}.values())
    if not values:
        raise InputError("a sweep needs at least one axis: -g NAME=V1,V2")
    return [constants | dict(zip(values, point, strict=True)) for point in itertools.product(*values.values())]


def _axis_values(texts: str) -> list[str]:
    """The values of ``V1,V2``, or of ``[1,2],[3]`` and ``{...}``, each as the text of one."""
    if texts.startswith(("[", "{")):
        try:
            return [json.dumps(value) for value in json.loads(f"[{texts}]")]
        except ValueError:
            pass  # a text that begins so
    return [text.strip() for text in texts.split(",")]


# ---------------------------------------------------------------- one run


@dataclass(frozen=True)
class Run:
    """What became of one execution. ``status``: finished or failed; ``cell``: the failing code cell, counted from 1."""

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

    A cell that raises makes a failed ``Run``, not an exception. ``threads`` > 0 fixes the numerical libraries' threads.
    """
    import papermill

    output.parent.mkdir(parents=True, exist_ok=True)
    record_path, part = output.with_suffix(".json"), output.with_suffix(".part.ipynb")
    record_path.unlink(missing_ok=True)
    os.environ[RECORD_VARIABLE] = str(record_path)
    os.environ[FIGURES_VARIABLE] = str(output.parent / "figures")
    os.environ[FOLDER_VARIABLE] = os.getcwd()
    if threads:
        os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(threads)))
    logging.getLogger("papermill").addHandler(logging.NullHandler())  # what it has to say is in the Run
    started, cell, error = time.perf_counter(), None, ""
    try:
        papermill.execute_notebook(
            str(path), str(part), dict(parameters), cwd=str(path.parent), kernel_name="python3", progress_bar=progress,
            execution_timeout=CELL_TIMEOUT_S, log_output=False, extra_arguments=list(KERNEL_ARGUMENTS),
        )  # fmt: skip
    except papermill.PapermillExecutionError as failure:
        cell, error = failure.exec_count, f"{failure.ename}: {_first_line(failure.evalue)}"
    except KeyboardInterrupt:
        raise
    except Exception as failure:  # a kernel that dies or a cell that takes too long ends this run, not the others
        cell, error = _running_cell(part), f"{type(failure).__name__}: {_first_line(str(failure))}"
    if part.exists():
        os.replace(part, output)
    seconds = round(time.perf_counter() - started, 1)
    run_id = run_id or output.stem
    if error:
        return Run(run_id, path.stem, dict(parameters), "failed", seconds, cell=cell, error=error)
    metrics = json.loads(record_path.read_text(encoding="utf-8"))["metrics"] if record_path.exists() else {}
    return Run(run_id, path.stem, dict(parameters), "finished", seconds, metrics)


def _running_cell(part: Path) -> int | None:
    """The code cell, counted from 1, that the kernel said it had begun last."""
    if not part.exists():
        return None
    counts = [c.execution_count for c in read_notebook(part).cells if c.cell_type == "code"]
    return max((number for number, count in enumerate(counts, 1) if count is not None), default=None)


def _first_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[0] if lines else ""


# ---------------------------------------------------------------- committed outputs


def execute_in_place(path: Path, progress: bool = False) -> float:
    """Execute a notebook of the repository and keep its outputs, without anything volatile; returns seconds.

    Raises:
        InputError: a cell failed; the file is left as it was.
    """
    import nbclient
    import nbformat

    notebook = read_notebook(path)
    started = time.perf_counter()
    os.environ[RECORD_VARIABLE] = str(RUNS / "in-place" / f"{path.stem}.json")
    client = nbclient.NotebookClient(
        notebook, timeout=CELL_TIMEOUT_S, kernel_name="python3", resources={"metadata": {"path": str(path.parent)}},
        record_timing=False, extra_arguments=list(KERNEL_ARGUMENTS),
    )  # fmt: skip
    try:
        client.execute()
    except nbclient.exceptions.CellExecutionError as failure:
        code = [c for c in notebook.cells if c.cell_type == "code"]
        cell = next(n for n, c in enumerate(code, 1) if any(o.output_type == "error" for o in c.outputs))
        raise InputError(f"{path.name} cell [{cell}]: {failure.ename}: {_first_line(failure.evalue)}") from failure
    except (nbclient.exceptions.DeadKernelError, nbclient.exceptions.CellTimeoutError) as failure:
        raise InputError(f"{path.name}: {type(failure).__name__}: {_first_line(str(failure))}") from failure
    write_atomically(path, nbformat.writes(strip_volatile(notebook)) + "\n")
    return time.perf_counter() - started


def strip_volatile(notebook):
    """Remove what differs from machine to machine: versions, timings, widget state, papermill's notes."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in notebook.cells:
        tags = cell.metadata.get("tags")
        cell.metadata = {"tags": tags} if tags else {}
    return without_widgets(notebook)


def without_widgets(notebook):
    """Remove what shows a widget of a kernel that is gone; the output's other forms stay."""
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)
    return notebook


# ---------------------------------------------------------------- sweeps


def run_id(path: Path, parameters: Mapping[str, Any]) -> str:
    """A name that changes with the parameters, the notebook's code and the library's, so that no stale run is kept."""
    code = [c.source for c in read_notebook(path).cells if c.cell_type == "code"]
    library = [p.read_bytes().hex() for p in sorted(Path(__file__).parent.rglob("*.py"))]
    text = json.dumps([code, library, parameters], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _execute_apart(job: dict[str, Any], outcome: Path) -> Run:
    """Run ``execute(**job)`` in a process of its own, which writes ``outcome`` the moment it is done."""
    command = [sys.executable, "-m", "recsys_lib.experiments", json.dumps(job), str(outcome), str(os.getpid())]
    process = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    run = _read_run(outcome)
    if run is None:
        reason = process.stderr.strip().splitlines()[-1:] or [f"exit status {process.returncode}"]
        error = f"the run's process ended early: {reason[0]}"
        run = Run(job["run_id"], Path(job["path"]).stem, job["parameters"], "failed", 0.0, error=error)
    return run


def _end_with(parent: int) -> None:
    """End this process and its kernel once ``parent`` is gone: a killed sweep leaves nothing running behind it."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        for process in psutil.Process().children(recursive=True):
            process.kill()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _read_run(path: Path) -> Run | None:
    try:
        return Run(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def sweep(
    path: Path,
    points: Sequence[dict[str, Any]],
    folder: Path | None = None,
    jobs: int = 0,
    progress: bool = True,
) -> list[Run]:
    """Run a notebook at every point, each in its own process, skipping finished ones; returns runs in grid order.

    Files in ``folder`` (default ``runs/sweep-<notebook>``): per run ``<id>.ipynb``, its record ``<id>.json`` and what
    became of it ``<id>.run.json``; over all ``manifest.json`` and a tidy ``table.csv`` (parameters, metrics, seconds).
    ``jobs`` processes at once (default: one per core) share the cores' threads; measuring time wants ``jobs=1``.
    Ctrl-C stops, keeps the finished runs and raises KeyboardInterrupt.

    Raises:
        InputError: a negative number of jobs, or a folder that cannot be written to.
    """
    from tqdm import tqdm

    if jobs < 0:
        raise InputError(f"jobs={jobs}: want how many runs at once, or 0 for one per core")

    folder = folder or RUNS / f"sweep-{path.stem}"
    check_writable(folder / "table.csv")
    ids = [run_id(path, point) for point in points]
    known = {i: _read_run(folder / f"{i}.run.json") for i in ids}
    done = {i: run for i, run in known.items() if run and run.status == "finished"}
    todo = {i: point for i, point in zip(ids, points, strict=True) if i not in done}
    cores = os.cpu_count() or 1
    jobs = max(1, min(jobs or cores, len(todo)))
    bar = tqdm(total=len(points), initial=len(done), desc=path.stem, unit="run", disable=None if progress else True)
    pool = ThreadPoolExecutor(jobs)
    pending = []
    for i, point in todo.items():
        (folder / f"{i}.run.json").unlink(missing_ok=True)
        job = {"path": str(path), "parameters": point, "output": str(folder / f"{i}.ipynb"), "run_id": i,
               "threads": max(1, cores // jobs)}  # fmt: skip
        pending.append(pool.submit(_execute_apart, job, folder / f"{i}.run.json"))
    try:
        for future in as_completed(pending):
            run = future.result()
            done[run.id] = run
            bar.update()
    except KeyboardInterrupt:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in psutil.Process().children(recursive=True):
            process.kill()
        raise
    finally:
        pool.shutdown()
        bar.close()
        _write_tables(folder, [done[i] for i in ids if i in done])
    return [done[i] for i in ids]


def _write_tables(folder: Path, runs: Sequence[Run]) -> None:
    manifest = [{key: value for key, value in asdict(run).items() if key != "metrics"} for run in runs]
    write_atomically(folder / "manifest.json", json.dumps(manifest, ensure_ascii=False, indent=1))
    table = tidy(runs)
    if len(table):
        write_atomically(folder / "table.csv", table.to_csv(index=False))


def gather(folder: Path, runs: Sequence[Run], path: Path, axes: Sequence[str] = ()) -> None:
    """Write the records of a sweep's finished runs, in grid order, as one JSON list: what ``data/measurements/`` keeps.

    Records that are there of other values of the swept ``axes`` (parameters) stay, so that one protocol can be rerun alone.
    """
    records = [_read_json(folder / f"{run.id}.json") for run in runs if run.status == "finished"]
    swept = [[r["parameters"].get(axis) for axis in axes] for r in records]
    there = _read_json(path) if axes and path.exists() else []
    kept = [r for r in there if [r["parameters"].get(axis) for axis in axes] not in swept]
    write_atomically(path, json.dumps([*kept, *records], ensure_ascii=False, indent=1) + "\n")


def measurements(name: str) -> list[dict[str, Any]]:
    """The records kept in ``data/measurements/<name>.json``.

    Raises:
        InputError: no such file, or one that is no list of records.
    """
    records = _read_json(MEASUREMENTS / f"{name}.json")
    if not isinstance(records, list) or not all(isinstance(r, dict) and "metrics" in r for r in records):
        raise InputError(f"data/measurements/{name}.json: want a list of records, as sweep --record writes it")
    return records


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path.name}: cannot be read ({error})") from error


def tidy(runs: Sequence[Run]):
    """One row per finished run: its parameters, its scalar metrics (nested ones as ``a.b``), seconds."""
    import pandas as pd

    rows = [{**run.parameters, **flat(run.metrics), "seconds": run.seconds} for run in runs if run.status == "finished"]
    return pd.DataFrame(rows)


def flat(metrics: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested metrics as one level, ``a.b``; lists are left out."""
    level: dict[str, Any] = {}
    for key, value in metrics.items():
        if isinstance(value, Mapping):
            level |= flat(value, f"{prefix}{key}.")
        elif not isinstance(value, list):
            level[f"{prefix}{key}"] = value
    return level


def open_lab() -> int:
    """Start JupyterLab in ``notebooks/``; returns its exit status."""
    return subprocess.call([sys.executable, "-m", "jupyter", "lab", str(NOTEBOOKS)])


def numbered_notebooks() -> list[Path]:
    """The repository's notebooks in reading order."""
    return sorted(p for p in NOTEBOOKS.glob("*.ipynb") if re.match(r"\d\d_", p.name))


if __name__ == "__main__":
    # One run of a sweep: what to execute as JSON, the file that says what became of it, and the sweep's process.
    _end_with(int(sys.argv[3]))
    _job = json.loads(sys.argv[1])
    _run = execute(**_job | {"path": Path(_job["path"]), "output": Path(_job["output"])})
    write_atomically(Path(sys.argv[2]), json.dumps(asdict(_run), ensure_ascii=False, indent=1))
