"""Rankers that read text, taught by EASE: a cross-encoder, and a decoder that picks a letter.

EASE has no score for an item without interactions; a student that learned from EASE's scores of other items
has one. Students never see the items on which they are validated or tested.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from recsys_lib.evaluation import splits
from recsys_lib.evaluation.splits import Split
from recsys_lib.evaluation.tuning import cold_validation
from recsys_lib.experiments.reranking import candidates, reranking_study, results
from recsys_lib.experiments.reranking.candidates import Candidates
from recsys_lib.hardware import machine
from recsys_lib.llm import language_model, rerank
from recsys_lib.llm.finetune.decoder import DecoderTuner, Example
from recsys_lib.llm.finetune.trained_cross_encoder import TrainedCrossEncoder
from recsys_lib.llm.prompts import Prompts
from recsys_lib.llm.rerank import FirstToken, Lists, Reranker
from recsys_lib.recommenders import EASE

# Teacher: EASE at this regularization. A list: so many of its best candidates, and others drawn at random.
REGULARIZATION, BEST, RANDOM = 400.0, 5, 5
AMONG = 50  # the best that BEST are drawn from
HISTORY = 6
# Lists that a student learns from, passes over them, and the rates of which the best on validation is taken.
BUDGET: dict[str, tuple[int, int]] = {"cross-encoder": (1500, 1), "decoder": (128, 1)}
RATES: dict[str, tuple[float, ...]] = {
    "cross-encoder": (3e-5, 1e-4, 3e-4),
    "decoder": (3e-4, 1e-3, 3e-3),
}
# Lists that a rate is tried on.
TUNED_ON: dict[str, int] = {"cross-encoder": 300, "decoder": 48}
USERS, VALIDATION = reranking_study.MAX_USERS, reranking_study.MAX_VALIDATION
# Users whose lists a student is tested and validated on: a decoder's list takes many times as long.
JUDGED: dict[str, tuple[int, int]] = {"cross-encoder": (USERS, VALIDATION), "decoder": (40, 20)}


@dataclass(frozen=True, eq=False)
class Lessons:
    """Lists and, for each, the teacher's probabilities of the candidates."""

    lists: Lists
    wanted: list[np.ndarray]

    def first(self, n: int) -> Lessons:
        return Lessons(self.lists.part(0, n), self.wanted[:n])


def lessons(split: Split, texts: Sequence[str], count: int, seed: int) -> Lessons:
    """``count`` lists of random users: items that are not theirs, half of them high on EASE's list, wanted by
    the softmax of EASE's standardized scores.

    Items without a training interaction are no candidates.
    """
    rng, train = np.random.default_rng([seed, 15]), split.train
    ease = EASE(REGULARIZATION).fit(train)
    warm = np.flatnonzero(np.asarray(train.sum(axis=0)).ravel())
    eligible = np.flatnonzero(np.diff(train.indptr) >= 2)
    users = rng.choice(eligible, count)
    histories = candidates.histories_of(split, users, seed)
    told, asked, wanted = [], [], []
    for user, history in zip(users, histories, strict=True):
        scores = np.asarray(ease.scores(np.array([user])))[0]
        unseen = np.setdiff1d(warm, history)
        ranked = unseen[np.argsort(-scores[unseen], kind="stable")]
        best, rest = ranked[:AMONG], ranked[AMONG:]
        drawn = [rng.choice(best, min(BEST, len(best)), replace=False)]
        drawn.append(rng.choice(rest, min(RANDOM, len(rest)), replace=False))
        own = rng.permutation(np.concatenate(drawn))
        # A random part of the history, still the most recent first: users of whom little is known are met.
        kept = np.sort(rng.permutation(len(history))[: rng.integers(1, HISTORY + 1)])
        told.append([texts[i] for i in history[kept]])
        asked.append([texts[i] for i in own])
        wanted.append(_softmax(results.standardized([scores[own]])[0]))
    return Lessons(Lists(told, asked), wanted)


