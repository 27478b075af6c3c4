"""The study of histories: its cases, what is compared, and that it goes on where it was."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from recsys_lib.core import records
from recsys_lib.core.errors import InputError
from recsys_lib.data.datasets import Dataset
from recsys_lib.experiments import histories_study
from recsys_lib.experiments.notebook_record import resume
from recsys_lib.experiments.reranking.candidates import Candidates, Catalogue
from recsys_lib.llm import memorization
from recsys_lib.llm.user_encoder import UserEncoder
from recsys_lib.reporting.figures import histories


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


def test_what_a_model_completes_is_counted_by_kind(monkeypatch):
    n = 12
    items = pd.DataFrame({
        "id": [str(10 * i) for i in range(n)], "title": [f"Film of the {i}" for i in range(n)],
        "year": [1980 + i for i in range(n)],
    })  # fmt: skip
    users = pd.DataFrame({"id": ["7", "8"]})
    data = Dataset(
        "toy",
        np.tile([0, 1], 6),
        np.arange(12),
        np.full(12, 4, np.float32),
        np.arange(100, 112),
        items,
        users,
    )
    assert histories_study.rating_rows(data, 2) == ["7\t0\t4\t100", "8\t10\t4\t101"]
    source = Catalogue("toy", "film", data, items["title"].tolist(), items["title"].tolist())
    asked = []

    def knows_years(prompts, questions, max_tokens):
        asked.append((questions, max_tokens))
        return [
            end.startswith("19") and max_tokens == histories_study.END_TOKENS["years"] for _, end in questions
        ]

    monkeypatch.setattr(memorization, "completed", knows_years)
    monkeypatch.setattr(histories_study, "AT_ONCE", 5)
    found = histories_study.completed(source, None, 8)
    assert found == {
        "years": {"completed": 8, "asked": 8}, "titles": {"completed": 0, "asked": 8},
        "rows": {"completed": 0, "asked": 4},
    }  # fmt: skip
    assert max(len(questions) for questions, _ in asked) == 5
    kept = [{"parameters": {"part": "memorization", "model": "smollm2"}, "metrics": {"found": found}}]
    assert histories.memorized(kept).loc["SmolLM2, 135M"].tolist() == ["8 of 8", "0 of 8", "0 of 4"]
    assert "8 of 8 years" in histories.takeaways(kept)[0] and len(histories.memorized([])) == 0
