"""Which items of a history move a language model's yes/no score of a candidate: leaving each one out, and
gradient times input; and a deletion test of such an order.

The score is ``log P(yes) - log P(no)`` of ``llm.rerank.YesNo``, no sum over the history: nothing here is
exact, and the test decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from recsys_lib.core.errors import InputError
from recsys_lib.llm import packed_attention
from recsys_lib.llm.prompts import Prompts
from recsys_lib.llm.rerank.pointwise import YesNo
from recsys_lib.llm.rerank.reranker import Lists, Usage

TASK = "pointwise"


@dataclass(frozen=True, eq=False)
class Reasons:
    """The score of the whole history, and the importance of its entries ``[h]`` by method, larger is more."""

    score: float
    importance: dict[str, np.ndarray]


class YesNoReasons:
    """Attributes the yes/no score of a reranker with ``prompts`` to the entries of a history.

    A history is a sequence of texts, the most recent first, of which the prompt shows ``max_history``.
    """

    def __init__(self, prompts: Prompts):
        self.prompts, self.reranker = prompts, YesNo(prompts)

    def scores(self, histories: Sequence[Sequence[str]], candidate: str) -> np.ndarray:
        """The candidate's score for each of several histories, float64 ``[n]``."""
        found = self.reranker.score(Lists(histories, [[candidate]] * len(histories)), Usage())
        return np.array([own[0] for own in found], dtype=np.float64)

    def reasons(self, history: Sequence[str], candidate: str) -> Reasons:
        """Importance by ``left out`` (what the score loses without the entry) and by ``gradient``.

        Raises:
            InputError: an empty history, or one longer than the prompt shows.
        """
        if not 1 <= len(history) <= self.prompts.max_history:
            raise InputError(f"{len(history)} entries: expected 1 to {self.prompts.max_history}")
        scores = self.scores([history, *(without(history, [j]) for j in range(len(history)))], candidate)
        values = {"left out": scores[0] - scores[1:], "gradient": self.gradient(history, candidate)[1]}
        return Reasons(float(scores[0]), values)

    def gradient(self, history: Sequence[str], candidate: str) -> tuple[float, np.ndarray]:
        """The score in one differentiable pass, and for each entry the sum of gradient times embedding over
        its tokens ``[h]``: what the score would lose, were it linear, if these embeddings became 0.
        """
        import torch

        model = self.prompts.model
        told, entry = self.prompts.history_entries(TASK, history)
        question = self.prompts.question(TASK, [self.prompts.item(candidate)])
        first = self.prompts.instruction(TASK)
        embeddings, last = packed_attention.differentiable(model, first + told + question)
        yes, no = model.logits(last[None], self.prompts.answers(TASK))[0]
        (slope,) = torch.autograd.grad(yes - no, embeddings)
        products = (slope * embeddings).detach().double().sum(dim=1).cpu().numpy()
        inside = products[len(first) : len(first) + len(told)]
        values = np.array([inside[entry == j].sum() for j in range(len(history))])
        return float((yes - no).detach()), values

    def falls(
        self, history: Sequence[str], candidate: str, orders: Mapping[str, np.ndarray], sizes: Sequence[int]
    ) -> dict[str, np.ndarray]:
        """By order what the score loses without the order's first entries, one value for each of ``sizes``.

        Raises:
            InputError: a size that is not below the number of entries, or an order of other entries.
        """
        n = len(history)
        if not sizes or not all(1 <= size < n for size in sizes):
            raise InputError(f"sizes {list(sizes)}: expected from 1 to {n - 1}")
        for name, order in orders.items():
            if sorted(np.asarray(order).tolist()) != list(range(n)):
                raise InputError(f"order {name!r}: expected each of the {n} entries once")
        shorter = [without(history, order[:size]) for order in orders.values() for size in sizes]
        scores = self.scores([history, *shorter], candidate)
        lost = (scores[0] - scores[1:]).reshape(len(orders), len(sizes))
        return dict(zip(orders, lost, strict=True))


def without(history: Sequence[str], places: Sequence[int] | np.ndarray) -> list[str]:
    """The history without the entries at some places.

    >>> without(["a", "b", "c"], [1])
    ['a', 'c']
    """
    out = {int(place) for place in places}
    return [text for place, text in enumerate(history) if place not in out]
