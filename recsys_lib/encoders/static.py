"""A table of token vectors and a mean: a language model's knowledge with none of its layers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np

from recsys_lib.data.assets import locate
from recsys_lib.encoders import check_texts


class StaticVectors:
    """The mean of a text's token vectors, ``[n, d]``; a text without a token is the zero vector.

    WordLlama's vectors were distilled from the input embeddings of large language models. No cache: looking
    up is faster.
    """

    def __init__(self, name: str):
        self.name = name
        self.folder = locate(name)
        self.options: dict[str, Any] = {"model": name}

    @cached_property
    def table(self) -> np.ndarray:
        """Token vectors, float32 ``[vocabulary, d]``."""
        from safetensors.numpy import load_file

        return next(iter(load_file(self.folder / "model.safetensors").values())).astype(np.float32)

    @cached_property
    def _tokenizer(self):
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(self.folder / "tokenizer.json"))
        tokenizer.no_padding()
        tokenizer.no_truncation()
        return tokenizer

    @property
    def dimension(self) -> int:
        return self.table.shape[1]

    @property
    def n_parameters(self) -> int:
        return self.table.size

    def tokens(self, text: str) -> list[str]:
        """The text's tokens, as the vectors are looked up."""
        return self._tokenizer.encode(text, add_special_tokens=False).tokens

    def encode(self, texts: Sequence[str], progress: bool = True) -> np.ndarray:
        import torch

        encodings = self._tokenizer.encode_batch_fast(check_texts(texts), add_special_tokens=False)
        ids = [encoding.ids for encoding in encodings]
        starts = np.concatenate([[0], np.cumsum([len(row) for row in ids])]).astype(np.int64)
        flat = np.fromiter(chain.from_iterable(ids), dtype=np.int64, count=int(starts[-1]))
        flat = np.minimum(flat, len(self.table) - 1)
        # One pass over the rows; a text without tokens is zero.
        rows, table = torch.from_numpy(flat), torch.from_numpy(self.table)
        with torch.inference_mode():
            return torch.nn.functional.embedding_bag(
                rows, table, torch.from_numpy(starts[:-1]), mode="mean"
            ).numpy()
