"""Small configurations of every family of transformers, and what transformers builds and torch counts."""

import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForSeq2SeqLM

# Small models of every family, each with something unusual: grouped queries, uneven sizes, biases, windows,
# experts.
SHAPE = {
    "vocab_size": 500,
    "hidden_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 20,
    "intermediate_size": 112,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
TINY = {
    "bert": {**SHAPE, "max_position_embeddings": 64},
    "gpt2": {
        "vocab_size": 500,
        "n_embd": 48,
        "n_layer": 3,
        "n_head": 4,
        "n_inner": 100,
        "bos_token_id": 1,
        "eos_token_id": 2,
    },
    "t5": {
        "vocab_size": 500,
        "d_model": 48,
        "d_ff": 112,
        "num_layers": 2,
        "num_decoder_layers": 3,
        "num_heads": 4,
        "d_kv": 20,
    },
    "mt5": {
        "vocab_size": 500,
        "d_model": 48,
        "d_ff": 112,
        "num_layers": 3,
        "num_heads": 4,
        "d_kv": 12,
        "feed_forward_proj": "gated-gelu",
        "tie_word_embeddings": False,
    },
    "llama": {**SHAPE, "attention_bias": True, "mlp_bias": True},
    "mistral": {**SHAPE, "sliding_window": 5},
    "qwen2": {**SHAPE, "head_dim": 12, "tie_word_embeddings": True},
    "qwen3": {**SHAPE, "attention_bias": True},
    "mixtral": {**SHAPE, "num_local_experts": 5, "num_experts_per_tok": 2},
    "qwen3_moe": {
        **SHAPE,
        "num_experts": 6,
        "num_experts_per_tok": 3,
        "moe_intermediate_size": 24,
        "mlp_only_layers": [1],
    },
    "gpt_oss": {**SHAPE, "num_local_experts": 5, "num_experts_per_tok": 2, "sliding_window": 6},
    "deepseek_v3": {
        **SHAPE,
        "num_key_value_heads": 4,
        "head_dim": 8,
        "n_routed_experts": 8,
        "num_experts_per_tok": 3,
        "n_group": 2,
        "topk_group": 2,
        "n_shared_experts": 2,
        "moe_intermediate_size": 24,
        "first_k_dense_replace": 1,
        "q_lora_rank": 24,
        "kv_lora_rank": 16,
        "qk_rope_head_dim": 8,
        "qk_nope_head_dim": 16,
        "v_head_dim": 12,
    },
}
GENERATING = [kind for kind in TINY if kind != "bert"]
SEQUENCES = ("t5", "mt5")


def tiny(kind):
    config = AutoConfig.for_model(kind, **TINY[kind])
    config.architectures = None
    return config


def class_for(kind):
    if kind in ("bert", "xlm-roberta"):
        return AutoModel
    return AutoModelForSeq2SeqLM if kind in SEQUENCES else AutoModelForCausalLM


def build(config, device="cpu", attention="eager"):
    # Plain loops over experts: torch's counter does not see into the grouped product that is the default.
    experts = {"experts_implementation": "eager"} if hasattr(config, "num_experts_per_tok") else {}
    with torch.device(device):
        return (
            class_for(config.model_type).from_config(config, attn_implementation=attention, **experts).eval()
        )


def counted(function):
    """What torch's own counter saw."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        out = function()
    return counter.get_total_flops(), out


def ids(batch, tokens, device="cpu"):
    return torch.ones(batch, tokens, dtype=torch.long, device=device)
