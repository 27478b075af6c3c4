"""The recorded reranking study: which cases, in which order, and what is kept of each.

``run`` does what ``data/measurements/rerank-study.json`` lacks and writes the file after every case, so that
an interrupted study goes on where it was. A record holds its case as ``parameters`` and, as ``metrics``,
means, paired tests, tokens and seconds, and the values of every user.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from recsys_lib.core import paths
from recsys_lib.core.errors import InputError
from recsys_lib.evaluation.ranking import Evaluation
from recsys_lib.evaluation.statistics import compare
from recsys_lib.experiments.notebook_record import resume
from recsys_lib.experiments.reranking import results
from recsys_lib.experiments.reranking.candidates import (
    CONTROLS,
    Candidates,
    Catalogue,
    catalogue,
    first_stage,
)
from recsys_lib.llm import language_model, rerank
from recsys_lib.llm.prompts import Prompts

RECORD = "rerank-study"
# Folder of the catalogue that no package carries.
FOLDER_VARIABLE = "RECSYS_CITEULIKE"
MAX_USERS, MAX_VALIDATION = 200, 60


@dataclass(frozen=True)
class Case:
    """One cell of the study: a model and method that reorder a first stage's ``depth`` candidates for
    ``users`` users, of whom the latest ``known`` interactions are known (0: all).
    """

    catalogue: str
    stage: str
    model: str
    method: str
    users: int
    validation: int = 0
    precision: str = "float32"
    permutations: int = 2
    history: int = 10
    control: str = "none"
    language: str = "en"
    seed: int = 0
    depth: int = 20
    known: int = 0


# How the methods that ask a language model are made.
ASKING: dict[str, Callable[[Prompts, Case], rerank.Reranker]] = {
    "yes/no": lambda prompts, _: rerank.YesNo(prompts),
    "likelihood": lambda prompts, _: rerank.TitleLikelihood(prompts),
    "first token": lambda prompts, case: rerank.FirstToken(prompts, case.permutations, seed=case.seed),
    "pairwise heap": lambda prompts, _: rerank.HeapSort(prompts, 2),
    "setwise 4": lambda prompts, _: rerank.HeapSort(prompts, 4),
    "all pairs": lambda prompts, _: rerank.AllPairs(prompts),
    "written": lambda prompts, _: rerank.WrittenPermutation(prompts),
}
METHODS = (*ASKING, "cross-encoder")


def _films(model: str, users: int, validation: int, precision: str = "float32", **more: Any) -> Case:
    method = more.pop("method", "first token")
    return Case("ml-100k", more.pop("stage", "EASE"), model, method, users, validation, precision, **more)


def cases() -> list[Case]:
    """All cases, the most important first."""
    small, half, large, cross = "smollm2", "qwen-coder-0.5b", "qwen-coder-1.5b", "ms-marco"
    pairs = {"method": "cross-encoder"}
    asked = {"method": "yes/no"}
    sizes = [
        _films(cross, 200, 60, "int8", **pairs),
        _films(small, 200, 40, **asked),
        _films(half, 50, 15, "int8", **asked),
        _films(large, 25, 0, "int8", **asked),
    ]
    names = ("another user's history", "titles masked", "ids for titles", "history shuffled", "no history")
    cold = [
        _films(small, 100, 30, stage="cold map", **asked),
        _films(small, 100, 0, control=names[0], **asked),
        Case("book-crossing", "EASE", small, "yes/no", 100, 30),
        _films(small, 60, 0),
        _films(cross, 100, 30, "int8", stage="cold map", **pairs),
        _films(small, 100, 30, stage="ItemKNN", **asked),
        Case("book-crossing", "EASE", cross, "cross-encoder", 100, 30, "int8"),
        Case("citeulike", "EASE", small, "yes/no", 50, 15),
        Case("citeulike", "EASE", cross, "cross-encoder", 100, 30, "int8"),
        Case("book-crossing", "EASE", half, "yes/no", 50, 15, "int8"),
        _films(half, 50, 15, "int8"),
    ]
    controls = [_films(small, 100, 0, control=name, **asked) for name in names[1:]]
    forms = [
        _films(small, 100, 0, language="zh", **asked),
        *(_films(small, 100, 0, history=n, **asked) for n in (3, 30)),
        *(_films(small, 60, 0, permutations=n) for n in (1, 8)),
        _films(small, 60, 20, method="likelihood"),
        _films(small, 20, 0, method="setwise 4"),
        _films(small, 20, 0, method="pairwise heap"),
        _films(small, 20, 0, method="written"),
        _films(small, 3, 0, method="all pairs"),
        _films(small, 100, 0, control="ratings shown", **asked),
        _films(half, 50, 0, "int8", language="zh", **asked),
        *(_films(small, 100, 0, precision, **asked) for precision in ("int8", "int4")),
    ]
    others = [
        _films(cross, 200, 60, "int8", stage="ItemKNN", **pairs),
        _films(half, 50, 15, "int8", stage="cold map", **asked),
        _films(large, 25, 8, "int8"),
        Case("book-crossing", "EASE", large, "yes/no", 25, 8, "int8"),
        Case("citeulike", "EASE", half, "yes/no", 25, 8, "int8"),
        *(_films(small, 200, 40, seed=seed, **asked) for seed in (1, 2)),
        *(_films(cross, 200, 60, "int8", seed=seed, **pairs) for seed in (1, 2)),
    ]
    return sizes + cold + controls + forms + others + _wider()


def _wider() -> list[Case]:
    """More candidates, users of whom little is known, and the largest model on papers."""
    small, half, large, cross = "smollm2", "qwen-coder-0.5b", "qwen-coder-1.5b", "ms-marco"
    pairs, asked = {"method": "cross-encoder"}, {"method": "yes/no"}
    return [
        _films(small, 50, 15, depth=50, **asked),
        _films(cross, 100, 30, "int8", depth=50, **pairs),
        *(_films(small, 100, 30, known=n, **asked) for n in (1, 5)),
        *(_films(cross, 200, 60, "int8", known=n, **pairs) for n in (1, 3, 5)),
        _films(half, 50, 15, "int8", known=3, **asked),
        Case("citeulike", "EASE", large, "yes/no", 25, 0, "int8"),
    ]


@lru_cache(maxsize=1)
def _model(name: str, precision: str) -> language_model.LanguageModel:
    return language_model.load(name, precision)


@lru_cache(maxsize=4)
def _stage(
    name: str, stage: str, seed: int, depth: int, known: int
) -> tuple[Catalogue, Candidates, Candidates]:
    source = catalogue(name, os.environ.get(FOLDER_VARIABLE))
    return source, *first_stage(source, stage, MAX_USERS, MAX_VALIDATION, seed, depth, known)


def reranker(case: Case, kind: str, marked: bool = False) -> rerank.Reranker:
    """The method of a case; ``marked``: prompts put item texts between marks.

    Raises:
        InputError: an unknown method.
    """
    if case.method not in METHODS:
        raise InputError(f"method={case.method!r}: expected one of {', '.join(METHODS)}")
    if case.method == "cross-encoder":
        return rerank.CrossEncoder(max_history=case.history)
    model = _model(case.model, case.precision)
    prompts = Prompts(model, case.language, kind, max_history=case.history, marked=marked)
    return ASKING[case.method](prompts, case)


def run_case(case: Case) -> dict[str, Any]:
    """One case's metrics; its lists come from the first stage of the whole study, so that cases share their
    users."""
    return measure_case(case, *_stage(case.catalogue, case.stage, case.seed, case.depth, case.known))


def measure_case(case: Case, source: Catalogue, validation: Candidates, test: Candidates) -> dict[str, Any]:
    """The metrics of a case on given lists: alone, and fused by a weight tuned on its validation lists."""
    method = reranker(case, source.kind)
    weight = None
    if case.validation:
        held = validation.first(case.validation)
        weight = results.tuned_weight(held, _scores(case, method, source, held)[0])
    found = test.first(case.users)
    scores, usage = _scores(case, method, source, found)
    return metrics_of(found, scores, weight) | _work(usage, method)


def _scores(
    case: Case, method: rerank.Reranker, source: Catalogue, found: Candidates
) -> tuple[list[np.ndarray], rerank.Usage]:
    texts, changed = CONTROLS[case.control](source, found)
    ratings = source.ratings() if case.control == "ratings shown" else None
    return rerank.rerank(method, changed.lists(texts, case.history, ratings, case.language))


def metrics_of(
    found: Candidates, scores: Sequence[np.ndarray], weight: float | None = None
) -> dict[str, Any]:
    """NDCG of the lists reordered by ``scores``, and fused with the first stage by ``weight`` if there is
    one: means first, then tests, then the values of every user.
    """
    first = results.evaluate(found, results.first_stage_scores(found))
    ours = results.evaluate(found, scores)
    chance = results.floor(found)
    metrics: dict[str, Any] = {
        "ndcg": ours.mean()["ndcg"],
        "first_stage": first.mean()["ndcg"],
        "ceiling": results.evaluate(found, results.perfect_scores(found)).mean()["ndcg"],
        "floor": float(chance.mean()),
        "minus_first_stage": paired(ours, first),
        "minus_floor": paired(ours, replace(ours, per_user={"ndcg": chance})),
    }
    per_user = {"ndcg": ours.per_user["ndcg"], "first_stage": first.per_user["ndcg"], "floor": chance}
    if weight is not None:
        both = results.evaluate(found, results.fused(found, scores, weight))
        metrics |= {
            "fused": both.mean()["ndcg"],
            "weight": weight,
            "fused_minus_first_stage": paired(both, first),
        }
        per_user["fused"] = both.per_user["ndcg"]
    metrics["users"] = found.users.tolist()
    metrics["per_user"] = {name: np.round(values, 5).tolist() for name, values in per_user.items()}
    return metrics


def paired(a: Evaluation, b: Evaluation) -> dict[str, float]:
    """NDCG of ``a`` less that of ``b`` over the same users, with its 95% interval and Wilcoxon's p."""
    c = compare(a, b)
    return {"difference": c.difference, "low": c.low, "high": c.high, "p": c.p_value}


