"""What all rerankers share: lists of candidates in, scores and a count of the work out."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import Protocol

import numpy as np

from recsys_lib.core.errors import InputError
from recsys_lib.llm.packed_attention import Group, Prefix
from recsys_lib.llm.prompts import Prompts


@dataclass
class Usage:
    """Work of a call. ``read_tokens``: tokens that the model computed; ``prompt_tokens``: the sum of all
    prompts as if each were read alone.

    ``repaired``: written answers that were no permutation of the candidates. ``seconds`` and ``cpu_seconds``
    of each list, a batch's shared evenly: the clock's, and those in which a processor worked for this process
    (all threads), which other processes do not lengthen.
    """

    lists: int = 0
    prompts: int = 0
    read_tokens: int = 0
    prompt_tokens: int = 0
    written_tokens: int = 0
    repaired: int = 0
    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)

    def add(self, other: Usage) -> None:
        """Add another call's work to this."""
        for f in fields(self):
            setattr(self, f.name, getattr(self, f.name) + getattr(other, f.name))


@dataclass(frozen=True, eq=False)
class Lists:
    """Candidates to reorder: per user a history (texts, most recent first) and candidates (texts, first
    stage's best first)."""

    histories: Sequence[Sequence[str]]
    candidates: Sequence[Sequence[str]]

    def __post_init__(self) -> None:
        if len(self.histories) != len(self.candidates):
            raise InputError(
                f"{len(self.histories)} histories and {len(self.candidates)} lists of candidates: "
                "expected as many of both"
            )
        for what, lists in (("histories", self.histories), ("candidates", self.candidates)):
            for i, texts in enumerate(lists):
                if isinstance(texts, str) or not all(isinstance(t, str) for t in texts):
                    raise InputError(f"{what}[{i}]={texts!r:.60}: expected a list of texts")

    def __len__(self) -> int:
        return len(self.histories)

    def part(self, begin: int, end: int) -> Lists:
        """The lists ``begin`` to ``end``."""
        return Lists(self.histories[begin:end], self.candidates[begin:end])


class Reranker(Protocol):
    """A method of reordering candidates; ``users_at_once`` lists go through the model together."""

    name: str
    users_at_once: int

    def score(self, lists: Lists, usage: Usage) -> list[np.ndarray]: ...


def rerank(reranker: Reranker, lists: Lists) -> tuple[list[np.ndarray], Usage]:
    """Scores of every list's candidates, float32 ``[candidates]`` each, higher is better, and the work done.

    A list of fewer than two candidates has nothing to reorder: its scores are 0 and the model is not asked.
    """
    scores = [np.zeros(len(c), dtype=np.float32) for c in lists.candidates]
    usage = Usage()
    chosen = [i for i, c in enumerate(lists.candidates) if len(c) > 1]
    for begin in range(0, len(chosen), reranker.users_at_once):
        rows = chosen[begin : begin + reranker.users_at_once]
        start, cpu_start = time.perf_counter(), time.process_time()
        part = Lists([lists.histories[i] for i in rows], [lists.candidates[i] for i in rows])
        for i, found in zip(rows, reranker.score(part, usage), strict=True):
            scores[i] = np.asarray(found, dtype=np.float32)
        usage.lists += len(rows)
        usage.seconds += [(time.perf_counter() - start) / len(rows)] * len(rows)
        usage.cpu_seconds += [(time.process_time() - cpu_start) / len(rows)] * len(rows)
    return scores, usage


def order(scores: np.ndarray) -> np.ndarray:
    """Places of the candidates by falling score; equal scores keep the first stage's order.

    >>> order(np.array([0.1, 0.7, 0.1])).tolist()
    [1, 0, 2]
    """
    return np.argsort(-np.asarray(scores), kind="stable")


class PrefixReader:
    """Reads the shared prefixes of one task: the instruction once, every user's history once per call."""

    def __init__(self, prompts: Prompts, task: str):
        self.prompts, self.task = prompts, task
        self._root: Prefix | None = None

    def users(
        self,
        histories: Sequence[Sequence[str]],
        questions: Sequence[Sequence[Sequence[int]]],
        usage: Usage,
        answer: int = 0,
    ) -> list[Prefix]:
        """A prefix per user that leaves room for the longest of the user's ``questions`` and an answer."""
        model = self.prompts.model
        if self._root is None:
            ids = self.prompts.instruction(self.task)
            self._root = model.extend([Group(None, [ids])], keep=True).prefixes[0]
            usage.read_tokens += len(ids)
        asked = zip(histories, questions, strict=True)
        told = [self.prompts.history(self.task, h, self.prompts.room(self.task, q, answer)) for h, q in asked]
        usage.read_tokens += sum(map(len, told))
        return model.extend([Group(self._root, told)], keep=True).prefixes

    def ask(
        self,
        users: Sequence[Prefix],
        questions: Sequence[Sequence[Sequence[int]]],
        tokens: Sequence[int],
        usage: Usage,
    ) -> list[np.ndarray]:
        """Logits ``[questions of the user, len(tokens)]`` for every user, at the place where the answer
        begins."""
        model = self.prompts.model
        asked = [(u, q) for u, q in zip(users, questions, strict=True) if q]
        found: list[np.ndarray] = []
        if asked:
            hidden = model.extend([Group(u, q) for u, q in asked]).last()
            logits = model.logits(hidden, tokens).cpu().numpy()
            found = np.split(logits, np.cumsum([len(q) for _, q in asked])[:-1])
        count(usage, users, questions)
        rest = iter(found)
        return [next(rest) if q else np.zeros((0, len(tokens)), np.float32) for q in questions]


def count(usage: Usage, users: Sequence[Prefix], questions: Sequence[Sequence[Sequence[int]]]) -> None:
    """Add the tokens of ``questions`` to the work done."""
    for user, asked in zip(users, questions, strict=True):
        own = sum(map(len, asked))
        usage.prompts += len(asked)
        usage.read_tokens += own
        usage.prompt_tokens += own + user.length * len(asked)


def of_pairs(scores: np.ndarray, lists: Lists, tokens: int, usage: Usage) -> list[np.ndarray]:
    """The scores of every list of a model that reads history and candidate together, ``tokens`` in all, which
    are added to the work done.
    """
    usage.prompts += len(scores)
    usage.read_tokens += tokens
    usage.prompt_tokens += tokens
    return np.split(scores, np.cumsum([len(c) for c in lists.candidates])[:-1])


def permutations(n: int, times: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """``times`` random orders of ``n`` places, in pairs of an order and its reverse: a bias that is linear in
    place cancels."""
    drawn = np.arange(n)
    for i in range(times):
        drawn = rng.permutation(n) if i % 2 == 0 else drawn[::-1]
        yield drawn
