"""Matrix factorization whose items also have a place in a knowledge graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from recsys_lib.core.errors import InputError
from recsys_lib.recommenders import checks
from recsys_lib.recommenders.factorization import _Factors

if TYPE_CHECKING:
    from recsys_lib.data.datasets.knowledge import Graph


class CKE(_Factors):
    """Pairwise ranking in which an item's vector is its own plus that of its entity, learned with the graph.

    ``score(u, i) = u · (v_i + e_i)``; the entities' vectors also learn that head + relation is nearer to the
    true tail than to one drawn by chance, with the weight ``knowledge``; with 0 there are no entities and
    this is BPR. The structural half of Zhang et al., "Collaborative Knowledge Base Embedding for Recommender
    Systems", KDD 2016, with TransE in place of TransR. Negatives are items that the user has not. ``score``
    places a user at the mean of the history's item vectors, ``scores`` at what training gave. Seeded.
    """

    settings = ("factors", "learning_rate", "regularization", "knowledge", "iterations", "batch", "seed")

    def __init__(
        self,
        graph: Graph,
        factors: int = 64,
        learning_rate: float = 0.005,
        regularization: float = 1e-4,
        knowledge: float = 1.0,
        iterations: int = 30,
        batch: int = 2048,
        seed: int = 0,
    ):
        super().__init__(factors, iterations, seed)
        if not learning_rate > 0 or regularization < 0 or knowledge < 0 or batch < 1:
            raise InputError(
                f"learning_rate={learning_rate!r}, regularization={regularization!r}, "
                f"knowledge={knowledge!r}, batch={batch!r}: expected above 0, at least 0, 0 and 1"
            )
        self.graph, self.learning_rate, self.regularization = graph, learning_rate, regularization
        self.knowledge, self.batch = knowledge, batch

    def _fit(self, train: sp.csr_matrix, times: sp.csr_matrix | None) -> None:
        import torch

        checks.vectors_for(train, self.graph.item_entity)
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            tables = _tables(train.shape, self.graph, self.factors)
            small = torch.optim.Adam([tables["users"], tables["items"]], self.learning_rate)
            large = torch.optim.SparseAdam([tables["entities"], tables["relations"]], self.learning_rate)
            for _ in range(self.iterations if train.nnz else 0):
                self._epoch(tables, (small, large), train)
        items = tables["items"].detach()
        if self.knowledge:
            items = items + _entities_of(tables, torch.arange(train.shape[1]), self.graph).detach()
        self.user_factors, self.item_factors = tables["users"].detach().numpy(), items.numpy()

    def _epoch(self, tables: Any, optimizers: Any, train: sp.csr_matrix) -> None:
        """Every interaction once, and with each batch its part of the triples."""
        import torch

        coo = train.tocoo()
        order = torch.randperm(coo.nnz)
        users, items = (torch.from_numpy(x.astype(np.int64))[order] for x in (coo.row, coo.col))
        steps = -(-coo.nnz // self.batch)
        facts = torch.from_numpy(self.graph.triples)[torch.randperm(len(self.graph.triples))].chunk(steps)
        seen = torch.from_numpy(np.sort(coo.row.astype(np.int64) * train.shape[1] + coo.col))
        for step, (own, good) in enumerate(
            zip(users.split(self.batch), items.split(self.batch), strict=True)
        ):
            for optimizer in optimizers:
                optimizer.zero_grad()
            loss = self._ranking_loss(tables, own, good, _unseen(own, seen, train.shape[1]))
            if self.knowledge and step < len(facts):
                loss = loss + self.knowledge * _graph_loss(tables, facts[step])
            loss.backward()
            for optimizer in optimizers[: 2 if self.knowledge else 1]:
                optimizer.step()

    def _ranking_loss(self, tables: Any, users: Any, good: Any, bad: Any) -> Any:
        from torch.nn import functional

        user = tables["users"][users]
        both = [tables["items"][items] for items in (good, bad)]
        if self.knowledge:
            both = [v + _entities_of(tables, i, self.graph) for v, i in zip(both, (good, bad), strict=True)]
        margin = (user * (both[0] - both[1])).sum(1)
        size = sum((v**2).sum(1) for v in (user, *both)).mean()
        return functional.softplus(-margin).mean() + self.regularization * size

    def factors_of(self, histories: sp.csr_matrix) -> np.ndarray:
        total = np.asarray(histories.sum(axis=1))
        means = np.asarray(histories @ self.item_factors) / np.where(total > 0, total, 1)
        return means.astype(np.float32)


def _tables(shape: tuple[int, int], graph: Graph, factors: int) -> dict[str, Any]:
    import torch

    rows = {"users": shape[0], "items": shape[1]}
    rows |= {"entities": len(graph.entities), "relations": len(graph.relations)}
    return {name: torch.nn.Parameter(0.1 * torch.randn(n, factors)) for name, n in rows.items()}


def _entities_of(tables: Any, items: Any, graph: Graph) -> Any:
    """Vectors of the items' entities, 0 for items that the graph does not know."""
    import torch
    from torch.nn import functional

    entity = torch.from_numpy(graph.item_entity)[items]
    vectors = functional.embedding(entity.clamp(min=0), tables["entities"], sparse=True)
    return vectors * (entity >= 0)[:, None]


def _graph_loss(tables: Any, facts: Any) -> Any:
    import torch
    from torch.nn import functional

    entities, relations = tables["entities"], tables["relations"]
    head, relation, tail = facts.T
    drawn = torch.randint(len(entities), (len(facts),))
    start = functional.embedding(head, entities, sparse=True)
    start = start + functional.embedding(relation, relations, sparse=True)
    near, far = (
        ((start - functional.embedding(end, entities, sparse=True)) ** 2).sum(1) for end in (tail, drawn)
    )
    return functional.softplus(near - far).mean()


def _unseen(users: Any, seen: Any, n_items: int, rounds: int = 5) -> Any:
    """An item for each user that the user has not, drawn anew up to ``rounds`` times."""
    import torch

    drawn = torch.randint(n_items, (len(users),))
    for _ in range(rounds):
        keys = users * n_items + drawn
        place = torch.searchsorted(seen, keys).clamp(max=len(seen) - 1)
        known = seen[place] == keys
        drawn[known] = torch.randint(n_items, (int(known.sum()),))
    return drawn
