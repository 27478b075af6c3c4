"""The study of histories: its cases, what is compared, and that it goes on where it was."""

import numpy as np
import pytest
import scipy.sparse as sp

from recsys_lib.core import records
from recsys_lib.core.errors import InputError
from recsys_lib.data.datasets import Dataset
from recsys_lib.experiments import histories_study
from recsys_lib.experiments.notebook_record import resume
from recsys_lib.experiments.reranking.candidates import Candidates, Catalogue
from recsys_lib.llm.user_encoder import UserEncoder


class Letters:
    """One component per letter a to d: how often it occurs."""

    name, options, dimension = "letters", {}, 4

    def encode(self, texts, progress=True):
        return np.array([[t.count(c) for c in "abcd"] for t in texts], dtype=np.float32).reshape(-1, 4)


@pytest.fixture
def found():
    texts = ["ab", "aab", "abb", "cd", "ccd", "cdd"]
    source = Catalogue("toy", "film", Dataset.__new__(Dataset), texts, texts)
    relevant = sp.csr_matrix(([1.0, 1.0], ([0, 1], [2, 5])), shape=(2, 6))
    known = [np.array([0, 1]), np.array([3, 4])]
    return source, Candidates(np.arange(2), np.zeros((2, 3), int), np.zeros((2, 3)), relevant, known)


def test_the_item_like_the_history_is_found_and_the_mean_is_the_measure(found):
    readers = {name: UserEncoder(name, Letters()) for name in ("mean", "text")}
    metrics = histories_study.ranked(*found, Letters(), readers)
    assert metrics["found"]["mean"]["ndcg"] == 1 and metrics["found"]["mean"]["less mean"] == 0
    assert metrics["found"]["text"]["recall"] == 1 and len(metrics["per_user"]["text"]) == 2


def test_no_case_is_there_twice_and_every_part_takes_its_parameters(monkeypatch):
    cases = histories_study.cases()
    assert len({tuple(case.items()) for case in cases}) == len(cases)
    called = []
    for part, measured in histories_study.PARTS.items():
        names = measured.__code__.co_varnames[: measured.__code__.co_argcount]
        monkeypatch.setitem(
            histories_study.PARTS, part, lambda _names=names, **more: called.append(set(more) == set(_names))
        )
    for case in cases:
        histories_study._measure(case)
    assert called == [True] * len(cases)


def test_a_study_goes_on_where_it_was_and_names_what_cannot_run(tmp_path, capsys):
    done = []

    def measure(case):
        if case["part"] == "absent":
            raise InputError("model not fetched")
        done.append(case["part"])
        return {"value": 1}

    path = tmp_path / "toy-study.json"
    for parts in (["a"], ["a", "absent", "b"]):
        resume(path, "06_llm_ranking", [{"part": part} for part in parts], measure)
    assert done == ["a", "b"]
    assert [one["parameters"]["part"] for one in records.read(path)] == ["a", "b"]
    assert "2/3 absent: left out: model not fetched" in capsys.readouterr().out
