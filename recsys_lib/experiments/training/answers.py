"""A decoder trained on a few yes-no examples beside logistic regression on EASE's scores: AUC by examples."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from recsys_lib.evaluation.protocols import dataset_of, split_of
from recsys_lib.evaluation.splits import Split
from recsys_lib.llm import language_model
from recsys_lib.llm.finetune.yes_no import Example, YesNoTuner
from recsys_lib.llm.prompts import Prompts, rated
from recsys_lib.recommenders import EASE

FILMS = "ml-100k random"
LIKED = 4.0
# Entries of a history that are shown; a longer one costs more and is cut.
SHOWN = 6
TESTED = 160
PASSES = {16: 6, 64: 4, 256: 2, 1024: 1, 4096: 1}


def pairs(split: Split, rows: np.ndarray, count: int, seed: int) -> np.ndarray:
    """``count`` rows of interactions, half of them liked, drawn at random from ``rows``."""
    rng = np.random.default_rng(seed)
    liked = split.dataset.rating[rows] >= LIKED
    half = [rng.permutation(rows[mask])[: count // 2] for mask in (liked, ~liked)]
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
        liked = bool(data.rating[row] >= LIKED)
        found.append(Example(tuple(history), str(titles[data.item[row]]), liked))
    return found


def ease_features(split: Split, rows: np.ndarray) -> np.ndarray:
    """EASE's scores of each interaction's item ``[n, 2]``: fitted on what was liked, and on all that was
    rated.

    EASE's diagonal is 0, so a training interaction does not speak for itself.
    """
    data = split.dataset
    columns = []
    for train in (data.matrix(split.train_rows, LIKED), split.train):
        scores = EASE(400.0).fit(train).scores(data.user[rows])
        columns.append(scores[np.arange(len(rows)), data.item[rows]])
    return np.stack(columns, axis=1)


def auc(n: int, seed: int = 0, model: str = "smollm2") -> dict[str, Any]:
    """AUC on test interactions after ``n`` training examples (0: none), for the decoder and for logistic
    regression.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    dataset_of(FILMS)
    split = split_of(FILMS, seed)
    test = pairs(split, split.test_rows, TESTED, seed)
    liked = split.dataset.rating[test] >= LIKED
    tuner = YesNoTuner(Prompts(language_model.load(model, device="cpu"), max_history=SHOWN), seed=seed)
    found: dict[str, Any] = {"n": n, "tested": len(test), "losses": []}
    start = time.process_time()
    if n:
        drawn = pairs(split, split.train_rows, n, seed)
        found["losses"] = tuner.fit(examples(split, drawn), PASSES[n])
        fitted = make_pipeline(StandardScaler(), LogisticRegression())
        fitted.fit(ease_features(split, drawn), split.dataset.rating[drawn] >= LIKED)
        scores = fitted.predict_proba(ease_features(split, test))[:, 1]
        found["logistic regression on EASE"] = float(roc_auc_score(liked, scores))
        found["logistic_scores"] = np.round(scores, 4)
    found["core_seconds"] = time.process_time() - start
    scores = tuner.scores(examples(split, test))
    found["decoder"] = float(roc_auc_score(liked, scores))
    return found | {"liked": liked, "decoder_scores": np.round(scores.astype(float), 4)}
