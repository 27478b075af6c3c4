"""For whom do the methods rank well: personalization, history length, mainstream taste, age and gender, and
several interests per user.

*Personalization* of a method is what its lists lose when each user gets the scores of another user's history
(drawn at random, the user's own items masked as always): a list that fits everybody loses nothing.
*Mainstream* of a user is the mean share of training users who chose the items of the history.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.sparse as sp

from recsys_lib import evaluation, recommenders
from recsys_lib.data.datasets import Dataset
from recsys_lib.evaluation import Evaluation, splits, tuning
from recsys_lib.evaluation.splits import Split
from recsys_lib.evaluation.tuning import Method
from recsys_lib.experiments.catalogues import gains_by_group, protocol
from recsys_lib.experiments.study import search_spaces as spaces
from recsys_lib.experiments.study.item_texts import encode, whitened

TRIALS, K, RESAMPLES = 5, 10, 2000
INTERESTS = (1, 2, 3, 4)
AGES = {"under 25": (0, 25), "25 to 34": (25, 35), "35 to 49": (35, 50), "50 and over": (50, 200)}


class Others:
    """A fitted recommender that scores every user by another user's history."""

    def __init__(self, model: Any, users: np.ndarray, seed: int = 0):
        self.model = model
        self.other = np.arange(int(users.max()) + 1)
        # A cycle through the users in random order: nobody keeps their own history.
        order = np.random.default_rng(seed).permutation(users)
        self.other[order] = np.roll(order, 1)

    def fit(self, train: sp.csr_matrix) -> Others:
        """Nothing: the model is fitted."""
        return self

    def scores(self, users: np.ndarray) -> np.ndarray:
        """``[len(users), n_items]``."""
        return self.model.scores(self.other[np.asarray(users)])


def measure(name: str) -> dict[str, Any]:
    """Everything of the module's docstring for a catalogue of the study, split at random 80/20."""
    data = protocol.catalogue(name)
    split = splits.random_split(data, 0.2, 0.1, 0, per_user=False)
    raw = encode(data, "minilm", data.item_texts(protocol.text_columns(data)))
    task = tuning.warm_task(split)
    models = tuning.compare_methods(_methods(whitened(raw, task.train)), task, TRIALS, k=K)
    found = {name: outcome.test for name, outcome in models.items()}
    groups = groups_of(data, split)
    others = {f"{name}, another's": swapped(o.model, task, found[name]) for name, o in models.items()}
    every_user = gains_by_group.kept(found | others, groups)
    return {
        "ndcg": {name: result.mean()["ndcg"] for name, result in found.items()},
        "users": len(found["EASE"].users),
        "personal": {name: personal(found[name], others[f"{name}, another's"]) for name in models},
        "groups": {kind: by_group(found, own) for kind, own in groups.items()},
        "gaps": {kind: gaps(found, own) for kind, own in groups.items()},
        "every user": every_user,
        "gains": gains_by_group.tested(every_user["values"], every_user["group"]),
        "text and loss": gains_by_group.text_and_loss(every_user["values"]),
        "interests": interests(whitened(raw, task.whole), task),
    }


def _methods(vectors: np.ndarray) -> dict[str, Method]:
    ease = Method(recommenders.EASE, spaces.EASE_SPACE)
    return {
        "popularity": Method(recommenders.Popularity),
        "EASE": ease,
        "EASE + MiniLM": spaces.text_prior(vectors, ease),
        "MiniLM": Method(lambda: recommenders.TextProfile(vectors)),
    }


def swapped(model: Any, task: tuning.Task, own: Evaluation) -> Evaluation:
    """How a fitted method ranks for users who get the scores of another's history."""
    return evaluation.evaluate(Others(model, own.users), task.whole, task.test, K)


def personal(own: Evaluation, swapped: Evaluation) -> dict[str, float]:
    """NDCG with the user's own history, with another's, and the difference with its 95% interval."""
    test = evaluation.compare(own, swapped)
    return {
        "own": own.mean()["ndcg"],
        "another's": swapped.mean()["ndcg"],
        "difference": test.difference,
        "low": test.low,
        "high": test.high,
    }


# ---------------------------------------------------------------- groups of users


