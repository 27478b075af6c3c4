"""The recorded study of generation: a language model writes titles, and a small T5 writes semantic ids.

``run`` does what ``data/measurements/generation-study.json`` lacks: titles by SmolLM2, freely and under a
trie of the catalogue, for users of notebook 06's protocol; and the next item by TIGER, on the leave-one-out
protocol of the films, beside recommenders that rank instead of writing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recsys_lib import encoders, evaluation, recommenders
from recsys_lib.core import paths
from recsys_lib.evaluation import Evaluation, protocols, tuning
from recsys_lib.evaluation.tuning import Method
from recsys_lib.experiments.notebook_record import resume
from recsys_lib.experiments.reranking import candidates, results
from recsys_lib.experiments.reranking.candidates import Candidates, Catalogue
from recsys_lib.experiments.study.item_texts import encode, whitened
from recsys_lib.experiments.study.search_spaces import EASE_SPACE
from recsys_lib.experiments.study.study_tables import bootstrap_record
from recsys_lib.llm.perplexity import language_model
from recsys_lib.llm.titles import Written, write_titles
from recsys_lib.llm.user_encoder import UserEncoder
from recsys_lib.recommenders.tiger import TIGER
from recsys_lib.vectors import geometry, similarity

RECORD = "generation-study"
NOTEBOOK = "06_llm_ranking"
K = 10
USERS, HISTORY = 25, 10
# A free answer and one under the trie, ranked by probability and by the mean over the title's tokens.
WRITING = {
    "free, probability": (False, 0.0), "free, mean of tokens": (False, 1.0),
    "trie, probability": (True, 0.0), "trie, mean of tokens": (True, 1.0),
}  # fmt: skip
# A fit of a network takes minutes, so each has two points; the others have six of theirs.
TRIALS, NETWORK_TRIALS = 6, 2
SASREC_SPACE, TIGER_SPACE = {"epochs": [20, 60]}, {"epochs": [20, 40]}
# A third of the default's time for each step: ten items are forty tokens, and the latest say most.
TIGER_SIZE: dict[str, Any] = {"dimension": 64, "length": 10}


def prompt(titles: Sequence[str]) -> str:
    """A list of films that a decoder goes on with; ``titles``: a history, the most recent first.

    >>> prompt(["Emma (1996)", "Fargo (1996)"])
    'Films that one person watched and liked:\\n- Fargo (1996)\\n- Emma (1996)\\n-'
    """
    lines = "".join(f"- {title}\n" for title in reversed(titles))
    return f"Films that one person watched and liked:\n{lines}-"


def listed(written: Sequence[Written], known: Iterable[int], k: int = K) -> tuple[np.ndarray, dict[str, int]]:
    """The item ids ``[k]`` of what was written, in order, and how many of it cannot be recommended.

    ``known``: the user's history. Ids are filled with -1. What is counted: invented (no item of the
    catalogue), watched (an item of the history), repeated (an item written before).
    """
    ids, counts = [], {"invented": 0, "watched": 0, "repeated": 0}
    seen = {int(item) for item in known}
    for one in written[:k]:
        if one.item is None:
            counts["invented"] += 1
        elif one.item in ids:
            counts["repeated"] += 1
        elif one.item in seen:
            counts["watched"] += 1
        else:
            ids.append(one.item)
    return np.array(ids + [-1] * (k - len(ids))), counts


def question(source: Catalogue, history: np.ndarray) -> tuple[str, list[int]]:
    """The prompt of a history, item ids with the most recent first, and the items that are not in it."""
    unseen = np.setdiff1d(np.arange(len(source.titles)), history).tolist()
    return prompt([source.titles[i] for i in history[:HISTORY]]), unseen


def examples(source: Catalogue, history: np.ndarray, model: str, count: int = 3) -> dict[str, list[Written]]:
    """What ``model`` writes after the titles of a history, item ids with the most recent first: freely, and
    under the trie.
    """
    language, tokenizer = language_model(model)
    start, unseen = question(source, history)
    ways = {"freely": None, "under the trie": [unseen]}
    return {
        way: write_titles(language, tokenizer, [start], source.titles, allowed, count=count)[0]
        for way, allowed in ways.items()
    }


def titles(n_users: int = USERS, model: str = "smollm2") -> dict[str, Any]:
    """Metrics of the lists that ``model`` writes for the films' first ``n_users`` users, beside EASE's and
    those of the nearest neighbours of the mean of the history's vectors.
    """
    source = candidates.catalogue("ml-100k")
    found = candidates.first_stage(source, "EASE", 200, 60)[1].first(n_users)
    language, tokenizer = language_model(model)
    prompts, unseen = zip(*(question(source, history) for history in found.histories), strict=True)
    evaluations = {
        "EASE": results.of_lists(found, found.ids[:, :K]),
        "neighbours": _neighbours(source, found),
    }
    counts: dict[str, dict[str, float]] = {}
    for name, (under_trie, penalty) in WRITING.items():
        start = time.process_time()
        written = write_titles(
            language, tokenizer, prompts, source.titles, unseen if under_trie else None,
            count=K, length_penalty=penalty,
        )  # fmt: skip
        seconds = (time.process_time() - start) / n_users
        lists = [listed(own, history) for own, history in zip(written, found.histories, strict=True)]
        evaluations[name] = results.of_lists(found, np.array([ids for ids, _ in lists]))
        counts[name] = {
            f"{what} per 100": 100 * sum(c[what] for _, c in lists) / (n_users * K) for what in lists[0][1]
        } | {"core seconds per list": seconds}
    return {"found": _means(evaluations), "counts": counts, "bootstrap": bootstrap_record(evaluations)}


def _neighbours(source: Catalogue, found: Candidates) -> Evaluation:
    """Items nearest to the mean of the latest items' vectors, as in notebook 06."""
    encoder = encoders.load("minilm", precision="float32")
    items = encoder.encode(source.texts, progress=False)
    whiten = geometry.whiten(items)
    latest = [[source.texts[i] for i in history[:HISTORY]] for history in found.histories]
    users = whiten.apply(UserEncoder("mean", encoder, max_history=HISTORY).encode(latest))
    return results.full_ranking(found, similarity.cosine(users, whiten.apply(items)), K)


