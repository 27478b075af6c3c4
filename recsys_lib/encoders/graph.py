"""Items of a knowledge graph to vectors: counts of shared neighbours, and embeddings by TransE and
ComplEx.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from scipy import linalg

from recsys_lib.core import memory
from recsys_lib.core.errors import InputError
from recsys_lib.data.datasets.knowledge import Graph

KINDS = ("transe", "complex")
# Scores of one block of queries against all entities.
BLOCK_SCORES = 16 * 2**20


# ---------------------------------------------------------------- counts


def neighbour_counts(graph: Graph, min_items: int = 2) -> sp.csr_matrix:
    """TF-IDF over what an item is related to, CSR float32 ``[n_items, features]``, rows of length 1 or 0.

    A feature is a relation, a side of it and the entity there ("is directed by Ang Lee"). Those of fewer than
    ``min_items`` items say nothing about two items and are left out; the others weigh ``ln(items / items with
    it)``.

    Raises:
        InputError: ``min_items`` below 1.
    """
    if min_items < 1:
        raise InputError(f"min_items={min_items!r}: expected at least 1")
    head, relation, tail = graph.triples.T
    n, side = len(graph.entities), len(graph.relations)
    ends = np.concatenate([head, tail])
    features = np.concatenate([relation * n + tail, (side + relation) * n + head])
    of_entity = np.full(n, -1, dtype=np.int64)
    known = np.flatnonzero(graph.item_entity >= 0)
    # Two items of one entity share its neighbours.
    order, of_entity_rows = np.unique(graph.item_entity[known], return_inverse=True)
    of_entity[order] = np.arange(len(order))
    at = of_entity[ends] >= 0
    _, column = np.unique(features[at], return_inverse=True)
    ones = np.ones(int(at.sum()), dtype=np.float32)
    per_entity = sp.csr_matrix(
        (ones, (of_entity[ends[at]], column)), shape=(len(order), column.max(initial=-1) + 1)
    )
    per_entity.data[:] = 1
    take = sp.csr_matrix(
        (np.ones(len(known), np.float32), (known, of_entity_rows)), shape=(len(graph.item_entity), len(order))
    )
    counts = sp.csr_matrix(take @ per_entity)
    frequency = np.asarray((counts != 0).sum(axis=0)).ravel()
    kept = np.flatnonzero(frequency >= min_items)
    weights = np.log(len(known) / frequency[kept])
    found = sp.csr_matrix(counts[:, kept] @ sp.diags(weights))
    lengths = np.sqrt(np.asarray(found.multiply(found).sum(axis=1)).ravel())
    return sp.csr_matrix(sp.diags(1 / np.where(lengths > 0, lengths, 1)) @ found, dtype=np.float32)


def compact(counts: sp.csr_matrix, dimension: int | None = None) -> np.ndarray:
    """Dense vectors ``[n, d]`` with the same products as the rows of ``counts``, or with their best
    approximation in ``dimension`` numbers; rows without counts are 0.

    From the eigenvectors of the matrix of products ``[n, n]``: for catalogues of some thousand items.

    Raises:
        InputError: ``dimension`` outside of 1 to n; too little memory.
    """
    n = counts.shape[0]
    if dimension is not None and not 1 <= dimension <= n:
        raise InputError(f"dimension={dimension!r}: expected 1 to {n}")
    memory.require(24.0 * n * n, f"products of {n:,} items with each other", "give a smaller catalogue")
    products = (counts @ counts.T).toarray().astype(np.float64)
    largest = None if dimension is None else [n - dimension, n - 1]
    values, vectors = linalg.eigh(products, subset_by_index=largest, overwrite_a=True)
    values, vectors = values[::-1], vectors[:, ::-1]
    rank = int((values > 1e-9 * max(values[0], 1e-30)).sum())
    kept = max(1, min(rank, dimension or n))
    found = (vectors[:, :kept] * np.sqrt(np.maximum(values[:kept], 0))).astype(np.float32)
    # A row without counts has no vector; what the eigenvectors leave there is rounding.
    found[np.diff(counts.indptr) == 0] = 0
    return found


# ---------------------------------------------------------------- embeddings


@dataclass(frozen=True, eq=False)
class Embedding:
    """Vectors of entities ``[n, d]`` and relations ``[r, d]``; ComplEx holds real parts, then imaginary
    ones.
    """

    kind: str
    entities: np.ndarray
    relations: np.ndarray

    def of_items(self, graph: Graph) -> np.ndarray:
        """Vectors of a catalogue's items, ``[n_items, d]``, 0 for those that the graph does not know."""
        known = graph.item_entity >= 0
        return np.where(known[:, None], self.entities[np.maximum(graph.item_entity, 0)], np.float32(0))

    def scores(self, triples: np.ndarray, side: str) -> np.ndarray:
        """How plausible every entity is as the ``side`` ("tail" or "head") of the triples, ``[n,
        entities]``.
        """
        import torch

        entities, relations = (torch.from_numpy(a) for a in (self.entities, self.relations))
        head, relation, tail = torch.from_numpy(triples).T
        known = head if side == "tail" else tail
        query = _query(self.kind, entities[known], relations[relation], side)
        return _plausible(self.kind, query, entities).numpy()


