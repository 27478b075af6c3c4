"""The price of fewer bytes is computed against an independent path,
and nothing is lost where nothing is rounded.
"""

import numpy as np
import pytest
import scipy.sparse as sp

from recsys_lib import evaluation
from recsys_lib.core.errors import InputError
from recsys_lib.experiments import vector_compression as compression
from recsys_lib.recommenders.text import TextProfile
from recsys_lib.vectors import geometry, quantization, similarity


def shop(n_users=40, n_items=300, d=32, seed=0):
    """Vectors with a common offset; users like items near a direction of their own."""
    rng = np.random.default_rng(seed)
    items = rng.standard_normal((n_items, d))
    liked = similarity.top_k(rng.standard_normal((n_users, d)), items, 12)[0]
    rows = np.repeat(np.arange(n_users), 6)
    parts = [
        sp.csr_matrix(
            (np.ones(n_users * 6, np.float32), (rows, liked[:, half].ravel())), shape=(n_users, n_items)
        )
        for half in (slice(0, None, 2), slice(1, None, 2))
    ]
    return (items + 2).astype(np.float32), parts[0], parts[1]


VECTORS, TRAIN, TEST = shop()


def test_a_profile_with_exact_codes_is_the_text_profile():
    ours = compression.CodedProfile(VECTORS, 3 * VECTORS).fit(TRAIN).scores(np.arange(40))
    assert np.allclose(ours, TextProfile(VECTORS).fit(TRAIN).scores(np.arange(40)), atol=1e-6)


def test_users_stay_float32_and_items_are_what_was_decoded():
    coded = quantization.quantize(VECTORS, "binary").dequantize()
    ours = compression.CodedProfile(VECTORS, coded).fit(TRAIN).scores(np.array([7]))[0]
    user = similarity.normalize(VECTORS)[TRAIN[7].indices].mean(axis=0)
    assert np.allclose(ours, similarity.cosine(user[None], coded)[0], atol=1e-5)


def test_codes_of_another_shape_are_refused():
    with pytest.raises(InputError, match="shape"):
        compression.CodedProfile(VECTORS, VECTORS[:, :5])


def test_quality_agrees_with_an_evaluation_by_hand():
    ways = {"int4": ("int4", {}), "binary": ("binary", {})}
    table = compression.quality(VECTORS, TRAIN, TEST, 5, ("raw", "centred"), ways).set_index(
        ["geometry", "stored"]
    )
    assert list(table.index.get_level_values("stored")) == ["float32", "int4", "binary"] * 2
    unit = similarity.normalize(geometry.centre(VECTORS).apply(VECTORS))
    codes = quantization.quantize(unit, "int4")
    full = evaluation.evaluate(TextProfile(unit).fit(TRAIN), TRAIN, TEST, 5)
    found = evaluation.evaluate(compression.CodedProfile(unit, codes.dequantize()).fit(TRAIN), TRAIN, TEST, 5)
    row = table.loc[("centred", "int4")]
    assert row["ndcg"] == pytest.approx(found.mean()["ndcg"]) and row["recall"] == pytest.approx(
        found.mean()["recall"]
    )
    assert row["ndcg_kept"] == pytest.approx(found.mean()["ndcg"] / full.mean()["ndcg"])
    naive = np.mean([len(set(a) & set(b)) / 5 for a, b in zip(full.ids, found.ids, strict=True)])
    assert row["lists_kept"] == pytest.approx(naive)
    assert row["low"] <= row["ndcg"] - table.loc[("centred", "float32"), "ndcg"] <= row["high"]
    assert row["bytes"] == codes.bytes_per_vector == 16 + 4
    assert row["error"] <= row["bound"] <= row["error"] * 1.001


def test_float32_loses_nothing_and_fewer_bits_lose_more():
    table = compression.quality(VECTORS, TRAIN, TEST, 10, ("centred",)).set_index("stored")
    assert (table.loc["float32", ["ndcg_kept", "lists_kept"]] == 1).all() and table.loc[
        "float32", "error"
    ] == 0
    errors = table["error"]
    assert errors["float16"] < errors["bfloat16"] < errors["int8"] < errors["int4"] < errors["binary"]
    assert errors["pq, 2 bits"] < errors["pq, 1 bit"] < errors["pq, 1/2 bit"]
    assert table["lists_kept"].idxmin() in ("pca 1/32", "pq, 1/2 bit", "pca 1/8", "pca 1/8, int8")
    assert (table["code_bytes"] <= table["bytes"]).all()


