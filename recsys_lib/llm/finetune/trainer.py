"""The training loop: steps whose batch, rate and random numbers are functions of the seed and the step's
number.

A step's texts are encoded in passes of bounded size. With more than one pass the vectors are first made
without gradients, the loss gives the gradient of each vector, and the passes are done again with it (Gao et
al., "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup", RepL4NLP 2021): the loss is
that of the whole batch however it is cut, and the cuts may be dealt out to workers.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys_lib.core import storage
from recsys_lib.core.errors import InputError
from recsys_lib.llm.finetune.batches import Batch, Batches
from recsys_lib.llm.finetune.objectives import Objective
from recsys_lib.llm.finetune.text_model import TextModel
from recsys_lib.llm.finetune.workers import Alone, Workers

if TYPE_CHECKING:
    from torch import Tensor

KIND = "finetune.state"


@dataclass(frozen=True)
class Settings:
    """How steps are taken. ``learning_rate``: of the encoder, reached after ``warmup`` steps, then falling
    to 0 at ``steps`` by a cosine; the objective's own weights learn ``head_rate`` times as fast. ``clip``:
    the largest norm of the gradient. ``texts_per_pass``: texts encoded at once. ``bfloat16``: products in
    16 bits.
    """

    steps: int = 100
    learning_rate: float = 5e-5
    head_rate: float = 10.0
    weight_decay: float = 0.01
    warmup: int = 5
    clip: float = 1.0
    texts_per_pass: int = 128
    bfloat16: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        positive = (self.steps, self.texts_per_pass, self.learning_rate, self.head_rate, self.clip)
        if not all(0 < x < math.inf for x in positive) or self.warmup < 0 or not self.weight_decay >= 0:
            values = ", ".join(f"{f.name}={getattr(self, f.name)!r}" for f in fields(self))
            raise InputError(f"{values}: expected positive numbers, warmup and weight_decay at least 0")

    def rate(self, step: int) -> float:
        """The encoder's learning rate in this step, counted from 0."""
        if step < self.warmup:
            return self.learning_rate * (step + 1) / (self.warmup + 1)
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


@dataclass
class Progress:
    """What happened so far: the loss of every step, and of every validation its step and value."""

    losses: list[float] = field(default_factory=list)
    validated: list[tuple[int, float]] = field(default_factory=list)

    @property
    def best(self) -> tuple[int, float] | None:
        """The step and value of the best validation, the earliest of equals; None before the first."""
        return max(self.validated, key=lambda v: v[1]) if self.validated else None


