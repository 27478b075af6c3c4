"""Estimates equal what transformers builds, torch counts, files weigh and others published; money shows its
inputs.
"""

import itertools
import json
import math
import sys
import types

import gguf
import gguf.quants
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForSeq2SeqLM

from recsys_lib import cost
from recsys_lib.core.errors import InputError
from recsys_lib.cost import energy, machines, sizing, units
from recsys_lib.cost.architectures import Attention
from recsys_lib.data import assets
from recsys_lib.hardware import machine

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


# --- Parameters


@pytest.mark.parametrize("name", cost.models())
def test_parameters_are_exactly_those_transformers_builds(name):
    config = dict(cost.models()[name]["config"])
    built = AutoConfig.for_model(config.pop("model_type"), **config)
    exact = sum(p.numel() for p in build(built, "meta").parameters())
    assert cost.parameters(cost.architecture(name)) == exact
    assert cost.parameters(cost.from_config(built)) == exact


@pytest.mark.parametrize("kind", TINY)
def test_parameters_of_small_models_of_every_family(kind):
    model = cost.from_config(tiny(kind))
    assert cost.parameters(model) == sum(p.numel() for p in build(tiny(kind), "meta").parameters())
    assert sum(model.parts().values()) == cost.parameters(model)


@pytest.mark.parametrize("row", cost.published()["parameters"], ids=lambda row: row["model"])
def test_parameters_against_published(row):
    assert cost.parameters(cost.architecture(row["model"])) == pytest.approx(
        row["value"], rel=row.get("within", 0.01)
    )


@pytest.mark.parametrize("row", cost.published()["active_parameters"], ids=lambda row: row["model"])
def test_active_parameters_against_published(row):
    active = cost.active_parameters(cost.architecture(row["model"]), row["embedding"])
    assert active == pytest.approx(row["value"], rel=row.get("within", 0.01))


def test_a_dense_model_is_all_active_but_its_embedding():
    model = cost.architecture("llama-3-8b")
    assert cost.active_parameters(model) == cost.parameters(model) - 128256 * 4096
    assert cost.active_parameters(model, embedding=True) == cost.parameters(model)
    # A tied matrix is met once by a token that is looked up and once by one that is predicted, but it is
    # one matrix.
    tied = cost.architecture("smollm2-135m")
    assert (
        cost.active_parameters(tied, embedding=True) == cost.active_parameters(tied) == cost.parameters(tied)
    )


def test_config_mistakes_are_named():
    with pytest.raises(InputError, match="model_type='mamba'"):
        cost.from_config({"model_type": "mamba"})
    with pytest.raises(InputError, match="lacks hidden_size, intermediate_size"):
        cost.from_config(
            {"model_type": "llama", "vocab_size": 1, "num_hidden_layers": 1, "num_attention_heads": 1}
        )
    with pytest.raises(InputError, match=r"'gpt-4'.*llama-3-8b"):
        cost.architecture("gpt-4")
    broken = {**cost.models()["mixtral-8x7b"]["config"], "num_experts_per_tok": None}
    with pytest.raises(InputError, match="num_experts_per_tok"):
        cost.from_config(broken)


@pytest.mark.parametrize("name", ["minilm", "e5", "smollm2"])
def test_config_files_of_the_assets_are_read_as_they_are(name):
    config = json.loads((assets.locate(name) / "config.json").read_text())
    named = {"minilm": "minilm", "e5": "e5-small", "smollm2": "smollm2-135m"}[name]
    assert cost.from_config(config, named) == cost.architecture(named)


# --- Operations, against torch.utils.flop_counter


@pytest.mark.parametrize("tokens", [1, 17])
def test_minilm_encodes_with_exactly_the_operations_torch_counts(tokens):
    model = build(AutoConfig.from_pretrained(assets.locate("minilm")), "meta")
    flops, _ = counted(lambda: model(input_ids=ids(3, tokens, "meta")))
    assert cost.encode_flops(cost.architecture("minilm"), tokens, 3) == flops


def test_llama_70b_reads_a_prompt_with_exactly_the_operations_torch_counts():
    config = dict(cost.models()["llama-3-70b"]["config"])
    model = build(AutoConfig.for_model(config.pop("model_type"), **config), "meta")
    mask = torch.zeros(2, 1, 33, 33, device="meta")
    flops, _ = counted(
        lambda: model(input_ids=ids(2, 33, "meta"), attention_mask=mask, use_cache=False, logits_to_keep=1)
    )
    assert cost.prefill_flops(cost.architecture("llama-3-70b"), 33, 2) == flops


