"""DP-SGD of a whole encoder: every weight, the table of tokens too, is trained on updates of users that are
clipped and summed with noise.

A step draws each user with probability ``rate``. A drawn user's loss ranks some of the own history above
items drawn for the step, which are public, by the cosine with the mean of other parts of the history; its
gradient over all weights is clipped to a norm of ``clip``, and Gaussian noise of ``noise * clip`` is added to
the sum (Abadi et al., "Deep Learning with Differential Privacy", CCS 2016; of users instead of examples:
McMahan et al., ICLR 2018).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from recsys_lib.core.errors import InputError
from recsys_lib.llm.finetune.text_model import TextModel
from recsys_lib.trust.privacy.accountant import sampled_epsilon

if TYPE_CHECKING:
    from torch import Tensor

# Scores are multiplied by this in the softmax, as in ``federated``.
TEMPERATURE = 10.0


@dataclass(frozen=True)
class Plan:
    """steps, rate: how many, and the probability that a user takes part in one. learning_rate: of plain
    gradient steps. clip: the largest norm of a user's update. noise: of the sum, in clips; 0 for none.
    per_user: items of the profile, and as many targets, at most. negatives: public items of a step.

    Raises:
        InputError: a number out of its range.
    """

    steps: int = 10
    rate: float = 0.06
    learning_rate: float = 0.3
    clip: float = 1.0
    noise: float = 0.0
    per_user: int = 4
    negatives: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        counts = min(self.steps, self.per_user, self.negatives)
        if counts < 1 or not 0 < self.rate <= 1 or min(self.learning_rate, self.clip) <= 0 or self.noise < 0:
            raise InputError(f"{self}: expected positive numbers, a rate of at most 1, noise of at least 0")

    def epsilon(self, delta: float = 1e-5) -> float:
        """The ε of all steps together for one user, infinite without noise."""
        return sampled_epsilon(delta, self.noise, self.rate, self.steps) if self.noise else np.inf


def small(encoder: str, texts: Sequence[str], layers: int = 2) -> TextModel:
    """The first ``layers`` of an encoder, with the rows of its table that the texts use and no others: these
    texts get the vectors that they get from the whole table.

    Raises:
        InputError: fewer layers than 1 or more than the encoder has, or one that is no BERT.
    """
    model = TextModel(encoder, texts, "full")
    stack = getattr(getattr(model.model, "encoder", None), "layer", None)
    if stack is None or not 1 <= layers <= len(stack):
        raise InputError(f"layers={layers!r} of {encoder!r}: expected 1 to {len(stack or ())} of a BERT")
    model.model.encoder.layer = stack[:layers]
    model.model.pooler = None
    padding = model.source.tokenizer.pad_token_id or 0
    used = np.unique(np.concatenate([[padding], *(ids for ids, _ in model.tokens)])).astype(np.int64)
    model.model.set_input_embeddings(_rows_of(model.model.get_input_embeddings(), used))
    return model


def _rows_of(table: Any, used: np.ndarray) -> Any:
    """A table that has the rows ``used`` of ``table`` for these ids, and the first of them for all others."""
    import torch

    class Rows(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(table.weight.detach()[torch.from_numpy(used)].clone())
            row = torch.zeros(table.weight.shape[0], dtype=torch.int64)
            row[torch.from_numpy(used)] = torch.arange(len(used))
            self.row: Tensor
            self.register_buffer("row", row)

        def forward(self, ids: Tensor) -> Tensor:
            return torch.nn.functional.embedding(self.row[ids], self.weight)

    return Rows()


def train(model: TextModel, histories: sp.csr_matrix, plan: Plan) -> dict[str, float]:
    """Train ``model`` in place on users' ``histories [n_users, n_items]``; items are the model's texts.

    Gives the mean norm of updates before clipping, their mean number in a step, the weights, the loss of the
    first and of the last step (told from the data: no part of what is private), and the norm of a step's
    noise over the norm of its sum.
    """
    import torch

    rng = np.random.default_rng(plan.seed)
    noise = torch.Generator().manual_seed(plan.seed)
    weights = list(model.parameters().values())
    norms: list[float] = []
    losses: list[list[float]] = []
    ratios: list[float] = []
    for _ in range(plan.steps):
        total = [torch.zeros_like(weight) for weight in weights]
        drawn = np.flatnonzero(rng.random(histories.shape[0]) < plan.rate)
        negatives = rng.choice(histories.shape[1], min(plan.negatives, histories.shape[1]), replace=False)
        own: list[float] = []
        for user in drawn:
            loss = user_loss(model, histories[int(user)].indices, negatives, plan, rng)
            if loss is None:
                continue
            update = torch.autograd.grad(loss, weights, allow_unused=True)
            norms.append(_added(total, update, plan.clip))
            own.append(float(loss.detach()))
        ratios.append(_step(weights, total, plan, histories.shape[0], noise))
        losses.append(own)
    return {
        "update norm": float(np.mean(norms)), "users a step": float(np.mean([len(own) for own in losses])),
        "weights": float(sum(weight.numel() for weight in weights)),
        "first loss": float(np.mean(losses[0])), "last loss": float(np.mean(losses[-1])),
        "noise over sum": float(np.mean(ratios)),
    }  # fmt: skip


def user_loss(
    model: TextModel, items: np.ndarray, negatives: np.ndarray, plan: Plan, rng: np.random.Generator
) -> Tensor | None:
    """Cross-entropy of a user's targets among themselves and ``negatives``, None where two items are not
    left; depends on this user and on public items only.
    """
    import torch
    from torch.nn import functional

    chosen = rng.permutation(items)[: 2 * plan.per_user]
    if len(chosen) < 2:
        return None
    half = len(chosen) // 2
    others = np.setdiff1d(negatives, chosen)
    vectors = functional.normalize(model.vectors(np.concatenate([chosen, others])), dim=1)
    profile = functional.normalize(vectors[:half].mean(dim=0), dim=0)
    scores = TEMPERATURE * (vectors[half:] @ profile)
    return torch.logsumexp(scores, 0) - scores[: len(chosen) - half].mean()


def _added(total: list[Any], update: Sequence[Any], clip: float) -> float:
    """Add an update, clipped over all weights together; its norm before."""
    norm = float(sum(float(part.double().pow(2).sum()) for part in update if part is not None)) ** 0.5
    scale = min(1.0, clip / max(norm, 1e-12))
    for whole, part in zip(total, update, strict=True):
        if part is not None:
            whole.add_(part, alpha=scale)
    return norm


def _step(weights: list[Any], total: list[Any], plan: Plan, n_users: int, noise: Any) -> float:
    """Move the weights by the noisy sum over the expected number of users; the norm of the noise over the
    sum's.
    """
    import torch

    expected, noisy, told = plan.rate * n_users, 0.0, 0.0
    for weight, part in zip(weights, total, strict=True):
        told += float(part.double().pow(2).sum())
        if plan.noise:
            drawn = plan.noise * plan.clip * torch.randn(part.shape, generator=noise)
            noisy += float(drawn.double().pow(2).sum())
            part = part + drawn
        weight.data.add_(part, alpha=-plan.learning_rate / expected)
    return (noisy / max(told, 1e-24)) ** 0.5
