"""Models with fewer parts: layers, attention heads, neurons, words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys_lib.core.errors import InputError
from recsys_lib.encoders import backends
from recsys_lib.encoders.distilled import Distilled
from recsys_lib.encoders.transformer import Transformer
from recsys_lib.experiments.model_compression.bits import input_products
from recsys_lib.experiments.model_compression.evaluate import VectorEvaluator, run_model
from recsys_lib.experiments.model_compression.layers import activations
from recsys_lib.llm.weights import bits_per_weight

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


def pruned_models(encoder: Transformer, texts: Sequence[str], fractions: Sequence[float]) -> dict[str, Part]:
    """The whole model, and copies that keep each of ``fractions`` of its layers, heads and neurons, and half
    of its words.

    Layers are the first ones; of one half of them also every other. Heads and neurons are chosen, and words
    counted, on ``texts``.
    """
    model, some = encoder.model, list(texts[:256])
    sums, largest = input_products(encoder, some), activations(encoder, some)
    n = model.config.num_hidden_layers
    changed = {"whole": model}
    for fraction in fractions:
        layers, heads, neurons = (kept_of(model, kind, fraction) for kind in KINDS)
        changed[fraction_name(model, "layers", fraction)] = without_layers(model, range(layers))
        if 2 * layers == n:
            changed[f"every other layer of {n}"] = without_layers(model, range(0, n, 2))
        changed[fraction_name(model, "heads", fraction)] = without_heads(model, heads, sums)
        changed[fraction_name(model, "neurons", fraction)] = without_neurons(model, neurons, largest)
    found: dict[str, Part] = {name: (part, "float32", list) for name, part in changed.items()}
    seen = np.unique([i for ids, _ in encoder.tokenize(list(texts[::2])) for i in ids])
    fewer, renumber = without_words(model, seen, encoder.tokenizer.unk_token_id)
    found[f"{len(seen):,} words of {model.config.vocab_size:,}"] = (fewer, "float32", renumber)
    return found


KINDS = {"layers": "num_hidden_layers", "heads": "num_attention_heads", "neurons": "intermediate_size"}


def kept_of(model: Any, kind: str, fraction: float) -> int:
    """How many of its layers, heads or neurons (``kind``) a model keeps; neurons in steps of 32."""
    if not 0 < fraction <= 1:
        raise InputError(f"fractions={fraction!r}: expected numbers above 0, at most 1")
    total, step = getattr(model.config, KINDS[kind]), 32 if kind == "neurons" else 1
    return max(step, round(total * fraction / step) * step)


def fraction_name(model: Any, kind: str, fraction: float) -> str:
    """How ``pruned_models`` names the model that keeps a fraction, as "3 layers of 6"."""
    return f"{kept_of(model, kind, fraction)} {kind} of {getattr(model.config, KINDS[kind])}"


def static_tables(
    encoder: Transformer, dimensions: Sequence[int], texts: Sequence[str]
) -> dict[str, Distilled]:
    """Static tables distilled from ``encoder``, two for each of ``dimensions``: all tokens weighing alike
    ("even"), and weighed by how rare they are in ``texts`` ("by rarity").
    """
    tables = {}
    for d in dimensions:
        tables[f"static, {d} numbers, even"] = Distilled(encoder, d, "none")
        tables[f"static, {d} numbers, by rarity"] = Distilled(encoder, d, "sif", texts)
    return tables


def weight_sizes(models: Mapping[str, Any]) -> pd.DataFrame:
    """Megabytes of each model's words and layers: a row (model, part), a column for each number of bits of a
    weight.

    4 bits are in groups of 32 that keep a step and a minimum, 5 bits per weight.
    """
    import pandas as pd

    bits = {"float32": 32, "bfloat16": 16, "int8": 8, "4 bits": bits_per_weight(4, 32)}
    rows = {}
    for name, model in models.items():
        words = n_bytes(model.get_input_embeddings())
        for part, size in (("words", words), ("layers", n_bytes(model) - words)):
            rows[name, part] = {form: size * b / 32 / 1e6 for form, b in bits.items()}
    return pd.DataFrame(rows).T


def n_bytes(model: Any) -> int:
    """Bytes of a model's parameters."""
    return sum(p.numel() * p.element_size() for p in model.parameters())


def parts_quality(
    encoder: Transformer,
    texts: Sequence[str],
    evaluator: VectorEvaluator,
    parts: Mapping[str, Part],
    tables: Mapping[str, Distilled] | None = None,
) -> pd.DataFrame:
    """What each of ``parts`` and of the static ``tables`` recommends, and the megabytes of its parameters:
    one row each.

    evaluator: its reference are the vectors of ``encoder``, which stand for the whole model in float32.
    """
    import pandas as pd

    tokens, rows = encoder.tokenize(list(texts)), {}
    for name, (model, precision, renumber) in parts.items():
        whole = model is encoder.model and precision == "float32"
        vectors = evaluator.reference if whole else run_model(encoder, model, renumber(tokens), precision)
        rows[name] = {**evaluator.evaluate(vectors), "MB": n_bytes(model) / 1e6 / SHARES[precision]}
    for name, table in (tables or {}).items():
        rows[name] = {**evaluator.evaluate(table.encode(texts)), "MB": table.table.nbytes / 1e6}
    return pd.DataFrame(rows).T
