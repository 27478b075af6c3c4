"""Takeaways follow what a run found: other numbers make other sentences."""

import copy

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from recsys_lib.core import records
from recsys_lib.reporting import numbers, plots, takeaways_00_to_03
from recsys_lib.reporting.figures import embeddings, reproduction

mpl.use("agg")


def kept(name):
    return copy.deepcopy(records.read(numbers.FOLDER / f"{name}.json")["metrics"])


def test_the_committed_records_make_the_committed_sentences():
    assert "7.1 standard deviations" in takeaways_00_to_03.article(kept("00_the_article"), "e5")
    assert "**0.9746** (12.9°)" in takeaways_00_to_03.cosine(kept("01_cosine_similarity"), 384, 10)
    assert "**0.189**, 49% of the best" in takeaways_00_to_03.embeddings(kept("02_llm_embeddings"))
    assert "below popularity and below EASE" in takeaways_00_to_03.ranking(
        kept("03_ranking"), "minilm", "zca", 10
    )


def test_the_direction_of_a_sentence_follows_its_numbers():
    found = kept("03_ranking")
    found["recall"] |= {"text, processed": 0.02, "TF-IDF": 0.03}
    assert "tfidf is below it" in takeaways_00_to_03.ranking(found, "tfidf", "raw", 10)
    found["recall"]["text, processed"] = 0.2
    said = takeaways_00_to_03.ranking(found, "minilm", "zca", 20)
    assert "above popularity and below EASE" in said and "may raise" in said and "paper's" not in said
    article = kept("00_the_article") | {"auc_centred": 0.5}
    assert "lowers the AUC" in takeaways_00_to_03.article(article, "minilm")


@pytest.fixture
def axes():
    _, axes = plots.figure(columns=2)
    yield axes
    mpl.pyplot.close("all")


def test_figures_state_what_they_show(axes):
    depths = {name: {"same sense": np.array([1, 0.9]), "other sense": np.array([1, 0.7])} for name in "ab"}
    embeddings.layers(axes, depths)
    assert axes[0].get_title(loc="left").replace("\n", " ") == "a: the senses end 0.20 apart"
    recall = pd.Series({"EASE": 0.24, "text, raw": 0.08, "genres alone": 0.01})
    reproduction.published(axes[0], recall, recall * 0, pd.Series({"EASE": 0.243, "text-kNN": 0.024}))
    assert "a third of what EASE finds" in axes[0].get_title(loc="left").replace("\n", " ")
    grid = pd.DataFrame({"raw": [0.1, 0.2], "centred": [0.2, 0.1], "zca": [0.2, 0.2]}, index=["a", "b"])
    reproduction.geometries(axes[1], grid, 0.15)
    assert (
        axes[1].get_title(loc="left").replace("\n", " ")
        == "Centring helps 1 of 2 encoders; some reach popularity"
    )


def test_ecdfs_end_at_one(axes):
    plots.ecdfs(axes[0], {"a": np.array([3.0, 1.0, 2.0])})
    x, y = axes[0].lines[0].get_data()
    assert list(x) == [1, 2, 3] and y[-1] == 1 and y[0] == pytest.approx(1 / 3)
