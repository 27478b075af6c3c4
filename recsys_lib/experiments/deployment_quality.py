"""How well every deployment option ranks, warm and cold items on one split, with bootstrap samples over
users and splits.

A fifth of the items is made cold, and a fifth of the interactions with the others is held out. Each option
is fitted once on what is left. Warm quality: NDCG@10 of the held-out interactions, the warm items ranked;
cold quality: NDCG@10 of the cold items' interactions, the cold items ranked. An option that makes one list
of both has all items ranked in both cases. So the two numbers come from the same users, the same training
data and the same models, and can be weighed against each other. Lists of both kinds are those of EASE alone,
of EASE with the map's columns for the cold items, and of the two calibrated to one scale for each user
(``WarmAndCold``), with and without places reserved for cold items.

EASE is tuned with every column cut to its 20 to 200 largest weights as well, and the maps from text are
measured cut to 200 and whole: the cut forms are what a service holds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from recsys_lib import evaluation
from recsys_lib.core import paths, records
from recsys_lib.core.errors import InputError
from recsys_lib.evaluation import Evaluation, protocols, splits, tuning
from recsys_lib.evaluation.tuning import Method
from recsys_lib.experiments.notebook_record import entry
from recsys_lib.experiments.study import item_texts
from recsys_lib.experiments.study import search_spaces as spaces
from recsys_lib.recommenders import (
    EASE,
    EASEMap,
    ItemKNN,
    Popularity,
    TextProfile,
    WarmAndCold,
    reserve,
)
from recsys_lib.recommenders.ease import pruned, scores_by
from recsys_lib.vectors import geometry

TOPS = (20, 50, 100, 200)
SERVED_TOP = 200
SERVED = f"EASE top {SERVED_TOP}"
# Places of a list of both kinds that are kept for cold items.
RESERVED = (0, 1, 2, 3)
ENCODERS = ("wordllama", "minilm", "e5")
K = 10


@dataclass(frozen=True)
class Parts:
    """Training matrix and what is to be found: interactions with warm items, and with cold ones.

    cold_items: ids of the cold items.
    """

    train: sp.csr_matrix
    warm: sp.csr_matrix
    cold: sp.csr_matrix
    cold_items: np.ndarray

    @property
    def warm_items(self) -> np.ndarray:
        return np.setdiff1d(np.arange(self.train.shape[1]), self.cold_items)


def hold_out(matrix: sp.csr_matrix, fraction: float, seed: int) -> tuple[sp.csr_matrix, sp.csr_matrix]:
    """The matrix without a random ``fraction`` of its entries, and those entries."""
    held = np.random.default_rng(seed).random(matrix.nnz) < fraction
    parts = []
    for chosen in (~held, held):
        part = matrix.copy()
        part.data = part.data * chosen
        part.eliminate_zeros()
        parts.append(part)
    return parts[0], parts[1]


def parts_of(protocol: str, seed: int) -> Parts:
    """The split of one seed."""
    split = splits.cold_item_split(protocols.dataset_of(protocol), 0.2, seed)
    train, warm = hold_out(split.train, 0.2, seed)
    warm, cold = (tuning.known_users(held, train) for held in (warm, split.test))
    return Parts(train, warm, cold, split.cold_items)


def validation_of(parts: Parts, seed: int) -> Parts:
    """The same once more inside of the training part, to tune on: a fifth of its warm items cold, a tenth
    of the rest held out.
    """
    active = np.flatnonzero(np.asarray(parts.train.sum(axis=0)).ravel())
    cold = np.sort(np.random.default_rng(seed + 1).permutation(active)[: round(0.2 * len(active))])
    is_cold = np.isin(np.arange(parts.train.shape[1]), cold)
    train, warm = hold_out(evaluation.restrict(parts.train, ~is_cold), 0.1, seed + 1)
    found = evaluation.restrict(parts.train, is_cold)
    return Parts(train, tuning.known_users(warm, train), tuning.known_users(found, train), cold)


class ItemWeights:
    """A fitted item-item model: whole, or with every column cut to its ``top`` largest weights, which is how
    it is served.
    """

    def __init__(self, weights: np.ndarray, train: sp.csr_matrix, top: int | None = None):
        self.weights = pruned(weights, top)
        self.train = train

    def scores(self, users: Sequence[int] | np.ndarray) -> np.ndarray:
        """``[len(users), n_items]``."""
        return scores_by(self.train[users], self.weights)


def warm_methods(vectors: Mapping[str, np.ndarray], train: sp.csr_matrix) -> dict[str, Method]:
    """Methods tuned on warm items."""
    found = {
        "popularity": Method(Popularity),
        "ItemKNN": Method(ItemKNN, spaces.ITEM_KNN_SPACE),
        "EASE": Method(EASE, spaces.EASE_SPACE),
    }
    for top in TOPS:
        found[f"EASE top {top}"] = Method(lambda t=top, **p: EASE(top=t, **p), spaces.EASE_SPACE)
    for name in ("wordllama", "minilm"):
        whitened = item_texts.whitened(vectors[name], train)
        found[name] = Method(lambda v=whitened: TextProfile(v), {}, "text")
    return found


def map_vectors(vectors: Mapping[str, np.ndarray], train: sp.csr_matrix) -> dict[str, np.ndarray]:
    """What the maps read, by method name; geometry is fitted on items with training interactions."""
    known = np.asarray(train.sum(axis=0)).ravel() > 0
    centred = {
        name: geometry.centre(vectors[name][known]).apply(vectors[name]) for name in ("tfidf", *ENCODERS)
    }
    metadata = item_texts.side_by_side([vectors[name] for name in ("labels", "year") if name in vectors])
    return {
        "TF-IDF and metadata map": item_texts.side_by_side([centred["tfidf"], metadata]),
        "MiniLM map": centred["minilm"],
        "all encoders and metadata map": item_texts.side_by_side(
            [item_texts.side_by_side([centred[name] for name in ENCODERS]), centred["tfidf"], metadata]
        ),
    }


def map_methods(vectors: Mapping[str, np.ndarray], train: sp.csr_matrix) -> dict[str, Method]:
    """Maps from text to EASE's columns, over Gaussian kernels."""
    return {
        name: Method(lambda v=v, **p: EASEMap(v, **p), spaces.EASE_KERNEL_SPACE, "text")
        for name, v in map_vectors(vectors, train).items()
    }


