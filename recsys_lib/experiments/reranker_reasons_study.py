"""The recorded study of reasons of a language model as reranker: ``study reranker-reasons``.

For the first film of EASE's list, which of the user's latest films move SmolLM2's yes/no score? Orders by
leaving one out and by gradient times input are tested by deletion against random order and against the most
recent first. That one film less costs most in the order of leaving one out is so by definition, so only sets
of several films count (``SIZES``).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from recsys_lib import evaluation
from recsys_lib.core import paths, records
from recsys_lib.evaluation import Evaluation
from recsys_lib.evaluation.protocols import dataset_of, split_of
from recsys_lib.experiments.notebook_record import resume
from recsys_lib.experiments.reranking.candidates import histories_of
from recsys_lib.llm import language_model
from recsys_lib.llm.prompts import Prompts
from recsys_lib.recommenders import EASE
from recsys_lib.trust.explanations.yes_no_reasons import YesNoReasons

RECORD, NOTEBOOK = "reranker-reasons-study", "12_explanations"
PROTOCOL, MODEL = "ml-100k random", "smollm2"
USERS, SHOWN, SIZES, DRAWS = 24, 8, (2, 4), 3
METHODS = ("left out", "gradient", "most recent", "random")


def asked(
    n_users: int, shown: int = SHOWN, seed: int = 0, protocol: str = PROTOCOL
) -> list[tuple[int, list[str], str]]:
    """User, texts of the latest ``shown`` items of the training part, latest first, and the text of the
    first item of EASE's list; users of 10 to 150 training interactions in random order.
    """
    data, split = dataset_of(protocol), split_of(protocol, seed).with_validation()
    fields = tuple(field for field in ("title", "year", "author") if field in data.items)[:2]
    texts, lengths = data.item_texts(fields), np.diff(split.train.indptr)
    able = np.flatnonzero((lengths >= 10) & (lengths <= 150))
    users = np.random.default_rng([seed, 12]).permutation(able)[:n_users]
    best = evaluation.recommend(EASE(400.0).fit(split.train), split.train, users, 1)[:, 0]
    histories = histories_of(split, users, seed)
    return [
        (int(user), [texts[i] for i in history[:shown]], texts[target])
        for user, history, target in zip(users, histories, best, strict=True)
    ]


def reader(shown: int = SHOWN, kind: str = "film") -> YesNoReasons:
    """SmolLM2 in float32 with prompts that show so many items of a history."""
    return YesNoReasons(Prompts(language_model.load(MODEL), kind=kind, max_history=shown))


def measure(n_users: int = USERS, shown: int = SHOWN, seed: int = 0) -> dict[str, Any]:
    """For every user the score, importances and what each order loses, and the paired tests."""
    model = reader(shown)
    rows = [_of_user(model, *one) for one in asked(n_users, shown, seed)]
    lost = {name: [float(np.mean(row["lost"][name])) for row in rows] for name in METHODS}
    return {"users": rows, "lost": {n: float(np.mean(v)) for n, v in lost.items()}, "tests": tests(lost)}


def _of_user(reader: YesNoReasons, user: int, history: list[str], candidate: str) -> dict[str, Any]:
    found, n = reader.reasons(history, candidate), len(history)
    rng = np.random.default_rng([user, n])
    orders = {name: np.argsort(-values, kind="stable") for name, values in found.importance.items()}
    orders["most recent"] = np.arange(n)
    drawn = {f"random {i}": rng.permutation(n) for i in range(DRAWS)}
    lost = reader.falls(history, candidate, orders | drawn, SIZES)
    lost["random"] = np.mean([lost.pop(name) for name in drawn], axis=0)
    return {
        "user": user,
        "score": round(found.score, 4),
        "importance": {name: values.round(4).tolist() for name, values in found.importance.items()},
        "lost": {name: values.round(4).tolist() for name, values in lost.items()},
    }


def tests(lost: Mapping[str, list[float]]) -> list[dict[str, Any]]:
    """Each order against random order, paired over users, Holm-corrected: a positive difference is a score
    that falls further.
    """
    users = np.arange(len(lost["random"]))
    found = {n: Evaluation.without_lists(10, users, {"lost": np.array(v)}) for n, v in lost.items()}
    names = [name for name in METHODS if name != "random"]
    compared = [evaluation.compare(found[name], found["random"], "lost") for name in names]
    adjusted = evaluation.holm([one.p_value for one in compared])
    return [
        {"order": name, "difference": one.difference, "low": one.low, "high": one.high, "Holm p": float(p)}
        for name, one, p in zip(names, compared, adjusted, strict=True)
    ]


def recorded() -> dict[str, Any]:
    """The metrics of the recorded study.

    Raises:
        InputError: no record.
    """
    return records.read(paths.MEASUREMENTS / f"{RECORD}.json")[0]["metrics"]


def run(path: Path | None = None) -> Path:
    """Measure what the record lacks, and write it."""
    case = {"n_users": USERS, "shown": SHOWN, "seed": 0}
    path = path or paths.MEASUREMENTS / f"{RECORD}.json"
    return resume(path, NOTEBOOK, [case], lambda one: measure(**one))
