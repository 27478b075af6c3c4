"""Edges of search spaces beside the wider ones, and the roles of language models that 06 and 07 measured."""

import numpy as np
import pytest

from recsys_lib.reporting.figures import llm
from recsys_lib.reporting.figures import protocol_limits as limits


def gain(value, half=0.05):
    return {"relative": value, "relative low": value - half, "relative high": value + half}


@pytest.fixture
def measured():
    usual = {"ItemKNN": ["shrinkage=100.0"], "iALS": ["factors=128", "alpha=20.0"]}
    return {
        "ml-100k": {"edges": usual, "gains": {"warm": gain(0.2)}},
        "stackexchange": {"edges": {"ItemKNN": ["shrinkage=100.0"]}, "gains": {"warm": gain(0.1)}},
        "articles": {"edges": {}, "gains": {"warm": gain(0.0)}},
    }


def test_edges_stand_beside_those_of_the_wider_spaces(measured):
    wider = {"ml-100k": {"edges": {"iALS": ["factors=256"]}, "gain": gain(0.12)}}
    table = limits.edges_table(measured, wider)
    assert table.loc["ml-100k", "edges"] == "ItemKNN: shrinkage=100.0; iALS: factors=128, alpha=20.0"
    assert table.loc["ml-100k", "wider gain, %"] == "+12.0 (+7.0 to +17.0)"
    assert table.loc["Stack Exchange", "edges, wider"] == "" and table.loc["articles", "edges"] == "none"
    assert "edges, wider" not in limits.edges_table(measured, {})


def test_it_is_said_whether_a_gain_is_decided_otherwise(measured):
    wider = {
        "ml-100k": {"edges": {"ItemKNN": ["shrinkage=1000.0"]}, "gain": gain(0.12)},
        "stackexchange": {"edges": {}, "gain": gain(0.04)},
    }
    said = limits.edges_sentence(measured, wider)
    assert "ItemKNN on 2, iALS on 1 of 3 catalogues" in said
    assert (
        "run on ml-100k, Stack Exchange, ItemKNN does so on 1 (before: 2); gains move by up to 8 points"
        in said
    )
    assert "otherwise on Stack Exchange (+10.0 (+5.0 to +15.0)%, wider +4.0 (-1.0 to +9.0)%)" in said
    wider["stackexchange"]["gain"] = gain(0.09)
    assert "no gain is decided otherwise" in limits.edges_sentence(measured, wider)
    assert limits.edges_sentence(measured, {}).endswith("of 3 catalogues.")


def rerank(catalogue, model, fused, difference, **parameters):
    usual = llm.USUAL | {"catalogue": catalogue, "stage": "EASE", "model": model, "method": "yes/no"}
    usual["precision"] = llm.USUAL_PRECISION.get(model, "int8")
    test = {"difference": difference, "low": difference - 0.01, "high": difference + 0.01, "p": 0.001}
    metrics = {"users": [1, 2], "first_stage": 0.4, "ndcg": 0.3}
    if fused is not None:
        metrics |= {"fused": fused, "weight": 0.1, "fused_minus_first_stage": test}
    return {"parameters": usual | parameters, "metrics": metrics}


def trained(task, name, values, use):
    metrics = {"ndcg": {use: float(np.mean(values))}, "users": [0, 1, 2], "per_user": {use: values}}
    return {"parameters": {"task": task, "name": name, "seed": 0}, "metrics": metrics}


def test_roles_of_language_models_are_read_from_their_records():
    reranked = [
        rerank("ml-100k", "smollm2", 0.39, -0.01),
        rerank("ml-100k", "qwen-coder-0.5b", 0.42, 0.02),
        rerank("ml-100k", "smollm2", 0.6, 0.2, stage="cold map"),
        rerank("ml-100k", "smollm2", 0.6, 0.2, control="another user's history"),
        rerank("citeulike", "smollm2", None, 0.0),
        rerank("book-crossing", "smollm2", 0.4, 0.0),
    ]
    courses = [
        trained("cold", "frozen", [0.1, 0.2, 0.3], "map"),
        trained("cold", "distilled", [0.2, 0.3, 0.4], "map"),
        trained("cold", "contrastive", [0.1, 0.2, 0.4], "map"),
        trained("warm", "frozen", [0.4, 0.4, 0.4], "inside EASE"),
        trained("warm", "distilled", [0.4, 0.4, 0.4], "inside EASE"),
    ]
    table = limits.roles(reranked, courses)
    assert list(table.index) == [
        (limits.RANKING, "ml-100k"), (limits.RANKING, "book-crossing"), (limits.TRAINING, "ml-100k"),
        (limits.TRAINING, "ml-100k"),
    ]  # fmt: skip
    best = table.iloc[0]
    assert best["best"] == "Qwen2.5-Coder, 0.5B, yes/no" and (best["before"], best["after"]) == (0.4, 0.42)
    cold = table.iloc[2]
    assert cold["best"] == "distilled, cold items" and cold["difference"] == pytest.approx(0.1)
    said = limits.roles_sentence(table, 8)
    ranked = "LLM ranking (06) was measured on 2 of 8 (ml-100k, book-crossing), with a gain above 0 in 1 of 2"
    assert ranked in said
    assert "training (07) was measured on 1 of 8 (ml-100k), with a gain above 0 in 0 of 2 rows" in said
    reranked[0]["metrics"]["fused_minus_first_stage"]["p"] = 0.9
    for record in reranked[1:]:
        if "fused" in record["metrics"]:
            record["metrics"]["fused_minus_first_stage"]["p"] = 0.04
    assert "gain above 0 in 0 of 2" in limits.roles_sentence(limits.roles(reranked, courses), 8)
