"""A text encoder turned into a cross-encoder and trained to rank as a teacher does, EASE for example: it
reads text, so it has a score for an item that the teacher has never seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys_lib.core.errors import InputError
from recsys_lib.core.files import new_folder
from recsys_lib.core.quiet import quiet
from recsys_lib.data import assets
from recsys_lib.llm.finetune import passes
from recsys_lib.llm.prompts import clean
from recsys_lib.llm.rerank.reranker import Lists, Usage, of_pairs

if TYPE_CHECKING:
    from torch import Tensor

# Between the entries of a history, which are one text to the tokenizer.
BETWEEN = " ; "


class TrainedCrossEncoder:
    """``[CLS] history [SEP] candidate [SEP]`` → one score; a reranker, and its own trainer.

    ``encoder``: ``minilm``, ``e5``, a folder or a Hugging Face id of an encoder that reads both ways; a
    folder that ``save`` wrote goes on from its weights, any other gets a new head. All weights are trained,
    by AdamW at ``learning_rate`` after a linear warm-up of a tenth of the steps. The loss is the
    cross-entropy between the softmax of a list's scores and the wanted probabilities (ListNet; Cao et al.,
    ICML 2007). ``batch``: lists of a step; ``bfloat16``: its products in 16 bits. Where a pair is longer than
    ``max_tokens``, the oldest entries of the history are cut.

    Raises:
        InputError: an unknown encoder, one that is no encoder, or a rate or batch that is not positive.
    """

    name = "trained cross-encoder"

    def __init__(
        self, encoder: str = "minilm", max_history: int = 10, max_tokens: int = 192,
        learning_rate: float = 1e-4, batch: int = 8, device: str = "cpu", seed: int = 0,
        bfloat16: bool = False,
    ):  # fmt: skip
        import torch
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        passes.check_steps(learning_rate, batch)
        source = assets.resolve_model(encoder)
        with quiet(), torch.random.fork_rng():
            torch.manual_seed(seed)
            try:
                self.tokenizer = AutoTokenizer.from_pretrained(source)
                model = AutoModelForSequenceClassification.from_pretrained(
                    source, num_labels=1, dtype=torch.float32
                )
            except (OSError, ValueError) as error:
                reason = str(error).strip().splitlines()[0]
                raise InputError(f"encoder={encoder!r}: cannot be a cross-encoder: {reason}") from error
        if getattr(model.config, "is_decoder", False) or self.tokenizer.sep_token is None:
            raise InputError(f"encoder={encoder!r}: expected an encoder that reads pairs of texts")
        for module in model.modules():
            if type(module).__name__ == "Dropout":
                module.p = 0.0  # a step is a function of its lists
        self.model = model.to(device).eval()
        self.max_history, self.max_tokens, self.device = max_history, max_tokens, device
        self.learning_rate, self.batch, self.seed = learning_rate, batch, seed
        self.users_at_once, self.bfloat16 = 8, bfloat16

    def fit(self, lists: Lists, wanted: Sequence[np.ndarray], epochs: int = 1) -> list[float]:
        """Train on ``lists``, of which each candidate is ``wanted`` with a probability; the mean loss of
        every epoch.

        Raises:
            InputError: wanted probabilities that are not one for each candidate with a sum of 1.
        """
        import torch

        _check(lists, wanted)
        steps = epochs * -(-len(lists) // self.batch)
        optimizer = torch.optim.AdamW(self.model.parameters(), self.learning_rate, weight_decay=0.01)
        warmup = max(1, steps // 10)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / warmup))

        def loss_of(rows: np.ndarray) -> Tensor:
            part = Lists([lists.histories[i] for i in rows], [lists.candidates[i] for i in rows])
            return self._loss(part, [wanted[i] for i in rows])

        return passes.losses_of(loss_of, len(lists), self.batch, epochs, self.seed, optimizer, schedule)

    def score(self, lists: Lists, usage: Usage) -> list[np.ndarray]:
        """Scores ``[candidates]`` of every list, float32."""
        import torch

        pairs = self._pairs(lists)
        with torch.inference_mode():
            scores = self._scores(pairs).cpu().numpy()
        return of_pairs(scores, lists, int(pairs["attention_mask"].sum()), usage)

    def save(self, folder: str | Path) -> Path:
        """Write the folder of a sequence classifier, which sentence-transformers' ``CrossEncoder`` reads.

        Raises:
            InputError: the folder cannot be written, or holds something else.
        """
        with new_folder(Path(folder), "config.json") as beside, quiet():
            self.model.save_pretrained(beside)
            self.tokenizer.save_pretrained(beside)
        return Path(folder)

    def _pairs(self, lists: Lists) -> Any:
        """Tokens of every history with each of its candidates, padded."""
        histories, candidates = [], []
        for history, own in zip(lists.histories, lists.candidates, strict=True):
            told = BETWEEN.join(clean(text) for text in history[: self.max_history])
            histories += [told] * len(own)
            candidates += [clean(text) or "-" for text in own]
        return self.tokenizer(
            histories, candidates, truncation="longest_first", max_length=self.max_tokens, padding=True,
            return_tensors="pt",
        )  # fmt: skip

    def _scores(self, pairs: Any) -> Tensor:
        return self.model(**pairs.to(self.device)).logits[:, 0]

    def _loss(self, lists: Lists, wanted: Sequence[np.ndarray]) -> Tensor:
        import torch

        with torch.autocast(self.device, torch.bfloat16, enabled=self.bfloat16):
            scores = self._scores(self._pairs(lists))
        split = scores.float().split([len(c) for c in lists.candidates])
        each = [
            -(torch.from_numpy(np.asarray(own, np.float32)).to(self.device) * row.log_softmax(0)).sum()
            for row, own in zip(split, wanted, strict=True)
        ]
        return torch.stack(each).mean()


def _check(lists: Lists, wanted: Sequence[np.ndarray]) -> None:
    if len(wanted) != len(lists):
        raise InputError(f"{len(wanted)} wanted probabilities for {len(lists)} lists: expected as many")
    for i, (own, candidates) in enumerate(zip(wanted, lists.candidates, strict=True)):
        if not 2 <= len(own) == len(candidates) or not passes.are_probabilities(own):
            raise InputError(
                f"wanted[{i}]={own!r:.60}: expected a probability for each of {len(candidates)} candidates, "
                "2 or more, with a sum of 1"
            )
