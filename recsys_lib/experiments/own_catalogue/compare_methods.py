"""Every method tuned and evaluated on a user's catalogue: on all items, and on cold items alone."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from recsys_lib import evaluation
from recsys_lib.core.errors import InputError
from recsys_lib.data.datasets import Dataset
from recsys_lib.evaluation import Comparison, Evaluation, metrics, splits, tuning
from recsys_lib.evaluation.splits import Split
from recsys_lib.experiments import study
from recsys_lib.experiments.own_catalogue import chosen_methods
from recsys_lib.experiments.own_catalogue.chosen_methods import (
    Entry,
    FittedOnce,
    SharedEASE,
    cold_methods,
    interaction_methods,
    text_methods,
)
from recsys_lib.experiments.own_catalogue.sources import Source

if TYPE_CHECKING:
    import pandas as pd

# A split at one moment that leaves fewer users than this to test is replaced, if another leaves twice as
# many.
MIN_TEST_USERS = 100
# Points are chosen on at most so many validation users; the test keeps all of its own.
MAX_VALIDATION_USERS = 2_000


@dataclass(frozen=True, eq=False)
class Result:
    """A method over all splits: its kind and source, mean validation NDCG, each user's mean test metrics.

    parameters: the point chosen on the last split. last: the test of the last split alone.
    """

    kind: str
    validation: float
    test: Evaluation
    source: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    last: Evaluation | None = None


@dataclass(frozen=True, eq=False)
class Compared:
    """All methods on all items (``warm``) and on cold items (``cold``), by name.

    split: the last one of the warm comparison, its validation part given back to training. seconds: by stage.
    """

    warm: dict[str, Result]
    cold: dict[str, Result]
    split: Split
    seconds: dict[str, float]


def compare_methods(
    data: Dataset,
    sources: Mapping[str, Source],
    *,
    by_time: bool = True,
    seeds: int = 2,
    trials: int = 6,
    k: int = 10,
) -> Compared:
    """Tune every method on a validation part, fit it again, look at the test once; warm, then cold.

    Raises:
        InputError: nobody is left to tune on or to test, see ``warm_splits``.
    """
    seconds: dict[str, float] = {}
    parts = warm_splits(data, by_time, seeds)
    timed = by_time and data.timestamp is not None and not parts[0].name.startswith("random")
    warm: dict[str, list[Result]] = {}
    for seed, part in enumerate(parts):
        for name, result in _warm(part, sources, timed, Budget(trials, seed, k), seconds).items():
            warm.setdefault(name, []).append(result)
    ease = warm["EASE"][-1].parameters["regularization"] if "EASE" in warm else None
    cold: dict[str, list[Result]] = {}
    draws = 1 if data.n_items > chosen_methods.MAX_ITEMS_OF_TEXT_EASE else seeds
    for seed, part in cold_splits(data, draws) if sources else []:
        for name, result in _cold(part, sources, ease, Budget(trials, seed, k), seconds).items():
            cold.setdefault(name, []).append(result)
    return Compared(_averaged(warm), _averaged(cold), parts[-1].with_validation(), seconds)


@dataclass(frozen=True)
class Budget:
    """What every method gets: ``trials`` points drawn with ``seed``; lists of length ``k``."""

    trials: int
    seed: int
    k: int


def _warm(
    part: Split, sources: Mapping[str, Source], timed: bool, budget: Budget, seconds: dict[str, float]
) -> dict[str, Result]:
    """Collaborative filtering first, then text, blended into the best of it at its tuned point."""
    task = _sampled(tuning.warm_task(part), budget)
    entries = interaction_methods(part.train.shape[1], timed)
    found: dict[str, Result] = {}
    for name, entry in entries.items():
        found |= _compared({name: entry}, task, budget, seconds, name)
    base = max(found, key=lambda name: found[name].validation)
    fitted = FittedOnce(entries[base].method.make(**found[base].parameters))
    ease = found["EASE"].parameters["regularization"] if "EASE" in found else None
    read = text_methods(sources, part.train, fitted, ease)
    return found | _compared(read, task, budget, seconds, "text for warm items")


def _cold(
    part: Split,
    sources: Mapping[str, Source],
    ease_lambda: float | None,
    budget: Budget,
    seconds: dict[str, float],
) -> dict[str, Result]:
    task = _sampled(tuning.cold_task(part, budget.seed), budget)
    entries = cold_methods(sources, part.train, SharedEASE(), ease_lambda)
    return _compared(entries, task, budget, seconds, "cold items")


def _sampled(task: tuning.Task, budget: Budget) -> tuning.Task:
    few = tuning.sampled_users(task.validation, MAX_VALIDATION_USERS, budget.seed)
    return replace(task, validation=few)


def _compared(
    entries: Mapping[str, Entry], task: tuning.Task, budget: Budget, seconds: dict[str, float], stage: str
) -> dict[str, Result]:
    """Results by name, all with the same budget; ``seconds`` of the ``stage`` grow."""
    start = time.perf_counter()
    done = tuning.compare_methods(
        {name: entry.method for name, entry in entries.items()},
        task,
        budget.trials,
        budget.seed,
        budget.k,
        keep_models=False,  # twenty fitted models of a large catalogue fill the memory
    )
    seconds[stage] = seconds.get(stage, 0.0) + time.perf_counter() - start
    return {
        name: Result(entries[name].kind, o.validation, o.test, entries[name].source, o.parameters)
        for name, o in done.items()
    }


def _averaged(results: Mapping[str, Sequence[Result]]) -> dict[str, Result]:
    """Every method's mean over its splits."""
    return {
        name: replace(
            done[-1],
            validation=float(np.mean([result.validation for result in done])),
            test=evaluation.average([result.test for result in done]),
            last=done[-1].test,
        )
        for name, done in results.items()
    }