def fitted_weights(model: Any, train: sp.csr_matrix) -> np.ndarray:
    """The dense item-item weights of an EASE or a map fitted on ``train``."""
    return np.asarray(model.fit(train).weights)


def tuned(method: Method, parts: Parts, target: str, trials: int, seed: int) -> dict[str, Any]:
    """The parameters that rank the ``target`` ("warm" or "cold") of the validation part best."""
    candidates = parts.warm_items if target == "warm" else parts.cold_items
    held = getattr(parts, target)
    best, *_ = tuning.tune(method, parts.train, held, trials, seed, k=K, candidates=candidates)
    return best.parameters


def of_split(
    protocol: str, seed: int, vectors: Mapping[str, np.ndarray], trials: int
) -> dict[str, dict[str, Evaluation]]:
    """Every method's evaluation on one split: ``warm`` and ``cold``, each by the method's name."""
    parts = parts_of(protocol, seed)
    inner = validation_of(parts, seed)

    def look(model: Any, target: str, whole: bool = False) -> Evaluation:
        candidates = None if whole else parts.warm_items if target == "warm" else parts.cold_items
        return evaluation.evaluate(model, parts.train, getattr(parts, target), K, candidates)

    warm, cold = {}, {}
    inner_warm = warm_methods(vectors, inner.train)
    for name, method in warm_methods(vectors, parts.train).items():
        found = tuned(inner_warm[name], inner, "warm", trials, seed)
        model = method.make(**found).fit(parts.train)
        warm[name] = look(model, "warm")
        if name == SERVED:
            ease = found
            warm["one list, EASE"], cold["one list, EASE"] = (look(model, t, True) for t in ("warm", "cold"))
        if name in ENCODERS:
            cold[name] = look(model, "cold")
    chance = np.random.default_rng(seed).standard_normal((parts.train.shape[1], 16)).astype(np.float32)
    cold["chance"] = look(TextProfile(chance).fit(parts.train), "cold")
    inner_maps = map_methods(vectors, inner.train)
    for name, method in map_methods(vectors, parts.train).items():
        chosen = tuned(inner_maps[name], inner, "cold", trials, seed)
        weights = fitted_weights(method.make(**chosen), parts.train)
        cold[f"{name}, whole"] = look(ItemWeights(weights, parts.train), "cold")
        cold[name] = look(ItemWeights(weights, parts.train, SERVED_TOP), "cold")
        if name == "MiniLM map":
            both = fitted_weights(method.make(**chosen, keep_warm=True), parts.train)
            one = ItemWeights(both, parts.train, SERVED_TOP)
            warm["one list"], cold["one list"] = look(one, "warm", True), look(one, "cold", True)
            text = EASEMap(map_vectors(vectors, parts.train)[name], **chosen)
            joint = WarmAndCold(EASE(top=SERVED_TOP, **ease), text).fit(parts.train)
            for of, target in ((warm, "warm"), (cold, "cold")):
                of |= calibrated_lists(joint, parts, target)
    return {"warm": warm, "cold": cold}


