"""A decoder on llama.cpp instead of torch: the interface of ``LanguageModel`` that prompts and rerankers use.

A prefix is a sequence in llama.cpp's cache. Each segment that continues it gets a sequence of its own, which
shares the prefix's cells: they are computed once and stored once.
"""

from __future__ import annotations

import logging
import tempfile
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys_lib.core.errors import InputError
from recsys_lib.llm import gguf_file
from recsys_lib.llm.language_model import LanguageModel
from recsys_lib.llm.packed_attention import Extension, Group, Prefix, check_groups

if TYPE_CHECKING:
    from torch import Tensor

# Tokens that the cache holds, those of a shared prefix once; its sequences (llama.cpp allows no more); and
# tokens that are computed at once.
CELLS, SEQUENCES, BATCH = 8192, 256, 512
# What ``llama_decode`` returns where the cache has no room for the tokens.
FULL = 1


@dataclass(eq=False)
class CachedPrefix(Prefix):
    """A prefix that lies in the cache as the sequence ``number``."""

    number: int


@dataclass(frozen=True)
class _Segment:
    """Tokens that continue a prefix."""

    prefix: CachedPrefix | None
    ids: Sequence[int]


def library() -> Any:
    """The package ``llama_cpp``, told to print errors only.

    Raises:
        InputError: it is not installed.
    """
    try:
        import llama_cpp
    except ModuleNotFoundError as error:
        raise InputError(
            "backend='llama.cpp' needs llama-cpp-python: run pip install --no-deps llama-cpp-python diskcache"
        ) from error
    logging.getLogger("llama-cpp-python").setLevel(logging.ERROR)
    return llama_cpp


class Context:
    """A GGUF file opened by llama.cpp on the processor, with its cache of keys and values."""

    def __init__(self, path: Path, float32: bool, threads: int):
        self.api = api = library()
        api.llama_backend_init()
        options = api.llama_model_default_params()
        options.n_gpu_layers = 0
        model = api.llama_model_load_from_file(str(path).encode(), options)
        context = api.llama_init_from_model(model, _context_options(api, float32, threads)) if model else None
        if context is None:
            raise InputError(f"{path.name}: llama.cpp could not open it; expected a GGUF file of a decoder")
        batch = api.llama_batch_init(CELLS, 0, 1)
        weakref.finalize(self, _free, api, model, context, batch)
        self.context, self.batch, self.memory = context, batch, api.llama_get_memory(context)
        self.n_parameters = int(api.llama_model_n_params(model))
        self.vocabulary = int(api.llama_vocab_n_tokens(api.llama_model_get_vocab(model)))
        self.free = list(range(SEQUENCES))
        # Sequences whose prefixes nobody holds any more; they are removed before the next tokens are read.
        self.released: list[int] = []

    def read(
        self, segments: Sequence[_Segment], keep: bool, every: bool
    ) -> list[tuple[np.ndarray, CachedPrefix | None]]:
        """For each segment the logits ``[tokens if every else 1, vocabulary]`` and, if kept, its prefix.

        What does not fit into the cache at once is read in parts.

        Raises:
            InputError: a single segment does not fit beside the prefixes that are held.
        """
        while self.released:
            self._remove(self.released.pop())
        fits = len(segments) <= len(self.free) and sum(len(s.ids) for s in segments) <= CELLS
        found = self._decode(segments, keep, every) if fits else None
        if found is not None:
            return found
        if len(segments) == 1:
            raise InputError(
                f"{len(segments[0].ids)} tokens beside {SEQUENCES - len(self.free)} prefixes: llama.cpp's "
                f"cache of {CELLS} tokens and {SEQUENCES} sequences is full; expected fewer users_at_once or "
                "shorter histories"
            )
        half = len(segments) // 2
        return self.read(segments[:half], keep, every) + self.read(segments[half:], keep, every)

    def _decode(
        self, segments: Sequence[_Segment], keep: bool, every: bool
    ) -> list[tuple[np.ndarray, CachedPrefix | None]] | None:
        """``read`` in one pass; None where the cache is full."""
        numbers, self.batch.n_tokens = [self.free.pop() for _ in segments], 0
        for segment, number in zip(segments, numbers, strict=True):
            if segment.prefix is not None:
                self.api.llama_memory_seq_cp(self.memory, segment.prefix.number, number, -1, -1)
        wanted = [self._add(s, number, every) for s, number in zip(segments, numbers, strict=True)]
        code = self.api.llama_decode(self.context, self.batch)
        kept = keep and code == 0
        if not kept:
            for number in numbers:
                self._remove(number)
        if code == FULL:
            return None
        if code:
            raise RuntimeError(f"llama_decode returned {code} for {self.batch.n_tokens} tokens")
        pointer = self.api.llama_get_logits(self.context)
        logits = np.ctypeslib.as_array(pointer, (sum(wanted), self.vocabulary)).copy()
        parts = np.split(logits, np.cumsum(wanted)[:-1])
        prefixes = [self._prefix(s, n) if kept else None for s, n in zip(segments, numbers, strict=True)]
        return list(zip(parts, prefixes, strict=True))

    def _add(self, segment: _Segment, number: int, every: bool) -> int:
        """Put a segment's tokens behind those of the batch; how many of them give logits."""
        batch, before = self.batch, 0 if segment.prefix is None else segment.prefix.length
        begin, n = batch.n_tokens, len(segment.ids)
        for j, token in enumerate(segment.ids):
            i = begin + j
            batch.token[i], batch.pos[i], batch.n_seq_id[i] = token, before + j, 1
            batch.seq_id[i][0] = number
            batch.logits[i] = every or j == n - 1
        batch.n_tokens = begin + n
        return n if every else 1

    def _prefix(self, segment: _Segment, number: int) -> CachedPrefix:
        before = 0 if segment.prefix is None else segment.prefix.length
        prefix = CachedPrefix(before + len(segment.ids), number)
        weakref.finalize(prefix, self.released.append, number)
        return prefix

    def _remove(self, number: int) -> None:
        self.api.llama_memory_seq_rm(self.memory, number, -1, -1)
        self.free.append(number)


