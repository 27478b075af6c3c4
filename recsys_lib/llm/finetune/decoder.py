"""A decoder trained by low-rank adapters to answer by one token: would a user like an item (TALLRec), or
which of several items most.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys_lib.core.errors import InputError
from recsys_lib.core.files import new_folder
from recsys_lib.core.quiet import quiet
from recsys_lib.llm import packed_attention
from recsys_lib.llm.finetune import passes
from recsys_lib.llm.finetune.text_model import with_adapters
from recsys_lib.llm.language_model import LanguageModel
from recsys_lib.llm.prompts import Prompts

if TYPE_CHECKING:
    from torch import Tensor

TASKS = ("pointwise", "choose")


@dataclass(frozen=True)
class Example:
    """A history as texts, the most recent first (``prompts.rated`` adds ratings), candidates, and how
    probable each answer should be: of one candidate yes and no, of several each one's letter.
    """

    history: tuple[str, ...]
    candidates: tuple[str, ...]
    wanted: tuple[float, ...]


def liked(history: Sequence[str], candidate: str, answer: float) -> Example:
    """A yes-no example; ``answer`` is 1 for yes, 0 for no, or a probability of yes."""
    return Example(tuple(history), (candidate,), (float(answer), 1.0 - float(answer)))


class DecoderTuner:
    """Adapters of a decoder, trained on the token with which the answer to a question of ``prompts`` begins.

    ``task``: "pointwise" (yes or no to one candidate; Bao et al., "TALLRec", RecSys 2023) or "choose" (the
    letter of the best of several; Reddy et al., "FIRST", 2024). The loss is the cross-entropy between the
    wanted probabilities and the softmax over the answers' own logits, so all other words of the vocabulary
    are left as they are; wanted probabilities of another model make it distillation. The adapters are put
    into a copy of ``prompts.model`` and start as nothing. ``batch``: examples of a step. ``bfloat16``:
    products of the steps in 16 bits.

    Raises:
        InputError: ``peft`` is missing, a backend without gradients, an unknown task, or a rank, rate or
        batch that is not positive.
    """

    def __init__(
        self, prompts: Prompts, task: str = "pointwise", rank: int = 8, learning_rate: float = 3e-4,
        batch: int = 8, seed: int = 0, bfloat16: bool = False,
    ):  # fmt: skip
        import torch

        if task not in TASKS:
            raise InputError(f"task={task!r}: expected one of {', '.join(TASKS)}")
        passes.check_steps(learning_rate, batch)
        self.prompts, self.task, self.batch, self.seed = prompts, task, batch, seed
        self.bfloat16 = bfloat16
        model = copy.deepcopy(prompts.model.module)
        model.set_attn_implementation("sdpa")  # one row a prompt here, not many in one
        self.adapted = with_adapters(model, rank, seed)
        trained = [p for p in self.adapted.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, learning_rate, weight_decay=0.0)

    def ids(self, example: Example) -> list[int]:
        """The tokens of an example, to the place where the answer begins."""
        prompts, task = self.prompts, self.task
        question = prompts.question(task, [prompts.item(c) for c in example.candidates])
        room = prompts.room(task, [question])
        return prompts.instruction(task) + prompts.history(task, example.history, room) + question

    def fit(self, examples: Sequence[Example], epochs: int = 3) -> list[float]:
        """Train on ``examples`` in an order drawn from the seed; the mean loss of every epoch.

        Raises:
            InputError: examples whose wanted probabilities are not one for each answer.
        """
        self._check(examples)
        ids = [self.ids(example) for example in examples]

        def loss_of(rows: np.ndarray) -> Tensor:
            return self._loss([ids[i] for i in rows], [examples[i].wanted for i in rows])

        return passes.losses_of(loss_of, len(ids), self.batch, epochs, self.seed, self.optimizer)

    def model(self) -> LanguageModel:
        """A language model with the adapters merged into its weights, for the methods of ``rerank``."""
        merged = self._merged()
        packed_attention.register()
        merged.set_attn_implementation(packed_attention.NAME)
        merged = merged.eval().requires_grad_(False)
        return dataclasses.replace(
            self.prompts.model, name=f"{self.prompts.model.name}, trained", model=merged
        )

    def save(self, folder: str | Path) -> Path:
        """Write that model as transformers does; ``language_model.load(folder)`` reads it.

        Raises:
            InputError: the folder cannot be written, or holds something else.
        """
        with new_folder(Path(folder), "config.json") as beside, quiet():
            self._merged().save_pretrained(beside)
            self.prompts.model.tokenizer.save_pretrained(beside)
        return Path(folder)

    def _merged(self) -> Any:
        """A copy of the model with the adapters added to its weights."""
        return copy.deepcopy(self.adapted).merge_and_unload()

    def _check(self, examples: Sequence[Example]) -> None:
        yes_no = self.task == "pointwise"
        expected = "1 and 2" if yes_no else "2 or more, and as many"
        for i, example in enumerate(examples):
            shown, answers = len(example.candidates), len(example.wanted)
            if (shown, answers) != (1, 2) if yes_no else not 2 <= shown == answers:
                raise InputError(
                    f"examples[{i}]: {shown} candidates and {answers} wanted probabilities; "
                    f"expected {expected}"
                )
            if not passes.are_probabilities(example.wanted):
                raise InputError(f"examples[{i}].wanted={example.wanted!r:.60}: expected a sum of 1")

    def _loss(self, ids: list[list[int]], wanted: Sequence[Sequence[float]]) -> Tensor:
        """Mean cross-entropy; an answer that an example lacks has no part in its softmax."""
        import torch

        answers = max(map(len, wanted))
        tokens = self.prompts.answers(self.task, 0 if self.task == "pointwise" else answers)
        logits = self._logits(ids, tokens)
        target = torch.zeros(len(ids), answers)
        lacks = torch.zeros(len(ids), answers, dtype=torch.bool)
        for row, own in enumerate(wanted):
            target[row, : len(own)] = torch.tensor(own)
            lacks[row, len(own) :] = True
        target, lacks = target.to(logits.device), lacks.to(logits.device)
        log_p = torch.log_softmax(logits.masked_fill(lacks, -torch.inf), dim=1)
        return -(target * log_p.masked_fill(lacks, 0.0)).sum(dim=1).mean()

    def _logits(self, ids: list[list[int]], tokens: list[int]) -> Tensor:
        """Of prompts padded on the right, whose padding no token sees, ``[n, len(tokens)]`` with
        gradients.
        """
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
        with torch.autocast(str(language.device), torch.bfloat16, enabled=self.bfloat16):
            hidden = read(input_ids=padded, attention_mask=mask).last_hidden_state
        last = hidden[torch.arange(len(ids), device=hidden.device), mask.sum(1) - 1]
        return language.logits(last, tokens)
