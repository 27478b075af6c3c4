"""Two sources in one ranking: side information inside a model, and blends of finished ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from recsys_lib import similarity
from recsys_lib.errors import InputError
from recsys_lib.recommenders import checks
from recsys_lib.recommenders.ease import ease_weights

if TYPE_CHECKING:
    from recsys_lib.recommenders import Recommender


class TextEASE:
    """EASE whose Gram matrix also counts likeness of texts as co-occurrence.

    ``G = XᵀX + weight · S``, ``S`` the positive part of the cosines of ``item_vectors``, each item's own set to 0; then as EASE,
    with more regularization where ``G`` needs it to be positive definite.
    In the spirit of collective linear models (Jeunen, Van Balen and Goethals, "Closed-Form Models for Collaborative
    Filtering with Side-Information", RecSys 2020). ``popularity_power`` p multiplies ``S`` by ``(n_i n_j)^p``, so that texts speak
    in proportion to how often their items are met; 0 lets all items alike.
    """

    def __init__(
        self,
        item_vectors: np.ndarray,
        regularization: float = 400.0,
        weight: float = 30.0,
        popularity_power: float = 0.0,
    ):
        if not regularization > 0 or weight < 0 or popularity_power < 0:
            raise InputError(
                f"regularization={regularization!r}, weight={weight!r}, popularity_power={popularity_power!r}: want more than 0, "
                "at least 0, at least 0"
            )
        self.item_vectors = np.asarray(item_vectors, dtype=np.float32)
        self.regularization, self.weight, self.popularity_power = regularization, weight, popularity_power
        self.train: sp.csr_matrix | None = None
        self.weights = np.empty((0, 0), dtype=np.float32)

    def fit(self, train: sp.csr_matrix) -> TextEASE:
        self.train = checks.interactions(train)
        checks.vectors_for(self.train, self.item_vectors)
        side = np.maximum(similarity.cosine(self.item_vectors, self.item_vectors), 0)
        np.fill_diagonal(side, 0)
        if self.popularity_power:
            count = np.asarray(self.train.sum(axis=0)).ravel() ** self.popularity_power
            side *= np.outer(count, count)
        gram = (self.train.T @ self.train).toarray()
        self.weights = _solve(gram + self.weight * side, self.regularization)
        return self

    def scores(self, users: np.ndarray) -> np.ndarray:
        return np.asarray(checks.histories(self.train, users) @ self.weights)


def _solve(gram: np.ndarray, regularization: float) -> np.ndarray:
    """EASE's weights; likeness of texts need not be positive definite, so the diagonal grows until the sum is."""
    import torch

    while True:
        try:
            return ease_weights(gram, regularization)
        except torch.linalg.LinAlgError:
            regularization *= 1.5


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
        from scipy.stats import rankdata

        ranks = [rankdata(-r.scores(users), method="min", axis=1) for r in self.recommenders]
        return np.sum([1 / (self.constant + rank) for rank in ranks], axis=0).astype(np.float32)