def _context_options(api: Any, float32: bool, threads: int) -> Any:
    """One cache for all sequences; attention step by step, so that float32 stays float32."""
    options = api.llama_context_default_params()
    options.n_ctx = options.n_batch = CELLS
    options.n_ubatch, options.n_seq_max, options.kv_unified = BATCH, SEQUENCES, True
    options.n_threads = options.n_threads_batch = threads
    options.type_k = options.type_v = api.GGML_TYPE_F32 if float32 else api.GGML_TYPE_F16
    options.flash_attn_type = api.LLAMA_FLASH_ATTN_TYPE_DISABLED
    options.offload_kqv, options.no_perf = False, True
    return options


def _free(api: Any, model: Any, context: Any, batch: Any) -> None:
    api.llama_batch_free(batch)
    api.llama_free(context)
    api.llama_model_free(model)


class LlamaCppModel(LanguageModel):
    """A ``LanguageModel`` whose ``model`` is a ``Context``: it gives logits, but no gradients."""

    @property
    def module(self) -> Any:
        """There is none.

        Raises:
            InputError: always.
        """
        raise InputError(
            f"model {self.name!r} on llama.cpp gives logits only; expected backend='torch' for gradients"
        )

    @property
    def max_tokens(self) -> int:
        """Positions that the model was trained with, as many as the cache holds."""
        return min(CELLS, super().max_tokens)

    def extend(self, groups: Sequence[Group], keep: bool = False, every: bool = False) -> Extension:
        """As of ``LanguageModel``; what it gives as hidden states are the logits themselves.

        Raises:
            InputError: as there, or a full cache.
        """
        import torch

        check_groups(self, groups)
        found = self.model.read([_Segment(g.prefix, ids) for g in groups for ids in g.segments], keep, every)
        hidden = torch.from_numpy(np.concatenate([logits for logits, _ in found]))
        ends = np.cumsum([len(logits) for logits, _ in found]).tolist()
        return Extension(hidden, ends, [prefix for _, prefix in found if prefix is not None])

    def logits(self, hidden: Tensor, tokens: Sequence[int] | None = None) -> Tensor:
        """Logits float32 ``[n, len(tokens)]`` of what ``extend`` gave; of the whole vocabulary without
        ``tokens``."""
        return hidden if tokens is None else hidden[:, list(tokens)]


def open_weights(model: Any, precision: str, folder: Path) -> Context:
    """The weights of a float32 model of transformers in llama.cpp, through a file in ``folder`` that goes
    again.

    Raises:
        InputError: a model that a GGUF file cannot hold.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # llama.cpp maps the file, which stays readable after its name is gone.
    with tempfile.TemporaryDirectory(dir=folder, ignore_cleanup_errors=True) as temporary:
        path = Path(temporary) / "model.gguf"
        gguf_file.write(model, path, precision)
        return open_file(path, precision)


def open_file(path: Path, precision: str) -> Context:
    """A GGUF file in llama.cpp, with torch's number of threads; the cache is as exact as the weights."""
    import torch

    return Context(path, precision == "float32", torch.get_num_threads())
