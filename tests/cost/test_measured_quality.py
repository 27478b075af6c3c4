"""Which records stand for an option, and what is missing from them, from records written by hand."""

import json

import pytest

from recsys_lib.core.errors import InputError
from recsys_lib.cost import measured_quality
from recsys_lib.cost.deployment_options import option
from recsys_lib.cost.measured_quality import COMMON, RERANKED

NAME = "135M LLM reranks, logits"
CASE = COMMON | RERANKED[NAME]


def run(ceiling, users, *, per_user=("fused", "first_stage"), **changed):
    """A run of the reranking study with one user's values; ``per_user`` None: none were kept."""
    metrics = {"ceiling": ceiling, "weight": 0.1}
    if per_user is not None:
        metrics["per_user"] = {name: [0.5] for name in per_user}
    return {
        "notebook": "14_reranking",
        "parameters": {**CASE, "users": users, "precision": "int8", **changed},
        "metrics": metrics,
        "environment": {},
        "seconds": 1.0,
    }


def recorded(folder, *runs):
    (folder / f"{measured_quality.RERANK_STUDY}.json").write_text(json.dumps(runs))
    return folder


def test_the_case_with_the_most_users_stands_for_the_option_and_of_equals_the_latest(tmp_path):
    folder = recorded(tmp_path, run(0.1, 50), run(0.2, 200), run(0.3, 200), run(0.4, 100))
    assert measured_quality._rerank_case(NAME, folder)["ceiling"] == 0.3
    assert measured_quality.rerank_ceiling(folder) == 0.3


@pytest.mark.parametrize(
    "other",
    [
        {"per_user": None},
        {"per_user": ("first_stage", "floor")},
        {"stage": "ItemKNN"},
        {"control": "another user's history"},
        {"catalogue": "books"},
        {"seed": 1},
    ],
)
def test_cases_without_a_chosen_weight_or_of_another_kind_are_passed_over(tmp_path, other):
    assert measured_quality.rerank_ceiling(recorded(tmp_path, run(0.9, 500, **other), run(0.6, 10))) == 0.6
    folder = recorded(tmp_path, run(0.9, 500, **other))
    assert measured_quality._rerank_case(NAME, folder) is None
    assert measured_quality.rerank_ceiling(folder) == 1.0


def test_a_parameter_that_a_record_lacks_is_no_match(tmp_path):
    older = run(0.9, 500)
    del older["parameters"]["language"]
    assert measured_quality.rerank_ceiling(recorded(tmp_path, older, run(0.6, 10))) == 0.6


def test_the_ceiling_is_of_any_reranker_and_a_case_of_its_own_only(tmp_path):
    folder = recorded(tmp_path, run(0.6, 10), run(0.7, 20, model="ms-marco", method="cross-encoder"))
    assert measured_quality.rerank_ceiling(folder) == 0.7
    assert measured_quality._rerank_case(NAME, folder)["ceiling"] == 0.6
    assert measured_quality._rerank_case("0.5B LLM reranks, logits", folder) is None


def test_without_a_study_nothing_is_known_and_a_broken_one_is_refused(tmp_path):
    assert measured_quality._rerank_case(NAME, tmp_path) is None
    assert measured_quality.rerank_ceiling(tmp_path) == 1.0
    broken = run(0.6, 10)
    del broken["metrics"]
    with pytest.raises(InputError, match="rerank-study"):
        measured_quality.rerank_ceiling(recorded(tmp_path, broken))


def test_what_a_study_does_not_hold_is_not_measured(monkeypatch):
    metrics = {"warm": {"ItemKNN": {"ndcg": 0.4}}, "cold": {"chance": {"ndcg": 0.1, "samples": [0.1, 0.2]}}}
    monkeypatch.setattr(measured_quality, "study", lambda: {measured_quality.PROTOCOL: metrics})
    found = measured_quality.recorded(option("ItemKNN"))
    assert (found.warm, found.cold) == (0.4, 0.1)
    assert len(found.warm_samples) == 0 and found.cold_samples.tolist() == [0.1, 0.2]
    partly = measured_quality.recorded(option("popularity"))
    assert partly.warm is None and partly.cold == 0.1
    neither = measured_quality.recorded(option("8B encoder"))
    assert neither.warm is None and neither.cold is None
