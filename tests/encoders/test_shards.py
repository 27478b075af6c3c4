"""Shards of a catalogue: encoded one by one they are the vectors of one run, and nothing half is taken for
whole.
"""

import json

import numpy as np
import pytest

from recsys_lib import encoders
from recsys_lib.core.errors import InputError
from recsys_lib.encoders import shards, stream


@pytest.fixture
def catalogue(tmp_path):
    path = tmp_path / "titles.csv"
    rows = "".join(f'{i},"{i} the book\nof {i * 7 % 13} stars"\r\n' for i in range(103))
    path.write_text("\ufeffid,title\n" + rows, encoding="utf-8", newline="")
    return path


@pytest.mark.parametrize("form", shards.FORMS)
def test_shards_are_the_vectors_of_one_run(catalogue, tmp_path, form):
    encoder, folder = encoders.load("wordllama"), tmp_path / "out"
    job = shards.begin(encoder, str(catalogue), folder, form=form, rows=25)
    assert [s.rows for s in job.shards] == [25, 25, 25, 25, 3]
    for number in (4, 1, 0, 3):
        assert shards.encode_shard(encoder, job, number) == shards.Done(number, job.shards[number].rows, 0)
    with pytest.raises(InputError, match="shard 2 is missing"):
        shards.finish(job)
    with pytest.raises(InputError, match="holds no finished shards"):
        shards.vectors(folder)
    assert sorted(shards.begin(encoder, str(catalogue), folder, form=form, rows=25).finished()) == [
        0,
        1,
        3,
        4,
    ]
    shards.encode_shard(encoder, job, 2)
    assert shards.finish(job) == (103, 0)
    whole = np.load(stream.encode_to_disk(encoder, str(catalogue), tmp_path / "plain", progress=False))
    assert np.array_equal(shards.vectors(folder), whole)


@pytest.mark.parametrize("source", ["ml-100k", "lines.txt", "titles.csv"])
def test_reading_from_a_place_gives_the_texts_from_there(catalogue, tmp_path, monkeypatch, source):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lines.txt").write_text("\ufeffé\n\nzwei\r\n3\n" * 50, encoding="utf-8", newline="")
    texts = list(stream.texts_of(source))
    n, _, places = stream.fingerprint(source, every=30)
    assert n == len(texts)
    assert len(places) == -(-n // 30)
    for number, place in enumerate(places):
        assert [text for text, _ in stream.texts_from(source, place=place)] == texts[30 * number :]


def test_a_shard_without_the_file_beside_it_is_not_done(catalogue, tmp_path):
    encoder, folder = encoders.load("wordllama"), tmp_path / "out"
    job = shards.begin(encoder, str(catalogue), folder, rows=60)
    shards.encode_shard(encoder, job, 0)
    job.file(0, "json").unlink()
    (folder / ".vectors-00001.npy.1.part").touch()
    assert shards.begin(encoder, str(catalogue), folder, rows=60).finished() == {}
    assert not list(folder.glob(".vectors-*.part"))


def test_another_run_is_refused(catalogue, tmp_path):
    encoder, folder = encoders.load("wordllama"), tmp_path / "out"
    job = shards.begin(encoder, str(catalogue), folder, rows=60)
    with pytest.raises(InputError, match="begun with another shard_rows, 60"):
        shards.begin(encoder, str(catalogue), folder, rows=50)
    with pytest.raises(InputError, match="format 'csv' is unknown"):
        shards.begin(encoder, str(catalogue), tmp_path / "other", form="csv")
    lines = catalogue.read_text(encoding="utf-8").splitlines(keepends=True)
    catalogue.write_text("".join(lines[:20]), encoding="utf-8")
    with pytest.raises(InputError, match="has fewer texts than when the run began"):
        shards.encode_shard(encoder, job, 1)
    assert json.loads((folder / "progress.json").read_text())["done"] == 0
