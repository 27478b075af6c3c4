"""Encoders agree with their references, pooling with naive loops,
and the cache never gives a wrong vector.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from encoder_cases import TEXTS
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_lib import encoders
from recsys_lib.data import assets
from recsys_lib.encoders.pooling import pool
from recsys_lib.vectors import similarity

ROOT = Path(__file__).resolve().parent.parent.parent


# ---------------------------------------------------------------- agreement


def test_minilm_agrees_with_sentence_transformers():
    from sentence_transformers import SentenceTransformer

    reference = SentenceTransformer(str(assets.locate("minilm")), device="cpu")
    theirs = reference.encode(TEXTS, show_progress_bar=False)
    ours = encoders.load("minilm", precision="float32", cache=False).encode(TEXTS)
    assert ours.dtype == np.float32
    assert np.diag(similarity.cosine(ours, theirs)).min() >= 0.99999


def test_bfloat16_is_near_float32():
    ours = [encoders.load("minilm", precision=p, cache=False).encode(TEXTS) for p in ("float32", "bfloat16")]
    assert np.diag(similarity.cosine(*ours)).min() > 0.99


@pytest.mark.parametrize("model", ["bert", "llama"])
def test_a_vector_depends_on_its_text_only(tiny, model):
    whole = encoders.load(tiny[model], precision="float32", cache=False).encode(TEXTS)
    assert whole.shape == (len(TEXTS), 32)
    assert np.isfinite(whole).all()
    order = np.random.default_rng(0).permutation(len(TEXTS))
    for budget in (1, 64, 4096):
        encoder = encoders.load(tiny[model], precision="float32", cache=False, token_budget=budget)
        assert np.allclose(encoder.encode([TEXTS[i] for i in order]), whole[order], atol=1e-5)


def test_static_vectors_against_a_naive_loop():
    encoder = encoders.load("wordllama")
    tokenizer = encoder._tokenizer
    vectors = encoder.encode(TEXTS)
    for text, vector in zip(TEXTS, vectors, strict=True):
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        expected = encoder.table[ids].mean(0) if ids else np.zeros(256)
        assert np.allclose(vector, expected, atol=1e-5), text


def test_tfidf_and_genres():
    corpus = ["Crime, Drama", "Drama", "", "Sci-Fi, Crime"]
    genres = encoders.load("genres", corpus=corpus)
    assert genres.labels == ["Crime", "Drama", "Sci-Fi"]
    assert genres.encode(["Sci-Fi, Drama", "", "Musical"]).tolist() == [[0, 1, 1], [0, 0, 0], [0, 0, 0]]
    tfidf = encoders.load("tfidf", corpus=["red apple", "red car", "中文 书"])
    vectors = tfidf.encode(["red apple", "unknown words", "中文"])
    assert vectors.dtype == np.float32 and vectors.shape == (3, tfidf.dimension)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1, 0, 1])
    assert (
        vectors[0, tfidf.vectorizer.vocabulary_["apple"]]
        > vectors[0, tfidf.vectorizer.vocabulary_["red"]]
        > 0
    )


# ---------------------------------------------------------------- pooling


@settings(deadline=None, derandomize=True)
@given(
    st.lists(st.lists(st.integers(0, 1), min_size=5, max_size=5), min_size=1, max_size=4),
    st.sampled_from(["mean", "last", "weighted", "cls"]),
)
def test_pooling_against_a_naive_loop(masks, kind):
    hidden = torch.randn(len(masks), 5, 3, generator=torch.Generator().manual_seed(0))
    pooled = pool(kind, hidden, torch.tensor(masks))
    for row, mask in enumerate(masks):
        at = [t for t, m in enumerate(mask) if m]
        h = hidden[row]
        if not at:
            expected = torch.zeros(3)
        elif kind == "mean":
            expected = h[at].mean(0)
        elif kind == "weighted":
            expected = sum((n + 1) * h[t] for n, t in enumerate(at)) / sum(range(1, len(at) + 1))
        else:
            expected = h[at[-1] if kind == "last" else at[0]]
        assert torch.allclose(pooled[row], expected, atol=1e-6)


def test_echo_pools_the_second_copy_and_only_that():
    encoder = encoders.load("smollm2", pooling="echo", precision="float32", cache=False)
    (ids, begin), *_ = encoder.tokenize(["Alien (1979)", "x"])
    copy = encoder.tokenizer("Alien (1979)", add_special_tokens=False)["input_ids"]
    assert ids[begin:] == copy
    assert ids[:begin].count(copy[0]) >= 1
    with torch.inference_mode():
        hidden = encoder.model(torch.tensor([ids])).last_hidden_state[0, begin:].mean(0)
    assert np.allclose(encoder.encode(["Alien (1979)"])[0], hidden.numpy(), atol=1e-4)


def test_poolings_differ_and_only_the_prefix_of_e5_is_there():
    by = {
        p: encoders.load("smollm2", pooling=p, precision="float32", cache=False).encode(["Alien (1979)"])
        for p in ("mean", "last", "weighted")
    }
    assert not np.allclose(by["mean"], by["last"], atol=1e-2)
    e5 = encoders.load("e5", precision="float32")
    assert e5.prefix == "query: "
    assert e5.tokens("Köln")[:4] == ["<s>", "▁que", "ry", ":"]
    assert encoders.load("minilm", precision="float32").prefix == ""


def test_layers_end_in_the_vector(tiny):
    encoder = encoders.load(tiny["bert"], precision="float32", cache=False)
    layers = encoder.layers("Toy Story")
    assert layers.shape == (3, 4, 32)
    assert np.allclose(layers[-1].mean(0), encoder.encode(["Toy Story"])[0], atol=1e-5)
    assert encoder.tokens("Toy Story") == ["[CLS]", "toy", "story", "[SEP]"]
    assert encoder.n_parameters > 30522 * 32