def next_item() -> dict[str, Any]:
    """Metrics of TIGER and of recommenders that rank, on the films' leave-one-out protocol."""
    split = protocols.split_of("ml-100k leave-one-out")
    task = tuning.warm_task(split)
    raw = encode(protocols.dataset_of("ml-100k leave-one-out"), "minilm")
    vectors = whitened(raw, task.train)
    ranking = {
        "popularity": Method(recommenders.Popularity),
        "EASE": Method(recommenders.EASE, EASE_SPACE),
        "text": Method(lambda: recommenders.TextProfile(vectors)),
    }
    networks = {
        "SASRec": Method(lambda **p: recommenders.SASRec(progress=False, **p), SASREC_SPACE),
        "TIGER": Method(lambda **p: TIGER(vectors, progress=False, **TIGER_SIZE, **p), TIGER_SPACE),
    }
    outcomes = tuning.compare_methods(ranking, task, TRIALS, k=K, keep_models=False)
    outcomes |= tuning.compare_methods(networks, task, NETWORK_TRIALS, k=K, keep_models=False)
    evaluations = {name: outcome.test for name, outcome in outcomes.items()}
    return {
        "found": _means(evaluations),
        "parameters": {name: outcome.parameters for name, outcome in outcomes.items()},
        "size of TIGER": TIGER_SIZE,
        "validation": {name: outcome.validation for name, outcome in outcomes.items()},
        "fit_s": {name: outcome.fit_s for name, outcome in outcomes.items()},
        "bootstrap": bootstrap_record(evaluations),
    }


def _means(evaluations: Mapping[str, Evaluation]) -> dict[str, dict[str, float]]:
    """NDCG, recall and hit rate of every method, and its NDCG less that of EASE, paired over users."""
    found = {}
    for name, own in evaluations.items():
        mean, less = own.mean(), evaluation.compare(own, evaluations["EASE"])
        found[name] = {metric: mean[metric] for metric in ("ndcg", "recall", "hit_rate")}
        found[name] |= {"less EASE": less.difference, "low": less.low, "high": less.high}
    return found


PARTS: dict[str, Callable[[], dict[str, Any]]] = {"titles": titles, "next item": next_item}


def run(path: Path | None = None) -> Path:
    """Do the parts that the record lacks, and write it after each."""
    path = path or paths.MEASUREMENTS / f"{RECORD}.json"
    cases = [{"part": part} for part in PARTS]
    return resume(path, NOTEBOOK, cases, lambda case: PARTS[case["part"]]())
