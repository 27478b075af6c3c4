"""Several kinds of item vectors in one recommender: joined kernels in the map to EASE's columns, and a gated
network.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from recsys_lib.core.errors import InputError
from recsys_lib.recommenders.maps import Columns, EASEMap
from recsys_lib.recommenders.text_mlp import TextMLP
from recsys_lib.vectors import fusion, similarity

JOINS = ("product", "sum")


def _unit(blocks: Sequence[np.ndarray]) -> np.ndarray:
    return np.hstack([similarity.normalize(np.asarray(block, dtype=np.float32)) for block in blocks])


class JoinedKernelMap(EASEMap):
    """``EASEMap`` over Gaussian kernels of several blocks of item vectors, each with its share.

    ``join="product"``: the kernel of the shares' mean cosine, which is the product of the blocks' kernels:
    two items are alike if they are so in every block. ``"sum"``: the mean of the blocks' kernels: alike in
    one block is enough. A block that an item lacks (a row of zeros) counts for nothing, and kernels are
    scaled so that every item is as near to itself. Kernels joined for classification: Gehler and Nowozin,
    "On Feature Combination for Multiclass Object Classification", ICCV 2009. The other arguments are those
    of ``EASEMap``.
    """

    settings = ("sizes", "shares", "join", *EASEMap.settings)

    def __init__(
        self,
        blocks: Sequence[np.ndarray],
        shares: Sequence[float] | None = None,
        join: str = "product",
        regularization: float = 1.0,
        ease_regularization: float = 400.0,
        width: float = 0.7,
        keep_warm: bool = False,
        device: str = "cpu",
        columns: np.ndarray | Columns | None = None,
    ):
        self.shares = fusion.checked(blocks, shares)
        if join not in JOINS:
            raise InputError(f"join={join!r}: expected one of {', '.join(JOINS)}")
        units = _unit(blocks)
        super().__init__(units, regularization, ease_regularization, width, keep_warm, device, columns)
        self.item_vectors, self.join = units, join
        self.sizes = [int(np.shape(block)[1]) for block in blocks]

    def _similarities(self, x: Any, warm: np.ndarray) -> Any:
        """The joined kernel of all items with the warm ones, ``[n_items, n_warm]``."""
        import torch

        assert self.width is not None
        narrow = self.width**2
        total, scale = torch.zeros((len(x), len(warm))), torch.zeros(len(x))
        total, scale = total.to(x.device), scale.to(x.device)
        for part, share in zip(x.split(self.sizes, dim=1), self.shares, strict=True):
            if not share:
                continue
            has = part.any(dim=1)
            cosines = part @ part[warm].T
            if self.join == "sum":
                cosines = torch.exp((cosines - 1) / narrow) * (has[:, None] & has[None, warm])
            total += share * cosines
            scale += share * has
        root = torch.where(scale > 0, scale, 1).sqrt()
        total /= root[:, None] * root[None, warm]
        return total if self.join == "sum" else torch.exp((total - 1) / narrow)

    def _kernel(self, warm: np.ndarray, targets: Any) -> Any:
        import torch

        kernel = self._similarities(torch.from_numpy(self.item_vectors).to(self.device), warm)
        gram = kernel[warm].clone()
        gram.diagonal().add_(self.regularization)
        return kernel @ torch.cholesky_solve(targets, torch.linalg.cholesky(gram))


class GatedMLP(TextMLP):
    """``TextMLP`` over several blocks: each has a layer of its own, and a gate says for every item how much
    each counts.

    The gate is a softmax over the blocks that an item has, linear in all of them; an item without a picture
    is placed by the rest. Gates: Arevalo et al., "Gated Multimodal Units for Information Fusion", 2017.
    ``gates [n_items, blocks]``, after the fit. The other arguments are those of ``TextMLP``.
    """

    settings = ("sizes", *TextMLP.settings)
    arrays = ("gates", *TextMLP.arrays)

    def __init__(self, blocks: Sequence[np.ndarray], **options: Any):
        fusion.checked(blocks)
        units = _unit(blocks)
        super().__init__(units, **options)
        self.item_vectors, self.sizes = units, [int(np.shape(block)[1]) for block in blocks]
        self.gates = np.empty((0, len(blocks)), dtype=np.float32)

    def _network(self) -> Any:
        return _gated(self.sizes, self.hidden, self.output)

    def _learned(self, net: Any) -> None:
        import torch

        with torch.inference_mode():
            self.gates = net.gates(torch.from_numpy(self.item_vectors).to(self.device)).cpu().numpy()


def _gated(sizes: Sequence[int], hidden: int, output: int) -> Any:
    """The network of ``GatedMLP``; torch is imported when it is needed."""
    import torch
    from torch import nn

    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.ModuleList([nn.Linear(size, hidden) for size in sizes])
            self.gate, self.outer = nn.Linear(sum(sizes), len(sizes)), nn.Linear(hidden, output)

        def gates(self, x):
            has = torch.stack([part.any(dim=1) for part in x.split(list(sizes), dim=1)], dim=1)
            # An item without any block has no gate to open: all stay equal.
            has |= ~has.any(dim=1, keepdim=True)
            return torch.softmax(self.gate(x).masked_fill(~has, -torch.inf), dim=1)

        def forward(self, x):
            parts = zip(self.inner, x.split(list(sizes), dim=1), strict=True)
            layers = torch.stack([nn.functional.leaky_relu(layer(part)) for layer, part in parts], dim=1)
            return self.outer((self.gates(x)[:, :, None] * layers).sum(dim=1))

    return Gated()
