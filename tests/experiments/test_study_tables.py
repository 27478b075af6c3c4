"""Answers, curves, budgets and records of the studies, also where methods or data are left out."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from recsys_lib import evaluation
from recsys_lib.experiments import study
from recsys_lib.experiments.study import takeaways_04_and_05
from recsys_lib.recommenders import EASE, Popularity
from recsys_lib.reporting.figures import cold_start, ranking_study, search_budget

rng = np.random.default_rng(0)
USERS = np.arange(300)


def found(shift, noise=0.0):
    """An evaluation of 300 users whose NDCG is 0.4 on average, shifted."""
    base = np.random.default_rng(1).uniform(0.2, 0.6, 300)
    values = base + shift + noise * rng.standard_normal(300)
    return evaluation.Evaluation(10, USERS, {"ndcg": values}, np.empty((300, 0), dtype=np.int64))


def outcome(value, trials=(0.1, 0.3, 0.2), edges=()):
    drawn = [study.Trial({"a": i}, v, 0.1, i) for i, v in enumerate(trials)]
    done = sorted(drawn, key=lambda t: -t.value)
    return study.Outcome({"a": 1}, max(trials), None, value, 0.1, tuple(done), edges)


def test_answers_tell_better_worse_equal_and_not_decided():
    values = {"base": found(0), "up": found(0.05, 0.01), "down": found(-0.05, 0.01)}
    values |= {"same": found(0.0001, 0.001), "loose": found(0, 0.4)}
    questions = {name: (name, "base") for name in ("up", "down", "same", "loose")}
    table = study.answers(values, questions)
    assert table["answer"].tolist() == ["better", "worse", "equal within 1%", "not decided"]
    assert table.loc["up", "relative"] == pytest.approx(table.loc["up", "NDCG gained"] / 0.4, rel=0.05)
    assert study.answers(values, {}).empty


def test_a_curve_survives_its_record_and_crosses_where_it_stays_above():
    few = {("text", n): [outcome(found(0))] for n in (2, 4, 8)}
    few |= {("knn", n): [outcome(found(s))] for n, s in ((2, 0.1), (4, -0.1), (8, 0.1))}
    few |= {("ease", n): [outcome(found(-0.2))] for n in (2, 4, 8)}
    table = study.curve_table(few)
    assert (table["low"] < table["ndcg"]).all() and (table["ndcg"] < table["high"]).all()
    # 2 is above as well, but 4 is not: what counts is from where on a method stays above.
    assert study.crossings(table, "text") == {"knn": 8, "ease": None}
    again = study.curve_of_record(study.curve_record(table))
    assert np.allclose(again.loc[table.index].to_numpy(), table.to_numpy())
    old = study.curve_of_record({"text": {"0": 0.4}, "knn": {"0": 0.2}})
    assert (old["low"] == old["ndcg"]).all()


def test_search_curves_and_edges():
    outcomes = {"one": [outcome(found(0), edges=("a=3",))], "fixed": [outcome(found(0), trials=(0.2,))]}
    curves = study.validation_curves(outcomes)
    assert curves.index.tolist() == ["one"]
    assert curves.loc["one"].round(3).tolist() == [0.333, 1.0, 1.0]
    edges = study.edges_chosen(outcomes)
    assert edges.loc["one"].tolist() == ["a=3", 1, 1]
    assert study.edges_chosen({"fixed": outcomes["fixed"]}).empty


def test_bootstrap_records_pair_methods_of_the_same_users():
    drawn = study.bootstrap_record({"a": found(0), "b": found(0.1)}, resamples=20)
    assert np.allclose(np.subtract(drawn["b"], drawn["a"]), 0.1, atol=2e-5)


def test_without_ease_labels_or_hybrids_there_is_still_a_reference_and_a_question():
    outcomes = {
        "popularity": [outcome(found(-0.1))],
        "ItemKNN": [outcome(found(0))],
        "text": [outcome(found(-0.3))],
    }
    reads = {"popularity": "interactions", "ItemKNN": "interactions", "text": "text"}
    assert study.reference_of(outcomes, reads) == "ItemKNN"
    assert study.reference_of(outcomes | {"EASE": [outcome(found(-0.05))]}, reads) == "EASE"
    assert study.hybrid_questions(outcomes) == {}
    assert study.encoder_questions({"minilm": found(0), "e5": found(0.1)}) == {
        "minilm against e5": ("minilm", "e5")
    }
    ndcg = pd.Series({name: o[0].test.mean()["ndcg"] for name, o in outcomes.items()})
    assert study.gap_closed(ndcg, reads, "ItemKNN") == {}
    assert study.gap_closed(ndcg.drop("text"), reads, "ItemKNN") == {}


def test_figures_of_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("RECSYS_FIGURES", str(tmp_path))
    empty = study.answers({}, {})
    ranking_study.gain({"none": empty}, 0.01, 10)
    assert ranking_study.published(pd.DataFrame()) is None
    curves = pd.DataFrame({1: [0.5], 2: [1.0]}, index=["EASE"])
    search_budget.trials(curves, "trials")
    curve = study.curve_table({(n, 4): [outcome(found(0))] for n in ("text", "EASE")})
    cold_start.crossover({"films": curve}, {"films": study.crossings(curve, "text")}, 10, "one_point")
    assert {p.name for p in tmp_path.glob("*.png")} == {"04_gain.png", "trials.png", "one_point.png"}


def test_arrivals_count_what_cold_items_get():
    split = study.split_of("ml-100k temporal", 0)
    items = split.dataset
    raw = {name: study.encode(items, name) for name in ("labels", "year")}
    raw |= {"tfidf": raw["labels"], "minilm": raw["labels"]}
    point = {"regularization": 2.0, "ease_regularization": 400.0}
    found_at = study.arrivals(split, raw, "minilm", "EASE map: metadata", point, trials=1)
    table = study.arrival_table([found_at])
    assert table.index.tolist()[0] == "EASE" and table.loc["EASE", "cold places"] < 0.01
    assert (table["cold places"].diff().dropna() >= 0).all()
    assert table.loc["warm and cold, 3 reserved", "cold places"] >= 0.3
    assert (table["cold found"] <= table["cold to find"]).all()
    assert study.arrival_table([]).empty


def test_takeaways_follow_the_numbers():
    table = study.answers({"a": found(0.05), "b": found(0)}, {"a against b": ("a", "b")})
    ndcg = pd.Series(
        {"cosine: minilm, raw": 0.1, "EASE map: minilm": 0.4, "chance": 0.05, "EASE": 0.06, "ItemKNN": 0.07}
    )
    none = study.arrival_table([])
    said = takeaways_04_and_05.cold(
        ndcg, "minilm", "EASE map: minilm", table, {"EASE": None, "ItemKNN": 8}, [0, 8], none, none
    )
    assert "0.400" in said[0] and "better" in said[1]
    assert "EASE: not within 8; ItemKNN: from 8" in said[2] and len(said) == 3
    old = {
        "strict": {
            "EASE map: all models and metadata": 0.3,
            "EASE map: tf-idf and metadata": 0.2,
            "chance": 0.1,
        }
    }
    assert takeaways_04_and_05.recorded_cold({"ml-100k random": old})[0].startswith(
        "Recorded, ml-100k: EASE map: all models"
    )


def test_compared_methods_keep_their_models_only_if_asked():
    train = sp.csr_matrix((rng.random((40, 20)) < 0.3).astype(np.float32))
    task = study.Task(train, train, train, train)
    methods = {
        "popularity": study.Method(Popularity),
        "EASE": study.Method(EASE, {"regularization": [1.0, 2.0]}),
    }
    kept = study.compare_methods(methods, task, trials=2)
    dropped = study.compare_methods(methods, task, trials=2, keep_models=False)
    assert all(o.model is not None for o in kept.values()) and all(o.model is None for o in dropped.values())
    assert kept["EASE"].parameters == dropped["EASE"].parameters and len(kept["EASE"].trials) == 2
