"""A decoder language model with its tokenizer, chat template and head: ``load(name)``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from math import gcd
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recsys_lib.core import memory
from recsys_lib.core.errors import InputError
from recsys_lib.core.paths import cache_dir
from recsys_lib.core.quiet import quiet
from recsys_lib.data import assets
from recsys_lib.encoders.transformer import DECODERS
from recsys_lib.hardware import machine
from recsys_lib.llm import packed_attention
from recsys_lib.llm.int8_linear import replace_linears
from recsys_lib.llm.weights import linears, round_to_nearest

if TYPE_CHECKING:
    from torch import Tensor

    from recsys_lib.llm.packed_attention import Extension, Group

PRECISIONS = {
    "torch": ("float32", "bfloat16", "int8", "int4"),
    "llama.cpp": ("float32", "float16", "bfloat16", "int8", "int4"),
}
# Stands for a user's message while the chat template is cut in two.
_MESSAGE = "\u241emessage\u241e"
# Positions that a configuration without a limit is held to.
MAX_POSITIONS = 1 << 20


@dataclass(eq=False)
class LanguageModel:
    """A causal language model with its tokenizer; ``load`` makes it. ``model`` is one of transformers in
    evaluation mode.

    ``precision``: "float32", "bfloat16", "int8" (weights per output channel and activations per token in 8
    bits, where a processor is used), or "int4" (weights rounded to 4 bits in groups of 32, arithmetic in
    float32: quality, not speed). ``n_parameters`` counts an embedding that the head shares once.
    """

    name: str
    precision: str
    device: str
    model: Any
    tokenizer: Any
    n_parameters: int
    positions: int

    @property
    def module(self) -> Any:
        """The module of torch that computes the logits, for whoever needs gradients."""
        return self.model

    @property
    def max_tokens(self) -> int:
        """Positions that the model was trained with; a prompt may not be longer."""
        return self.positions

    @cached_property
    def chat(self) -> tuple[str, str]:
        """What stands before and after a user's message: the tokenizer's chat template, or nothing and a line
        break without one."""
        if not getattr(self.tokenizer, "chat_template", None):
            return "", "\n"
        messages = [{"role": "user", "content": _MESSAGE}]
        text = self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        if text.count(_MESSAGE) != 1:
            raise InputError(
                f"model {self.name!r}: its chat template repeats or drops the message; expected it once"
            )
        before, after = text.split(_MESSAGE)
        return before, after

    def ids(self, text: str) -> list[int]:
        """Token ids of a text as it is, without special tokens around it."""
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def texts_to_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of several texts, one call of the tokenizer."""
        return self.tokenizer(list(texts), add_special_tokens=False)["input_ids"] if texts else []

    @property
    def begin(self) -> list[int]:
        """The begin-of-text token where the tokenizer puts one before every text and the chat template does
        not."""
        first = self.tokenizer.bos_token_id
        adds = first is not None and self.tokenizer("a")["input_ids"][:1] == [first]
        return [first] if adds and not self.chat[0].startswith(self.tokenizer.bos_token) else []

    def answer_token(self, answer: str) -> int:
        """The one token that begins ``answer`` after the prompt.

        An answer of several tokens is told by its first: ``answer_tokens`` checks that it tells the answers
        apart.
        """
        ids = self.ids(answer)
        if not ids:
            raise InputError(f"answer={answer!r}: model {self.name!r} has no token for it")
        return ids[0]

    def answer_tokens(self, answers: Sequence[str]) -> list[int]:
        """The first token of each answer.

        Raises:
            InputError: two answers begin with the same token, so that its logit cannot tell them apart.
        """
        answer_of: dict[int, str] = {}
        for answer in answers:
            token = self.answer_token(answer)
            if token in answer_of:
                raise InputError(
                    f"model {self.name!r}: answers {answer_of[token]!r} and {answer!r} begin with the same "
                    "token; expected answers that differ in their first token"
                )
            answer_of[token] = answer
        return list(answer_of)

    def extend(self, groups: Sequence[Group], keep: bool = False, every: bool = False) -> Extension:
        """Read the segments of all groups at once, each on top of its group's prefix; ``keep`` the new
        prefixes for later calls; hidden states, for ``logits``, of ``every`` token or of each segment's last.

        Raises:
            InputError: an empty segment, no segment, or a prompt longer than the model's positions.
        """
        return packed_attention.extend(self, groups, keep, every)

    def logits(self, hidden: Tensor, tokens: Sequence[int] | None = None) -> Tensor:
        """Logits float32 ``[n, len(tokens)]`` of hidden states ``[n, d]``; of the whole vocabulary without
        ``tokens``."""
        import torch

        head = self.model.get_output_embeddings()
        if tokens is None:
            return head(hidden.to(head.weight.dtype)).float()
        chosen = torch.tensor(list(tokens), device=hidden.device)
        bias = None if head.bias is None else head.bias[chosen].float()
        return torch.nn.functional.linear(hidden.float(), head.weight[chosen].float(), bias)


