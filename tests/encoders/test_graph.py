"""A knowledge graph: counts against a dense oracle, embeddings against their formulas, ranks against a
loop.
"""

import numpy as np
import pandas as pd
import pytest

from recsys_lib.core.errors import InputError
from recsys_lib.data.datasets import knowledge
from recsys_lib.encoders import graph as graphs

FILMS = ["1", "2", "3", "4", "5"]


def toy():
    """Four linked films: two by one director, three with one actor, stated from both sides in part."""
    triples = pd.DataFrame(
        [
            ("m1", "film.film.directed_by", "lee"), ("lee", "film.director.film", "m1"),
            ("lee", "film.director.film", "m2"), ("m1", "film.film.actor", "ann"),
            ("m2", "film.film.actor", "ann"), ("m3", "film.film.actor", "ann"),
            ("m4", "film.film.actor", "bob"), ("m3", "film.film.sequel", "m4"),
        ],
        columns=["head", "relation", "tail"],
    )  # fmt: skip
    links = pd.DataFrame({"item": ["1", "2", "3", "4", "9"], "entity": ["m1", "m2", "m3", "m4", "m1"]})
    return knowledge.from_tables(triples, links, FILMS)


def names(graph):
    return {(graph.entities[h], graph.relations[r], graph.entities[t]) for h, r, t in graph.triples.tolist()}


def test_triples_stated_from_both_sides_count_once():
    graph = toy()
    assert len(graph.triples) == 7 and graph.n_raw == 8
    assert ("m2", "film.film.directed_by", "lee") in names(graph)
    assert [graph.entities[e] for e in graph.item_entity[:4]] == ["m1", "m2", "m3", "m4"]
    assert graph.item_entity[4] == -1 and "4 of 5 items" in repr(graph)
    np.testing.assert_array_equal(graph.of_items([4, 0]).item_entity, [-1, graph.item_entity[0]])


def test_the_graph_of_movielens_has_its_published_size():
    graph = knowledge.load_knowledge([str(i) for i in range(1, 1683)])
    assert graph.n_raw == 91_631 and (graph.item_entity >= 0).sum() == 1_598
    assert len({tuple(row) for row in graph.triples.tolist()}) == len(graph.triples) < 91_631
    assert not set(knowledge.INVERSES) & set(graph.relations)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t, k: (t.drop(columns="tail"), k), "no column 'tail'"),
        (lambda t, k: (t, k.rename(columns={"entity": "x"})), "no column 'entity'"),
        (lambda t, k: (t, pd.concat([k, k])), "has two entities"),
    ],
)
def test_tables_of_another_form_are_refused(change, message):
    triples = pd.DataFrame({"head": ["a"], "relation": ["r"], "tail": ["b"]})
    links = pd.DataFrame({"item": ["1"], "entity": ["a"]})
    with pytest.raises(InputError, match=message):
        knowledge.from_tables(*change(triples, links), FILMS)


def test_counts_weigh_shared_neighbours_by_their_rarity():
    counts = graphs.neighbour_counts(toy()).toarray()
    assert counts.shape == (5, 2)  # lee (two films) and ann (three); bob and the sequel have one film each
    lee, ann = np.log(4 / 2), np.log(4 / 3)
    expected = np.array([[ann, lee], [ann, lee], [ann, 0], [0, 0], [0, 0]])
    lengths = np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(counts, expected / np.where(lengths, lengths, 1), atol=1e-6)
    assert graphs.neighbour_counts(toy(), 1).shape[1] == 5
    with pytest.raises(InputError, match="min_items=0"):
        graphs.neighbour_counts(toy(), 0)


