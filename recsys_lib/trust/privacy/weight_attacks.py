"""Who was in the data that an encoder was trained on, told from its weights.

Adversary: has the weights before and after training, knows a person's whole history and the items that every
step ranks, and can train encoders on people of the same kind (shadow models). Statistic: how far the weights
moved along the update that the person would have sent, at the weights before training; a white-box attack
(Nasr, Shokri and Houmansadr, "Comprehensive Privacy Analysis of Deep Learning", S&P 2019, attack by gradients
too). Baseline: a coin.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from recsys_lib.core.errors import InputError
from recsys_lib.trust.privacy.private_encoder import Plan, user_loss

if TYPE_CHECKING:
    from recsys_lib.llm.finetune.text_model import TextModel


def flat(model: TextModel) -> np.ndarray:
    """The trained weights of a model as one float32 vector ``[n_weights]``, in the order of their names."""
    return np.concatenate([one.detach().numpy().ravel() for one in model.parameters().values()])


def movement(
    start: TextModel, changes: Sequence[np.ndarray], histories: sp.csr_matrix, plan: Plan
) -> np.ndarray:
    """How far each change of the weights goes along each user's update, float64 ``[n_models, n_users]``.

    start: the model before training. changes: weights after less before, each ``[n_weights]``. histories
    ``[n_users, n_items]``. An update is the gradient of ``user_loss`` at ``start``, scaled to length 1 and
    turned; the halves and the negatives are drawn from ``plan.seed``. 0 for a user of fewer than two items.

    Raises:
        InputError: no change, or one of another length than the weights.
    """
    import torch

    weights = list(start.parameters().values())
    n = sum(one.numel() for one in weights)
    if not len(changes) or any(one.shape != (n,) for one in changes):
        shapes = sorted({one.shape for one in changes})
        raise InputError(f"{len(changes)} changes of shapes {shapes}: expected at least one, ({n},) each")
    rng = np.random.default_rng([plan.seed, 3])
    moved = [torch.from_numpy(one) for one in changes]
    found = np.zeros((len(changes), histories.shape[0]))
    for user in range(histories.shape[0]):
        negatives = rng.choice(histories.shape[1], min(plan.negatives, histories.shape[1]), replace=False)
        loss = user_loss(start, histories[user].indices, negatives, plan, rng)
        if loss is None:
            continue
        parts = torch.autograd.grad(loss, weights, allow_unused=True)
        whole = torch.cat(
            [(torch.zeros_like(w) if p is None else p).ravel() for w, p in zip(weights, parts, strict=True)]
        )
        length = max(float(whole.norm()), 1e-12)
        found[:, user] = [-float(torch.dot(whole, one)) / length for one in moved]
    return found