def calibrated_lists(joint: WarmAndCold, parts: Parts, target: str) -> dict[str, Evaluation]:
    """Lists of warm and cold items on one scale, by the number of places reserved for cold items, evaluated
    on the ``target`` ("warm" or "cold") interactions.
    """
    held = getattr(parts, target)
    ranked = evaluation.evaluate(joint, parts.train, held, K)
    first = evaluation.recommend(joint, parts.train, ranked.users, max(RESERVED), parts.cold_items)
    is_cold = np.isin(np.arange(parts.train.shape[1]), parts.cold_items)
    found = {}
    for places in RESERVED:
        lists = reserve(ranked.ids, first, is_cold, places)
        name = f"one list, calibrated, {places} reserved" if places else "one list, calibrated"
        found[name] = evaluation.evaluate_lists(lists, ranked.users, held)
    return found


# ---------------------------------------------------------------- the bootstrap


def bootstrap(
    found: Mapping[str, Sequence[Evaluation]], samples: int = 200, seed: int = 0, metric: str = "ndcg"
) -> dict[str, np.ndarray]:
    """Means of every method ``[samples]`` over resampled splits and users; a draw is the same for all
    methods.

    found: method to its evaluations, one per split, in the same order of splits. A drawn user counts in all
    drawn splits where it has something to find.
    """
    rng, first = np.random.default_rng(seed), next(iter(found.values()))
    users = np.unique(np.concatenate([e.users for e in first]))
    places = [np.searchsorted(users, e.users) for e in first]
    result = {name: np.empty(samples) for name in found}
    for i in range(samples):
        drawn = rng.integers(len(first), size=len(first))
        times = rng.multinomial(len(users), np.full(len(users), 1 / len(users)))
        weights = [times[places[s]] for s in drawn]
        total = sum(int(w.sum()) for w in weights)
        for name, evaluations in found.items():
            sums = [float(w @ evaluations[s].per_user[metric]) for w, s in zip(weights, drawn, strict=True)]
            result[name][i] = sum(sums) / total
    return result


def measure(
    protocol: str = "ml-100k random",
    seeds: int = 5,
    trials: int = 12,
    samples: int = 200,
    progress: Callable[[str], None] = print,
) -> dict[str, Any]:
    """One record of the study: means and bootstrap samples of NDCG@10, warm and cold, of every method on
    ``seeds`` splits.

    Raises:
        InputError: an unknown protocol, or a number below 1.
    """
    for name, value in (("seeds", seeds), ("trials", trials), ("samples", samples)):
        if value < 1:
            raise InputError(f"{name}={value!r}: expected at least 1")
    started, data = time.perf_counter(), protocols.dataset_of(protocol)
    names = ("tfidf", "labels", "year", *ENCODERS)
    vectors = {name: item_texts.encode(data, name) for name in names}
    found: dict[str, dict[str, list[Evaluation]]] = {"warm": {}, "cold": {}}
    for seed in range(seeds):
        for target, by_name in of_split(protocol, seed, vectors, trials).items():
            for name, result in by_name.items():
                found[target].setdefault(name, []).append(result)
        progress(f"{protocol}: split {seed + 1} of {seeds} done")
    metrics: dict[str, Any] = {}
    for target, evaluations in found.items():
        # Every user of every split weighs the same, as in the bootstrap.
        means = {
            n: float(np.concatenate([e.per_user["ndcg"] for e in es]).mean()) for n, es in evaluations.items()
        }
        drawn = bootstrap(evaluations, samples)
        metrics[target] = {
            n: {"ndcg": means[n], "samples": [round(float(x), 5) for x in drawn[n]]} for n in evaluations
        }
    parameters = {"protocol": protocol, "seeds": seeds, "trials": trials, "samples": samples}
    return entry("16_cost_benefit", parameters, metrics, time.perf_counter() - started)


# What ``run`` records.
RECORDS: tuple[dict[str, Any], ...] = (
    {"protocol": "ml-100k random", "seeds": 5, "trials": 12},
    {"protocol": "book-crossing random", "seeds": 5, "trials": 6},
)


def run(path: Path | None = None) -> str:
    """Measure what ``data/measurements/deployment-quality-study.json`` lacks, one record for a protocol, and
    write the file after each; returns what it holds.
    """
    path = path or paths.MEASUREMENTS / "deployment-quality-study.json"
    found = {r["parameters"]["protocol"]: r for r in (records.read(path) if path.is_file() else [])}
    for arguments in RECORDS:
        known = found.get(arguments["protocol"])
        if known is None or any(known["parameters"][name] != value for name, value in arguments.items()):
            found[arguments["protocol"]] = measure(**arguments)
            records.write(path, [found[r["protocol"]] for r in RECORDS if r["protocol"] in found])
    return f"{path.name}: {len(found)} records"
