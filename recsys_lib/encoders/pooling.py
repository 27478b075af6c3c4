"""From one vector per token to one per text. Shapes: hidden ``[batch, tokens, d]``, mask ``[batch, tokens]``
of 0 and 1.

Padding may stand on either side; a text without tokens gives the zero vector.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from recsys_lib.core.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

POOLINGS = ("mean", "last", "weighted", "cls", "max", "mean_sqrt_len", "echo")


def parts(pooling: str) -> list[str]:
    """The poolings whose vectors are concatenated: ``"cls+mean"`` is both, one after the other.

    Raises:
        InputError: a pooling that is unknown.
    """
    kinds = pooling.split("+")
    for kind in kinds:
        if kind not in POOLINGS:
            raise InputError(
                f"pooling={pooling!r}: expected one of {', '.join(POOLINGS)}, or several joined by +"
            )
    if "echo" in kinds and len(kinds) > 1:
        raise InputError(
            f"pooling={pooling!r}: echo reads the text twice and cannot be joined with another pooling"
        )
    return kinds


def pool(pooling: str, hidden: Tensor, mask: Tensor) -> Tensor:
    """Pool in float32 to ``[batch, d]``, or ``[batch, k d]`` for k poolings joined by +.

    mean: over the tokens. mean_sqrt_len: their sum over the square root of their number. last: the last
    token, which in a decoder is the only one that has read the whole text. weighted: token i of n weighs i
    (Muennighoff, "SGPT", 2022).
    cls: the first token. max: the maximum of each component. For echo the mask itself covers only the second
    copy of the text (Springer et al., "Repetition Improves Language Model Embeddings", 2024).
    """
    import torch

    hidden, present = hidden.float(), mask.float()
    pooled = [_pool_one(kind, hidden, present) for kind in parts(pooling)]
    return pooled[0] if len(pooled) == 1 else torch.cat(pooled, dim=1)


def _pool_one(kind: str, hidden: Tensor, present: Tensor) -> Tensor:
    import torch

    if kind == "max":
        highest = hidden.masked_fill(present[..., None] == 0, float("-inf")).amax(1)
        return highest.where(present.any(1, keepdim=True), torch.zeros_like(highest))
    weights = present
    if kind == "weighted":
        weights = weights.cumsum(1) * weights
    elif kind in ("last", "cls"):
        count = weights.cumsum(1)
        chosen = count[:, -1:] if kind == "last" else torch.ones_like(count[:, -1:])
        weights = weights * (count == chosen)
    total = weights.sum(1, keepdim=True).clamp(min=1)
    if kind == "mean_sqrt_len":
        total = total.sqrt()
    return torch.einsum("btd,bt->bd", hidden, weights / total)
