"""Every mistake of a user gets one line on stderr that names it, status 2, and leaves nothing behind."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from recsys_lib.cli.app import COMMANDS, main

ROOT = Path(__file__).resolve().parent.parent.parent
DEFAULTS = """k = 2
name = 'a'
rate = 0.5
flag = True
layers = [1]
columns = {'user': 'u'}"""
# What no parameter of these types accepts: text, and values that JSON reads as another type.
WRONG = {
    "k": ["x", "1.5", "true", "null", "[1]", '"2"', "NaN", "Infinity", "", "1e3", "１.5", "0x10"],
    "rate": ["high", "NaN", "nan", "inf", "-Infinity", "1e999", "true", "[0.5]", ""],
    "flag": ["1", "yes", "0.5", "[]", ""],
    "layers": ["1", "[1,", "{}", "[NaN]", "[1, Infinity]", "x"],
    "columns": ["user", "[1]", "1", "user=a,item"],
}
UNKNOWN_NAMES = ["kk", "K", "Rate", "ключ", "层", "a\nb", "\x1b[31mk", "k ", ""]
GRIDS = [
    ("k", "k"), ("k=", "k="), ("k=1,,2", "k=1,,2"), ("=1", ""), ("kk=1", "kk"), ("k=1,x", "x"),
    ("k=1,2.5", "2.5"),
    ("flag=2", "2"), ("rate=0.1,nan", "nan"), ("layers=1,2", "1"), ("rate=inf", "inf"), ("层=1", "层"),
    ("k=1,2\n3", "k"), ("k=[1],[2]", "[1]"),
]  # fmt: skip
FILE_OPTIONS = [
    ["probe", "--json"],
    ["bench", "similarity", "--json"],
    ["sweep", "{folder}/good.ipynb", "-g", "k=1", "--record"],
]
# Values of --json and --record that cannot become a file.
PLACES = [
    "{folder}",
    "{folder}/text/x.json",
    "{folder}/text/a/b.json",
    "/proc/nowhere/x.json",
    "{folder}/" + "n" * 300,
]


def _cases() -> list[tuple[list[str], str]]:
    """Arguments, and what the line must name."""
    good = "{folder}/good.ipynb"
    cases = [(["run", good, "-p", p, v], p) for p, values in WRONG.items() for v in values]
    cases += [(["run", good, "-p", name, "1"], _printed(name)) for name in UNKNOWN_NAMES]
    cases += [(["sweep", good, "-g", grid], shown) for grid, shown in GRIDS]
    cases += [([*option, place], Path(place).name) for option in FILE_OPTIONS for place in PLACES]
    cases += [(["report", "--folder", place], Path(place).name) for place in PLACES[1:]]
    cases += [([command, "--nothing"], "--nothing") for command in COMMANDS]
    cases += [
        (["sweep", good, "-g", "k=1", "-j", jobs], jobs) for jobs in ("-1", "x", "1.5", "", "nan", "１e3")
    ]
    for option in ("--device",):
        cases += [
            ([c, option, v], v) for c in ("probe", "measure") for v in ("tpu", "CPU", "", "cuda:99", "зр")
        ]
    return cases + _notebooks() + _names() + _encode() + _contradictions()


def _printed(name: str) -> str:
    return name.strip() if name.isprintable() else ""


def _notebooks() -> list[tuple[list[str], str]]:
    names = [
        "{folder}/missing.ipynb", "{folder}", "{folder}/text", "{folder}/empty.ipynb",
        "{folder}/damaged.ipynb",
        "{folder}/list.ipynb", "{folder}/latin.ipynb", "no_such", "*", "0", "笔记",
        "{folder}/../{folder}/x.ipynb",
    ]  # fmt: skip
    runs = [(["run", name], Path(name).name) for name in names]
    return runs + [(["sweep", name, "-g", "k=1"], Path(name).name) for name in names]


def _names() -> list[tuple[list[str], str]]:
    """Unknown names; the nearest known one is suggested where there is one."""
    near = {
        "fetch minlm": "'minilm'", "fetch ml100k": "'ml-100k'", "measure servng": "'serving'",
        "bench serch": "'search'",
        "study clod": "'cold'", "rum": "'run'", "encod": "'encode'", "swep": "'sweep'",
        "bench Similarity": "'similarity'",
        "run --in-plac": "--in-place", "measure --nam x": "--name",
        "encode {folder}/texts.txt {folder}/o --encoder minilmm": "'minilm'",
    }  # fmt: skip
    far = {
        "fetch 模型": "模型", "fetch minilm ../e5": "../e5", "measure speed": "speed",
        "measure ceilings \x07": "part",
        "bench 1": "'1'", "study 5": "'5'", "walk": "walk", "--walk": "--walk",
        "bench search --parts nothing": "nothing",
        "measure --name a/b": "a/b", "lab notebooks": "notebooks", "probe extra": "extra",
        "report site": "site",
    }  # fmt: skip
    cases = [(text.split(" "), shown) for text, shown in {**near, **far}.items()]
    missing = [([], "COMMAND"), (["sweep"], "NOTEBOOK"), (["bench"], "NAME"), (["encode"], "SOURCE")]
    return [
        *cases,
        *missing,
        (["encode", "x"], "FOLDER"),
        (["run", "03", "-p", "k"], "-p"),
        (["probe", "--json"], "--json"),
    ]


def _encode() -> list[tuple[list[str], str]]:
    sources = ["missing.csv", "empty.txt", "header.csv", "latin.csv", "n" * 300]
    cases = [(["encode", f"{{folder}}/{s}", "{folder}/o", "--encoder", "wordllama"], s[:50]) for s in sources]
    cases += [(["encode", "{folder}", "{folder}/o"], "file"), (["encode", "", "{folder}/o"], "file")]
    texts = ["encode", "{folder}/texts.txt", "{folder}/o"]
    cases += [
        (["encode", "{folder}/items.csv", "{folder}/o", "--column", c], c)
        for c in ("name", "Title", "", "书名")
    ]
    cases += [
        ([*texts, "--encoder", e], e)
        for e in ("tfidf", "genres", "nobody", "", "a/b/c", "{folder}/text", "模型")
    ]
    cases += [([*texts, "--precision", p], p) for p in ("float64", "int3", "", "FLOAT32", "8")]
    cases += [([*texts, "--backend", b], b) for b in ("cuda", "Torch", "", "onnx")]
    cases += [([*texts, "--backend", "native", "--precision", "int8-weight"], "int8-weight")]
    return [*cases, (["encode", "{folder}/texts.txt", "{folder}/text/o"], "text/o")]


def _contradictions() -> list[tuple[list[str], str]]:
    good, texts = (
        "{folder}/good.ipynb",
        ["encode", "{folder}/texts.txt", "{folder}/o", "--encoder", "wordllama"],
    )
    return [
        (["run", good, "--in-place", "-p", "k", "3"], "--in-place"),
        (["run", good, "-p", "k", "1", "-p", "k", "2"], "'k'"),
        (["sweep", good], "-g"),
        (["sweep", good, "-g", "k=1", "-g", "k=2"], "'k'"),
        (["sweep", good, "-g", "k=1", "-p", "k", "2"], "'k'"),
        (["sweep", good, "-g", "k=1", "-p", "rate", "nan"], "nan"),
        (["sweep", good, "-g", "k=1", "--record", "{folder}/damaged.ipynb"], "damaged.ipynb"),
        (["sweep", good, "-g", "k=1", "--record", "{folder}/list.ipynb"], "list.ipynb"),
        (["sweep", good, "-g", "k=1", "--folder", "{folder}/text"], "text"),
        (["bench", "similarity", "--parts", "exact"], "exact"),
        ([*texts, "--precision", "int8"], "int8"),
        ([*texts, "--backend", "native"], "native"),
    ]


CASES = _cases()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Good and bad files of every kind; whatever begins to work fails the test."""
    cell = new_code_cell(DEFAULTS, metadata={"tags": ["parameters"]})
    nbformat.write(new_notebook(cells=[cell]), tmp_path / "good.ipynb")
    texts = {
        "text": "a file", "empty.ipynb": "", "damaged.ipynb": "{ not json", "list.ipynb": "[1, 2]",
        "empty.txt": "",
        "header.csv": "title\n", "texts.txt": "Dune\n", "items.csv": "id,title\n1,Dune\n",
    }  # fmt: skip
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "latin.csv").write_bytes(b"title\ncaf\xe9\n")
    (tmp_path / "latin.ipynb").write_bytes(b'{"cells": "caf\xe9"}')
    monkeypatch.setattr(subprocess, "Popen", lambda *a, **k: pytest.fail("began to work"))
    monkeypatch.setattr("recsys_lib.core.paths.RUNS", tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _refused(arguments, capsys) -> str:
    """The one line that ``main`` prints."""
    assert main(arguments) == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert error.endswith("\n") and error.count("\n") == 1, error
    assert error.rstrip("\n").isprintable()
    assert error.startswith("recsys_lib") and "Traceback" not in error
    return error


def test_there_are_enough_cases():
    assert len(CASES) >= 120
    assert len({tuple(arguments) for arguments, _ in CASES}) == len(CASES)


@pytest.mark.parametrize(("arguments", "shown"), CASES, ids=[str(i) for i in range(len(CASES))])
def test_a_mistake_is_one_line(arguments, shown, folder, capsys):
    before = sorted(folder.rglob("*"))
    error = _refused([a.replace("{folder}", str(folder)) for a in arguments], capsys)
    assert shown.replace("{folder}", str(folder)) in error
    assert sorted(folder.rglob("*")) == before


FAULTS = [
    OSError(28, "No space left on device", "runs/x.json"),
    PermissionError(13, "Permission denied", "items.csv"),
    OSError(30, "Read-only file system", "runs"),
    OSError(24, "Too many open files"),
    MemoryError("Unable to allocate 800 GiB"),
]


@pytest.mark.parametrize("fault", FAULTS, ids=[type(f).__name__ + str(i) for i, f in enumerate(FAULTS)])
def test_a_fault_of_the_machine_is_one_line(fault, monkeypatch, capsys):
    def failing(*_args, **_options):
        raise fault

    monkeypatch.setattr("recsys_lib.reporting.tables.probe", failing)
    error = _refused(["probe"], capsys)
    assert (getattr(fault, "strerror", None) or str(fault)) in error
    assert (getattr(fault, "filename", None) or "") in error


@pytest.mark.parametrize("arguments", [*FILE_OPTIONS, ["report", "--folder"]])
@pytest.mark.parametrize("number", [28, 30, 13])
def test_a_full_or_read_only_disk_is_said_before_the_work(arguments, number, folder, monkeypatch, capsys):
    def full(*_args, **_options):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    command = [a.replace("{folder}", str(folder)) for a in [*arguments, "{folder}/out.json"]]
    assert os.strerror(number) in _refused(command, capsys)


@pytest.mark.parametrize("arguments", [["walk"], ["run", "--walk"], ["fetch", "minlm"], ["bench"]])
def test_the_same_from_a_shell(arguments, tmp_path):
    command = [sys.executable, "-m", "recsys_lib", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert result.returncode == 2 and result.stdout == ""
    assert result.stderr.count("\n") == 1 and "Traceback" not in result.stderr
