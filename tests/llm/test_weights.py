"""Weights in fewer bits, and models with fewer parts."""

from copy import deepcopy

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_lib import encoders
from recsys_lib.core.errors import InputError
from recsys_lib.encoders.distilled import Distilled
from recsys_lib.experiments import model_compression
from recsys_lib.llm import perplexity, weights
from recsys_lib.reporting import model_study, plots
from recsys_lib.reporting.figures import model_compression as figures

# Minutes in all: `make check` leaves them out, `make test` runs them.
pytestmark = pytest.mark.slow

TITLES = ["Toy Story", "Alien", "The Red House", "A Night of Stars", "Lost River King"]


def matrix(seed, rows=12, columns=64):
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 100), st.integers(2, 8), st.sampled_from([1, 4, 16, 64]), st.booleans())
def test_nearest_is_within_half_a_step(seed, bits, group, offset):
    w = matrix(seed)
    groups = w.reshape(12, -1, group)
    width = groups.amax(-1) - groups.amin(-1) if offset else 2 * groups.abs().amax(-1)
    step = width / (2**bits - (1 if offset else 2))
    lost = (weights.round_to_nearest(w, bits, group, offset) - w).abs().reshape(12, -1, group).amax(-1)
    # Steps and least values are kept in 16 bits: what they lose there is lost at every code.
    least = groups.amin(-1) if offset else torch.zeros_like(step)
    kept = 2**bits * (step.half() - step).abs() + (least.half() - least).abs() + 1e-6 * groups.abs().amax(-1)
    assert (lost <= 0.5 * step + kept).all()


def test_nearest_on_its_own_grid_changes_nothing():
    once = weights.round_to_nearest(matrix(0), 4, 32)
    assert torch.allclose(weights.round_to_nearest(once, 4, 32), once, atol=2e-3)


@pytest.mark.parametrize("group", [16, 64, 256])
@pytest.mark.parametrize("bits", [2, 3, 4])
def test_gptq_loses_less_of_what_a_layer_says(group, bits):
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(256, 256, generator=generator)
    x = torch.randn(2000, 256, generator=generator) @ mixing  # correlated inputs, as layers have
    w = torch.randn(32, 256, generator=generator)
    lost = [
        ((w - q) @ x.T).norm()
        for q in (weights.gptq(w, x.T @ x, bits, group), weights.round_to_nearest(w, bits, group))
    ]
    assert lost[0] < 0.8 * lost[1]


def test_gptq_of_unrelated_inputs_is_rounding_to_nearest():
    w = matrix(1, 8, 256)
    assert torch.allclose(
        weights.gptq(w, torch.eye(256), 3, 32), weights.round_to_nearest(w, 3, 32), atol=1e-6
    )


def test_gptq_ignores_channels_that_say_nothing():
    h = torch.eye(64)
    h[5, 5] = 0
    assert torch.isfinite(weights.gptq(matrix(2), h, 4, 64)).all()


@pytest.mark.parametrize(
    ("bits", "group", "message"),
    [(1, 32, "bits=1: expected 2 to 8"), (4, 48, "group=48: expected a divisor of the 64")],
)
def test_bad_bits_and_groups_are_named(bits, group, message):
    with pytest.raises(InputError, match=message):
        weights.round_to_nearest(matrix(0), bits, group)


def test_replaced_weights_come_back():
    model = torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.Linear(4, 2))
    before = [p.clone() for p in model.parameters()]
    with weights.replaced(model, lambda name, w: w * 0, ["0"]):
        assert not model[0].weight.any() and model[1].weight.any()
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_hessians_are_of_the_inputs():
    model = torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.Linear(4, 2))
    x = torch.randn(2, 3, 8)
    with torch.inference_mode():
        found = weights.hessians(model, lambda: model(x))
    rows = x.reshape(-1, 8)
    assert torch.allclose(found["0"], rows.T @ rows, atol=1e-5) and found["1"].shape == (4, 4)


