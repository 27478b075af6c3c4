"""Reasons in a user's own report: the kind that passes the removal test, or none."""

import numpy as np
import pytest

from recsys_lib import evaluation
from recsys_lib.data import datasets
from recsys_lib.experiments.own_catalogue import compare_methods, reasons, sources
from recsys_lib.trust.explanations import faithfulness, importance, one_history, sentences, without
from recsys_lib.trust.explanations.partial_history import rank_of


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    paths = datasets.write_sample(tmp_path_factory.mktemp("shop"), 200, 80, seed=2, sales=14)
    data = datasets.from_csv(*paths, duplicates="first", unknown_items="drop")
    found = sources.encode_sources(data, ("title", "category"), "category")
    return data, found, compare_methods.compare_methods(data, found, seeds=1, trials=2)


@pytest.mark.parametrize(
    ("system", "chosen"),
    [
        ("EASE", "exact"),
        ("iALS; cold items by TF-IDF", "left out"),
        (f"{sources.COLLABORATIVE} + labels", "left out"),
    ],
)
def test_the_kind_that_is_shown_passes_the_removal_test(shop, system, chosen):
    data, found, compared = shop
    why = reasons.explain(compared, found, system, n_users=40)
    assert why.method == system.split(";")[0] and why.chosen == chosen and why.passed
    assert why.deletion[chosen] == min(
        why.deletion[n] for n in why.deletion if n not in ("popular", "random")
    )
    assert why.tested < why.drawn and f"{why.tested:.0%}" in why.finding()
    lines = why.sentences([str(t) for t in data.items["title"]], 10)
    assert len(lines) == 8 and "Because you chose" in lines[0] and "因为你选过《" in lines[1]
    assert why.seconds_per_list(10, 2) > 0 and why.metrics()["chosen"] == chosen


def test_a_ranking_without_histories_is_not_explained_by_one(shop):
    _, found, compared = shop
    assert reasons.explain(compared, found, "popularity").method not in ("popularity", "recent popularity")
    only = compare_methods.Compared({"popularity": compared.warm["popularity"]}, {}, compared.split, {})
    none = reasons.explain(only, found, "popularity")
    assert not none.passed and none.sentences([], 10) == [] and none.finding() == "No method reads a history."
    assert np.isnan(none.seconds_per_list(10)) and none.table().empty


def test_what_does_not_pass_is_not_shown(shop, monkeypatch):
    _, found, compared = shop
    monkeypatch.setattr(reasons.importance, "exact", lambda model: importance.random(7))
    monkeypatch.setattr(reasons.importance, "alike", lambda vectors: importance.random(8))
    why = reasons.explain(compared, found, "EASE")
    assert not why.passed and why.reasons(int(why.users[0]), 10) == []
    assert "No kind of reason passes" in why.finding()


def test_a_decisive_reason_is_the_shortest_start_of_its_order_that_decides(shop):
    _, found, compared = shop
    why = reasons.explain(compared, found, "EASE", n_users=24)
    checked = 0
    for user in why.users[:8]:
        history = one_history(why.histories[user])
        targets = evaluation.recommend(why.model, why.histories, np.array([user]), 10)[0]
        for reason in sentences.checked_reasons(why.model, history, targets, why.kinds["exact"], 10):
            order = faithfulness.order_of(history, why.kinds["exact"](history, reason.target)).tolist()
            assert list(reason.items) == order[: len(reason.items)]
            if reason.decisive:
                ranks = [
                    int(rank_of(why.model, without(history, order[:n]), reason.target, history.indices)[0])
                    for n in range(len(reason.items) + 1)
                ]
                assert all(rank <= 10 for rank in ranks[:-1]) and ranks[-1] > 10
                checked += 1
    assert checked > 10
