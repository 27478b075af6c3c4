"""Generative retrieval: a small T5 writes the semantic id of the next item (TIGER)."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

from recsys_lib.core.errors import InputError
from recsys_lib.core.quiet import quiet
from recsys_lib.recommenders import checks
from recsys_lib.recommenders.recommender import BaseRecommender
from recsys_lib.recommenders.sasrec import ordered_histories

# Token 0 pads and starts the decoder, as T5 has it.
PAD = 0


def semantic_ids(item_vectors: np.ndarray, levels: int = 3, codes: int = 32, seed: int = 0) -> np.ndarray:
    """Codes of residual k-means, int64 ``[n_items, levels + 1]``: similar items share their first codes.

    Level l clusters what the centroids of the levels before leave of ``item_vectors [n_items, d]``. The last
    column counts the items of equal codes in order of their numbers, so that every id is unique. TIGER learns
    the codes with an RQ-VAE (Rajput et al., NeurIPS 2023); residual k-means is the simpler quantizer that its
    ablations compare with.

    Raises:
        InputError: no matrix of finite numbers, no item, levels or codes below 1.
    """
    from sklearn.cluster import KMeans

    vectors = np.asarray(item_vectors, dtype=np.float64)
    if vectors.ndim != 2 or not len(vectors) or not np.isfinite(vectors).all():
        raise InputError(
            f"item_vectors of shape {vectors.shape}: expected finite numbers [n_items, d], n_items >= 1"
        )
    if min(levels, codes) < 1:
        raise InputError(f"levels={levels!r}, codes={codes!r}: expected at least 1")
    residual = vectors.copy()
    columns = []
    for level in range(levels):
        # Clusters cannot outnumber distinct rows.
        k = min(codes, len(np.unique(residual, axis=0)))
        means = KMeans(k, n_init=1, random_state=seed + level).fit(residual)
        columns.append(means.labels_.astype(np.int64))
        residual -= means.cluster_centers_[means.labels_]
    ids = np.stack(columns, axis=1)
    return np.concatenate([ids, _order_among_equal(ids)[:, None]], axis=1)


def _order_among_equal(ids: np.ndarray) -> np.ndarray:
    """For every row of ``ids`` how many equal rows come before it."""
    _, group = np.unique(ids, axis=0, return_inverse=True)
    group = group.ravel()
    order = np.argsort(group, kind="stable")
    starts = np.searchsorted(group[order], group[order])
    place = np.empty(len(ids), dtype=np.int64)
    place[order] = np.arange(len(ids)) - starts
    return place


class TIGER(BaseRecommender):
    """An encoder-decoder reads the ids of the latest items and writes the id of the next one.

    Rajput et al., "Recommender Systems with Generative Retrieval", NeurIPS 2023, with residual k-means
    instead of an RQ-VAE and without the token of the user. ``fit`` takes times as SASRec does; each epoch
    draws ``targets`` places of every history and learns the id at that place from the ``length`` items before
    it. ``score`` runs a beam search of ``beams`` ids over the catalogue's tree of ids, so every answer is an
    item: items that it reaches get their log probability, the others one less than the least reached. With
    ``beams`` of at least ``n_items`` all scores are exact. Seeded; a user without history scores 0.
    """

    reads_times = True
    settings = (
        "levels", "codes", "dimension", "blocks", "heads", "length", "dropout", "epochs", "targets",
        "learning_rate",
        "batch", "beams", "seed", "progress",
    )  # fmt: skip
    arrays = ("ids",)

    def __init__(
        self,
        item_vectors: np.ndarray,
        levels: int = 3,
        codes: int = 32,
        dimension: int = 96,
        blocks: int = 2,
        heads: int = 4,
        length: int = 20,
        dropout: float = 0.1,
        epochs: int = 40,
        targets: int = 10,
        learning_rate: float = 1e-3,
        batch: int = 256,
        beams: int = 50,
        seed: int = 0,
        progress: bool = True,
        device: str = "cpu",
    ):
        if min(dimension, blocks, heads, length, epochs, targets, batch, beams) < 1 or dimension % heads:
            raise InputError(
                f"dimension={dimension!r}, blocks={blocks!r}, heads={heads!r}, length={length!r}, "
                f"epochs={epochs!r}, "
                f"targets={targets!r}, batch={batch!r}, beams={beams!r}: expected at least 1, heads dividing "
                f"dimension"
            )
        if not 0 <= dropout < 1:
            raise InputError(f"dropout={dropout!r}: expected a share in [0, 1)")
        self.levels, self.codes, self.dimension, self.blocks, self.heads = (
            levels,
            codes,
            dimension,
            blocks,
            heads,
        )
        self.length, self.dropout, self.epochs, self.targets = length, dropout, epochs, targets
        self.learning_rate, self.batch, self.beams = learning_rate, batch, beams
        self.seed, self.progress, self.device = seed, progress, checks.device(device)
        self.ids = semantic_ids(item_vectors, levels, codes, seed)
        self.histories = np.empty((0, length), dtype=np.int64)
        self.net: Any = None
        self._index()

    def _index(self) -> None:
        """What follows from the ids: tokens of every item, and the tree of prefixes that the beam search
        walks.
        """
        sizes = self.ids.max(axis=0) + 1
        # Each level has tokens of its own, after the one that pads.
        offsets = 1 + np.concatenate([[0], np.cumsum(sizes)[:-1]])
        self.tokens = self.ids + offsets
        self.vocabulary = int(1 + sizes.sum())
        # Row 0 of this table is a padded place of a history.
        self.history_tokens = np.concatenate([np.full((1, self.tokens.shape[1]), PAD), self.tokens])
        self.children = [_children(self.tokens[:, : depth + 1]) for depth in range(self.tokens.shape[1])]
        # The item of every node of the last level: nodes are in lexicographic order of their tokens.
        self.leaves = np.lexsort(self.tokens.T[::-1])

    # ---------------------------------------------------------------- training

    def _fit(self, train: sp.csr_matrix, times: sp.csr_matrix | None) -> None:
        import torch
        from tqdm import tqdm

        checks.vectors_for(train, self.ids)
        longest = int(np.diff(train.indptr).max(initial=0))
        histories = ordered_histories(train, times, max(longest, self.length))
        self.histories = histories[:, -self.length :]
        rng = np.random.default_rng(self.seed)
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            self.net = self._network().to(self.device)
            optimizer = torch.optim.AdamW(self.net.parameters(), self.learning_rate)
            trained = histories[(histories > 0).sum(1) > 1]
            bar = tqdm(
                range(self.epochs), desc="TIGER", unit="epoch", disable=None if self.progress else True
            )
            for _ in bar if len(trained) else ():
                bar.set_postfix(loss=f"{self._epoch(optimizer, trained, rng):.3f}")

    def _network(self) -> Any:
        from transformers import T5Config, T5ForConditionalGeneration

        config = T5Config(
            vocab_size=self.vocabulary,
            d_model=self.dimension,
            d_kv=self.dimension // self.heads,
            d_ff=4 * self.dimension,
            num_layers=self.blocks,
            num_heads=self.heads,
            dropout_rate=self.dropout,
            pad_token_id=PAD,
            eos_token_id=None,
        )
        config.decoder_start_token_id = PAD
        with quiet():
            return T5ForConditionalGeneration(config)

    def _epoch(self, optimizer: Any, histories: np.ndarray, rng: np.random.Generator) -> float:
        import torch

        self.net.train()
        contexts, following = drawn_targets(histories, self.targets, self.length, rng)
        order = torch.from_numpy(rng.permutation(len(contexts)))
        losses = []
        for rows in order.split(self.batch):
            places = rows.numpy()
            inputs = torch.from_numpy(self._flat(contexts[places])).to(self.device)
            labels = torch.from_numpy(self.history_tokens[following[places]]).to(self.device)
            loss = self.net(input_ids=inputs, attention_mask=(inputs != PAD).long(), labels=labels).loss
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
            optimizer.step()
            losses.append(loss.item())
        return float(np.mean(losses))

    def _flat(self, contexts: np.ndarray) -> np.ndarray:
        """Tokens ``[n, length * (levels + 1)]`` of contexts ``[n, length]`` of item number + 1, 0 for
        padding.
        """
        return self.history_tokens[contexts].reshape(len(contexts), -1)

    # ---------------------------------------------------------------- scoring

    def scores(self, users: np.ndarray) -> np.ndarray:
        rows = checks.users_of(self.train, users, loaded=self.n_items > 0)
        return self._score_sequences(self.histories[rows])

    def score(self, histories: sp.csr_matrix, times: sp.csr_matrix | None = None) -> np.ndarray:
        matrix = checks.new_histories(histories, self.n_items)
        return self._score_sequences(ordered_histories(matrix, times, self.length))

    def _score_sequences(self, sequences: np.ndarray) -> np.ndarray:
        """Scores ``[n, n_items]`` of ``sequences [n, length]`` as ``ordered_histories`` gives them."""
        import torch

        scores = np.zeros((len(sequences), self.n_items), dtype=np.float32)
        known = np.flatnonzero((sequences > 0).any(axis=1))
        self.net.eval()
        with torch.inference_mode():
            for start in range(0, len(known), 32):
                rows = known[start : start + 32]
                for row, (items, values) in zip(rows, self._beam_search(sequences[rows]), strict=True):
                    scores[row] = values.min() - 1
                    scores[row, items] = values
        return scores

    def _beam_search(self, sequences: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """For every sequence the items reached and their log probabilities."""
        import torch

        inputs = torch.from_numpy(self._flat(sequences)).to(self.device)
        mask = (inputs != PAD).long()
        encoded = self.net.encoder(input_ids=inputs, attention_mask=mask).last_hidden_state
        # A beam is the node of the tree at its depth; all start at the root.
        owners = np.arange(len(sequences))
        nodes = np.zeros(len(sequences), dtype=np.int64)
        written = np.full((len(sequences), 1), PAD)
        values = np.zeros(len(sequences), dtype=np.float32)
        for tree in self.children:
            places = torch.from_numpy(owners).to(self.device)
            logits = self.net(
                encoder_outputs=(encoded[places],),
                attention_mask=mask[places],
                decoder_input_ids=torch.from_numpy(written).to(self.device),
                use_cache=False,
            ).logits[:, -1]
            log_p = torch.log_softmax(logits.float(), dim=-1).cpu().numpy()
            parents, nodes, tokens = _expanded(tree, nodes)
            values = values[parents] + log_p[parents, tokens]
            kept = _best_of_each(owners[parents], values, nodes, self.beams)
            owners, nodes, values = owners[parents[kept]], nodes[kept], values[kept]
            written = np.concatenate([written[parents[kept]], tokens[kept, None]], axis=1)
        return [(self.leaves[nodes[owners == i]], values[owners == i]) for i in range(len(sequences))]

    # ---------------------------------------------------------------- saving

    def _state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        arrays, meta = super()._state()
        # The table of tokens is stored once, although encoder and decoder have names of their own for it.
        state = {name: t for name, t in self.net.state_dict().items() if "embed_tokens" not in name}
        return arrays | {f"net.{name}": t.cpu().numpy().copy() for name, t in state.items()}, meta

    def _restore(self, arrays: dict[str, np.ndarray]) -> None:
        import torch

        self._index()
        with torch.random.fork_rng():  # the first values are drawn at random, and replaced
            self.net = self._network()
        state = {
            n.removeprefix("net."): torch.from_numpy(a) for n, a in arrays.items() if n.startswith("net.")
        }
        self.net.load_state_dict(state, strict=False)
        self.net.tie_weights()
        self.net.to(self.device)


def drawn_targets(
    histories: np.ndarray, targets: int, length: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Contexts ``[m, length]`` and the item after each ``[m]``: up to ``targets`` random places of every
    history.

    histories: ``[n_users, width]`` of item number + 1, padded left by 0. The first item of a history is never
    a target.
    """
    padded = np.concatenate([np.zeros((len(histories), length), dtype=histories.dtype), histories], axis=1)
    counts = (histories > 0).sum(axis=1)
    contexts = []
    following = []
    for row, n in zip(padded, counts, strict=True):
        first = len(row) - n + 1
        for place in rng.choice(n - 1, min(targets, n - 1), replace=False) + first:
            contexts.append(row[place - length : place])
            following.append(row[place])
    return np.array(contexts), np.array(following)


