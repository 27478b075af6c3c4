"""Where training time goes: phases of one pass, for EASE, SASRec,
the text MLP and one fine-tuning step of an encoder.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from recsys_lib import encoders
from recsys_lib.data import datasets
from recsys_lib.evaluation import splits
from recsys_lib.hardware.timing import synchronize
from recsys_lib.recommenders import SASRec, TextMLP
from recsys_lib.recommenders.ease import ease_weights
from recsys_lib.vectors import similarity

PHASES = ("forward and loss", "backward", "optimizer")


class PhaseClock:
    """Splits an ordinary training loop by the calls of its optimizer, without touching the loop.

    The loops here end every step with ``zero_grad``, ``backward``, ``step``: from one to the next is the
    backward pass, inside ``step`` the optimizer, all else the forward pass with its loss and the making of
    batches.
    """

    def __init__(self, optimizer: Any, now: Callable[[], float] = time.perf_counter):
        self.optimizer, self.now = optimizer, now
        self.seconds = dict.fromkeys(PHASES, 0.0)
        self.mark = now()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.optimizer, name)

    def _phase(self, name: str) -> None:
        synchronize()
        now = self.now()
        self.seconds[name] += now - self.mark
        self.mark = now

    def zero_grad(self) -> None:
        self.optimizer.zero_grad()
        self._phase(PHASES[0])

    def step(self) -> None:
        self._phase(PHASES[1])
        self.optimizer.step()
        self._phase(PHASES[2])


def row(
    model: str, unit: str, phases: dict[str, float], amount: float, amount_unit: str, device: str = "cpu"
) -> dict[str, Any]:
    """Seconds of each phase of one ``unit`` of training, JSON-ready; ``amount``: how much a unit sees."""
    return {
        "model": model,
        "unit": unit,
        "phases_s": phases,
        "amount": amount,
        "amount_unit": amount_unit,
        "device": device,
    }


def ease_phases(train: Any, repeats: int = 3) -> dict[str, Any]:
    """EASE on these interactions: the Gram matrix, then Cholesky and inverse; the median of ``repeats``."""
    gram_s, solve_s = [], []
    for _ in range(repeats):
        started = time.perf_counter()
        gram = (train.T @ train).toarray()
        between = time.perf_counter()
        ease_weights(gram, 400.0)
        gram_s.append(between - started)
        solve_s.append(time.perf_counter() - between)
    phases = {"Gram matrix": float(np.median(gram_s)), "Cholesky and inverse": float(np.median(solve_s))}
    return row("EASE", "whole fit", phases, float(train.nnz), "interactions")


def sasrec_phases(train: Any, times: Any) -> dict[str, Any]:
    """One epoch of SASRec, after one that warms up."""
    import torch

    model = SASRec(epochs=1, progress=False).fit(train, times)
    clock = PhaseClock(torch.optim.Adam(model.net.parameters(), model.learning_rate, betas=(0.9, 0.98)))
    trained = torch.from_numpy(model.histories[(model.histories > 0).sum(1) > 1])
    clock.mark = clock.now()
    model._epoch(clock, trained)
    return row("SASRec", "epoch", clock.seconds, float(train.nnz), "interactions")


def mlp_phases(train: Any, vectors: np.ndarray) -> dict[str, Any]:
    """One epoch of the text MLP, after one that warms up."""
    import torch
    from torch import nn

    model = TextMLP(vectors, epochs=1, progress=False).fit(train)
    net = nn.Sequential(
        nn.Linear(vectors.shape[1], model.hidden), nn.LeakyReLU(), nn.Linear(model.hidden, model.output)
    )
    clock = PhaseClock(torch.optim.AdamW(net.parameters(), model.learning_rate))
    model._epoch(net, clock)
    return row("text MLP", "epoch", clock.seconds, float(train.nnz), "interactions")


def fine_tuning_phases(
    name: str, texts: list[str], others: list[str], device: str = "cpu", steps: int = 2
) -> dict[str, Any]:
    """One step of contrastive fine-tuning of all weights: each text must find its partner of ``others`` in
    the batch.

    InfoNCE over cosines at temperature .05, AdamW, float32; the mean of ``steps`` after one that warms up.
    """
    import torch
    from torch.nn import functional

    encoder: Any = encoders.load(name, device=device, precision="float32", cache=False)
    # A copy of its own: the encoder's weights are shared with nobody, but it stays in evaluation mode for
    # others.
    clock = PhaseClock(torch.optim.AdamW(encoder.model.parameters(), 2e-5))
    tokens = [encoder.tokenize(t) for t in (texts, others)]
    for step in range(steps + 1):
        if step == 1:
            clock.seconds = dict.fromkeys(PHASES, 0.0)
        synchronize()
        clock.mark = clock.now()
        left, right = (functional.normalize(_pooled(encoder, t), dim=1) for t in tokens)
        loss = functional.cross_entropy(left @ right.T / 0.05, torch.arange(len(texts), device=device))
        clock.zero_grad()
        loss.backward()
        clock.step()
    phases = {phase: seconds / steps for phase, seconds in clock.seconds.items()}
    return row(
        f"fine-tuning {name}", f"step of {len(texts)} pairs", phases, 2.0 * len(texts), "texts", device
    )


def _pooled(encoder: Any, tokens: list[tuple[list[int], int]]) -> Any:
    """Mean-pooled vectors with their gradients, ``[texts, d]``."""
    import torch

    from recsys_lib.encoders import backends
    from recsys_lib.encoders.pooling import pool

    ids, mask, _ = (torch.from_numpy(a).to(encoder.device) for a in backends.padded(encoder, tokens))
    return pool("mean", encoder.model(input_ids=ids, attention_mask=mask).last_hidden_state, mask)


def all_phases(device: str = "cpu", pairs: int = 32) -> list[dict[str, Any]]:
    """The four on MovieLens-100K; the encoder learns to match a film's title with its genres."""
    films = datasets.load("ml-100k")
    split = splits.random_split(films, 0.2, seed=0)
    vectors = similarity.normalize(
        encoders.load("minilm", device=device, precision="float32").encode(films.item_texts())
    )
    titles, genres = films.item_texts(("title",))[:pairs], films.item_texts(("genres",))[:pairs]
    return [
        ease_phases(split.train),
        sasrec_phases(split.train, split.train_times),
        mlp_phases(split.train, vectors),
        fine_tuning_phases("minilm", titles, genres, device),
    ]
