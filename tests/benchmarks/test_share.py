"""A shared record names its processor and tells nothing of who measured: the schema of machines' records."""

import copy
import json

import pytest

from recsys_lib.benchmarks.workloads import record, share
from recsys_lib.cli.app import main
from recsys_lib.core import paths, records
from recsys_lib.core.errors import InputError
from recsys_lib.hardware import machine

MACHINES = [
    path
    for path in sorted(paths.MEASUREMENTS.glob("*.json"))
    if "machine" in (content := json.loads(path.read_text(encoding="utf-8"))) and "parts" in content
]


def own(**changes):
    environment = machine.describe() | {"system": "Linux 6.18.44-mine"} | changes
    part = {
        "date": "2026-11-28", "method": "timing/1", "device": "cpu", "environment": environment,
        "seconds": 1.5, "rows": [{"name": "matmul float32 2048", "samples": [0.1]}], "ceilings": [],
    }  # fmt: skip
    return {"schema": 1, "machine": "mine", "parts": {"ceilings": part, "points": copy.deepcopy(part)}}


def test_there_are_records_of_machines():
    assert MACHINES


@pytest.mark.parametrize("path", MACHINES, ids=lambda path: path.stem)
def test_every_committed_record_of_a_machine_passes(path):
    content = records.read(path)
    share.check(content, path.name)
    assert content["machine"] == path.stem


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("/home/somebody/models", "a path"), ("see ~/models", "a path"), (r"C:\Users", "a path"),
        (r"\\server\share", "a path"), ("10.1.2.3", "a network address"),
        ("me@home.org", "a network address"),
        ("on blackbox7", "this host's name"), ("Ada-Lovelace's", "this user's name"),
    ],
)  # fmt: skip
def test_a_text_that_tells_who_measured_is_refused(text, told, monkeypatch):
    monkeypatch.setattr(share.platform, "node", lambda: "blackbox7")
    monkeypatch.setattr(share.getpass, "getuser", lambda: "ada-lovelace")
    share.check(own(), "mine.json")
    content = own()
    content["parts"]["points"]["rows"][0]["note"] = text
    with pytest.raises(
        InputError, match=rf"^mine.json, parts.points.rows\[0\].note: .* holds {told}; take it out"
    ):
        share.check(content, "mine.json")
    content = own()
    content["parts"]["points"]["rows"][0][text] = 1
    with pytest.raises(InputError, match=told):
        share.check(content, "mine.json")


@pytest.mark.parametrize(
    "text", ["Gop/s", "timing/1", "2.13.0+cpu", "https://example.org/a/b", "a / b", "and/or/else"]
)
def test_other_texts_pass(text):
    content = own()
    content["parts"]["points"]["rows"][0]["note"] = text
    share.check(content, "mine.json")


@pytest.mark.parametrize("key", share.NEEDED)
def test_an_unknown_processor_is_refused(key):
    with pytest.raises(InputError, match=rf"environment without {key}$"):
        share.check(own(**{key: None}), "mine.json")


def test_parts_of_two_machines_are_refused():
    content = own()
    content["parts"]["points"]["environment"]["flags"] = ["other"]
    with pytest.raises(InputError, match="part points was measured on another machine than ceilings"):
        share.check(content, "mine.json")


@pytest.mark.parametrize(
    "content", [{"machine": "x", "parts": {}}, {"bench": "x"}, [], [{"machine": "x", "parts": {}}]]
)
def test_what_is_no_record_of_a_machine_is_refused(content):
    with pytest.raises(InputError):
        share.check(content, "x.json")


def test_the_shared_file_and_the_text_of_the_pull_request(tmp_path):
    content = own(hostname="blackbox7")
    records.write(tmp_path / "mine.json", content)
    said = share.share(name="mine", folder=tmp_path)
    written = records.read(tmp_path / "mine.json")
    for measured in written["parts"].values():
        assert measured["environment"]["system"] == "Linux 6.18"
        assert measured["environment"]["identification"] == machine.describe()["identification"]
        assert (
            "hostname" not in measured["environment"]
            and measured["rows"] == content["parts"]["points"]["rows"]
        )
    assert f"Title: Add the record of {machine.describe()['processor']}" in said
    assert "| ceilings | 2026-11-28 | cpu | 1 | 2 |" in said
    unmeasured = [part for part in record.PARTS if part not in content["parts"]]
    assert said.count("| not measured |") == len(unmeasured) > 0
    assert "Put the file at data/measurements/mine.json" in said
    _, _, text = said.partition("\n")
    for _, told in share._texts(text):
        assert not share._tells(told)


def test_the_record_of_another_machine_is_not_shared(tmp_path):
    records.write(tmp_path / "mine.json", own(processor="another"))
    with pytest.raises(InputError, match="measured on another machine than this one"):
        share.share(name="mine", folder=tmp_path)


def test_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(paths, "MEASUREMENTS", tmp_path)
    assert main(["measure", "--share", "--name", "mine"]) == 2
    assert "mine.json: nothing was measured yet" in capsys.readouterr().err
    records.write(tmp_path / "mine.json", own())
    assert main(["measure", "--share", "--name", "mine"]) == 0
    assert "Title: Add the record of" in capsys.readouterr().out
