"""How well each deployment option ranks, as the studies in ``data/measurements/`` recorded it; what was not
measured is None.

``deployment-quality-study.json`` holds NDCG@10 of every option on warm and on cold items, from one split,
with bootstrap samples over users and splits. ``rerank-study.json``, where it exists, holds what rerankers
make of the first candidates.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from recsys_lib.core import records
from recsys_lib.core.errors import InputError
from recsys_lib.core.paths import MEASUREMENTS
from recsys_lib.cost.deployment_options import OPTIONS, DeploymentOption
from recsys_lib.cost.uncertainty import MethodQuality

STUDY = "deployment-quality-study"
PROTOCOL = "ml-100k random"
NOT_MEASURED: dict[str, Any] = {}
RERANK_STUDY = "rerank-study"
# Which case of the reranking study stands for an option.
RERANKED = {
    "cross-encoder reranks": {"model": "ms-marco", "method": "cross-encoder"},
    "135M LLM reranks, logits": {"model": "smollm2", "method": "yes/no"},
    "0.5B LLM reranks, logits": {"model": "qwen-coder-0.5b", "method": "yes/no"},
}
# What else is the same in the cases that stand for options.
COMMON = {
    "catalogue": "ml-100k",
    "stage": "EASE",
    "control": "none",
    "language": "en",
    "history": 10,
    "seed": 0,
    "depth": 20,
    "known": 0,
}


@lru_cache
def study(folder: Path = MEASUREMENTS) -> dict[str, dict[str, Any]]:
    """Metrics of the study by protocol."""
    runs = records.runs_of(folder / f"{STUDY}.json")
    return {run["parameters"]["protocol"]: run["metrics"] for run in runs}


def protocols() -> list[str]:
    """The protocols that the study holds."""
    return list(study())


def recorded(option: DeploymentOption, protocol: str = PROTOCOL) -> MethodQuality:
    """The option's quality with its bootstrap samples.

    Raises:
        InputError: a protocol that was not recorded.
    """
    if protocol not in study():
        raise InputError(f"protocol={protocol!r}: expected one of {', '.join(study())}")
    metrics = study()[protocol]
    if option.name in RERANKED and protocol == PROTOCOL:
        return _reranked(option, metrics)
    warm, cold = (metrics[part].get(getattr(option, part), NOT_MEASURED) for part in ("warm", "cold"))
    return MethodQuality(
        option.name, warm.get("ndcg"), cold.get("ndcg"), warm.get("samples", ()), cold.get("samples", ())
    )


def list_kinds(protocol: str = PROTOCOL) -> dict[str, tuple[float, float]]:
    """NDCG@10 of warm and of cold items where cold items have a list of their own, and where both compete in
    one list, by how it is made.
    """
    metrics = study()[protocol]
    found = {
        f"a list each: {name}": (metrics["warm"]["EASE top 200"]["ndcg"], metrics["cold"][cold]["ndcg"])
        for name, cold in (("EASE, cold items at random", "chance"), ("EASE + MiniLM map", "MiniLM map"))
    }
    names = [name for name in metrics["warm"] if name.startswith("one list") and name in metrics["cold"]]
    for name in names:
        how = name.removeprefix("one list").removeprefix(", ") or "EASE + MiniLM map"
        found[f"one list: {how}"] = (metrics["warm"][name]["ndcg"], metrics["cold"][name]["ndcg"])
    return found


def _reranked(option: DeploymentOption, metrics: dict[str, Any]) -> MethodQuality:
    """The first stage's warm quality times what the final list of the reranker is of it; lists of cold items
    are left as the map makes them.

    The final list is that of the weight between reranker and first stage that the validation users chose, so
    that a reranker may be declined. Samples: the study's, times the ratio over resampled users.
    """
    first, cold = metrics["warm"]["EASE top 200"], metrics["cold"]["MiniLM map"]
    found = _rerank_case(option.name)
    if found is None:
        return MethodQuality(option.name)
    final, stage = (np.asarray(found["per_user"][name]) for name in ("fused", "first_stage"))
    rng, samples = np.random.default_rng(0), np.asarray(first["samples"])
    for i in range(len(samples)):
        drawn = rng.integers(len(final), size=len(final))
        samples[i] *= final[drawn].mean() / max(stage[drawn].mean(), 1e-9)
    warm = first["ndcg"] * final.mean() / stage.mean()
    return MethodQuality(option.name, float(warm), cold["ndcg"], samples, cold["samples"])


def rerank_weight(option: DeploymentOption) -> float | None:
    """The weight of the reranker's scores beside the first stage's that the validation users chose; 0: it
    was declined. None where no reranker was measured.
    """
    found = _rerank_case(option.name) if option.name in RERANKED else None
    return None if found is None else float(found["weight"])


def rerank_ceiling(folder: Path = MEASUREMENTS) -> float:
    """NDCG@10 of the best order of the first 20 candidates, of the recorded case with the most users; 1
    where none was recorded.
    """
    found = _largest(COMMON, folder)
    return 1.0 if found is None else float(found["ceiling"])


def _rerank_case(name: str, folder: Path = MEASUREMENTS) -> dict[str, Any] | None:
    """Metrics of the recorded case that stands for the option; None where it was not recorded."""
    return _largest(COMMON | RERANKED[name], folder)


def _largest(wanted: dict[str, Any], folder: Path) -> dict[str, Any] | None:
    """Metrics of the case with the most users among those with these parameters and a chosen weight; of
    equal cases the latest.
    """
    path = folder / f"{RERANK_STUDY}.json"
    cases = [
        run
        for run in (records.runs_of(path) if path.exists() else ())
        if wanted.items() <= run["parameters"].items() and "fused" in run["metrics"].get("per_user", ())
    ]
    if not cases:
        return None
    return max(reversed(cases), key=lambda run: run["parameters"]["users"])["metrics"]


def recorded_methods(protocol: str = PROTOCOL) -> dict[str, MethodQuality]:
    """Every deployment option by name with its recorded quality."""
    return {option.name: recorded(option, protocol) for option in OPTIONS}
