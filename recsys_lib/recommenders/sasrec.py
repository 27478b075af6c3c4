"""Recommenders that read a history in its order."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

from recsys_lib.core.errors import InputError
from recsys_lib.recommenders import checks


class SASRec:
    """Self-attention over the latest items of a history (Kang and McAuley, ICDM 2018), with the full softmax as its loss.

    ``fit`` takes the training matrix and, as ``times``, a CSR matrix of the same pattern with each interaction's time plus 1
    (so that no stored value is 0); ties keep the order of items. The full softmax over the catalogue instead of one sampled
    negative is what makes SASRec strong (Klenitskiy and Vasilev, RecSys 2023). Seeded; a user without history scores 0.
    """

    reads_times = True

    def __init__(
        self,
        dimension: int = 64,
        blocks: int = 2,
        heads: int = 2,
        length: int = 100,
        dropout: float = 0.2,
        epochs: int = 40,
        learning_rate: float = 1e-3,
        batch: int = 64,
        seed: int = 0,
        progress: bool = True,
    ):
        if min(dimension, blocks, heads, length, epochs, batch) < 1 or dimension % heads or not 0 <= dropout < 1:
            raise InputError(
                f"dimension={dimension!r}, blocks={blocks!r}, heads={heads!r}, length={length!r}, dropout={dropout!r}: want at "
                "least 1, heads dividing dimension, dropout in [0, 1)"
            )
        self.dimension, self.blocks, self.heads, self.length = dimension, blocks, heads, length
        self.dropout, self.epochs, self.learning_rate, self.batch = dropout, epochs, learning_rate, batch
        self.seed, self.progress = seed, progress
        self.train: sp.csr_matrix | None = None
        self.histories = np.empty((0, length), dtype=np.int64)
        self.net: Any = None

    def fit(self, train: sp.csr_matrix, times: sp.csr_matrix | None = None) -> SASRec:
        import torch
        from tqdm import tqdm

        self.train = checks.interactions(train)
        self.histories = ordered_histories(self.train, times, self.length + 1)
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            self.net = _network(self.train.shape[1], self.dimension, self.blocks, self.heads, self.length, self.dropout)
            optimizer = torch.optim.Adam(self.net.parameters(), self.learning_rate, betas=(0.9, 0.98))
            trained = torch.from_numpy(self.histories[(self.histories > 0).sum(1) > 1])
            bar = tqdm(range(self.epochs), desc="SASRec", unit="epoch", disable=None if self.progress else True)
            for _ in bar if len(trained) else ():
                bar.set_postfix(loss=f"{self._epoch(optimizer, trained):.3f}")
        return self

    def _epoch(self, optimizer, trained) -> float:
        import torch
        from torch.nn import functional

        self.net.train()
        losses = []
        for rows in torch.randperm(len(trained)).split(self.batch):
            inputs, targets = trained[rows, :-1], trained[rows, 1:]
            hidden = _hidden(self.net, inputs)[targets > 0]
            logits = hidden @ self.net["item_table"].weight[1:].T
            loss = functional.cross_entropy(logits, targets[targets > 0] - 1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return float(np.mean(losses))

    def scores(self, users: np.ndarray) -> np.ndarray:
        import torch

        histories = checks.histories(self.train, users)
        if not len(users):
            return np.empty((0, histories.shape[1]), dtype=np.float32)
        self.net.eval()
        with torch.inference_mode():
            rows = torch.from_numpy(self.histories[np.asarray(users, dtype=np.int64), 1:])
            parts = [_hidden(self.net, part)[:, -1] @ self.net["item_table"].weight[1:].T for part in rows.split(256)]
        scores = torch.cat(parts).numpy()
        scores[np.diff(histories.indptr) == 0] = 0
        return scores


def ordered_histories(train: sp.csr_matrix, times: sp.csr_matrix | None, length: int) -> np.ndarray:
    """The latest ``length`` items of every user in order of time, int64 ``[n_users, length]``: item id + 1, padded left by 0.

    Raises:
        InputError: ``times`` of another pattern than ``train``.
    """
    order_by = train if times is None else sp.csr_matrix(times)
    if order_by.shape != train.shape or ((order_by != 0) != (train != 0)).nnz:
        raise InputError("times: want a stored time, never 0, for every training interaction and for no other")
    histories = np.zeros((train.shape[0], length), dtype=np.int64)
    for user in range(train.shape[0]):
        part = slice(order_by.indptr[user], order_by.indptr[user + 1])
        items = order_by.indices[part]
        if times is None:
            items = np.sort(items)
        else:
            items = items[np.lexsort((items, order_by.data[part]))]
        latest = items[-length:]
        if len(latest):
            histories[user, -len(latest) :] = latest + 1
    return histories


def _network(n_items: int, dimension: int, blocks: int, heads: int, length: int, dropout: float):
    import torch
    from torch import nn

    layer = nn.TransformerEncoderLayer(dimension, heads, dimension, dropout, batch_first=True, norm_first=True)
    items, places = nn.Embedding(n_items + 1, dimension, padding_idx=0), nn.Embedding(length, dimension)
    with torch.no_grad():
        items.weight.normal_(0, 0.02)
        places.weight.normal_(0, 0.02)
        items.weight[0] = 0
    attention = nn.TransformerEncoder(layer, blocks, norm=nn.LayerNorm(dimension), enable_nested_tensor=False)
    # ModuleDict has methods of its own called items and keys, hence the longer names.
    parts = {"item_table": items, "place_table": places, "dropout": nn.Dropout(dropout), "attention": attention}
    return nn.ModuleDict(parts)


def _hidden(net: Any, histories):
    """Hidden states ``[batch, length, dimension]``; each place sees itself and what came before it."""
    import torch

    length = histories.shape[1]
    places = torch.arange(length)
    x = net["dropout"](
        net["item_table"](histories) * net["item_table"].embedding_dim ** 0.5 + net["place_table"](places)
    )
    later = torch.triu(torch.full((length, length), float("-inf")), 1)
    # Padding stands on the left only. A padded place sees itself, so that no row of the softmax is empty.
    padded = (histories == 0)[:, None, :] & (places[:, None] != places[None, :])
    mask = later.masked_fill(padded, float("-inf"))
    return net["attention"](x, mask=mask.repeat_interleave(net["attention"].layers[0].self_attn.num_heads, 0))