def groups_of(data: Dataset, split: Split) -> dict[str, dict[str, np.ndarray]]:
    """Groups of users (bool ``[n_users]``) by quarter of history length and of mainstream taste, and by age
    and gender where the data set records them.
    """
    train = split.with_validation().train
    lengths = np.diff(train.indptr)
    found = {
        "history length": quarters(lengths.astype(float), lengths > 0, "{:.0f} to {:.0f} items"),
        "mainstream": quarters(mainstream(train), lengths > 0, "{:.0%} to {:.0%}"),
    }
    if "gender" in data.users:
        gender = data.users["gender"].astype(str)
        found["gender"] = {value: (gender == value).to_numpy() for value in sorted(gender.unique())}
    if "age" in data.users:
        age = data.users["age"].astype("Float64").to_numpy(dtype=float, na_value=np.nan)
        found["age"] = {label: (age >= low) & (age < high) for label, (low, high) in AGES.items()}
    return found


def mainstream(train: sp.csr_matrix) -> np.ndarray:
    """Mean share of users that chose the items of a history, ``[n_users]``; 0 without a history.

    >>> mainstream(sp.csr_matrix([[1.0, 1.0], [1.0, 0], [0, 0]])).round(2).tolist()
    [0.5, 0.67, 0.0]
    """
    share = np.asarray((train != 0).sum(axis=0)).ravel() / train.shape[0]
    lengths = np.diff(train.indptr)
    return np.asarray((train != 0) @ share).ravel() / np.maximum(lengths, 1)


def quarters(values: np.ndarray, known: np.ndarray, label: str) -> dict[str, np.ndarray]:
    """Quarters of the known users by a value, lowest first; ``label`` is formatted with a quarter's ends.

    Users of equal value share a quarter, so quarters may differ in size or be fewer than four.
    """
    edges = np.quantile(values[known], [0, 0.25, 0.5, 0.75, 1])
    place = np.searchsorted(edges[1:-1], values, side="left")
    found = {}
    for quarter in range(4):
        mask = known & (place == quarter)
        if mask.any():
            found[label.format(values[mask].min(), values[mask].max())] = mask
    return found


def by_group(found: Mapping[str, Evaluation], groups: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Users of each group and every method's NDCG with its 95% bootstrap interval over them."""
    rows: dict[str, Any] = {}
    for label, mask in groups.items():
        if not mask[next(iter(found.values())).users].any():
            continue
        row: dict[str, Any] = {}
        for name, result in found.items():
            values = result.of_users(mask).per_user["ndcg"]
            low, high = np.percentile(evaluation.resampled_means(values, RESAMPLES), [2.5, 97.5])
            row[name] = {"ndcg": float(values.mean()), "low": float(low), "high": float(high)}
            row["users"] = len(values)
        rows[label] = row
    return rows


def gaps(found: Mapping[str, Evaluation], groups: Mapping[str, np.ndarray]) -> dict[str, dict[str, Any]]:
    """For every method the last group's NDCG less the first's, and that relative to popularity's own gap.

    Groups are different people, so each is resampled by itself; p is that of a two-sided Mann-Whitney test,
    Holm-corrected over the methods.
    """
    from scipy import stats

    first, *_, last = groups
    rows: dict[str, dict[str, Any]] = {}
    for name, result in found.items():
        a, b = (result.of_users(groups[label]).per_user["ndcg"] for label in (last, first))
        drawn = evaluation.resampled_means(a, RESAMPLES, 0) - evaluation.resampled_means(b, RESAMPLES, 1)
        low, high = np.percentile(drawn, [2.5, 97.5])
        p = float(stats.mannwhitneyu(a, b).pvalue)
        rows[name] = {
            "between": f"{last} less {first}",
            "difference": float(a.mean() - b.mean()),
            "low": float(low),
            "high": float(high),
            "relative": float(a.mean() / b.mean() - 1) if b.mean() > 0 else None,
            "p": p,
        }
    for name, adjusted in zip(rows, evaluation.holm([row["p"] for row in rows.values()]), strict=True):
        rows[name]["Holm p"] = float(adjusted)
    return rows


# ---------------------------------------------------------------- several interests


def interests(vectors: np.ndarray, task: tuning.Task) -> dict[str, dict[str, float]]:
    """NDCG of text profiles of 1 to 4 vectors a user and of all items apart, each less one vector, paired."""
    fitted: dict[str, Any] = {
        str(count): recommenders.Interests(vectors, count).fit(task.whole) for count in INTERESTS
    }
    fitted["every item"] = recommenders.MaxSimilarity(vectors).fit(task.whole)
    found = {name: evaluation.evaluate(model, task.whole, task.test, K) for name, model in fitted.items()}
    one, rows = found["1"], {}
    for name, result in found.items():
        test = evaluation.compare(result, one)
        rows[name] = {
            "ndcg": result.mean()["ndcg"],
            "recall": result.mean()["recall"],
            "difference": test.difference,
            "low": test.low,
            "high": test.high,
            "p": test.p_value,
        }
    return rows
