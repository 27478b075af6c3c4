"""What notebook 13 makes of the study over catalogues: gains, regressions, predictions, places, sentences."""

import numpy as np
import pandas as pd
import pytest

from recsys_lib.core import records
from recsys_lib.experiments.catalogues import explain
from recsys_lib.experiments.catalogues.protocol import CATALOGUES
from recsys_lib.reporting import plots
from recsys_lib.reporting.figures import across_catalogues as figures


def gain(value, method="m", base="b"):
    return {"method": method, "base": base, "relative": value, "relative low": value - 0.05,
            "relative high": value + 0.05, "difference": value / 5, "low": 0.0, "high": 1.0, "p": 0.01,
            "Holm p": 0.001}  # fmt: skip


def metrics(words, per_item, warm, language):
    described = {"users": 100, "items": 50, "interactions": 50 * per_item, "words per text": words,
                 "items without text": 0.0, "interactions per item": per_item, "interactions per user": 5.0,
                 "rare items": 0.5 / per_item, "cold share": 0.1, "days": None}  # fmt: skip
    return {"catalogue": described,
            "gains": {"warm": gain(warm, "best + minilm"), "cold": gain(2.0),
                      "language": gain(language, "l", "t")},
            "warm": {"best + minilm": {"ndcg": 0.2}, "b": {"ndcg": 0.1}, "c": {"ndcg": 0.16},
                     "TF-IDF": {"ndcg": 0.3, "validation": 0.2}, "minilm": {"ndcg": 0.4, "validation": 0.1}},
            "cold": {"chance": {"ndcg": 0.01}, "TF-IDF": {"ndcg": 0.16, "validation": 0.2},
                     "TF-IDF, mapped": {"ndcg": 0.3, "validation": 0.1},
                     "minilm": {"ndcg": 0.2, "validation": 0.1},
                     "minilm, mapped": {"ndcg": 0.16 + 0.16 * language, "validation": 0.2}},
            "bootstrap": {"cold": {"TF-IDF": [0.15, 0.17], "TF-IDF, mapped": [0.2, 0.4], "minilm": [0.1, 0.3],
                                   "minilm, mapped": [0.15 + 0.2 * language, 0.17 + 0.1 * language]}}
            }  # fmt: skip


@pytest.fixture
def measured():
    # The warm gain follows the words exactly and falls with the interactions per item.
    words = dict(zip(CATALOGUES, [5, 8, 400, 6, 160, 80, 75, 100], strict=True))
    return {name: metrics(w, 100 / w, 0.1 * np.log10(w), 0.04) for name, w in words.items()}


def test_runs_are_read_by_part_in_the_order_of_the_study(tmp_path):
    runs = [
        ("people", "articles"),
        ("methods", "stackexchange"),
        ("methods", "ml-100k"),
        ("scale", "invented"),
    ]
    path = tmp_path / "r.json"
    records.write(path, [
        {"notebook": "13", "parameters": {"part": part, "catalogue": name}, "metrics": {"part": part},
         "environment": {}, "seconds": 1.0}
        for part, name in runs
    ])  # fmt: skip
    assert list(explain.runs("methods", path)) == ["ml-100k", "stackexchange"]
    assert list(explain.runs("scale", path)) == ["invented"]


def test_a_perfect_line_is_found_and_a_flat_one_is_not(measured):
    table = explain.gains(measured)
    found = explain.regressions(table)
    warm = found.loc[("warm", "words per text")]
    assert warm["ρ"] == 1 and warm["p"] < 0.001 and warm["slope"] == pytest.approx(0.1)
    assert warm["error of the line"] < 1e-9 < warm["error of the mean"]
    assert (found.loc["chosen", "ρ"] == 0).all() and (found.loc["chosen", "p"] == 1).all()
    # Every catalogue here has the same share of cold items, and none knows when.
    assert found.loc[("warm", "cold share"), "ρ"] == 0 and (found["n"] == 8).all()
    assert ("warm", "days") not in found.index


def test_age_is_tested_on_the_catalogues_that_know_it(measured):
    for name, days in (("ml-100k", 10.0), ("ml-latest-small", 100.0), ("stackexchange", 1000.0)):
        measured[name]["catalogue"]["days"] = days
    found = explain.regressions(explain.gains(measured))
    # The warm gain follows the words, 5, 6 and 100: in the order of the days.
    assert found.loc[("warm", "days"), ["n", "ρ", "p"]].tolist() == [3, 1.0, 0.333]
    measured["stackexchange"]["catalogue"]["days"] = None
    assert ("warm", "days") not in explain.regressions(explain.gains(measured)).index


