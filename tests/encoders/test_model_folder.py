"""A sentence-transformers folder of any form gives the vectors that sentence-transformers gives,
or is refused in one line.
"""

import json
import shutil

import encoder_cases
import numpy as np
import pytest
import torch

from recsys_lib import encoders
from recsys_lib.core.errors import InputError
from recsys_lib.encoders import native
from recsys_lib.vectors import similarity

WORDS = [*encoder_cases.WORDS, "query", "passage", ":", "represent"]
SIZE = {
    "vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 40,
}  # fmt: skip


def tokenizer_of(style):
    """Words to numbers; BERT surrounds a text with [CLS] and [SEP],
    a decoder ends it and pads on the left.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    rust = Tokenizer(models.WordLevel({w: i for i, w in enumerate([*special, *WORDS])}, unk_token="[UNK]"))
    rust.pre_tokenizer = pre_tokenizers.Whitespace()
    if style == "bert":
        rust.normalizer = normalizers.NFC()
    template = "[CLS] $A [SEP]" if style == "bert" else "$A [SEP]"
    rust.post_processor = processors.TemplateProcessing(
        single=template, special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=rust, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        eos_token="[SEP]", padding_side="right" if style == "bert" else "left",
    )  # fmt: skip


def transformer_of(style):
    from transformers import BertConfig, BertModel, LlamaConfig, LlamaModel, Qwen3Config, Qwen3Model

    torch.manual_seed(3)
    if style == "bert":
        return BertModel(BertConfig(**SIZE))
    if style == "llama":
        return LlamaModel(LlamaConfig(**SIZE, num_key_value_heads=1))
    return Qwen3Model(Qwen3Config(**SIZE, num_key_value_heads=1, head_dim=16))


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """Random transformers of two layers without a word on pooling."""
    from recsys_lib.core.quiet import quiet

    folders = {}
    for style in ("bert", "llama", "qwen3"):
        folders[style] = tmp_path_factory.mktemp(style)
        with quiet():
            transformer_of(style).save_pretrained(folders[style])
            tokenizer_of(style).save_pretrained(folders[style])
    return folders


def saved(plain, folder, style, pooling, after=(), prompts=None, default=None, **limits):
    """A model written by sentence-transformers itself, and that model."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    from recsys_lib.core.quiet import quiet

    include_prompt = limits.pop("include_prompt", True)
    with quiet():
        transformer = Transformer(str(plain[style]), **limits)
        modules = [transformer, Pooling(32, pooling_mode=pooling, include_prompt=include_prompt), *after]
        model = SentenceTransformer(
            modules=modules, device="cpu", prompts=prompts, default_prompt_name=default
        )
        model.save(str(folder))
        return SentenceTransformer(str(folder), device="cpu")


def texts():
    rng = np.random.default_rng(0)
    mixed = [" ".join(rng.choice(WORDS, n)) for n in [1, 2, 30, 5, 90, 1, 12, *rng.integers(1, 35, 25)]]
    return [*mixed, "Red HOUSE", "the unheard of"]


def assert_same(folder, reference, **options):
    ours = encoders.load(str(folder), precision="float32", cache=False, **options)
    theirs = reference.encode(texts(), show_progress_bar=False, batch_size=8)
    vectors = ours.encode(texts(), progress=False)
    assert vectors.shape == theirs.shape == (len(texts()), ours.dimension) and vectors.dtype == np.float32
    assert np.diag(similarity.cosine(vectors, theirs)).min() >= 0.99999
    assert np.allclose(vectors, theirs, atol=1e-4)  # the length too, which a cosine does not see


POOLINGS = [
    "mean",
    "cls",
    "max",
    "lasttoken",
    "weightedmean",
    "mean_sqrt_len_tokens",
    ("cls", "mean"),
    ("max", "lasttoken"),
]


@pytest.mark.parametrize("pooling", POOLINGS, ids=str)
@pytest.mark.parametrize("style", ["bert", "llama", "qwen3"])
def test_every_pooling(plain, tmp_path, style, pooling):
    assert_same(tmp_path, saved(plain, tmp_path, style, pooling))


@pytest.mark.skipif(native.load() is None, reason="no C compiler")
@pytest.mark.parametrize("pooling", ["mean", "cls", "lasttoken", "weightedmean", "mean_sqrt_len_tokens"])
def test_every_pooling_of_the_native_path(plain, tmp_path, pooling):
    assert_same(tmp_path, saved(plain, tmp_path, "bert", pooling), backend="native")


def dense(n_in, n_out, activation, **options):
    from sentence_transformers.base.modules import Dense

    torch.manual_seed(n_out)
    return Dense(n_in, n_out, activation_function=activation, **options)


@pytest.mark.parametrize(("activation", "options"), [
    (torch.nn.Tanh(), {}), (torch.nn.Identity(), {"bias": False}), (torch.nn.GELU(), {}),
    (torch.nn.ReLU(), {"use_residual": True}),
], ids=str)  # fmt: skip
def test_dense_layers_and_normalization(plain, tmp_path, activation, options):
    from sentence_transformers.base.modules import Normalize

    after = [dense(32, 24, activation, **options), dense(24, 24, activation, **options), Normalize()]
    assert_same(tmp_path, saved(plain, tmp_path, "bert", "mean", after))
    raw = encoders.load(str(tmp_path), precision="float32", cache=False, normalize=False).encode(texts())
    assert not np.allclose(np.linalg.norm(raw, axis=1), 1, atol=1e-3)


