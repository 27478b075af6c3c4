"""How well each deployment option ranks, as the studies in ``data/measurements/`` recorded it; what was not
measured is None.

``deployment-quality-study.json`` holds NDCG@10 of every option on warm and on cold items, from one split,
with bootstrap samples over users and splits. ``rerank-study.json``, where it exists, holds what rerankers
make of the first candidates.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from recsys_lib.core.errors import InputError
from recsys_lib.core.paths import MEASUREMENTS
from recsys_lib.cost.options import OPTIONS, DeploymentOption
from recsys_lib.cost.uncertainty import MethodQuality

STUDY = "deployment-quality-study"
PROTOCOL = "ml-100k random"
NOT_MEASURED: dict[str, Any] = {}


@lru_cache
def study(folder: Path = MEASUREMENTS) -> dict[str, dict[str, Any]]:
    """Metrics of the study by protocol."""
    rows = json.loads((folder / f"{STUDY}.json").read_text(encoding="utf-8"))
    return {row["parameters"]["protocol"]: row["metrics"] for row in rows}


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
    warm, cold = (metrics[part].get(getattr(option, part), NOT_MEASURED) for part in ("warm", "cold"))
    return MethodQuality(
        option.name, warm.get("ndcg"), cold.get("ndcg"), warm.get("samples", ()), cold.get("samples", ())
    )


def recorded_methods(protocol: str = PROTOCOL) -> dict[str, MethodQuality]:
    """Every deployment option by name with its recorded quality."""
    return {option.name: recorded(option, protocol) for option in OPTIONS}