class Trainer:
    """An encoder, its batches and an objective, and the optimizer between them (AdamW).

    ``step()`` takes one step and returns its loss. ``step_number`` counts them; with the weights and the
    optimizer's moments it is the whole state, which ``save`` writes and ``resume`` reads: there is no other
    source of randomness or order. ``workers``: the others that take part in the same steps.
    """

    def __init__(
        self,
        model: TextModel,
        batches: Batches,
        objective: Objective,
        settings: Settings = Settings(),
        workers: Workers | None = None,
    ):
        import torch

        self.model, self.batches, self.objective = model, batches, objective
        self.settings, self.workers = settings, workers or Alone()
        self.own = objective.parameters()
        self.trained = {f"model.{n}": p for n, p in model.parameters().items()}
        self.trained |= {f"objective.{n}": p for n, p in self.own.items()}
        groups = [{"params": list(model.parameters().values()), "scale": 1.0}]
        groups += [{"params": list(self.own.values()), "scale": settings.head_rate}] if self.own else []
        self.optimizer = torch.optim.AdamW(groups, settings.learning_rate, weight_decay=settings.weight_decay)
        self.step_number, self.progress = 0, Progress()
        self._best: dict[str, np.ndarray] = {}
        self.clock: Callable[[], float] = time.perf_counter
        self.phases = dict.fromkeys(("tokens and batch", "forward", "loss", "backward", "optimizer"), 0.0)

    # ---------------------------------------------------------------- one step

    def step(self) -> float:
        """One step over the next batch; returns the loss of the whole batch."""
        import torch

        mark = self.clock()
        batch = self.batches.batch(self.step_number)
        tokens, places = self._tokens(batch)
        mark = self._phase("tokens and batch", mark)
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.rate(self.step_number) * group["scale"]
        self.optimizer.zero_grad(set_to_none=True)
        loss = self._gradients(batch, tokens, places)
        mark = self.clock()
        parameters = [p for p in self.trained.values() if p.grad is not None]
        torch.nn.utils.clip_grad_norm_(parameters, self.settings.clip)
        self.optimizer.step()
        self._phase("optimizer", mark)
        self.step_number += 1
        self.progress.losses.append(loss)
        return loss

    def _phase(self, name: str, since: float) -> float:
        now = self.clock()
        self.phases[name] += now - since
        return now

    def _tokens(self, batch: Batch) -> tuple[list[Any], list[np.ndarray]]:
        """Tokens of all texts of the step, each distinct one once, and the places of each pass, by length."""
        texts = self.objective.texts(batch)
        tokens = [self.model.tokens[i] for i in batch.items]
        tokens += self.model.source.tokenize(texts) if texts else []
        order = np.argsort([len(ids) for ids, _ in tokens], kind="stable")
        size = self.settings.texts_per_pass
        return tokens, [order[i : i + size] for i in range(0, len(order), size)]

    def _gradients(self, batch: Batch, tokens: list[Any], places: list[np.ndarray]) -> float:
        """Leave the gradient of the whole batch's loss in every trained weight; returns the loss."""
        if len(places) == 1 and self.workers.size == 1:
            mark = self.clock()
            vectors = self._pass(tokens, places[0], 0)
            mark = self._phase("forward", mark)
            loss = self._loss(vectors[_inverse(places[0]).to(vectors.device)], batch)
            mark = self._phase("loss", mark)
            loss.backward()
            self._phase("backward", mark)
            return float(loss.detach())
        return self._gradients_in_passes(batch, tokens, places)

    def _gradients_in_passes(self, batch: Batch, tokens: list[Any], places: list[np.ndarray]) -> float:
        import torch

        mine = range(self.workers.rank, len(places), self.workers.size)
        mark = self.clock()
        with torch.no_grad():
            done = [self._pass(tokens, places[i], i).cpu().numpy() for i in mine]
        vectors = self._gathered(done, places, len(tokens)).to(self.model.device).requires_grad_(True)
        mark = self._phase("forward", mark)
        loss = self._loss(vectors, batch)
        loss.backward()
        mark = self._phase("loss", mark)
        assert vectors.grad is not None
        for i in mine:
            # A pass at a time: its activations are gone before the next begins.
            again = self._pass(tokens, places[i], i)
            mark = self._phase("forward", mark)
            again.backward(vectors.grad[torch.from_numpy(places[i]).to(self.model.device)])
            mark = self._phase("backward", mark)
        if self.workers.size > 1:
            self._add_gradients()
        return float(loss.detach())

    def _gathered(self, done: list[np.ndarray], places: list[np.ndarray], n: int) -> Tensor:
        """The vectors of all passes of all workers, in the order of the texts."""
        import torch

        own = np.concatenate(done) if done else np.empty((0, self.model.dimension), np.float32)
        found = np.empty((n, self.model.dimension), np.float32)
        for rank, part in enumerate(self.workers.gather(own)):
            theirs = places[rank :: self.workers.size]
            if theirs:
                found[np.concatenate(theirs)] = part
        return torch.from_numpy(found)

    def _add_gradients(self) -> None:
        """Sum the encoder's gradients over the workers; those of the objective are alike on each: their
        mean.
        """
        import torch

        for parameter in self.trained.values():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        for parameter in self.own.values():
            assert parameter.grad is not None
            parameter.grad /= self.workers.size
        self.workers.add([p.grad for p in self.trained.values()])

    def _pass(self, tokens: list[Any], places: np.ndarray, number: int) -> Tensor:
        """Vectors of these texts; what is random in it follows from seed, step and number of the pass."""
        import torch

        if not self.model.dropout:
            return self.model.of_tokens([tokens[i] for i in places], self.settings.bfloat16)
        seed = np.random.SeedSequence([self.settings.seed, self.step_number, number]).generate_state(1)[0]
        with torch.random.fork_rng():
            torch.manual_seed(int(seed))
            return self.model.of_tokens([tokens[i] for i in places], self.settings.bfloat16)

    def _loss(self, vectors: Tensor, batch: Batch) -> Tensor:
        n = len(batch.items)
        return self.objective.loss(vectors[:n], vectors[n:], batch)

    # ---------------------------------------------------------------- many steps

    def fit(
        self,
        validate: Callable[[np.ndarray], float] | None = None,
        every: int = 10,
        patience: int = 3,
        folder: str | Path | None = None,
        report: Callable[[Trainer], None] | None = None,
    ) -> Progress:
        """Steps up to ``settings.steps``, or until validation stopped rising; the best weights are kept.

        validate: quality of vectors ``[n_items, d]``, taken before the first step and after ``every``
        steps. patience: validations in a row without a new best after which training ends. folder: where
        the state is written after every validation; a run that finds one there goes on from it.
        """
        if folder is not None:
            self.resume(folder)
        while True:
            due = validate is not None and self.step_number % every == 0
            if due and not any(at == self.step_number for at, _ in self.progress.validated):
                self._validate(validate)
                if folder is not None and self.workers.rank == 0:
                    self.save(folder)
            if report is not None:
                report(self)
            if self.step_number >= self.settings.steps or self._stalled(patience):
                break
            self.step()
        if folder is not None and self.workers.rank == 0:
            self.save(folder)
        self.use_best()
        return self.progress

    def _validate(self, validate: Callable[[np.ndarray], float] | None) -> None:
        assert validate is not None
        value = float(validate(self.model.encode()))
        if self.progress.best is None or value > self.progress.best[1]:
            self._best = {name: _array(p) for name, p in self.trained.items()}
        self.progress.validated.append((self.step_number, value))

    def _stalled(self, patience: int) -> bool:
        best = self.progress.best
        return best is not None and sum(at > best[0] for at, _ in self.progress.validated) >= patience

    def use_best(self) -> None:
        """Put the weights of the best validation into the model; without a validation the last ones stay."""
        if self._best:
            self._set(self._best)

    def _set(self, values: dict[str, np.ndarray]) -> None:
        import torch

        with torch.no_grad():
            for name, parameter in self.trained.items():
                parameter.copy_(torch.from_numpy(values[name]))

    # ---------------------------------------------------------------- state

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """All that the next step depends on: arrays by name, and JSON values."""
        arrays = {f"weight.{name}": _array(p) for name, p in self.trained.items()}
        arrays |= {f"best.{name}": value for name, value in self._best.items()}
        for name, parameter in self.trained.items():
            for key, value in self.optimizer.state.get(parameter, {}).items():
                arrays[f"{key}.{name}"] = np.asarray(_array(value), np.float32)
        meta = {
            "run": self.identity(),
            "step": self.step_number,
            "losses": self.progress.losses,
            "validated": [list(v) for v in self.progress.validated],
        }
        return arrays, meta

    def identity(self) -> dict[str, Any]:
        """What must be alike for a state to be gone on from."""
        model = self.model
        return {
            "encoder": model.source.options["weights"], "trained": model.trained, "rank": model.rank,
            "dropout": model.dropout, "texts": len(model.texts), "settings": asdict(self.settings),
            "objective": type(self.objective).__name__, "batches": type(self.batches).__name__,
        }  # fmt: skip

    def set_state(self, arrays: dict[str, np.ndarray], meta: dict[str, Any]) -> None:
        """Go on from what ``state`` gave."""
        import torch

        self._set({name: arrays[f"weight.{name}"] for name in self.trained})
        self._best = {n.removeprefix("best."): a for n, a in arrays.items() if n.startswith("best.")}
        self.optimizer.state.clear()
        for name, parameter in self.trained.items():
            if f"step.{name}" in arrays:
                moments = {key: torch.from_numpy(arrays[f"{key}.{name}"].copy()).to(parameter.device)
                           for key in ("exp_avg", "exp_avg_sq")}  # fmt: skip
                step = torch.tensor(float(arrays[f"step.{name}"]))
                self.optimizer.state[parameter] = {"step": step, **moments}
        self.step_number = int(meta["step"])
        self.progress = Progress(list(meta["losses"]), [(int(s), float(v)) for s, v in meta["validated"]])

    def save(self, folder: str | Path) -> None:
        """Write the state to ``folder``, whole or not at all: a kill leaves the old one or the new one."""
        arrays, meta = self.state()
        storage.save(folder, KIND, arrays, meta)

    def resume(self, folder: str | Path) -> bool:
        """Go on from the state in ``folder``; False if there is none.

        Raises:
            InputError: the state is of another encoder, choice of weights or settings, or is damaged.
        """
        if not (Path(folder) / storage.META).is_file():
            return False
        arrays, meta = storage.load(folder, KIND)
        mine = self.identity()
        other = [key for key, value in mine.items() if meta["run"].get(key) != value]
        if other:
            was = meta["run"].get(other[0])
            raise InputError(
                f"{folder}: a run with {other[0]}={was!r}, here {mine[other[0]]!r}; choose another folder"
            )
        self.set_state(arrays, meta)
        return True


def _array(tensor: Any) -> np.ndarray:
    return tensor.detach().cpu().numpy().copy()


def _inverse(order: np.ndarray) -> Tensor:
    import torch

    found = np.empty(len(order), np.int64)
    found[order] = np.arange(len(order))
    return torch.from_numpy(found)
