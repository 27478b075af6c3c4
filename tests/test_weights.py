"""Weights in fewer bits, and models with fewer parts."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_lib import encoders, model_compression
from recsys_lib.encoders.distilled import Distilled
from recsys_lib.errors import InputError
from recsys_lib.quantization import perplexity, weights

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
    assert (lost <= 0.5 * step + 4e-3 * groups.abs().amax(-1)).all()  # steps and least values are kept in 16 bits


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
    assert torch.allclose(weights.gptq(w, torch.eye(256), 3, 32), weights.round_to_nearest(w, 3, 32), atol=1e-6)


def test_gptq_ignores_channels_that_say_nothing():
    h = torch.eye(64)
    h[5, 5] = 0
    assert torch.isfinite(weights.gptq(matrix(2), h, 4, 64)).all()


@pytest.mark.parametrize(
    ("bits", "group", "message"), [(1, 32, "bits=1: want 2 to 8"), (4, 48, "group=48: want a divisor of the 64")]
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
    small, renamed = model_compression.without_words(minilm.model, seen, tokens, minilm.tokenizer.unk_token_id)
    assert small.config.vocab_size == len(seen) + 1
    assert np.allclose(model_compression.run_model(minilm, small, renamed), whole, atol=1e-5)


def _cosine(a, b):
    from recsys_lib import similarity

    return similarity.cosine(a, b)


def test_distilled_vectors_are_means_of_tokens(minilm):
    static = Distilled(minilm, dimensions=64)
    vectors = static.encode([*TITLES, ""])
    assert vectors.shape == (6, 64) and not vectors[-1].any()
    ids = static._tokenizer.encode("The Red House", add_special_tokens=False).ids
    assert np.allclose(vectors[2], static.table[ids].mean(0), atol=1e-4)
    counted = Distilled(minilm, dimensions=64, weighting="sif", corpus=["the the the red"])
    ratio = np.linalg.norm(counted.table, axis=1) / np.maximum(np.linalg.norm(static.table, axis=1), 1e-9)
    the, red = (counted._tokenizer.token_to_id(t) for t in ("the", "red"))
    assert ratio[the] < ratio[red]
    with pytest.raises(InputError, match="pass corpus"):
        Distilled(minilm, weighting="sif")
    with pytest.raises(InputError, match="dimensions=999"):
        Distilled(minilm, dimensions=999)


def test_a_judge_finds_no_fault_in_the_same_vectors():
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((60, 8)).astype(np.float32)
    train, test = (sp.random(40, 60, 0.2, "csr", random_state=s, dtype=np.float32) for s in (0, 1))
    judge = model_compression.Judge(vectors, train, test - test.multiply(train > 0))
    same, other = judge.judge(vectors), judge.judge(rng.standard_normal((60, 5)).astype(np.float32))
    assert same["cosine"] == pytest.approx(1) and same["neighbours"] == 1
    assert np.isnan(other["cosine"]) and other["neighbours"] < 0.6


def test_the_ladder_and_single_layers(minilm):
    ladder = model_compression.int8_ladder(minilm, TITLES)
    assert list(ladder.index) == list(model_compression.LADDER)
    assert (ladder["mean"] > 0.9).all() and ladder["mean"].iloc[-1] > 0.99
    lost = model_compression.sensitivity(minilm, TITLES, 2, 32)
    assert lost.shape == (6, 6) and (lost.to_numpy() >= -1e-6).all()
