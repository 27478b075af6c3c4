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

    reads: "interactions", "text" (places an item by its text alone) or "both". base: a method that this one
    extends. Its tuned parameters are shared, and only ``space`` is searched beside them. declined: the
    parameters at which this one is its base, as a weight of 0. That point is always among those tried.
    """

    make: Callable[..., Recommender]
    space: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    reads: str = "interactions"
    base: Method | None = None
    declined: Mapping[str, Any] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """How many points the space has, those of the base not counted."""
        return math.prod(len(values) for values in self.space.values())


@dataclass(frozen=True)
class Trial:
    """One point tried: its parameters, the metric on the validation part, seconds to fit and evaluate, place
    in the order drawn.
    """

    parameters: dict[str, Any]
    value: float
    seconds: float
    order: int = 0

    def __str__(self) -> str:
        point = ", ".join(f"{name}={value}" for name, value in self.parameters.items()) or "no parameters"
        return f"{point}: {self.value:.4f} on the validation part"


@dataclass(frozen=True, eq=False)
class Outcome:
    """A method tuned on a split and evaluated once on its test: its best point, that point's validation
    value, the fitted model, the test.

    fit_s: seconds of the last fit. trials: all points tried, best first. edges: see ``chosen_edges``.
    """

    parameters: dict[str, Any]
    validation: float
    model: Recommender | None
    test: Evaluation
    fit_s: float = math.nan
    trials: tuple[Trial, ...] = ()
    edges: tuple[str, ...] = ()

    @property
    def best_so_far(self) -> list[float]:
        """The best validation value after each trial, in the order drawn."""
        values = [trial.value for trial in sorted(self.trials, key=lambda trial: trial.order)]
        return list(itertools.accumulate(values, max))


@dataclass(frozen=True, eq=False)
class Task:
    """What every method of a comparison is tuned on, fitted on and evaluated on; matrices ``[n_users,
    n_items]``.

    ``candidates`` and ``test_candidates`` are the items that are ranked, all where None.
    """

    train: sp.csr_matrix
    validation: sp.csr_matrix
    whole: sp.csr_matrix
    test: sp.csr_matrix
    times: sp.csr_matrix | None = None
    whole_times: sp.csr_matrix | None = None
    candidates: np.ndarray | None = None
    test_candidates: np.ndarray | None = None


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
    base: Trial | None = None,
) -> list[Trial]:
    """Random search on a validation part (Bergstra and Bengio, JMLR 2012): all trials, best first.

    Values within a relative ``SAME_VALUE`` of the best one count as equal to it, and of these the point drawn
    first wins, so that the choice does not depend on the last digit of a sum. ``base`` is the tuned point of
    the method's base: its parameters are shared, and the method that declines to go beyond it is the first
    trial, whose value is known.
    """
    shared = dict(base.parameters) if base else {}
    done = [Trial(shared | dict(method.declined), base.value, 0.0)] if base and method.declined else []
    for point in points(method.space, trials, seed):
        start, parameters = time.perf_counter(), shared | point
        fitted = checks.fit(method.make(**parameters), train, times)
        value = evaluation.evaluate(fitted, train, validation, k, candidates).mean()[metric]
        done.append(Trial(parameters, value, time.perf_counter() - start, len(done)))
    return best_first(done)


def best_first(drawn: Sequence[Trial]) -> list[Trial]:
    """The trials by falling value, the chosen one first: the earliest drawn of those as good as the best.

    >>> drawn = [Trial({"a": 1}, 0.3, 0), Trial({"a": 2}, 0.3 + 1e-9, 0), Trial({"a": 3}, 0.2, 0)]
    >>> [t.parameters["a"] for t in best_first(drawn)]
    [1, 2, 3]
    """
    best = max(trial.value for trial in drawn)
    chosen = next(trial for trial in drawn if trial.value >= best - SAME_VALUE * abs(best))
    others = [trial for trial in drawn if trial is not chosen]
    return [chosen, *sorted(others, key=lambda trial: -trial.value)]


def chosen_edges(method: Method, parameters: Mapping[str, Any]) -> tuple[str, ...]:
    """Parameters that were chosen at the end of a range which could be longer: the optimum may lie beyond.

    A range is three or more numbers. 0 is no such end: a weight or a shrinkage cannot be less.

    >>> method = Method(None, {"weight": [0.0, 0.1, 1.0], "width": [1, 2, 3]})
    >>> chosen_edges(method, {"weight": 0.0, "width": 3})
    ('width=3',)
    """
    found = []
    for name, values in method.space.items():
        numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
        value = parameters.get(name)
        if len(numbers) >= 3 and value in (min(numbers), max(numbers)) and value != 0:
            found.append(f"{name}={value}")
    return tuple(found)


def compare_methods(
    methods: Mapping[str, Method],
    task: Task,
    trials: int = 12,
    seed: int = 0,
    k: int = 10,
    keep_models: bool = True,
) -> dict[str, Outcome]:
    """Tune every method with the same number of ``trials`` and the same seed, then evaluate each once on the
    test.

    This is the one place where budgets are set, so that they are equal. A method with a base is tuned after
    it; a base is tuned once for all that extend it, so that they differ in nothing else. The best point is
    fitted on training and validation part together.
    """
    tuned: dict[int, list[Trial]] = {}
    outcomes = {}
    for name, method in methods.items():
        done = _tuned(method, task, trials, seed, k, tuned)
        start = time.perf_counter()
        model = checks.fit(method.make(**done[0].parameters), task.whole, task.whole_times)
        seconds = time.perf_counter() - start
        result = evaluation.evaluate(model, task.whole, task.test, k, task.test_candidates)
        edges = chosen_edges(method, done[0].parameters)
        kept = model if keep_models else None
        outcomes[name] = Outcome(done[0].parameters, done[0].value, kept, result, seconds, tuple(done), edges)
    return outcomes


def _tuned(
    method: Method, task: Task, trials: int, seed: int, k: int, tuned: dict[int, list[Trial]]
) -> list[Trial]:
    if id(method) not in tuned:
        base = _tuned(method.base, task, trials, seed, k, tuned)[0] if method.base else None
        found = tune(
            method,
            task.train,
            task.validation,
            trials,
            seed,
            k=k,
            candidates=task.candidates,
            times=task.times,
            base=base,
        )
        tuned[id(method)] = found
    return tuned[id(method)]


def warm_task(split: Split) -> Task:
    """Tune on the split's validation part, test on its test; users without a training interaction are in
    neither.
    """
    whole = split.with_validation()
    return Task(
        split.train, known_users(split.validation, split.train),
        whole.train, known_users(whole.test, whole.train),
        split.train_times, whole.train_times,
    )  # fmt: skip


def tune_and_evaluate(method: Method, split: Split, trials: int = 12, seed: int = 0, k: int = 10) -> Outcome:
    """``compare_methods`` for one method on ``warm_task(split)``."""
    return compare_methods({"": method}, warm_task(split), trials, seed, k)[""]


def known_users(held: sp.csr_matrix, train: sp.csr_matrix) -> sp.csr_matrix:
    """The held-out interactions of those users who have a training interaction."""
    return _of_users(held, np.diff(train.indptr) > 0)


def _of_users(held: sp.csr_matrix, users: np.ndarray) -> sp.csr_matrix:
    """The held-out interactions of these ``users`` (bool ``[n_users]``)."""
    kept = sp.csr_matrix(sp.diags(users.astype(np.float32)) @ held)
    kept.eliminate_zeros()
    return kept


def sampled_users(held: sp.csr_matrix, max_users: int | None, seed: int = 0) -> sp.csr_matrix:
    """The held-out interactions of ``max_users`` random users among those who have any; of all of them if
    there are no more.

    Raises:
        InputError: ``max_users`` below 1.
    """
    if max_users is not None and max_users < 1:
        raise InputError(f"max_users={max_users!r}: expected at least 1, or None for all")
    users = np.flatnonzero(np.diff(held.indptr))
    if max_users is None or len(users) <= max_users:
        return held
    chosen = np.zeros(held.shape[0], dtype=bool)
    chosen[np.random.default_rng(seed).permutation(users)[:max_users]] = True
    return _of_users(held, chosen)


def stored_bytes(model: Any) -> int:
    """Bytes of all arrays a fitted recommender holds but the histories: weights, factors, vectors, network.

    0 for one that reads the histories only, as UserKNN does.
    """
    total = 0
    for name, value in vars(model).items():
        # ``rows`` are the item vectors once more, prepared for products.
        if name in ("train", "histories", "rows"):
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
    split: Split, fraction: float = 0.2, seed: int = 0, kept: int = 0, at_least: int = 0
) -> tuple[sp.csr_matrix, sp.csr_matrix, np.ndarray]:
    """Of a cold-item split's training part, a ``fraction`` of the warm items made cold in turn, to tune on.

    Items of the split itself are left as they are. ``kept`` and ``at_least``: as in
    ``splits.cold_item_split``. Returns training and validation matrices and the ids of the items that are
    cold in it.

    Raises:
        InputError: no item has that many interactions.
    """
    train, rng = split.train, np.random.default_rng(seed)
    counts = np.asarray((train != 0).sum(axis=0)).ravel()
    counts[split.cold_items] = 0
    eligible = np.flatnonzero(counts >= max(at_least, kept + 1))
    if not len(eligible):
        raise InputError(
            f"kept={kept!r}, at_least={at_least!r}: no item has so many interactions, expected fewer"
        )
    cold = np.sort(rng.permutation(eligible)[: max(1, round(len(eligible) * fraction))])
    mask = np.isin(np.arange(train.shape[1]), cold)
    held = evaluation.restrict(train, mask).tocsc()
    for item in cold if kept else ():
        places = np.arange(held.indptr[item], held.indptr[item + 1])
        held.data[rng.permutation(places)[:kept]] = 0
    held.eliminate_zeros()
    validation = sp.csr_matrix(held)
    rest = sp.csr_matrix(train - validation)
    rest.eliminate_zeros()
    return rest, validation, cold


def cold_task(split: Split, seed: int = 0, kept: int = 0, at_least: int = 0) -> Task:
    """The cold items of a split ranked among themselves, tuned on warm items of which as few interactions are
    ``kept``.
    """
    train, validation, cold = cold_validation(split, seed=seed, kept=kept, at_least=at_least)
    return Task(
        train, known_users(validation, train), split.train, known_users(split.test, split.train),
        candidates=cold, test_candidates=split.cold_items,
    )  # fmt: skip


def tune_and_evaluate_cold(
    method: Method, split: Split, trials: int = 12, seed: int = 0, k: int = 10
) -> Outcome:
    """``compare_methods`` for one method on ``cold_task(split)``."""
    return compare_methods({"": method}, cold_task(split, seed), trials, seed, k)[""]
