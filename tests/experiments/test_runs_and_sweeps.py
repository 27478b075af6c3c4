"""Runs and sweeps: parameters are checked first, failures are named, nothing finished is ever lost."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import psutil
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from recsys_lib import experiments
from recsys_lib.__main__ import main
from recsys_lib.core import paths
from recsys_lib.core.errors import InputError
from recsys_lib.core.files import write_atomically
from recsys_lib.experiments import parameters, sweeps
from recsys_lib.experiments.notebooks import source_hash
from recsys_lib.experiments.parameters import grid_of, parameters_of, parse_parameter
from recsys_lib.experiments.runs import execute_in_place

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def notebook(tmp_path):
    """Squares ``k``; fails where ``k`` is 3, and takes ``pause`` seconds."""
    parameters = (
        "k = 2  # a number\nname = 'a'  # a label\nrate = 0.5  # a share\nflag = True  # a "
        "switch\npause = 0.0"
    )
    cells = [
        new_code_cell(parameters, metadata={"tags": ["parameters"]}),
        new_code_cell("import json, os, time\ntime.sleep(pause)\nassert k != 3, 'three is refused'"),
        new_code_cell(
            "path = os.environ['RECSYS_RECORD']\n"
            "content = {'notebook': 'n', 'parameters': {'k': k}, 'metrics': {'square': k * k, 'nested': "
            "{'name': name}}}\n"
            "content |= {'environment': {}, 'seconds': 0.5}\n"
            "open(path, 'w').write(json.dumps(content))"
        ),
    ]
    spec = {"display_name": "Python 3", "language": "python", "name": "python3"}
    path = tmp_path / "98_square.ipynb"
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": spec}), path)
    return path


def test_parameters_and_their_types(notebook):
    assert parameters_of(notebook) == {"k": 2, "name": "a", "rate": 0.5, "flag": True, "pause": 0.0}
    points = grid_of(notebook, ["k=1,2", "name=x,7"], {"rate": "1", "flag": "false"})
    assert len(points) == 4
    assert points[1] == {"rate": 1.0, "flag": False, "k": 1, "name": "7"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"user": "User-ID"}', {"user": "User-ID"}),
        ("user=User-ID, item=a=b", {"user": "User-ID", "item": "a=b"}),
        ("{}", {}),
    ],
)
def test_a_dict_is_given_as_json_or_as_pairs(text, value):
    assert parse_parameter("n", {"columns": {}}, "columns", text) == value


@pytest.mark.parametrize("text", ["user", "user=a,item", "[1]", ""])
def test_what_is_no_dict_is_refused(text):
    with pytest.raises(InputError, match="no dict, written as name=value"):
        parse_parameter("n", {"columns": {}}, "columns", text)


def test_given_paths_start_where_the_command_was_given(tmp_path, monkeypatch):
    monkeypatch.delenv(parameters.FOLDER_VARIABLE, raising=False)
    assert experiments.given_path("a/b.csv") == Path("a/b.csv")
    monkeypatch.setenv(parameters.FOLDER_VARIABLE, str(tmp_path))
    assert experiments.given_path("a/b.csv") == tmp_path / "a" / "b.csv"
    assert experiments.given_path(str(tmp_path.parent / "c.csv")) == tmp_path.parent / "c.csv"
    assert experiments.given_path("~/c.csv") == Path.home() / "c.csv"


@pytest.mark.parametrize(
    ("axes", "fixed", "message"),
    [
        ([], {}, "at least one axis"),
        (["k"], {}, "NAME=V1,V2"),
        (["k="], {}, "none empty"),
        (["k=1,,2"], {}, "none empty"),
        (["kk=1"], {}, "did you mean 'k'"),
        (["k=1.5"], {}, "no int"),
        (["k=true"], {}, "no int"),
        (["k=x"], {}, "no int"),
        (["flag=1"], {}, "no bool"),
        (["rate=high"], {}, "no float"),
        (["k=1", "k=2"], {}, "given twice"),
        (["k=1"], {"k": "2"}, "given twice"),
        (["k=1"], {"zzz": "2"}, "no parameter 'zzz'"),
    ],
)
def test_a_bad_grid_is_refused_before_anything_starts(notebook, axes, fixed, message):
    with pytest.raises(InputError, match=message):
        grid_of(notebook, axes, fixed)


def test_the_command_line_says_it_in_one_line_with_status_2(notebook, capsys):
    assert main(["sweep", str(notebook), "-g", "kk=1"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "98_square has no parameter 'kk'" in error
    assert main(["run", "no_such_notebook"]) == 2
    assert "0 notebooks match" in capsys.readouterr().err
    notebook.write_text("{ not json")
    assert main(["run", str(notebook)]) == 2
    assert "not a readable notebook" in capsys.readouterr().err


def test_an_axis_may_be_of_lists(notebook):
    content = nbformat.read(notebook, as_version=4)
    content.cells[0].source += "\nlayers = [1]\nname = 'a'"
    nbformat.write(content, notebook)
    points = grid_of(notebook, ["layers=[1, 2],[3],[1,2]", "k=1,1"])
    assert [p["layers"] for p in points] == [[1, 2], [3]]
    assert grid_of(notebook, ["name=[x,y"]) == [{"name": "[x"}, {"name": "y"}]
    with pytest.raises(InputError, match="no list"):
        grid_of(notebook, ["layers=1,2"])


@pytest.mark.slow
def test_sweep_goes_on_after_a_failure_and_resumes(notebook, tmp_path):
    folder = tmp_path / "out"
    points = grid_of(notebook, ["k=2,3,4"])
    runs = sweeps.sweep(notebook, points, folder, jobs=2, progress=False)
    assert [r.status for r in runs] == ["finished", "failed", "finished"]
    # The injected cell counts: papermill runs it between the parameters and this one.
    assert runs[1].cell == 3
    assert runs[1].error == "AssertionError: three is refused"
    table = sweeps.tidy(runs)
    assert table["square"].tolist() == [4, 16]
    assert table["nested.name"].tolist() == ["a", "a"]
    manifest = json.loads((folder / "manifest.json").read_text())
    assert [m["status"] for m in manifest] == ["finished", "failed", "finished"]
    times = {r.id: (folder / f"{r.id}.ipynb").stat().st_mtime_ns for r in runs}
    again = sweeps.sweep(notebook, points, folder, jobs=2, progress=False)
    changed = [
        r.parameters["k"] for r in again if (folder / f"{r.id}.ipynb").stat().st_mtime_ns != times[r.id]
    ]
    assert changed == [3]  # only the failed one ran again


def test_a_run_of_other_code_is_not_taken_for_this_one(notebook):
    before = sweeps.run_id(notebook, {"k": 1})
    assert before == sweeps.run_id(notebook, {"k": 1})
    assert before != sweeps.run_id(notebook, {"k": 2})
    content = nbformat.read(notebook, as_version=4)
    content.cells[1].source += "\npass"
    nbformat.write(content, notebook)
    assert before != sweeps.run_id(notebook, {"k": 1})


def _sweep_process(notebook, folder):
    command = [
        sys.executable,
        "-m",
        "recsys_lib",
        "sweep",
        str(notebook),
        "-g",
        "k=1,2,4",
        "-p",
        "pause",
        "1.5",
        "-j",
        "1",
    ]
    return subprocess.Popen(
        [*command, "--folder", str(folder)], cwd=ROOT, start_new_session=True, preexec_fn=_heed_interrupts
    )


def _heed_interrupts():
    """A shell that starts the tests in the background has them ignore Ctrl-C, and so whatever they start."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _wait_for_a_finished_run(folder, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if list(folder.glob("*.run.json")):
            return
        time.sleep(0.05)
    raise AssertionError("no run finished")


