"""A user's history as one vector: means of item vectors, the history read as one text, or a profile in
words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recsys_lib.core.errors import InputError
from recsys_lib.encoders import Encoder
from recsys_lib.llm.prompts import Prompts, clean
from recsys_lib.llm.rerank.listwise import write
from recsys_lib.llm.rerank.reranker import PrefixReader, Usage

METHODS = ("mean", "recent mean", "text", "prompted text", "profile")
PROMPT = "This person likes: "
# Tokens that a written profile may have.
PROFILE_TOKENS = 60


class UserEncoder:
    """Vectors of histories (item texts, the most recent first) in the space of an encoder's item vectors.

    ``method``: "mean" and "recent mean" average the vectors of the items, the second with weights that halve
    every ``half_life`` items into the past; "text" reads the history as one text, "prompted text" the same
    after ``prompt``; "profile" reads two sentences that a language model (``prompts``) writes about
    the history. How a text becomes a vector is the encoder's: mean of tokens, last token, or echo for a
    decoder. ``texts`` keeps what was read.

    Raises:
        InputError: an unknown method, "profile" without ``prompts``, or a half-life that is not positive.
    """

    def __init__(
        self, method: str, encoder: Encoder, prompts: Prompts | None = None, max_history: int = 15,
        half_life: float = 5.0, prompt: str = PROMPT,
    ):  # fmt: skip
        if method not in METHODS:
            raise InputError(f"method={method!r}: expected one of {', '.join(METHODS)}")
        if method == "profile" and prompts is None:
            raise InputError("method='profile': expected prompts, of the model that writes the profile")
        if not half_life > 0 or max_history < 1:
            raise InputError(f"half_life={half_life!r}, max_history={max_history!r}: expected more than 0")
        self.method, self.encoder, self.prompts = method, encoder, prompts
        self.max_history, self.half_life, self.texts = max_history, half_life, list[str]()
        self.prompt = prompt

    def encode(self, histories: Sequence[Sequence[str]]) -> np.ndarray:
        """Vectors float32 ``[n, d]``; an empty history is the zero vector."""
        shown = [[clean(t) for t in h[: self.max_history]] for h in histories]
        if self.method in ("mean", "recent mean"):
            return self._mean(shown)
        self.texts = self._texts(shown)
        vectors = self.encoder.encode(self.texts, progress=False).astype(np.float32)
        vectors[[not h for h in shown]] = 0
        return vectors

    def _mean(self, shown: list[list[str]]) -> np.ndarray:
        """Weighted means of the items' vectors, which keep the length that the encoder gave them: a map that
        was fitted on item vectors, whitening for example, expects theirs.
        """
        known = sorted({t for h in shown for t in h})
        place = {t: i for i, t in enumerate(known)}
        vectors = np.zeros((len(shown), self.encoder.dimension), dtype=np.float32)
        if not known:
            return vectors
        items = self.encoder.encode(known, progress=False)
        for row, history in enumerate(shown):
            if history:
                age = np.arange(len(history))
                weight = 0.5 ** (age / self.half_life) if self.method == "recent mean" else np.ones(len(age))
                vectors[row] = (weight / weight.sum()) @ items[[place[t] for t in history]]
        return vectors

    def _texts(self, shown: list[list[str]]) -> list[str]:
        if self.method == "profile":
            return self._profiles(shown)
        before = self.prompt if self.method == "prompted text" else ""
        return [before + "; ".join(h) if h else "" for h in shown]

    def _profiles(self, shown: list[list[str]]) -> list[str]:
        """What the language model writes about each history, greedily."""
        assert self.prompts is not None
        reader, usage = PrefixReader(self.prompts, "profile"), Usage()
        question = self.prompts.question("profile")
        found = []
        for begin in range(0, len(shown), 8):
            part = shown[begin : begin + 8]
            users = reader.users(part, [[question]] * len(part), usage, PROFILE_TOKENS)
            found += write(self.prompts, users, [question] * len(part), PROFILE_TOKENS, usage)
        return found
