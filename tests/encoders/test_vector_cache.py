"""The cache of vectors never gives a wrong one, whatever happens to its file."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from encoder_cases import TEXTS

from recsys_lib import encoders
from recsys_lib.encoders import cache

ROOT = Path(__file__).resolve().parent.parent.parent

# ---------------------------------------------------------------- the cache


def test_known_texts_need_no_model(tiny, own_cache, monkeypatch):
    first = encoders.load(tiny["bert"], precision="float32").encode(TEXTS)
    monkeypatch.setattr(
        "recsys_lib.encoders.transformer.Transformer._encode", lambda *a: pytest.fail("encoded again")
    )
    again = encoders.load(tiny["bert"], precision="float32")
    assert np.array_equal(again.encode(TEXTS[::-1]), first[::-1])
    assert "model" not in again.__dict__


def test_other_options_have_vectors_of_their_own(tiny, own_cache):
    made = {
        (pooling, prefix, limit): encoders.load(tiny["bert"], precision="float32", pooling=pooling,
        prefix=prefix, max_tokens=limit).encode(["Toy Story by night"])
        for pooling in ("mean", "last") for prefix in ("", "query: ") for limit in (4, 64)
    }  # fmt: skip
    vectors = np.vstack(list(made.values()))
    assert len(np.unique(vectors.round(5), axis=0)) == 8
    assert len(list((own_cache / "vectors").glob("*.sqlite"))) == 8


def test_other_weights_have_vectors_of_their_own(tiny, own_cache, tmp_path):
    import shutil

    folder = tmp_path / "copy"
    shutil.copytree(tiny["bert"], folder)
    before = encoders.load(str(folder), precision="float32").encode(["x"])
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    save_file(
        {k: v * 1.5 for k, v in weights.items()}, folder / "model.safetensors", metadata={"format": "pt"}
    )
    assert not np.allclose(before, encoders.load(str(folder), precision="float32").encode(["x"]))


def numbered(chunk):
    return np.array([[float(t)] * 2 for t in chunk], dtype=np.float32)


def test_an_interruption_keeps_the_chunks_that_were_done(own_cache, monkeypatch):
    monkeypatch.setattr(cache, "CHUNK", 10)
    texts = [str(i) for i in range(45)]
    asked = []

    def encode(chunk):
        asked.extend(chunk)
        if len(asked) > 25:
            raise KeyboardInterrupt
        return numbered(chunk)

    with pytest.raises(KeyboardInterrupt):
        cache.encode_cached(texts, {"model": "m"}, 2, encode)
    done = set(asked[:20])
    asked.clear()
    vectors = cache.encode_cached(texts, {"model": "m"}, 2, lambda c: (asked.extend(c), numbered(c))[1])
    assert vectors[:, 0].tolist() == list(range(45))
    assert set(asked) == set(texts) - done


def test_equal_texts_are_encoded_once(own_cache):
    asked = []
    vectors = cache.encode_cached(
        ["1", "2", "1", "1"], {"model": "m"}, 2, lambda c: (asked.extend(c), numbered(c))[1]
    )
    assert sorted(asked) == ["1", "2"]
    assert vectors[:, 0].tolist() == [1, 2, 1, 1]
    assert cache.encode_cached([], {"model": "m"}, 2, pytest.fail).shape == (0, 2)


def test_a_damaged_file_is_made_anew(own_cache):
    options = {"model": "m"}
    cache.encode_cached(["1"], options, 2, numbered)
    (path,) = (own_cache / "vectors").glob("*.sqlite")
    for extra in (own_cache / "vectors").glob("*.sqlite-*"):
        extra.unlink()
    path.write_bytes(b"this is no database, and it is long enough to be noticed" * 50)
    assert cache.encode_cached(["1", "2"], options, 2, numbered)[:, 0].tolist() == [1, 2]
    assert cache.encode_cached(["1", "2"], options, 2, pytest.fail)[:, 0].tolist() == [1, 2]


def test_a_vector_of_another_length_is_not_used(own_cache):
    cache.encode_cached(["1"], {"model": "m"}, 2, numbered)
    three = cache.encode_cached(["1"], {"model": "m"}, 3, lambda c: np.full((len(c), 3), 7, np.float32))
    assert three.tolist() == [[7, 7, 7]]


def test_an_unusable_cache_costs_a_warning_not_an_answer(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("RECSYS_CACHE", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match="not writable"):
        assert cache.encode_cached(["1"], {"model": "m"}, 2, numbered)[0, 0] == 1


def test_a_read_only_cache_is_read(own_cache, monkeypatch):
    cache.encode_cached(["1"], {"model": "m"}, 2, numbered)
    before = {p.name: p.read_bytes() for p in (own_cache / "vectors").iterdir()}
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert cache.encode_cached(["1"], {"model": "m"}, 2, pytest.fail)[0, 0] == 1
    with pytest.warns(UserWarning, match=r"could not be written .*readonly"):
        assert cache.encode_cached(["1", "2"], {"model": "m"}, 2, numbered)[:, 0].tolist() == [1, 2]
    assert {p.name: p.read_bytes() for p in (own_cache / "vectors").iterdir()} == before


def test_a_full_disk_while_writing_costs_a_warning_not_an_answer(own_cache, monkeypatch):
    class Full:
        def __init__(self, connection):
            self.connection = connection

        def __getattr__(self, name):
            return getattr(self.connection, name)

        def __enter__(self):
            return self

        def __exit__(self, *args):
            return False

        def executemany(self, *args):
            raise sqlite3.OperationalError("database or disk is full")

    connect = cache._connect
    monkeypatch.setattr(cache, "_connect", lambda path: Full(connect(path)))
    with pytest.warns(UserWarning, match="disk is full"):
        assert cache.encode_cached(["1"], {"model": "m"}, 2, numbered)[0, 0] == 1


@pytest.mark.slow
def test_two_processes_share_one_cache_and_a_kill_spoils_nothing(own_cache):
    program = (
        "import numpy as np, time, sys\nfrom recsys_lib.encoders import cache\ncache.CHUNK = 5\n"
        "def slow(c):\n    time.sleep(0.02)\n    return np.array([[float(t)] * 2 for t in c], "
        "dtype=np.float32)\n"
        "v = cache.encode_cached([str(i) for i in range(300)], {'model': 'm'}, 2, slow)\n"
        "assert v[:, 0].tolist() == list(range(300))\n"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, start_new_session=True) for _ in range(3)
    ]
    time.sleep(1.0)
    os.killpg(processes[0].pid, signal.SIGKILL)
    assert [p.wait(60) for p in processes[1:]] == [0, 0]
    texts = [str(i) for i in range(300)]
    assert cache.encode_cached(texts, {"model": "m"}, 2, pytest.fail)[:, 0].tolist() == list(range(300))
