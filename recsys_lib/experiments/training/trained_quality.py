"""What a trained encoder's vectors are worth: cold items, warm items, and users with few interactions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from recsys_lib import evaluation, recommenders
from recsys_lib.core import paths
from recsys_lib.evaluation import Evaluation
from recsys_lib.evaluation.tuning import Method, Outcome, Task, compare_methods
from recsys_lib.experiments.study.item_texts import whitened
from recsys_lib.experiments.study.search_spaces import (
    EASE_KERNEL_SPACE,
    EASE_MAP_SPACE,
    EASE_SPACE,
    TEXT_MLP_SPACE,
    text_prior,
)
from recsys_lib.experiments.training.variants import centred
from recsys_lib.recommenders import checks
from recsys_lib.vectors import geometry, similarity

K = 10
TRIALS = 6
# Interactions that are left of a user's history.
FEW = (1, 2, 4, 8, 16)


def cold_outcomes(
    vectors: np.ndarray, task: Task, seed: int, trials: int = TRIALS, kernel: bool = True
) -> dict[str, Outcome]:
    """Cold items ranked by vectors ``[n_items, d]``: alone, by the linear and by the kernel map into EASE's
    columns, tuned as in notebook 05.
    """
    own = centred(vectors, task.whole)
    linear = Method(lambda **p: recommenders.EASEMap(own, **p), EASE_MAP_SPACE, "text")
    methods = {
        "alone": Method(lambda: recommenders.TextProfile(own), {}, "text"),
        "map": linear,
    }
    if kernel:
        methods["kernel map"] = Method(linear.make, EASE_KERNEL_SPACE, "text", linear, {"width": None})
    return compare_methods(methods, task, trials, seed, K, keep_models=False)


def mlp_outcomes(vectors: np.ndarray, task: Task, seed: int, trials: int = TRIALS) -> dict[str, Outcome]:
    """The text MLP on frozen vectors, tuned with as many trials."""
    own = centred(vectors, task.whole)
    network = Method(lambda **p: recommenders.TextMLP(own, progress=False, **p), TEXT_MLP_SPACE, "text")
    return compare_methods({"text MLP": network}, task, trials, seed, K, keep_models=False)


def warm_outcomes(vectors: np.ndarray, task: Task, seed: int, trials: int = TRIALS) -> dict[str, Outcome]:
    """All items ranked for users of the split of notebook 04: text alone, by the map, EASE, text inside
    EASE.
    """
    white = whitened(vectors, task.train)
    ease = Method(recommenders.EASE, EASE_SPACE)
    methods = {
        "alone": Method(lambda: recommenders.TextProfile(white), {}, "text"),
        "map": Method(lambda **p: recommenders.EASEMap(white, **p), EASE_MAP_SPACE, "text"),
        "EASE": ease,
        "inside EASE": text_prior(white, ease),
    }
    return compare_methods(methods, task, trials, seed, K)


def few_interactions(
    outcomes: Mapping[str, Outcome], task: Task, seed: int = 0, kept: tuple[int, ...] = FEW
) -> dict[str, dict[str, Evaluation]]:
    """Each fitted model on users of whom only so many random interactions are ``kept``: number → method."""
    users = np.flatnonzero(np.diff(task.test.indptr))
    found = {}
    for n in kept:
        histories = shortened(task.whole[users], n, seed)
        found[str(n)] = {
            name: _lists(outcome.model, histories, task, users) for name, outcome in outcomes.items()
        }
    return found


def shortened(histories: sp.csr_matrix, n: int, seed: int) -> sp.csr_matrix:
    """At most ``n`` random items of each history.

    >>> shortened(sp.csr_matrix(np.ones((2, 5))), 3, 0).sum(axis=1).ravel().tolist()
    [[3.0, 3.0]]
    """
    kept = []
    for row in range(histories.shape[0]):
        own = histories.indices[histories.indptr[row] : histories.indptr[row + 1]]
        kept.append(np.random.default_rng([seed, row]).permutation(own)[:n])
    return checks.as_matrix(kept, histories.shape[1])


def _lists(model: Any, histories: sp.csr_matrix, task: Task, users: np.ndarray) -> Evaluation:
    scores = np.array(model.score(histories))
    scores[task.whole[users].nonzero()] = -np.inf  # all that was seen, not only what was kept
    return evaluation.evaluate_lists(similarity.rank_scores(scores, K)[0], users, task.test)


def metrics_of(outcomes: Mapping[str, Outcome]) -> dict[str, Any]:
    """Means, tuned parameters and NDCG of every user, for the record."""
    tests = {name: outcome.test for name, outcome in outcomes.items()}
    return {
        "ndcg": {name: found.mean()["ndcg"] for name, found in tests.items()},
        "recall": {name: found.mean()["recall"] for name, found in tests.items()},
        "parameters": {name: dict(outcome.parameters) for name, outcome in outcomes.items()},
        "validation": {name: outcome.validation for name, outcome in outcomes.items()},
        "users": next(iter(tests.values())).users,
        "per_user": {name: per_user(found) for name, found in tests.items()},
    }


def per_user(found: Evaluation) -> list[float]:
    """NDCG of every user to 4 digits."""
    return [round(float(v), 4) for v in found.per_user["ndcg"]]


def sentences(encode: Any) -> dict[str, float]:
    """How well vectors tell pairs of sentences of one topic from others (AUC), for each language of the
    project's sentences; ``encode``: texts to vectors ``[n, d]``.
    """
    from sklearn.metrics import roc_auc_score

    table = pd.read_csv(paths.TABLES / "chinese_sentences.csv")
    topics = table["topic"].to_numpy()
    upper = np.triu_indices(len(topics), 1)
    same = topics[upper[0]] == topics[upper[1]]
    found = {}
    for column in ("en", "zh"):
        vectors = encode(table[column].tolist())
        vectors = geometry.centre(vectors).apply(vectors)
        found[column] = float(roc_auc_score(same, similarity.cosine(vectors, vectors)[upper]))
    return found
