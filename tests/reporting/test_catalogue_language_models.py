"""Tables, figure and findings of language models that rank and that are trained, over invented catalogues."""

import matplotlib
import numpy as np
import pytest

from recsys_lib.reporting import plots
from recsys_lib.reporting.figures import catalogue_language_models as models

matplotlib.use("Agg")


def difference(value, half=0.02, p=0.001):
    return {"difference": value, "low": value - half, "high": value + half, "p": p}


def ordered(alone, fused, weight, seconds, p=0.001):
    return {
        "users": [1, 2, 3], "first_stage": 0.2, "ndcg": 0.2 + alone, "fused": 0.2 + fused, "weight": weight,
        "minus_first_stage": difference(alone), "fused_minus_first_stage": difference(fused, p=p),
        "cpu_seconds_per_list": seconds,
    }  # fmt: skip


def course(gain, kept=20, seconds=60.0, p=0.001):
    values = {"map": 0.2, "alone": 0.1}
    return {
        "frozen": {"ndcg": values, "users": [1, 2]},
        "trained": {"ndcg": {name: value + gain for name, value in values.items()}, "users": [1, 2]},
        "gains": {"map": difference(gain, p=p), "alone": difference(gain / 2)},
        "course": {"kept": kept, "steps": 40, "core_seconds": seconds},
    }


@pytest.fixture
def ranking():
    both = {"smollm2": ordered(-0.1, 0.03, 0.2, 2.0), "ms-marco": ordered(-0.01, 0.0, 0.0, 0.5, p=1.0)}
    worse = {"smollm2": ordered(-0.1, -0.05, 1.0, 1.0), "ms-marco": ordered(0.1, 0.03, 0.5, 0.7, p=0.04)}
    return models.ranking_table({
        "articles": {"budget": {}, "warm": {"first stage": "EASE"} | both},
        "stackexchange": {"budget": {}, "warm": {"first stage": "iALS"} | worse,
                          "cold": {"first stage": "minilm, mapped"} | both},
    })  # fmt: skip


@pytest.fixture
def training():
    return models.training_table(
        {"articles": course(0.05), "stackexchange": course(0.0, 0, 90.0, 1.0), "ml-100k": course(-0.03)}
    )


def test_every_case_is_a_row_and_p_is_corrected_over_all(ranking):
    assert list(ranking.index[:2]) == [
        ("articles", "warm", "SmolLM2, 135M"), ("articles", "warm", "cross-encoder, 33M"),
    ]  # fmt: skip
    assert len(ranking) == 6 and ranking["base"].iloc[-1] == "minilm, mapped"
    row = ranking.loc[("articles", "warm", "SmolLM2, 135M")]
    assert (row["first stage"], row["alone"], row["fused"], row["weight"]) == (0.2, 0.1, 0.23, 0.2)
    # 0.04 is the fourth smallest p of six: three rows are left, so it passes 0.05.
    assert ranking.loc[("Stack Exchange", "warm", "cross-encoder, 33M"), "fused p"] == pytest.approx(0.12)


def test_what_is_decided_is_counted_and_named(ranking, training):
    said = models.ranking_sentence(ranking)
    assert "3 users a case" in said
    assert "it gains in 2 (SmolLM2, 135M on articles (warm items); SmolLM2, 135M on Stack Exchange" in said
    assert "of 6 cases and loses in 1 (SmolLM2, 135M on Stack Exchange (warm items))" in said
    assert "alone it gains in 1 (cross-encoder, 33M on Stack Exchange (warm items)) and loses in 3." in said
    assert "a weight of 0 in 2." in said and "0.5 to 2.0 s of one core" in said and "0.04 wide" in said
    assert models.title(ranking, training) == (
        "Fused with the first stage a language model's order gains in 2 of 6 cases and loses in 1; alone it "
        "loses in 3.\nTraining MiniLM raises NDCG of cold items on 1 of 3 catalogues and lowers it on 1 "
        "(all after Holm's correction)"
    )
    trained = models.training_sentence(training, {"tokens": 100_000, "looks": 2, "words": 24})
    assert "on at most 100,000 tokens (60 to 90 s of one core)" in trained
    assert "by -15% to +25%: better on 1 (articles), worse on 1 (ml-100k) of 3 catalogues" in trained
    assert "the weights from before on Stack Exchange. Not run on book-crossing, ml-latest-small" in trained


def test_nothing_decided_is_said_too(training):
    same = {"smollm2": ordered(0.0, 0.0, 0.0, 1.0, p=1.0)}
    alone = models.ranking_table({"articles": {"warm": {"first stage": "EASE"} | same}})
    said = models.ranking_sentence(alone)
    assert "it gains in 0 of 1 cases and loses in 0; alone it gains in 0 and loses in 0." in said
    assert "nan" not in said
    kept = models.training_sentence(training.loc[["articles"]], {"tokens": 1})
    assert "kept the weights" not in kept and "worse on 0 of 1" in kept


def test_the_figure_draws_every_difference(ranking, training):
    fig, axes = plots.figure(3, width=15, height=4)
    models.panels(axes, ranking, training)
    warm = np.concatenate([c.get_offsets()[:, 0] for c in axes[0].collections if len(c.get_offsets())])
    own = ranking.xs("warm", level="items")
    drawn = np.concatenate([own["alone difference"], own["fused difference"]])
    assert set(np.round(drawn, 6)) <= set(np.round(np.asarray(warm, float), 6))
    assert [t.get_text() for t in axes[2].get_yticklabels()] == ["articles", "Stack Exchange", "ml-100k"]
    assert len(axes[0].get_legend_handles_labels()[1]) == 4
    matplotlib.pyplot.close(fig)
