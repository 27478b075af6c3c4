"""One candidate at a time: would this user like it, or how likely is its title after the history?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from recsys_lib.llm.packed_attention import Group, Prefix
from recsys_lib.llm.prompts import Prompts
from recsys_lib.llm.rerank.reranker import Lists, PrefixReader, Usage, count

if TYPE_CHECKING:
    from torch import Tensor


class YesNo:
    """``log P(yes) - log P(no)`` of the question whether the user would like the candidate.

    The difference of two logits at one place: no other logit is computed, and an answer cannot be malformed.
    """

    name = "pointwise yes/no"

    def __init__(self, prompts: Prompts, users_at_once: int = 8):
        self.prompts, self.users_at_once = prompts, users_at_once
        self.reader = PrefixReader(prompts, "pointwise")
        self.tokens = prompts.answers("pointwise")

    def score(self, lists: Lists, usage: Usage) -> list[np.ndarray]:
        """Scores ``[candidates]`` of every list."""
        asked = [
            [self.prompts.question("pointwise", [self.prompts.item(t)]) for t in c] for c in lists.candidates
        ]
        users = self.reader.users(lists.histories, asked, usage)
        return [logits[:, 0] - logits[:, 1] for logits in self.reader.ask(users, asked, self.tokens, usage)]


class TitleLikelihood:
    """``log P(title | history) - log P(title | no history)``, the mean over the title's tokens.

    The second term takes away what the model thinks of the title by itself: its popularity and its spelling.
    """

    name = "title likelihood"

    def __init__(self, prompts: Prompts, users_at_once: int = 8, less_prior: bool = True):
        self.prompts, self.users_at_once, self.less_prior = prompts, users_at_once, less_prior
        self.reader = PrefixReader(prompts, "likelihood")
        self._prior: dict[str, float] = {}

    def score(self, lists: Lists, usage: Usage) -> list[np.ndarray]:
        """Scores ``[candidates]`` of every list."""
        titles = [[self.prompts.item(t) for t in c] for c in lists.candidates]
        ids = [self.prompts.model.texts_to_ids(t) for t in titles]
        question = self.prompts.question("likelihood")
        users = self.reader.users(lists.histories, [[question + i for i in own] for own in ids], usage)
        scores = self._likelihoods(users, question, ids, usage)
        if not self.less_prior:
            return scores
        new = sorted({t for own in titles for t in own if t not in self._prior})
        if new:
            nobody = self.reader.users([[]], [[question]], usage)
            found = self._likelihoods(nobody, question, [self.prompts.model.texts_to_ids(new)], usage)[0]
            self._prior |= dict(zip(new, found.tolist(), strict=True))
        return [
            s - np.array([self._prior[t] for t in own], np.float32)
            for s, own in zip(scores, titles, strict=True)
        ]

    def _likelihoods(
        self, users: list[Prefix], question: list[int], ids: list[list[list[int]]], usage: Usage
    ) -> list[np.ndarray]:
        """Mean log likelihood of each title's tokens; the question is read once per user."""
        model = self.prompts.model
        read = model.extend([Group(u, [question]) for u in users], keep=True)
        count(usage, users, [[question]] * len(users))
        # The last token of a title predicts nothing that is needed; a title of one token needs no pass at
        # all.
        inner = [[i[:-1] for i in own if len(i) > 1] for own in ids]
        groups = [Group(prefix, own) for prefix, own in zip(read.prefixes, inner, strict=True) if own]
        found = model.extend(groups, every=True) if groups else None
        count(usage, read.prefixes, inner)
        first, scores, at = read.last(), [], 0
        for user, own in enumerate(ids):
            values = np.zeros(len(own), dtype=np.float32)
            for place, title in enumerate(own):
                states = first[user : user + 1]
                if len(title) > 1:
                    assert found is not None
                    states = _joined(states, found.hidden[at : at + len(title) - 1])
                    at += len(title) - 1
                values[place] = _mean_log_likelihood(model.logits(states), title)
            scores.append(values)
        return scores


def _joined(first: Tensor, others: Tensor) -> Tensor:
    import torch

    return torch.cat([first, others])


def _mean_log_likelihood(logits: Tensor, ids: list[int]) -> float:
    import torch

    targets = torch.tensor(ids, device=logits.device)
    return float(-torch.nn.functional.cross_entropy(logits, targets))
