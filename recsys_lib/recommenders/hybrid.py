"""Two sources in one ranking: side information inside a model, and blends of finished ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from recsys_lib.core.errors import InputError
from recsys_lib.recommenders import checks
from recsys_lib.recommenders.ease import ease_weights
from recsys_lib.vectors import similarity

if TYPE_CHECKING:
    from recsys_lib.recommenders import Recommender


class TextEASE:
    """EASE that falls back on likeness of texts: its weights are drawn to those of text instead of to 0.

    ``min |X - XB|² + λ |B - wS|²`` with ``diag(B) = 0``, where ``S`` is the positive part of the cosines of ``item_vectors``
    ``[n_items, d]``, raised to ``sharpness`` and without its diagonal. With ``P = (XᵀX + λI)⁻¹`` and ``M = P (XᵀX + λwS)`` the solution
    is ``B = M - P · diag(M) / diag(P)``; without text (w = 0) it is EASE. Where an item has many interactions they decide, where
    it has few the text does, and an item without any is scored by its text alone. Side information in EASE is usually stacked
    under ``X`` (Jeunen, Van Balen and Goethals, "Closed-Form Models for Collaborative Filtering with Side-Information", RecSys 2020);
    as the mean of a Gaussian prior it leaves the Gram matrix, and so its conditioning, alone. A user without history scores 0.
    """

    def __init__(
        self,
        item_vectors: np.ndarray,
        regularization: float = 400.0,
        weight: float = 0.1,
        sharpness: float = 1.5,
    ):
        if not 0 < regularization < np.inf or weight < 0 or not sharpness > 0:
            raise InputError(
                f"regularization={regularization!r}, weight={weight!r}, sharpness={sharpness!r}: want more than 0 and finite, at "
                "least 0, more than 0"
            )
        self.item_vectors = np.asarray(item_vectors, dtype=np.float32)
        self.regularization, self.weight, self.sharpness = regularization, weight, sharpness
        self.train: sp.csr_matrix | None = None
        self.weights = np.empty((0, 0), dtype=np.float32)

    def fit(self, train: sp.csr_matrix) -> TextEASE:
        self.train = checks.interactions(train)
        checks.vectors_for(self.train, self.item_vectors)
        prior = np.maximum(similarity.cosine(self.item_vectors, self.item_vectors), 0) ** self.sharpness
        np.fill_diagonal(prior, 0)
        prior *= self.weight
        self.weights = ease_weights((self.train.T @ self.train).toarray(), self.regularization, prior)
        return self

    def scores(self, users: np.ndarray) -> np.ndarray:
        return np.asarray(checks.histories(self.train, users) @ self.weights)


def _standardized(scores: np.ndarray) -> np.ndarray:
    """Every row to mean 0 and spread 1; a constant row to 0: only then do weights mean the same for two models."""
    centred = scores - scores.mean(axis=1, keepdims=True)
    spread = centred.std(axis=1, keepdims=True)
    return centred / np.where(spread > 0, spread, 1)


class ScoreBlend:
    """Weighted sum of several recommenders' scores, each row standardized first."""

    reads_times = True

    def __init__(self, recommenders: Sequence[Recommender], weights: Sequence[float]):
        if len(recommenders) != len(weights) or not recommenders or any(w < 0 for w in weights):
            raise InputError(
                f"{len(recommenders)} recommenders, weights={list(weights)!r}: want one non-negative weight for each"
            )
        self.recommenders, self.weights = list(recommenders), [float(w) for w in weights]

    def fit(self, train: sp.csr_matrix, times: sp.csr_matrix | None = None) -> ScoreBlend:
        for recommender in self.recommenders:
            checks.fit(recommender, train, times)
        return self

    def scores(self, users: np.ndarray) -> np.ndarray:
        parts = zip(self.weights, self.recommenders, strict=True)
        return np.asarray(sum(w * _standardized(r.scores(users)) for w, r in parts), dtype=np.float32)


def _ranks(scores: np.ndarray) -> np.ndarray:
    """1 for the highest score of each row; equal ones share the better rank. float32, more than twice as fast as rankdata of scipy."""
    import torch

    ordered, places = torch.sort(torch.from_numpy(np.ascontiguousarray(scores)), dim=1, descending=True)
    count = torch.arange(1, scores.shape[1] + 1, dtype=torch.float32)
    lower = torch.ones_like(ordered, dtype=torch.bool)
    lower[:, 1:] = ordered[:, 1:] < ordered[:, :-1]
    ranks = torch.cummax(torch.where(lower, count, 0), dim=1).values
    return torch.empty_like(ranks).scatter_(1, places, ranks).numpy()


class RankFusion:
    """Reciprocal rank fusion: the sum of ``1 / (constant + rank)`` (Cormack, Clarke and Büttcher, SIGIR 2009).

    Uses no scores, only orders, so nothing has to be comparable. Equal scores share the better rank.
    """

    reads_times = True

    def __init__(self, recommenders: Sequence[Recommender], constant: float = 60.0):
        if not recommenders or not constant > 0:
            raise InputError(f"{len(recommenders)} recommenders, constant={constant!r}: want at least one, more than 0")
        self.recommenders, self.constant = list(recommenders), constant

    def fit(self, train: sp.csr_matrix, times: sp.csr_matrix | None = None) -> RankFusion:
        for recommender in self.recommenders:
            checks.fit(recommender, train, times)
        return self

    def scores(self, users: np.ndarray) -> np.ndarray:
        return np.sum([1 / (self.constant + _ranks(r.scores(users))) for r in self.recommenders], axis=0)
