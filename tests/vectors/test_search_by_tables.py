"""Codes of 4 bits and signs that are looked up: long codes, and pairs put aside until lists are cut."""

import numpy as np
import pytest

from recsys_lib.vectors import quantization, similarity
from recsys_lib.vectors.search import Index, kernel


def near(d, n, rng, spread):
    """Vectors around one direction, float32 ``[n, d]``."""
    return (rng.standard_normal((1, d)) + spread * rng.standard_normal((n, d))).astype(np.float32)


@pytest.mark.parametrize("d", [1024, 1032])  # the longest codes that tables of 4 bits take, and longer ones
@pytest.mark.parametrize("n_queries", [1, 20])
def test_long_one_bit_codes_are_searched_too(d, n_queries):
    rng = np.random.default_rng(d)
    items, queries = near(d, 3001, rng, 1.0), near(d, n_queries, rng, 1.0)
    codes = quantization.quantize(items, "binary")
    found = Index.build(codes).top_k(queries, 40)
    ids, scores = similarity.top_k(queries, codes.dequantize(), 40)
    assert (found.ids == ids).mean() > 0.99
    assert np.abs(found.scores - scores).max() < 2e-4 * np.abs(scores).max()


@pytest.mark.parametrize("scheme", ["binary", "pq"])
def test_pairs_put_aside_are_the_best_wherever_lists_were_cut(scheme, monkeypatch):
    rng = np.random.default_rng(7)
    # Near ties: more pairs than a short list holds pass each gate.
    items = near(64, 20_000, rng, 0.05)
    queries = items[:5] + 0.01 * rng.standard_normal((5, 64)).astype(np.float32)
    more = {"bits": 4} if scheme == "pq" else {}
    index = Index.build(quantization.quantize(items, scheme, **more))
    found = []
    for threads, least in ((1, 256), (3, 256), (3, 20_000)):
        monkeypatch.setattr(kernel, "threads", lambda threads=threads: threads)
        monkeypatch.setattr(kernel, "MIN_ASIDE", least)
        found.append(index.top_k(queries, 30))
    for other in found[1:]:
        assert np.array_equal(found[0].ids, other.ids) and np.array_equal(found[0].scores, other.scores)