def test_the_share_of_cold_items_can_explain_a_gain(measured):
    for metrics in measured.values():
        metrics["catalogue"]["cold share"] = metrics["gains"]["warm"]["relative"] / 5
        metrics["catalogue"]["words per text"] = 10.0
        metrics["catalogue"]["interactions per item"] = 10.0
        metrics["catalogue"]["rare items"] = 0.5
    table = explain.gains(measured)
    assert explain.regressions(table).loc[("warm", "cold share"), "slope"] == pytest.approx(5.0)
    own = {"words per text": 10.0, "interactions per item": 10.0, "rare items": 0.5, "cold share": 0.03}
    value, error, variable = explain.expected(table, own, "warm")
    assert variable == "cold share" and value == pytest.approx(0.15) and error < 1e-9
    assert explain.place(table, own)["distance"].notna().all()


def test_each_text_is_used_as_validation_prefers(measured):
    one = measured["articles"]
    assert explain.use(one, "TF-IDF") == "TF-IDF" and explain.use(one, "minilm") == "minilm, mapped"
    found = explain.chosen_gain(one)
    assert found["chosen"] == pytest.approx(0.04)
    assert found["chosen low"] == pytest.approx(0.004 / 0.16, abs=2e-3)
    assert found["chosen high"] == pytest.approx(0.008 / 0.16, abs=2e-3) and found["chosen p"] < 0.01
    # The better use on the test, TF-IDF mapped and MiniLM's profile, was not the one chosen.
    cold = figures.cold_methods(measured).loc["articles"]
    assert cold["preferred"] == "cosine, map" and cold["TF-IDF, map"] > cold["TF-IDF, cosine"]


def test_a_gain_is_held_against_the_best_on_the_test_too(measured):
    table = explain.gains(measured)
    assert explain.best_collaborative(measured["articles"]) == "c"
    assert table["warm over best"].tolist() == pytest.approx([0.25] * 8)
    said = figures.takeaways(measured, table, pd.DataFrame(SCORED), long_table(), {"ml-100k": people()}, None)
    assert "The largest, on articles (+21% to +31%), is over b (0.100)" in said
    assert "number 2 of 2 without text on the test; over c, the best there (0.160), it is +25%" in said
    assert "TF-IDF alone has 0.300" in said


def test_a_line_that_chance_explains_is_no_prediction(measured):
    table = explain.gains(measured)
    own = {"words per text": 95.0, "interactions per item": 1.05, "rare items": 0.47, "cold share": 0.1}
    table["warm"] = [0.1, 0.1, 0.2, 0.1, 0.2, 0.1, 0.2, 0.2]
    errors = explain.regressions(table).loc["warm"]
    assert (errors["error of the line"] < errors["error of the mean"]).any()
    assert explain.expected(table, own, "warm")[2] == ""


def test_spearman_agrees_with_scipy():
    from scipy import stats

    x, y = np.random.default_rng(0).standard_normal((2, 7))
    rho, p = explain.spearman(x, y)
    assert rho == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-3) and 0 < p <= 1
    assert explain.spearman(x, x)[1] == pytest.approx(2 / 5040, abs=1e-3)


def test_predictions_are_scored_honestly(measured):
    table = explain.gains(measured)
    made = pd.DataFrame({
        "catalogue": ["stackexchange", "citeulike-a-abstracts", "unknown"], "gain": "warm",
        "predicted": [0.1, 0.5, 0.1], "low": [0.0, 0.45, 0.0], "high": [0.3, 0.6, 1.0],
    })  # fmt: skip
    scored = explain.scored(table, made)
    assert scored["hit"].tolist() == [True, False] and len(scored) == 2
    assert scored["error"].tolist() == pytest.approx([0.1, 0.5 - 0.1 * np.log10(160)])
    seen = np.mean([0.1 * np.log10(w) for w in (5, 8, 400, 6)])
    assert scored["error of the mean"][0] == pytest.approx(abs(seen - 0.2))
    assert figures.prediction_title(scored).startswith("1 of 2 predicted ranges")


def test_the_committed_predictions_name_only_held_out_catalogues():
    made = explain.predictions()
    assert {CATALOGUES[name].seen for name in made["catalogue"]} == {False}
    assert (made["low"] <= made["predicted"]).all() and (made["predicted"] <= made["high"]).all()
    assert set(made["gain"]) == set(explain.GAINS) and made["reason"].str.len().min() > 10


def test_another_catalogue_is_placed_beside_the_nearest(measured):
    table = explain.gains(measured)
    own = {"words per text": 95.0, "interactions per item": 1.05, "rare items": 0.47, "cold share": 0.1}
    assert explain.place(table, own).index[0] == "Stack Exchange"
    value, error, variable = explain.expected(table, own, "warm")
    assert variable and error < 0.01 and value == pytest.approx(0.1 * np.log10(95), abs=0.01)
    assert explain.expected(table, own, "chosen")[2] == ""


SCORED = {"gain": ["warm"], "hit": [True], "error": [0.1], "error of the mean": [0.2]}


