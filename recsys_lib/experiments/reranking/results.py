"""How good a reordered list is, between its floor and its ceiling; fused with the first stage's scores."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import spearmanr

from recsys_lib.evaluation import metrics
from recsys_lib.evaluation.ranking import Evaluation
from recsys_lib.experiments.reranking.candidates import Candidates
from recsys_lib.llm.rerank import order
from recsys_lib.vectors import similarity

WEIGHTS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)


def evaluate(found: Candidates, scores: Sequence[np.ndarray] | np.ndarray, k: int = 10) -> Evaluation:
    """The first ``k`` of every list by falling ``scores``; equal scores keep the first stage's order."""
    ids = np.full((len(found.users), k), -1, dtype=np.int64)
    for row, (own, score) in enumerate(zip(found.ids, scores, strict=True)):
        own = own[own >= 0]
        ranked = own[order(np.asarray(score)[: len(own)])][:k]
        ids[row, : len(ranked)] = ranked
    return of_lists(found, ids)


def of_lists(found: Candidates, ids: np.ndarray) -> Evaluation:
    """The evaluation of lists ``ids [n, k]``, -1 where a list is shorter."""
    return Evaluation(ids.shape[1], found.users, metrics.all_metrics(ids, found.relevant), ids)


def first_stage_scores(found: Candidates) -> np.ndarray:
    """Scores that keep the first stage's order, ``[n, k]``."""
    return np.tile(-np.arange(found.ids.shape[1], dtype=np.float32), (len(found.ids), 1))


def perfect_scores(found: Candidates) -> np.ndarray:
    """1 for candidates that are test items: the best order there is."""
    return metrics.hits(found.ids, found.relevant).astype(np.float32)


def floor(found: Candidates, k: int = 10) -> np.ndarray:
    """Expected NDCG at ``k`` of a random order of each list, exact, ``[n]``."""
    relevant = metrics.hits(found.ids, found.relevant).sum(axis=1)
    present = np.maximum((found.ids >= 0).sum(axis=1), 1)
    gained = np.cumsum(1 / np.log2(np.arange(2, k + 2)))
    ideal = gained[np.minimum(np.diff(found.relevant.indptr), k) - 1]
    return relevant / present * gained[np.minimum(present, k) - 1] / ideal


def full_ranking(found: Candidates, scores: np.ndarray, k: int = 10) -> Evaluation:
    """The best ``k`` of the whole catalogue by ``scores [n, n_items]`` outside each user's history."""
    shown = np.array(scores, dtype=np.float32)
    for row, history in enumerate(found.histories):
        shown[row, history] = -np.inf
    return of_lists(found, similarity.rank_scores(shown, k)[0])


def standardized(scores: Sequence[np.ndarray] | np.ndarray) -> list[np.ndarray]:
    """Each list's scores with mean 0 and standard deviation 1; a list of equal scores is all 0."""
    found = []
    for own in scores:
        centred = np.asarray(own, dtype=np.float64) - np.mean(own)
        deviation = centred.std()
        found.append(centred / deviation if deviation > 1e-9 else np.zeros_like(centred))
    return found


def fused(found: Candidates, scores: Sequence[np.ndarray], weight: float) -> list[np.ndarray]:
    """``(1 - weight)`` of the first stage's standardized scores and ``weight`` of the reranker's."""
    firsts = standardized([row[ids >= 0] for row, ids in zip(found.scores, found.ids, strict=True)])
    return [(1 - weight) * a + weight * b for a, b in zip(firsts, standardized(scores), strict=True)]


def tuned_weight(found: Candidates, scores: Sequence[np.ndarray]) -> float:
    """The weight of ``WEIGHTS`` with the best mean NDCG on (validation) lists; 0 where no other is better."""
    values = [evaluate(found, fused(found, scores, w)).mean()["ndcg"] for w in WEIGHTS]
    return WEIGHTS[int(np.argmax(np.round(values, 9)))]


def leaning(
    scores: Sequence[np.ndarray],
    ids: Sequence[np.ndarray],
    popularity: np.ndarray,
    texts: Sequence[Sequence[str]],
) -> dict[str, float]:
    """Mean rank correlation over lists of ``scores [n]`` with what a model may rank by that knows no user:
    ``popularity [n_items]`` of the candidates ``ids [n]``, and the length of their ``texts``.
    """
    popular = [spearmanr(s, popularity[i]).statistic for s, i in zip(scores, ids, strict=True)]
    long = [spearmanr(s, [len(t) for t in own]).statistic for s, own in zip(scores, texts, strict=True)]
    return {"popularity": float(np.mean(popular)), "length": float(np.mean(long))}


def agreement(by_order: Sequence[np.ndarray]) -> float:
    """Mean correlation of the candidates' scores ``[orders, n]`` in the first order with those in its
    reverse, the second; NaN for a single order.
    """
    return float(np.mean([np.corrcoef(own[0], own[1])[0, 1] if len(own) > 1 else np.nan for own in by_order]))