class Guess(torch.nn.Module):
    """Gives all of ten tokens the same chance."""

    device = torch.device("cpu")

    def forward(self, input_ids, use_cache=False):
        class Out:
            logits = torch.zeros(*input_ids.shape, 10)

        return Out


def test_perplexity_of_a_guess_is_the_vocabulary():
    assert perplexity.perplexity(Guess(), np.zeros((3, 7), dtype=np.int64)) == pytest.approx(10)


def test_windows_and_summaries():
    texts = perplexity.film_summaries()
    assert len(texts) == 997 and all(len(t) > 20 for t in texts)
    _, tokenizer = perplexity.language_model()
    ids = perplexity.windows(tokenizer, texts, 512, 128)
    assert ids.shape == (4, 128)
    assert tokenizer.decode(ids[0]).startswith(texts[0][:40])
    with pytest.raises(InputError, match="less than one window"):
        perplexity.windows(tokenizer, ["a"], 512, 128)


def test_the_gguf_file_is_read_and_its_grid_is_ours():
    table = perplexity.gguf_table()
    assert table.loc["Q4_1", "bits per weight"] == 5.0 == weights.bits_per_weight(4, 32)
    encoder = encoders.load("smollm2", precision="float32", cache=False)
    w = encoder.model.layers[0].mlp.gate_proj.weight.data
    again = weights.round_to_nearest(w, 4, 32)
    assert (again - w).abs().max() < 2e-3 * w.abs().max()


# ---------------------------------------------------------------- models with fewer parts


@pytest.fixture(scope="module")
def minilm():
    return encoders.load("minilm", precision="float32", cache=False)


@pytest.fixture(scope="module")
def shallow():
    """One layer of six, where all 30,522 tokens are encoded."""
    encoder = encoders.load("minilm", precision="float32", cache=False)
    del encoder.model.encoder.layer[1:]
    return encoder


def test_fewer_layers_neurons_and_words(minilm):
    tokens = minilm.tokenize(TITLES)
    whole = model_compression.run_model(minilm, minilm.model, tokens)
    assert np.allclose(
        model_compression.run_model(minilm, model_compression.without_layers(minilm.model, range(6)), tokens),
        whole,
        atol=1e-5,
    )
    fewer = model_compression.without_layers(minilm.model, [0, 2, 4])
    assert len(fewer.encoder.layer) == 3 and len(minilm.model.encoder.layer) == 6
    largest = model_compression.activations(minilm, TITLES)
    narrow = model_compression.without_neurons(minilm.model, 1152, largest)
    assert model_compression.n_bytes(narrow) < model_compression.n_bytes(minilm.model)
    cosines = np.diag(_cosine(model_compression.run_model(minilm, narrow, tokens), whole))
    assert 0.3 < cosines.min() < 0.99999
    seen = np.unique([i for ids, _ in tokens for i in ids])
    small, renumber = model_compression.without_words(minilm.model, seen, minilm.tokenizer.unk_token_id)
    assert small.config.vocab_size == len(seen) + 1
    assert np.allclose(model_compression.run_model(minilm, small, renumber(tokens)), whole, atol=1e-5)


@pytest.mark.parametrize("kept", [12, 9, 1])
def test_fewer_heads_natively_and_over_torch(minilm, kept):
    tokens = minilm.tokenize(TITLES)
    sums = model_compression.input_products(minilm, TITLES)
    smaller = model_compression.without_heads(minilm.model, kept, sums)
    assert smaller.encoder.layer[0].attention.self.query.weight.shape == (32 * kept, 384)
    over_torch = encoders.load("minilm", precision="float32", device="cpu", cache=False)
    over_torch.model = smaller
    expected = over_torch.run_tokens(tokens)
    assert np.allclose(model_compression.run_model(minilm, smaller, tokens), expected, atol=1e-3)
    unchanged = np.allclose(expected, model_compression.run_model(minilm, minilm.model, tokens), atol=1e-3)
    assert unchanged == (kept == 12) and minilm.model.config.num_attention_heads == 12


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
def test_fewer_heads_in_fewer_bits(minilm, precision):
    tokens = minilm.tokenize(TITLES)
    smaller = model_compression.without_heads(
        minilm.model, 5, model_compression.input_products(minilm, TITLES)
    )
    whole, few = (model_compression.run_model(minilm, smaller, tokens, p) for p in ("float32", precision))
    assert np.diag(_cosine(whole, few)).min() > 0.99


