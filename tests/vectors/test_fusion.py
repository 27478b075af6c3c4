"""Blocks of vectors joined: cosines by their definition, canonical correlation against scikit-learn's."""

import numpy as np
import pytest

from recsys_lib.core.errors import InputError
from recsys_lib.vectors import fusion, geometry, similarity


@pytest.fixture
def blocks():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((30, 6)).astype(np.float32), rng.standard_normal((30, 4)).astype(np.float32)
    b[5:8] = 0
    return [a, b]


def test_the_cosine_of_joined_blocks_is_the_weighted_mean_of_theirs(blocks):
    both = fusion.joined(blocks, [1.0, 3.0])
    a, b = (similarity.normalize(block) @ similarity.normalize(block).T for block in blocks)
    unit = similarity.normalize(both)
    has = fusion.present(blocks[1])
    np.testing.assert_allclose(
        (unit @ unit.T)[np.ix_(has, has)], ((a + 3 * b) / 4)[np.ix_(has, has)], atol=1e-5
    )
    # An item without the second block is compared by the first, and less near to those that have both.
    np.testing.assert_allclose((unit @ unit.T)[5, 6], a[5, 6], atol=1e-6)
    np.testing.assert_allclose((unit @ unit.T)[5, 0], a[5, 0] / 2, atol=1e-6)
    assert fusion.joined(blocks, [1, 0]).shape == (30, 6)


def test_maps_are_fitted_on_known_items_that_have_the_block(blocks):
    known = np.arange(30) < 20
    white = fusion.mapped(blocks[1], known)
    assert not white[5:8].any() and white[8:].any(axis=1).all()
    by_hand = geometry.whiten(blocks[1][known & fusion.present(blocks[1])]).apply(blocks[1])
    np.testing.assert_array_equal(white[8:], by_hand[8:])
    np.testing.assert_array_equal(fusion.mapped(blocks[1], np.zeros(30, bool)), blocks[1])


def test_shuffling_moves_vectors_among_those_that_have_one(blocks):
    moved = fusion.shuffled(blocks[1], seed=3)
    np.testing.assert_array_equal(fusion.present(moved), fusion.present(blocks[1]))
    assert (moved != blocks[1]).any(axis=1).sum() > 20
    np.testing.assert_allclose(np.sort(moved, axis=0), np.sort(blocks[1], axis=0))
    assert (blocks[1][5:8] == 0).all()


@pytest.mark.parametrize(
    ("shares", "message"),
    [([1.0], "one of at least 0 for each"), ([1.0, -1.0], "at least 0"), ([0.0, 0.0], "one above 0"),
     ([1.0, np.nan], "at least 0")],
)  # fmt: skip
def test_shares_out_of_range_are_refused(blocks, shares, message):
    with pytest.raises(InputError, match=message):
        fusion.joined(blocks, shares)
    with pytest.raises(InputError, match="blocks of shapes"):
        fusion.joined([blocks[0], blocks[1][:3]])


def views(n=400):
    """Two views of two common directions, each with noise of its own."""
    rng = np.random.default_rng(0)
    common = rng.standard_normal((n, 2))
    return common, [
        (common @ rng.standard_normal((2, d)) + 0.3 * rng.standard_normal((n, d))).astype(np.float32)
        for d in (7, 5)
    ]


def test_canonical_correlation_agrees_with_scikit_learn():
    from sklearn.cross_decomposition import CCA

    common, (a, b) = views()
    ours = fusion.canonical([a, b], np.ones(len(a), bool), 2, 1e-6)
    theirs = CCA(2, max_iter=2000).fit(a, b)
    x, y = theirs.transform(a, b)
    expected = [np.corrcoef(x[:, i], y[:, i])[0, 1] for i in range(2)]
    # Of two views with correlation c the shared part is (1 + c) / 2.
    np.testing.assert_allclose(2 * ours.agreement - 1, expected, atol=0.01)
    # What is found is the common part.
    mapped = ours.apply([a, b])
    residual = common - mapped @ np.linalg.lstsq(mapped, common, rcond=None)[0]
    assert residual.var() / common.var() < 0.05


def test_canonical_maps_serve_items_that_lack_a_view():
    _, (a, b) = views()
    known = np.arange(400) < 300
    fitted = fusion.canonical([a, b], known, 2)
    whole = fitted.apply([a, b])
    partly = b.copy()
    partly[300:] = 0
    one = fitted.apply([a, partly])
    assert np.corrcoef(whole[300:, 0], one[300:, 0])[0, 1] > 0.8
    assert not fitted.apply([a * 0, b * 0]).any()
    with pytest.raises(InputError, match="was fitted on"):
        fitted.apply([b, a])
    with pytest.raises(InputError, match="more items than dimensions"):
        fusion.canonical([a, b], known, 300)
