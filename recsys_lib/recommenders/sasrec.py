"""Recommenders that read a history in its order."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

from recsys_lib.core.errors import InputError
from recsys_lib.recommenders import checks
from recsys_lib.recommenders.recommender import BaseRecommender


class SASRec(BaseRecommender):
    """Self-attention over the latest items of a history (Kang and McAuley, ICDM 2018), with the full softmax
    as its loss.

    ``fit`` takes the training matrix and, as ``times``, a CSR matrix of the same pattern with each
    interaction's time plus 1 (so that no stored value is 0); ties keep the order of items. The full softmax
    over the catalogue instead of one sampled negative is what makes SASRec strong (Klenitskiy and Vasilev,
    RecSys 2023). ``score`` reads the latest ``length`` items of a history, in the order of its ``times`` or,
    without, of items. ``device``: where the network is trained and scores, "cpu", "cuda" or "auto". Seeded; a
    user without history scores 0.
    """

    reads_times = True
    settings = (
        "dimension", "blocks", "heads", "length", "dropout", "epochs", "learning_rate", "batch", "seed",
        "progress",
    )  # fmt: skip

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
        device: str = "cpu",
    ):
        if (
            min(dimension, blocks, heads, length, epochs, batch) < 1
            or dimension % heads
            or not 0 <= dropout < 1
        ):
            raise InputError(
                f"dimension={dimension!r}, blocks={blocks!r}, heads={heads!r}, length={length!r}, "
                f"dropout={dropout!r}: expected "
                "at least 1, heads dividing dimension, dropout in [0, 1)"
            )
        self.dimension, self.blocks, self.heads, self.length = dimension, blocks, heads, length
        self.dropout, self.epochs, self.learning_rate, self.batch = dropout, epochs, learning_rate, batch
        self.seed, self.progress, self.device = seed, progress, checks.device(device)
        self.histories = np.empty((0, length), dtype=np.int64)
        self.net: Any = None

    def _fit(self, train: sp.csr_matrix, times: sp.csr_matrix | None) -> None:
        import torch
        from tqdm import tqdm

        self.histories = ordered_histories(train, times, self.length + 1)
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            self.net = self._network().to(self.device)
            optimizer = torch.optim.Adam(self.net.parameters(), self.learning_rate, betas=(0.9, 0.98))
            trained = torch.from_numpy(self.histories[(self.histories > 0).sum(1) > 1])
            bar = tqdm(
                range(self.epochs), desc="SASRec", unit="epoch", disable=None if self.progress else True
            )
            for _ in bar if len(trained) else ():
                bar.set_postfix(loss=f"{self._epoch(optimizer, trained):.3f}")

    def _network(self):
        return _network(self.n_items, self.dimension, self.blocks, self.heads, self.length, self.dropout)

    def _epoch(self, optimizer, trained) -> float:
        import torch
        from torch.nn import functional

        self.net.train()
        losses = []
        for rows in torch.randperm(len(trained)).split(self.batch):
            part = trained[rows].to(self.device)
            inputs, targets = part[:, :-1], part[:, 1:]
            hidden = _hidden(self.net, inputs)[targets > 0]
            logits = hidden @ self.net["item_table"].weight[1:].T
            loss = functional.cross_entropy(logits, targets[targets > 0] - 1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return float(np.mean(losses))

    def scores(self, users: np.ndarray) -> np.ndarray:
        rows = checks.users_of(self.train, users, loaded=self.n_items > 0)
        return self._score_sequences(self.histories[rows, 1:])

    def score(self, histories: sp.csr_matrix, times: sp.csr_matrix | None = None) -> np.ndarray:
        matrix = checks.new_histories(histories, self.n_items)
        return self._score_sequences(ordered_histories(matrix, times, self.length))

    def _score_sequences(self, sequences: np.ndarray) -> np.ndarray:
        """Scores ``[n, n_items]`` of ``sequences [n, length]`` as ``ordered_histories`` gives them."""
        import torch

        if not len(sequences):
            return np.empty((0, self.n_items), dtype=np.float32)
        self.net.eval()
        with torch.inference_mode():
            table = self.net["item_table"].weight[1:].T
            parts = [
                (_hidden(self.net, part.to(self.device))[:, -1] @ table).cpu()
                for part in torch.from_numpy(sequences).split(256)
            ]
        scores = torch.cat(parts).numpy()
        scores[(sequences == 0).all(axis=1)] = 0
        return scores

    def _state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        arrays, meta = super()._state()
        return arrays | {f"net.{name}": t.cpu().numpy() for name, t in self.net.state_dict().items()}, meta

    def _restore(self, arrays: dict[str, np.ndarray]) -> None:
        import torch

        with torch.random.fork_rng():  # the first values are drawn at random, and replaced
            self.net = self._network()
        state = {name.removeprefix("net."): torch.from_numpy(a) for name, a in arrays.items()}
        self.net.load_state_dict(state)
        self.net.to(self.device)


def ordered_histories(train: sp.csr_matrix, times: sp.csr_matrix | None, length: int) -> np.ndarray:
    """The latest ``length`` items of every user in order of time, int64 ``[n_users, length]``: item id + 1,
    padded left by 0.

    Raises:
        InputError: ``times`` of another pattern than ``train``.
    """
    order_by = train if times is None else checks.times_for(train, times)
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

    layer = nn.TransformerEncoderLayer(
        dimension, heads, dimension, dropout, batch_first=True, norm_first=True
    )
    items, places = nn.Embedding(n_items + 1, dimension, padding_idx=0), nn.Embedding(length, dimension)
    with torch.no_grad():
        items.weight.normal_(0, 0.02)
        places.weight.normal_(0, 0.02)
        items.weight[0] = 0
    attention = nn.TransformerEncoder(layer, blocks, norm=nn.LayerNorm(dimension), enable_nested_tensor=False)
    # ModuleDict has methods of its own called items and keys, hence the longer names.
    parts = {
        "item_table": items,
        "place_table": places,
        "dropout": nn.Dropout(dropout),
        "attention": attention,
    }
    return nn.ModuleDict(parts)


def _hidden(net: Any, histories):
    """Hidden states ``[batch, length, dimension]``; each place sees itself and what came before it."""
    import torch

    length = histories.shape[1]
    places = torch.arange(length, device=histories.device)
    x = net["dropout"](
        net["item_table"](histories) * net["item_table"].embedding_dim ** 0.5 + net["place_table"](places)
    )
    later = torch.triu(torch.full((length, length), float("-inf"), device=histories.device), 1)
    # Padding stands on the left only. A padded place sees itself, so that no row of the softmax is empty.
    padded = (histories == 0)[:, None, :] & (places[:, None] != places[None, :])
    mask = later.masked_fill(padded, float("-inf"))
    return net["attention"](x, mask=mask.repeat_interleave(net["attention"].layers[0].self_attn.num_heads, 0))
