"""Some candidates against each other: pairs and small sets, and the sorting that asks for them."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from itertools import combinations

import numpy as np
from scipy.special import log_softmax

from recsys_lib.core.errors import InputError
from recsys_lib.llm.packed_attention import Prefix
from recsys_lib.llm.prompts import Prompts
from recsys_lib.llm.rerank.reranker import Lists, PrefixReader, Usage

# What a sorting method yields: places to compare; it is sent the place that won.
Sorting = Generator[tuple[int, ...], int, list[int]]


class _Comparing:
    """Asks which of a set the user would like most, in several orders so that letter and place do not
    decide."""

    def __init__(self, prompts: Prompts, users_at_once: int):
        self.prompts, self.users_at_once = prompts, users_at_once
        self.reader = PrefixReader(prompts, "choose")

    def begin(self, lists: Lists, n: int, usage: Usage) -> tuple[list[list[str]], list[Prefix]]:
        """The items' texts, and a prefix per user with room for a question about ``n`` items."""
        items = [[self.prompts.item(t) for t in c] for c in lists.candidates]
        longest = [[self.prompts.question("choose", sorted(own, key=len)[-n:])] for own in items]
        return items, self.reader.users(lists.histories, longest, usage)

    def preferences(
        self,
        users: Sequence[Prefix],
        items: Sequence[list[str]],
        sets: Sequence[Sequence[tuple[int, ...]]],
        usage: Usage,
    ) -> list[list[np.ndarray]]:
        """For each user and set the mean log probability of each member, over the set's rotations: both
        orders of a pair."""
        asked, drawn = [], []
        for own, chosen in zip(items, sets, strict=True):
            orders = [s[r:] + s[:r] for s in chosen for r in range(len(s))]
            drawn.append(orders)
            asked.append([self.prompts.question("choose", [own[i] for i in o]) for o in orders])
        letters = max((len(o) for orders in drawn for o in orders), default=2)
        found = self.reader.ask(users, asked, self.prompts.answers("choose", letters), usage)
        return [_per_set(chosen, logits) for chosen, logits in zip(sets, found, strict=True)]


def _per_set(sets: Sequence[tuple[int, ...]], logits: np.ndarray) -> list[np.ndarray]:
    """Mean over rotations of log probabilities, back in each set's own order."""
    found, at = [], 0
    for chosen in sets:
        n = len(chosen)
        log_p = log_softmax(logits[at : at + n, :n].astype(np.float64), axis=1)
        # In rotation r, letter j names member (r + j) mod n.
        found.append(np.mean([np.roll(log_p[r], r) for r in range(n)], axis=0))
        at += n
    return found


class AllPairs(_Comparing):
    """Every pair in both orders; a candidate's score is the mean of its preference over the others.

    Qin et al., "Large Language Models are Effective Text Rankers with Pairwise Ranking Prompting" (2024),
    PRP-Allpair, with probabilities in place of wins. ``n (n - 1)`` questions for ``n`` candidates.
    """

    name = "pairwise all pairs"

    def __init__(self, prompts: Prompts, users_at_once: int = 2):
        super().__init__(prompts, users_at_once)

    def score(self, lists: Lists, usage: Usage) -> list[np.ndarray]:
        """Scores ``[candidates]`` of every list."""
        items, users = self.begin(lists, 2, usage)
        pairs = [list(combinations(range(len(own)), 2)) for own in items]
        scores = []
        for own, chosen, found in zip(
            items, pairs, self.preferences(users, items, pairs, usage), strict=True
        ):
            score = np.zeros(len(own), dtype=np.float64)
            for (a, b), log_p in zip(chosen, found, strict=True):
                margin = np.tanh((log_p[0] - log_p[1]) / 2)
                score[a] += margin
                score[b] -= margin
            scores.append((score / max(1, len(own) - 1)).astype(np.float32))
        return scores


