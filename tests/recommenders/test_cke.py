"""Items placed by a graph as well: a graph that tells the groups apart helps items that few have."""

import numpy as np
import pytest
import scipy.sparse as sp

from recsys_lib import evaluation
from recsys_lib.core.errors import InputError
from recsys_lib.data.datasets.knowledge import Graph
from recsys_lib.recommenders import CKE, load


@pytest.fixture(scope="module")
def world():
    """60 users of two groups; 40 items, each related to the entity of its group; every user has ten of 20."""
    rng = np.random.default_rng(0)
    train, test = np.zeros((60, 40), np.float32), np.zeros((60, 40), np.float32)
    for user in range(60):
        own = rng.permutation(np.arange(user % 2, 40, 2))
        train[user, own[:6]] = test[user, own[6:10]] = 1
    triples = np.array([[item, 0, 40 + item % 2] for item in range(40)])
    names = tuple(f"e{i:02d}" for i in range(42))
    item_entity = np.where(np.arange(40) < 38, np.arange(40), -1)
    graph = Graph(triples, names, ("group",), item_entity, 40)
    return sp.csr_matrix(train), sp.csr_matrix(test), graph


OPTIONS = {"factors": 8, "learning_rate": 0.05, "iterations": 25, "batch": 128}


def ndcg(model, world):
    train, test, _ = world
    return evaluation.evaluate(model.fit(train), train, test, 10).mean()["ndcg"]


def test_the_groups_are_learned_with_and_without_the_graph(world):
    plain = ndcg(CKE(world[2], knowledge=0.0, regularization=0.01, **OPTIONS), world)
    with_graph = ndcg(CKE(world[2], knowledge=1.0, regularization=0.01, **OPTIONS), world)
    chance = 4 / 34
    assert plain > 2 * chance and with_graph > 2 * chance


def test_items_of_one_entity_lie_together_only_with_the_graph(world):
    train, _, graph = world
    model = CKE(graph, knowledge=3.0, **OPTIONS).fit(train)
    v = model.item_factors[:38] / np.linalg.norm(model.item_factors[:38], axis=1, keepdims=True)
    same = np.equal.outer(np.arange(38) % 2, np.arange(38) % 2)
    cosines = v @ v.T
    assert cosines[same].mean() > cosines[~same].mean() + 0.2


def test_it_repeats_and_is_saved(world, tmp_path):
    train, _, graph = world
    model, again = (CKE(graph, **OPTIONS, seed=3).fit(train) for _ in range(2))
    np.testing.assert_array_equal(model.item_factors, again.item_factors)
    model.save(tmp_path / "cke")
    np.testing.assert_array_equal(load(tmp_path / "cke").score(train[:4]), model.score(train[:4]))
    assert not model.score(sp.csr_matrix((1, 40), dtype=np.float32)).any()


@pytest.mark.parametrize(
    "options", [{"factors": 0}, {"learning_rate": 0.0}, {"knowledge": -1.0}, {"batch": 0}, {"iterations": 0}]
)
def test_arguments_out_of_range_are_refused(world, options):
    with pytest.raises(InputError):
        CKE(world[2], **options)


def test_another_number_of_items_is_refused(world):
    with pytest.raises(InputError, match="expected as many"):
        CKE(world[2]).fit(sp.csr_matrix(np.ones((3, 4), np.float32)))