def test_compact_vectors_keep_the_products():
    counts = graphs.neighbour_counts(
        knowledge.load_knowledge([str(i) for i in range(1, 1683)]).of_items(np.arange(0, 1682, 8))
    )
    products = (counts @ counts.T).toarray()
    whole, short = graphs.compact(counts), graphs.compact(counts, 50)
    np.testing.assert_allclose(whole @ whole.T, products, atol=1e-5)
    assert short.shape == (211, 50)
    assert 0 < np.abs(short @ short.T - products).mean() < 0.05
    empty = np.diff(counts.indptr) == 0
    assert empty.any() and not whole[empty].any() and not short[empty].any()
    with pytest.raises(InputError, match="dimension=0"):
        graphs.compact(counts, 0)


@pytest.mark.parametrize("kind", graphs.KINDS)
def test_scores_follow_the_formula(kind):
    rng = np.random.default_rng(0)
    entities, relations = rng.standard_normal((6, 4)), rng.standard_normal((2, 4))
    model = graphs.Embedding(kind, entities.astype(np.float32), relations.astype(np.float32))
    triples = np.array([[0, 1, 2], [3, 0, 5]])

    def plausible(h, r, t):
        h, r, t = entities[h], relations[r], entities[t]
        if kind == "transe":
            return -((h + r - t) ** 2).sum()
        parts = [v[:2] + 1j * v[2:] for v in (h, r, t)]
        return (parts[0] * parts[1] * parts[2].conj()).sum().real

    tails = [[plausible(h, r, e) for e in range(6)] for h, r, _ in triples]
    heads = [[plausible(e, r, t) for e in range(6)] for _, r, t in triples]
    np.testing.assert_allclose(model.scores(triples, "tail"), tails, atol=1e-5)
    np.testing.assert_allclose(model.scores(triples, "head"), heads, atol=1e-5)


def groups(n=40, kinds=8):
    """Eight kinds of films; each of three relations leads a film to the entity of its kind there."""
    films, relations = np.arange(n), range(3)
    triples = [np.column_stack([films, np.full(n, r), n + kinds * r + films % kinds]) for r in relations]
    entities = tuple(f"e{i:02d}" for i in range(n + 3 * kinds))
    return knowledge.Graph(np.concatenate(triples), entities, ("a", "b", "c"), np.array([3, -1]), 3 * n)


@pytest.mark.parametrize("kind", graphs.KINDS)
def test_embeddings_rank_true_triples_far_above_chance(kind):
    graph = groups()
    train, held = graphs.hold_out(graph, 0.1, seed=1)
    assert len(held) == 12 and len(train) == 108
    options = {"dimension": 16, "epochs": 40, "negatives": 20, "batch": 16, "learning_rate": 0.03}
    model = graphs.embed(graph, kind, triples=train, **options)
    learned = graphs.link_prediction(graph, model, train, held)
    frequent = graphs.link_prediction(graph, None, train, held)
    assert learned["mrr"] > 0.6 > 0.2 > frequent["mrr"]
    again = graphs.embed(graph, kind, triples=train, **options)
    np.testing.assert_array_equal(again.entities, model.entities)
    vectors = model.of_items(graph)
    np.testing.assert_array_equal(vectors, [model.entities[3], np.zeros(16)])


def test_ranks_leave_other_true_triples_out():
    graph = knowledge.Graph(
        np.array([[0, 0, 1], [0, 0, 2], [3, 0, 1]]), ("a", "b", "c", "d"), ("r",), np.array([0]), 3
    )
    train, held = graph.triples[:2], graph.triples[2:]
    # Tails of d: b and c once each in train, b is the answer: c ties. Heads of b: a is true already.
    np.testing.assert_array_equal(graphs.filtered_ranks(None, graph, held, train), [1.5, 2.0])


@pytest.mark.parametrize(
    "options",
    [{"kind": "rotate"}, {"dimension": 0}, {"kind": "complex", "dimension": 5}, {"learning_rate": 0.0}],
)
def test_arguments_out_of_range_are_refused(options):
    with pytest.raises(InputError):
        graphs.embed(groups(), **options)
    with pytest.raises(InputError, match="fraction=2"):
        graphs.hold_out(groups(), 2)
