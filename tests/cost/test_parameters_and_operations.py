"""Parameters equal what transformers builds, operations what torch counts, and both what others published."""

import itertools
import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformer_configs import GENERATING, SEQUENCES, TINY, build, counted, ids, tiny
from transformers import AutoConfig

from recsys_lib import cost
from recsys_lib.core.errors import InputError
from recsys_lib.cost import sizing
from recsys_lib.cost.architectures import Attention
from recsys_lib.data import assets

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
