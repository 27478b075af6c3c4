"""The cold-start study: strictly cold items, items with few interactions, and cold items in the whole
catalogue.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from recsys_lib import evaluation, recommenders
from recsys_lib.data.datasets import Dataset
from recsys_lib.evaluation import Evaluation, metrics, splits
from recsys_lib.evaluation.splits import Split
from recsys_lib.evaluation.tuning import Method, Outcome, cold_task, compare_methods, known_users, warm_task
from recsys_lib.experiments.study.search_spaces import EASE_SPACE, ITEM_KNN_SPACE, cold_methods, knn_with_text
from recsys_lib.experiments.study.study_tables import bootstrap_record

Vectors = Mapping[str, np.ndarray]
TRUE_POPULARITY = "true popularity (not knowable)"
# The method that reads text only in the curves over interactions.
TEXT_MAP = "map: models and metadata"
# The places of a list that may be reserved for cold items.
RESERVED = (0, 1, 2, 3)


def strictly_cold(
    parts: Sequence[Split], raw: Vectors, encoder: str, trials: int, k: int = 10
) -> dict[str, list[Outcome]]:
    """Every method for cold items, tuned and evaluated on each of the ``parts``; the outcomes hold no models.

    Beside them two references: EASE and ItemKNN, which score all cold items equal, and the true popularity of
    the cold items.
    """
    outcomes: dict[str, list[Outcome]] = {}
    for seed, part in enumerate(parts):
        task = cold_task(part, seed)
        methods = cold_methods(raw, part.train, encoder) | {
            "EASE": Method(recommenders.EASE),
            "ItemKNN": Method(recommenders.ItemKNN),
        }
        for name, done in compare_methods(methods, task, trials, seed, k, keep_models=False).items():
            outcomes.setdefault(name, []).append(done)
        whole = recommenders.Popularity().fit(part.train + part.test)
        known = evaluation.evaluate(whole, part.train, task.test, k, part.cold_items)
        outcomes.setdefault(TRUE_POPULARITY, []).append(Outcome({}, 0.0, None, known))
    return outcomes


def best_map(outcomes: Mapping[str, Sequence[Outcome]]) -> str:
    """The linear map into EASE's columns of the highest validation value, averaged over the splits."""
    maps = [name for name in outcomes if name.startswith("EASE map")]
    return max(maps, key=lambda name: round(float(np.mean([o.validation for o in outcomes[name]])), 6))


# ---------------------------------------------------------------- few interactions


def few_interactions(
    items: Dataset,
    raw: Vectors,
    encoder: str,
    kept: Sequence[int],
    at_least: int,
    trials: int,
    seeds: int = 1,
    k: int = 10,
) -> dict[tuple[str, int], list[Outcome]]:
    """Every method at every number of ``kept`` interactions, tuned at each on warm items with as few; without
    models.

    The drawn items, which have ``at_least`` interactions in all, are ranked among themselves.
    """
    curves: dict[tuple[str, int], list[Outcome]] = {}
    for seed in range(seeds):
        for n in kept:
            part = splits.cold_item_split(items, 0.2, seed, n, at_least)
            task = cold_task(part, seed, n, at_least)
            methods = _few_methods(raw, part.train, encoder)
            for name, done in compare_methods(methods, task, trials, seed, k, keep_models=False).items():
                curves.setdefault((name, n), []).append(done)
    return curves


def _few_methods(raw: Vectors, train: sp.csr_matrix, encoder: str) -> dict[str, Method]:
    cold = cold_methods(raw, train, encoder)
    with_text = cold["EASE + text: all models"]
    joined = with_text.make().item_vectors  # type: ignore[attr-defined]
    knn = Method(recommenders.ItemKNN, ITEM_KNN_SPACE)
    return {
        "EASE": Method(recommenders.EASE, EASE_SPACE),
        "ItemKNN": knn,
        "EASE + text": with_text,
        "ItemKNN + text": knn_with_text(joined, knn),
        TEXT_MAP: cold["EASE map: all models and metadata"],
    }


# ---------------------------------------------------------------- warm and cold items in one list


@dataclass(frozen=True, eq=False)
class Arrival:
    """One system on one split: its lists' quality, and what cold items get of the places and of the hits.

    cold_fraction: of the places. found, to_find: test interactions with cold items, in the lists and in all.
    """

    evaluation: Evaluation
    cold_fraction: float
    found: int
    to_find: int


