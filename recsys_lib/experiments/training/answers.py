"""A decoder trained on a few yes-no examples beside logistic regression on EASE's scores: AUC, and NDCG of
EASE's lists reordered, by examples.

The decoder's learning rate is the one of ``RATES`` with the highest AUC on validation interactions.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from recsys_lib.evaluation.protocols import split_of
from recsys_lib.evaluation.splits import Split
from recsys_lib.experiments.reranking import candidates, reranking_study
from recsys_lib.experiments.reranking.candidates import Candidates
from recsys_lib.hardware import machine
from recsys_lib.llm import language_model, rerank
from recsys_lib.llm.finetune.decoder import DecoderTuner, Example, liked
from recsys_lib.llm.prompts import Prompts, rated
from recsys_lib.llm.rerank import Lists, Usage, YesNo
from recsys_lib.recommenders import EASE

FILMS = "ml-100k random"
LIKED = 4.0
# Entries of a history that are shown; a longer one costs more and is cut.
SHOWN = 6
TESTED = 480
PASSES = {16: 6, 64: 4, 256: 2, 1024: 1, 4096: 1}
# The learning rates that were tried on so many examples, and the one that all numbers of examples are trained
# with. A test holds it to the record's parts "yes-no rate".
RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
TUNED_ON, VALIDATED = 512, 320
RATE = 3e-3
# Users whose 20 best candidates of EASE are reordered: the first of the reranking study's.
USERS = 60
REGULARIZATION = 400.0


def pairs(split: Split, rows: np.ndarray, count: int, seed: int) -> np.ndarray:
    """``count`` rows of interactions, half of them liked, drawn at random from ``rows``."""
    rng = np.random.default_rng(seed)
    mask = split.dataset.rating[rows] >= LIKED
    half = [rng.permutation(rows[own])[: count // 2] for own in (mask, ~mask)]
    return rng.permutation(np.concatenate(half))


def examples(split: Split, rows: np.ndarray) -> list[Example]:
    """Each interaction as a question about its item, after the user's other training items, latest first."""
    data = split.dataset
    titles = data.items["title"].to_numpy()
    assert data.timestamp is not None
    by_user: dict[int, list[int]] = {}
    for row in split.train_rows[np.argsort(-data.timestamp[split.train_rows], kind="stable")]:
        by_user.setdefault(int(data.user[row]), []).append(int(row))
    found = []
    for row in rows:
        own = [r for r in by_user.get(int(data.user[row]), []) if r != row][:SHOWN]
        history = rated([titles[data.item[r]] for r in own], [float(data.rating[r]) for r in own])
        found.append(liked(history, str(titles[data.item[row]]), data.rating[row] >= LIKED))
    return found