def test_the_heads_that_say_least_go(minilm):
    silent = deepcopy(minilm.model)
    for layer in silent.encoder.layer:
        layer.attention.output.dense.weight.data[:, 64:96] = 0  # the third head says nothing
    quiet = encoders.load("minilm", precision="float32", device="cpu", cache=False)
    quiet.model = silent
    smaller = model_compression.without_heads(silent, 11, model_compression.input_products(quiet, TITLES))
    tokens = minilm.tokenize(TITLES)
    both = [model_compression.run_model(minilm, m, tokens) for m in (silent, smaller)]
    assert np.allclose(*both, atol=1e-3)
    with pytest.raises(InputError, match="kept=13: expected 1 to 12 heads"):
        model_compression.without_heads(silent, 13, {})


def _cosine(a, b):
    from recsys_lib.vectors import similarity

    return similarity.cosine(a, b)


def test_distilled_vectors_are_means_of_tokens(shallow):
    static = Distilled(shallow, dimensions=64)
    vectors = static.encode([*TITLES, ""])
    assert vectors.shape == (6, 64) and not vectors[-1].any()
    ids = static._tokenizer.encode("The Red House", add_special_tokens=False).ids
    assert np.allclose(vectors[2], static.table[ids].mean(0), atol=1e-4)
    counted = Distilled(shallow, dimensions=64, weighting="sif", corpus=["the the the red"])
    ratio = np.linalg.norm(counted.table, axis=1) / np.maximum(np.linalg.norm(static.table, axis=1), 1e-9)
    the, red = (counted._tokenizer.token_to_id(t) for t in ("the", "red"))
    assert ratio[the] < ratio[red]
    with pytest.raises(InputError, match="pass corpus"):
        Distilled(shallow, weighting="sif")
    with pytest.raises(InputError, match="dimensions=999"):
        Distilled(shallow, dimensions=999)


def test_an_evaluator_finds_no_fault_in_the_same_vectors():
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((60, 8)).astype(np.float32)
    train, test = (sp.random(40, 60, 0.2, "csr", random_state=s, dtype=np.float32) for s in (0, 1))
    evaluator = model_compression.VectorEvaluator(vectors, train, test - test.multiply(train > 0))
    same, other = (
        evaluator.evaluate(vectors),
        evaluator.evaluate(rng.standard_normal((60, 5)).astype(np.float32)),
    )
    assert same["cosine"] == pytest.approx(1) and same["neighbours"] == 1
    assert same["low"] == same["high"] == 0 and other["low"] < other["ndcg"] - same["ndcg"] < other["high"]
    assert np.isnan(other["cosine"]) and other["neighbours"] < 0.6


def test_the_ladder_and_single_layers(minilm):
    ladder = model_compression.int8_ladder(minilm, TITLES)
    assert len(ladder) == 6 and "smoothed α=0.75" in ladder.index[3]
    assert (ladder["mean"] > 0.9).all() and ladder["mean"].iloc[-1] > 0.99
    assert (ladder["worst"] <= ladder["mean"]).all()
    lost = model_compression.sensitivity(minilm, TITLES, 2, 32)
    assert lost.shape == (6, 6) and (lost.to_numpy() >= -1e-6).all()
    last = model_compression.sensitivity(minilm, TITLES, 2, 32, layers=[5])
    assert last.equals(lost.loc[[5]])


# ---------------------------------------------------------------- whole tables, and their figures


@pytest.fixture(scope="module")
def shop(minilm):
    """Forty short texts, users of them, and an evaluator of MiniLM's vectors."""
    rng = np.random.default_rng(0)
    words = ["red", "blue", "house", "stars", "night", "garden", "king", "lost", "river", "secret"]
    texts = [" ".join(rng.choice(words, 4)) for _ in range(40)]
    train, test = (sp.random(30, 40, 0.2, "csr", random_state=s, dtype=np.float32) for s in (0, 1))
    vectors = model_compression.run_model(minilm, minilm.model, minilm.tokenize(texts))
    return texts, model_compression.VectorEvaluator(
        vectors, train, test - test.multiply(train > 0), "centred"
    )


