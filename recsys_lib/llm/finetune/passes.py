"""What the trainers of rankers share: passes over examples in an order drawn from the seed, and the checks of
how they are taken and of what is wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys_lib.core.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

# How far rounding may take a sum of probabilities from 1.
TOLERANCE = 1e-3


def check_steps(learning_rate: float, batch: int) -> None:
    """Refuse a rate or a batch that is not positive.

    Raises:
        InputError: either is.
    """
    if not learning_rate > 0 or batch < 1:
        raise InputError(f"learning_rate={learning_rate!r}, batch={batch!r}: expected above 0, at least 1")


def are_probabilities(values: Sequence[float] | np.ndarray) -> bool:
    """Whether no value is negative or NaN and their sum is 1."""
    return bool(np.min(values) >= 0 and abs(np.sum(values) - 1) < TOLERANCE)


def losses_of(
    loss_of: Callable[[np.ndarray], Tensor], n: int, batch: int, epochs: int, seed: int, optimizer: Any,
    schedule: Any = None,
) -> list[float]:  # fmt: skip
    """Train on ``n`` examples, ``batch`` a step; the mean loss of every epoch.

    loss_of: the mean loss of the examples with these places. The order of an epoch is drawn from ``seed`` and
    its number; gradients are clipped to length 1; ``schedule`` moves on after every step.
    """
    import torch

    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    losses = []
    for epoch in range(epochs):
        order = np.random.default_rng([seed, epoch]).permutation(n)
        total = 0.0
        for start in range(0, n, batch):
            rows = order[start : start + batch]
            loss = loss_of(rows)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            if schedule is not None:
                schedule.step()
            total += float(loss.detach()) * len(rows)
        losses.append(total / max(1, n))
    return losses
