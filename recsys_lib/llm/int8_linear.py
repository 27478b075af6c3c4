"""Linear layers in 8-bit integers on a processor: weights per output channel, activations per token."""

from __future__ import annotations

import warnings
from functools import lru_cache
from typing import Any

import torch


@lru_cache(maxsize=1)
def saturates() -> bool:
    """Whether torch's dynamic product of 8 bits is wrong for large codes on this processor.

    Without VNNI two products of codes are added in 16 bits, which 255 * 127 * 2 exceeds.
    """
    linear = torch.nn.Linear(64, 32, bias=False)
    torch.nn.init.ones_(linear.weight)
    packed = _packed(linear.weight.detach(), torch.full((32,), 1 / 127))
    ones = torch.ones(1, 64)
    return bool((torch.ops.quantized.linear_dynamic(ones, packed) - 64).abs().max() > 1)


def _packed(weight: torch.Tensor, step: torch.Tensor) -> Any:
    with warnings.catch_warnings():
        # torch announces another interface that it does not have for processors yet.
        warnings.simplefilter("ignore")
        zeros = torch.zeros(len(step), dtype=torch.long)
        codes = torch.quantize_per_channel(weight, step.double(), zeros, 0, torch.qint8)
        return torch.ops.quantized.linear_prepack(codes, None)


class Int8Linear(torch.nn.Module):
    """``x W^T + b`` with codes of 8 bits for ``W [out, in]`` and ``x [..., in]``, sums in 32 bits.

    torch's dynamic product has one step for all of ``x``. Each row is therefore divided by its largest
    absolute value first, and the product multiplied by it afterwards, so that every token has a step of its
    own. Where products of large codes are wrong, activations have 7 bits. ``encoders.backends.Int8Linear`` is
    for CUDA and compiled graphs as well; on processors this one is up to three times as fast.
    """

    def __init__(self, linear: torch.nn.Linear):
        super().__init__()
        weight = linear.weight.detach().float()
        step = weight.abs().amax(dim=1).clamp_min(1e-12) / 127
        self.packed, self.reduced = _packed(weight, step), saturates()
        self.bias = None if linear.bias is None else linear.bias.detach().float()
        self.in_features, self.out_features = linear.in_features, linear.out_features

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = x.reshape(-1, self.in_features).float()
        largest = rows.abs().amax(dim=1, keepdim=True).clamp_min(1e-12)
        out = torch.ops.quantized.linear_dynamic(rows / largest, self.packed, self.reduced) * largest
        if self.bias is not None:
            out += self.bias
        return out.reshape(*x.shape[:-1], self.out_features)


# Layers that keep float32: what enters them is a product of two activations, whose outliers cost the others
# their bits. On Qwen2.5-Coder-0.5B rounding them as well doubles the error of a yes/no difference.
FLOAT32 = ("down_proj",)


def replace_linears(model: Any) -> None:
    """Replace the linear layers of ``model`` in place, but its head and those named in ``FLOAT32``."""
    head = model.get_output_embeddings()
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, torch.nn.Linear) and child is not head and name not in FLOAT32:
                setattr(module, name, Int8Linear(child))
