"""Turn packed model files into ordinary transformers folders, once, with every weight exactly as dequantized.

The 4-bit files hold blocks of 32 weights with a float16 scale (Q4_0) or a scale and a minimum (Q4_1); neither
fits float16 without a second rounding, so the safetensors are float32.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from recsys_lib.core.errors import InputError

# ---------------------------------------------------------------- the packed e5 file


@dataclass(frozen=True)
class PackedE5:
    """A packed e5 file, opened: configuration, tokenizer and tensors by the file's own names."""

    config: dict[str, Any]
    pieces: list[str]
    scores: np.ndarray
    character_map: dict[str, str]
    tensors: dict[str, np.ndarray]


def read_packed_e5(path: Path) -> PackedE5:
    """Read the little-endian format ``E5S1``: header, SentencePiece unigram table, character map, tensors.

    Raises:
        InputError: another format.
    """
    data = path.read_bytes()
    if data[:4] != b"E5S1":
        raise InputError(f"{path.name}: begins with {data[:4]!r}, expected b'E5S1'")
    hidden, layers, heads, feed_forward, vocabulary, positions, types = struct.unpack_from("<7i", data, 8)
    (epsilon,) = struct.unpack_from("<f", data, 36)
    config = {
        "hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads,
        "intermediate_size": feed_forward, "vocab_size": vocabulary, "max_position_embeddings": positions,
        "type_vocab_size": types, "layer_norm_eps": float(f"{epsilon:.3g}"),
    }  # fmt: skip
    at = 44
    (n_pieces,) = struct.unpack_from("<i", data, at)
    (blob_bytes,) = struct.unpack_from("<Q", data, at + 20)
    at += 28
    offsets = np.frombuffer(data, "<u4", n_pieces + 1, at)
    scores = np.frombuffer(data, "<f4", n_pieces, at + offsets.nbytes)
    at += offsets.nbytes + scores.nbytes
    blob = data[at : at + blob_bytes]
    pieces = [blob[a:b].decode("utf-8") for a, b in pairwise(offsets)]
    character_map, at = _character_map(data, at + blob_bytes)
    return PackedE5(config, pieces, scores, character_map, _tensors(data, at))


def _character_map(data: bytes, at: int) -> tuple[dict[str, str], int]:
    count, n_bytes = struct.unpack_from("<iI", data, at)
    at, end, mapping = at + 8, at + 8 + n_bytes, {}
    for _ in range(count):
        codepoint, n = struct.unpack_from("<IB", data, at)
        mapping[chr(codepoint)] = "".join(map(chr, struct.unpack_from(f"<{n}I", data, at + 5)))
        at += 5 + 4 * n
    return mapping, end


def _tensors(data: bytes, at: int) -> dict[str, np.ndarray]:
    from gguf import GGMLQuantizationType
    from gguf.quants import dequantize

    (count,) = struct.unpack_from("<i", data, at)
    at, tensors = at + 4, {}
    for _ in range(count):
        (length,) = struct.unpack_from("<H", data, at)
        name = data[at + 2 : at + 2 + length].decode()
        kind, size, offset, n_bytes = struct.unpack_from("<BIQQ", data, at + 2 + length)
        at += 2 + length + 21
        raw = np.frombuffer(data, np.uint8, n_bytes, offset)
        values = raw.view("<f4") if kind == 0 else dequantize(raw, GGMLQuantizationType.Q4_0).ravel()
        tensors[name] = values[:size].astype(np.float32)
    return tensors


# The file's names for the parts of a layer, and transformers' names for the same.
_LAYER = {
    "q": "attention.self.query", "k": "attention.self.key", "v": "attention.self.value",
    "ao": "attention.output.dense", "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense", "fo": "output.dense", "oln": "output.LayerNorm",
}  # fmt: skip
_EMBEDDING = {"word": "word_embeddings", "pos": "position_embeddings", "type": "token_type_embeddings"}


def _transformers_name(name: str) -> str:
    first, *rest = name.split(".")
    if first == "emb":
        return (
            f"embeddings.{_EMBEDDING[rest[0]]}.weight"
            if rest[0] != "ln"
            else f"embeddings.LayerNorm.{_side(rest[1])}"
        )
    return f"encoder.layer.{first[1:]}.{_LAYER[rest[0]]}.{_side(rest[1])}"


def _side(letter: str) -> str:
    return {"w": "weight", "b": "bias"}[letter]