def _next_run(sweep, seconds=30):
    """The processes of a run in progress: its own and its kernel."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        started = psutil.Process(sweep).children(recursive=True)
        if len(started) == 2:
            return started
        time.sleep(0.02)
    raise AssertionError("no kernel started")


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_killed_sweep_loses_no_finished_run(notebook, tmp_path, how):
    folder = tmp_path / "out"
    process = _sweep_process(notebook, folder)
    _wait_for_a_finished_run(folder)
    started = _next_run(process.pid)
    if how == signal.SIGINT:
        os.killpg(process.pid, how)
    else:
        os.kill(process.pid, how)  # it alone: what it started has to notice
    assert process.wait(30) == (130 if how == signal.SIGINT else -signal.SIGKILL)
    _, alive = psutil.wait_procs(started, timeout=30)
    assert not alive
    finished = {p.name: p.stat().st_mtime_ns for p in folder.glob("*.run.json")}
    assert 1 <= len(finished) < 3
    assert not list(folder.glob(".*.part"))
    points = grid_of(notebook, ["k=1,2,4"], {"pause": "1.5"})
    runs = sweeps.sweep(notebook, points, folder, progress=False)
    assert [r.metrics["square"] for r in runs] == [1, 4, 16]
    assert {name: (folder / name).stat().st_mtime_ns for name in finished} == finished


@pytest.mark.slow
def test_a_failing_notebook_is_named_and_the_status_is_1(notebook, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(paths, "RUNS", tmp_path / "runs")
    assert main(["run", str(notebook), "-p", "k", "3"]) == 1
    out = capsys.readouterr().out
    assert "98_square: FAILED at cell [3]: AssertionError: three is refused" in out
    assert main(["run", str(notebook), "-p", "k", "5"]) == 0
    assert "square 25" in capsys.readouterr().out


@pytest.mark.slow
def test_a_notebook_that_is_named_twice_runs_once(notebook, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(paths, "RUNS", tmp_path / "runs")
    assert main(["run", str(notebook), str(notebook)]) == 0
    assert capsys.readouterr().out.count("98_square: finished") == 1


@pytest.mark.slow
def test_an_unknown_metric_is_refused_after_the_first_run(notebook, tmp_path, capsys):
    axes = ["-g", "k=1,2,4", "--folder", str(tmp_path / "sweep")]
    assert main(["sweep", str(notebook), *axes, "--metric", "sqare"]) == 2
    assert "metric 'sqare' is no number of the table: it has square, seconds" in capsys.readouterr().err
    assert len(list((tmp_path / "sweep").glob("*.run.json"))) == 1


@pytest.mark.slow
def test_a_kernel_that_dies_is_named_with_its_cell(notebook, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(paths, "RUNS", tmp_path / "runs")
    content = nbformat.read(notebook, as_version=4)
    content.cells[
        1
    ].source = "import os, time\ntime.sleep(1)  # for the kernel to say that it began\nos._exit(3)"
    nbformat.write(content, notebook)
    assert main(["run", str(notebook), "-p", "k", "5"]) == 1
    out, error = capfd.readouterr()
    assert "98_square: FAILED at cell [3]: DeadKernelError: Kernel died" in out
    assert error == ""


@pytest.mark.slow
def test_a_mistake_of_the_user_is_one_line_in_the_notebook_too(notebook, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(paths, "RUNS", tmp_path / "runs")
    content = nbformat.read(notebook, as_version=4)
    content.cells[
        1
    ].source = "from recsys_lib.core.errors import InputError\nraise InputError('x.csv: no such file')"
    nbformat.write(content, notebook)
    assert main(["run", str(notebook)]) == 1
    printed = capsys.readouterr()
    assert "98_square: FAILED at cell [2]: InputError: x.csv: no such file" in printed.out
    assert "Traceback" not in printed.out + printed.err
    executed = nbformat.read(tmp_path / "runs" / notebook.name, as_version=4)
    outputs = [o for c in executed.cells if c.cell_type == "code" for o in c.outputs]
    assert [o.traceback for o in outputs if o.output_type == "error"] == [["InputError: x.csv: no such file"]]


def test_record_is_whole_and_plain(tmp_path, monkeypatch):
    import numpy as np

    monkeypatch.setenv("RECSYS_RECORD", str(tmp_path / "deep" / "r.json"))
    path = experiments.record("03", {"k": np.int64(3)}, {"ndcg": np.float32(0.5), "list": np.arange(2)})
    content = json.loads(path.read_text())
    assert set(content) == {"schema", "notebook", "parameters", "metrics", "environment", "seconds"}
    assert content["parameters"] == {"k": 3}
    assert content["metrics"] == {"ndcg": 0.5, "list": [0, 1]}
    assert content["seconds"] > 0
    with pytest.raises(InputError, match="must be finite"):
        experiments.record("03", {}, {"ndcg": float("nan")})
    assert json.loads(path.read_text()) == content


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    write_atomically(path, "old")
    monkeypatch.setattr(
        os, "replace", lambda *a: (_ for _ in ()).throw(OSError(28, "No space left on device"))
    )
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.json"]


@pytest.mark.slow
def test_in_place_keeps_outputs_and_nothing_volatile(notebook, monkeypatch, tmp_path):
    monkeypatch.setattr(paths, "RUNS", tmp_path / "runs")
    (tmp_path / "runs" / "in-place").mkdir(parents=True)
    execute_in_place(notebook)
    content = nbformat.read(notebook, as_version=4)
    assert set(content.metadata) == {"kernelspec", "language_info"}
    assert "version" not in content.metadata.language_info
    assert [c.execution_count for c in content.cells] == [1, 2, 3]
    assert all(set(c.metadata) <= {"tags", "executed"} for c in content.cells)
    assert [c.metadata["executed"] for c in content.cells] == [source_hash(c.source) for c in content.cells]


@pytest.mark.slow
def test_a_failed_execution_in_place_changes_nothing(notebook):
    content = nbformat.read(notebook, as_version=4)
    content.cells[0].source = content.cells[0].source.replace("k = 2", "k = 3")
    nbformat.write(content, notebook)
    before = notebook.read_bytes()
    with pytest.raises(InputError, match="three is refused"):
        execute_in_place(notebook)
    assert notebook.read_bytes() == before


@pytest.mark.slow
def test_records_of_a_sweep_are_gathered_and_read_back(notebook, tmp_path, monkeypatch):
    points = grid_of(notebook, ["k=1,2"])
    runs = sweeps.sweep(notebook, points, tmp_path / "sweep", progress=False)
    monkeypatch.setattr(paths, "MEASUREMENTS", tmp_path)
    sweeps.gather(tmp_path / "sweep", runs, tmp_path / "kept.json")
    records = experiments.measurements("kept")
    assert [r["metrics"]["square"] for r in records] == [1, 4]
    again = sweeps.sweep(notebook, grid_of(notebook, ["k=2,4"]), tmp_path / "again", progress=False)
    sweeps.gather(tmp_path / "again", again, tmp_path / "kept.json", ["k"])
    assert [r["metrics"]["square"] for r in experiments.measurements("kept")] == [1, 4, 16]
    with pytest.raises(InputError, match=r"lost\.json: cannot be read"):
        experiments.measurements("lost")
    (tmp_path / "odd.json").write_text('{"metrics": 1}')
    with pytest.raises(InputError, match=r"odd\.json: expected a record with one of the keys"):
        experiments.measurements("odd")


@pytest.mark.slow
def test_a_relative_folder_of_a_sweep_is_one_where_the_command_was_given(
    notebook, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert main(["sweep", str(notebook), "-g", "k=2", "-j", "1", "--folder", "here"]) == 0
    assert (
        len([p for p in (tmp_path / "here").glob("*.json") if not p.stem.endswith((".run", "manifest"))]) == 1
    )
    assert "square" in capsys.readouterr().out
