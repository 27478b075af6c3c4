"""A catalogue encoded to disk, killed and resumed, is the one that was never killed."""

import csv
import errno
import itertools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from recsys_lib import encoders
from recsys_lib.__main__ import main
from recsys_lib.core.errors import InputError
from recsys_lib.encoders import stream

ROOT = Path(__file__).resolve().parent.parent.parent
SLOW = """
import sys, time
from recsys_lib.encoders import static, stream
stream.BLOCK = 50
encode = static.StaticVectors.encode
def slow(self, texts, progress=True):
    print(texts[0], len(texts), flush=True)
    time.sleep(0.05)
    return encode(self, texts)
static.StaticVectors.encode = slow
from recsys_lib.__main__ import main
sys.exit(main(["encode", sys.argv[1], sys.argv[2], "--encoder", "wordllama"]))
"""


@pytest.fixture
def catalogue(tmp_path):
    path = tmp_path / "titles.txt"
    path.write_text("".join(f"{i} the book of {i * 7 % 13} stars\n" for i in range(1030)), encoding="utf-8")
    return path


def test_killed_and_resumed_without_loss_or_repetition(catalogue, tmp_path):
    folder, said = tmp_path / "out", []
    for blocks in (
        4,
        5,
        None,
    ):  # how many are begun before the kill: counted, not timed, so a busy machine changes nothing
        process = subprocess.Popen([sys.executable, "-c", SLOW, str(catalogue), str(folder)], cwd=ROOT,
            text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                   start_new_session=True)  # fmt: skip
        lines = list(itertools.islice(process.stdout, blocks))
        if blocks:
            os.killpg(process.pid, signal.SIGKILL)
        lines += process.stdout.readlines()
        assert process.wait(120) == (-signal.SIGKILL if blocks else 0)
        said.append([int(line.split()[0]) for line in lines if line.strip() and line[0].isdigit()])
    starts = [i for run in said for i in run]
    assert all(run[0] % 50 == 0 and run == list(range(run[0], run[-1] + 1, 50)) for run in said)
    assert all(later[0] in (earlier[-1], earlier[-1] + 50) for earlier, later in itertools.pairwise(said))
    assert set(starts) == set(range(0, 1030, 50)) and len(starts) <= len(set(starts)) + 2 and said[1][0] > 0
    vectors = np.load(folder / "vectors.npy", mmap_mode="r")
    assert np.array_equal(vectors, encoders.load("wordllama").encode(catalogue.read_text().splitlines()))
    assert sorted(p.name for p in folder.iterdir()) == ["progress.json", "vectors.npy"]


def test_a_finished_run_does_nothing_again(catalogue, tmp_path, monkeypatch):
    encoder = encoders.load("wordllama")
    whole = stream.encode_to_disk(encoder, str(catalogue), tmp_path / "out", progress=False)
    monkeypatch.setattr(type(encoder), "encode", lambda *a, **k: pytest.fail("encoded again"))
    assert stream.encode_to_disk(encoder, str(catalogue), tmp_path / "out", progress=False) == whole


def test_a_folder_of_another_run_is_refused(catalogue, tmp_path):
    stream.encode_to_disk(encoders.load("wordllama"), str(catalogue), tmp_path / "out", progress=False)
    catalogue.write_text("other\n" * 1030)
    with pytest.raises(InputError, match="begun with another sha256"):
        stream.encode_to_disk(encoders.load("wordllama"), str(catalogue), tmp_path / "out", progress=False)
    (tmp_path / "out" / "progress.json").write_text("{")
    with pytest.raises(InputError, match="not readable as JSON"):
        stream.encode_to_disk(encoders.load("wordllama"), str(catalogue), tmp_path / "out", progress=False)


def test_csv_columns_and_their_mistakes(tmp_path, capsys):
    path = tmp_path / "items.csv"
    path.write_text('id,title,author\n1,"Dune, again",Herbert\n2,Alien,\n', encoding="utf-8")
    assert list(stream.texts_of(str(path), ("title", "author"))) == ["Dune, again, Herbert", "Alien"]
    assert (
        main(["encode", str(path), str(tmp_path / "out"), "--encoder", "wordllama", "--column", "name"]) == 2
    )
    assert "no column 'name'; it has id, title, author" in capsys.readouterr().err
    assert main(["encode", "nowhere.csv", str(tmp_path / "out"), "--encoder", "wordllama"]) == 2
    assert "nowhere.csv: expected a file, or a data set" in capsys.readouterr().err
    path.write_bytes(b"title\n\xff\xfe\n")
    with pytest.raises(InputError, match="not UTF-8 at byte"):
        list(stream.texts_of(str(path)))
    path.write_text("title\n")
    with pytest.raises(InputError, match="holds no text"):
        stream.encode_to_disk(encoders.load("wordllama"), str(path), tmp_path / "out", progress=False)


def test_the_command_says_where_the_vectors_are(catalogue, tmp_path, capsys):
    assert main(["encode", str(catalogue), str(tmp_path / "out"), "--encoder", "wordllama"]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "out" / "vectors.npy")
    known = json.loads((tmp_path / "out" / "progress.json").read_text())
    assert known["done"] == known["texts"] == 1030


def test_the_command_says_how_many_texts_were_truncated(tmp_path, capsys):
    path = tmp_path / "texts.txt"
    path.write_text("\n".join(["Dune", "word " * 400, "Emma", "word " * 300]) + "\n", encoding="utf-8")
    arguments = ["--precision", "float32", "--backend", "torch"]
    assert main(["encode", str(path), str(tmp_path / "out"), *arguments]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[1:] == ["2 of the 4 texts (50.0%) are longer than the encoder reads: truncated"]


def test_a_full_disk_is_one_line_before_anything_is_encoded(catalogue, tmp_path, monkeypatch, capsys):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    assert main(["encode", str(catalogue), str(tmp_path / "out"), "--encoder", "wordllama"]) == 2
    assert "1030 vectors of 256 numbers need 1,054,848 bytes" in capsys.readouterr().err
    assert not list((tmp_path / "out").iterdir())


def test_a_long_field_is_read_whole_and_one_beyond_the_limit_is_one_line(tmp_path):
    path = tmp_path / "items.csv"
    path.write_text("title\nDune\n" + "a" * 200_000 + "\n")
    assert [len(text) for text in stream.texts_of(str(path))] == [4, 200_000]
    limit = csv.field_size_limit(1000)
    try:
        with pytest.raises(InputError, match=r"not readable as CSV after line 2 .*field larger"):
            list(stream.texts_of(str(path)))
    finally:
        csv.field_size_limit(limit)
