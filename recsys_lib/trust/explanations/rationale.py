"""A reason written by a language model: which items does it name, and are they in the history?"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from recsys_lib.core.errors import InputError

# Shorter titles ("M", "Go", "Big") are words of ordinary sentences.
SHORTEST_TITLE = 4


@dataclass(frozen=True)
class Named:
    """Items that a rationale names: of the history, of the rest of the catalogue; and whether the target."""

    history: tuple[int, ...]
    others: tuple[int, ...]
    target: bool


def prompt(titles: Sequence[str], target: str, kind: str = "film", verb: str = "watched") -> str:
    """What the language model is asked: the history's titles, and why ``target`` is recommended."""
    listed = "\n".join(f"- {title}" for title in titles)
    return (
        f"A person {verb} these {kind}s:\n{listed}\n\nOur system recommends them the {kind} {target}. "
        f"Which of the {kind}s in the list are the reason? Answer in one sentence that names these {kind}s."
    )


def write(model: Any, tokenizer: Any, text: str, max_new_tokens: int = 48) -> str:
    """The greedy answer to ``text`` of a causal ``model`` of transformers with its ``tokenizer``."""
    import torch

    message = [{"role": "user", "content": text}]
    if getattr(tokenizer, "chat_template", None):
        text = tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True)
    ids = torch.tensor([tokenizer(text, add_special_tokens=False)["input_ids"]])
    with torch.inference_mode():
        out = model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=max_new_tokens, do_sample=False,
            pad_token_id=tokenizer.eos_token_id,
        )  # fmt: skip
    return tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True).strip()


def named(text: str, titles: Sequence[str], history: Sequence[int], target: int) -> Named:
    """Which of ``titles`` (of the catalogue) the ``text`` names, longest first, so that "Alien" is not found
    in "Aliens".

    Letters of either case and any marks between words are equal. Titles under four letters are not looked
    for.
    """
    if not 0 <= target < len(titles):
        raise InputError(f"target={target!r}: expected an item from 0 to {len(titles) - 1}")
    rest, found = f" {_plain(text)} ", []
    candidates = [(_plain(title), item) for item, title in enumerate(titles)]
    for title, item in sorted(candidates, key=lambda pair: (-len(pair[0]), pair[1])):
        if len(title) >= SHORTEST_TITLE and f" {title} " in rest:
            found.append((title, item))
            rest = rest.replace(f" {title} ", " | ")
    # One title may be that of several items; the history's is meant where it has one.
    known, names = set(history), {title for title, _ in found}
    same = {name: [i for title, i in candidates if title == name] for name in names}
    meant = [next((i for i in items if i in known or i == target), items[0]) for items in same.values()]
    return Named(
        tuple(sorted(i for i in meant if i in known)),
        tuple(sorted(i for i in meant if i not in known and i != target)),
        target in meant,
    )


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))