def packed_e5(folder: Path, name: str) -> None:
    """Convert ``folder/name`` into a BertModel folder with its tokenizer; the packed file goes."""
    import torch
    from safetensors.torch import save_file

    packed = read_packed_e5(folder / name)
    hidden, feed_forward = packed.config["hidden_size"], packed.config["intermediate_size"]
    state = {}
    for key, values in packed.tensors.items():
        rows = {"fi": feed_forward}.get(key.split(".")[1], hidden)
        matrix = key.startswith("emb.") and not key.startswith("emb.ln")
        shaped = (
            values.reshape(-1, hidden)
            if matrix
            else values.reshape(rows, -1)
            if key.endswith(".w")
            else values
        )
        state[_transformers_name(key)] = torch.from_numpy(
            shaped.ravel() if "ln." in key else shaped
        ).contiguous()
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    config = {"architectures": ["BertModel"], "model_type": "bert", "hidden_act": "gelu", "pad_token_id": 1}
    (folder / "config.json").write_text(json.dumps(config | packed.config, indent=1), encoding="utf-8")
    e5_tokenizer(packed).save(str(folder / "tokenizer.json"))
    # Kept for whoever wants to check the tokenizer against what its makers did to characters.
    text = json.dumps(packed.character_map, ensure_ascii=True, indent=0)
    (folder / "character_map.json").write_text(text, encoding="utf-8")
    special = {
        "bos_token": "<s>",
        "cls_token": "<s>",
        "eos_token": "</s>",
        "sep_token": "</s>",
        "pad_token": "<pad>",
    }
    special |= {"unk_token": "<unk>", "mask_token": "<mask>"}
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": packed.config["max_position_embeddings"],
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | special, indent=1), encoding="utf-8")
    (folder / name).unlink()


def e5_tokenizer(packed: PackedE5):
    """The file's SentencePiece unigram model as a ``tokenizers`` one.

    The file's character map is NFKC but for 30 control characters (dropped), 15 kinds of white space and
    zero-width characters (made a space) and U+FF5E and U+1F23B (left alone). The rules are derived by asking
    the library's own NFKC about every character, since its Unicode version is neither Python's nor the
    model's.
    """
    from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

    nfkc = normalizers.NFKC()
    differing = {c: to for c, to in packed.character_map.items() if nfkc.normalize_str(c) != to}
    replace = [
        normalizers.Replace(Regex(_character_class([c for c in differing if differing[c] == to])), to)
        for to in sorted(set(differing.values()))
    ]
    # Characters that NFKC changes and the map does not step aside meanwhile, into code points that are no
    # characters.
    scalars = (chr(i) for i in range(0x110000) if not 0xD800 <= i < 0xE000)
    kept = [c for c in scalars if c not in packed.character_map and nfkc.normalize_str(c) != c]
    aside = {c: chr(0xFDD0 + i) for i, c in enumerate(kept)}
    steps = [*replace, *(normalizers.Replace(c, p) for c, p in aside.items()), nfkc]
    steps += [normalizers.Replace(p, c) for c, p in aside.items()]
    # Not Strip: it would also take U+0085, which the map leaves alone.
    steps += [normalizers.Replace(Regex(" {2,}"), " "), normalizers.Replace(Regex("^ | $"), "")]
    vocabulary = list(zip(packed.pieces, packed.scores.astype(float).tolist(), strict=True))
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=3, byte_fallback=False))
    tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer.add_special_tokens(
        [AddedToken(t, special=True) for t in ("<s>", "<pad>", "</s>", "<unk>", "<mask>")]
    )
    return tokenizer


def _character_class(characters: list[str]) -> str:
    return "[" + "".join(f"\\x{{{ord(c):X}}}" for c in characters) + "]"


# ---------------------------------------------------------------- GGUF


def gguf(folder: Path, name: str) -> None:
    """Convert a GGUF language model into a transformers folder in float32; the GGUF file stays beside it."""
    import torch
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from recsys_lib.core.quiet import quiet

    with quiet():
        tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name)
        model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32)
        tokenizer.save_pretrained(folder)
    # Written by hand: transformers declines to save what it loaded from a quantized file.
    state = {k: v.contiguous() for k, v in model.state_dict().items()}
    if model.config.tie_word_embeddings:
        state.pop("lm_head.weight", None)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    config = {
        k: v for k, v in model.config.to_dict().items() if k not in ("quantization_config", "_name_or_path")
    }
    (folder / "config.json").write_text(json.dumps(config, indent=1, default=str), encoding="utf-8")


# ---------------------------------------------------------------- a pickle of tensors


def pickled_tensors(folder: Path, name: str) -> None:
    """Convert a pickle of tensors by name into ``model.safetensors``, every bit kept; the pickle goes.

    It is read by torch's reader of weights, which builds tensors and plain containers and runs no code.

    Raises:
        InputError: the file holds anything else.
    """
    import torch
    from safetensors.torch import save_file

    try:
        state = torch.load(folder / name, map_location="cpu", weights_only=True)
    except Exception as error:  # UnpicklingError for code, RuntimeError or EOFError for damage
        text = " ".join(str(error).split())[:120]
        raise InputError(f"{name}: expected a pickle of tensors only ({text})") from error
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise InputError(f"{name}: expected tensors by name, found {type(state).__name__}")
    tensors = {key: value.contiguous() for key, value in state.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / name).unlink()
