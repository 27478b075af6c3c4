"""Encoder and decoder transformers as text encoders."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from recsys_lib.core.errors import InputError
from recsys_lib.core.quiet import quiet
from recsys_lib.data.assets import MANIFEST, resolve_model, table
from recsys_lib.encoders import backends, check_texts, model_folder
from recsys_lib.encoders.cache import encode_cached
from recsys_lib.encoders.model_folder import Files, Step
from recsys_lib.encoders.pooling import parts
from recsys_lib.hardware import machine
from recsys_lib.kernels.compiler import ENCODER_SOURCE, source_texts

PREFIXES = {"e5": "query: "}
# Tokens of a text where neither the user nor the model's folder says how many.
MAX_TOKENS = {"minilm": 256, "e5": 512, "smollm2": 512}
# Tokens of a native batch: nothing is padded, and threads share a batch better the larger it is.
NATIVE_BUDGET = 65_536
# What a tokenizer without a limit of its own is held to.
MAX_LENGTH = 1 << 20
DECODERS = (
    "llama",
    "gpt2",
    "gpt_neox",
    "mistral",
    "qwen2",
    "qwen3",
    "gemma",
    "gemma2",
    "phi",
    "phi3",
    "opt",
    "olmo2",
)
# Models whose positions are numbered from the padding token's id plus one on.
OFFSET_POSITIONS = ("roberta", "xlm-roberta", "camembert", "mpnet")
ECHO = ("Rewrite the sentence: ", ", rewritten sentence: ")


class Transformer:
    """A transformer whose last layer is pooled into one vector per text.

    name: ``minilm``, ``e5``, ``smollm2``, a folder, or a Hugging Face id. The model is loaded at the first
    text that the cache does not know. What a sentence-transformers folder says (pooling, layers after it,
    default prompt, limits) is done as sentence-transformers does it; an option that is given overrides it.
    The models that the project fetches are not normalized unless ``normalize=True``. ``revision`` names a
    commit, tag or branch of a hub; without it the newest state is used. Texts longer than ``max_tokens``, or
    than the model has positions, are cut: ``truncated`` tells how many. A text's vector depends on the batch
    it is in by float rounding only (about 1e-6 in float32, 1e-2 in bfloat16, whose vectors are therefore
    cached apart).
    """

    def __init__(
        self,
        name: str,
        *,
        precision: str = "auto",
        backend: str = "torch",
        pooling: str | None = None,
        prefix: str | None = None,
        prompt_name: str | None = None,
        normalize: bool | None = None,
        revision: str | None = None,
        max_tokens: int | None = None,
        token_budget: int = 4096,
        device: str = "auto",
        cache: bool = True,
    ):
        self.name = name
        source = resolve_model(name)
        # A model is read when it is first needed, and the working directory may have changed by then.
        self.source = str(Path(source).resolve()) if Path(source).is_dir() else source
        self.cache = cache
        self.token_budget = token_budget
        self.device = _device(device)
        for option, value in (("token_budget", token_budget), ("max_tokens", max_tokens)):
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
                raise InputError(f"{option}={value!r}: expected a whole number of at least 1")
        for option, text in (("prefix", prefix), ("prompt_name", prompt_name), ("revision", revision)):
            if not isinstance(text, str | None):
                raise InputError(f"{option}={text!r}: expected a text")
        if pooling is not None:
            parts(pooling)
        self.files = _files(name, self.source, revision)
        self.form = model_folder.read(self.files)
        self.pooling = pooling or self.form.pooling
        self.normalize = normalize
        self.steps = _steps(self.form.steps, normalize, name in table())
        self.prefix = self._prompt(prefix, prompt_name)
        self.max_tokens = max_tokens or MAX_TOKENS.get(name) or self.form.max_tokens
        self.precision = _precision(precision, self.device, _fingerprint(name, self.files), backend)
        self.options = self._identity()
        if backend != "auto" and backend not in backends.PRECISIONS:
            raise InputError(f"backend={backend!r}: expected auto, {', '.join(backends.PRECISIONS)}")
        self.backend = backends.fastest(self) if backend == "auto" else backend
        if self.backend != "torch":
            self.options["backend"] = self.backend
        if self.backend == "native":
            self.options["kernel"] = hashlib.sha256(
                "\0".join(source_texts(ENCODER_SOURCE)).encode()
            ).hexdigest()[:16]

    def _prompt(self, prefix: str | None, prompt_name: str | None) -> str:
        """What stands before every text: the user's choice, else the model's default."""
        if prefix is not None:
            return prefix
        if prompt_name is None:
            return PREFIXES.get(self.name) or self.form.default_prompt
        if prompt_name not in self.form.prompts:
            known = ", ".join(sorted(self.form.prompts)) or "no prompts"
            raise InputError(f"prompt_name={prompt_name!r}: model {self.name!r} has {known}")
        return self.form.prompts[prompt_name]

    def _identity(self) -> dict[str, Any]:
        """All that decides the vectors; what is absent from it has its default."""
        options: dict[str, Any] = {
            "model": self.name if self.name in table() else Path(self.source).name,
            "weights": _fingerprint(self.name, self.files),
            "precision": self.precision,
            "pooling": self.pooling,
            "prefix": self.prefix,
            "max_tokens": self.max_tokens,
        }
        if self.steps:
            options["steps"] = [[step.kind, step.path] for step in self.steps]
        return options

    @cached_property
    def config(self):
        from transformers import AutoConfig

        return self._loaded(AutoConfig)

    @property
    def dimension(self) -> int:
        """Components of a vector: those of the last layer, times the poolings that are joined,
        or what a Dense layer makes.
        """
        dense = [step for step in self.steps if step.kind == "dense"]
        if dense:
            return int(dense[-1].config["out_features"])
        return int(self.config.get_text_config().hidden_size) * len(parts(self.pooling))

    @cached_property
    def is_decoder(self) -> bool:
        """Whether tokens see only those before them."""
        causal = any("CausalLM" in a for a in self.config.architectures or [])
        return causal or self.config.model_type in DECODERS

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
        if self.form.lower_case:
            _lower_case(tokenizer)
        return tokenizer

    def _loaded(self, kind, **options):
        with quiet():
            try:
                return kind.from_pretrained(
                    self.source,
                    revision=self.files.revision or "main",
                    subfolder=self.form.subfolder,
                    **options,
                )
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
        """Hidden states of one text after the embedding and after every layer,
        float32 ``[layers + 1, tokens, d]``.
        """
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
        """Vectors of what ``tokenize`` gave: longest first in batches of about ``token_budget`` padded
        tokens, then back in order.
        """
        self._check_ids(tokenized)
        order = sorted(range(len(tokenized)), key=lambda i: -len(tokenized[i][0]))
        vectors = np.empty((len(tokenized), self.dimension), dtype=np.float32)
        budget = max(self.token_budget, NATIVE_BUDGET) if self.backend == "native" else self.token_budget
        start = 0
        while start < len(order):
            longest = max(1, len(tokenized[order[start]][0]))
            rows = order[start : start + max(1, budget // longest)]
            vectors[rows] = self._head(self._forward([tokenized[i] for i in rows]))
            start += len(rows)
            if bar is not None:
                bar.update(len(rows))
        return vectors

    def _check_ids(self, tokenized: list[tuple[list[int], int]]) -> None:
        """Refuse tokens that the model has no vector for, before a run time reads beyond its table."""
        highest = max((max(ids, default=0) for ids, _ in tokenized), default=0)
        rows = getattr(self.config.get_text_config(), "vocab_size", None)
        if rows is not None and highest >= rows:
            raise InputError(
                f"model {self.name!r}: its tokenizer gives token {highest}, its table has {rows} rows; "
                "expected a tokenizer and weights of the same model"
            )

    def after_pooling(self, pooled: np.ndarray) -> np.ndarray:
        """What the encoder does to pooled vectors ``[n, hidden]``: its Dense and Normalize layers, ``[n,
        d]``.
        """
        return self._head(pooled)

    @cached_property
    def _head(self) -> Callable[[np.ndarray], np.ndarray]:
        return model_folder.head(self.files, self.steps)

    @cached_property
    def _forward(self) -> backends.Run:
        return backends.build(self)

    def with_backend(self, backend: str) -> Transformer:
        """The same encoder on another backend, without the cache."""
        return Transformer(
            self.name, precision=self.precision, backend=backend, pooling=self.pooling, prefix=self.prefix,
            normalize=self.normalize, revision=self.files.revision, max_tokens=self.max_tokens,
            token_budget=self.token_budget, device=self.device, cache=False,
        )  # fmt: skip

    @cached_property
    def max_tokens_read(self) -> int:
        """Tokens of a text that are read: ``max_tokens``, or fewer where the model has fewer positions."""
        limits = [self.max_tokens, _positions(self.config), self.tokenizer.model_max_length, MAX_LENGTH]
        added = self.tokenizer.num_special_tokens_to_add()
        if self.max_tokens is not None and self.max_tokens <= added:
            raise InputError(
                f"max_tokens={self.max_tokens}: {self.name!r} adds {added} tokens to every text, expected "
                f"more than these"
            )
        return min(limit for limit in limits if limit is not None)

    def truncated(self, texts: Sequence[str]) -> float:
        """The fraction of ``texts`` that is longer than ``max_tokens_read`` and therefore cut."""
        texts = check_texts(texts)
        if not texts:
            return 0.0
        if self.pooling == "echo":
            ids = self.tokenizer([self.prefix + t for t in texts], add_special_tokens=False)["input_ids"]
            return float(np.mean([len(row) > self._echo_room for row in ids]))
        plain = self.plain_tokenizer()
        encodings = plain.encode_batch_fast([self.prefix + t for t in texts])
        return float(np.mean([len(encoding.ids) > self.max_tokens_read for encoding in encodings]))

    def tokenize(self, texts: list[str]) -> list[tuple[list[int], int]]:
        """Token ids of every text, and where the pooled part begins (0,
        or the second copy under echo pooling).
        """
        if self.pooling == "echo":
            return self._tokenize_echo(texts)
        prefixed = [self.prefix + t for t in texts]
        ids = self._token_ids(prefixed) if texts else []
        # A decoder's tokenizer adds nothing to an empty text; its begin-of-text token stands for it.
        begin = [self.tokenizer.bos_token_id or self.tokenizer.cls_token_id or 0]
        pooled_from = self._prompt_tokens
        return [(i or begin, min(pooled_from, max(0, len(i) - 1))) for i in ids]

    @cached_property
    def _prompt_tokens(self) -> int:
        """Tokens of the prompt that the model's folder leaves out of the pooling."""
        if self.form.include_prompt or not self.prefix:
            return 0
        ids = self.tokenizer(self.prefix)["input_ids"]
        return len(ids) - (ids[-1] in self.tokenizer.all_special_ids)

    @cached_property
    def _echo_room(self) -> int:
        """Tokens that each of the two copies of a text may have under echo pooling."""
        around = sum(len(self.tokenizer(part, add_special_tokens=False)["input_ids"]) for part in ECHO)
        return max(1, (self.max_tokens_read - around) // 2)

    def _token_ids(self, texts: list[str]) -> list[list[int]]:
        """Token ids, cut to ``max_tokens_read``: by the Rust tokenizer itself, in parallel,
        without transformers' dictionaries around it.
        """
        rust = getattr(self.tokenizer, "backend_tokenizer", None)
        if rust is None:
            return self.tokenizer(texts, truncation=True, max_length=self.max_tokens_read)["input_ids"]
        rust.no_padding()
        rust.enable_truncation(self.max_tokens_read)
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
        copies = (
            self.tokenizer([self.prefix + t for t in texts], add_special_tokens=False)["input_ids"]
            if texts
            else []
        )
        rows = []
        for copy in copies:
            copy = copy[: self._echo_room] or [self.tokenizer.bos_token_id or 0]
            rows.append((lead + copy + again + copy, len(lead) + len(copy) + len(again)))
        return rows


def _device(device: str) -> str:
    import torch

    if device not in ("auto", "cpu", "cuda"):
        raise InputError(f"device={device!r}: expected auto, cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("device='cuda': this machine has no usable GPU; use device='auto'")
    return ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device


def _precision(precision: str, device: str, model: str, backend: str) -> str:
    if precision not in (known := ("auto", *machine.PRECISIONS, "int8-weight", "int4-weight")):
        raise InputError(f"precision={precision!r}: expected one of {', '.join(known)}")
    if precision == "float16" and device == "cpu":
        raise InputError("precision='float16': processors emulate it slowly; use bfloat16, or a GPU")
    if precision != "auto":
        return precision
    return backends.fast_precision(device, model, backend)


def _files(name: str, source: str, revision: str | None) -> Files:
    files = Files(name, source, revision)
    if files.is_local and revision is not None:
        raise InputError(
            f"revision={revision!r}: {name!r} is a folder on this machine; a revision is for hub ids"
        )
    return files.pinned()


def _steps(steps: tuple[Step, ...], normalize: bool | None, is_asset: bool) -> tuple[Step, ...]:
    """The layers after the pooling with normalization as the user wishes, else as the folder says."""
    if normalize is None and not is_asset:
        return steps
    kept = steps
    while kept and kept[-1].kind == "normalize":
        kept = kept[:-1]
    return (*kept, Step("normalize")) if normalize else kept


def _positions(config: Any) -> int | None:
    """Tokens that the model has positions for; None if it has no table of them."""
    config = config.get_text_config()
    positions = getattr(config, "max_position_embeddings", None)
    if positions is None or positions < 1:
        return None
    if config.model_type in OFFSET_POSITIONS:
        return int(positions) - (getattr(config, "pad_token_id", None) or 0) - 1
    return int(positions)


def _lower_case(tokenizer: Any) -> None:
    """Lower-case letters before anything else, as ``do_lower_case`` of sentence-transformers."""
    rust = getattr(tokenizer, "backend_tokenizer", None)
    if rust is None:
        tokenizer.do_lower_case = True
        return
    from tokenizers import normalizers

    own = [] if rust.normalizer is None else [rust.normalizer]
    rust.normalizer = normalizers.Sequence([normalizers.Lowercase(), *own])


def _fingerprint(name: str, files: Files) -> str:
    """What tells one model and tokenizer from another: pinned hashes, a commit, or a hash of the content."""
    if name not in table():
        return files.fingerprint()
    manifest = json.loads((Path(files.source) / MANIFEST).read_text(encoding="utf-8"))["files"]
    return " ".join(manifest[f]["sha256"][:16] for f in ("model.safetensors", "tokenizer.json"))