class HeapSort(_Comparing):
    """A heap whose nodes have ``set_size - 1`` children: the model says which of a parent and its children is
    best, until ``top`` are out.

    ``set_size=2`` is PRP-Sorting (Qin et al., 2024), pairs in both orders; more is setwise ranking (Zhuang et
    al., "A Setwise Approach for Effective and Highly Efficient Zero-shot Ranking with Large Language Models",
    SIGIR 2024). Candidates beyond ``top`` keep the first stage's order. Users are sorted side by side, so
    that a pass holds one comparison of each.
    """

    def __init__(self, prompts: Prompts, set_size: int = 2, top: int = 10, users_at_once: int = 16):
        if set_size < 2 or top < 1:
            raise InputError(f"set_size={set_size!r}, top={top!r}: expected at least 2 and 1")
        super().__init__(prompts, users_at_once)
        self.set_size, self.top = set_size, top
        self.name = "pairwise heap" if set_size == 2 else f"setwise {set_size}"

    def score(self, lists: Lists, usage: Usage) -> list[np.ndarray]:
        """Scores ``[candidates]`` of every list: minus the place in the final order."""
        items, users = self.begin(lists, self.set_size, usage)
        runs = [heap_top(len(own), self.set_size - 1, self.top) for own in items]
        orders: list[list[int]] = [[] for _ in items]
        waiting: dict[int, tuple[int, ...]] = {i: next(run) for i, run in enumerate(runs)}
        while waiting:
            rows = list(waiting)
            sets = [[waiting[i]] for i in rows]
            found = self.preferences([users[i] for i in rows], [items[i] for i in rows], sets, usage)
            for i, (log_p,) in zip(rows, found, strict=True):
                try:
                    waiting[i] = runs[i].send(waiting[i][int(np.argmax(log_p))])
                except StopIteration as done:
                    orders[i] = done.value
                    del waiting[i]
        return [-np.argsort(o).astype(np.float32) for o in orders]


def heap_top(n: int, children: int, top: int) -> Sorting:
    """Order ``n`` places by heap sort, the best ``top`` of them sorted, the others in their first order
    behind.

    Yields sets of two to ``children + 1`` places and is sent the best of each; returns all places in their
    new order. The places begin in the first stage's order, which a heap keeps where the answers agree with
    it.

    >>> def run(values, children, top):
    ...     sorting = heap_top(len(values), children, top)
    ...     asked = next(sorting)
    ...     while True:
    ...         try:
    ...             asked = sorting.send(max(asked, key=lambda place: values[place]))
    ...         except StopIteration as done:
    ...             return done.value
    >>> run([3, 9, 1, 7], 1, 2), run([3, 9, 1, 7, 8], 3, 5)
    ([1, 3, 0, 2], [1, 4, 3, 0, 2])
    """
    # A node with one child is a chain: pairs use the usual binary heap, asked child by child.
    arity = max(2, children)
    heap = list(range(n))
    out: list[int] = []
    for root in range((n - 2) // arity, -1, -1):
        yield from _sift(heap, root, arity, children)
    while heap and len(out) < top:
        out.append(heap[0])
        last = heap.pop()
        if heap:
            heap[0] = last
            yield from _sift(heap, 0, arity, children)
    return out + [place for place in range(n) if place not in out]


def _sift(heap: list[int], root: int, arity: int, children: int) -> Generator[tuple[int, ...], int, None]:
    """Let the node at ``root`` sink until it is better than its children."""
    while True:
        below = [c for c in range(arity * root + 1, arity * root + 1 + arity) if c < len(heap)]
        best = root
        for begin in range(0, len(below), children):
            nodes = [best, *below[begin : begin + children]]
            winner = yield tuple(heap[i] for i in nodes)
            best = nodes[[heap[i] for i in nodes].index(winner)]
        if best == root:
            return
        heap[root], heap[best] = heap[best], heap[root]
        root = best
