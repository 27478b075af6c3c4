"""Curves of yes-no answers and the table of students, from records made by hand."""

import numpy as np
import pytest

from recsys_lib.evaluation import auc_interval
from recsys_lib.reporting import plots
from recsys_lib.reporting.figures import trained_rankers as figures


def part(task, name, metrics, seed=0):
    return {"parameters": {"task": task, "name": name, "seed": seed}, "metrics": metrics}


def reordered(ndcg, low, high):
    return {"ndcg": ndcg, "first_stage": 0.5, "floor": 0.3, "minus_first_stage": {"low": low, "high": high}}


def yes_no(n, decoder, regression):
    """Scores whose areas grow with ``decoder`` and ``regression``: the answer times it, and noise."""
    rng, liked = np.random.default_rng(n), np.arange(400) % 2 == 0
    metrics = {"n": n, "liked": liked.tolist(), "reranked": {"decoder": reordered(0.4, -0.2, -0.01)}}
    metrics["decoder_scores"] = (decoder * liked + rng.normal(size=400)).tolist()
    if n:
        metrics["logistic_scores"] = (regression * liked + rng.normal(size=400)).tolist()
        metrics["reranked"]["logistic regression on EASE"] = reordered(0.51, 0.001, 0.02)
    return part("yes-no", str(n), metrics)


def student(name, seed, gained):
    values = np.linspace(0.1, 0.6, 50)
    users = list(range(50))
    after = {"users": users, "ndcg": 0.35 + gained, "floor": 0.2, "first_stage": 0.4, "fused": 0.42,
             "minus_first_stage": {"difference": gained - 0.05, "low": gained - 0.06, "high": gained - 0.01},
             "fused_minus_first_stage": {"difference": 0.02, "low": 0.01, "high": 0.03},
             "per_user": {"ndcg": (values + gained).tolist()}}  # fmt: skip
    before = {"users": users, "ndcg": 0.35, "per_user": {"ndcg": values.tolist()}}
    metrics = {"cold": after, "cold before": before, "rate": 1e-4, "lists": 100, "core_seconds": 120.0}
    return part("student", name, metrics, seed)


def test_the_curve_is_sorted_and_says_where_lines_cross():
    behind = [yes_no(n, d, 1.0) for n, d in ((64, 0.2), (0, 0.0), (16, 0.1))]
    table = figures.answers_table(behind)
    assert list(table.index) == [0, 16, 64] and figures.crossover(table) is None
    assert "stays behind" in figures.answers_title(table)
    assert np.isnan(table.loc[0, "AUC, logistic regression on EASE"])
    ahead = figures.answers_table([*behind[1:], yes_no(64, 3.0, 1.0)])
    assert figures.crossover(ahead) == 64 and "From 64 examples" in figures.answers_title(ahead)
    equal = figures.answers_table([*behind[1:], yes_no(64, 1.0, 1.0)])
    assert "is not told from" in figures.answers_title(equal)


def test_the_panels_and_takeaways_follow_the_record():
    made = [yes_no(n, 0.3, 1.0) for n in (0, 16, 64)]
    made += [student("cross-encoder", s, g) for s, g in ((0, 0.05), (1, -0.01))]
    fig, axes = plots.figure(2, width=12)
    figures.answers(axes, made)
    assert "worse in 3" in axes[1].get_title(loc="left").replace("\n", " ")
    assert [line.get_label() for line in axes[1].get_lines()][-1] == "a random order"
    said = figures.takeaways(made)
    assert len(said) == 2 and "they do not cross" in said[0]
    assert "gain on 1 of 2 draws, the student is better than the map on 0 and worse on 1, fusing" in said[1]
    assert "student and map gains on 2" in said[1]
    table = figures.students_table(made)
    assert table.loc[0, "gained"] == pytest.approx(0.05)
    assert table.loc[0, "less map"] == pytest.approx(0) and table.loc[1, "less map, high"] < 0
    assert table.loc[0, "gained, low"] <= 0.05 <= table.loc[0, "gained, high"]
    assert figures.takeaways([]) == []
    assert len(fig.axes) == 2


def test_rates_are_sorted():
    made = [part("yes-no rate", str(r), {"rate": r, "auc": a}) for r, a in ((1e-3, 0.6), (1e-4, 0.5))]
    assert figures.rates(made).to_dict() == {1e-4: 0.5, 1e-3: 0.6}


def test_the_area_is_sklearns_and_its_interval_covers_it():
    from sklearn.metrics import roc_auc_score

    rng, liked = np.random.default_rng(0), np.arange(60) % 3 == 0
    scores = np.round(liked + rng.normal(size=60), 1)  # with ties
    value, low, high = auc_interval(liked, scores)
    assert value == pytest.approx(roc_auc_score(liked, scores)) and low < value < high
    drawn = []
    for seed in range(400):
        noise = np.random.default_rng(seed)
        found = auc_interval(liked, liked + noise.normal(size=60))
        drawn.append(found[1] <= 0.7602 <= found[2])  # the normal distribution's P(x < y + 1)
    assert 0.9 < np.mean(drawn) < 0.98
    same = auc_interval(liked, scores, scores)
    assert same == (0.0, 0.0, 0.0)
    value, low, high = auc_interval(liked, scores, -scores)
    assert value == pytest.approx(2 * roc_auc_score(liked, scores) - 1)


def test_an_area_of_one_kind_is_refused():
    from recsys_lib.core.errors import InputError

    with pytest.raises(InputError, match="1 of 3 examples liked"):
        auc_interval([True, False, False], [1, 2, 3])
    with pytest.raises(InputError, match="a score each"):
        auc_interval([True, True, False, False], [1, 2, 3])
