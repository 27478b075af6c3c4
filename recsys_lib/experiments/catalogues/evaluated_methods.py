"""Every method on one catalogue with equal budgets, and what text gained on it, with intervals.

Three gains, each of a pair that the validation part chose and each tested over users: *warm*, the best method
that reads text (blended into the best collaborative filtering, as a prior of EASE, or alone; the first two
may decline it) over the best collaborative filtering; *language*, the linear map from MiniLM to EASE's
columns over the one from TF-IDF, cold items only; *cold*, the better of these two over chance, in NDCG.

EASE is whole, not cut as a service holds it, so that text inside of it is compared with all of it; its λ and
the weight of a blend have as many values as each method has trials, so none is left untried.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from recsys_lib import evaluation, recommenders
from recsys_lib.data.datasets import Dataset
from recsys_lib.evaluation import Evaluation, tuning
from recsys_lib.evaluation.splits import Split
from recsys_lib.evaluation.tuning import Method, Outcome, Task
from recsys_lib.experiments.catalogues import protocol
from recsys_lib.experiments.own_catalogue.chosen_methods import FittedOnce, SharedEASE
from recsys_lib.experiments.own_catalogue.compare_methods import cold_splits
from recsys_lib.experiments.own_catalogue.sources import TFIDF, Source, encode_sources
from recsys_lib.experiments.study import search_spaces as spaces
from recsys_lib.experiments.study.study_tables import bootstrap_record

TRIALS, K = 6, 10
ENCODER = "minilm"
TFIDF_MAP, LANGUAGE_MAP = f"{TFIDF}, mapped", f"{ENCODER}, mapped"
EASE_SPACE: spaces.Space = {"regularization": [3.0, 10.0, 30.0, 100.0, 300.0, 1000.0]}
WEIGHTS: spaces.Space = {"weight": [0.0, 0.05, 0.1, 0.2, 0.4, 0.8]}
PRIOR_SPACE: spaces.Space = {"weight": [0.0, 0.01, 0.03, 0.1, 0.3, 1.0], "sharpness": [1.0, 2.0]}


@dataclass(frozen=True)
class Spaces:
    """Where each warm method is searched: collaborative ones, the weight of a blend, the prior of EASE."""

    item_knn: spaces.Space = field(default_factory=lambda: spaces.ITEM_KNN_SPACE)
    ials: spaces.Space = field(default_factory=lambda: spaces.IALS_SPACE)
    ease: spaces.Space = field(default_factory=lambda: EASE_SPACE)
    recent: spaces.Space = field(default_factory=lambda: spaces.RECENT_POPULARITY_SPACE)
    weights: spaces.Space = field(default_factory=lambda: WEIGHTS)
    prior: spaces.Space = field(default_factory=lambda: PRIOR_SPACE)


USUAL = Spaces()


def measure(name: str) -> dict[str, Any]:
    """Metrics of every method on a catalogue of ``protocol.CATALOGUES``, what describes it, and the gains."""
    return measure_data(protocol.catalogue(name), draws=protocol.CATALOGUES[name].draws)


def measure_data(
    data: Dataset, trials: int = TRIALS, draws: int = 2, encoder: str = ENCODER
) -> dict[str, Any]:
    """As ``measure``, for any data set."""
    columns = protocol.text_columns(data)
    timed, parts = protocol.warm_parts(data)
    sources = encode_sources(data, columns, encoder=encoder)
    start = time.process_time()
    warm, filtering = warm_outcomes(timed, parts[0], sources, trials)
    middle = time.process_time()
    cold = cold_outcomes(data, sources, trials, draws)
    return {
        "catalogue": protocol.describe(data, data.item_texts(columns), parts[0]),
        "draws": draws,
        "warm": means({name: [outcome] for name, outcome in warm.items()}),
        "cold": means(cold),
        "test users": {
            "warm": len(next(iter(warm.values())).test.users),
            "cold": len(_averaged(cold)["chance"].users),
        },
        "edges": {name: list(outcome.edges) for name, outcome in warm.items() if outcome.edges},
        "gains": gains(warm, filtering, cold),
        "bootstrap": {
            "warm": bootstrap_record({name: outcome.test for name, outcome in warm.items()}),
            "cold": bootstrap_record(_averaged(cold)),
        },
        "cpu_s": {"warm": round(middle - start, 1), "cold": round(time.process_time() - middle, 1)},
    }


# ---------------------------------------------------------------- warm items


def collaborative(timed: bool, searched: Spaces = USUAL) -> dict[str, Method]:
    """Methods that read interactions only; with ``timed`` also one that reads when they were."""
    r = recommenders
    found = {
        "popularity": Method(r.Popularity),
        "ItemKNN": Method(r.ItemKNN, searched.item_knn),
        "iALS": Method(r.IALS, searched.ials),
        "EASE": Method(r.EASE, searched.ease),
    }
    return found | ({"recent popularity": Method(r.RecentPopularity, searched.recent)} if timed else {})


def collaborative_outcomes(
    data: Dataset, part: Split, trials: int, searched: Spaces = USUAL
) -> tuple[dict[str, Outcome], str, Callable[[], recommenders.Recommender]]:
    """Every method that reads interactions only, tuned and tested on one split; which of them the validation
    part prefers, and what makes that one at its tuned point.
    """
    methods = collaborative(data.timestamp is not None and not part.name.startswith("random"), searched)
    found = _compared(methods, tuning.warm_task(part), trials)
    base = best_by_validation(found)
    return found, base, lambda: methods[base].make(**found[base].parameters)


def warm_outcomes(
    data: Dataset,
    part: Split,
    sources: Mapping[str, Source],
    trials: int,
    searched: Spaces = USUAL,
) -> tuple[dict[str, Outcome], list[str]]:
    """Every method tuned and tested on one split, and the names of those that read interactions only."""
    task = tuning.warm_task(part)
    found, _, make = collaborative_outcomes(data, part, trials, searched)
    filtering, fitted = list(found), FittedOnce(make())
    strength = found["EASE"].parameters["regularization"]
    reading: dict[str, Method] = {}
    for name, source in sources.items():
        vectors = source.vectors if name == TFIDF else source.whitened(task.train)
        text = FittedOnce(recommenders.TextProfile(vectors))
        reading[name] = Method(lambda v=vectors: recommenders.TextProfile(v))
        reading[f"best + {name}"] = Method(
            lambda weight, t=text: recommenders.ScoreBlend([fitted, t], [1.0, weight]), searched.weights
        )
        reading[f"EASE with {name} inside"] = Method(
            lambda v=vectors, **p: recommenders.TextEASE(v, strength, **p), searched.prior
        )
    return found | _compared(reading, task, trials), filtering


def best_by_validation(outcomes: Mapping[str, Outcome]) -> str:
    """The method with the highest validation NDCG."""
    return max(outcomes, key=lambda name: outcomes[name].validation)


def _compared(methods: Mapping[str, Method], task: Task, trials: int, seed: int = 0) -> dict[str, Outcome]:
    return tuning.compare_methods(methods, task, trials, seed, K, keep_models=False)


# ---------------------------------------------------------------- cold items


def cold_outcomes(
    data: Dataset, sources: Mapping[str, Source], trials: int, draws: int
) -> dict[str, list[Outcome]]:
    """Chance, and each text as a profile and mapped to EASE's columns, for every draw of cold items."""
    found: dict[str, list[Outcome]] = {}
    for seed, part in cold_splits(data, draws):
        noise = np.random.default_rng(0).standard_normal((data.n_items, 64)).astype(np.float32)
        methods = {"chance": Method(lambda v=noise: recommenders.TextProfile(v))}
        shared = SharedEASE()
        for name, source in sources.items():
            profile = source.vectors if name == TFIDF else source.whitened(part.train)
            mapped = source.vectors if name == TFIDF else source.centred(part.train)
            methods[name] = Method(lambda v=profile: recommenders.TextProfile(v))
            methods[f"{name}, mapped"] = Method(
                lambda v=mapped, s=shared, **p: recommenders.EASEMap(v, columns=s, **p), spaces.EASE_MAP_SPACE
            )
        for name, outcome in _compared(methods, tuning.cold_task(part, seed), trials, seed).items():
            found.setdefault(name, []).append(outcome)
    return found


