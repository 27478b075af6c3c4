"""A cross-encoder: one score for a history and a candidate read together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recsys_lib.core.errors import InputError
from recsys_lib.data.assets import locate
from recsys_lib.llm.prompts import clean
from recsys_lib.llm.rerank.reranker import Lists, Usage, of_pairs

# Special tokens around a pair: [CLS] query [SEP] passage [SEP].
SPECIAL = 3
MAX_TOKENS = 512


class CrossEncoder:
    """ms-marco-MiniLM-L-12-v2 in int8 over onnxruntime: the history is the query, a candidate the passage.

    It was trained to say whether a passage answers a web query; a history is no such query, and nothing here
    trains it further. Where a pair is longer than ``max_tokens``, the oldest entries of the history go first:
    ``history_entries_cut`` counts them.

    Raises:
        InputError: the asset ``ms-marco`` was not fetched, or onnxruntime is not installed.
    """

    name = "cross-encoder"

    def __init__(
        self, max_history: int = 15, max_item_tokens: int = 64, max_tokens: int = 256, threads: int = 1,
        users_at_once: int = 4, folder: Path | None = None,
    ):  # fmt: skip
        from tokenizers import Tokenizer

        if not 2 * max_item_tokens + SPECIAL <= max_tokens <= MAX_TOKENS:
            raise InputError(
                f"max_tokens={max_tokens!r}, max_item_tokens={max_item_tokens!r}: "
                f"expected room for two items, and at most {MAX_TOKENS}"
            )
        folder = folder or locate("ms-marco")
        self.session = _session(folder / "model.onnx", threads)
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        self.inputs = [i.name for i in self.session.get_inputs()]
        self.max_history, self.max_item_tokens, self.max_tokens = max_history, max_item_tokens, max_tokens
        self.users_at_once, self.history_entries_cut = users_at_once, 0
        self.special = [self.tokenizer.token_to_id(t) or 0 for t in ("[CLS]", "[SEP]", "[PAD]")]

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        cleaned = [clean(t) or "-" for t in texts]
        found = self.tokenizer.encode_batch(cleaned, add_special_tokens=False)
        return [e.ids[: self.max_item_tokens] for e in found]

    def score(self, lists: Lists, usage: Usage) -> list[np.ndarray]:
        """Scores ``[candidates]`` of every list."""
        begin, separator, _ = self.special
        pairs, kinds = [], []
        for history, candidates in zip(lists.histories, lists.candidates, strict=True):
            items = self._ids(candidates)
            room = self.max_tokens - SPECIAL - max(map(len, items))
            query: list[int] = []
            entries = self._ids(history[: self.max_history])
            for i, entry in enumerate(entries):
                if len(query) + len(entry) > room:
                    self.history_entries_cut += len(entries) - i
                    break
                query += entry
            for item in items:
                pairs.append([begin, *query, separator, *item, separator])
                kinds.append([0] * (len(query) + 2) + [1] * (len(item) + 1))
        return of_pairs(self._run(pairs, kinds), lists, sum(map(len, pairs)), usage)

    def _run(self, pairs: list[list[int]], kinds: list[list[int]]) -> np.ndarray:
        longest = max(map(len, pairs))
        feed = {
            "input_ids": np.full((len(pairs), longest), self.special[2], dtype=np.int64),
            "attention_mask": np.zeros((len(pairs), longest), dtype=np.int64),
            "token_type_ids": np.zeros((len(pairs), longest), dtype=np.int64),
        }
        for row, (ids, kind) in enumerate(zip(pairs, kinds, strict=True)):
            feed["input_ids"][row, : len(ids)] = ids
            feed["attention_mask"][row, : len(ids)] = 1
            feed["token_type_ids"][row, : len(ids)] = kind
        return self.session.run(None, {name: feed[name] for name in self.inputs})[0][:, 0]


def _session(path: Path, threads: int) -> Any:
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise InputError(
            "the cross-encoder needs onnxruntime: run pip install --no-deps -r requirements-bench.txt"
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
