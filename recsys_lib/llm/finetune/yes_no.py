"""A decoder trained by low-rank adapters to say whether a user would like an item (TALLRec)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from recsys_lib.core.errors import InputError
from recsys_lib.llm.finetune.text_model import with_adapters
from recsys_lib.llm.prompts import Prompts

if TYPE_CHECKING:
    from torch import Tensor

TASK = "pointwise"


@dataclass(frozen=True)
class Example:
    """A history as texts, the most recent first (``prompts.rated`` adds ratings), a candidate, the answer."""

    history: tuple[str, ...]
    candidate: str
    liked: bool


class YesNoTuner:
    """``log P(yes) - log P(no)`` after the pointwise question of ``prompts``, and adapters that are trained
    on it.

    The loss is the binary cross-entropy of that difference, so all other words of the vocabulary are left
    as they are. Bao et al., "TALLRec: An Effective and Efficient Tuning Framework to Align Large Language
    Model with Recommendation", RecSys 2023. The adapters are put into a copy of ``prompts.model`` and start
    as nothing.

    Raises:
        InputError: ``peft`` is missing, a backend without gradients, or a rank, rate or batch that is not
        positive.
    """

    def __init__(
        self, prompts: Prompts, rank: int = 8, learning_rate: float = 3e-4, batch: int = 8, seed: int = 0
    ):
        import torch

        if not learning_rate > 0 or batch < 1:
            raise InputError(
                f"learning_rate={learning_rate!r}, batch={batch!r}: expected above 0, at least 1"
            )
        self.prompts, self.batch, self.seed = prompts, batch, seed
        model = copy.deepcopy(prompts.model.module)
        model.set_attn_implementation("sdpa")  # one row a prompt here, not many in one
        self.adapted = with_adapters(model, rank, seed)
        self.tokens = prompts.answers(TASK)
        self.trained = [p for p in self.adapted.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.trained, learning_rate, weight_decay=0.0)

    def ids(self, example: Example) -> list[int]:
        """The tokens of an example, to the place where the answer begins."""
        prompts = self.prompts
        question = prompts.question(TASK, [prompts.item(example.candidate)])
        room = prompts.room(TASK, [question])
        return prompts.instruction(TASK) + prompts.history(TASK, example.history, room) + question

    def fit(self, examples: Sequence[Example], epochs: int = 3) -> list[float]:
        """Train on ``examples`` in an order drawn from the seed; the mean loss of every epoch."""
        import torch
        from torch.nn import functional

        ids = [self.ids(example) for example in examples]
        answers = np.array([example.liked for example in examples], np.float32)
        losses = []
        for epoch in range(epochs):
            order = np.random.default_rng([self.seed, epoch]).permutation(len(ids))
            total = 0.0
            for start in range(0, len(order), self.batch):
                rows = order[start : start + self.batch]
                wanted = torch.from_numpy(answers[rows]).to(self.prompts.model.device)
                found = self._differences([ids[i] for i in rows])
                loss = functional.binary_cross_entropy_with_logits(found, wanted)
                self.optimizer.zero_grad(set_to_none=True)
                loss.backward()
                torch.nn.utils.clip_grad_norm_(self.trained, 1.0)
                self.optimizer.step()
                total += float(loss.detach()) * len(rows)
            losses.append(total / max(1, len(ids)))
        return losses

    def scores(self, examples: Sequence[Example]) -> np.ndarray:
        """``log P(yes) - log P(no)`` of every example, float32 ``[n]``."""
        import torch

        ids = [self.ids(example) for example in examples]
        found = np.empty(len(ids), np.float32)
        order = np.argsort([len(row) for row in ids], kind="stable")
        with torch.inference_mode():
            for start in range(0, len(order), self.batch):
                rows = order[start : start + self.batch]
                found[rows] = self._differences([ids[i] for i in rows]).cpu().numpy()
        return found

    def _differences(self, ids: list[list[int]]) -> Tensor:
        """Of prompts padded on the right, whose padding no token sees, ``[n]`` with gradients."""
        import torch

        language = self.prompts.model
        longest = max(len(row) for row in ids)
        padded = torch.zeros((len(ids), longest), dtype=torch.long)
        mask = torch.zeros_like(padded)
        for row, own in enumerate(ids):
            padded[row, : len(own)] = torch.tensor(own)
            mask[row, : len(own)] = 1
        padded, mask = padded.to(language.device), mask.to(language.device)
        read = self.adapted.get_base_model().base_model
        hidden = read(input_ids=padded, attention_mask=mask).last_hidden_state
        last = hidden[torch.arange(len(ids), device=hidden.device), mask.sum(1) - 1]
        logits = language.logits(last, self.tokens)
        return logits[:, 0] - logits[:, 1]
