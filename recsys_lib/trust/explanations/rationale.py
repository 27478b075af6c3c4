"""A reason written by a language model: which items does it name, and are they in the history?"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from recsys_lib.core.errors import InputError
from recsys_lib.recommenders import BaseRecommender
from recsys_lib.trust.explanations.contributions import contributions
from recsys_lib.trust.explanations.partial_history import one_history, parts_of, rank_of

if TYPE_CHECKING:
    import pandas as pd

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


def leaves(
    model: BaseRecommender,
    history: sp.csr_matrix,
    target: int,
    removed: Sequence[int],
    k: int,
    draws: int = 50,
) -> dict[str, float]:
    """Whether ``target`` leaves the top ``k`` without what a rationale names, and without as many other
    items.

    "named": without ``removed`` (1 or 0); "random": the fraction of ``draws`` random parts of the same size;
    "exact": without the largest contributions of a linear ``model``. All 0 where nothing was removed: such a
    reason decides nothing.
    """
    row = one_history(history)
    size = len(set(removed) & set(row.indices.tolist()))
    if not size:
        return {"named": 0.0, "random": 0.0, "exact": 0.0}
    rng = np.random.default_rng([target, row.nnz, size])
    parts = [rng.choice(row.indices, size, replace=False) for _ in range(draws)]
    first = contributions(model, row, [target]).order(target)[:size]
    taken = [np.asarray(part, dtype=np.int64) for part in (removed, first, *parts)]
    kept = [np.setdiff1d(row.indices, part) for part in taken]
    out = rank_of(model, parts_of(row, kept), target, row.indices) > k
    return {"named": float(out[0]), "random": float(out[2:].mean()), "exact": float(out[1])}


def table(
    model: BaseRecommender,
    train: sp.csr_matrix,
    titles: Sequence[str],
    written: Sequence[Mapping[str, Any]],
    k: int,
) -> pd.DataFrame:
    """One row for each rationale of ``written`` (``user``, ``target``, ``text``): what it names, and the
    removal test.
    """
    import pandas as pd

    rows = []
    for one in written:
        history, target = train[one["user"]], int(one["target"])
        names = named(one["text"], titles, history.indices.tolist(), target)
        out = leaves(model, history, target, names.history, k)
        rows.append(
            {
                "names an item of the history": bool(names.history),
                "items of the history named": len(names.history),
                "names an item that is not in it": bool(names.others),
                "names the target": names.target,
                "leaves without those named": out["named"],
                "leaves without as many at random": out["random"],
                "leaves without the largest contributions": out["exact"],
            }
        )
    return pd.DataFrame(rows).astype(float)


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))