def arrivals(
    split: Split, raw: Vectors, encoder: str, text_map: str, parameters: Mapping[str, Any], trials: int,
    seed: int = 0, k: int = 10, hidden: float = 0.0,
) -> dict[str, Arrival]:  # fmt: skip
    """EASE alone, and one system for warm and cold items with places reserved for cold ones, tested on all
    items.

    ``text_map`` with its tuned ``parameters`` ranks the cold items, EASE, tuned here, the warm ones.
    ``hidden`` takes the training interactions of a random fraction of the items away; with 0 the cold items
    are those that the split leaves cold.
    """
    task = warm_task(split)
    tuned = compare_methods({"EASE": Method(recommenders.EASE, EASE_SPACE)}, task, trials, seed, k)["EASE"]
    train = task.whole
    if hidden:
        drawn = np.random.default_rng(seed).random(train.shape[1]) < hidden
        train = evaluation.restrict(train, ~drawn)
    test = known_users(task.test, train)
    warm = recommenders.EASE(**tuned.parameters)
    text = cold_methods(raw, train, encoder)[text_map].make(**parameters)
    joint = recommenders.WarmAndCold(warm, text).fit(train)  # type: ignore[arg-type]
    alone = evaluation.evaluate(warm, train, test, k)
    ranked = evaluation.evaluate(joint, train, test, k)
    cold = np.flatnonzero(joint.is_cold)
    first = evaluation.recommend(joint, train, ranked.users, max(RESERVED), cold) if len(cold) else None
    found = {"EASE": _arrival(alone, joint.is_cold, test)}
    for places in RESERVED if first is not None else (0,):
        lists = (
            ranked.ids if first is None else recommenders.reserve(ranked.ids, first, joint.is_cold, places)
        )
        name = f"warm and cold, {places} reserved" if places else "warm and cold"
        found[name] = _arrival(evaluation.evaluate_lists(lists, ranked.users, test), joint.is_cold, test)
    return found


def _arrival(found: Evaluation, is_cold: np.ndarray, test: sp.csr_matrix) -> Arrival:
    relevant, cold_items = test[found.users], is_cold
    hits = metrics.hits(found.ids, relevant) & cold_items[found.ids]
    to_find = evaluation.restrict(relevant, cold_items).nnz
    return Arrival(found, float((cold_items[found.ids] & (found.ids >= 0)).mean()), int(hits.sum()), to_find)


def arrival_table(arrived: Sequence[Mapping[str, Arrival]]) -> pd.DataFrame:
    """A row for each system: NDCG, its change relative to EASE alone, and what cold items get, over all
    splits.
    """
    if not arrived:
        return pd.DataFrame(columns=["ndcg", "change", "low", "high", "cold places", "cold recall"])
    rows = {}
    base = evaluation.average([a["EASE"].evaluation for a in arrived])
    for name in arrived[0]:
        done = [a[name] for a in arrived]
        mean = evaluation.average([a.evaluation for a in done])
        change = evaluation.compare(mean, base)
        whole = base.mean()["ndcg"]
        rows[name] = {
            "ndcg": mean.mean()["ndcg"],
            "change": change.difference / whole,
            "low": change.low / whole,
            "high": change.high / whole,
            "cold places": float(np.mean([a.cold_fraction for a in done])),
            "cold found": sum(a.found for a in done),
            "cold to find": sum(a.to_find for a in done),
            "cold recall": sum(a.found for a in done) / max(1, sum(a.to_find for a in done)),
        }
    return pd.DataFrame(rows).T


def arrival_bootstrap(arrived: Sequence[Mapping[str, Arrival]]) -> dict[str, list[float]]:
    """``bootstrap_record`` of every system over all splits."""
    return bootstrap_record({n: evaluation.average([a[n].evaluation for a in arrived]) for n in arrived[0]})


def cold_questions(encoder: str) -> dict[str, tuple[str, str]]:
    """Pairs of methods for cold items that differ in one thing each, as ``answers`` takes them."""
    return {
        f"{encoder} against TF-IDF, mapped": (f"EASE map: {encoder}", "EASE map: tf-idf"),
        "all models against metadata": ("EASE map: all models", "EASE map: metadata"),
        "models or TF-IDF, with metadata": (
            "EASE map: all models and metadata",
            "EASE map: tf-idf and metadata",
        ),
        "EASE's columns against factors": (f"EASE map: {encoder}", f"ridge map: {encoder}"),
        "kernel against linear map": ("EASE kernel map: all models", "EASE map: all models"),
        "linear map against centred cosine": (f"EASE map: {encoder}", f"cosine: {encoder}, centred"),
        "centred against raw cosine": (f"cosine: {encoder}, centred", f"cosine: {encoder}, raw"),
    }


# ---------------------------------------------------------------- how often items are cold


def cold_interactions(items: Dataset) -> dict[str, float]:
    """Which fraction of interactions concerns cold items or users: the last fifth by time; without times none
    is known.
    """
    if items.timestamp is None:
        return {}
    moment = splits.temporal_split(items, 0.2)
    seen_items, seen_users = (np.asarray((moment.train != 0).sum(axis=a)).ravel() > 0 for a in (0, 1))
    coo = moment.test.tocoo()
    cold_item, cold_user = ~seen_items[coo.col], ~seen_users[coo.row]
    return {
        "with cold items": float(cold_item.mean()),
        "by cold users": float(cold_user.mean()),
        "by warm users with cold items": float((cold_item & ~cold_user).mean()),
    }