# ---------------------------------------------------------------- splits


def warm_splits(data: Dataset, by_time: bool, seeds: int) -> list[Split]:
    """The latest fifth as the test, once, if ``by_time`` and there are times; else a random fifth of all,
    ``seeds`` times.

    A tenth before it, or beside it, is for tuning.

    Raises:
        InputError: fewer than one seed; nobody is left to tune on or to test.
    """
    if seeds < 1:
        raise InputError(f"seeds={seeds!r}: expected at least 1")
    part = _timed_split(data) if by_time and data.timestamp is not None else None
    if part is not None:
        return [part]
    parts = [splits.random_split(data, 0.2, 0.1, seed, per_user=False) for seed in range(seeds)]
    if not all(_usable(part) for part in parts):
        raise InputError(
            f"{data.name}: {data.n_users} users, {data.n_interactions} interactions; "
            "expected users with an interaction to learn from, one to tune on and one to find"
        )
    return parts


def _timed_split(data: Dataset) -> Split | None:
    """The latest fifth of all, unless it leaves fewer than ``MIN_TEST_USERS`` and each user's latest fifth
    twice as many; None where neither leaves users to tune on and to test.
    """
    found = []
    for split in (splits.temporal_split, splits.last_of_each_user):
        try:
            found.append(split(data, 0.2, 0.1))
        except InputError:  # all at one moment: there is no earlier part
            continue
    usable = [part for part in found if _usable(part)]
    if len(usable) < 2:
        return usable[0] if usable else None
    latest, of_each = usable
    n_users = count_test_users(latest)
    enough = n_users >= MIN_TEST_USERS or count_test_users(of_each) < 2 * n_users
    return latest if enough else of_each


def _usable(split: Split) -> bool:
    """Whether it leaves users to tune on and users to test."""
    return study.known_users(split.validation, split.train).nnz > 0 and count_test_users(split) > 0


def count_test_users(split: Split) -> int:
    """How many users have a test interaction and a history."""
    held = study.known_users(split.test, split.with_validation().train)
    return int((np.diff(held.indptr) > 0).sum())


