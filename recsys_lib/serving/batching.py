"""Dynamic batches: requests that arrive close together are scored in one product, none waits beyond a
deadline.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np

from recsys_lib.core.errors import InputError

Question = TypeVar("Question")
Answer = TypeVar("Answer")


class Overloaded(Exception):
    """The queue is full."""


@dataclass
class Counts:
    """What a batcher did: batches, questions in them, and questions that were turned away."""

    batches: int = 0
    questions: int = 0
    refused: int = 0


class Batcher(Generic[Question, Answer]):
    """Answers questions in batches of at most ``max_batch``.

    The first question of a batch starts a clock of ``deadline_s``; the batch is answered when the clock ends
    or when it is full, whichever comes first. A deadline of 0 takes what arrived in the same turn of the
    event loop: nobody waits for others, and under load batches form by themselves. ``answer`` runs on the
    event loop: it is meant for work of some milliseconds. More than ``max_waiting`` questions are refused.
    """

    def __init__(
        self,
        answer: Callable[[Sequence[Question]], Sequence[Answer | Exception]],
        max_batch: int = 64,
        deadline_s: float = 0.0,
        max_waiting: int = 256,
    ):
        if max_batch < 1 or deadline_s < 0 or max_waiting < max_batch:
            raise InputError(
                f"max_batch={max_batch!r}, deadline_s={deadline_s!r}, max_waiting={max_waiting!r}: expected "
                "at least 1, at least 0, and at least max_batch"
            )
        self._answer, self.max_batch, self.deadline_s = answer, max_batch, deadline_s
        self.max_waiting, self.counts = max_waiting, Counts()
        self._waiting: list[tuple[Question, asyncio.Future]] = []
        self._timer: Any = None

    async def ask(self, question: Question) -> Answer:
        """The answer to one question.

        Raises:
            Overloaded: too many wait. Whatever ``answer`` gave as an exception for this question.
        """
        if len(self._waiting) >= self.max_waiting:
            self.counts.refused += 1
            raise Overloaded
        loop = asyncio.get_running_loop()
        future: asyncio.Future = loop.create_future()
        self._waiting.append((question, future))
        if len(self._waiting) >= self.max_batch:
            self._flush()
        elif self._timer is None:
            later = loop.call_later(self.deadline_s, self._flush) if self.deadline_s else None
            self._timer = later or loop.call_soon(self._flush)
        return await future

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        taken, self._waiting = self._waiting[: self.max_batch], self._waiting[self.max_batch :]
        taken = [(question, future) for question, future in taken if not future.done()]
        if self._waiting:
            self._timer = asyncio.get_running_loop().call_soon(self._flush)
        if not taken:
            return
        self.counts.batches += 1
        self.counts.questions += len(taken)
        try:
            answers = self._answer([question for question, _ in taken])
        except Exception as error:
            answers = [error] * len(taken)
        for (_, future), answer in zip(taken, answers, strict=True):
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)


class TextBatcher:
    """Encodes texts of many requests in one thread; what arrives while a batch is encoded is the next batch.

    No request waits for others while the encoder is idle, and a batch grows with the load up to ``max_batch``
    texts. More than ``max_waiting`` texts are refused.
    """

    def __init__(
        self, encode: Callable[[list[str]], np.ndarray], max_batch: int = 32, max_waiting: int = 256
    ):
        self._encode, self.max_batch, self.max_waiting = encode, max_batch, max_waiting
        self._waiting: list[tuple[str, asyncio.Future]] = []
        self._running: asyncio.Task | None = None
        self.counts = Counts()

    async def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        """One vector ``[d]`` for each text.

        Raises:
            Overloaded: too many wait. Whatever the encoder raises.
        """
        if texts and len(self._waiting) + len(texts) > max(self.max_waiting, len(texts)):
            self.counts.refused += 1
            raise Overloaded
        loop = asyncio.get_running_loop()
        asked = [(text, loop.create_future()) for text in texts]
        self._waiting += asked
        if asked and self._running is None:
            self._running = loop.create_task(self._run())
        return list(await asyncio.gather(*(future for _, future in asked)))

    async def _run(self) -> None:
        while self._waiting:
            taken, self._waiting = self._waiting[: self.max_batch], self._waiting[self.max_batch :]
            self.counts.batches += 1
            self.counts.questions += len(taken)
            try:
                vectors = await asyncio.to_thread(self._encode, [text for text, _ in taken])
            except Exception as error:
                found: list[Any] = [error] * len(taken)
            else:
                found = list(vectors)
            for (_, future), answer in zip(taken, found, strict=True):
                if future.done():
                    continue
                if isinstance(answer, Exception):
                    future.set_exception(answer)
                else:
                    future.set_result(answer)
        self._running = None