# ---------------------------------------------------------------- what was found


def _averaged(outcomes: Mapping[str, list[Outcome]]) -> dict[str, Evaluation]:
    return {name: evaluation.average([one.test for one in done]) for name, done in outcomes.items()}


def means(outcomes: Mapping[str, list[Outcome]]) -> dict[str, dict[str, Any]]:
    """NDCG and recall of every method, its validation NDCG, and the point chosen last."""
    tests = _averaged(outcomes)
    return {
        name: {
            "ndcg": tests[name].mean()["ndcg"],
            "recall": tests[name].mean()["recall"],
            "validation": _validation(done),
            "parameters": dict(done[-1].parameters),
        }
        for name, done in outcomes.items()
    }


def _validation(done: list[Outcome]) -> float:
    return float(np.mean([one.validation for one in done]))


def gains(
    warm: Mapping[str, Outcome], filtering: list[str], cold: Mapping[str, list[Outcome]]
) -> dict[str, dict[str, Any]]:
    """The gains of the module's docstring: which pair, relative gain, difference of NDCG with its 95%
    bootstrap interval over users, Holm's p over them.
    """
    base = best_by_validation({name: warm[name] for name in filtering})
    best = best_by_validation({name: warm[name] for name in warm if name not in filtering})
    found = {"warm": _gain(warm[best].test, warm[base].test, best, base)}
    if LANGUAGE_MAP in cold and TFIDF_MAP in cold:
        tests = _averaged(cold)
        chosen = max((TFIDF_MAP, LANGUAGE_MAP), key=lambda name: _validation(cold[name]))
        for gain, a, b in (("language", LANGUAGE_MAP, TFIDF_MAP), ("cold", chosen, "chance")):
            found[gain] = _gain(tests[a], tests[b], a, b)
    adjusted = evaluation.holm([gain["p"] for gain in found.values()])
    return {
        name: gain | {"Holm p": float(p)} for (name, gain), p in zip(found.items(), adjusted, strict=True)
    }


def _gain(a: Evaluation, b: Evaluation, name: str, base: str) -> dict[str, Any]:
    test, mean = evaluation.compare(a, b), b.mean()["ndcg"]
    return {
        "method": name,
        "base": base,
        "relative": test.difference / mean if mean > 0 else None,
        "relative low": test.low / mean if mean > 0 else None,
        "relative high": test.high / mean if mean > 0 else None,
        "difference": test.difference,
        "low": test.low,
        "high": test.high,
        "p": test.p_value,
    }