def _query(kind: str, known, relation, side: str):
    """What a fitting entity is compared with, ``[b, d]``."""
    import torch

    if kind == "transe":
        return known + relation if side == "tail" else known - relation
    (a, b), (c, d) = known.chunk(2, dim=1), relation.chunk(2, dim=1)
    # Re⟨h, r, t̄⟩ as a product with t: h·r; as a product with h: r̄·t.
    if side == "tail":
        return torch.cat([a * c - b * d, a * d + b * c], dim=1)
    return torch.cat([a * c + b * d, b * c - a * d], dim=1)


def _plausible(kind: str, query, entities):
    """Scores ``[b, n]``: products, or minus the squared distance."""
    products = query @ entities.T
    if kind == "complex":
        return products
    return 2 * products - (query * query).sum(1, keepdim=True) - (entities * entities).sum(1)


def embed(
    graph: Graph,
    kind: str = "transe",
    dimension: int = 64,
    epochs: int = 20,
    negatives: int = 256,
    batch: int = 1024,
    learning_rate: float = 0.01,
    seed: int = 0,
    triples: np.ndarray | None = None,
) -> Embedding:
    """Vectors such that true triples are more plausible than those with another head or tail, drawn by
    chance.

    ``transe``: head + relation ≈ tail (Bordes et al., NeurIPS 2013); ``complex``: a product of complex
    vectors (Trouillon et al., ICML 2016). Each batch shares its ``negatives``, and the loss is the cross
    entropy of the true entity among them. ``triples``: those to learn from, all of the graph's if None.
    Seeded.

    Raises:
        InputError: an unknown kind, a number below 1, an odd dimension of ``complex``.
    """
    if kind not in KINDS:
        raise InputError(f"kind={kind!r}: expected one of {', '.join(KINDS)}")
    if min(dimension, epochs, negatives, batch) < 1 or not learning_rate > 0:
        raise InputError("dimension, epochs, negatives, batch, learning_rate: expected at least 1, above 0")
    if kind == "complex" and dimension % 2:
        raise InputError(f"dimension={dimension!r}: ComplEx has a real and an imaginary half, expected even")
    import torch

    facts = torch.from_numpy(graph.triples if triples is None else triples)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        tables = [
            torch.nn.Parameter(torch.randn(rows, dimension) / dimension**0.5)
            for rows in (len(graph.entities), len(graph.relations))
        ]
        # Gradients of the few rows of a batch only; Adam's moments of the others stay.
        optimizer = torch.optim.SparseAdam(tables, learning_rate)
        for _ in range(epochs):
            for chunk in facts[torch.randperm(len(facts))].split(batch):
                drawn = torch.randint(len(graph.entities), (negatives,))
                optimizer.zero_grad()
                _loss(kind, tables, chunk, drawn).backward()
                optimizer.step()
    entities, relations = (table.detach().numpy() for table in tables)
    return Embedding(kind, entities, relations)