@pytest.mark.parametrize("include_prompt", [True, False])
@pytest.mark.parametrize("style", ["bert", "qwen3"])
def test_prompts(plain, tmp_path, style, include_prompt):
    prompts = {"query": "query : ", "passage": "represent the passage : "}
    reference = saved(
        plain, tmp_path, style, "mean", prompts=prompts, default="passage", include_prompt=include_prompt
    )
    assert_same(tmp_path, reference)
    ours = encoders.load(str(tmp_path), precision="float32", cache=False, prompt_name="query").encode(texts())
    theirs = reference.encode(texts(), prompt_name="query", show_progress_bar=False)
    assert np.diag(similarity.cosine(ours, theirs)).min() >= 0.99999
    with pytest.raises(InputError, match=r"prompt_name='title': model .* has .*passage, query"):
        encoders.load(str(tmp_path), prompt_name="title")


def test_limits_and_lower_case(plain, tmp_path):
    assert_same(tmp_path, saved(plain, tmp_path, "bert", "mean", max_seq_length=7, do_lower_case=True))
    encoder = encoders.load(str(tmp_path), precision="float32", cache=False)
    assert encoder.max_tokens_read == 7 and encoder.tokens("RED")[1] == "red"


def test_a_plain_folder_is_mean_pooled_as_there(plain):
    from sentence_transformers import SentenceTransformer

    from recsys_lib.core.quiet import quiet

    with quiet():
        reference = SentenceTransformer(str(plain["llama"]), device="cpu")
    assert_same(plain["llama"], reference)


def test_the_fraction_of_texts_that_are_cut(plain):
    encoder = encoders.load(str(plain["bert"]), precision="float32", cache=False, max_tokens=10)
    assert encoder.truncated(["red " * 8, "red " * 9, "red", "red " * 50]) == 0.5
    assert encoder.truncated([]) == 0.0


# ---------------------------------------------------------------- what is refused


def edited(plain, tmp_path, file, change):
    saved(plain, tmp_path, "bert", "mean")
    path = tmp_path / file
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return str(tmp_path)


@pytest.mark.parametrize(("file", "change", "message"), [
    ("modules.json", lambda c: c.insert(1, {"type": "sentence_transformers.models.CNN", "path": "x"}),
        "modules .*CNN"),
    ("modules.json", lambda c: c[0].update(type="custom_st.Transformer"), "module 'custom_st.Transformer' is "
        "code of its"),
    ("modules.json", lambda c: c.pop(), "modules Transformer not supported, expected Transformer, Pooling"),
    ("1_Pooling/config.json", lambda c: c.update(pooling_mode="attention"), "pooling_mode 'attention' not "
        "supported"),
    ("sentence_bert_config.json", lambda c: c.update(transformer_task="fill-mask"), "transformer_task "
        "'fill-mask'"),
    ("sentence_bert_config.json", lambda c: c.update(model_args={"is_causal": False}), "model_args "
        "'is_causal'"),
    ("config_sentence_transformers.json", lambda c: c.update(default_prompt_name="x"), "default_prompt_name "
        "'x'"),
])  # fmt: skip
def test_an_unknown_form_is_refused(plain, tmp_path, file, change, message):
    with pytest.raises(InputError, match=message) as caught:
        encoders.load(edited(plain, tmp_path, file, change))
    assert "\n" not in str(caught.value)


def test_damaged_json_and_a_revision_of_a_folder_are_one_line(plain, tmp_path):
    saved(plain, tmp_path, "bert", "mean")
    with pytest.raises(InputError, match=r"revision='v1': .* is a folder on this machine"):
        encoders.load(str(tmp_path), revision="v1")
    (tmp_path / "modules.json").write_text("{")
    with pytest.raises(InputError, match=r"modules.json is not valid JSON"):
        encoders.load(str(tmp_path))


@pytest.mark.parametrize("backend", ["torch", "native"])
def test_a_tokenizer_larger_than_the_table_names_both_numbers(plain, tmp_path, backend):
    if backend == "native" and native.load() is None:
        pytest.skip("no C compiler")
    from transformers import BertConfig, BertModel

    shutil.copytree(plain["bert"], tmp_path, dirs_exist_ok=True)
    BertModel(BertConfig(**(SIZE | {"vocab_size": 8}))).save_pretrained(tmp_path)
    encoder = encoders.load(str(tmp_path), precision="float32", backend=backend, cache=False)
    with pytest.raises(InputError, match="gives token 9, its table has 8 rows"):
        encoder.encode(["the stars"])


# ---------------------------------------------------------------- identity


def test_the_key_follows_the_content_not_the_time(plain, tmp_path):
    saved(plain, tmp_path / "a", "bert", "mean")
    shutil.copytree(tmp_path / "a", tmp_path / "b" / "a", copy_function=shutil.copyfile)
    first, second = (
        encoders.load(str(f), precision="float32").options for f in (tmp_path / "a", tmp_path / "b" / "a")
    )
    assert first == second
    pooling = tmp_path / "b" / "a" / "1_Pooling" / "config.json"
    pooling.write_text(pooling.read_text().replace("mean", "cls"))
    assert encoders.load(str(tmp_path / "b" / "a"), precision="float32").options != first


def test_a_type_error_inside_is_not_a_users_mistake(plain, monkeypatch):
    from recsys_lib.encoders import transformer

    monkeypatch.setattr(transformer.model_folder, "read", lambda files: len(3))
    with pytest.raises(TypeError, match="has no len"):
        encoders.load(str(plain["bert"]))
