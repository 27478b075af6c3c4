"""The commands: help, start-up, interruption, closed pipes, and the recorded studies."""

import subprocess
import sys
from pathlib import Path

import pytest

from recsys_lib.cli.app import COMMANDS, main
from recsys_lib.cli.sweep import grid
from recsys_lib.experiments.notebooks import find_notebook
from recsys_lib.experiments.parameters import _axis_values, parse_parameter
from recsys_lib.experiments.studies import STUDIES

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_a_sentence(command, capsys):
    assert main([command, "--help"]) == 0
    out, error = capsys.readouterr()
    assert error == ""
    assert f"Usage: python -m recsys_lib {command}" in out
    assert "Example: " in out or command == "lab"
    assert "\x1b" not in out and "╭" not in out  # plain where nobody looks at a terminal


def test_help_lists_every_command_and_loads_no_torch():
    code = (
        "import sys; from recsys_lib.cli.app import main; main(['--help']); "
        "heavy = {'torch', 'transformers', 'pandas', 'matplotlib', 'scipy'} & set(sys.modules); "
        "sys.exit(f'{heavy}' if heavy else 0)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=120
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert all(f"  {command} " in result.stdout for command in COMMANDS)


def test_ctrl_c_keeps_what_had_finished(monkeypatch, capsys):
    def interrupted(*_args):
        raise KeyboardInterrupt

    monkeypatch.setattr("recsys_lib.reporting.tables.probe", interrupted)
    assert main(["probe"]) == 130
    assert capsys.readouterr() == ("", "recsys_lib probe: interrupted; what had finished is kept\n")


def test_a_closed_pipe_is_quiet():
    program = f"import sys\nfrom recsys_lib.cli import app\n{_PRINTING}\nsys.exit(app.main(['lab']))"
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(60) == 141
    process.stderr.close()


_PRINTING = """
from recsys_lib.experiments import notebooks
notebooks.open_lab = lambda: print("x" * 1_000_000)"""


@pytest.mark.parametrize("name", STUDIES)
def test_the_studies_name_parameters_that_their_notebooks_have(name):
    for one in STUDIES[name]:
        assert grid(find_notebook(one.notebook), list(one.axes), dict(one.fixed))


@pytest.mark.parametrize(
    ("default", "text", "value"),
    [
        (0.5, ".05", 0.05),
        (0.5, "1.", 1.0),
        (0.5, "+.5e-3", 0.0005),
        ({}, "{'user': 'Kunde'}", {"user": "Kunde"}),
        ([1], "['a', 'b']", ["a", "b"]),
    ],
)
def test_a_value_may_be_written_as_people_write_it(default, text, value):
    assert parse_parameter("n", {"p": default}, "p", text) == value


def test_a_value_of_a_grid_may_hold_a_comma():
    assert _axis_values('"a, b",c') == ["a, b", "c"]
    assert _axis_values("a, b") == ["a", "b"]
    assert _axis_values("") == [""]


def test_a_package_of_an_extra_that_is_missing_is_one_line(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "nbformat", None)
    monkeypatch.delitem(sys.modules, "recsys_lib.experiments.notebooks", raising=False)
    assert main(["run", "03"]) == 2
    assert "run python -m pip install 'recsys_lib[notebooks]'" in capsys.readouterr().err
