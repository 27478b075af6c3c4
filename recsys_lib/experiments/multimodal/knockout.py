"""With and without each kind, and with it shuffled: what a kind adds for cold items and for warm ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp

from recsys_lib import evaluation, recommenders
from recsys_lib.evaluation import Evaluation, coordinate_search, splits, tuning
from recsys_lib.evaluation.tuning import Method, Task
from recsys_lib.experiments.multimodal.blocks import Items
from recsys_lib.experiments.study.search_spaces import EASE_SPACE, text_prior
from recsys_lib.vectors import fusion

Blocks = Mapping[str, np.ndarray]
K = 10
DISTRIBUTED, ALL_DISTRIBUTED = "graph as distributed", "all, graph as distributed"
UNAWARDED, ALL_UNAWARDED = "graph without awards", "all, graph without awards"
# The end of the name of a null: the same vectors, each at another item.
SHUFFLED = "shuffled"
# Blocks that take part only in conditions of their own.
CONTROLS = ("title", "distributed", "unawarded")
SHARES = [0.0, 0.25, 0.5, 1.0, 2.0, 4.0]
# The start is where the maps of notebook 05 ended.
MAP_SPACE: dict[str, Sequence[Any]] = {
    "width": [0.35, 0.5, 0.7, 1.0, 1.4],
    "regularization": [0.1, 0.3, 1.0, 3.0],
}
LAST_SPACE: dict[str, Sequence[Any]] = {"ease_regularization": [100.0, 400.0, 1600.0]}
START = {"width": 0.7, "regularization": 1.0, "ease_regularization": 400.0}


def conditions(kinds: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Which kinds take part in each condition; one that ends in ``*`` is shuffled.

    Every kind alone, all of them, all without each, all with each shuffled. ``distributed`` is the graph by
    the links as distributed, ``unawarded`` the graph without awards: each alone, and in the graph's place.
    ``title`` is a part of the text and takes part only beside the image: alone, with it, and with it
    shuffled. So does the price beside the text: what it adds to the text alone is a question of its own.

    >>> conditions(["text", "graph"])["all, graph shuffled"]
    ('text', 'graph*')
    """
    whole = tuple(kind for kind in kinds if kind not in CONTROLS)
    found: dict[str, tuple[str, ...]] = {kind: (kind,) for kind in whole}
    found["all"] = whole
    for kind in whole:
        found[f"all without {kind}"] = tuple(k for k in whole if k != kind)
        found[f"all, {kind} shuffled"] = tuple(f"{k}*" if k == kind else k for k in whole)
    if "distributed" in kinds:
        found[DISTRIBUTED] = ("distributed",)
        found[ALL_DISTRIBUTED] = tuple("distributed" if k == "graph" else k for k in whole)
    if "unawarded" in kinds:
        found[UNAWARDED] = ("unawarded",)
        found[ALL_UNAWARDED] = tuple("unawarded" if k == "graph" else k for k in whole)
    if "title" in kinds:
        found["title"] = ("title",)
        found["title and image"] = ("title", "image")
        found["title, image shuffled"] = ("title", "image*")
    if "price" in kinds and "text" in kinds:
        found["text and price"] = ("text", "price")
        found["text, price shuffled"] = ("text", "price*")
    return found


