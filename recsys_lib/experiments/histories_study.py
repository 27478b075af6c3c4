"""The recorded study of histories: a user's vector from items, text or a written profile, what a title that
commands does, and how much of MovieLens a model knows by heart.

``run`` does what ``data/measurements/histories-study.json`` lacks: every way to make one vector of a history,
by the lists that it gives on the whole catalogue; and for every way to ask a language model how far a
candidate climbs whose title holds an instruction; and how many titles, years and rows a model completes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from recsys_lib import encoders, evaluation
from recsys_lib.core import paths
from recsys_lib.data.datasets import Dataset
from recsys_lib.evaluation import Evaluation
from recsys_lib.experiments.notebook_record import resume
from recsys_lib.experiments.reranking import candidates, results
from recsys_lib.experiments.reranking.candidates import Candidates, Catalogue
from recsys_lib.experiments.reranking.reranking_study import Case, reranker
from recsys_lib.llm import injection, language_model, memorization
from recsys_lib.llm.prompts import Prompts
from recsys_lib.llm.user_encoder import PROMPT, UserEncoder
from recsys_lib.vectors import geometry, similarity

RECORD = "histories-study"
NOTEBOOK = "06_llm_ranking"
USERS, HISTORY = 200, 10
# Users whose profiles are written, and lists that are injected: a written answer takes seconds.
PROFILES, LISTS, SORTED_LISTS = 60, 10, 3
# Films of the memorization test, examples before each question, questions answered at once, and tokens of a
# year, a title's end and a row.
MEMORIZED, EXAMPLES, AT_ONCE = 200, 4, 50
END_TOKENS = {"years": 6, "titles": 24, "rows": 24}
CHINESE_PROMPT = "这位用户喜欢："
READ = {
    "mean": ("mean", PROMPT), "recent mean": ("recent mean", PROMPT), "text": ("text", PROMPT),
    "prompted text": ("prompted text", PROMPT), "prompted text, Chinese": ("prompted text", CHINESE_PROMPT),
}  # fmt: skip
# Methods of the reranking study whose lists are put to injection; a sort asks many times for each.
LOGITS = ("yes/no", "likelihood", "first token")
SORTING = ("pairwise heap", "setwise 4", "written")


def cases() -> list[dict[str, Any]]:
    """The parameters of every record, the most important first."""
    read = [{"part": "user vectors", "encoder": name, "pooling": "mean"} for name in ("minilm", "e5")]
    read += [
        {"part": "user vectors", "encoder": "smollm2", "pooling": pooling}
        for pooling in ("last", "echo", "mean")
    ]
    written = [
        {"part": "profiles", "encoder": encoder, "writer": writer, "language": language}
        for writer in ("smollm2", "qwen-coder-0.5b")
        for encoder, language in (("minilm", "en"), ("e5", "zh"))
    ]
    methods = [*LOGITS, "cross-encoder", *SORTING]
    commanded = [{"part": "injection", "method": method, "marked": False} for method in methods]
    commanded += [{"part": "injection", "method": method, "marked": True} for method in LOGITS]
    known = [{"part": "memorization", "model": m} for m in ("smollm2", "qwen-coder-0.5b", "qwen-coder-1.5b")]
    return read + commanded + written + known


def _lists(n_users: int) -> tuple[Catalogue, Candidates]:
    source = candidates.catalogue("ml-100k")
    return source, candidates.first_stage(source, "EASE", 200, 60)[1].first(n_users)


def readers(encoder: encoders.Encoder) -> dict[str, UserEncoder]:
    """Every way to make one vector of a history with one encoder, by name."""
    return {
        name: UserEncoder(method, encoder, max_history=HISTORY, prompt=prompt)
        for name, (method, prompt) in READ.items()
    }


def ranked(
    source: Catalogue, found: Candidates, encoder: encoders.Encoder, chosen: Mapping[str, UserEncoder]
) -> dict[str, Any]:
    """Quality of the whole catalogue ranked by the cosine to the user vectors of each of the ``chosen``
    readers, less that of the mean of item vectors ("mean", which has to be among them), paired over users.
    """
    items = encoder.encode(source.texts, progress=False)
    whiten = geometry.whiten(items)
    unit = similarity.normalize(whiten.apply(items))
    histories = found.lists(source.texts, HISTORY).histories
    evaluations: dict[str, Evaluation] = {}
    seconds = {}
    for name, reader in chosen.items():
        start = time.process_time()
        users = similarity.normalize(whiten.apply(reader.encode(histories)))
        seconds[name] = (time.process_time() - start) / len(histories)
        evaluations[name] = results.full_ranking(found, users @ unit.T)
    rows = {}
    for name, own in evaluations.items():
        mean, less = own.mean(), evaluation.compare(own, evaluations["mean"])
        rows[name] = {"ndcg": mean["ndcg"], "recall": mean["recall"], "core seconds": seconds[name]}
        rows[name] |= {"less mean": less.difference, "low": less.low, "high": less.high, "p": less.p_value}
    per_user = {name: own.per_user["ndcg"].round(5) for name, own in evaluations.items()}
    return {"found": rows, "users": found.users, "per_user": per_user}


def user_vectors(encoder: str, pooling: str) -> dict[str, Any]:
    """The quality of all ``readers`` of one encoder."""
    source, found = _lists(USERS)
    chosen = encoders.load(encoder, precision="float32", pooling=pooling)
    return ranked(source, found, chosen, readers(chosen))


def profiles(encoder: str, writer: str, language: str) -> dict[str, Any]:
    """Profiles that ``writer`` writes, read by ``encoder``, beside the mean and the text of the history."""
    source, found = _lists(PROFILES)
    precision = "float32" if writer == "smollm2" else "int8"
    prompts = Prompts(language_model.load(writer, precision), language, source.kind, max_history=HISTORY)
    chosen = encoders.load(encoder, precision="float32")
    compared = {
        method: UserEncoder(method, chosen, prompts, max_history=HISTORY)
        for method in ("mean", "text", "profile")
    }
    metrics = ranked(source, found, chosen, compared)
    return metrics | {"precision": precision, "examples": compared["profile"].texts[:3]}


def injections(method: str, marked: bool) -> dict[str, Any]:
    """Mean rank of the last of 20 candidates without and with each instruction in its title, and the fraction
    of lists that it leads then.
    """
    n_lists = SORTED_LISTS if method in SORTING else LISTS
    source, found = _lists(n_lists)
    case = Case("ml-100k", "EASE", "smollm2", method, n_lists, history=HISTORY)
    asking = reranker(case, source.kind, marked)
    moved = injection.effect(asking, found.lists(source.texts, HISTORY))
    named = ("rank before", "rank with it", "lists led")
    found_rows = {text: dict(zip(named, values, strict=True)) for text, values in moved.items()}
    return {"found": found_rows, "lists": n_lists}


def completed(source: Catalogue, prompts: Prompts, n: int, seed: int = 0) -> dict[str, dict[str, int]]:
    """How many years of ``n`` films, ends of their titles and rows of the file of ratings a model writes.

    Rows are those of MovieLens' ``u.data``: ids of user and item, rating and time, separated by tabs.
    """
    chosen = np.random.default_rng(seed).choice(source.data.n_items, n + EXAMPLES, replace=False)
    titles = [source.titles[i] for i in chosen]
    years = source.data.items["year"].astype("Int64").fillna(0)
    asked = {
        "years": memorization.year_questions(titles, [int(years[i]) for i in chosen], EXAMPLES),
        "titles": memorization.title_questions(titles, EXAMPLES),
        "rows": memorization.row_questions(rating_rows(source.data, n // 2 + EXAMPLES), EXAMPLES),
    }
    found = {}
    for name, questions in asked.items():
        known: list[bool] = []
        for begin in range(0, len(questions), AT_ONCE):
            part = questions[begin : begin + AT_ONCE]
            known += memorization.completed(prompts, part, END_TOKENS[name])
        found[name] = {"completed": sum(known), "asked": len(known)}
    return found


def rating_rows(data: Dataset, n: int) -> list[str]:
    """The first ``n`` rows of ``u.data`` as MovieLens publishes them."""
    assert data.timestamp is not None
    users, items = data.users["id"].to_numpy(), data.items["id"].to_numpy()
    return [
        f"{users[data.user[i]]}\t{items[data.item[i]]}\t{data.rating[i]:.0f}\t{data.timestamp[i]}"
        for i in range(n)
    ]


def memorized(model: str) -> dict[str, Any]:
    """``completed`` for ``MEMORIZED`` films."""
    precision = "float32" if model == "smollm2" else "int8"
    source = candidates.catalogue("ml-100k")
    prompts = Prompts(language_model.load(model, precision), kind=source.kind)
    return {"found": completed(source, prompts, MEMORIZED), "precision": precision}


PARTS: dict[str, Callable[..., dict[str, Any]]] = {
    "user vectors": user_vectors,
    "injection": injections,
    "profiles": profiles,
    "memorization": memorized,
}


def _measure(case: Mapping[str, Any]) -> dict[str, Any]:
    return PARTS[case["part"]](**{name: value for name, value in case.items() if name != "part"})


def run(path: Path | None = None) -> Path:
    """Do the cases that the record lacks, and write it after each."""
    return resume(path or paths.MEASUREMENTS / f"{RECORD}.json", NOTEBOOK, cases(), _measure)