@pytest.mark.parametrize("kind", [k for k in GENERATING if k not in SEQUENCES])
def test_prefill_and_decode_count_what_torch_counts(kind):
    model, sized = build(tiny(kind)), cost.from_config(tiny(kind))
    # Eager attention computes the masked pairs too, windows or not.
    flops, out = counted(lambda: model(input_ids=ids(2, 9), use_cache=True, logits_to_keep=1))
    assert cost.prefill_flops(sized, 9, 2) == flops
    if kind == "deepseek_v3":
        # transformers caches whole heads; the compressed cache that is counted here is tested by hand below
        return
    flops, _ = counted(lambda: model(input_ids=ids(2, 1), cache=out.cache, use_cache=True))
    assert cost.decode_flops(sized, 10, 2) == flops


@pytest.mark.parametrize("kind", SEQUENCES)
def test_encoder_decoders_count_encoder_cross_and_decoder(kind):
    model, sized = build(tiny(kind)), cost.from_config(tiny(kind))
    flops, encoded = counted(lambda: model.get_encoder()(input_ids=ids(2, 9)))
    assert cost.encode_flops(sized, 9, 2) == flops
    flops, out = counted(lambda: model(input_ids=ids(2, 9), decoder_input_ids=ids(2, 1), use_cache=True))
    assert cost.prefill_flops(sized, 9, 2) == flops
    flops, _ = counted(
        lambda: model(encoder_outputs=encoded, decoder_input_ids=ids(2, 1), cache=out.cache, use_cache=True)
    )
    assert cost.decode_flops(sized, 2, 2, source=9) == flops


def test_latent_attention_decodes_over_the_compressed_vector():
    c = TINY["deepseek_v3"]
    sized = cost.from_config(tiny("deepseek_v3"))
    per_pair = c["kv_lora_rank"] + c["qk_rope_head_dim"] + c["kv_lora_rank"]
    step = cost.decode_flops(sized, 11) - cost.decode_flops(sized, 10)
    assert step == 2 * 3 * 4 * per_pair


@given(st.integers(1, 40), st.one_of(st.none(), st.integers(1, 50)), st.booleans())
def test_pairs_kept_by_a_mask_are_those_a_loop_counts(tokens, window, causal):
    attention = Attention(1, 1, 1, 1, causal=causal, window=window)
    kept = sum(
        (not causal) or (key <= query and (window is None or query - key < window))
        for query, key in itertools.product(range(tokens), repeat=2)
    )
    assert sizing._pairs(attention, tokens, skip_masked=True) == kept
    assert sizing._pairs(attention, tokens, skip_masked=False) == tokens**2


@given(st.sampled_from(GENERATING), st.integers(1, 60), st.integers(1, 9))
def test_operations_grow_with_length_and_in_proportion_to_batch(kind, tokens, batch):
    model = cost.from_config(tiny(kind))
    assert cost.encode_flops(model, tokens, batch) == batch * cost.encode_flops(model, tokens)
    assert cost.encode_flops(model, tokens, skip_masked=True) <= cost.encode_flops(model, tokens)
    assert cost.encode_flops(model, tokens + 1) > cost.encode_flops(model, tokens)
    assert cost.decode_flops(model, tokens + 1) >= cost.decode_flops(model, tokens)


@pytest.mark.parametrize("row", cost.published()["training_flops"], ids=lambda row: row["model"])
def test_training_operations_against_published(row):
    # At one token the attention scores are a ten-thousandth of the whole, and the paper leaves them out.
    model = cost.architecture(row["model"])
    forward = cost.encode_flops(model, 1) + 2 * model.hidden_size * model.weights[0].outputs
    assert 3 * row["tokens"] * forward == pytest.approx(row["value"], rel=0.01)


def test_an_encoder_generates_nothing_and_sizes_are_positive():
    with pytest.raises(InputError, match="minilm is an encoder"):
        cost.decode_flops(cost.architecture("minilm"), 3)
    with pytest.raises(InputError, match="at least 1 token"):
        cost.encode_flops(cost.architecture("minilm"), 0)


# --- Bytes


