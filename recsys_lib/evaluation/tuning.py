"""Equal budgets: a random search on a validation part, then one look at the test."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.sparse as sp

from recsys_lib import evaluation
from recsys_lib.core.errors import InputError
from recsys_lib.evaluation import Evaluation
from recsys_lib.evaluation.splits import Split
from recsys_lib.recommenders import Recommender, checks

# Validation values nearer than this to the best, relative to it, count as equal.
SAME_VALUE = 1e-6


@dataclass(frozen=True)
class Method:
    """A recommender to be tuned: ``make(**parameters)``, and for each parameter the values it may take.

    reads: "interactions", "text" (places an item by its text alone) or "both".
    """

    make: Callable[..., Recommender]
    space: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    reads: str = "interactions"

    @property
    def size(self) -> int:
        """How many points the space has."""
        return math.prod(len(values) for values in self.space.values())


@dataclass(frozen=True)
class Trial:
    """One point tried: its parameters, the metric on the validation part, seconds to fit and evaluate."""

    parameters: dict[str, Any]
    value: float
    seconds: float

    def __str__(self) -> str:
        point = ", ".join(f"{name}={value}" for name, value in self.parameters.items()) or "no parameters"
        return f"{point}: {self.value:.4f} on the validation part"


@dataclass(frozen=True, eq=False)
class Outcome:
    """A method tuned on a split and evaluated once on its test: its best point, that point's validation
    value, the fitted model, the test.

    fit_s: seconds of the last fit.
    """

    parameters: dict[str, Any]
    validation: float
    model: Recommender
    test: Evaluation
    fit_s: float = math.nan


def points(space: Mapping[str, Sequence[Any]], trials: int, seed: int = 0) -> list[dict[str, Any]]:
    """``trials`` different points of a space drawn at random, all of them if there are fewer.

    >>> len(points({"a": [1, 2, 3], "b": [0.1, 1.0]}, 4)), points({}, 4)
    (4, [{}])

    Raises:
        InputError: fewer than one trial.
    """
    if trials < 1:
        raise InputError(f"trials={trials!r}: expected at least 1")
    every = [dict(zip(space, values, strict=True)) for values in itertools.product(*space.values())]
    order = np.random.default_rng(seed).permutation(len(every))
    return [every[i] for i in order[:trials]]


def tune(
    method: Method,
    train: sp.csr_matrix,
    validation: sp.csr_matrix,
    trials: int = 12,
    seed: int = 0,
    metric: str = "ndcg",
    k: int = 10,
    candidates: np.ndarray | None = None,
    times: sp.csr_matrix | None = None,
) -> list[Trial]:
    """Random search on a validation part (Bergstra and Bengio, JMLR 2012): all trials, best first.

    Equal budgets are what makes tuned models comparable: give every method the same ``trials``. Values within
    a relative ``SAME_VALUE`` of the best one count as equal to it, and of these the point drawn first wins,
    so that the choice does not depend on the last digit of a sum.
    """
    done = []
    for parameters in points(method.space, trials, seed):
        start = time.perf_counter()
        fitted = checks.fit(method.make(**parameters), train, times)
        value = evaluation.evaluate(fitted, train, validation, k, candidates).mean()[metric]
        done.append(Trial(parameters, value, time.perf_counter() - start))
    return best_first(done)


def best_first(drawn: Sequence[Trial]) -> list[Trial]:
    """The trials by falling value, the chosen one first: the earliest drawn of those as good as the best.

    >>> trials = [Trial({"a": a}, value, 0) for a, value in [(1, 0.3), (2, 0.3 + 1e-9), (3, 0.2)]]
    >>> [trial.parameters["a"] for trial in best_first(trials)]
    [1, 2, 3]
    """
    best = max(trial.value for trial in drawn)
    chosen = next(trial for trial in drawn if trial.value >= best - SAME_VALUE * abs(best))
    others = [trial for trial in drawn if trial is not chosen]
    return [chosen, *sorted(others, key=lambda trial: -trial.value)]


def tune_and_evaluate(method: Method, split: Split, trials: int = 12, seed: int = 0, k: int = 10) -> Outcome:
    """Tune on the split's validation part, fit the best point on training and validation together, look at
    the test once.

    Users without any training interaction are left out of both looks: nothing personal can be said to them.
    """
    train, validation = split.train, known_users(split.validation, split.train)
    best = tune(method, train, validation, trials, seed, k=k, times=split.train_times)[0]
    whole = split.with_validation()
    start = time.perf_counter()
    model = checks.fit(method.make(**best.parameters), whole.train, whole.train_times)
    seconds = time.perf_counter() - start
    test = known_users(whole.test, whole.train)
    return Outcome(
        best.parameters, best.value, model, evaluation.evaluate(model, whole.train, test, k), seconds
    )


def known_users(held: sp.csr_matrix, train: sp.csr_matrix) -> sp.csr_matrix:
    """The held-out interactions of those users who have a training interaction."""
    kept = sp.csr_matrix(sp.diags((np.diff(train.indptr) > 0).astype(np.float32)) @ held)
    kept.eliminate_zeros()
    return kept


def stored_bytes(model: Any) -> int:
    """Bytes of all arrays a fitted recommender holds but the histories: weights, factors, vectors, network.

    0 for one that reads the histories only, as UserKNN does.
    """
    total = 0
    for name, value in vars(model).items():
        if name in ("train", "histories"):
            continue
        if isinstance(value, np.ndarray):
            total += value.nbytes
        elif sp.issparse(value):
            total += value.data.nbytes + value.indices.nbytes + value.indptr.nbytes
        elif isinstance(value, list):
            total += sum(stored_bytes(part) for part in value if hasattr(part, "scores"))
        elif hasattr(value, "parameters"):
            total += sum(p.numel() * p.element_size() for p in value.parameters())
        elif hasattr(value, "scores"):
            total += stored_bytes(value)
    return total


# ---------------------------------------------------------------- cold items


def cold_validation(
    split: Split, fraction: float = 0.2, seed: int = 0
) -> tuple[sp.csr_matrix, sp.csr_matrix, np.ndarray]:
    """Of a cold-item split's training part, a ``fraction`` of the warm items made cold in turn, to tune on.

    Returns training and validation matrices and the ids of the items that are cold in it.
    """
    train = split.train
    warm = np.flatnonzero(np.asarray(train.sum(axis=0)).ravel())
    cold = np.sort(np.random.default_rng(seed).permutation(warm)[: max(1, round(len(warm) * fraction))])
    mask = np.zeros(train.shape[1], dtype=bool)
    mask[cold] = True
    return evaluation.restrict(train, ~mask), evaluation.restrict(train, mask), cold


def tune_and_evaluate_cold(
    method: Method, split: Split, trials: int = 12, seed: int = 0, k: int = 10
) -> Outcome:
    """As ``tune_and_evaluate`` for strictly cold items, which are ranked among themselves."""
    train, validation, cold = cold_validation(split, seed=seed)
    best = tune(method, train, validation, trials, seed, k=k, candidates=cold)[0]
    start = time.perf_counter()
    model = method.make(**best.parameters).fit(split.train)
    seconds = time.perf_counter() - start
    test = known_users(split.test, split.train)
    result = evaluation.evaluate(model, split.train, test, k, split.cold_items)
    return Outcome(best.parameters, best.value, model, result, seconds)
