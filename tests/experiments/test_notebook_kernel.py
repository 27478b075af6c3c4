"""Notebooks run under this Python, whatever the machine's Jupyter set-up, and two runs at once do not mix."""

import json
import os
import subprocess
import sys

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from recsys_lib.core import paths
from recsys_lib.experiments.runs import execute

pytestmark = pytest.mark.slow

RECORD = (
    "from recsys_lib import experiments\n"
    "import sys, time\n"
    "time.sleep(1)\n"
    "experiments.record('toy', {'k': k}, {'k': k, 'python': sys.executable})"
)


@pytest.fixture
def toy(tmp_path):
    parameters = new_code_cell("k = 1", metadata={"tags": ["parameters"]})
    path = tmp_path / "01_toy.ipynb"
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(new_notebook(cells=[parameters, new_code_cell(RECORD)], metadata=kernel), path)
    return path


def foreign_kernel(folder):
    """A Jupyter folder whose ``python3`` kernel ends at once."""
    spec = folder / "kernels" / "python3"
    spec.mkdir(parents=True)
    content = {
        "argv": [sys.executable, "-c", "raise SystemExit(3)"],
        "display_name": "other",
        "language": "python",
    }
    (spec / "kernel.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def test_another_python3_kernel_of_the_machine_is_not_run(toy, tmp_path, monkeypatch):
    monkeypatch.setenv("JUPYTER_PATH", str(foreign_kernel(tmp_path / "jupyter")))
    before = dict(os.environ)
    run = execute(toy, {"k": 7}, tmp_path / "runs" / "01_toy.ipynb")
    assert (run.status, run.error) == ("finished", "")
    assert run.metrics == {"k": 7, "python": sys.executable}
    assert dict(os.environ) == before


def test_an_unwritable_home_is_not_needed(toy, tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    variables = {"HOME": str(tmp_path / "file" / "home"), "PYTHONPATH": str(paths.ROOT)}
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("JUPYTER", "IPYTHON", "MPL", "XDG"))}
    program = (
        "import sys; from pathlib import Path; from recsys_lib.experiments.runs import execute\n"
        "print(execute(Path(sys.argv[1]), {}, Path(sys.argv[2])).status)"
    )
    command = [sys.executable, "-c", program, str(toy), str(tmp_path / "runs" / "01_toy.ipynb")]
    done = subprocess.run(command, env=kept | variables, capture_output=True, text=True, timeout=120)
    assert (done.stdout.strip(), done.stderr) == ("finished", "")


def test_two_runs_at_once_keep_their_own_metrics(toy, tmp_path):
    program = (
        "import sys; from pathlib import Path; from recsys_lib.experiments.runs import execute\n"
        "print(execute(Path(sys.argv[1]), {'k': int(sys.argv[3])}, Path(sys.argv[2])).metrics['k'])"
    )
    command = [sys.executable, "-c", program, str(toy), str(tmp_path / "runs" / "01_toy.ipynb")]
    started = [
        subprocess.Popen([*command, str(k)], stdout=subprocess.PIPE, text=True, cwd=paths.ROOT)
        for k in (11, 22)
    ]
    assert [int(process.communicate(timeout=120)[0]) for process in started] == [11, 22]
    left = sorted(p.name for p in (tmp_path / "runs").iterdir())
    assert left == ["01_toy.ipynb", "01_toy.json"]


def test_what_a_killed_run_left_is_removed_by_the_next(toy, tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    left = tmp_path / "runs" / f".01_toy-{ended.pid}-abc"
    left.mkdir(parents=True)
    execute(toy, {}, tmp_path / "runs" / "01_toy.ipynb")
    assert not left.exists()
