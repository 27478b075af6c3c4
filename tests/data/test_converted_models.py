"""The models that are converted after the download: tokens, weights and vectors against their sources."""

import json
import re
import unicodedata

import numpy as np
import pytest

from recsys_lib.data import assets

pytestmark = pytest.mark.slow

# ---------------------------------------------------------------- the converted models


@pytest.fixture(scope="module")
def e5_tokenizer():
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(assets.locate("e5") / "tokenizer.json"))


@pytest.fixture(scope="module")
def character_map():
    """What the model's makers did to single characters, as it stood in the packed file."""
    return json.loads((assets.locate("e5") / "character_map.json").read_text(encoding="utf-8"))


def normalize_by_map(text, character_map):
    """The map, then canonical composition (the original's table holds composed pairs too),
    then single spaces.
    """
    mapped = unicodedata.normalize("NFC", "".join(character_map.get(c, c) for c in text))
    return re.sub(" +", " ", mapped).strip(" ")


TEXTS = [
    "喜欢阅读科幻小说", "最近浏览了《三体》", "Grüße aus Köln, Straße 5", "naïve café ﬁ ½ Ⅷ",
    "ＦＵＬＬ　ｗｉｄｔｈ　１２３",
    "tab\tand\nnewline", "a\u200bb\u200dc\ufeffd", "control \x01\x02 \x7f end", "👩‍🔬 science 🚀", "～ wave",
    "  two  spaces  ",
    "İstanbul ıI", "한국어 문장", "العربية", "x" * 50, "", " ", "ﷺ", "㈱テスト", "e\u0301 combining",
    "从《三体》到《流浪地球》，刘慈欣的小说改编成了电影。", "2023年１０月２日　星期一",
    "臺灣繁體字與香港粵語：佢哋嘅電影", "𠮷野家 𝟙𝒳 𓀀",
    "Der Überläufer – „Fußgängerübergänge“ & Öffentlichkeit", "Donaudampfschifffahrtsgesellschaft",
    "ÄÖÜ äöü ẞß u\u0308ber",
    "👨‍👩‍👧‍👦👍🏽🇩🇪❤️☕", "🎬🍿", "☃️ ★★★★☆ ♥", "\ufeffBOM", "soft\u00adhyphen", "nbsp\u00a0and\u2003em",
    "\x00 null", "\x85 next line",
    "ＡＢＣ！？（）［］｛｝～｜＠＃", "ｶﾞｷﾞｸﾞ ﾊﾟ 半角", "カ\u3099 combining", "ไทย ภาษา", "हिन्दी फ़िल्म",
    "עברית", "Ελληνικά ΐ", "Русский йё",
    "▁literal▁marker", "a▁ b", "１／２ ½ x² ㎡ ™ № ㈱ ﷽", "...!!!???", "http://a.b/c?d=e&f=g#h",
    "I'm — “quoted” ‘text’…", "\r\n\t \n",
    "query: sci-fi", "passage: ", "ﬀﬁﬂﬃﬄ", "\ue000\U000f0001 private", "\ud7a4", "1" * 200,
    "unk \U0001f9ff\U000107b6\U0001f23b", "文" * 70,
]  # fmt: skip


def best_segmentation(text, pieces, unknown):
    """Viterbi over pieces in plain Python: the path with the highest sum of scores."""
    longest = max(map(len, pieces))
    best = [(0.0, 0, -1)] + [(-np.inf, 0, -1)] * len(text)
    for end in range(1, len(text) + 1):
        for start in range(max(0, end - longest), end):
            piece = text[start:end]
            if piece in pieces:
                token, score = pieces[piece]
            elif end - start == 1:
                token, score = 3, unknown
            else:
                continue
            if best[start][0] + score > best[end][0]:
                best[end] = (best[start][0] + score, start, token)
    ids, end = [], len(text)
    while end:
        ids.append(best[end][2])
        end = best[end][1]
    ids.reverse()
    # Neighbouring unknowns are one.
    return [i for n, i in enumerate(ids) if i != 3 or n == 0 or ids[n - 1] != 3]


def test_e5_tokenizer_against_an_independent_search(e5_tokenizer, character_map):
    saved = json.loads(e5_tokenizer.to_str())
    pieces = {piece: (i, score) for i, (piece, score) in enumerate(saved["model"]["vocab"]) if i > 3}
    unknown = min(score for _, score in pieces.values()) - 10
    titles = (assets.locate("ml-100k") / "ml-100k.item").read_text(encoding="utf-8").splitlines()
    for text in [*TEXTS, *(line.split("\t")[1] for line in titles[1::20])]:
        normal = normalize_by_map(text, character_map)
        marked = "▁" + normal.replace(" ", "▁") if normal else ""
        expected = [0, *best_segmentation(marked, pieces, unknown), 2]
        assert e5_tokenizer.encode(text).ids == expected, ascii(text)


