"""The real path of a recommendation, stage by stage: tokenize → encode → search → rank.

A request is a user who asks for "something like this": the text of one item. Its vector finds
``candidates`` items by cosine among those that the user has not seen, and EASE ranks them from the user's
history.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.sparse as sp

from recsys_lib import cost, encoders
from recsys_lib.core.errors import InputError
from recsys_lib.data import datasets
from recsys_lib.data.datasets import Dataset
from recsys_lib.evaluation import splits
from recsys_lib.hardware.timing import MemoryUse, peak_memory, stage_seconds, synchronize
from recsys_lib.recommenders import EASE
from recsys_lib.vectors import geometry, quantization, similarity
from recsys_lib.vectors.search import Index

STAGES = ("tokenize", "encode", "search", "rank")


@dataclass(eq=False)
class ServingPath:
    """A catalogue that is ready to answer requests.

    cold_s: seconds of each part of the start, in order: data, model, catalogue (encoding all items), index,
    ranker. The operating system's file cache may be warm. users, queries: ``[requests]``, who asks with which
    item's text. answers: the last batch's items.
    """

    encoder: Any
    data: Dataset
    train: sp.csr_matrix
    texts: list[str]
    centring: geometry.Geometry
    index: Index
    ranker: EASE
    users: np.ndarray
    queries: np.ndarray
    candidates: int
    k: int
    cold_s: dict[str, float] = field(default_factory=dict)
    answers: np.ndarray = field(default_factory=lambda: np.empty((0, 0), dtype=np.int64))

    @staticmethod
    def build(
        encoder: str = "minilm",
        data: str = "ml-100k",
        device: str = "cpu",
        precision: str = "auto",
        scheme: str = "float32",
        candidates: int = 100,
        k: int = 10,
        seed: int = 0,
        **options: Any,
    ) -> ServingPath:
        """Start it, timing each part once. ``options`` go to ``encoders.load``.

        Raises:
            InputError: an unknown encoder, data set or scheme; ``device="cuda"`` without a GPU.
        """
        if not 1 <= k <= candidates:
            raise InputError(f"k={k}, candidates={candidates}: expected 1 <= k <= candidates")
        if encoder not in ("tfidf", "genres", "wordllama"):
            options |= {"device": device, "precision": precision, "cache": False}
        elif device != "cpu":
            raise InputError(f"device={device!r}: {encoder!r} runs on the processor only")
        cold: dict[str, float] = {}

        def timed(part: str, work: Callable[[], Any]) -> Any:
            started = time.perf_counter()
            result = work()
            synchronize()
            cold[part] = time.perf_counter() - started
            return result

        items = timed("data", lambda: datasets.load(data))
        train, texts = splits.random_split(items, 0.2, seed=seed).train, items.item_texts()
        corpus = {"corpus": texts} if encoder in ("tfidf", "genres") else {}
        model = encoders.load(encoder, **corpus, **options)
        timed("model", lambda: model.encode(texts[:1], progress=False))
        vectors = timed("catalogue", lambda: model.encode(texts, progress=False))
        centring = geometry.centre(vectors)
        rows = similarity.normalize(centring.apply(vectors))
        index = timed("index", lambda: Index.build(quantization.quantize(rows, scheme), rows))
        ranker = timed("ranker", lambda: EASE(400.0).fit(train))
        rng = np.random.default_rng(seed)
        known = np.flatnonzero(np.diff(train.indptr))
        users, queries = rng.choice(known, 4096), rng.integers(items.n_items, size=4096)
        return ServingPath(
            model, items, train, texts, centring, index, ranker, users, queries, candidates, k, cold
        )

    @property
    def device(self) -> str:
        return getattr(self.encoder, "device", "cpu")

    def serve(self, requests: Sequence[int]) -> dict[str, float]:
        """Answer these requests as one batch; returns the seconds of each stage and leaves the items in
        ``answers``.

        On a GPU by CUDA events. An encoder that only looks words up has no stage ``tokenize``: it is part of
        ``encode``.
        """
        rows = np.asarray(requests) % len(self.users)
        users, texts = self.users[rows], [self.texts[i] for i in self.queries[rows]]
        stages: dict[str, Callable[[Any], Any]] = {
            "tokenize": self.encoder.tokenize, "encode": self._encode_tokens
        } if hasattr(self.encoder, "tokenize") else {"encode": lambda t: self.encoder.encode(t,
        progress=False)}  # fmt: skip
        stages["search"] = lambda vectors: self._search(vectors, users)
        stages["rank"] = lambda found: self._rank(found, users)
        return stage_seconds(stages, texts, self.device)

    def _encode_tokens(self, tokens: list) -> np.ndarray:
        return self.encoder.run_tokens(tokens)

    def _search(self, vectors: np.ndarray, users: np.ndarray) -> np.ndarray:
        return self.index.top_k(self.centring.apply(vectors), self.candidates, exclude=self.train[users]).ids

    def _rank(self, found: np.ndarray, users: np.ndarray) -> np.ndarray:
        """The best ``k`` of the candidates by EASE: only their columns are multiplied."""
        best = np.full((len(users), self.k), -1, dtype=np.int64)
        for row, (user, ids) in enumerate(zip(users, found, strict=True)):
            ids = ids[ids >= 0]
            seen = self.train.indices[self.train.indptr[user] : self.train.indptr[user + 1]]
            scores = self.ranker.weights[np.ix_(seen, ids)].sum(axis=0)
            order = np.argsort(-scores, kind="stable")[: self.k]
            best[row, : len(order)] = ids[order]
        self.answers = best
        return best

    def memory(self, batch: int = 64) -> MemoryUse:
        """Peak memory of the process, and of the device, while a batch is answered."""
        return peak_memory(lambda: self.serve(range(batch)))

    def stored_bytes(self) -> dict[str, int]:
        """Bytes of what stays in memory: the model's weights (counted, where another backend than torch holds
        them), the searched codes, the ranker's weights.
        """
        if getattr(self.encoder, "backend", "torch") != "torch":
            weights = int(cost.weight_bytes(cost.from_config(self.encoder.config), self.encoder.precision))
        elif hasattr(self.encoder, "model"):
            weights = sum(p.nbytes for p in self.encoder.model.parameters())
        else:
            weights = getattr(self.encoder, "table", np.empty(0)).nbytes
        return {
            "model": weights,
            "index": self.index.quantized.codes.nbytes,
            "ranker": self.ranker.weights.nbytes,
        }
