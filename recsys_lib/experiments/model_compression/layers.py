"""Where rounding hurts: which layers, which channels, and what finer scales and smoothing do about it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys_lib.core.errors import InputError
from recsys_lib.encoders.transformer import Transformer
from recsys_lib.experiments.model_compression.bits import rounded, through
from recsys_lib.experiments.model_compression.evaluate import over_torch, run_model
from recsys_lib.llm import weights
from recsys_lib.vectors import similarity

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor


# What a linear layer does, by its name in BERT and in Llama.
PLACES = {
    "attention.self.query": "query", "attention.self.key": "key", "attention.self.value": "value",
    "attention.output.dense": "out",
    "intermediate.dense": "up", "output.dense": "down", "self_attn.q_proj": "query",
    "self_attn.k_proj": "key", "self_attn.v_proj": "value",
    "self_attn.o_proj": "out", "mlp.gate_proj": "gate", "mlp.up_proj": "up", "mlp.down_proj": "down",
}  # fmt: skip


def _place(name: str) -> tuple[int, str]:
    """Transformer layer and place in it of a linear layer.

    >>> _place("encoder.layer.3.output.dense")
    (3, 'down')
    """
    found = re.search(r"layers?\.(\d+)\.(.+)$", name)
    if found is None:
        raise InputError(f"layer {name!r}: expected the name of a linear layer inside BERT or Llama")
    return int(found[1]), PLACES.get(found[2], found[2])


def sensitivity(
    encoder: Transformer, texts: Sequence[str], bits: int, group: int, layers: Sequence[int] | None = None
) -> pd.DataFrame:
    """1 - mean cosine when a single linear layer is rounded to ``bits``:
    a row per transformer layer, a column per place in it.

    layers: the transformer layers to try; all of them without it.
    """
    import pandas as pd

    model, tokens = deepcopy(encoder.model), encoder.tokenize(list(texts))
    before = similarity.normalize(run_model(encoder, model, tokens))
    lost: dict[str, dict[int, float]] = {}
    for name in weights.linears(model):
        layer, place = _place(name)
        if layers is not None and layer not in layers:
            continue
        with weights.replaced(model, rounded("nearest", bits, group), [name]):
            after = similarity.normalize(run_model(encoder, model, tokens))
        lost.setdefault(place, {})[layer] = 1 - float(np.einsum("nd,nd->n", before, after).mean())
    return pd.DataFrame(lost)


def outlying(largest: dict[str, np.ndarray]) -> pd.DataFrame:
    """How often the loudest channel of a layer's input exceeds the median one: rows and columns as of
    ``sensitivity``.

    largest: ``activations``.
    """
    import pandas as pd

    found: dict[str, dict[int, float]] = {}
    for name, channels in largest.items():
        layer, place = _place(name)
        found.setdefault(place, {})[layer] = float(channels.max() / np.median(channels))
    return pd.DataFrame(found)


def activations(encoder: Transformer, texts: Sequence[str]) -> dict[str, np.ndarray]:
    """Largest absolute input of every channel of every linear layer over ``texts``, ``[in]`` each."""
    largest: dict[str, np.ndarray] = {}

    def raise_to(name: str, x: Tensor) -> None:
        largest[name] = np.maximum(largest.get(name, 0), x.abs().flatten(0, -2).amax(0).numpy())

    with weights.inputs_to(encoder.model, raise_to):
        through(encoder.model, encoder.tokenize(list(texts)))
    return largest


def largest_weight(weight: Tensor) -> float:
    """How many times the median absolute weight the largest one is."""
    sizes = weight.detach().abs()
    return float(sizes.max() / sizes.median())


def int8_ladder(
    encoder: Transformer, texts: Sequence[str], smoothing: Sequence[float] = (0.5, 0.75)
) -> pd.DataFrame:
    """Mean and worst cosine to float32 of 8-bit weights and activations under ever finer scales, simulated in
    float32.

    Smoothing divides each input channel by ``max|x|^α / max|w|^(1-α)`` and multiplies its weights by it (Xiao
    et al., "SmoothQuant", 2023).
    """
    import pandas as pd

    tokens, largest = encoder.tokenize(list(texts)), activations(encoder, texts)
    before, rows = similarity.normalize(run_model(encoder, encoder.model, tokens)), {}
    # Name → a scale per output channel, α, a scale per token, an offset.
    rungs: dict[str, tuple[bool, float | None, bool, bool]] = {
        "one per matrix | one per batch": (False, None, False, False),
        "per output | one per batch": (True, None, False, False),
        **{f"per output, smoothed α={a} | one per batch": (True, a, False, False) for a in smoothing},
        "per output | per token": (True, None, True, False),
        "per output | per token, offset": (True, None, True, True),
    }  # fmt: skip
    for rung, (per_output, alpha, per_token, offset) in rungs.items():
        model = deepcopy(encoder.model)
        for name, layer in weights.linears(model).items():
            smooth = _smoothing(layer.weight.data, largest[name], alpha)
            weight = layer.weight.data * smooth
            scale = (weight.abs().amax(1, keepdim=True) if per_output else weight.abs().max()) / 127
            layer.weight.data = (weight / scale).round() * scale
            layer.register_forward_pre_hook(_rounding(smooth, per_token, offset))
        after = similarity.normalize(over_torch(encoder, model).run_tokens(tokens))
        cosines = np.einsum("nd,nd->n", before, after)
        rows[rung] = {"mean": cosines.mean(), "worst": cosines.min()}
    return pd.DataFrame(rows).T


def _smoothing(weight: Tensor, largest: np.ndarray, alpha: float | None) -> Tensor:
    """What each input channel is divided by, ``[in]``."""
    import torch

    if alpha is None:
        return torch.ones(weight.shape[1])
    loud, heavy = torch.from_numpy(largest).clamp(min=1e-5), weight.abs().amax(0).clamp(min=1e-5)
    return loud**alpha / heavy ** (1 - alpha)


def _rounding(smooth: Tensor, per_token: bool, offset: bool) -> Callable:
    """A hook that divides a layer's input by ``smooth`` and rounds it to 8 bits."""

    def hook(module: Any, inputs: tuple) -> tuple:
        x = inputs[0] / smooth
        over = -1 if per_token else None
        if offset:
            low = x.amin(over, keepdim=True)
            step = (x.amax(over, keepdim=True) - low).clamp(min=1e-9) / 255
            return (((x - low) / step).round() * step + low,)
        most = x.abs().amax(over, keepdim=True) if over else x.abs().max()
        step = most.clamp(min=1e-9) / 127
        return ((x / step).round() * step,)

    return hook
