"""The recorded study over catalogues: ``study catalogues`` does what its record lacks, part by part."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from recsys_lib.core import paths
from recsys_lib.experiments.catalogues import (
    alignment,
    evaluated_methods,
    llm_ranking,
    long_texts,
    people,
    scale,
    trained_encoder,
    twins,
    wider_spaces,
)
from recsys_lib.experiments.catalogues.protocol import CATALOGUES
from recsys_lib.experiments.notebook_record import resume

RECORD = "catalogues-study"
NOTEBOOK = "13_catalogues"
RANKING, TRAINING = "LLM ranking", "trained encoder"


def parts() -> dict[tuple[str, str], Callable[[], dict[str, Any]]]:
    """Everything that the study measures, by part and catalogue, in the order in which it is done."""
    found: dict[tuple[str, str], Callable[[], dict[str, Any]]] = {
        ("methods", name): partial(evaluated_methods.measure, name) for name in CATALOGUES
    }
    found |= {(RANKING, name): partial(llm_ranking.measure, name) for name in CATALOGUES}
    found |= {(TRAINING, name): partial(trained_encoder.measure, name) for name in CATALOGUES}
    found |= {("long texts", name): partial(long_texts.measure, name) for name in long_texts.LONG}
    found |= {("people", name): partial(people.measure, name) for name in ("ml-100k", "articles")}
    found |= {("alignment", name): partial(alignment.measure, name) for name in CATALOGUES}
    found |= {("wider spaces", name): partial(wider_spaces.measure, name) for name in wider_spaces.CATALOGUES}
    return found | {("twins", "articles"): twins.measure, ("scale", "invented"): scale.measure}


def run(path: Path | None = None, only: Callable[[str, str], bool] = lambda part, name: True) -> Path:
    """Do the parts that the record lacks and write it after each; a catalogue that is not on this machine is
    left out with a line.
    """
    measured = parts()
    cases = [{"part": part, "catalogue": name} for part, name in measured if only(part, name)]
    path = path or paths.MEASUREMENTS / f"{RECORD}.json"
    return resume(path, NOTEBOOK, cases, lambda case: measured[case["part"], case["catalogue"]]())