def _softmax(values: np.ndarray) -> np.ndarray:
    grown = np.exp(values - values.max())
    return grown / grown.sum()


@dataclass(frozen=True, eq=False)
class Course:
    """What students of one draw of cold films learn from, the lists on which they are validated (of films
    made cold in turn) and tested, and every film's text, the one that the first stage reads.
    """

    lessons: Lessons
    validation: Candidates
    cold: Candidates
    texts: list[str]


def course(seed: int, count: int) -> Course:
    """The draw of notebook 05; nothing that is validated or tested on is learned from."""
    source = candidates.catalogue("ml-100k")
    split = splits.cold_item_split(source.data, 0.2, seed)
    validation, cold = candidates.first_stage(source, "cold map", USERS, VALIDATION, seed)
    kept = cold_validation(split, seed=seed)[2]
    outside = ~np.isin(split.dataset.item[split.train_rows], kept)
    inner = replace(split, train_rows=split.train_rows[outside])
    texts = source.data.item_texts()
    return Course(lessons(inner, texts, count, seed), validation, cold, texts)


def taught(student: str, rate: float, learned: Lessons, seed: int) -> tuple[Reranker, list[float]]:
    """A student at a learning rate, and its losses; without lessons, as it is before."""
    epochs = BUDGET[student][1]
    if student == "cross-encoder":
        pupil = TrainedCrossEncoder(
            max_history=HISTORY, learning_rate=rate, seed=seed, bfloat16=machine.bfloat16_is_faster()
        )
        return pupil, pupil.fit(learned.lists, learned.wanted, epochs) if learned.wanted else []
    prompts = Prompts(language_model.load("smollm2", device="cpu"), max_history=HISTORY)
    tuner = DecoderTuner(
        prompts, "choose", learning_rate=rate, seed=seed, bfloat16=machine.bfloat16_is_faster()
    )
    examples = [
        Example(tuple(h), tuple(c), tuple(float(p) for p in w))
        for h, c, w in zip(learned.lists.histories, learned.lists.candidates, learned.wanted, strict=True)
    ]
    losses = tuner.fit(examples, epochs) if examples else []
    return FirstToken(Prompts(tuner.model(), max_history=HISTORY), seed=seed), losses


def scores_of(pupil: Reranker, found: Candidates, texts: Sequence[str]) -> list[np.ndarray]:
    return rerank.rerank(pupil, found.lists(texts, HISTORY))[0]


def measure(student: str, seed: int, report: Callable[[str], None] = print) -> dict[str, Any]:
    """A student at its best rate on lists of cold films, before and after its lessons, and its cost."""
    own, (users, validated) = course(seed, BUDGET[student][0]), JUDGED[student]
    held, cold, tried = own.validation.first(validated), own.cold.first(users), {}
    for rate in RATES[student]:
        pupil, _ = taught(student, rate, own.lessons.first(TUNED_ON[student]), seed)
        tried[f"{rate:g}"] = results.evaluate(held, scores_of(pupil, held, own.texts)).mean()["ndcg"]
        report(f"{student}, rate {rate:g}: validation {tried[f'{rate:g}']:.4f}")
    rate = float(max(tried, key=lambda name: tried[name]))
    start = time.process_time()
    pupil, losses = taught(student, rate, own.lessons, seed)
    core_seconds = time.process_time() - start
    before, _ = taught(student, rate, own.lessons.first(0), seed)
    weight = results.tuned_weight(held, scores_of(pupil, held, own.texts))
    return {
        "bfloat16": machine.bfloat16_is_faster(),
        "rates": tried,
        "rate": rate,
        "lists": len(own.lessons.wanted),
        "losses": losses,
        "core_seconds": core_seconds,
        "cold": reranking_study.metrics_of(cold, scores_of(pupil, cold, own.texts), weight),
        "cold before": reranking_study.metrics_of(cold, scores_of(before, cold, own.texts)),
    }
