"""Neighbours of columns: the kernel finds what SciPy's product, division and selection find, in every bit."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_lib.core.errors import InputError
from recsys_lib.kernels import compiler
from recsys_lib.recommenders import ItemKNN, column_neighbours

pytestmark = pytest.mark.skipif(compiler.command() is None, reason="no C compiler")


def columns_of(train):
    columns = sp.csc_matrix(train, dtype=np.float32)
    columns.eliminate_zeros()
    return columns, np.sqrt(np.asarray(columns.multiply(columns).sum(axis=0)).ravel())


def both(columns, lengths, k, shrinkage=0.0, texts=None):
    """What the kernel and SciPy find, as data, columns and starts of rows."""
    arguments = (columns, lengths, k, shrinkage, texts)
    return [in_order(find(*arguments)) for find in (column_neighbours.find, column_neighbours._by_scipy)]


def in_order(matrix):
    matrix.sort_indices()
    return matrix.data, matrix.indices, matrix.indptr


def assert_same(found, expected):
    (data, *places), (expected_data, *expected_places) = found, expected
    for a, b in zip(places, expected_places, strict=True):
        assert np.array_equal(a, b)
    if compiler.ARM:  # SciPy's product may round once where it multiplies and adds
        np.testing.assert_allclose(data, expected_data, rtol=1e-6)
    else:
        assert data.tobytes() == expected_data.tobytes()


@pytest.mark.parametrize("shrinkage", [0.0, 0.1, 30.0])
@pytest.mark.parametrize(
    ("n_users", "n_items", "density", "k"),
    [(1, 1, 1.0, 1), (3, 1, 1.0, 5), (40, 15, 0.3, 4), (40, 15, 1.0, 15), (300, 700, 0.02, 20),
     (200, 300, 0.3, 299), (50, 400, 0.0, 3)],
)  # fmt: skip
def test_the_kernel_finds_what_scipy_finds(n_users, n_items, density, k, shrinkage):
    rng = np.random.default_rng(n_users + n_items)
    ones = sp.random(n_users, n_items, density, "csr", np.float32, random_state=rng).sign()
    assert_same(*both(*columns_of(ones), k, shrinkage))  # many ties
    weights = ones.multiply(rng.lognormal(size=ones.shape))
    assert_same(*both(*columns_of(weights), k, shrinkage))


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 12), st.integers(1, 70), st.integers(0, 2**32 - 1))
def test_the_kernel_finds_what_scipy_finds_of_whole_numbers(n_users, n_items, seed):
    rng = np.random.default_rng(seed)
    train = rng.integers(0, 3, (n_users, n_items)) * rng.integers(0, 2, (n_users, n_items))
    assert_same(*both(*columns_of(train), int(rng.integers(1, n_items + 1)), float(rng.integers(0, 3))))


def test_texts_are_added_block_by_block(monkeypatch):
    rng = np.random.default_rng(0)
    columns, lengths = columns_of(sp.random(60, 90, 0.05, "csr", np.float32, random_state=rng).sign())
    vectors = rng.standard_normal((90, 8)).astype(np.float32)
    monkeypatch.setattr(column_neighbours, "BLOCK", 40)
    assert_same(*both(columns, np.sqrt(lengths**2 + 7), 11, 1.0, (vectors, 7.0)))


def test_products_that_float32_cannot_hold_are_no_neighbours():
    """Sums that stay 0 are met again and again."""
    found, expected = both(*columns_of(np.full((9, 5), 1e-30, np.float32)), 3)
    assert_same(found, expected)
    assert not len(found[0])


def test_any_number_of_threads_finds_the_same():
    columns, lengths = columns_of(sp.random(300, 900, 0.05, "csr", np.float32, random_state=0))
    before, found = torch.get_num_threads(), []
    try:
        for n in (1, 2, 7):
            torch.set_num_threads(n)
            found.append(column_neighbours.find(columns, lengths, 12, 0.0))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert_same(in_order(other), in_order(found[0]))


def test_item_knn_without_a_compiler_is_the_same(monkeypatch):
    rng = np.random.default_rng(3)
    train = sp.random(80, 120, 0.1, "csr", np.float32, random_state=rng)
    vectors = rng.standard_normal((120, 6))
    made = [
        lambda: ItemKNN(9, 2.0, normalize=True, unit_users=True),
        lambda: ItemKNN(200, item_vectors=vectors, text_weight=3.0),
    ]
    found = [make().fit(train).weights for make in made]
    monkeypatch.setattr(column_neighbours, "load", lambda: None)
    for make, weights in zip(made, found, strict=True):
        expected = make().fit(train).weights
        assert_same(in_order(weights), in_order(expected))


def test_neighbours_that_do_not_fit_are_refused(monkeypatch):
    monkeypatch.setattr(column_neighbours.memory, "available_bytes", lambda: 100)
    with pytest.raises(InputError, match=r"^7 neighbours of each of 9 items needs "):
        ItemKNN(7).fit(sp.csr_matrix(np.eye(9)))