def _loss(kind: str, tables, chunk, drawn):
    import torch
    from torch.nn import functional

    entities, relations = tables
    head, relation, tail = chunk.T
    loss = torch.zeros(())
    for side, known, sought in (("tail", head, tail), ("head", tail, head)):
        known_rows, kinds = _rows(entities, known), _rows(relations, relation)
        query, own = _query(kind, known_rows, kinds, side), _rows(entities, sought)
        if kind == "complex":
            true = (query * own).sum(1, keepdim=True)
        else:
            true = -((query - own) ** 2).sum(1, keepdim=True)
        others = _plausible(kind, query, _rows(entities, drawn))
        # A negative that is the true entity is none.
        others = others.masked_fill(drawn[None, :] == sought[:, None], float("-inf"))
        logits = torch.cat([true, others], dim=1)
        loss = loss + functional.cross_entropy(logits, torch.zeros_like(head))
    return loss


def _rows(table, chosen):
    from torch.nn import functional

    return functional.embedding(chosen, table, sparse=True)


# ---------------------------------------------------------------- is the graph learned


def hold_out(graph: Graph, fraction: float = 0.05, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Triples to learn from and held-out ones, whose head and tail both occur among the former.

    Raises:
        InputError: a fraction outside of (0, 1).
    """
    if not 0 < fraction < 1:
        raise InputError(f"fraction={fraction!r}: expected a fraction between 0 and 1")
    degree = np.bincount(graph.triples[:, [0, 2]].ravel(), minlength=len(graph.entities))
    wanted, held = round(fraction * len(graph.triples)), np.zeros(len(graph.triples), dtype=bool)
    for row in np.random.default_rng(seed).permutation(len(graph.triples)).tolist():
        head, _, tail = graph.triples[row]
        if held.sum() >= wanted:
            break
        if degree[head] > 1 and degree[tail] > 1:
            held[row] = True
            degree[head] -= 1
            degree[tail] -= 1
    return graph.triples[~held], graph.triples[held]


def filtered_ranks(
    embedding: Embedding | None, graph: Graph, held: np.ndarray, train: np.ndarray
) -> np.ndarray:
    """The rank of the true entity of every held-out triple among all entities that do not make another true
    triple: tails, then heads, ``[2 n]``; equal scores share the mean rank.

    ``embedding`` None ranks by how often an entity is on that side of the relation in ``train``: what no
    vector is needed for.
    """
    ranks = []
    block = max(1, BLOCK_SCORES // len(graph.entities))
    for side, known_column, sought_column in (("tail", 0, 2), ("head", 2, 0)):
        true = _true_entities(graph.triples, known_column, sought_column)
        often = _frequencies(graph, train, sought_column)
        for start in range(0, len(held), block):
            rows = held[start : start + block]
            scores = often[rows[:, 1]] if embedding is None else embedding.scores(rows, side)
            for row, one in zip(rows, scores, strict=True):
                own = one[row[sought_column]]
                one[true[(int(row[1]), int(row[known_column]))]] = -np.inf
                ranks.append(1 + (one > own).sum() + (one == own).sum() / 2)
    return np.array(ranks)


def _true_entities(triples: np.ndarray, known: int, sought: int) -> dict[tuple[int, int], list[int]]:
    found: dict[tuple[int, int], list[int]] = {}
    for row in triples.tolist():
        found.setdefault((row[1], row[known]), []).append(row[sought])
    return found


def _frequencies(graph: Graph, train: np.ndarray, column: int) -> np.ndarray:
    """How often each entity is on one side of each relation, ``[relations, entities]``."""
    shape = (len(graph.relations), len(graph.entities))
    counts = np.zeros(shape, dtype=np.float32)
    np.add.at(counts, (train[:, 1], train[:, column]), 1)
    return counts


def link_prediction(
    graph: Graph, embedding: Embedding | None, train: np.ndarray, held: np.ndarray
) -> dict[str, float]:
    """Filtered mean reciprocal rank and the fraction of ranks up to 10, beside what random ranks give.

    ``embedding`` None: by frequency, see ``filtered_ranks``.
    """
    ranks = filtered_ranks(embedding, graph, held, train)
    n = len(graph.entities)
    return {
        "mrr": float((1 / ranks).mean()),
        "hits@10": float((ranks <= 10).mean()),
        "random mrr": float((1 / np.arange(1, n + 1)).mean()),
        "triples": float(len(held)),
    }
