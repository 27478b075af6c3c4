"""The recorded study of smaller models: its tables, how a run is compared with it, and its sentences."""

import copy
import dataclasses

import matplotlib as mpl
import pandas as pd
import pytest

from recsys_lib.reporting import compression_findings, compression_takeaways, model_study, plots
from recsys_lib.reporting.figures import model_compression as figures

mpl.use("agg")


@pytest.fixture(scope="module")
def study():
    return model_study.read()


def test_the_study_is_read_by_bits_layers_and_paths(study):
    assert list(study.encoders) == ["minilm", "e5"]
    assert study.encoders["minilm"].index[0] == ("float32", 32)
    assert study.lost["minilm"].shape == (6, 6) and list(study.lost["minilm"].index) == list(range(6))
    assert len(study.paths) == len(study.memory) == 14
    assert (study.speed_ratios().loc["torch float32"] == 1).all()
    assert len(study.at_shape(8, 1)) == 14


def test_agreement_needs_two_rows_and_every_tolerance(study):
    then = study.decoder
    now = then.copy()
    now["perplexity"] *= 1.005
    tolerances = {"ndcg": 0.002, "perplexity": 0.01}
    assert model_study.agreement(now, then, tolerances)[1]
    said, agree = model_study.agreement(now, then, {"ndcg": 0.002, "perplexity": 0.001})
    assert not agree and said.endswith("all within 0.002 (ndcg), NOT all within 0.001 (perplexity)")
    assert not model_study.agreement(now.iloc[:1], then, tolerances)[1]
    assert model_study.agreement(now, then, {}) == (
        "other parameters than the recorded ones: nothing to compare",
        True,
    )


def test_rankings_need_the_same_films_and_perplexity_the_same_text(study):
    run = dict(study.parameters)
    assert set(model_study.comparable(run, study.parameters)) == {"ndcg", "cosine", "perplexity"}
    fewer = model_study.comparable({**run, "decoder_tokens": 512}, study.parameters)
    assert set(fewer) == {"ndcg", "cosine"}
    assert model_study.comparable({**run, "groups": [64, 64]}, study.parameters) == {}


def test_the_fastest_precision_must_rank_like_float32(study):
    assert set(model_study.choice(study)["precision"]) == {"int8"}
    worse = study.paths.copy()
    worse.loc["native int8", "high"] = -0.001
    found = model_study.choice(dataclasses.replace(study, paths=worse))
    assert found.loc["AMX (2023)", "precision"] == "bfloat16"
    assert found.loc["AVX2 (2013)", "precision"] == "float32"


def test_a_written_token_reads_every_weight_once():
    sizes = pd.DataFrame({"float32": [100.0, 400.0]}, index=["words", "layers"])
    assert model_study.ms_per_token(sizes, {"here": 50e9}).loc["float32", "here"] == pytest.approx(10)


def test_tables_are_printed_with_few_digits(study):
    shown = model_study.shown(study.decoder)
    assert shown.loc[("nearest", 8), "perplexity"] == "17.8"
    assert shown.loc[("nearest", 4), "low"] == "-0.032"


def test_sentences_follow_the_record(study):
    said = compression_findings.encoder_bits(study)
    assert "**minilm** keeps its ranking down to 4 bits in groups of 32, 7 with one scale per channel" in said
    assert "5 layers of 6, 768 neurons of 1536" in compression_findings.parts(study)
    assert "slower in 18 of 18 cells" in compression_findings.speeds(study)
    assert "Above a guess of the 49,152 tokens: 2 bits" in compression_findings.decoder_bits(study, 49_152)
    layers = compression_findings.layers(study, "minilm", {"down": 285.3})
    assert "summed: value 268, up 235" in layers and layers.endswith("median one: down 285.")
    assert "α = ½" in compression_findings.ladders(study)
    rows, where = model_study.encode_bench()
    assert "cores" in where and "sentence-transformers" in compression_findings.bench(rows)


def test_takeaways_follow_the_record(study):
    bench, _ = model_study.encode_bench()
    said = compression_takeaways.takeaways(study, bench)
    assert "down to 4 bits (NDCG@10 0.137 of 0.139), with GPTQ to 3" in said
    assert "none is worse beyond chance" in said and "whose ranking is not worse" in said
    encoders, parts = copy.deepcopy(study.encoders), study.parts.copy()
    encoders["e5"].loc[("nearest", 8), "high"] = -0.001
    parts.loc["5 layers of 6", "high"] = -0.001
    said = compression_takeaways.takeaways(dataclasses.replace(study, encoders=encoders, parts=parts), bench)
    assert "worse beyond chance: e5" in said and "whose ranking is not worse" not in said


def test_figures_are_drawn_from_the_record(study):
    _, axes = plots.figure(columns=3)
    now = study.decoder.loc[["as it came", "nearest"]]
    figures.decoder_bits(axes, study, now, ["ndcg"])
    assert [len(ax.collections) for ax in axes] == [0, 1, 1]
    figures.encoder_bits(axes, study, study.encoders["e5"], "e5")
    assert axes[2].get_title(loc="left").replace("\n", " ").startswith("e5 at 4 bits")
    _, axes = plots.figure(columns=2, sharey=True)
    figures.pruned(axes, study.parts)
    title = axes[1].get_title(loc="left").replace("\n", " ")
    assert title.startswith("Eight bits are faster than any pruning")
    fig = figures.speeds(8, 7, study.speed_ratios())
    assert len(fig.axes) == len(figures.KINDS)
    mpl.pyplot.close("all")
