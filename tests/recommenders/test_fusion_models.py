"""Recommenders of several blocks: one block is the model of one, and a block of noise is not trusted."""

import numpy as np
import pytest
import scipy.sparse as sp

from recsys_lib.core.errors import InputError
from recsys_lib.recommenders import EASEMap, GatedMLP, JoinedKernelMap, TextMLP, load
from recsys_lib.vectors import fusion, similarity


@pytest.fixture(scope="module")
def world():
    """Users like the items along a direction of their own; a second block is noise, a third has gaps."""
    rng = np.random.default_rng(0)
    items = rng.standard_normal((60, 6)).astype(np.float32)
    liked = similarity.top_k(rng.standard_normal((80, 6)).astype(np.float32), items, 12)[0]
    rows = np.repeat(np.arange(80), 12)
    train = sp.csr_matrix((np.ones(960, np.float32), (rows, liked.ravel())), shape=(80, 60))
    noise = rng.standard_normal((60, 8)).astype(np.float32)
    gaps = items @ rng.standard_normal((6, 5)).astype(np.float32)
    gaps[::4] = 0
    return train, items, noise, gaps


def test_one_block_is_the_map_of_one(world):
    train, items, *_ = world
    options = {"regularization": 0.3, "ease_regularization": 20.0, "width": 0.6}
    alone = EASEMap(items, **options).fit(train)
    for join in ("product", "sum"):
        joint = JoinedKernelMap([items], join=join, **options).fit(train)
        np.testing.assert_allclose(joint.weights, alone.weights, atol=1e-5)


def test_the_product_is_the_map_of_the_joined_vectors(world):
    train, items, noise, gaps = world
    shares = [1.0, 0.5, 2.0]
    options = {"regularization": 0.3, "ease_regularization": 20.0, "width": 0.6}
    joint = JoinedKernelMap([items, noise, gaps], shares, **options).fit(train)
    alone = EASEMap(fusion.joined([items, noise, gaps], shares), **options).fit(train)
    np.testing.assert_allclose(joint.weights, alone.weights, atol=1e-5)


def test_the_sum_is_the_mean_of_kernels(world):
    import torch

    _, items, noise, gaps = world
    model = JoinedKernelMap([items, noise, gaps], [1.0, 2.0, 0.0], "sum", width=0.8)
    warm = np.arange(60)
    found = model._similarities(torch.from_numpy(model.item_vectors), warm).numpy()
    kernels = [np.exp((u @ u.T - 1) / 0.64) for u in map(similarity.normalize, (items, noise))]
    np.testing.assert_allclose(found, (kernels[0] + 2 * kernels[1]) / 3, atol=1e-5)
    np.testing.assert_allclose(np.diag(found), 1, atol=1e-5)


def test_items_without_a_block_are_placed_by_the_rest(world):
    train, items, _, gaps = world
    model = JoinedKernelMap([items, gaps], join="sum", ease_regularization=20.0).fit(train)
    nothing = JoinedKernelMap([items * 0, gaps], join="sum", ease_regularization=20.0).fit(train)
    assert np.isfinite(model.weights).all() and np.isfinite(nothing.weights).all()
    # Items with neither block all get the mean column.
    np.testing.assert_allclose(nothing.weights[:, 0], nothing.weights[:, 4], atol=1e-4)


def test_the_gate_closes_for_noise_and_for_what_is_absent(world):
    train, items, noise, gaps = world
    sizes = {"hidden": 16, "output": 8, "negatives": 16}
    options = sizes | {"epochs": 60, "learning_rate": 0.02, "progress": False}
    model = GatedMLP([items, noise, gaps], **options).fit(train)
    assert model.gates.shape == (60, 3)
    np.testing.assert_allclose(model.gates.sum(axis=1), 1, atol=1e-5)
    assert not model.gates[::4, 2].any()
    assert model.gates[:, 0].mean() > model.gates[:, 1].mean()


def test_saved_models_score_the_same(world, tmp_path):
    train, items, noise, _ = world
    models = {
        "map": JoinedKernelMap([items, noise], [1.0, 0.5], "sum", ease_regularization=20.0),
        "mlp": GatedMLP([items, noise], hidden=8, output=4, epochs=2, progress=False),
        "text": TextMLP(items, hidden=8, output=4, epochs=2, progress=False),
    }
    for name, model in models.items():
        model.fit(train).save(tmp_path / name)
        np.testing.assert_array_equal(load(tmp_path / name).score(train[:5]), model.score(train[:5]))


@pytest.mark.parametrize("options", [{"shares": [1.0]}, {"join": "mean"}, {"width": 0.0}])
def test_arguments_out_of_range_are_refused(world, options):
    _, items, noise, _ = world
    with pytest.raises(InputError):
        JoinedKernelMap([items, noise], **options)
