"""A decoder's weights as a GGUF file, which llama.cpp reads: float32, float16 or fewer bits.

The file has no vocabulary: token ids come from the model's own tokenizer, so that both backends read the same
ids.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recsys_lib.core.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

# The type of linear layers' weights by precision. Q8_0 and Q4_1 have a float16 step per 32 weights, Q4_1 also
# a float16 minimum: the grid of ``weights.round_to_nearest`` with bits=4, group=32.
TYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16", "int8": "Q8_0", "int4": "Q4_1"}
# Model types of transformers whose layers the file can hold, with GGUF's names.
ARCHITECTURES = {"llama": "LLAMA", "qwen2": "QWEN2"}
# Weights of a block in 8 and 4 bits; rows that are no multiple of it stay in float32.
BLOCK = 32


def write(model: Any, path: Path, precision: str) -> None:
    """Write ``model``, a causal language model of transformers in float32, to ``path``.

    Linear layers get the type of ``precision``; in 8 and 4 bits the embedding and the head keep float16,
    norms and biases always keep float32.

    Raises:
        InputError: an architecture, or a scaling of positions, that the file cannot hold.
    """
    from gguf import GGMLQuantizationType, GGUFWriter
    from gguf.quants import quantize

    config = model.config
    check(config)
    writer = GGUFWriter(path, ARCHITECTURES[config.model_type].lower())
    _describe(writer, config)
    for name, weight in _tensors(model):
        kind = GGMLQuantizationType[_type(name, weight, precision)]
        writer.add_tensor(name, quantize(weight, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def check(config: Any) -> None:
    """Refuse a configuration of transformers that ``write`` does not know.

    Raises:
        InputError: see ``write``.
    """
    kind, scaling = config.model_type, config.rope_parameters.get("rope_type", "default")
    if kind not in ARCHITECTURES:
        raise InputError(
            f"a {kind} model on llama.cpp: expected one of {', '.join(ARCHITECTURES)}; use backend='torch'"
        )
    if scaling != "default" or getattr(config, "use_sliding_window", False):
        raise InputError(
            f"a {kind} model with rope_type={scaling!r} or a sliding window on llama.cpp: expected neither; "
            "use backend='torch'"
        )


def _head_size(config: Any) -> int:
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def _describe(writer: Any, config: Any) -> None:
    """The shape of the model, under GGUF's keys."""
    size = _head_size(config)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(size)
    writer.add_value_length(size)
    writer.add_rope_dimension_count(size)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("no_vocab")


def _tensors(model: Any) -> Iterator[tuple[str, np.ndarray]]:
    """Every weight under GGUF's name, float32, without a head that is the embedding."""
    from gguf import MODEL_ARCH, get_tensor_name_map

    config = model.config
    names = get_tensor_name_map(MODEL_ARCH[ARCHITECTURES[config.model_type]], config.num_hidden_layers)
    for name, weight in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        if config.model_type == "llama":
            heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
            weight = _rotated_pairs(weight, heads.get(name.split(".")[-2]))
        written = names.get_name(name, try_suffixes=(".weight", ".bias"))
        assert written is not None, name  # the architectures above have a name for every weight
        yield written, weight.float().numpy()


def _rotated_pairs(weight: Tensor, heads: int | None) -> Tensor:
    """Rows of queries or keys in the order that llama.cpp rotates for this architecture.

    transformers rotates row i of a head with row i + half of the head, llama.cpp neighbouring rows. The
    products of queries and keys do not depend on the order.
    """
    if heads is None:
        return weight
    return weight.reshape(heads, 2, -1, *weight.shape[1:]).transpose(1, 2).reshape(weight.shape).contiguous()


def _type(name: str, weight: np.ndarray, precision: str) -> str:
    """GGUF's type of one weight."""
    if weight.ndim == 1:
        return "F32"
    if precision in ("int8", "int4"):
        if name in ("token_embd.weight", "output.weight"):
            return "F16"
        if weight.shape[-1] % BLOCK:
            return "F32"
    return TYPES[precision]