@pytest.mark.parametrize(
    ("asset", "name"), [("minilm", "minilm"), ("e5", "e5-small"), ("smollm2", "smollm2-135m")]
)
def test_float32_weights_weigh_what_the_files_weigh(asset, name):
    size = (assets.locate(asset) / "model.safetensors").stat().st_size
    assert cost.weight_bytes(cost.architecture(name), "float32") == pytest.approx(size, rel=0.005)


def test_four_bit_weights_weigh_what_the_gguf_file_weighs():
    # llama.cpp stores the matrices as Q4_1, the embedding as Q8_0 and the norms in 32 bits.
    size = next(assets.locate("smollm2").glob("*.gguf")).stat().st_size
    model = cost.architecture("smollm2-135m")
    table = 49152 * 576
    body = cost.weight_bytes(model, "q4_1", kept=("embedding",)) - 2 * table
    assert body + sizing.storage("q8_0").matrix_bytes(49152, 576) == pytest.approx(size, rel=0.05)


@pytest.mark.parametrize("precision", ["q4_0", "q4_1", "q8_0"])
def test_block_formats_are_as_large_as_llama_cpps_own_packing(precision):
    kind = getattr(gguf.GGMLQuantizationType, precision.upper())
    packed = gguf.quants.quantize(np.zeros((7, 96), dtype=np.float32), kind).nbytes
    assert sizing.storage(precision).matrix_bytes(7, 96) == packed


@pytest.mark.parametrize("row", cost.published()["checkpoint_bytes"], ids=lambda row: row["model"])
def test_checkpoints_against_published(row):
    size = cost.weight_bytes(cost.architecture(row["model"]), row["precision"], kept=tuple(row["kept"]))
    assert size == pytest.approx(row["value"], rel=0.05)


def test_scales_are_counted_per_group_and_the_last_group_is_whole():
    assert sizing.Format(4, 128, 32).matrix_bytes(2, 129) == 2 * (129 * 4 + 2 * 32) / 8
    assert sizing.storage("int8").matrix_bytes(3, 100) == 3 * 100 + 3 * 4
    assert sizing.storage("int4", group=64).group == 64
    with pytest.raises(InputError, match="group=64 with bfloat16"):
        sizing.storage("bfloat16", group=64)
    with pytest.raises(InputError, match="'int3'"):
        cost.weight_bytes(cost.architecture("minilm"), "int3")


def test_kept_parts_stay_in_sixteen_bits():
    model = cost.architecture("llama-3-8b")
    table = 128256 * 4096
    small = sum(p for part, p in model.parts().items() if part in ("attention", "feed-forward"))
    norms = model.parts()["vector"]
    assert cost.weight_bytes(model, "int4") == pytest.approx(2 * (2 * table + norms) + small * 4.25 / 8)
    assert cost.weight_bytes(model) == 2 * cost.parameters(model)


def test_kv_cache_is_as_large_as_the_cache_transformers_fills():
    # On the meta device: the very cache object a run fills, without the arithmetic.
    config = AutoConfig.from_pretrained(assets.locate("smollm2"))
    model = build(config, "meta").to(torch.bfloat16)
    mask = torch.zeros(2, 1, 9, 9, device="meta", dtype=torch.bfloat16)
    with torch.no_grad():
        cache = model(input_ids=ids(2, 9, "meta"), attention_mask=mask, use_cache=True).cache
    n_bytes = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
    assert cost.kv_cache_bytes(cost.architecture("smollm2-135m"), 9, 2) == n_bytes


@pytest.mark.parametrize("row", cost.published()["kv_cache_bytes"], ids=lambda row: row["model"])
def test_kv_cache_against_published(row):
    assert cost.kv_cache_bytes(cost.architecture(row["model"]), row["tokens"]) == pytest.approx(
        row["value"], rel=1e-6
    )


def test_windows_stop_the_cache_from_growing_and_encoders_have_none():
    model = cost.architecture("mistral-7b")
    assert (
        cost.kv_cache_bytes(model, 4096) == cost.kv_cache_bytes(model, 100_000) == 2 * 32 * 8 * 128 * 2 * 4096
    )
    half = cost.architecture("gpt-oss-20b")
    per_layer = 2 * 8 * 64 * 2
    assert cost.kv_cache_bytes(half, 1000) == per_layer * (12 * 128 + 12 * 1000)
    assert cost.kv_cache_bytes(cost.architecture("bert-base"), 100) == 0


