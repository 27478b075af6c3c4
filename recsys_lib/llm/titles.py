"""A decoder recommends by writing titles: freely, or held to the titles of the catalogue by a trie."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from recsys_lib.core.errors import InputError
from recsys_lib.core.quiet import quiet

# A title ends where its line does.
END = "\n"


@dataclass(frozen=True)
class Written:
    """One title that a model wrote: its ``item`` (None: no item of the catalogue) and its length-ruled log
    probability.
    """

    text: str
    item: int | None
    score: float


class TitleTrie:
    """The titles of a catalogue as a tree of tokens.

    Equal titles of several items end at one leaf, and stand for the first of them. An item without a title
    cannot be written.
    """

    def __init__(self, tokenizer: Any, titles: Sequence[str]):
        self.end = _end_token(tokenizer)
        lines = [_one_line(title) for title in titles]
        self.paths = [
            tokenizer.encode(f" {line}", add_special_tokens=False) if line else [] for line in lines
        ]
        self.longest = max(map(len, self.paths), default=0)

    def tree(self, items: Iterable[int]) -> dict[int, Any]:
        """Nested dictionaries token → next tokens of the titles of ``items``; under ``end`` stands the item.

        Raises:
            InputError: no item.
        """
        root: dict[int, Any] = {}
        for item in items:
            if not self.paths[item]:
                continue
            node = root
            for token in self.paths[item]:
                node = node.setdefault(token, {})
            node.setdefault(self.end, int(item))
        if not root:
            raise InputError("no title is allowed: expected at least one item with a title")
        return root


def write_titles(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[str],
    titles: Sequence[str],
    allowed: Sequence[Sequence[int]] | None = None,
    *,
    count: int = 10,
    max_tokens: int = 32,
    length_penalty: float = 0.0,
) -> list[list[Written]]:
    """The ``count`` best titles after every prompt, by beam search, best first.

    prompts: texts that end where a space and a title are expected ("…\n-"). titles: one per item of the
    catalogue. allowed: for every prompt the items that may be written; then every answer is one of them.
    None: the model writes freely, and what matches no title of the catalogue (``matching_item``) has ``item``
    None. ``length_penalty`` p divides the log probability of a title of n tokens by n ** p: 0 ranks by
    probability and prefers short titles, 1 by the mean of the tokens.

    Raises:
        InputError: counts below 1, no prompt, an allowed list of another length or without items.
    """
    if min(count, max_tokens) < 1 or not prompts:
        raise InputError(
            f"count={count!r}, max_tokens={max_tokens!r}, {len(prompts)} prompts: expected at least 1 each"
        )
    writer = _Writer(model, tokenizer, length_penalty)
    if allowed is None:
        known = _first_items(titles)
        return [writer.freely(prompt, known, count, max_tokens) for prompt in prompts]
    if len(allowed) != len(prompts):
        raise InputError(
            f"allowed has {len(allowed)} lists for {len(prompts)} prompts: expected one for each"
        )
    trie = TitleTrie(tokenizer, titles)
    return [writer.under(prompt, trie, items, count) for prompt, items in zip(prompts, allowed, strict=True)]


@dataclass(frozen=True, eq=False)
class _Writer:
    """A model that continues prompts with titles by beam search."""

    model: Any
    tokenizer: Any
    length_penalty: float

    def freely(self, prompt: str, known: dict[str, int], count: int, max_tokens: int) -> list[Written]:
        """Whatever the model writes; ``known``: items by ``_normalized`` title."""
        written = []
        for tokens, score in self._search(prompt, count, max_tokens, _end_token(self.tokenizer)):
            text = self.tokenizer.decode(tokens, skip_special_tokens=True).split(END)[0].strip()
            written.append(Written(text, known.get(_normalized(text)), score))
        return written

    def under(self, prompt: str, trie: TitleTrie, items: Sequence[int], count: int) -> list[Written]:
        """Titles of ``items`` only."""
        tree, beams = trie.tree(items), min(count, len(set(items)))
        written = []
        for tokens, score in self._search(prompt, beams, trie.longest + 1, trie.end, tree):
            item = _node(tree, tokens)
            if isinstance(item, int):
                written.append(Written(self.tokenizer.decode(trie.paths[item]).strip(), item, score))
        return written

    def _search(
        self, prompt: str, beams: int, max_tokens: int, end: int, tree: dict[int, Any] | None = None
    ) -> list[tuple[list[int], float]]:
        """New tokens up to ``end`` and scores of the ``beams`` best continuations of ``prompt``."""
        import torch

        inputs = self.tokenizer(prompt, return_tensors="pt", add_special_tokens=False).to(self.model.device)
        start = inputs["input_ids"].shape[1]

        def next_tokens(_: int, ids: Any) -> list[int]:
            node = _node(tree, ids[start:].tolist())
            # A finished title is padded; transformers asks for tokens there too.
            return list(node) if isinstance(node, dict) else [end]

        with torch.inference_mode(), quiet():
            found = self.model.generate(
                **inputs,
                num_beams=beams,
                num_return_sequences=beams,
                max_new_tokens=max_tokens,
                do_sample=False,
                length_penalty=self.length_penalty,
                early_stopping=False,
                eos_token_id=end,
                pad_token_id=end,
                prefix_allowed_tokens_fn=None if tree is None else next_tokens,
                return_dict_in_generate=True,
                output_scores=True,
            )
        rows = found.sequences[:, start:].tolist()
        scores = found.sequences_scores.tolist() if beams > 1 else [float("nan")] * len(rows)
        return [
            (row[: row.index(end) + 1] if end in row else row, score)
            for row, score in zip(rows, scores, strict=True)
        ]


def _node(tree: Any, tokens: Iterable[int]) -> Any:
    """Where ``tokens`` lead in ``tree``: next tokens, the item once a title has ended, None outside."""
    for token in tokens:
        tree = tree.get(token) if isinstance(tree, dict) else tree
    return tree


def matching_item(text: str, titles: Sequence[str]) -> int | None:
    """The first item whose title is ``text`` apart from case, accents, punctuation and spaces; None where
    there is none.

    >>> matching_item("the  usual suspects (1995)", ["Emma", "The Usual Suspects (1995)"])
    1
    """
    return _first_items(titles).get(_normalized(text))


def _first_items(titles: Sequence[str]) -> dict[str, int]:
    """The first item of every title, by the title's ``_normalized`` form."""
    return {_normalized(title): item for item, title in reversed(list(enumerate(titles)))}


def _normalized(title: str) -> str:
    plain = unicodedata.normalize("NFKD", title).casefold()
    return " ".join(re.findall(r"\w+", "".join(c for c in plain if not unicodedata.combining(c))))


def _one_line(title: str) -> str:
    return " ".join(title.split())


def _end_token(tokenizer: Any) -> int:
    """The single token of a line end.

    Raises:
        InputError: a tokenizer that has none.
    """
    tokens = tokenizer.encode(END, add_special_tokens=False)
    if len(tokens) != 1:
        raise InputError(f"{type(tokenizer).__name__}: a line end is {len(tokens)} tokens, expected one")
    return int(tokens[0])