def test_every_way_to_store_can_be_made_at_any_dimension():
    for d in (1, 5, 64):
        v = np.random.default_rng(0).standard_normal((256, d))
        for scheme, options in compression.variants(d).values():
            assert len(quantization.quantize(v, scheme, **options)) == 256


def test_codes_taken_for_vectors_are_those_of_sentence_transformers():
    from sentence_transformers.util import quantize_embeddings

    ways = compression.forgetful_codes(VECTORS)
    assert np.array_equal(ways["codes as they are"](VECTORS), quantize_embeddings(VECTORS, "int8"))
    assert np.array_equal(
        np.packbits(ways["sign"](VECTORS) > 0, axis=1), quantize_embeddings(VECTORS, "ubinary")
    )
    step = np.ptp(VECTORS, axis=0) / 255
    assert (np.abs(ways["the same codes, dequantized"](VECTORS) - VECTORS) <= step * 1.001).all()


def test_what_is_forgotten_costs_and_what_is_restored_does_not():
    parts = compression.loss_by_part(VECTORS, TRAIN, TEST, np.arange(40))
    assert parts.loc["float32", "nearest"] == 1
    assert (
        parts.loc["the same codes, dequantized", "nearest"] > 0.98 > parts.loc["codes as they are", "nearest"]
    )
    # A common offset makes signs alike; the mean takes it away.
    assert parts.loc["sign after centring", "nearest"] > 2 * parts.loc["sign", "nearest"]
    full = evaluation.evaluate(TextProfile(VECTORS).fit(TRAIN), TRAIN, TEST).mean()["ndcg"]
    assert parts.loc["float32", "ndcg"] == pytest.approx(full)


def test_searches_find_what_they_claim():
    v = np.random.default_rng(0).standard_normal((600, 24))
    table = compression.searches(v, v[:40] + 0.1, k=5, seconds=0.0).set_index("search")
    assert list(table.index) == [
        "faiss Flat",
        "int8 exact",
        "int8 rescored",
        "binary rescored",
        "HNSW",
        "IVF",
    ]
    assert (table.loc[table["exact"], "recall"] == 1).all() and table["exact"].sum() == 2
    assert (table["recall"] > 0.5).all() and (table["recall"] <= 1).all()
    assert (table["query_s"] > 0).all() and (table["items"] == 600).all()
    assert table.loc["int8 exact", "bytes"] == 4 * 24 + 24 + 4 + 4 and table.loc["faiss Flat", "bytes"] == 96
    assert list(compression.searches(v, v[:3], names=("IVF",), seconds=0.0)["search"]) == ["IVF"]


def test_what_is_filled_up_lies_between_what_there_is():
    v = similarity.normalize(np.random.default_rng(0).standard_normal((5, 8)).astype(np.float32))
    more = compression.fill_up(v, 12)
    assert more.shape == (12, 8) and more.dtype == np.float32 and np.array_equal(more[:5], v)
    np.testing.assert_allclose(np.linalg.norm(more, axis=1), 1, atol=1e-6)
    middle = similarity.normalize((v[:, None] + v[None]).reshape(25, 8))
    assert (np.abs(more[5:, None] - middle[None]).max(axis=2).min(axis=1) < 1e-6).all()


def test_shared_against_sets():
    rng = np.random.default_rng(0)
    a, b = (np.array([rng.choice(20, 6, replace=False) for _ in range(30)]) for _ in range(2))
    a[3, 2:] = -1
    expected = [len(set(x[x >= 0]) & set(y)) / (x >= 0).sum() for x, y in zip(a, b, strict=True)]
    assert compression.shared(a, b) == pytest.approx(expected)
    assert compression.shared(np.full((1, 2), -1), np.full((1, 2), -1)).tolist() == [0]


def test_pareto_against_all_pairs():
    rng = np.random.default_rng(0)
    costs, values = rng.integers(0, 5, (60, 2)), rng.integers(0, 5, 60)
    points = list(zip(costs.tolist(), values.tolist(), strict=True))
    expected = [
        not any((c <= costs[i]).all() and v >= values[i] and (c.tolist(), v) != points[i] for c,
        v in zip(costs, values, strict=True))
        for i in range(60)
    ]  # fmt: skip
    assert compression.pareto(costs, values).tolist() == expected
    with pytest.raises(InputError, match="costs"):
        compression.pareto(costs[:5], values)
