"""Recommenders refuse a device that is not there, and memory that is not there before they ask for it."""

import numpy as np
import pytest
import scipy.sparse as sp
from recommender_cases import CHECKERBOARD, PARITY, RECOMMENDERS, one_line

from recsys_lib import recommenders
from recsys_lib.core import memory
from recsys_lib.core.errors import InputError
from recsys_lib.recommenders import (
    EASE,
    SLIM,
    EASEMap,
    ItemKNN,
    Popularity,
    SASRec,
    TextEASE,
    TextMLP,
    UserKNN,
)

ON_A_DEVICE = {
    "EASE": lambda device: EASE(device=device),
    "SLIM": lambda device: SLIM(device=device),
    "EASEMap": lambda device: EASEMap(PARITY, device=device),
    "TextEASE": lambda device: TextEASE(PARITY, device=device),
    "TextMLP": lambda device: TextMLP(PARITY, 8, 4, epochs=1, progress=False, device=device),
    "SASRec": lambda device: SASRec(8, 1, 1, epochs=1, progress=False, device=device),
}


@pytest.mark.parametrize("name", ON_A_DEVICE)
def test_devices(name, monkeypatch, tmp_path):
    import torch

    with pytest.raises(InputError, match="device='gpu'"):
        ON_A_DEVICE[name]("gpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="no usable GPU"):
        ON_A_DEVICE[name]("cuda")
    model = ON_A_DEVICE[name]("auto").fit(sp.csr_matrix(CHECKERBOARD))
    assert model.device == "cpu"
    assert np.array_equal(
        model.scores([0, 1]), ON_A_DEVICE[name]("cpu").fit(sp.csr_matrix(CHECKERBOARD)).scores([0, 1])
    )
    model.save(tmp_path)
    one_line("no usable GPU", recommenders.load, tmp_path, "cuda")
    assert recommenders.load(tmp_path, "auto").device == "cpu"


SQUARE = ["EASE", "SLIM", "EASEMap", "TextEASE", "MaxSimilarity"]


@pytest.mark.parametrize("name", SQUARE)
def test_a_square_matrix_that_does_not_fit_is_refused_first(name, monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda: 500)
    pattern = rf"{name} of 9 items needs .* of memory, .* are available; use "
    one_line(pattern, RECOMMENDERS[name]().fit, sp.csr_matrix(CHECKERBOARD))


def test_neighbourhoods_bound_their_memory(monkeypatch):
    from recsys_lib.recommenders import column_neighbours

    train = sp.random(50, 30, 0.3, "csr", np.float32, random_state=0).sign()
    expected = [make().fit(train).score(train) for make in (ItemKNN, UserKNN)]
    monkeypatch.setattr(column_neighbours, "BLOCK_SIMILARITIES", 150)
    assert [column_neighbours.rows_at_once(n) for n in (30, 50, 1000)] == [5, 3, 1]
    for make, scores in zip((ItemKNN, UserKNN), expected, strict=True):
        assert np.array_equal(make().fit(train).score(train), scores)
    monkeypatch.setattr(memory, "available_bytes", lambda: 1000)
    one_line("30 neighbours of each of 30 items needs", ItemKNN().fit, train)
    monkeypatch.setattr(column_neighbours, "load", lambda: None)
    one_line("a block of 5 x 30 similarities needs", ItemKNN().fit, train)
    one_line("a block of 3 x 50 similarities needs", UserKNN().fit(train).score, train)


def test_more_scores_than_memory_are_refused(monkeypatch):
    model = Popularity().fit(sp.csr_matrix((1, 10**6), dtype=np.float32))
    monkeypatch.setattr(memory, "available_bytes", lambda: 2**30)
    one_line(
        "scores of 1,000 histories for 1,000,000 items needs 7.5 GiB",
        model.score,
        sp.csr_matrix((1000, 10**6)),
    )
