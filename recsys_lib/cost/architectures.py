"""What a transformer is made of, read from its configuration alone: every matrix, and how often a token
meets it.

A configuration in the Hugging Face form becomes a flat list of ``Weight`` (matrices and vectors) and of
``Attention`` (stacks of like layers). Parameters, bytes and operations are sums over those lists
(``recsys_lib.cost.sizing``), so a new family needs one reading function here and nothing elsewhere.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from recsys_lib.core.errors import InputError
from recsys_lib.core.paths import TABLES

# Parts that are looked up or added and so never multiply.
NEVER_MULTIPLY = ("embedding", "vector")


@dataclass(frozen=True)
class Weight:
    """``copies`` matrices ``[outputs, inputs]``; a token goes through ``used`` of them (default: all).

    part: embedding (rows looked up), vector (biases, norms), attention, feed-forward, experts, router,
    pooler (once per sequence), output (once per predicted token). stack: encoder or decoder; cross for the
    keys and values a decoder makes of the encoder's tokens; shared for the embedding of both. tied: the
    numbers are another weight's.
    """

    part: str
    outputs: int
    inputs: int
    copies: int = 1
    used: int = -1
    stack: str = "decoder"
    tied: bool = False

    @property
    def parameters(self) -> int:
        return 0 if self.tied else self.outputs * self.inputs * self.copies

    @property
    def copies_used(self) -> int:
        return self.copies if self.used < 0 else self.used


@dataclass(frozen=True)
class Attention:
    """``layers`` like attention layers.

    key_dim, value_dim: per head. cached: values kept per token and layer. window: how many tokens a query
    sees, itself included (None: all). latent_dim: width of the compressed vector that stands for the
    values, 0 where there is none.
    """

    layers: int
    heads: int
    key_dim: int
    value_dim: int
    cached: int = 0
    causal: bool = True
    window: int | None = None
    stack: str = "decoder"
    latent_dim: int = 0

    @property
    def decode_dim(self) -> int:
        """Multiply-adds per head and cached token when one token is decoded: for the score, and for the
        value.
        """
        return self.cached + self.latent_dim if self.latent_dim else self.key_dim + self.value_dim


@dataclass(frozen=True)
class Architecture:
    """A model as lists of weights and attention stacks.

    activation_width: values per token alive at the widest point of a layer in transformers' own code (see
    ``sizing.activation_bytes``). attention_width: the same inside attention, scores apart.
    """

    name: str
    model_type: str
    hidden_size: int
    weights: tuple[Weight, ...]
    attention: tuple[Attention, ...]
    activation_width: int
    attention_width: int

    @property
    def reads_with(self) -> str:
        """The stack that reads the input: the encoder where there is one."""
        return "encoder" if any(w.stack == "encoder" for w in self.weights) else "decoder"

    @property
    def generates(self) -> bool:
        """Whether it has an output matrix and so can predict tokens."""
        return any(w.part == "output" for w in self.weights)

    def parts(self) -> dict[str, int]:
        """Parameters by part; they sum to the whole."""
        counts: dict[str, int] = {}
        for w in self.weights:
            counts[w.part] = counts.get(w.part, 0) + w.parameters
        return counts


def _need(config: Mapping[str, Any], *keys: str) -> list[int]:
    missing = [key for key in keys if config.get(key) is None]
    if missing:
        raise InputError(f"config of type {config.get('model_type')!r} lacks {', '.join(missing)}")
    return [int(config[key]) for key in keys]


def _bert(c: Mapping[str, Any]) -> Architecture:
    vocabulary, h, layers, heads, i, positions, types = _need(
        c,
        "vocab_size",
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "intermediate_size",
        "max_position_embeddings",
        "type_vocab_size",
    )
    # Biases of q, k, v and output, of both feed-forward matrices, and two layer norms of 2h.
    vectors = layers * (4 * h + i + h + 4 * h) + 2 * h + h
    weights = (
        Weight("embedding", vocabulary + positions + types, h, stack="encoder"),
        Weight("attention", h, h, 4 * layers, stack="encoder"),
        Weight("feed-forward", i, h, layers, stack="encoder"),
        Weight("feed-forward", h, i, layers, stack="encoder"),
        Weight("pooler", h, h, stack="encoder"),
        Weight("vector", vectors, 1, stack="encoder"),
    )
    attention = (Attention(layers, heads, h // heads, h // heads, causal=False, stack="encoder"),)
    return Architecture("", c["model_type"], h, weights, attention, max(3 * h + 2 * i, 6 * h + i), 5 * h)


def _gpt2(c: Mapping[str, Any]) -> Architecture:
    vocabulary, h, layers, heads, positions = _need(
        c, "vocab_size", "n_embd", "n_layer", "n_head", "n_positions"
    )
    i = int(c.get("n_inner") or 4 * h)
    weights = (
        Weight("embedding", vocabulary + positions, h),
        Weight("attention", h, h, 4 * layers),
        Weight("feed-forward", i, h, layers),
        Weight("feed-forward", h, i, layers),
        Weight("output", vocabulary, h, tied=True),
        Weight("vector", layers * (4 * h + i + h + 4 * h) + 2 * h, 1),
    )
    attention = (Attention(layers, heads, h // heads, h // heads, 2 * h),)
    # Its GELU is written out in Python and holds four copies of the inner width.
    return Architecture("", c["model_type"], h, weights, attention, 5 * h + 4 * i, 8 * h)


def _t5(c: Mapping[str, Any]) -> Architecture:
    vocabulary, h, i, layers, heads, d = _need(
        c, "vocab_size", "d_model", "d_ff", "num_layers", "num_heads", "d_kv"
    )
    decoders = int(c.get("num_decoder_layers") or layers)
    gated = str(c.get("feed_forward_proj", "relu")).startswith("gated") or bool(c.get("is_gated_act"))
    tied = bool(c.get("tie_word_embeddings", True))
    buckets, inner, ups = int(c.get("relative_attention_num_buckets", 32)), heads * d, 2 if gated else 1
    weights = [
        Weight("embedding", vocabulary, h, stack="shared"),
        Weight("attention", inner, h, 2 * decoders, stack="cross"),
        Weight("output", vocabulary, h, tied=tied),
    ]
    # A decoder layer has attention twice; the keys and values of the second are listed as cross above.
    for stack, n, inward, norms in (("encoder", layers, 3, 2), ("decoder", decoders, 4, 3)):
        weights += [
            Weight("attention", inner, h, inward * n, stack=stack),
            Weight("attention", h, inner, (norms - 1) * n, stack=stack),
            Weight("feed-forward", i, h, ups * n, stack=stack),
            Weight("feed-forward", h, i, n, stack=stack),
            Weight("embedding", buckets, heads, stack=stack),
            Weight("vector", (norms * n + 1) * h, 1, stack=stack),
        ]
    attention = (
        Attention(layers, heads, d, d, causal=False, stack="encoder"),
        Attention(decoders, heads, d, d, 2 * inner),
        Attention(decoders, heads, d, d, 2 * inner, causal=False, stack="cross"),
    )
    return Architecture(
        "", c["model_type"], h, tuple(weights), attention, 4 * h + (1 + ups) * i, 4 * h + 4 * inner
    )


def _windows(c: Mapping[str, Any], layers: int) -> list[tuple[int, int | None]]:
    """How many layers see how far back: ``(layers, window)``."""
    window, kinds = c.get("sliding_window"), c.get("layer_types")
    if not window or c.get("use_sliding_window") is False:
        return [(layers, None)]
    if not kinds:
        return [(layers, int(window))]
    near = sum(kind == "sliding_attention" for kind in kinds)
    return [(n, w) for n, w in ((near, int(window)), (layers - near, None)) if n]


def _experts(c: Mapping[str, Any], layers: int) -> tuple[int, int, int, int]:
    """Experts per layer, experts per token, their inner width, and layers that have them; zeros where there
    are none.
    """
    experts = int(c.get("num_local_experts") or c.get("num_experts") or c.get("n_routed_experts") or 0)
    if not experts:
        return 0, 0, 0, 0
    (per_token,) = _need(c, "num_experts_per_tok")
    inner = int(c.get("moe_intermediate_size") or c["intermediate_size"])
    step, dense = int(c.get("decoder_sparse_step") or 1), set(c.get("mlp_only_layers") or ())
    first = int(c.get("first_k_dense_replace") or 0)
    sparse = sum(n >= first and n not in dense and (n + 1) % step == 0 for n in range(layers))
    return experts, per_token, inner, sparse


def _decoder(c: Mapping[str, Any]) -> Architecture:
    """Llama and its relatives: Mistral, Qwen2, Qwen3, Mixtral, Qwen3-MoE, gpt-oss and DeepSeek-V3."""
    kind = c["model_type"]
    vocabulary, h, layers, heads, i = _need(
        c, "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"
    )
    experts, per_token, expert_width, sparse = _experts(c, layers)
    dense, shared = layers - sparse, int(c.get("n_shared_experts") or 0)
    weights, attention, vectors, width = (_latent if kind == "deepseek_v3" else _grouped)(c, layers, heads, h)
    vectors += layers * 2 * h + h
    if c.get("mlp_bias"):
        vectors += dense * (2 * i + h)
    if kind == "gpt_oss":
        # Biases of the router, one sink per head, and the biases of the experts.
        vectors += layers * (experts + heads)
        weights.append(Weight("vector", 2 * expert_width + h, 1, sparse * experts, sparse * per_token))
    for part, inner, copies, used in (
        ("feed-forward", i, dense, dense),
        ("feed-forward", expert_width * shared, sparse if shared else 0, sparse if shared else 0),
        ("experts", expert_width, sparse * experts, sparse * per_token),
    ):
        if copies:
            weights += [Weight(part, inner, h, 2 * copies, 2 * used), Weight(part, h, inner, copies, used)]
    if sparse:
        weights.append(Weight("router", experts, h, sparse))
    weights += [
        Weight("embedding", vocabulary, h),
        Weight("output", vocabulary, h, tied=bool(c.get("tie_word_embeddings", False))),
        Weight("vector", vectors, 1),
    ]
    inner = max(i if dense else 0, per_token * expert_width + shared * expert_width)
    return Architecture(
        "", kind, h, tuple(weights), attention, max(4 * h + 3 * inner, 4 * h + width), 3 * h + width
    )


def _grouped(c: Mapping[str, Any], layers: int, heads: int, h: int) -> tuple[list[Weight], tuple, int, int]:
    kind, groups = c["model_type"], int(c.get("num_key_value_heads") or heads)
    d = int(c.get("head_dim") or h // heads)
    weights = [
        Weight("attention", heads * d, h, layers),
        Weight("attention", groups * d, h, 2 * layers),
        Weight("attention", h, heads * d, layers),
    ]
    vectors = 0
    if kind == "qwen2" or c.get("attention_bias"):
        vectors += layers * (heads + 2 * groups) * d
    if kind != "qwen2" and c.get("attention_bias"):
        vectors += layers * h
    if kind in ("qwen3", "qwen3_moe"):
        vectors += layers * 2 * d
    stacks = tuple(
        Attention(n, heads, d, d, cached=2 * groups * d, window=window) for n, window in _windows(c, layers)
    )
    return weights, stacks, vectors, 4 * heads * d


def _latent(c: Mapping[str, Any], layers: int, heads: int, h: int) -> tuple[list[Weight], tuple, int, int]:
    """Multi-head latent attention (DeepSeek-V2, 2024): keys and values of all heads come from one small
    vector.

    Only that vector and one rotary key are cached. Decoding folds the up-projections into query and output,
    so a cached token costs ``rank + rotary`` multiply-adds per head for the score and ``rank`` for the
    value.
    """
    rank, rotary, plain, value = _need(
        c, "kv_lora_rank", "qk_rope_head_dim", "qk_nope_head_dim", "v_head_dim"
    )
    query, key = int(c.get("q_lora_rank") or 0), plain + rotary
    down_up = [Weight("attention", query, h, layers), Weight("attention", heads * key, query, layers)]
    weights = [
        *(down_up if query else [Weight("attention", heads * key, h, layers)]),
        Weight("attention", rank + rotary, h, layers),
        Weight("attention", heads * (plain + value), rank, layers),
        Weight("attention", h, heads * value, layers),
    ]
    stack = Attention(layers, heads, key, value, cached=rank + rotary, latent_dim=rank)
    return weights, (stack,), layers * (query + rank), 4 * heads * key


_FAMILIES: dict[str, Callable[[Mapping[str, Any]], Architecture]] = {
    **dict.fromkeys(("bert", "roberta", "xlm-roberta"), _bert),
    "gpt2": _gpt2,
    **dict.fromkeys(("t5", "mt5"), _t5),
    **dict.fromkeys(
        ("llama", "mistral", "qwen2", "qwen3", "mixtral", "qwen3_moe", "deepseek_v3", "gpt_oss"), _decoder
    ),
}


def from_config(config: Mapping[str, Any] | Any, name: str = "") -> Architecture:
    """The architecture of a configuration: a dictionary (``config.json``) or a transformers configuration
    object.

    Raises:
        InputError: a family not known here, or a size that is missing.

    >>> tiny = dict(model_type="llama", vocab_size=10, hidden_size=4, num_hidden_layers=1,
    ...             num_attention_heads=2, num_key_value_heads=1, intermediate_size=8)
    >>> from_config(tiny).parts()
    {'attention': 48, 'feed-forward': 96, 'embedding': 40, 'output': 40, 'vector': 12}
    """
    plain = config if isinstance(config, Mapping) else config.to_dict()
    kind = plain.get("model_type")
    if kind not in _FAMILIES:
        raise InputError(f"model_type={kind!r}: sizes are known for {', '.join(_FAMILIES)}")
    read = _FAMILIES[kind](plain)
    return replace(read, name=name or str(plain.get("_name_or_path") or kind))


@lru_cache
def models() -> dict[str, dict]:
    """``data/models.toml``: published configurations by short name, each with ``config``, ``source`` and
    ``date``.
    """
    with open(TABLES / "models.toml", "rb") as file:
        return tomllib.load(file)


def architecture(name: str) -> Architecture:
    """A model of ``data/models.toml``.

    >>> sum(architecture("llama-3-8b").parts().values())
    8030261248
    """
    if name not in models():
        raise InputError(f"model {name!r} is not in data/models.toml: choose from {', '.join(models())}")
    return from_config(models()[name]["config"], name)