class EASEFeatures:
    """EASE's scores of a user's items ``[n, 2]``: fitted on what was liked, and on all that was rated.

    EASE's diagonal is 0, so a training interaction does not speak for itself.
    """

    def __init__(self, split: Split):
        self.fitted = [
            EASE(REGULARIZATION).fit(train)
            for train in (split.dataset.matrix(split.train_rows, LIKED), split.train)
        ]

    def of(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        rows = np.arange(len(users))
        return np.stack([model.scores(users)[rows, items] for model in self.fitted], axis=1)


def tuner_of(rate: float, seed: int, model: str) -> DecoderTuner:
    """A decoder with fresh adapters that sees as much of a history as ``examples`` shows."""
    prompts = Prompts(language_model.load(model, device="cpu"), max_history=SHOWN)
    return DecoderTuner(prompts, learning_rate=rate, seed=seed, bfloat16=machine.bfloat16_is_faster())


def reader_of(tuner: DecoderTuner) -> YesNo:
    """The trained decoder as a reranker."""
    return YesNo(Prompts(tuner.model(), max_history=SHOWN), users_at_once=8)


def log_odds(reader: YesNo, asked: list[Example]) -> np.ndarray:
    """``log P(yes) - log P(no)`` of every example, ``[n]``."""
    parts = []
    for start in range(0, len(asked), reader.users_at_once):
        own = asked[start : start + reader.users_at_once]
        lists = Lists([e.history for e in own], [e.candidates for e in own])
        parts += reader.score(lists, Usage())
    return np.concatenate(parts)


def validated(rate: float, seed: int = 0, model: str = "smollm2") -> dict[str, Any]:
    """AUC on validation interactions after ``TUNED_ON`` training examples at a learning rate."""
    from sklearn.metrics import roc_auc_score

    split = split_of(FILMS, seed)
    rows = pairs(split, split.validation_rows, VALIDATED, seed)
    tuner, start = tuner_of(rate, seed, model), time.process_time()
    drawn = pairs(split, split.train_rows, TUNED_ON, seed)
    losses = tuner.fit(examples(split, drawn), 1)
    scores = log_odds(reader_of(tuner), examples(split, rows))
    return {
        "rate": rate,
        "bfloat16": tuner.bfloat16,
        "n": TUNED_ON,
        "validated": len(rows),
        "losses": losses,
        "auc": float(roc_auc_score(split.dataset.rating[rows] >= LIKED, scores)),
        "core_seconds": time.process_time() - start,
    }


def auc(n: int, seed: int = 0, model: str = "smollm2") -> dict[str, Any]:
    """After ``n`` training examples (0: none), of the decoder and of logistic regression: AUC on test
    interactions, and EASE's lists reordered.
    """
    from sklearn.metrics import roc_auc_score

    split = split_of(FILMS, seed)
    test = pairs(split, split.test_rows, TESTED, seed)
    answers = split.dataset.rating[test] >= LIKED
    source = candidates.catalogue("ml-100k")
    lists = candidates.first_stage(
        source, "EASE", reranking_study.MAX_USERS, reranking_study.MAX_VALIDATION, seed
    )[1].first(USERS)
    tuner = tuner_of(RATE, seed, model)
    found: dict[str, Any] = {"n": n, "rate": RATE, "bfloat16": tuner.bfloat16, "tested": len(test)}
    found |= {"losses": [], "reranked": {}}
    start = time.process_time()
    if n:
        drawn = pairs(split, split.train_rows, n, seed)
        found["losses"] = tuner.fit(examples(split, drawn), PASSES[n])
    found["core_seconds"] = time.process_time() - start
    if n:
        regression = _logistic(split, drawn)
        scores = regression(split.dataset.user[test], split.dataset.item[test])
        found["logistic regression on EASE"] = float(roc_auc_score(answers, scores))
        found["logistic_scores"] = np.round(scores, 4)
        found["reranked"]["logistic regression on EASE"] = _reranked(lists, regression)
    reader = reader_of(tuner)
    scores = log_odds(reader, examples(split, test))
    found["decoder"] = float(roc_auc_score(answers, scores))
    texts = source.data.items["title"].astype(str).tolist()
    reordered, _ = rerank.rerank(reader, lists.lists(texts, SHOWN, source.ratings()))
    found["reranked"]["decoder"] = reranking_study.metrics_of(lists, reordered)
    return found | {"liked": answers, "decoder_scores": np.round(scores.astype(float), 4)}


def _logistic(split: Split, rows: np.ndarray) -> Any:
    """Logistic regression on EASE's scores, fitted on ``rows``: users and items ``[n]`` to P(liked)."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    data, features = split.dataset, EASEFeatures(split)
    fitted = make_pipeline(StandardScaler(), LogisticRegression())
    fitted.fit(features.of(data.user[rows], data.item[rows]), data.rating[rows] >= LIKED)
    return lambda users, items: fitted.predict_proba(features.of(users, items))[:, 1]


def _reranked(lists: Candidates, score: Any) -> dict[str, Any]:
    users = np.repeat(lists.users, lists.ids.shape[1])
    scores = score(users, lists.ids.ravel()).reshape(lists.ids.shape)
    return reranking_study.metrics_of(lists, list(scores))