class LiveBytes(TorchDispatchMode):
    """The most bytes that tensors made under it held at once."""

    def __init__(self):
        super().__init__()
        self.live, self.peak = {}, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        given = {
            t.untyped_storage()._cdata for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)
        }
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                stored = tensor.untyped_storage()
                known = self.live.get(stored._cdata)
                if stored._cdata not in given and (known is None or known[0].expired()):
                    self.live[stored._cdata] = (StorageWeakRef(stored), stored.nbytes())
        self.live = {key: (ref, size) for key, (ref, size) in self.live.items() if not ref.expired()}
        self.peak = max(self.peak, sum(size for _, size in self.live.values()))
        return out


def peak_activations(model, tokens, device, **inputs):
    with torch.no_grad(), LiveBytes() as seen:
        model(input_ids=ids(2, tokens, device), **inputs)
    return seen.peak


@pytest.mark.parametrize(
    ("kind", "sizes"),
    [
        ("bert", {"hidden_size": 96, "intermediate_size": 384}),
        ("bert", {"hidden_size": 96, "intermediate_size": 48}),
        ("llama", {"hidden_size": 96, "intermediate_size": 336, "head_dim": 24}),
        ("gpt2", {"n_embd": 96, "n_inner": 384}),
    ],
)
def test_fused_activations_are_within_five_per_cent_of_the_bytes_held(kind, sizes):
    config = AutoConfig.for_model(kind, **{**TINY[kind], **sizes, "max_position_embeddings": 512})
    with torch.device("cpu"):
        model = AutoModel.from_config(config, attn_implementation="sdpa").eval()
    held = peak_activations(model, 256, "cpu", **({} if kind == "bert" else {"use_cache": False}))
    assert cost.activation_bytes(cost.from_config(config), 256, 2, "float32") == pytest.approx(held, rel=0.05)


@pytest.mark.parametrize("name", ["bert-base", "llama-3-8b"])
def test_scores_of_plain_attention_are_within_five_per_cent_of_the_bytes_held(name):
    config = dict(cost.models()[name]["config"])
    built = AutoConfig.for_model(config.pop("model_type"), **{**config, "num_hidden_layers": 2})
    with torch.device("meta"):
        model = AutoModel.from_config(built, attn_implementation="eager").eval()
    mask = (
        {}
        if name == "bert-base"
        else {"attention_mask": torch.zeros(2, 1, 512, 512, device="meta"), "use_cache": False}
    )
    held = peak_activations(model, 512, "meta", **mask)
    estimate = cost.activation_bytes(cost.architecture(name), 512, 2, "float32", fused=False)
    assert estimate == pytest.approx(held, rel=0.05)


def test_memory_adds_up_and_gpus_are_counted_whole():
    model = cost.architecture("llama-3-70b")
    needed = cost.memory(model, tokens=4096, batch=8)
    assert needed.total == needed.weights + needed.cache + needed.activations
    assert needed.cache == 8 * 4096 * 327_680
    card = cost.hardware("h100-sxm").memory_bytes
    # 141 GB of weights fill two cards to 98%: with 90% usable they need a third of the room of another.
    assert cost.machines_needed(needed.weights, card) == 2
    assert cost.machines_needed(needed.total, card) == 3
    assert cost.machines_needed(cost.weight_bytes(model, "int4"), card) == 1
    for bad in ((0, card, 0.9), (1.0, card, 0.0), (1.0, card, 1.1)):
        with pytest.raises(InputError):
            cost.machines_needed(*bad)


# --- Bounds on time


@pytest.mark.parametrize("row", cost.published()["decode"], ids=lambda row: row["precision"])
def test_measured_decoding_is_never_faster_than_the_bound(row):
    model, card = cost.architecture(row["model"]), cost.hardware(row["machine"])
    stored = {"group": row.get("group"), "kept": ("embedding",)}
    read = cost.read_bytes(model, 1, row["precision"], **stored)
    assert read / 1e9 == pytest.approx(row["weights_gb"], rel=0.05)
    bound = cost.decode_bound(model, card, context=128, precision=row["precision"], **stored)
    assert bound.limited_by == "memory"
    assert 0.3 < row["tokens_per_s"] * bound.seconds <= 1