def test_e5_tokenizer_gives_the_ids_of_xlm_roberta(e5_tokenizer):
    # As published for xlm-roberta-base.
    assert e5_tokenizer.encode("Hello world!").ids == [0, 35378, 8999, 38, 2]
    assert e5_tokenizer.encode("a", "b").tokens == ["<s>", "▁a", "</s>", "</s>", "▁b", "</s>"]
    assert [e5_tokenizer.token_to_id(t) for t in ("<s>", "<pad>", "</s>", "<unk>", "<mask>")] == [
        0,
        1,
        2,
        3,
        250001,
    ]


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("a\tb\nc", "a b c"), ("a\x01\x1fb\x7f", "ab"), ("ＡＢ　１", "AB 1"), ("ﬁ½", "fi1⁄2"),
        ("～", "～"), ("a\u200bb", "a b"),
        ("e\u0301", "é"), ("  a   b ", "a b"), ("𐞁", "𐞁"), ("中文", "中文"),
    ],
)  # fmt: skip
def test_e5_normalization(e5_tokenizer, text, normal):
    assert e5_tokenizer.normalizer.normalize_str(text) == normal


def test_e5_normalization_agrees_with_the_map_on_every_character(e5_tokenizer, character_map):
    # Between bars nothing composes. U+FDD0 and on are no characters; the tokenizer uses them inside.
    scalars = [chr(i) for i in range(0x110000) if not 0xD800 <= i < 0xE000 and not 0xFDD0 <= i < 0xFDF0]
    for start in range(0, len(scalars), 4096):
        text = "|" + "|".join(scalars[start : start + 4096]) + "|"
        normal, expected = e5_tokenizer.normalizer.normalize_str(text), normalize_by_map(text, character_map)
        pairs = zip(normal.split("|"), expected.split("|"), strict=True)
        assert normal == expected, next((ascii(a), ascii(b)) for a, b in pairs if a != b)


def test_e5_loads_with_every_weight_and_no_word(capfd, recwarn):
    from transformers import AutoModel, AutoTokenizer

    from recsys_lib.core.quiet import quiet

    folder = assets.locate("e5")
    with quiet():
        model, info = AutoModel.from_pretrained(folder, add_pooling_layer=False, output_loading_info=True)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert not any(info.values()), info
    assert sum(p.numel() for p in model.parameters()) == 117_505_920
    assert (tokenizer.model_max_length, tokenizer.pad_token_id, len(tokenizer)) == (512, 1, 250002)
    assert not recwarn.list and capfd.readouterr() == ("", "")


def test_e5_gives_the_cosines_it_is_known_for():
    from recsys_lib import encoders
    from recsys_lib.vectors import similarity

    e5 = encoders.load("e5", precision="float32")
    user = similarity.normalize(e5.encode(["喜欢阅读科幻小说", "最近浏览了《三体》"])).mean(0, keepdims=True)
    items = e5.encode(["《流浪地球》是一本精彩的科幻小说", "这部电影改编自刘慈欣的同名小说"])
    assert similarity.cosine(user, items)[0] == pytest.approx([0.915, 0.889], abs=1e-3)


def test_smollm2_weights_are_those_of_the_gguf_file():
    from gguf import GGUFReader
    from gguf.quants import dequantize
    from safetensors import safe_open

    folder = assets.locate("smollm2")
    tensors = {t.name: t for t in GGUFReader(folder / "SmolLM2-135M-Instruct.Q4_1.gguf").tensors}
    with safe_open(folder / "model.safetensors", "np") as saved:
        for theirs, ours in (
            ("blk.3.ffn_up", "model.layers.3.mlp.up_proj"),
            ("blk.7.attn_v", "model.layers.7.self_attn.v_proj"),
        ):
            packed = tensors[f"{theirs}.weight"]
            weights = dequantize(packed.data, packed.tensor_type)
            assert np.array_equal(weights, saved.get_tensor(f"{ours}.weight"))


def test_smollm2_continues_a_sentence_sensibly():
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from recsys_lib.core.quiet import quiet

    folder = assets.locate("smollm2")
    with quiet():
        model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
        prompt = tokenizer("The capital of France is", return_tensors="pt")
        text = tokenizer.decode(model.generate(**prompt, max_new_tokens=4, do_sample=False)[0])
    assert "Paris" in text


# ---------------------------------------------------------------- a pickle of tensors


def test_a_pickle_of_tensors_becomes_safetensors(tmp_path):
    import torch
    from safetensors.torch import load_file

    from recsys_lib.data.assets import convert

    state = {"a": torch.arange(6.0).reshape(2, 3).T, "b": torch.tensor(3)}
    torch.save(state, tmp_path / "x.pth", _use_new_zipfile_serialization=False)
    convert.pickled_tensors(tmp_path, "x.pth")
    found = load_file(tmp_path / "model.safetensors")
    assert list(tmp_path.iterdir()) == [tmp_path / "model.safetensors"]
    assert all(torch.equal(found[name], state[name]) for name in state)


class _Harmful:
    def __reduce__(self):
        return print, ("run",)


@pytest.mark.parametrize("content", [_Harmful(), [1, 2], {"a": 3}])
def test_a_pickle_of_anything_else_is_refused_and_not_run(content, tmp_path, capsys):
    import pickle

    from recsys_lib.core.errors import InputError
    from recsys_lib.data.assets import convert

    (tmp_path / "x.pth").write_bytes(pickle.dumps(content))
    with pytest.raises(InputError, match=r"x\.pth: expected"):
        convert.pickled_tensors(tmp_path, "x.pth")
    assert "run" not in capsys.readouterr().out
