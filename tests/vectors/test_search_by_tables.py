"""Codes of 4 bits and signs that are looked up: long codes, and pairs put aside until lists are cut."""

import ctypes
from dataclasses import replace

import numpy as np
import pytest

from recsys_lib.kernels import compiler
from recsys_lib.vectors import quantization, similarity
from recsys_lib.vectors.search import Index, forms, kernel
from recsys_lib.vectors.search.kernel import Candidates

pytestmark = pytest.mark.skipif(kernel.load() is None, reason="no C compiler")


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


@pytest.fixture(scope="module")
def portable(tmp_path_factory):
    """The kernel without coarse products: every pair has its fine score."""
    path = tmp_path_factory.mktemp("portable") / "search.so"
    compiler.compile_to(path, compiler.SEARCH_SOURCE, (*kernel.FLAGS, "-DPORTABLE"))
    return ctypes.CDLL(str(path))


@pytest.mark.parametrize("spread", [0.0, 4.0])  # of the lengths of items, in powers of 10
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("scheme", ["binary", "pq", "pq 8 bits"])
@pytest.mark.parametrize("n_queries", [1, 5, 21])
def test_no_item_is_lost_by_sums_of_whole_numbers(scheme, n_queries, sign, spread, portable, monkeypatch):
    rng = np.random.default_rng(n_queries)
    items = near(44, 5003, rng, 0.5) * (10 ** rng.uniform(-spread, 0, (5003, 1))).astype(np.float32)
    items[:70] = 0
    queries = sign * (items[-n_queries:] + np.float32(0.1))
    more = {"bits": 8 if "8" in scheme else 4} if scheme.startswith("pq") else {}
    codes = quantization.quantize(items, scheme.split()[0], **more)
    exclude = [np.arange(q, 5003, 5) for q in range(n_queries)]
    found = []
    for library in (kernel.load(), portable):
        monkeypatch.setattr(kernel, "load", lambda library=library: library)
        index = Index.build(codes, items, "dot")
        found.append((index.top_k(queries, 20, exclude), index.exact_top_k(queries, 20, exclude)))
    for one, other in zip(*found, strict=True):
        assert np.array_equal(one.ids, other.ids) and np.array_equal(one.scores, other.scores)


def largest_in_8_bits(form, coarse):
    """The largest sums that the kernel adds up in 8 bits, ``[n, sums]``: single entries, or those of both
    parts of two neighbouring bytes.
    """
    largest = coarse.max(axis=2).astype(int)
    if form.kind != forms.PRODUCT4:
        return largest
    of_bytes = largest.reshape(len(largest), 2, -1).sum(axis=1)
    return np.pad(of_bytes, ((0, 0), (0, of_bytes.shape[1] % 2))).reshape(len(largest), -1, 2).sum(axis=2)


@pytest.mark.parametrize("subspaces", [1, 7, 8])
@pytest.mark.parametrize("bits", [4, 8])
def test_tables_are_products_and_whole_numbers_near_them(bits, subspaces):
    rng = np.random.default_rng(bits)
    items = rng.standard_normal((900, 29)).astype(np.float32)
    items[:, 8:12] *= 50  # one part with a wider range than others
    codes = quantization.quantize(items, "pq", bits=bits, subspaces=subspaces)
    form, queries = Index.build(codes).form, rng.standard_normal((70, 29))
    fine, coarse, scale, minimum, lost = kernel._tables(form, queries, True)
    parts, entries, width = codes.codebook.shape
    padded = np.pad(queries, ((0, 0), (0, parts * width - 29))).reshape(70, parts, 1, width)
    expected = (padded * codes.codebook.astype(np.float64)).sum(axis=3)
    order = np.arange(form.d)
    if form.kind == forms.PRODUCT4:
        order = np.concatenate([order[0::2], order[1::2]])
        expected = np.pad(expected, ((0, 0), (0, form.d - parts), (0, 0)))
    expected = expected[:, order]
    np.testing.assert_allclose(fine, expected, rtol=0, atol=1e-6 * np.abs(expected).max())
    largest = largest_in_8_bits(form, coarse).max(axis=1)
    assert largest.min() >= 250 and largest.max() <= 255
    drawn = rng.integers(0, entries, (70, 50, form.d))
    at = (np.arange(70)[:, None, None], np.arange(form.d), drawn)
    sums = coarse[at].sum(axis=2, dtype=int) * scale[:70, None] + minimum[:70, None]
    wrong = np.abs(sums - expected[at].sum(axis=2)).max(axis=1)
    assert (wrong <= lost * 1.0001 + 1e-4).all() and wrong.max() > lost.max() / 100


def test_whole_numbers_of_two_bytes_never_exceed_8_bits():
    """Where all four are rounded up by a half, and where ranges differ by many orders of magnitude."""
    rng = np.random.default_rng(0)
    items = rng.standard_normal((64, 12)).astype(np.float32)
    codes = quantization.calibrate(np.tile(items, (4, 1)), "pq", bits=4, subspaces=12).quantize(items)
    form = Index.build(codes).form
    # The kernel adds up parts 0, 1, 6 and 7, then 2, 3, 8 and 9, then 4, 5, 10 and 11.
    halves = [63.5, 63.5] * 3 + [62.5, 63.5] * 3
    ranges = [10 ** rng.uniform(-30, 30, (300, 12)), rng.random((300, 12)), rng.integers(0, 2, (300, 12))]
    largest = []
    for span in np.concatenate([[halves], *ranges]):
        codebook = np.linspace(0, span, 16, dtype=np.float32).T[:, None]
        table = replace(form, codebook=np.ascontiguousarray(codebook), start=np.arange(12))
        largest.append(largest_in_8_bits(form, kernel._tables(table, np.ones((1, 12)), True)[1]).max())
    assert largest[0] == 255 == max(largest)


def test_tables_beyond_float32_let_every_pair_pass():
    items = np.float32(3e38) * np.sign(np.random.default_rng(0).standard_normal((64, 8))).astype(np.float32)
    form = Index.build(quantization.quantize(items, "pq", bits=4, subspaces=2), metric="dot").form
    _, coarse, scale, minimum, lost = kernel._tables(form, np.full((1, 8), 1.0), True)
    assert not coarse.any() and (scale[0], minimum[0], lost[0]) == (1, 0, np.inf)


def test_lists_of_threads_become_one_in_order():
    rng = np.random.default_rng(0)
    for n_lists, n, k in ((1, 3, 1), (4, 5, 7), (3, 2, 40)):
        scores = rng.integers(-3, 3, (n_lists, n, k)).astype(np.float32)  # many ties
        ids = rng.permutation(n_lists * n * k).reshape(scores.shape).astype(np.int32)
        scores[0, 0, 1:], ids[0, 0, 1:] = -np.inf, 2**31 - 1
        order = np.lexsort((-ids, scores))
        heaps = [np.ascontiguousarray(np.take_along_axis(a, order, -1)) for a in (scores, ids)]
        empty = np.empty((n_lists, n, 0))
        found_ids, found = kernel.ranked(Candidates(*heaps, empty, empty, empty))
        for q in range(n):
            flat, flat_ids = scores[:, q].ravel(), ids[:, q].ravel()
            best = np.lexsort((flat_ids, -flat))[:k]
            assert np.array_equal(found[q], flat[best])
            assert np.array_equal(found_ids[q], np.where(np.isinf(flat[best]), -1, flat_ids[best]))
