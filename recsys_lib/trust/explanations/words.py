"""Which words and which fields of an item's text its score rests on: occlusion, integrated gradients, Shapley
values.

The score is a function of texts, usually the cosine of their vectors with a user's vector.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from recsys_lib.core.errors import InputError

# Scores [n] of texts.
TextScore = Callable[[Sequence[str]], np.ndarray]


def text_score(encode: Callable[[Sequence[str]], np.ndarray], user: np.ndarray) -> TextScore:
    """The cosine of a text's vector with ``user [d]``; ``encode`` gives ``[n, d]`` in the user's space."""
    from recsys_lib.vectors import similarity

    def score(texts: Sequence[str]) -> np.ndarray:
        return similarity.cosine(np.asarray(encode(list(texts)), np.float32), user[None])[:, 0].astype(
            np.float64
        )

    return score


def occlusion(score: TextScore, text: str) -> tuple[list[str], np.ndarray]:
    """The text's words and how much the score falls without each, float64 ``[n_words]``.

    Raises:
        InputError: a text without words.
    """
    words = text.split()
    if not words:
        raise InputError(f"text={text!r}: expected at least one word")
    shortened = [" ".join(words[:i] + words[i + 1 :]) for i in range(len(words))]
    scores = score([text, *shortened])
    return words, scores[0] - scores[1:]


def shapley(
    score: TextScore, fields: Mapping[str, str], join: Callable[[Mapping[str, str]], str]
) -> dict[str, float]:
    """Each field's Shapley value of the score: its mean effect over all orders in which fields can be added.

    ``join`` makes a text of some of the ``fields`` (the others are left out). All ``2^n`` texts are scored,
    so the values add up to the score of all fields less that of none (Lundberg and Lee, "A Unified Approach
    to Interpreting Model Predictions", NeurIPS 2017).

    Raises:
        InputError: no field, or more than 8.
    """
    names = list(fields)
    if not 1 <= len(names) <= 8:
        raise InputError(f"{len(names)} fields: expected 1 to 8, all of whose subsets are scored")
    subsets = [subset for size in range(len(names) + 1) for subset in itertools.combinations(names, size)]
    scores = dict(
        zip(subsets, score([join({n: fields[n] for n in subset}) for subset in subsets]), strict=True)
    )
    values = {}
    for name in names:
        total, n = 0.0, len(names)
        for subset in subsets:
            if name in subset:
                continue
            weight = math.factorial(len(subset)) * math.factorial(n - len(subset) - 1) / math.factorial(n)
            added = tuple(f for f in names if f in subset or f == name)
            total += weight * (scores[added] - scores[subset])
        values[name] = float(total)
    return values


@dataclass(frozen=True, eq=False)
class Attribution:
    """Integrated gradients of a text: ``tokens`` and ``values``, scores of the text and of the baseline."""

    tokens: tuple[str, ...]
    values: np.ndarray
    score: float
    baseline: float

    @property
    def gap(self) -> float:
        """How far the sum of the values is from ``score - baseline``, its limit for many steps."""
        return abs(float(self.values.sum()) - (self.score - self.baseline))


def integrated_gradients(
    encoder: Any,
    text: str,
    user: np.ndarray,
    mean: np.ndarray | None = None,
    matrix: np.ndarray | None = None,
    steps: int = 64,
) -> Attribution:
    """How much each token of ``text`` adds to the cosine of its vector with ``user [d]``.

    ``∫ ∂f(b + t(x - b))/∂x dt · (x - b)`` by the midpoint rule over ``steps``, ``x`` the token embeddings and
    ``b`` those of the padding token in the place of every ordinary token (Sundararajan, Taly and Yan,
    "Axiomatic Attribution for Deep Networks", ICML 2017). ``encoder``: a ``Transformer`` with mean pooling;
    ``(v - mean) @ matrix`` is applied to its vector before the cosine.

    Raises:
        InputError: an encoder without mean pooling, fewer than 2 steps, a text without tokens of its own.
    """
    import torch

    if getattr(encoder, "pooling", None) != "mean" or steps < 2:
        raise InputError(
            f"pooling={getattr(encoder, 'pooling', None)!r}, steps={steps!r}: expected mean and at least 2"
        )
    ids = encoder.tokenize([text])[0][0]
    special = set(encoder.tokenizer.all_special_ids)
    own = [i for i, token in enumerate(ids) if token not in special]
    if not own:
        raise InputError(f"text={text!r}: expected at least one token of its own")
    model, towards = encoder.model, _similarity(user, mean, matrix)
    table = model.get_input_embeddings()
    with torch.no_grad():
        x = table(torch.tensor([ids]))
        b = x.clone()
        b[0, own] = table(torch.tensor([encoder.tokenizer.pad_token_id]))[0]
    places = (torch.arange(steps, dtype=torch.float32) + 0.5) / steps
    path = (b + places[:, None, None] * (x - b)).requires_grad_(True)
    towards(model(inputs_embeds=path).last_hidden_state).sum().backward()
    with torch.no_grad():
        ends = towards(model(inputs_embeds=torch.cat([x, b])).last_hidden_state).double()
        values = (path.grad.double().mean(dim=0) * (x - b)[0].double()).sum(dim=1)[own]
    tokens = encoder.tokenizer.convert_ids_to_tokens([ids[i] for i in own])
    return Attribution(tuple(tokens), values.numpy(), float(ends[0]), float(ends[1]))


def _similarity(user: np.ndarray, mean: np.ndarray | None, matrix: np.ndarray | None) -> Callable[[Any], Any]:
    """Cosine with ``user`` of hidden states ``[n, tokens, d]``, pooled and mapped."""
    import torch

    to = torch.nn.functional.normalize(torch.from_numpy(np.array(user, dtype=np.float32)), dim=0)
    shift = None if mean is None else torch.from_numpy(np.array(mean, dtype=np.float32))
    turn = None if matrix is None else torch.from_numpy(np.array(matrix, dtype=np.float32))

    def cosine(hidden: Any) -> Any:
        v = hidden.mean(dim=1)
        v = v if shift is None else v - shift
        v = v if turn is None else v @ turn
        return torch.nn.functional.normalize(v, dim=-1) @ to

    return cosine


def word_values(attribution: Attribution) -> tuple[list[str], np.ndarray]:
    """Word pieces (``##ing``) joined to words, their values added."""
    words: list[str] = []
    values: list[float] = []
    for token, value in zip(attribution.tokens, attribution.values, strict=True):
        if token.startswith("##") and words:
            words[-1] += token[2:]
            values[-1] += float(value)
        else:
            words.append(token)
            values.append(float(value))
    return words, np.array(values)


def paraphrases(title: str, rest: Sequence[str], kind: str = "film") -> dict[str, str]:
    """The same facts of an item in other words: ``title``, and its other fields as texts.

    >>> paraphrases("The Piano", ["1993", "Drama"])["article moved"]
    'Piano, The (1993). Drama'
    """
    kept = [text for text in rest if text]
    first, _, tail = title.partition(" ")
    moved = f"{tail}, {first}" if first in ("The", "A", "An") and tail else title
    year, others = (kept[0], kept[1:]) if kept and kept[0].isdigit() else ("", kept)
    head = f"{moved} ({year})" if year else moved
    return {
        "lower case": ". ".join([f"{title} ({year})" if year else title, *others]).lower(),
        "article moved": ". ".join([head, *others]),
        "fields reversed": ". ".join([*reversed(kept), title]),
        "in a sentence": f"{title} is a {kind}" + (f" of {', '.join(kept)}" if kept else ""),
    }