def cold_splits(data: Dataset, seeds: int) -> list[tuple[int, Split]]:
    """Of ``seeds`` random fifths of the items, made cold, those that can be tuned and tested, each with its
    seed.
    """
    parts = []
    for seed in range(seeds if data.n_items > 4 else 0):
        part = splits.cold_item_split(data, 0.2, seed)
        train, validation, _ = study.cold_validation(part, seed=seed)
        if study.known_users(validation, train).nnz and study.known_users(part.test, part.train).nnz:
            parts.append((seed, part))
    return parts


# ---------------------------------------------------------------- tables


def table(results: Mapping[str, Result]) -> pd.DataFrame:
    """One row per method, highest NDCG first: what it reads, the validation part's NDCG, and metrics of the
    test. Methods whose NDCG is the same to three digits keep the order of ``results``.
    """
    import pandas as pd

    columns = ["reads", "NDCG, validation", "NDCG", "recall", "hit rate"]
    rows = {}
    for name, result in results.items():
        mean = result.test.mean()
        rows[name] = [result.kind, result.validation, mean["ndcg"], mean["recall"], mean["hit_rate"]]
    found = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
    order = found["NDCG"].round(3).sort_values(ascending=False, kind="stable").index
    return found.loc[order]


def slices(compared: Compared, names: Sequence[str]) -> pd.DataFrame:
    """NDCG of these warm methods by how many training interactions the test's items had: a row per slice of
    the items.

    All items compete in every row; a row asks whether the items of its slice were found. Columns: items,
    test users, and each name.
    """
    import pandas as pd

    split = compared.split
    counts = np.asarray(split.train.sum(axis=0)).ravel()
    rows = {}
    for label, mask in evaluation.by_count(counts).items():
        held = held_with(split, mask)
        n_users = np.count_nonzero(np.diff(held.indptr))
        if n_users:
            row = {"items": int(mask.sum()), "test users": n_users}
            rows[label] = row | {n: float(last_ndcg(compared.warm[n], held).mean()) for n in names}
    return pd.DataFrame(rows).T.astype({"items": int, "test users": int})


def slice_tests(
    compared: Compared, text: str, filtering: str, min_users: int
) -> tuple[dict[str, tuple[Comparison, float]], list[str]]:
    """For every slice of ``slices`` the paired difference of two warm methods over its users, ``text`` less
    ``filtering``, with the p of all slices corrected by Holm; and the slices with fewer than ``min_users``.
    """
    if text not in compared.warm:
        return {}, []
    split, found, few = compared.split, {}, []
    for label, mask in evaluation.by_count(np.asarray(split.train.sum(axis=0)).ravel()).items():
        held = held_with(split, mask)
        users = np.flatnonzero(np.diff(held.indptr))
        if len(users) < min_users:
            few += [label] if len(users) else []
            continue
        one, other = (
            Evaluation.without_lists(1, users, {"ndcg": last_ndcg(compared.warm[name], held)})
            for name in (text, filtering)
        )
        found[label] = evaluation.compare(one, other)
    corrected = evaluation.holm([c.p_value for c in found.values()])
    return {n: (c, float(p)) for (n, c), p in zip(found.items(), corrected, strict=True)}, few


def held_with(split: Split, items: np.ndarray) -> sp.csr_matrix:
    """The test interactions with these ``items`` (bool ``[n_items]``) of users who have a history."""
    return study.known_users(evaluation.restrict(split.test, items), split.train)


def last_ndcg(result: Result, held: sp.csr_matrix) -> np.ndarray:
    """NDCG of the last split's lists for every user of whom ``held`` names an item to be found."""
    assert result.last is not None
    users = np.flatnonzero(np.diff(held.indptr))
    lists = result.last.ids[np.searchsorted(result.last.users, users)]
    return metrics.all_metrics(lists, held[users])["ndcg"]


def cold_share(split: Split) -> float:
    """Fraction of the test's interactions that are with items which training never saw."""
    cold = np.asarray(split.train.sum(axis=0)).ravel() == 0
    return float(evaluation.restrict(split.test, cold).nnz / max(1, split.test.nnz))
