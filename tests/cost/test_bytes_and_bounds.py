"""Bytes equal what files weigh and caches hold; no measured time is below its bound."""

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
from transformer_configs import TINY, build, ids
from transformers import AutoConfig, AutoModel

from recsys_lib import cost
from recsys_lib.core.errors import InputError
from recsys_lib.cost import sizing
from recsys_lib.data import assets
from recsys_lib.hardware import machine

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
    # 141 GB of weights fill two cards to 98%: with 90% usable they need a third of the memory of another.
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
