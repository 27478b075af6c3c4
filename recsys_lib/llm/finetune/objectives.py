"""From the vectors of a step's items to a loss: contrast against the other items, or EASE's weights as
targets.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import scipy.sparse as sp

from recsys_lib.core.errors import InputError
from recsys_lib.llm.finetune.batches import Batch
from recsys_lib.recommenders import EASE

if TYPE_CHECKING:
    from torch import Tensor

USERS = ("mean", "sequence", "text")
NO_ORDER = "expected batches with histories in order, as UserSamples makes them"


class Objective(Protocol):
    """What the trainer asks for.

    ``parameters()``: weights of its own by name, which are trained with the encoder's. ``texts(batch)``:
    texts beside the items' that the step encodes. The loss sees the vectors of the items and of these
    texts.
    """

    def parameters(self) -> dict[str, Any]: ...

    def texts(self, batch: Batch) -> list[str]: ...

    def loss(self, items: Tensor, texts: Tensor, batch: Batch) -> Tensor: ...


class Contrastive:
    """InfoNCE over cosines: a user's target against the other items of the step.

    ``users``: a user is the "mean" of the history's item vectors without the target; a "sequence", that
    mean plus what a GRU makes of the vectors in their order; or the history read as one "text" by the
    encoder itself. A logit is ``cos / temperature - log_q``: the correction for popular items being
    negatives more often. Items that the user chose as well are no negatives.

    Raises:
        InputError: an unknown kind of user, "text" without ``item_texts``, a temperature that is not
        positive.
    """

    def __init__(
        self,
        dimension: int,
        users: str = "mean",
        temperature: float = 0.1,
        item_texts: list[str] | None = None,
        correct: bool = True,
        seed: int = 0,
    ):
        if users not in USERS or not temperature > 0:
            raise InputError(
                f"users={users!r}, temperature={temperature!r}: expected one of {', '.join(USERS)}, above 0"
            )
        if users == "text" and item_texts is None:
            raise InputError("users='text': expected item_texts, of which the histories are written")
        self.users, self.temperature, self.item_texts, self.correct = users, temperature, item_texts, correct
        self.gru = _gru(dimension, seed) if users == "sequence" else None

    def parameters(self) -> dict[str, Any]:
        return {} if self.gru is None else {f"gru.{n}": p for n, p in self.gru.named_parameters()}

    def texts(self, batch: Batch) -> list[str]:
        if self.users != "text":
            return []
        assert self.item_texts is not None
        if not batch.order.size:
            raise InputError(
                "users='text': expected batches with histories in order, as UserSamples makes them"
            )
        names = [self.item_texts[i] for i in batch.items]
        return ["; ".join(names[i] for i in row if i >= 0) for row in batch.order]

    def loss(self, items: Tensor, texts: Tensor, batch: Batch) -> Tensor:
        import torch
        from torch.nn import functional

        items = functional.normalize(items, dim=1)
        rows, targets = (torch.from_numpy(a).to(items.device) for a in (batch.rows, batch.targets))
        profiles = functional.normalize(self._profiles(items, texts, batch, rows, targets), dim=1)
        logits = profiles @ items.T / self.temperature
        if self.correct:
            logits = logits - torch.from_numpy(batch.log_q).to(items.device)
        known = torch.from_numpy(batch.known).to(items.device)[rows]
        known[torch.arange(len(rows), device=items.device), targets] = False
        return functional.cross_entropy(logits.masked_fill(known, -torch.inf), targets)

    def _profiles(self, items: Tensor, texts: Tensor, batch: Batch, rows: Tensor, targets: Tensor) -> Tensor:
        """One vector ``[m, d]`` for each pair of a user and a target, made without the target."""
        import torch

        if self.users == "text":
            return texts[rows]
        members = torch.from_numpy(batch.members).to(items.device, items.dtype)
        means = (members @ items)[rows] - items[targets]
        if self.gru is None:
            return means
        return means / means.norm(dim=1, keepdim=True).clamp(min=1e-9) + self._read(items, batch)[rows]

    def _read(self, items: Tensor, batch: Batch) -> Tensor:
        """The last state of the GRU after a history, oldest item first, ``[b, d]``."""
        import torch

        assert self.gru is not None
        if not batch.order.size:
            raise InputError(
                "users='sequence': expected batches with histories in order, as UserSamples makes them"
            )
        order = torch.from_numpy(np.ascontiguousarray(batch.order[:, ::-1])).to(items.device)
        read = torch.where(
            order[..., None] >= 0, items[order.clamp(min=0)], torch.zeros((), device=items.device)
        )
        return self.gru(read)[1][0]


def _gru(dimension: int, seed: int) -> Any:
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return torch.nn.GRU(dimension, dimension, batch_first=True)


class EASEColumns:
    """Distillation: an item's vector must predict, by a linear layer, the item's column of EASE's weights.

    EASE is the teacher: column ``i`` says how much each item of a history speaks for ``i``. The student
    reads the text alone, so an item without interactions gets a column too (``recommenders.EASEMap`` does
    the same with a frozen encoder, in closed form). The loss is the squared error over all warm items,
    columns scaled to unit variance. ``vectors`` ``[n_items, d]``: the encoder's before training; the layer
    starts at the ridge map from them, so that the encoder need not follow a random one.
    """

    def __init__(
        self,
        train: sp.csr_matrix,
        vectors: np.ndarray,
        ease_regularization: float = 400.0,
        regularization: float = 8.0,
        columns: np.ndarray | None = None,
    ):
        import torch
        from torch.nn import functional

        warm = np.flatnonzero(np.asarray((train != 0).sum(axis=0)).ravel())
        weights = np.asarray(EASE(ease_regularization).fit(train).weights) if columns is None else columns
        targets = torch.from_numpy(np.ascontiguousarray(weights[np.ix_(warm, warm)].T))
        targets = targets - targets.mean(dim=0)
        self.targets = targets / targets.std().clamp(min=1e-9)
        self.place = np.full(train.shape[1], -1)
        self.place[warm] = np.arange(len(warm))
        self.layer = torch.nn.Linear(vectors.shape[1], len(warm))
        x = functional.normalize(torch.from_numpy(vectors[warm]).float(), dim=1)
        offset = x.mean(dim=0)
        gram = ((x - offset).T @ (x - offset)).double()
        gram.diagonal().add_(regularization)
        start = torch.linalg.solve(gram, ((x - offset).T @ self.targets).double()).float()
        with torch.no_grad():
            self.layer.weight.copy_(start.T)
            self.layer.bias.copy_(-(offset @ start))

    def parameters(self) -> dict[str, Any]:
        return {f"layer.{name}": p for name, p in self.layer.named_parameters()}

    def texts(self, batch: Batch) -> list[str]:
        return []

    def loss(self, items: Tensor, texts: Tensor, batch: Batch) -> Tensor:
        from torch.nn import functional

        self.layer.to(items.device)
        wanted = self.targets[self.place[batch.items]].to(items.device)
        return functional.mse_loss(self.layer(functional.normalize(items, dim=1)), wanted)


class Sum:
    """Several objectives at once, each with a weight."""

    def __init__(self, objectives: list[tuple[float, Objective]]):
        self.objectives = objectives

    def parameters(self) -> dict[str, Any]:
        return {f"{i}.{n}": p for i, (_, o) in enumerate(self.objectives) for n, p in o.parameters().items()}

    def texts(self, batch: Batch) -> list[str]:
        found = [objective.texts(batch) for _, objective in self.objectives]
        if sum(bool(texts) for texts in found) > 1:
            raise InputError("several objectives that read histories as texts: expected one at most")
        return next((texts for texts in found if texts), [])

    def loss(self, items: Tensor, texts: Tensor, batch: Batch) -> Tensor:
        parts = [weight * objective.loss(items, texts, batch) for weight, objective in self.objectives]
        return sum(parts[1:], parts[0])


Validate = Callable[[np.ndarray], float]
