"""Encoder and decoder transformers as text encoders."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from recsys_lib.core.errors import InputError
from recsys_lib.core.quiet import quiet
from recsys_lib.data.assets import MANIFEST, resolve_model, table
from recsys_lib.encoders import backends, check_texts
from recsys_lib.encoders.cache import encode_cached
from recsys_lib.encoders.pooling import POOLINGS
from recsys_lib.hardware import machine

PREFIXES = {"e5": "query: "}
MOST_TOKENS = {"minilm": 256}
# Tokens of a native batch: nothing is padded, and threads share a batch better the larger it is.
NATIVE_BUDGET = 65_536
ECHO = ("Rewrite the sentence: ", ", rewritten sentence: ")


class Transformer:
    """A transformer whose last layer is pooled into one vector per text.

    name: ``minilm``, ``e5``, ``smollm2``, a folder, or a Hugging Face id. The model is loaded at the first text that the
    cache does not know. Texts longer than ``max_tokens``, or than the model has positions, are cut. A text's vector depends on the batch it is in by float
    rounding only (about 1e-6 in float32, 1e-2 in bfloat16, whose vectors are therefore cached apart).
    """

    def __init__(
        self,
        name: str,
        *,
        precision: str = "auto",
        backend: str = "torch",
        pooling: str | None = None,
        prefix: str | None = None,
        max_tokens: int | None = None,
        token_budget: int = 4096,
        device: str = "auto",
        cache: bool = True,
    ):
        self.name = name
        self.source = resolve_model(name)
        self.cache = cache
        self.token_budget = token_budget
        self.device = _device(device)
        self.pooling = pooling or _own_pooling(self.source)
        if self.pooling not in POOLINGS:
            raise InputError(f"pooling={pooling!r}: want one of {', '.join(POOLINGS)}")
        for option, value in (("token_budget", token_budget), ("max_tokens", max_tokens)):
            if value is not None and (not isinstance(value, int) or value < 1):
                raise InputError(f"{option}={value!r}: want a whole number of at least 1")
        if not isinstance(prefix, str | None):
            raise InputError(f"prefix={prefix!r}: want a text")
        self.prefix = PREFIXES.get(name, "") if prefix is None else prefix
        self.max_tokens = max_tokens or MOST_TOKENS.get(name, 512)
        self.precision = _precision(precision, self.device)
        self.options: dict[str, Any] = {
            "model": name if name in table() else Path(name).name, "weights": _fingerprint(name, self.source),
            "precision": self.precision, "pooling": self.pooling, "prefix": self.prefix, "max_tokens": self.max_tokens,
        }  # fmt: skip
        if backend != "auto" and backend not in backends.PRECISIONS:
            raise InputError(f"backend={backend!r}: want auto, {', '.join(backends.PRECISIONS)}")
        self.backend = backends.fastest(self) if backend == "auto" else backend
        if self.backend != "torch":
            self.options["backend"] = self.backend  # eager torch's vectors were here before there was a choice

    @cached_property
    def config(self):
        from transformers import AutoConfig

        return self._loaded(AutoConfig)

    @property
    def dimension(self) -> int:
        return int(self.config.hidden_size)

    @cached_property
    def is_decoder(self) -> bool:
        """Whether tokens see only those before them."""
        return any("CausalLM" in a for a in self.config.architectures or []) or self.config.model_type in (
            "llama",
            "gpt2",
        )

    @cached_property
    def model(self):
        """The transformer without its head, in evaluation mode, on its device."""
        return self.fresh_model()

    def fresh_model(self):
        """The same, loaded anew: in float32 for backends that convert it or round it to integers."""
        import torch
        from transformers import AutoModel

        as_is = self.backend in ("torch", "compile") and self.precision in machine.PRECISIONS[:3]
        options: dict[str, Any] = {"dtype": getattr(torch, self.precision) if as_is else torch.float32}
        if self.config.model_type == "bert":
            options["add_pooling_layer"] = False  # trained for next-sentence prediction, not used here
        return self._loaded(AutoModel, **options).eval().to(self.device)

    @cached_property
    def tokenizer(self):
        from transformers import AutoTokenizer

        tokenizer = self._loaded(AutoTokenizer)
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        return tokenizer

    def _loaded(self, kind, **options):
        with quiet():
            try:
                return kind.from_pretrained(self.source, **options)
            except (OSError, ValueError) as error:
                reason = str(error).strip().splitlines()[0]
                raise InputError(f"model {self.name!r} could not be loaded: {reason}") from error

    @property
    def n_parameters(self) -> int:
        """Weights of the model without a language-modelling head."""
        return sum(p.numel() for p in self.model.parameters())

    def tokens(self, text: str) -> list[str]:
        """The text's tokens as the model reads them, prefix and special tokens included."""
        return self.tokenizer.convert_ids_to_tokens(self.tokenize([text])[0][0])

    def layers(self, text: str) -> np.ndarray:
        """Hidden states of one text after the embedding and after every layer, float32 ``[layers + 1, tokens, d]``."""
        import torch

        ids, _ = self.tokenize([text])[0]
        with torch.inference_mode():
            out = self.model(input_ids=torch.tensor([ids], device=self.device), output_hidden_states=True)
        return torch.cat(out.hidden_states).float().cpu().numpy()

    def encode(self, texts: Sequence[str], progress: bool = True) -> np.ndarray:
        """Vectors float32 ``[n, d]``, not normalized, in the order of ``texts``.

        Raises:
            InputError: not a list of texts, or a model that cannot be loaded.
        """
        from tqdm import tqdm

        texts = check_texts(texts)
        if not self.cache:
            with tqdm(total=len(texts), desc=self.name, disable=None if progress else True) as bar:
                return self._encode(texts, bar)
        bar = tqdm(desc=self.name, unit="text", disable=None if progress else True)
        with bar:
            return encode_cached(texts, self.options, self.dimension, lambda chunk: self._encode(chunk, bar))

    def _encode(self, texts: list[str], bar) -> np.ndarray:
        return self.run_tokens(self.tokenize(texts), bar)

    def run_tokens(self, tokenized: list[tuple[list[int], int]], bar: Any = None) -> np.ndarray:
        """Vectors of what ``tokenize`` gave: longest first in batches of about ``token_budget`` padded tokens, then back in order."""
        order = sorted(range(len(tokenized)), key=lambda i: -len(tokenized[i][0]))
        vectors = np.empty((len(tokenized), self.dimension), dtype=np.float32)
        budget = max(self.token_budget, NATIVE_BUDGET) if self.backend == "native" else self.token_budget
        start = 0
        while start < len(order):
            longest = max(1, len(tokenized[order[start]][0]))
            rows = order[start : start + max(1, budget // longest)]
            vectors[rows] = self._forward([tokenized[i] for i in rows])
            start += len(rows)
            if bar is not None:
                bar.update(len(rows))
        return vectors

    @cached_property
    def _forward(self) -> backends.Run:
        return backends.build(self)

    def with_backend(self, backend: str) -> Transformer:
        """The same encoder on another backend, without the cache."""
        return Transformer(
            self.name, precision=self.precision, backend=backend, pooling=self.pooling, prefix=self.prefix, max_tokens=self.max_tokens,
            token_budget=self.token_budget, device=self.device, cache=False,
        )  # fmt: skip

    @cached_property
    def most_tokens(self) -> int:
        """Tokens of a text that are read: ``max_tokens``, or fewer where the model has fewer positions."""
        positions = getattr(self.config, "max_position_embeddings", None) or self.max_tokens
        added = self.tokenizer.num_special_tokens_to_add()
        if self.max_tokens <= added:
            raise InputError(
                f"max_tokens={self.max_tokens}: {self.name!r} adds {added} tokens to every text, want more than these"
            )
        return min(self.max_tokens, positions, self.tokenizer.model_max_length)

    def tokenize(self, texts: list[str]) -> list[tuple[list[int], int]]:
        """Token ids of every text, and where the pooled part begins (0, or the second copy under echo pooling)."""
        if self.pooling == "echo":
            return self._tokenize_echo(texts)
        prefixed = [self.prefix + t for t in texts]
        ids = self._token_ids(prefixed) if texts else []
        # A decoder's tokenizer adds nothing to an empty text; its begin-of-text token stands for it.
        begin = [self.tokenizer.bos_token_id or self.tokenizer.cls_token_id or 0]
        return [(i or begin, 0) for i in ids]

    def _token_ids(self, texts: list[str]) -> list[list[int]]:
        """Token ids, cut to ``most_tokens``: by the Rust tokenizer itself, in parallel, without transformers' dictionaries around it."""
        rust = getattr(self.tokenizer, "backend_tokenizer", None)
        if rust is None:
            return self.tokenizer(texts, truncation=True, max_length=self.most_tokens)["input_ids"]
        rust.no_padding()
        rust.enable_truncation(self.most_tokens)
        return [encoding.ids for encoding in rust.encode_batch_fast(texts)]

    def plain_tokenizer(self):
        """A copy of the Rust tokenizer that neither cuts nor fills up."""
        from tokenizers import Tokenizer

        plain = Tokenizer.from_str(self.tokenizer.backend_tokenizer.to_str())
        plain.no_padding()
        plain.no_truncation()
        return plain

    def _tokenize_echo(self, texts: list[str]) -> list[tuple[list[int], int]]:
        """The text twice: the second copy has read the first, so every token of it knows the whole text."""
        lead, again = (self.tokenizer(part, add_special_tokens=False)["input_ids"] for part in ECHO)
        room = max(1, (self.most_tokens - len(lead) - len(again)) // 2)
        copies = (
            self.tokenizer([self.prefix + t for t in texts], add_special_tokens=False)["input_ids"] if texts else []
        )
        rows = []
        for copy in copies:
            copy = copy[:room] or [self.tokenizer.bos_token_id or 0]
            rows.append((lead + copy + again + copy, len(lead) + len(copy) + len(again)))
        return rows


def _device(device: str) -> str:
    import torch

    if device not in ("auto", "cpu", "cuda"):
        raise InputError(f"device={device!r}: want auto, cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("device='cuda': this machine has no usable GPU; use device='auto'")
    return ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device


def _precision(precision: str, device: str) -> str:
    if precision not in (known := ("auto", *machine.PRECISIONS, "int8-weight", "int4-weight")):
        raise InputError(f"precision={precision!r}: want one of {', '.join(known)}")
    if precision == "float16" and device == "cpu":
        raise InputError("precision='float16': processors emulate it slowly; use bfloat16, or a GPU")
    if precision != "auto":
        return precision
    return "bfloat16" if device == "cuda" or machine.bfloat16_is_faster() else "float32"


def _own_pooling(source: str) -> str:
    """What a sentence-transformers folder says of itself; the mean otherwise."""
    path = Path(source) / "1_Pooling" / "config.json"
    if path.is_file() and json.loads(path.read_text(encoding="utf-8")).get("pooling_mode_cls_token"):
        return "first"
    return "mean"


def _fingerprint(name: str, source: str) -> str:
    """What tells one model and tokenizer from another without reading them: pinned hashes, or sizes and times of files."""
    folder = Path(source)
    if name in table():
        files = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
        return " ".join(files[f]["sha256"][:16] for f in ("model.safetensors", "tokenizer.json"))
    parts = [p for pattern in ("*.safetensors", "*.bin", "tokenizer*") for p in sorted(folder.glob(pattern))]
    return " ".join(f"{p.name}:{p.stat().st_size}:{p.stat().st_mtime_ns}" for p in parts) or source
