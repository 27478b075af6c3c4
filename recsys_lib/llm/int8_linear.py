"""Linear layers in 8-bit integers on a processor: weights per output channel, activations per token."""

from __future__ import annotations

import warnings
from typing import Any

import torch


class Int8Linear(torch.nn.Module):
    """``x W^T + b`` with codes of 8 bits for ``W [out, in]`` and ``x [..., in]``, sums in 32 bits.

    torch's dynamic product has one step for all of ``x``. Each row is therefore divided by its largest
    absolute value first, and the product multiplied by it afterwards, so that every token has a step of its
    own.
    """

    def __init__(self, linear: torch.nn.Linear):
        super().__init__()
        weight = linear.weight.detach().float()
        step = weight.abs().amax(dim=1).clamp_min(1e-12) / 127
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # torch announces another interface that it does not have for processors yet
            zeros = torch.zeros(len(step), dtype=torch.long)
            codes = torch.quantize_per_channel(weight, step.double(), zeros, 0, torch.qint8)
            self.packed = torch.ops.quantized.linear_prepack(codes, None)
        self.bias = None if linear.bias is None else linear.bias.detach().float()
        self.in_features, self.out_features = linear.in_features, linear.out_features

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = x.reshape(-1, self.in_features).float()
        largest = rows.abs().amax(dim=1, keepdim=True).clamp_min(1e-12)
        out = torch.ops.quantized.linear_dynamic(rows / largest, self.packed) * largest
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