def test_a_bound_is_the_slower_of_arithmetic_and_traffic():
    card, model = cost.hardware("h100-sxm"), cost.architecture("llama-3-8b")
    one, many = (cost.decode_bound(model, card, 1000, batch=b) for b in (1, 4096))
    assert one.limited_by == "memory" and one.seconds == one.bytes / card.bandwidth_bytes_per_s
    prefill = cost.prefill_bound(model, card, 8192)
    assert prefill.limited_by == "compute"
    assert prefill.seconds == prefill.operations / card.operations_per_s("bfloat16")
    # Per token, a large batch is far cheaper than a batch of one: the weights are read once for all.
    assert many.seconds / 4096 < one.seconds / 10
    assert cost.decode_bound(model, card, 1000, machines=2).seconds == pytest.approx(one.seconds / 2)
    with pytest.raises(InputError, match="machines=0"):
        cost.decode_bound(model, card, 1000, machines=0)


def test_bounds_take_measured_ceilings_as_well():
    ceilings = machine.Ceilings({"float32": 1e12}, 1e9, 1e9, ())
    bound = cost.encode_bound(
        cost.architecture("minilm"), ceilings, 16, precision="float32", compute="float32"
    )
    # The twelfth part of the model is not the embedding: the rest is not read but for 16 rows of it.
    assert bound.limited_by == "memory"
    assert bound.bytes == pytest.approx(4 * (22_713_216 - (30522 + 512 + 2 - 16) * 384))
    assert bound.seconds == pytest.approx(bound.bytes / 1e9)


@given(st.integers(1, 3000))
def test_experts_read_grow_from_those_of_one_token_to_all(tokens):
    model = cost.architecture("mixtral-8x7b")
    per_expert = 3 * 14336 * 4096 * 2 * 32
    rows = 4096 * 2
    rest = 2 * (cost.parameters(model) - model.parts()["experts"] - model.parts()["embedding"])
    read = cost.read_bytes(model, tokens) - rest - min(tokens, 32000) * rows
    expected = 8 * (1 - 0.75**tokens)
    assert read == pytest.approx(expected * per_expert)
    assert read <= 8 * per_expert * (1 + 1e-9)


def test_one_token_reads_its_own_experts_only():
    model = cost.architecture("deepseek-v3")
    active = cost.active_parameters(model)
    assert cost.read_bytes(model, 1) == pytest.approx(2 * (active + 7168))


def test_an_encoder_decoder_reads_its_own_stack():
    model = cost.architecture("t5-base")
    card = cost.hardware("a100-80")
    encode, decode = cost.encode_bound(model, card, 64), cost.decode_bound(model, card, 5, source=64)
    half = 2 * 85e6
    assert encode.bytes == pytest.approx(half, rel=0.01)
    # Decoder without cross keys and values, the output matrix, its own cache and the cross cache.
    stack = 12 * (6 * 768**2 + 2 * 768 * 3072) + 768 * 32128
    assert decode.bytes == pytest.approx(2 * (stack + 12 * 2 * 768 * (64 + 5)), rel=0.001)


# --- Machines and prices


def test_every_machine_says_where_its_figures_come_from():
    for name, row in machines.table().items():
        assert row.kind in ("cpu", "gpu", "tpu"), name
        assert row.source and row.about and row.date.year >= 2018
        assert row.obtained in ("read", "derived", "known")
        assert row.power_w is None or row.power_counts
        assert 1e9 < row.memory_bytes < 1e12 and 1e10 < row.bandwidth_bytes_per_s < 1e13
        for offer in row.prices:
            assert 0.01 < offer.usd_per_hour < 100
            assert offer.source and offer.counts and offer.offer and offer.date.year == 2026
            assert offer.obtained in ("read", "known", "derived")


def test_peaks_are_dense_and_ordered():
    for name, row in machines.table().items():
        order = [row.peaks[p] for p in ("float32", "bfloat16", "int8", "int4") if p in row.peaks]
        assert order == sorted(order), name
        assert set(row.peaks) <= {
            "float32",
            "tfloat32",
            "bfloat16",
            "float16",
            "float8",
            "int8",
            "int4",
            "float4",
        }
    # NVIDIA prints 1,979 for bfloat16 on an H100 and 312 | 624 on an A100: the dense ones are half of the
    # sparse.
    assert cost.hardware("h100-sxm").operations_per_s("bfloat16") < 1000e12
    assert cost.hardware("a100-80").operations_per_s("bfloat16") == 312e12
    assert cost.hardware("l4").operations_per_s("float16") == 121e12
    assert cost.hardware("h100-sxm").ridge_point("bfloat16") == pytest.approx(295.3, rel=0.001)


