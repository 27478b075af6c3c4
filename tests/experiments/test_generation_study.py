"""The study of generation: what counts as an answer, and that a record goes on where it was."""

import numpy as np
import pytest

from recsys_lib.core import records
from recsys_lib.experiments import generation_study
from recsys_lib.llm.titles import Written


def _written(*items):
    return [Written(str(item), item, 0.0) for item in items]


def test_only_new_items_of_the_catalogue_are_listed():
    ids, counts = generation_study.listed(_written(3, None, 5, 3, 7), known=[5], k=4)
    np.testing.assert_array_equal(ids, [3, -1, -1, -1])
    assert counts == {"invented": 1, "watched": 1, "repeated": 1}


def test_no_answer_is_an_empty_list():
    ids, counts = generation_study.listed([], known=[1], k=3)
    np.testing.assert_array_equal(ids, [-1, -1, -1])
    assert sum(counts.values()) == 0


def test_the_prompt_ends_where_a_title_follows_the_most_recent():
    assert generation_study.prompt(["last", "first"]).endswith("- first\n- last\n-")


def test_methods_are_compared_with_ease(monkeypatch):
    from scipy.sparse import csr_matrix

    from recsys_lib import evaluation

    test = csr_matrix(np.eye(3, 5))
    found = {
        "EASE": evaluation.evaluate_lists(np.array([[0, 1], [1, 2], [0, 3]]), np.arange(3), test),
        "none": evaluation.evaluate_lists(np.full((3, 2), -1), np.arange(3), test),
    }
    means = generation_study._means(found)
    assert means["EASE"]["less EASE"] == 0
    assert means["EASE"]["recall"] == pytest.approx(2 / 3)
    assert means["none"]["ndcg"] == 0
    assert means["none"]["less EASE"] == pytest.approx(-2 / 3)


def test_a_record_goes_on_where_it_was(monkeypatch, tmp_path):
    done = []

    def part(name):
        def measured():
            done.append(name)
            return {"found": {"EASE": {"ndcg": 0.5}}}

        return measured

    path = tmp_path / "generation-study.json"
    monkeypatch.setattr(generation_study, "PARTS", {"titles": part("titles")})
    generation_study.run(path)
    monkeypatch.setattr(generation_study, "PARTS", {"titles": part("titles"), "next item": part("next item")})
    generation_study.run(path)
    assert done == ["titles", "next item"]
    assert [r["parameters"]["part"] for r in records.read(path)] == ["titles", "next item"]