def test_fewer_bits_of_an_encoder_say_less(minilm, shop):
    texts, evaluator = shop
    table = model_compression.encoder_bits(
        minilm, texts, evaluator, [8, 2], 32, ["nearest", "nearest, per channel", "GPTQ"]
    )
    rows = table.set_index(["method", "bits"])
    assert list(table["method"]) == [
        "float32",
        *["nearest"] * 2,
        *["nearest, per channel"] * 2,
        *["GPTQ"] * 2,
    ]
    assert rows.loc[("float32", 32), "cosine"] == pytest.approx(1)
    assert (
        rows.loc[("nearest", 8), "cosine"]
        > 0.999
        > rows.loc[("GPTQ", 2), "cosine"]
        > rows.loc[("nearest", 2), "cosine"]
    )
    assert (
        rows.loc[("nearest", 2), "bits per weight"]
        == 3
        > rows.loc[("nearest, per channel", 2), "bits per weight"]
        > 2
    )
    with pytest.raises(InputError, match="method='AWQ': expected one of nearest"):
        model_compression.encoder_bits(minilm, texts, evaluator, [8], 32, ["AWQ"])
    _, axes = plots.figure()
    figures.over_bits(axes[0], table, "cosine", table)
    assert axes[0].xaxis_inverted() and len(axes[0].lines) == 4


def test_fewer_bits_of_a_decoder_surprise_it_more(shop):
    model, tokenizer = perplexity.language_model()
    small = encoders.load("smollm2", precision="float32", device="cpu", cache=False)
    texts, known = shop
    vectors = model_compression.run_model(small, model.model, small.tokenize(texts))
    evaluator = model_compression.VectorEvaluator(vectors, known.train, known.test, "centred")
    ids = perplexity.windows(tokenizer, perplexity.film_summaries(), 128, 64)
    table = model_compression.decoder_bits(
        model, small, texts, evaluator, ids, [8, 2], 64, ["nearest"]
    ).set_index("bits")
    assert table.loc[32, "perplexity"] < 100 < 10 * table.loc[32, "perplexity"] < table.loc[2, "perplexity"]
    assert table.loc[8, "perplexity"] == pytest.approx(table.loc[32, "perplexity"], rel=0.05)
    with pytest.raises(InputError, match="GPTQ needs calibration windows"):
        model_compression.decoder_bits(model, small, texts, evaluator, ids, [8], 64, ["GPTQ"])


def test_parts_are_evaluated_and_timed(minilm, shallow, shop):
    texts, evaluator = shop
    fewer, renumber = model_compression.without_words(
        minilm.model, np.arange(3000), minilm.tokenizer.unk_token_id
    )
    parts = {
        "whole": (minilm.model, "float32", list),
        "3 layers": (model_compression.without_layers(minilm.model, range(3)), "float32", list),
        "words": (fewer, "float32", renumber),
    }  # fmt: skip
    table = model_compression.parts_quality(minilm, texts, evaluator, parts)
    assert (
        table.loc["whole", "neighbours"] == 1
        and table.loc["whole", "MB"] > table.loc["3 layers", "MB"] > table.loc["words", "MB"]
    )
    table["texts per s"] = pd.Series(model_compression.parts_speed(minilm, texts, parts, seconds=0.0))
    assert (table["texts per s"] > 0).all()
    tables = model_compression.static_tables(shallow, [8], texts)
    both = model_compression.parts_quality(minilm, texts, evaluator, parts, tables)
    assert list(both.index)[3:] == ["static, 8 numbers, even", "static, 8 numbers, by rarity"]
    _, axes = plots.figure(columns=2, sharey=True)
    figures.parts(*axes, table)
    assert [t.get_text() for t in axes[0].get_yticklabels()] == ["whole", "3 layers", "words"]