def test_processor_peaks_are_cores_times_clock_times_width():
    for name, cores in (("c7a-large", 2), ("c7a-2xlarge", 8), ("c7a-8xlarge", 32), ("c7a-24xlarge", 96)):
        for precision, per_cycle in (("float32", 32), ("bfloat16", 64), ("int8", 128)):
            assert cost.hardware(name).operations_per_s(precision) == pytest.approx(cores * 3.7e9 * per_cycle)
        assert cost.hardware(name).watts == pytest.approx(cores * 3.75)
    for name, cores in (("c7i-2xlarge", 4), ("c7i-8xlarge", 16)):
        for precision, per_cycle in (("float32", 64), ("bfloat16", 2048), ("int8", 4096)):
            assert cost.hardware(name).operations_per_s(precision) == pytest.approx(cores * 3.8e9 * per_cycle)


def test_what_the_table_lacks_is_refused():
    chip = cost.hardware("tpu-v5e")
    for attribute in ("price", "watts"):
        with pytest.raises(InputError, match="tpu-v5e has no p"):
            getattr(chip, attribute)
    with pytest.raises(InputError, match=r"t4 has no peak for 'bfloat16'.*float16"):
        cost.hardware("t4").least_seconds(1.0, 1.0, "bfloat16")
    with pytest.raises(InputError, match="'h300'"):
        cost.hardware("h300")


def test_price_range_spans_the_offers():
    low, high = cost.hardware("h100-sxm").price_range()
    assert low <= cost.hardware("h100-sxm").price.usd_per_hour <= high and low < high


# --- Units


def test_known_conversions():
    assert cost.convert(1, "kWh", "J") == 3.6e6
    assert cost.convert(1, "GiB", "B") == 2**30
    assert cost.convert(1, "W", "J/h") == 3600
    assert cost.convert(3600, "USD/h", "USD/s") == pytest.approx(1)
    assert cost.convert(1, "USD/h", "USD/month") == pytest.approx(730.5)
    assert cost.convert(1, "month", "day") == pytest.approx(30.4375)
    assert cost.convert(1, "USD/million", "cent/thousand") == pytest.approx(0.1)
    assert cost.convert(86400, "1/day", "1/s") == pytest.approx(1)


@pytest.mark.parametrize(
    ("unit", "to"), [("USD/h", "USD"), ("J", "W"), ("s", "USD"), ("B", "J"), ("1/s", "s")]
)
def test_another_dimension_is_refused(unit, to):
    with pytest.raises(InputError, match="cannot turn"):
        cost.convert(1, unit, to)


@pytest.mark.parametrize("unit", ["EUR", "USD/h/day", "", "usd", "km"])
def test_an_unknown_unit_is_refused(unit):
    with pytest.raises(InputError, match="expected one of"):
        cost.Quantity(1.0, unit)


@given(st.sampled_from(sorted(units._UNITS)), st.sampled_from(sorted(units._UNITS)), st.floats(1e-6, 1e6))
def test_conversion_there_and_back_is_the_same(one, other, value):
    if units._UNITS[one][0] != units._UNITS[other][0]:
        return
    assert cost.convert(cost.convert(value, one, other), other, one) == pytest.approx(value)


def test_quantities_add_only_alike_and_keep_their_inputs():
    one = cost.Quantity(1.0, "USD", {"items": 3, "machine": "t4"}, "measured")
    total = one + cost.Quantity(50.0, "cent", {"items": 4, "machine": "t4"}, "bound")
    assert total.value == 1.5 and total.unit == "USD"
    assert total.inputs == {"items": 3, "machine": "t4", "items (2)": 4}
    assert total.basis == "measured and bound"
    assert "items=3" in str(total) and "USD" in str(total)
    with pytest.raises(InputError, match="cannot turn J"):
        one + cost.Quantity(1.0, "J")
    with pytest.raises(InputError, match="not a number"):
        cost.Quantity(math.nan, "J")
    with pytest.raises(TypeError):
        one.inputs["items"] = 5


# --- Energy


def rapl(root, zones):
    for zone, (name, energy_uj, limit) in zones.items():
        folder = root / zone
        folder.mkdir(parents=True)
        (folder / "name").write_text(name + "\n")
        (folder / "energy_uj").write_text(f"{energy_uj}\n")
        (folder / "max_energy_range_uj").write_text(f"{limit}\n")