def questions(names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Pairs of conditions that differ in one kind: does it add, and is it its content that adds?"""
    asked = {}
    for name in names:
        if name.startswith("all without "):
            kind = name.removeprefix("all without ")
            asked[f"{kind} added to the rest"] = ("all", name)
        if name.startswith("all, ") and name.endswith(" shuffled"):
            kind = name.removeprefix("all, ").removesuffix(" shuffled")
            asked[f"{kind} against shuffled"] = ("all", name)
    if ALL_DISTRIBUTED in names:
        asked["graph as distributed, added to the rest"] = (ALL_DISTRIBUTED, "all without graph")
        asked["graph by title against as distributed"] = ("all", ALL_DISTRIBUTED)
    if ALL_UNAWARDED in names:
        asked["graph without awards, added to the rest"] = (ALL_UNAWARDED, "all without graph")
    if "text, price shuffled" in names:
        asked["price added to the text"] = ("text and price", "text")
        asked["price against shuffled, beside the text"] = ("text and price", "text, price shuffled")
    if "title and image" in names:
        asked["image added to the title"] = ("title and image", "title")
        asked["image against shuffled, beside the title"] = ("title and image", "title, image shuffled")
    return asked


def parts_of(blocks: Blocks, names: Sequence[str], seed: int) -> list[np.ndarray]:
    """The blocks of a condition."""
    return [
        fusion.shuffled(blocks[name[:-1]], seed) if name.endswith("*") else blocks[name] for name in names
    ]


# ---------------------------------------------------------------- cold items


def map_value(
    blocks: Sequence[np.ndarray], task: Task, columns: Callable[..., np.ndarray], join: str = "product"
) -> Callable[[dict[str, Any]], float]:
    """NDCG on the validation part of a joined map with the parameters of a point."""

    def value(point: dict[str, Any]) -> float:
        if not any(point[f"share {i}"] for i in range(len(blocks))):
            return 0.0
        model = joined_map(blocks, point, columns, join).fit(task.train)
        return evaluation.evaluate(model, task.train, task.validation, K, task.candidates).mean()["ndcg"]

    return value


def joined_map(
    blocks: Sequence[np.ndarray], point: Mapping[str, Any], columns: Any, join: str = "product"
) -> recommenders.JoinedKernelMap:
    """The map of a point: ``width``, ``regularization``, ``ease_regularization`` and a share for each
    block.
    """
    shares = [point[f"share {i}"] for i in range(len(blocks))]
    options = {name: point[name] for name in START}
    return recommenders.JoinedKernelMap(blocks, shares, join, **options, columns=columns)


def map_space(n_blocks: int) -> tuple[dict[str, Sequence[Any]], dict[str, Any]]:
    """The space of a joined map and its start; one block has no share to tune."""
    shares = {f"share {i}": SHARES if n_blocks > 1 else [1.0] for i in range(n_blocks)}
    return MAP_SPACE | shares | LAST_SPACE, START | dict.fromkeys(shares, 1.0)


def shared_columns() -> Callable[[sp.csr_matrix, float], np.ndarray]:
    """EASE's weights, fitted once for each training matrix and λ."""
    known: dict[tuple[int, float], np.ndarray] = {}

    def columns(train: sp.csr_matrix, regularization: float) -> np.ndarray:
        key = (train.nnz, regularization)
        if key not in known:
            known[key] = np.asarray(recommenders.EASE(regularization).fit(train).weights)
        return known[key]

    return columns


def cold_split(items: Items, seed: int) -> tuple[Task, dict[str, np.ndarray]]:
    """One draw of cold items, as in notebook 05, and the blocks ready for its maps."""
    part = splits.cold_item_split(items.data, 0.2, seed)
    return tuning.cold_task(part, seed), items.ready(part.train)


def cold(
    items: Items,
    named: Mapping[str, tuple[str, ...]],
    seed: int,
    budget: int,
    progress: Callable[[str], None] = print,
) -> dict[str, tuple[Evaluation, dict[str, Any]]]:
    """Every condition tuned and evaluated on one draw of cold items: its evaluation and its parameters."""
    task, blocks = cold_split(items, seed)
    columns, found = shared_columns(), {}
    # Of two kinds, all without one is the other alone: what takes the same kinds is done once.
    done: dict[tuple[str, ...], tuple[Evaluation, dict[str, Any]]] = {}
    for name, kinds in named.items():
        if kinds in done:
            found[name] = done[kinds]
            continue
        parts = parts_of(blocks, kinds, seed)
        space, start = map_space(len(parts))
        best = coordinate_search.search(map_value(parts, task, columns), space, start, budget)[0]
        model = joined_map(parts, best.parameters, columns).fit(task.whole)
        result = evaluation.evaluate(model, task.whole, task.test, K, task.test_candidates)
        found[name] = done[kinds] = (result, _shares_by_kind(best.parameters, kinds))
        progress(f"draw {seed}, {name}: {result.mean()['ndcg']:.4f}")
    return found


def _shares_by_kind(point: Mapping[str, Any], kinds: Sequence[str]) -> dict[str, Any]:
    own = {f"share of {kind}": point[f"share {i}"] for i, kind in enumerate(kinds)}
    return {name: point[name] for name in START} | own


# ---------------------------------------------------------------- warm items


def warm(items: Items, seed: int, trials: int) -> dict[str, Evaluation]:
    """EASE, and EASE regularized towards the similarity of each kind and of all, on a random split (80/20, a
    tenth to tune on); every one of them also with its null: "and text shuffled" moves the text's vectors
    among the items that have a text, "and all shuffled" moves the joined rows among all items.
    """
    part = splits.random_split(items.data, 0.2, 0.1, seed, per_user=False)
    blocks = {n: b for n, b in items.ready(part.train).items() if n not in CONTROLS}
    ease = Method(recommenders.EASE, EASE_SPACE)
    order = np.random.default_rng(seed).permutation(items.data.n_items)
    joined = fusion.joined(list(blocks.values()))
    nulls = {f"{name} {SHUFFLED}": fusion.shuffled(block, seed) for name, block in blocks.items()}
    sources = {**blocks, "all": joined, **nulls, f"all {SHUFFLED}": joined[order]}
    methods = {"EASE": ease} | {f"EASE and {name}": text_prior(v, ease) for name, v in sources.items()}
    done = tuning.compare_methods(methods, tuning.warm_task(part), trials, seed, K, keep_models=False)
    return {name: outcome.test for name, outcome in done.items()}


def warm_questions(names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Does each kind, and each null, add to EASE, and does the kind rank better than its null?"""
    kinds = [name.removeprefix("EASE and ") for name in names if name != "EASE"]
    asked = {f"{kind} added to EASE": (f"EASE and {kind}", "EASE") for kind in kinds}
    for kind in kinds:
        null = f"{kind} {SHUFFLED}"
        if null in kinds:
            asked[f"{kind} against shuffled"] = (f"EASE and {kind}", f"EASE and {null}")
    return asked