def _work(usage: rerank.Usage, method: rerank.Reranker) -> dict[str, Any]:
    """Tokens and seconds of a list, and what prompts cut."""
    n = max(usage.lists, 1)
    prompts = getattr(method, "prompts", None)
    cut = method.history_entries_cut if isinstance(method, rerank.CrossEncoder) else 0
    return {
        "read_tokens": usage.read_tokens / n,
        "prompt_tokens": usage.prompt_tokens / n,
        "written_tokens": usage.written_tokens / n,
        "repaired": usage.repaired,
        "cpu_seconds_per_list": float(np.mean(usage.cpu_seconds)),
        "seconds_per_list": float(np.mean(usage.seconds)),
        "seconds_p99": float(np.quantile(usage.seconds, 0.99)),
        "cuts": {"history_entries": cut} if prompts is None else asdict(prompts.cuts),
        "parameters_of_model": None if prompts is None else prompts.model.n_parameters,
    }


def run(path: Path | None = None, chosen: Sequence[Case] | None = None) -> Path:
    """Run every case that the record lacks, and write the record after each."""
    path = path or paths.MEASUREMENTS / f"{RECORD}.json"
    todo = [asdict(case) for case in (cases() if chosen is None else chosen)]
    return resume(path, "06_llm_ranking", todo, lambda case: run_case(Case(**case)))
