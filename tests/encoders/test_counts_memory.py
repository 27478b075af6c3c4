"""Dense vectors and files that do not fit into memory are refused before they are made or read."""

import pytest

from recsys_lib.core import memory
from recsys_lib.core.errors import InputError
from recsys_lib.data.datasets import from_csv
from recsys_lib.encoders.counts import Genres, Tfidf


@pytest.fixture
def little_memory(monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda: 10)


@pytest.mark.parametrize("kind", [Tfidf, Genres])
def test_dense_vectors_name_the_bytes_they_need(kind, little_memory):
    encoder = kind.fit(["Crime, Drama", "Drama"])
    with pytest.raises(
        InputError, match=r"2 \w+ vectors of \d numbers needs .* are available; encode fewer texts"
    ):
        encoder.encode(["Crime", "Drama"])


def test_a_file_larger_than_memory_is_refused_before_it_is_read(tmp_path, little_memory):
    (tmp_path / "events.csv").write_text("user,item\na,b\n", encoding="utf-8")
    (tmp_path / "items.csv").write_text("id,title\nb,x\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"reading events\.csv.* are available; read a part of the file"):
        from_csv(tmp_path / "events.csv", tmp_path / "items.csv")
