"""A network over text vectors, trained on interactions."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp

from recsys_lib.core.errors import InputError
from recsys_lib.recommenders import checks
from recsys_lib.recommenders.recommender import BaseRecommender
from recsys_lib.vectors import similarity


class TextMLP(BaseRecommender):
    """A small network over frozen text vectors, trained by contrast: AlphaRec without its graph layers.

    Items pass through ``d → hidden → output``; a user is the mean of the history's outputs. For each
    interaction the network learns to tell the item from ``negatives`` drawn by chance, by InfoNCE with
    ``temperature`` over cosines; the item itself is left out of its user's mean while it is the target. Sheng
    et al., "Language Representations Can Be What Recommenders Need", 2024. ``device``: where the network is
    trained, "cpu", "cuda" or "auto". Seeded; a user without history scores 0.
    """

    settings: ClassVar[tuple[str, ...]] = (
        "hidden", "output", "temperature", "negatives", "epochs", "learning_rate", "weight_decay", "seed",
        "progress",
    )  # fmt: skip
    arrays: ClassVar[tuple[str, ...]] = ("item_vectors", "items")

    def __init__(
        self,
        item_vectors: np.ndarray,
        hidden: int = 256,
        output: int = 64,
        temperature: float = 0.15,
        negatives: int = 256,
        epochs: int = 30,
        learning_rate: float = 1e-3,
        weight_decay: float = 1e-5,
        seed: int = 0,
        progress: bool = True,
        device: str = "cpu",
    ):
        if min(hidden, output, negatives, epochs) < 1 or not temperature > 0 or not learning_rate > 0:
            raise InputError(
                f"hidden={hidden!r}, output={output!r}, negatives={negatives!r}, epochs={epochs!r}, "
                f"temperature={temperature!r}, learning_rate={learning_rate!r}: expected at least 1, the "
                f"last two above 0"
            )
        self.item_vectors = similarity.normalize(np.asarray(item_vectors, dtype=np.float32))
        self.hidden, self.output, self.temperature, self.negatives = hidden, output, temperature, negatives
        self.epochs, self.learning_rate, self.weight_decay = epochs, learning_rate, weight_decay
        self.seed, self.progress, self.device = seed, progress, checks.device(device)
        self.items = np.empty((0, output), dtype=np.float32)

    def _fit(self, train: sp.csr_matrix, times: sp.csr_matrix | None) -> None:
        import torch
        from torch import nn
        from tqdm import tqdm

        checks.vectors_for(train, self.item_vectors)
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            net = self._network().to(self.device)
            optimizer = torch.optim.AdamW(
                net.parameters(), self.learning_rate, weight_decay=self.weight_decay
            )
            bar = tqdm(
                range(self.epochs), desc="TextMLP", unit="epoch", disable=None if self.progress else True
            )
            for _ in bar if train.nnz else ():
                bar.set_postfix(loss=f"{self._epoch(net, optimizer):.3f}")
            with torch.inference_mode():
                out = net(torch.from_numpy(self.item_vectors).to(self.device))
                self.items = nn.functional.normalize(out, dim=1).cpu().numpy()
            self._learned(net)

    def _network(self) -> Any:
        """What is trained: ``[n, d]`` to ``[n, output]``."""
        from torch import nn

        return nn.Sequential(
            nn.Linear(self.item_vectors.shape[1], self.hidden),
            nn.LeakyReLU(),
            nn.Linear(self.hidden, self.output),
        )

    def _learned(self, net: Any) -> None:
        """What is kept of the trained network beside ``items``."""

    def _epoch(self, net, optimizer, batch: int = 4096) -> float:
        """One pass over all interactions, users in random order, about ``batch`` interactions a step; returns
        the mean loss.

        A step takes whole users: only their histories are summed, not everybody's.
        """
        import torch
        from torch.nn import functional

        assert self.train is not None
        # Random numbers are drawn on the CPU, so that they are the same on every device.
        vectors = torch.from_numpy(self.item_vectors).to(self.device)
        items = torch.from_numpy(self.train.indices.astype(np.int64))
        begins, sizes = (
            torch.from_numpy(x.astype(np.int64)) for x in (self.train.indptr[:-1], np.diff(self.train.indptr))
        )
        active = sizes.nonzero()[:, 0]
        losses = []
        for users in active[torch.randperm(len(active))].split(
            max(1, round(batch * len(active) / len(items)))
        ):
            n = sizes[users]
            starts = n.cumsum(0) - n
            history = items[torch.arange(int(n.sum())) + (begins[users] - starts).repeat_interleave(n)].to(
                self.device
            )
            n, starts = n.to(self.device), starts.to(self.device)
            out = functional.normalize(net(vectors), dim=1)
            target = out[history]
            # The sum of the history without the target: only its direction matters for a cosine.
            sums = functional.embedding_bag(history, out, starts, mode="sum")
            profiles = functional.normalize(sums.repeat_interleave(n, dim=0) - target, dim=1)
            drawn = torch.randint(len(vectors), (self.negatives,)).to(self.device)
            positive = (profiles * target).sum(1, keepdim=True)
            logits = torch.cat([positive, profiles @ out[drawn].T], dim=1) / self.temperature
            loss = functional.cross_entropy(logits, torch.zeros_like(history))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return float(np.mean(losses))

    def _score(self, histories: sp.csr_matrix) -> np.ndarray:
        return similarity.normalize(np.asarray(histories @ self.items)) @ self.items.T
