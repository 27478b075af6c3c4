"""From one vector per token to one per text. Shapes: hidden ``[batch, tokens, d]``, mask ``[batch, tokens]`` of 0 and 1.

Padding may stand on either side; a text without tokens gives the zero vector.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

POOLINGS = ("mean", "last", "weighted", "first", "echo")


def pool(kind: str, hidden: Tensor, mask: Tensor) -> Tensor:
    """Pool in float32 to ``[batch, d]``.

    mean: over the tokens. last: the last token, which in a decoder is the only one that has read the whole text.
    weighted: token i of n weighs i (Muennighoff, "SGPT", 2022). first: the first token ([CLS]). For echo the mask itself
    covers only the second copy of the text (Springer et al., "Repetition Improves Language Model Embeddings", 2024).
    """
    import torch

    hidden, weights = hidden.float(), mask.float()
    if kind in ("mean", "echo"):
        pass
    elif kind == "weighted":
        weights = weights.cumsum(1) * weights
    elif kind in ("last", "first"):
        count = weights.cumsum(1)
        wanted = count[:, -1:] if kind == "last" else torch.ones_like(count[:, -1:])
        weights = weights * (count == wanted)
    else:
        raise ValueError(f"pooling={kind!r}: want one of {', '.join(POOLINGS)}")
    total = weights.sum(1, keepdim=True).clamp(min=1)
    return torch.einsum("btd,bt->bd", hidden, weights / total)