def load(
    name: str = "smollm2", precision: str = "float32", device: str = "auto", backend: str = "torch"
) -> LanguageModel:
    """A language model: ``smollm2``, ``qwen-coder-0.5b``, ``qwen-coder-1.5b``, a folder, or a Hugging Face
    id.

    The two larger ones are optional assets: ``python -m recsys_lib fetch qwen-coder-0.5b`` brings them.

    backend: "torch", or "llama.cpp" (``pip install --no-deps llama-cpp-python diskcache``; on the processor;
    weights also in float16). Its int8 and int4 round activations in blocks of 32 to 8 bits. Its int4 of an
    asset is the asset's own packed file.

    Raises:
        InputError: an unknown name, precision or backend, a backend that is not installed, a model that was
        not fetched or is no decoder, too little memory.
    """
    if backend not in PRECISIONS:
        raise InputError(f"backend={backend!r}: expected one of {', '.join(PRECISIONS)}")
    if precision not in PRECISIONS[backend]:
        raise InputError(f"precision={precision!r}: expected one of {', '.join(PRECISIONS[backend])}")
    device = _device(device, precision, backend)
    source = assets.resolve_model(name)
    with (
        quiet(),
        memory.refused_when_exhausted(f"model {name!r} in {precision}", "take a smaller model or bfloat16"),
        _one_line(name),
    ):
        load_it = _load_torch if backend == "torch" else _load_llama_cpp
        return load_it(name, precision, device, source)


def _device(device: str, precision: str, backend: str) -> str:
    """The device to use for ``auto``, or the one asked for if it can be used."""
    import torch

    if device == "auto":
        device = "cuda" if backend == "torch" and torch.cuda.is_available() else "cpu"
    machine.check_device(device)
    if backend == "llama.cpp" and device != "cpu":
        raise InputError(f"backend='llama.cpp' on {device}: expected device='cpu'")
    if precision == "int8" and device != "cpu":
        raise InputError(f"precision='int8' on {device}: expected float32, bfloat16 or int4 there")
    return device


@contextmanager
def _one_line(name: str) -> Iterator[None]:
    """What transformers says of a model that it cannot load, as an InputError."""
    try:
        yield
    except InputError:
        raise
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"model {name!r} could not be loaded as a decoder language model: {reason}"
        ) from error


def _described(source: str) -> tuple[Any, Any, int]:
    """Configuration, tokenizer and number of positions of a decoder.

    Raises:
        ValueError: it is none.
    """
    from transformers import AutoConfig, AutoTokenizer

    config = AutoConfig.from_pretrained(source)
    if not (config.model_type in DECODERS or any("CausalLM" in a for a in config.architectures or [])):
        raise ValueError(f"it is a {config.model_type}, which reads both ways")
    positions = int(getattr(config, "max_position_embeddings", None) or MAX_POSITIONS)
    return config, AutoTokenizer.from_pretrained(source), positions


def _load_torch(name: str, precision: str, device: str, source: str) -> LanguageModel:
    import torch
    from transformers import AutoModelForCausalLM

    config, tokenizer, positions = _described(source)
    packed_attention.register()
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    model = AutoModelForCausalLM.from_pretrained(
        source, config=config, dtype=dtype, attn_implementation=packed_attention.NAME
    )
    model = model.eval().requires_grad_(False)
    n_parameters = sum(p.numel() for p in model.parameters())
    if precision == "int8":
        replace_linears(model)
    if precision == "int4":
        for layer in linears(model).values():
            layer.weight.data = round_to_nearest(layer.weight.data, 4, gcd(32, layer.in_features))
    return LanguageModel(name, precision, device, model.to(device), tokenizer, n_parameters, positions)


def _load_llama_cpp(name: str, precision: str, device: str, source: str) -> LanguageModel:
    import torch
    from transformers import AutoModelForCausalLM

    from recsys_lib.llm import gguf_file, llama_cpp_model

    llama_cpp_model.library()
    config, tokenizer, positions = _described(source)
    packed = next(Path(source).glob("*.gguf"), None) if name in assets.table() else None
    if packed is not None and precision == "int4":
        context = llama_cpp_model.open_file(packed, precision)
    else:
        gguf_file.check(config)
        model = AutoModelForCausalLM.from_pretrained(source, config=config, dtype=torch.float32)
        context = llama_cpp_model.open_weights(model, precision, cache_dir() / "gguf")
    return llama_cpp_model.LlamaCppModel(
        name, precision, device, context, tokenizer, context.n_parameters, positions
    )
