"""Models with fewer parts: layers, attention heads, neurons, words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys_lib.core.errors import InputError
from recsys_lib.encoders import backends
from recsys_lib.encoders.transformer import Transformer
from recsys_lib.experiments.model_compression.evaluate import Judge, run_model

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor


# A changed model, the precision it runs in, and how it numbers the tokens of the whole one.
Part = tuple[Any, str, Callable[[backends.Tokens], backends.Tokens]]
SHARES = {"float32": 1, "bfloat16": 2, "int8": 4}


def without_layers(model: Any, kept: Sequence[int]) -> Any:
    """A copy of a BERT with only the layers ``kept``, in order."""
    import torch

    smaller = deepcopy(model)
    smaller.encoder.layer = torch.nn.ModuleList([smaller.encoder.layer[i] for i in kept])
    smaller.config.num_hidden_layers = len(kept)
    return smaller


def without_heads(model: Any, kept: int, sums: dict[str, Tensor]) -> Any:
    """A copy of a BERT each of whose layers keeps ``kept`` of its attention heads: those whose output, times
    its outgoing weights, is greatest.

    sums: ``weights.hessians`` of the same model. With ``H = Xᵀ X`` of the inputs of a layer's output matrix,
    the squared length of all that head ``h`` adds is ``trace(W_h H_hh W_hᵀ)``.
    """
    import torch

    smaller = deepcopy(model)
    size = model.config.hidden_size // model.config.num_attention_heads
    if not 1 <= kept <= model.config.num_attention_heads:
        raise InputError(f"kept={kept!r}: expected 1 to {model.config.num_attention_heads} heads")
    for i, layer in enumerate(smaller.encoder.layer):
        attention, out = layer.attention.self, layer.attention.output.dense
        heads = out.weight.data.reshape(out.out_features, -1, size)
        both = sums[f"encoder.layer.{i}.attention.output.dense"].reshape(-1, size, heads.shape[1], size)
        says = torch.einsum("ohi,hihj,ohj->h", heads, both, heads)
        chosen = says.topk(kept).indices.sort().values
        places = (chosen[:, None] * size + torch.arange(size)).flatten()
        for linear in (attention.query, attention.key, attention.value):
            linear.weight.data, linear.bias.data = linear.weight.data[places], linear.bias.data[places]
            linear.out_features = len(places)
        out.weight.data, out.in_features = out.weight.data[:, places].contiguous(), len(places)
        attention.num_attention_heads, attention.all_head_size = kept, len(places)
    smaller.config.num_attention_heads, smaller.config.head_dim = kept, size
    return smaller


def without_neurons(model: Any, kept: int, largest: dict[str, np.ndarray]) -> Any:
    """A copy of a BERT whose feed-forward layers keep ``kept`` of their neurons: those with the greatest
    output times outgoing weights.

    largest: ``activations`` of the same model.
    """
    import torch

    smaller = deepcopy(model)
    for i, layer in enumerate(smaller.encoder.layer):
        up, down = layer.intermediate.dense, layer.output.dense
        says = torch.from_numpy(largest[f"encoder.layer.{i}.output.dense"]) * down.weight.data.norm(dim=0)
        chosen = says.topk(kept).indices.sort().values
        up.weight.data, up.bias.data = up.weight.data[chosen], up.bias.data[chosen]
        down.weight.data = down.weight.data[:, chosen].contiguous()
        up.out_features = down.in_features = kept
    smaller.config.intermediate_size = kept
    return smaller


def without_words(
    model: Any, kept: np.ndarray, unknown: int
) -> tuple[Any, Callable[[backends.Tokens], backends.Tokens]]:
    """A copy of a BERT whose table holds only the token ids ``kept``, and how it numbers tokens;
    other tokens become ``unknown``.
    """
    import torch

    smaller = deepcopy(model)
    ids = np.union1d(kept, [unknown])
    place = np.full(smaller.config.vocab_size, np.searchsorted(ids, unknown))
    place[ids] = np.arange(len(ids))
    table = smaller.embeddings.word_embeddings.weight.data[torch.from_numpy(ids)]
    smaller.embeddings.word_embeddings = torch.nn.Embedding(len(ids), table.shape[1], _weight=table)
    smaller.config.vocab_size = len(ids)
    return smaller, lambda tokens: [(place[np.asarray(row)].tolist(), begin) for row, begin in tokens]


def n_bytes(model: Any) -> int:
    """Bytes of a model's parameters."""
    return sum(p.numel() * p.element_size() for p in model.parameters())


def parts_quality(
    encoder: Transformer, texts: Sequence[str], judge: Judge, parts: Mapping[str, Part]
) -> pd.DataFrame:
    """What each of ``parts`` recommends, and the megabytes of its parameters: one row each."""
    import pandas as pd

    tokens, rows = encoder.tokenize(list(texts)), {}
    for name, (model, precision, renumber) in parts.items():
        found = judge.judge(run_model(encoder, model, renumber(tokens), precision))
        rows[name] = {**found, "MB": n_bytes(model) / 1e6 / SHARES[precision]}
    return pd.DataFrame(rows).T
