"""Methods to join kinds of vectors, tuned with equal budgets on the same draws of cold items."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from recsys_lib import evaluation, recommenders
from recsys_lib.evaluation import Evaluation, coordinate_search, tuning
from recsys_lib.evaluation.tuning import Method, Task
from recsys_lib.experiments.multimodal.blocks import Items
from recsys_lib.experiments.multimodal.knockout import (
    CONTROLS,
    MAP_SPACE,
    START,
    K,
    cold_split,
    joined_map,
    map_space,
    map_value,
    shared_columns,
)
from recsys_lib.experiments.study.search_spaces import BLEND_SPACE, Space
from recsys_lib.recommenders import EASEMap, GatedMLP, ScoreBlend
from recsys_lib.vectors import fusion, geometry

FIRST = "text alone"
DIMENSIONS = [32, 64, 128, 256]
GATED_SPACE: Space = {"temperature": [0.1, 0.15, 0.2], "learning_rate": [1e-3, 3e-3], "epochs": [6, 12]}


def compare(items: Items, seed: int, budget: int) -> dict[str, tuple[Evaluation, dict[str, Any]]]:
    """Every method to join text, graph and metadata (or what else ``items`` has) on one draw of cold items.

    The text alone; blocks side by side, whitened or centred, with tuned shares; kernels multiplied or summed
    (centred blocks, tuned shares: the product is what blocks side by side give under one kernel); canonical
    correlation; scores of one map for each block blended; a gated network.
    """
    task, blocks = cold_split(items, seed)
    parts = [block for name, block in blocks.items() if name not in CONTROLS]
    known = np.asarray(task.whole.sum(axis=0)).ravel() > 0
    white = [fusion.mapped(block, known, geometry.whiten) for block in parts]
    columns = shared_columns()
    found = {
        FIRST: _maps([blocks["text"]], task, columns, budget),
        "centred blocks, product of kernels": _maps(parts, task, columns, budget),
        "whitened blocks, product of kernels": _maps(white, task, columns, budget),
        "centred blocks, sum of kernels": _maps(parts, task, columns, budget, "sum"),
        "canonical correlation": _canonical(parts, task, known, columns, budget),
        "scores blended": _blended(parts, task, columns, budget),
        "gated network": _tuned(
            Method(lambda **p: GatedMLP(parts, hidden=128, progress=False, **p), GATED_SPACE),
            task,
            budget,
            seed,
        ),
    }
    return found


def _finished(model: Any, task: Task, point: Mapping[str, Any]) -> tuple[Evaluation, dict[str, Any]]:
    model.fit(task.whole)
    return evaluation.evaluate(model, task.whole, task.test, K, task.test_candidates), dict(point)


def _maps(parts, task: Task, columns, budget: int, join: str = "product"):
    space, start = map_space(len(parts))
    best = coordinate_search.search(map_value(parts, task, columns, join), space, start, budget)[0].parameters
    return _finished(joined_map(parts, best, columns, join), task, best)


def _canonical(parts, task: Task, known: np.ndarray, columns, budget: int):
    """One map over the common space of the blocks; its dimensions and ridge are tuned with the map."""
    space: Space = {"dimension": DIMENSIONS, "ridge": [0.1, 1.0, 10.0], **MAP_SPACE}
    start = {"dimension": DIMENSIONS[len(DIMENSIONS) // 2], "ridge": 1.0, "width": 0.7, "regularization": 1.0}

    def model(point: dict[str, Any], known: np.ndarray) -> EASEMap:
        fitted = fusion.canonical(parts, known, point["dimension"], point["ridge"])
        map_options = {name: point[name] for name in ("width", "regularization")}
        ease = START["ease_regularization"]
        return EASEMap(fitted.apply(parts), ease_regularization=ease, columns=columns, **map_options)

    def value(point: dict[str, Any]) -> float:
        warm = np.asarray(task.train.sum(axis=0)).ravel() > 0
        fitted = model(point, warm).fit(task.train)
        return evaluation.evaluate(fitted, task.train, task.validation, K, task.candidates).mean()["ndcg"]

    best = coordinate_search.search(value, space, start, budget)[0].parameters
    return _finished(model(best, known), task, best)


def _blended(parts, task: Task, columns, budget: int):
    """A map for each block at the start of the search; the first has weight 1, the others theirs."""
    weights = {f"weight {i}": [0.0, *BLEND_SPACE["weight"], 1.6] for i in range(1, len(parts))}
    space: Space = {**MAP_SPACE, **weights}
    start = {**START, **dict.fromkeys(weights, 0.4)}

    def model(point: dict[str, Any]) -> ScoreBlend:
        maps = [
            EASEMap(
                part, point["regularization"], START["ease_regularization"], point["width"], columns=columns
            )
            for part in parts
        ]
        return ScoreBlend(maps, [1.0, *(point[name] for name in weights)])

    def value(point: dict[str, Any]) -> float:
        fitted = model(point).fit(task.train)
        return evaluation.evaluate(fitted, task.train, task.validation, K, task.candidates).mean()["ndcg"]

    best = coordinate_search.search(value, space, start, budget)[0].parameters
    return _finished(model(best), task, best)


def _tuned(method: Method, task: Task, budget: int, seed: int):
    tried = tuning.tune(method, task.train, task.validation, budget, seed, k=K, candidates=task.candidates)
    best: recommenders.Recommender = method.make(**tried[0].parameters)
    return _finished(best, task, tried[0].parameters)


def questions(names) -> dict[str, tuple[str, str]]:
    """Is each method better than the text alone?"""
    return {f"{name} against {FIRST}": (name, FIRST) for name in names if name != FIRST}