def test_rapl_reads_packages_once_and_survives_a_wrap(tmp_path):
    rapl(
        tmp_path,
        {
            "intel-rapl:0": ("package-0", 1_000_000, 9_999_999),
            "intel-rapl:0:0": ("core", 5, 9_999_999),
            "intel-rapl:1": ("package-1", 9_000_000, 9_999_999),
            "intel-rapl:2": ("psys", 7, 9_999_999),
        },
    )
    (tmp_path / "intel-rapl:3").mkdir()
    assert [zone.name for zone in energy.rapl_packages(tmp_path)] == ["intel-rapl:0", "intel-rapl:1"]

    def work():
        (tmp_path / "intel-rapl:0" / "energy_uj").write_text("3500000\n")
        (tmp_path / "intel-rapl:1" / "energy_uj").write_text("500000\n")  # over the top and on from zero

    used = cost.measure_energy(work, power_w=100, root=tmp_path)
    assert used.method == "rapl" and used.is_measured
    assert used.joules == pytest.approx(2.5 + 1.5) == used.low_joules == used.high_joules
    # The counter takes the values 0 to its range: from 9 of 9 to 3 are four steps.
    assert energy._rapl_joules([9], [3], [9]) == pytest.approx(4e-6)
    assert used.quantity().basis == "measured" and used.watts == pytest.approx(4.0 / used.seconds)


class NVMLError(Exception):
    pass


def nvml(readings, devices=1):
    """A stand-in for pynvml whose counters give ``readings`` in millijoules, one a call."""
    module, left = types.ModuleType("pynvml"), iter(readings)

    def read(device):
        reading = next(left)
        if isinstance(reading, Exception):
            raise reading
        return reading

    module.nvmlInit = lambda: None
    module.nvmlDeviceGetCount = lambda: devices
    module.nvmlDeviceGetHandleByIndex = lambda index: index
    module.nvmlDeviceGetTotalEnergyConsumption = read
    return module


def test_nvml_counts_millijoules_of_every_card(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", nvml([0, 0, 1000, 2000, 4000, 7000], devices=2))
    used = cost.measure_energy(lambda: None, power_w=100, device="cuda")
    assert used.method == "nvml" and used.joules == pytest.approx(3 + 5)


@pytest.mark.parametrize("module", [None, nvml([NVMLError("not supported")]), nvml([], devices=0)])
def test_without_a_counter_the_model_speaks_and_says_so(monkeypatch, module, tmp_path):
    monkeypatch.setitem(sys.modules, "pynvml", module)
    for device in ("cuda", "cpu"):
        used = cost.measure_energy(lambda: None, power_w=100, utilization=0.5, device=device, root=tmp_path)
        assert used.method == "model" and not used.is_measured and used.quantity().basis == "model"
        assert used.low_joules == pytest.approx(50 * used.seconds)
        assert used.high_joules == pytest.approx(100 * used.seconds)
        assert used.low_joules < used.joules < used.high_joules
        module = nvml([], devices=0)


def test_mistakes_of_ours_are_not_taken_for_a_missing_counter(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", nvml([RuntimeError("ours")]))
    with pytest.raises(RuntimeError, match="ours"):
        cost.measure_energy(lambda: None, power_w=100, device="cuda")


@given(st.floats(0.01, 1.0), st.floats(1.0, 1e4))
def test_the_power_model_stays_in_its_range(utilization, power_w):
    expected, low, high = energy.model_watts(power_w, utilization)
    assert low <= expected * (1 + 1e-12) and expected <= high * (1 + 1e-12)
    assert energy.model_watts(power_w, 1.0)[0] == pytest.approx(power_w)


def test_energy_refuses_a_device_or_load_it_does_not_know():
    with pytest.raises(InputError, match="device='tpu'"):
        cost.measure_energy(lambda: None, 100, device="tpu")
    with pytest.raises(InputError, match="utilization"):
        cost.model_energy(1.0, 100.0, utilization=1.5)
    with pytest.raises(InputError, match="power_w"):
        cost.model_energy(1.0, 0.0)


def test_published_rows_say_their_source():
    for kind, rows in cost.published().items():
        for row in rows:
            assert row["source"] and row["counts"] and row["obtained"] in ("read", "known"), (kind, row)
            assert row.get("model") in cost.models() or kind == "ranking", (kind, row)
    for name, row in cost.models().items():
        assert row["source"] and row["about"] and row["date"], name