def test_paths_are_timed_with_their_quality(minilm, shop):
    texts, evaluator = shop
    shapes, tokens = {"tokens": [4], "texts": [1]}, minilm.tokenize(texts)
    timed = model_compression.timed_paths(minilm, ["torch float32"], tokens, evaluator, shapes)
    assert timed.summary.loc["torch float32", "cosine"] == pytest.approx(1)
    assert [row["path"] for row in timed.metrics()["speed"]] == ["torch float32"]
    parts = {"whole": (minilm.model, "float32", list)}
    pruned = model_compression.parts_quality(minilm, texts, evaluator, parts)
    table = model_compression.timed_parts(minilm, texts[:4], pruned, parts, {}, timed.quality)
    assert (table["texts per s"] > 0).all() and table.index[0] == "whole"
    assert (table["MB"].iloc[1:] < table.loc["whole", "MB"]).all()
    none = model_compression.timed_paths(minilm, [], tokens, evaluator, shapes).metrics()
    assert not any(none.values())


def test_paths_over_lengths_and_batches(minilm):
    table = model_compression.speeds(
        {"torch float32": minilm, "again float32": minilm}, [4, 8], [1, 2], seconds=0.0
    )
    assert len(table) == 8 and (table["tokens per s"] > 0).all()
    assert model_compression.speeds({}, [4], [1]).empty
    ratios = model_study.speed_ratios(table, "torch float32")
    assert ratios.shape == (2, 4) and (ratios.loc["torch float32"] == 1).all()
    ratios.loc["again float32"] = [0.5, 1.0, 2.0, 4.0]
    _, axes = plots.figure()
    figures.speed_map(axes, ratios, ["float32"])
    assert [t.get_text() for t in axes[0].texts] == ["1.0"] * 4 + ["0.5 ×", "1.0", "2.0", "4.0"]


def test_a_footprint_is_of_the_path_alone():
    found = model_compression.footprint("minilm", "torch", "float32")
    assert (
        found["disk_MB"] == pytest.approx(90.9, abs=0.1)
        and 10 < found["resident_MB"] <= found["peak_MB"] + 1 < 400
    )
    with pytest.raises(InputError, match="footprint of torch int3"):
        model_compression.footprint("minilm", "torch", "int3")


def test_places_in_bert_and_llama_are_named_alike():
    largest = {"layers.4.mlp.down_proj": np.array([1.0, 2.0, 8.0]), "layers.4.self_attn.q_proj": np.ones(3)}
    assert model_compression.outlying(largest).loc[4].to_dict() == {"down": 4.0, "query": 1.0}
    with pytest.raises(InputError, match="expected the name of a linear layer"):
        model_compression.outlying({"head": np.ones(2)})


def test_a_hessian_without_a_cholesky_factor_is_told_in_one_line():
    h = torch.eye(64)
    h[3, 3] = float("nan")
    with pytest.raises(InputError, match=r"hessian \[64, 64\].*expected sums of products of finite inputs"):
        weights.gptq(matrix(0), h, 4, 64)
    with pytest.raises(InputError, match=r"hessian of shape \(8, 8\): expected \(64, 64\)"):
        weights.gptq(matrix(0), torch.eye(8), 4, 64)


@pytest.mark.parametrize("options", [{"pooling": "max"}, {"normalize": True}, {"pooling": "cls"}])
def test_a_changed_model_keeps_the_encoders_pooling_and_head(options):
    """``max`` is no weighted sum of tokens, so the native kernel cannot make it: torch must take its
    place.
    """
    encoder = encoders.load("minilm", precision="float32", device="cpu", cache=False, **options)
    found = model_compression.run_model(encoder, deepcopy(encoder.model), encoder.tokenize(TITLES))
    expected = encoder.run_tokens(encoder.tokenize(TITLES))
    # The kernel's GELU errs by up to 4e-5, which a single pooled token shows more than a mean does.
    assert found.shape == expected.shape and np.abs(found - expected).max() < 1e-3 * np.abs(expected).max()