def long_table():
    ndcg = {"64 tokens": 0.1, "256 tokens": 0.2, "title only": 0.05}
    variants = {
        name: {"ndcg": n, "difference": n - 0.2, "low": -1.0, "high": 0.15 - 1.5 * n, "p": 0.01}
        for name, n in ndcg.items()
    }
    return figures.long_text_table({"articles": {"variants": variants}})


def interval(value):
    return {"ndcg": value, "low": value - 0.01, "high": value + 0.01}


def people():
    gap = {"between": "M less F", "difference": 0.03, "low": 0.01, "high": 0.05, "Holm p": 0.01}
    tested = {"difference": 0.0, "low": -0.1, "high": 0.1, "p": 0.5}
    return {
        "personal": {"EASE": {"own": 0.4, "another's": 0.1, "difference": 0.3, "low": 0.2, "high": 0.4}},
        "groups": {
            "gender": {"F": {"EASE": interval(0.2), "users": 3}, "M": {"EASE": interval(0.23), "users": 4}}
        },
        "gaps": {"gender": {"EASE": gap}},
        "interests": {
            n: {"ndcg": 0.1 + 0.01 * (n == "3"), **tested} for n in ("1", "2", "3", "4", "every item")
        },
    }


def test_figures_tables_and_takeaways(measured):
    import matplotlib.pyplot as plt

    table = explain.gains(measured)
    _, axes = plots.figure(4)
    own = {"words per text": 9, "interactions per item": 3, "rare items": 0.1, "cold share": 0.0}
    figures.gain_panels(axes, table, "warm", own)
    assert axes[0].get_xscale() == "log" and axes[2].get_xscale() == "linear"
    assert figures.gains_title(table) == (
        "Text raises NDCG of warm items on 8 of 8 catalogues; for cold items MiniLM beats TF-IDF on 8 "
        "and loses on 0"
    )
    figures.gains_legend(axes[0].figure, table)
    assert [t.get_text() for t in axes[0].figure.legends[0].get_texts()] == list(table.index)
    assert figures.decided(table).loc["articles", ("text, warm", "gain, %")] == pytest.approx(26.0)
    assert figures.best_methods(measured).loc["citeulike", "with text"] == "the same + minilm"
    assert figures.overview(table)["users"].tolist() == [100] * 8
    long = long_table()
    figures.long_texts_panels(plots.figure(1)[1], long)
    assert (
        figures.long_texts_title(long) == "articles: best 256 tokens (0.200; 256 tokens 0.200, title 0.050)"
    )
    assert long.loc[("articles", "64 tokens"), "Holm p"] == pytest.approx(0.02)
    found = {"ml-100k": people()}
    figures.groups(plots.figure(1)[1], found["ml-100k"], ["gender"], ["EASE"])
    assert figures.groups_title(found["ml-100k"]) == "EASE's NDCG, last group less first: gender +0.03"
    assert figures.gap_table(found["ml-100k"]).loc[("gender", "EASE"), "Holm p"] == 0.01
    checked = {
        "together": 0.2,
        "all pairs": 0.05,
        "together, as distributed": 0.06,
        "all pairs, as distributed": 0.05,
    }
    ratios = figures.alignment_table({"citeulike-a-abstracts": checked})["ratio"]
    assert ratios.to_dict() == {"citeulike": 4.0, "citeulike, as distributed": 1.2}
    made = pd.DataFrame({"catalogue": ["stackexchange"], "gain": ["warm"], "predicted": [0.2], "low": [0.1],
                         "high": [0.3]})  # fmt: skip
    scored = explain.scored(table, made)
    figures.predictions(plots.figure(1)[1][0], scored)
    stages = {"read the CSV files": {"seconds": 9.0, "cpu_s": 6.0, "peak_gib": 2.0}}
    stages["encode, MiniLM"] = {"seconds": 200.0, "cpu_s": 120.0, "peak_gib": 2.5}
    scale = {"stages": stages, "sizes": {"users": 5, "items": 600}, "precision": "auto"}
    scale["texts encoded by MiniLM"] = 600
    text = figures.takeaways(measured, table, scored, long, found, scale)
    assert "EASE 75%" in text and "+10% on ml-100k (3 vectors)" in text and "takes 6 s of it" in text
    assert "Scale" not in figures.takeaways(measured, table, scored, long, found, None)
    assert figures.scale_table(scale).columns.tolist() == ["s on the clock", "s of processor", "peak, GiB"]
    plt.close("all")


def test_the_time_of_every_title_is_said():
    stages = {"encode, MiniLM": {"cpu_s": 120.0, "peak_gib": 2.5}, "EASE": {"cpu_s": 1.0, "peak_gib": 3.0}}
    scale = {"stages": stages, "sizes": {"items": 600}, "precision": "auto", "texts encoded by MiniLM": 600}
    assert figures.scale_sentence(scale) == (
        "MiniLM (auto) read 600 of 600 titles in 2.0 minutes of one core, 5 a second; the highest memory of "
        "the whole path was 3.0 GiB."
    )