def _children(prefixes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The nodes of one level: where each parent's children start ``[n_parents + 1]``, and their tokens
    ``[n_nodes]``.

    Nodes of every level are numbered in lexicographic order, so the children of a node are neighbours.
    """
    nodes = np.unique(prefixes, axis=0)
    _, parents = np.unique(nodes[:, :-1], axis=0, return_inverse=True)
    parents = parents.ravel() if nodes.shape[1] > 1 else np.zeros(len(nodes), dtype=np.int64)
    starts = np.concatenate([[0], np.cumsum(np.bincount(parents))])
    return starts, nodes[:, -1]


def _expanded(
    tree: tuple[np.ndarray, np.ndarray], nodes: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All children of ``nodes [b]``: the place of the parent in ``nodes``, the child's number, its token."""
    starts, tokens = tree
    counts = starts[nodes + 1] - starts[nodes]
    parents = np.repeat(np.arange(len(nodes)), counts)
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    children = starts[nodes][parents] + within
    return parents, children, tokens[children]


def _best_of_each(owners: np.ndarray, values: np.ndarray, nodes: np.ndarray, beams: int) -> np.ndarray:
    """Places of the ``beams`` largest ``values`` of every owner, in order of owners; equal values by node."""
    order = np.lexsort((nodes, -values, owners))
    sorted_owners = owners[order]
    rank = np.arange(len(order)) - np.searchsorted(sorted_owners, sorted_owners)
    return order[rank < beams]
