"""All candidates in one prompt: the logits of their letters, or a permutation that the model writes."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from scipy.special import log_softmax

from recsys_lib.core.errors import InputError
from recsys_lib.llm.packed_attention import Group, Prefix
from recsys_lib.llm.prompts import LETTERS, Prompts
from recsys_lib.llm.rerank.reranker import Lists, PrefixReader, Usage, count, permutations


class FirstToken:
    """The log probability of each candidate's letter as first token of the answer, averaged over
    ``permutations`` orders.

    Reddy et al., "FIRST: Faster Improved Listwise Reranking with Single Token Decoding" (2024). A model
    prefers some letters and places; orders are drawn in pairs of an order and its reverse, and the mean over
    many removes that preference.
    """

    name = "listwise first token"

    def __init__(self, prompts: Prompts, permutations: int = 2, users_at_once: int = 8, seed: int = 0):
        if permutations < 1:
            raise InputError(f"permutations={permutations!r}: expected at least 1")
        self.prompts, self.permutations, self.users_at_once = prompts, permutations, users_at_once
        self.reader, self.rng = PrefixReader(prompts, "choose"), np.random.default_rng(seed)

    def score(self, lists: Lists, usage: Usage) -> list[np.ndarray]:
        """Scores ``[candidates]`` of every list."""
        return [per_order.mean(axis=0) for per_order in self.per_permutation(lists, usage)]

    def per_permutation(self, lists: Lists, usage: Usage) -> list[np.ndarray]:
        """Log probabilities among the letters, ``[permutations, candidates]`` of every list."""
        letters = max(map(len, lists.candidates))
        tokens = self.prompts.answers("choose", letters)
        items = [[self.prompts.item(t) for t in c] for c in lists.candidates]
        orders = [list(permutations(len(own), self.permutations, self.rng)) for own in items]
        asked = [
            [self.prompts.question("choose", [own[i] for i in o]) for o in orders[user]]
            for user, own in enumerate(items)
        ]
        users = self.reader.users(lists.histories, asked, usage)
        scores = []
        for own, drawn, logits in zip(
            items, orders, self.reader.ask(users, asked, tokens, usage), strict=True
        ):
            log_p = log_softmax(logits[:, : len(own)].astype(np.float64), axis=1)
            placed = np.empty_like(log_p)
            np.put_along_axis(placed, np.stack(drawn), log_p, axis=1)
            scores.append(placed.astype(np.float32))
        return scores


class WrittenPermutation:
    """The model writes an order of the candidates' letters; a window of ``window`` slides from the end of the
    list to its top by ``step``.

    Sun et al., "Is ChatGPT Good at Search?" (RankGPT, EMNLP 2023). An answer that is no permutation is
    repaired: letters that repeat or do not exist go, those that are missing follow in the order before, and
    the answer counts as repaired.
    """

    name = "listwise written"

    def __init__(self, prompts: Prompts, window: int = 10, step: int = 5, users_at_once: int = 8):
        if not 2 <= window <= len(LETTERS) or not 1 <= step <= window:
            raise InputError(
                f"window={window!r}, step={step!r}: expected 2 to {len(LETTERS)}, and 1 to the window"
            )
        self.prompts, self.window, self.step, self.users_at_once = prompts, window, step, users_at_once
        self.reader = PrefixReader(prompts, "permutation")

    def score(self, lists: Lists, usage: Usage) -> list[np.ndarray]:
        """Scores ``[candidates]`` of every list: minus the place in the final order."""
        items = [[self.prompts.item(t) for t in c] for c in lists.candidates]
        orders = [np.arange(len(own)) for own in items]
        answer = 4 * self.window
        widest = [
            [self.prompts.question("permutation", sorted(own, key=len)[-self.window :])] for own in items
        ]
        users = self.reader.users(lists.histories, widest, usage, answer)
        for begin in _windows(max(map(len, items)), self.window, self.step):
            spans = [order[max(0, begin) : begin + self.window] for order in orders]
            chosen = [i for i, span in enumerate(spans) if len(span) > 1]
            asked = [self.prompts.question("permutation", [items[i][j] for j in spans[i]]) for i in chosen]
            written = write(self.prompts, [users[i] for i in chosen], asked, answer, usage)
            for i, text in zip(chosen, written, strict=True):
                places, repaired = parse_permutation(text, len(spans[i]))
                usage.repaired += repaired
                orders[i][max(0, begin) : begin + self.window] = spans[i][places]
        return [-np.argsort(order).astype(np.float32) for order in orders]


def _windows(n: int, window: int, step: int) -> list[int]:
    """First places of the windows, from the end of a list of ``n`` to its top.

    >>> _windows(20, 10, 5), _windows(6, 10, 5)
    ([10, 5, 0], [0])
    """
    return [max(0, begin) for begin in range(n - window, -step, -step)] if n > window else [0]


def parse_permutation(text: str, n: int) -> tuple[list[int], bool]:
    """The order of ``n`` letters in a written answer, and whether it had to be repaired.

    >>> parse_permutation("C > A > B", 3), parse_permutation("The best is B, then B and Z.", 3)
    (([2, 0, 1], False), ([1, 0, 2], True))
    """
    named = [LETTERS.index(letter) for letter in re.findall(r"(?<![A-Za-z])[A-Z](?![A-Za-z])", text)]
    kept = list(dict.fromkeys(place for place in named if place < n))
    whole = len(named) == n == len(kept)
    return kept + [place for place in range(n) if place not in kept], not whole


def write(
    prompts: Prompts,
    users: Sequence[Prefix],
    questions: Sequence[Sequence[int]],
    max_tokens: int,
    usage: Usage,
) -> list[str]:
    """Greedy answers to one question per user, all users a token at a time together, up to ``max_tokens``
    tokens."""
    model = prompts.model
    before, after = model.chat
    stops = {model.tokenizer.eos_token_id, *(model.ids(after)[:1] if before else ())}
    answers: list[list[int]] = [[] for _ in users]
    running, prefixes = list(range(len(users))), list(users)
    segments = [list(q) for q in questions]
    while running and max_tokens:
        read = model.extend([Group(prefixes[i], [segments[i]]) for i in running], keep=True)
        count(usage, [prefixes[i] for i in running], [[segments[i]] for i in running])
        chosen = model.logits(read.last()).argmax(dim=1).tolist()
        for i, token, prefix in zip(running, chosen, read.prefixes, strict=True):
            prefixes[i], segments[i] = prefix, [token]
            if token not in stops:
                answers[i].append(token)
                usage.written_tokens += 1
        running = [i for i, token in zip(running, chosen, strict=True) if token not in stops]
        max_tokens -= 1
    return [model.tokenizer.decode(ids) for ids in answers]
