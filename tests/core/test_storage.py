"""Saved folders: what comes back, what a kill leaves, and one line for each damage."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from recsys_lib.core import storage
from recsys_lib.core.errors import InputError

ARRAYS = {
    "weights": np.arange(12, dtype=np.float32).reshape(3, 4),
    "ids": np.array([1, 2, 3]),
    "scalar": np.array(7.5),
    "empty": np.empty((0, 4), dtype=np.float16),
    "flags": np.array([True, False]),
}
META = {"name": "книги 书 é", "λ": 0.1, "none": None, "nested": {"list": [1, "二", True]}}


def refused(message, call, *arguments):
    with pytest.raises(InputError, match=message) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)


def arrays_file(folder):
    (path,) = folder.glob("*.safetensors")
    return path


def test_what_was_saved_comes_back(tmp_path):
    storage.save(tmp_path / "новый" / "a", "ease", ARRAYS, META)
    arrays, meta = storage.load(str(tmp_path / "новый" / "a"), "ease")
    assert meta == META
    assert arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype and np.array_equal(arrays[name], array)
        assert arrays[name].shape == array.shape
    assert storage.kind_of(tmp_path / "новый" / "a") == "ease"


def test_order_and_byte_order_do_not_matter(tmp_path):
    array = np.arange(12, dtype=np.float64).reshape(3, 4)
    storage.save(tmp_path, "x", {"t": array.T, "step": array[:, ::2], "big": array.astype(">f8")}, {})
    arrays, _ = storage.load(tmp_path, "x")
    assert np.array_equal(arrays["t"], array.T)
    assert np.array_equal(arrays["step"], array[:, ::2])
    assert np.array_equal(arrays["big"], array)


def test_no_arrays_at_all(tmp_path):
    storage.save(tmp_path, "x", {}, {})
    assert storage.load(tmp_path, "x") == ({}, {})


def test_a_second_save_replaces_the_first(tmp_path):
    storage.save(tmp_path, "x", ARRAYS, META)
    storage.save(tmp_path, "y", {"a": np.ones(2)}, {})
    assert storage.load(tmp_path, "y")[0]["a"].tolist() == [1, 1]
    assert arrays_file(tmp_path).exists()
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize("nth", [0, 1])
def test_an_error_before_the_end_leaves_the_old_object(tmp_path, monkeypatch, nth):
    storage.save(tmp_path, "x", {"a": np.zeros(2)}, {"v": 1})
    calls = []
    replace = os.replace

    def failing(*arguments):
        calls.append(arguments)
        if len(calls) > nth:
            raise OSError(28, "No space left on device")
        replace(*arguments)

    monkeypatch.setattr(os, "replace", failing)
    refused("cannot be written .No space", storage.save, tmp_path, "x", {"a": np.ones(2)}, {"v": 2})
    arrays, meta = storage.load(tmp_path, "x")
    assert arrays["a"].tolist() == [0, 0] and meta == {"v": 1}
    monkeypatch.undo()
    storage.save(tmp_path, "x", {"a": np.full(2, 3.0)}, {"v": 3})
    assert storage.load(tmp_path, "x")[1] == {"v": 3}
    assert arrays_file(tmp_path).exists()


def test_a_kill_leaves_a_whole_object(tmp_path):
    storage.save(tmp_path, "x", {"a": np.zeros(100_000)}, {"v": 0})
    program = (
        "import sys, numpy as np; from recsys_lib.core import storage; print('go', flush=True)\n"
        "v = 0\n"
        "while True:\n"
        "    v += 1\n"
        "    storage.save(sys.argv[1], 'x', {'a': np.full(100_000, float(v))}, {'v': v})"
    )
    for pause in (0.02, 0.05, 0.09):
        process = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE)
        process.stdout.readline()
        time.sleep(pause)
        process.send_signal(signal.SIGKILL)
        process.wait()
        arrays, meta = storage.load(tmp_path, "x")
        assert (arrays["a"] == meta["v"]).all()


def test_two_writers_and_a_reader_at_once(tmp_path):
    storage.save(tmp_path, "x", {"a": np.zeros(1000)}, {"v": 0})
    failures = []

    def write(first):
        try:
            for v in range(first, 40, 2):
                storage.save(tmp_path, "x", {"a": np.full(1000, float(v))}, {"v": v})
        except Exception as error:
            failures.append(error)

    writers = [threading.Thread(target=write, args=(first,)) for first in (1, 2)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        arrays, meta = storage.load(tmp_path, "x")
        assert (arrays["a"] == meta["v"]).all()
    for writer in writers:
        writer.join()
    assert not failures
    assert storage.load(tmp_path, "x")[1]["v"] in (38, 39)
    assert arrays_file(tmp_path).exists()


def damage_meta(folder, **changes):
    path = folder / "meta.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")


def flip(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


DAMAGES = {
    "arrays flipped": (lambda f: flip(arrays_file(f), -1), "damaged, its checksum differs"),
    "header flipped": (lambda f: flip(arrays_file(f), 9), "damaged, its checksum differs"),
    "arrays truncated": (lambda f: os.truncate(arrays_file(f), 40), "damaged, its checksum differs"),
    "arrays empty": (lambda f: arrays_file(f).write_bytes(b""), "damaged, its checksum differs"),
    "arrays missing": (lambda f: arrays_file(f).unlink(), "is missing"),
    "meta missing": (lambda f: (f / "meta.json").unlink(), "no saved object"),
    "meta truncated": (lambda f: os.truncate(f / "meta.json", 30), "meta.json: damaged, expected JSON"),
    "meta not text": (
        lambda f: (f / "meta.json").write_bytes(b"\xff\xfe\x00"),
        "meta.json: damaged, expected JSON",
    ),
    "meta a list": (lambda f: (f / "meta.json").write_text("[1]"), "expected JSON with a format version"),
    "meta edited": (lambda f: damage_meta(f, meta={"v": 2}), "damaged, its checksum differs"),
    "kind edited": (lambda f: damage_meta(f, kind="y"), "damaged, its checksum differs"),
    "arrays elsewhere": (
        lambda f: damage_meta(f, arrays="../../etc/passwd"),
        "damaged, its checksum differs",
    ),
    "another version": (
        lambda f: damage_meta(f, format=2),
        "saved in format 2, expected format 1; save the object again",
    ),
    "meta a folder": (lambda f: ((f / "meta.json").unlink(), (f / "meta.json").mkdir()), "cannot be read"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_one_line(tmp_path, name):
    storage.save(tmp_path / "a", "x", ARRAYS, META)
    change, message = DAMAGES[name]
    change(tmp_path / "a")
    refused(message, storage.load, tmp_path / "a", "x")


def test_the_wrong_kind_and_no_object(tmp_path):
    storage.save(tmp_path / "a", "x", {}, {})
    refused("holds an object of kind 'x', expected 'y'", storage.load, tmp_path / "a", "y")
    refused("no saved object, expected a folder with meta.json", storage.load, tmp_path / "b", "x")
    (tmp_path / "file").write_text("")
    refused("no saved object", storage.load, tmp_path / "file", "x")
    refused("no saved object", storage.kind_of, tmp_path / "b")


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    refused("cannot be written", storage.save, tmp_path / "file", "x", {}, {})
    refused("cannot be written", storage.save, tmp_path / "file" / "below", "x", {}, {})
    if os.geteuid():
        (tmp_path / "closed").mkdir(mode=0o500)
        refused("cannot be written .Permission denied", storage.save, tmp_path / "closed", "x", {}, {})


@pytest.mark.parametrize(("arrays", "meta", "message"), [
    ({"a": np.array(["text"])}, {}, "array 'a' has dtype <U4"),
    ({"a": np.array([None])}, {}, "array 'a' has dtype object"),
    ({"a": np.array([1j])}, {}, "array 'a' has dtype complex128"),
    ({}, {"a": np.float32(1)}, "cannot be stored as JSON"),
    ({}, {"a": float("nan")}, "cannot be stored as JSON"),
    ({}, {"a": "\udcff"}, "cannot be stored as JSON"),
    ({}, {"a": (1, 2)}, "changes when stored"),
    ({}, {1: 2}, "changes when stored"),
])  # fmt: skip
def test_what_cannot_be_stored(tmp_path, arrays, meta, message):
    refused(message, storage.save, tmp_path / "a", "x", arrays, meta)
    assert not (tmp_path / "a").exists()


def test_mapped_arrays_are_those_of_a_plain_load_and_stay_apart_from_the_file(tmp_path):
    types = (
        "float16",
        "float32",
        "float64",
        "int8",
        "int16",
        "int32",
        "int64",
        "uint8",
        "uint16",
        "uint32",
        "uint64",
    )
    many = {name: np.arange(5).astype(name) for name in types} | ARRAYS
    storage.save(tmp_path, "x", many, META)
    plain, mapped = storage.load(tmp_path, "x"), storage.load(tmp_path, "x", mapped=True)
    assert mapped[1] == plain[1] and set(mapped[0]) == set(many)
    for name, array in plain[0].items():
        found = mapped[0][name]
        assert (found.dtype, found.shape) == (array.dtype, array.shape), name
        assert np.array_equal(found, array) and type(found) is np.ndarray and found.flags.aligned, name
    before = arrays_file(tmp_path).read_bytes()
    mapped[0]["weights"][0, 0] = 77
    assert arrays_file(tmp_path).read_bytes() == before
    assert storage.load(tmp_path, "x", mapped=True)[0]["weights"][0, 0] == 0
    storage.save(tmp_path, "x", {"weights": np.zeros(3)}, META)
    assert mapped[0]["weights"][2, 3] == 11 and mapped[0]["weights"][0, 0] == 77
    storage.save(tmp_path, "x", {}, META)
    assert storage.load(tmp_path, "x", mapped=True)[0] == {}
