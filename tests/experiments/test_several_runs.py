"""Several notebooks at once: all run, in their own processes, and those that measure time run alone."""

import threading
from pathlib import Path

import pytest

from recsys_lib.__main__ import main
from recsys_lib.core import paths
from recsys_lib.experiments import notebooks, several_runs
from recsys_lib.experiments.runs import Run


@pytest.fixture
def begun(monkeypatch):
    """What runs, in order of its beginning, each with all that ran beside it; nothing is really executed."""
    running, seen, lock = set(), [], threading.Lock()
    together = threading.Barrier(2)

    def pretend(job, outcome):
        name = Path(job["path"]).stem
        with lock:
            running.add(name)
            seen.append((name, job["threads"]))
        if name in ("a", "b"):
            together.wait(timeout=60)
        with lock:
            beside = set(running) - {name}
        if name in ("a", "b"):
            together.wait(timeout=60)
        with lock:
            running.discard(name)
        return Run(
            name, name, job["parameters"], "failed" if name == "b" else "finished", 0.1, {"with": beside}
        )

    monkeypatch.setattr(several_runs, "execute_apart", pretend)
    monkeypatch.setattr(several_runs.os, "cpu_count", lambda: 4)
    return seen


def test_notebooks_that_measure_time_run_alone_after_the_others(begun, tmp_path):
    names = ["a", *several_runs.MEASURE_TIME, "b", "c"]
    jobs = [(Path(f"{name}.ipynb"), {"k": i}) for i, name in enumerate(names)]
    found = {run.id: run for run in several_runs.execute_several(jobs, tmp_path, 2)}
    assert {run.parameters["k"] for run in found.values()} == set(range(6))
    assert [name for name, _ in begun[3:]] == list(several_runs.MEASURE_TIME)
    assert all(not found[name].metrics["with"] for name in several_runs.MEASURE_TIME)
    assert "b" in found["a"].metrics["with"] and "a" in found["b"].metrics["with"]
    # Two at once share the cores' threads, one alone keeps the libraries' own choice.
    alone = dict.fromkeys(several_runs.MEASURE_TIME, 0)
    assert dict(begun) == {"a": 2, "b": 2, "c": 2} | alone


def test_the_notebooks_that_measure_time_are_there():
    assert set(several_runs.MEASURE_TIME) < {path.stem for path in notebooks.numbered_notebooks()}


def test_memory_bounds_how_many_run_at_once(monkeypatch):
    monkeypatch.setattr(several_runs.os, "cpu_count", lambda: 8)
    for n_bytes, expected in ((100 * 2**30, 8), (9 * 2**30, 2), (2**30, 1)):
        monkeypatch.setattr(several_runs.memory, "available_bytes", lambda n=n_bytes: n)
        assert several_runs.runs_at_once() == expected
    assert several_runs.runs_at_once(3) == 3


def test_one_that_fails_leaves_the_others_and_the_table_in_order(begun, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(paths, "RUNS", tmp_path / "runs")
    files = [tmp_path / f"{name}.ipynb" for name in "cba"]
    for file in files:
        file.write_text(Path(notebooks.find_notebook("03")).read_text(encoding="utf-8"), encoding="utf-8")
    assert main(["run", *map(str, files), "-j", "2"]) == 1
    out = capsys.readouterr().out
    assert "b: FAILED" in out and "a: finished" in out and "c: finished" in out
    table = out[out.index("headline metrics") :]
    assert [line.split()[0] for line in table.splitlines()[1:4]] == ["c", "b", "a"]
