"""EfficientNet-Lite0: a convolutional network for pictures, trained on ImageNet, small enough for a
processor.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from recsys_lib.core.errors import InputError

SIZE, DIMENSION, CLASSES = 224, 1280, 1000
# Of the pixels, 0 to 255; a square of 224 of 256 of the shorter side is read.
MEAN, SPREAD, CROP = 127.0, 128.0, 224 / 256
EPSILON = 1e-3
# Blocks: how many, kernel, stride of the first, expansion of the channels, output channels (Tan and Le, 2019,
# table 1, without squeeze and excitation).
STAGES = (
    (1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192), (1, 3, 1, 6, 320),
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Convolution:
    """A convolution with its batch norm folded in: weight ``[out, in / groups, k, k]``, bias ``[out]``."""

    weight: torch.Tensor
    bias: torch.Tensor
    stride: int
    groups: int
    clipped: bool

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """``[n, in, h, w]`` to ``[n, out, h / stride, w / stride]``, padded as TensorFlow's "same"."""
        kernel = self.weight.shape[-1]
        missing = [max((-(-s // self.stride) - 1) * self.stride + kernel - s, 0) for s in x.shape[2:]]
        if any(missing):
            high, wide = missing
            x = functional.pad(x, (wide // 2, wide - wide // 2, high // 2, high - high // 2))
        out = functional.conv2d(x, self.weight, self.bias, self.stride, groups=self.groups)
        return out.clamp_(0, 6) if self.clipped else out


class EfficientNetLite0:
    """The network from its tensors by the names of the published checkpoint.

    Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019; Lite:
    without squeeze and excitation, activations cut at 6.
    """

    def __init__(self, tensors: Mapping[str, torch.Tensor]):
        try:
            self.stem = _folded(tensors, "_conv_stem", "_bn0", stride=2)
            self.blocks = list(_blocks(tensors))
            self.head = _folded(tensors, "_conv_head", "_bn1")
            self.classifier = tensors["_fc.weight"], tensors["_fc.bias"]
        except KeyError as error:
            raise InputError(f"EfficientNet-Lite0: its file lacks the tensor {error}") from error

    @classmethod
    def load(cls, folder: Path) -> EfficientNetLite0:
        """From ``model.safetensors`` in a folder."""
        from safetensors.torch import load_file

        return cls(load_file(folder / "model.safetensors"))

    def features(self, pictures: torch.Tensor) -> torch.Tensor:
        """What the classifier reads, ``[n, 1280]``, of ``pictures [n, 3, 224, 224]``,
        ``(pixel - 127) / 128``.
        """
        with torch.inference_mode():
            x = self.stem(pictures.contiguous(memory_format=torch.channels_last))
            for steps, has_skip in self.blocks:
                inside = x
                for step in steps:
                    inside = step(inside)
                x = inside + x if has_skip else inside
            return self.head(x).mean(dim=(2, 3))

    def classify(self, features: torch.Tensor) -> torch.Tensor:
        """Logits ``[n, 1000]`` of ImageNet's classes, in the order of its synsets."""
        weight, bias = self.classifier
        return functional.linear(features, weight, bias)


def _blocks(tensors: Mapping[str, torch.Tensor]):
    place, channels = 0, 32
    for repeats, _, first_stride, expansion, out in STAGES:
        for repeat in range(repeats):
            name, stride = f"_blocks.{place}.", first_stride if repeat == 0 else 1
            wide = channels * expansion
            steps = [_folded(tensors, f"{name}_expand_conv", f"{name}_bn0")] if expansion > 1 else []
            steps.append(
                _folded(tensors, f"{name}_depthwise_conv", f"{name}_bn1", stride=stride, groups=wide)
            )
            steps.append(_folded(tensors, f"{name}_project_conv", f"{name}_bn2", clipped=False))
            yield steps, stride == 1 and channels == out
            place, channels = place + 1, out


def _folded(
    tensors: Mapping[str, torch.Tensor],
    convolution: str,
    norm: str,
    stride: int = 1,
    groups: int = 1,
    clipped: bool = True,
) -> Convolution:
    """A convolution and the batch norm after it as one convolution with a bias, folded in float64."""
    gain, shift, mean, variance = (
        tensors[f"{norm}.{part}"].double() for part in ("weight", "bias", "running_mean", "running_var")
    )
    scale = gain / (variance + EPSILON).sqrt()
    weight = tensors[f"{convolution}.weight"].double() * scale[:, None, None, None]
    folded = weight.float().contiguous(memory_format=torch.channels_last)
    return Convolution(folded, (shift - mean * scale).float(), stride, groups, clipped)


def pixels(square: np.ndarray) -> np.ndarray:
    """What the network reads, float32 ``[3, h, w]``, of a picture uint8 ``[h, w, 3]``."""
    return ((square.astype(np.float32) - MEAN) / SPREAD).transpose(2, 0, 1)
