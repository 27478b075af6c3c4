"""What a user can get wrong with ``--engine ray`` is one line, before a cluster starts."""

import os
import socket
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from recsys_lib.__main__ import main
from recsys_lib.core import memory
from recsys_lib.core.errors import InputError
from recsys_lib.distributed import cluster

ENCODE = ["--encoder", "wordllama", "--engine", "ray"]


@pytest.fixture
def titles(tmp_path):
    path = tmp_path / "titles.txt"
    path.write_text("Dune\nEmma\n", encoding="utf-8")
    return str(path)


def closed_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def test_ray_that_is_not_installed(titles, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(["encode", titles, str(tmp_path / "out"), *ENCODE]) == 2
    said = capsys.readouterr().err
    assert "package ray is not installed; run python -m pip install 'recsys_lib[distributed]'" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("address", ["nowhere", "host:", ":6379", "host:0", "host:99999", "ray://:1"])
def test_what_is_no_address(address):
    with pytest.raises(InputError, match="expected host:port of a Ray head node"):
        cluster.check_address(address)


def test_an_address_where_nothing_answers(titles, tmp_path, capsys):
    address = f"127.0.0.1:{closed_port()}"
    assert main(["encode", titles, str(tmp_path / "out"), *ENCODE, "--address", address]) == 2
    said = capsys.readouterr().err
    assert f"address '{address}': no Ray cluster answers there" in said
    assert said.count("\n") == 1


def test_too_little_memory(titles, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(memory, "available_bytes", lambda: 2**29)
    assert main(["encode", titles, str(tmp_path / "out"), *ENCODE, "--workers", "2"]) == 2
    assert "a local Ray cluster of 1 workers needs" in capsys.readouterr().err  # there is one shard


def test_two_runs_into_one_folder(titles, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    with FileLock(tmp_path / "out" / ".lock"):
        assert main(["encode", titles, str(tmp_path / "out"), *ENCODE]) == 2
    assert "another run is encoding into it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--engine", "rey"], "engine 'rey' is unknown: did you mean 'ray'?"),
        (["--workers", "2"], "--workers 2: is for --engine ray"),
        (["--address", "a:1"], "--address a:1: is for --engine ray"),
        (["--format", "parquet"], "--format parquet: is for --engine ray"),
        (["--engine", "ray", "--format", "csv"], "format 'csv' is unknown: expected one of npy, parquet"),
        (["--engine", "ray", "--workers", "two"], "expected a whole number of at least 0"),
    ],
)
def test_options_that_do_not_fit(titles, tmp_path, capsys, options, message):
    assert main(["encode", titles, str(tmp_path / "out"), "--encoder", "wordllama", *options]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_a_local_cluster_keeps_to_a_folder_of_its_own(monkeypatch):
    """Also the file with the newest cluster's address, whose usual folder exists where Ray ran before."""
    utils = pytest.importorskip("ray._common.utils")
    monkeypatch.setenv("RAY_TMPDIR", "/elsewhere")
    with cluster._local(1, 2**27) as options:
        folder = Path(utils.get_ray_address_file(None)).parent
        assert folder == Path(options["_temp_dir"])
        assert folder.is_dir()
    assert os.environ["RAY_TMPDIR"] == "/elsewhere"
    assert not folder.parent.exists()


def test_shards_of_a_service_without_ray(tmp_path, capsys):
    assert main(["serve", str(tmp_path), "--shards", "2"]) == 2
    said = capsys.readouterr().err
    assert "--shards 2: is for --engine ray; add it, or leave --shards out" in said
    assert said.count("\n") == 1
