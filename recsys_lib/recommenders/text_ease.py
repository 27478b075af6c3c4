"""EASE whose weights are regularized towards text similarity."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from recsys_lib.core.errors import InputError
from recsys_lib.recommenders import checks
from recsys_lib.recommenders.ease import ADVICE, check_top, ease_weights, pruned, scores_by
from recsys_lib.recommenders.recommender import BaseRecommender
from recsys_lib.vectors import similarity


class TextEASE(BaseRecommender):
    """EASE regularized towards text similarity: the penalty draws its weights to those of text instead of to
    0.

    ``min |X - XB|² + λ |B - wS|²`` with ``diag(B) = 0``, where ``S`` is the positive part of the cosines of
    ``item_vectors`` ``[n_items, d]``, raised to ``sharpness`` and without its diagonal. With
    ``P = (XᵀX + λI)⁻¹`` and ``M = P (XᵀX + λwS)`` the solution is ``B = M - P · diag(M) / diag(P)``; without
    text (w = 0) it is EASE. Where an item has many interactions they decide, where it has few the text does,
    and an item without any is scored by its text alone. Side information in EASE is usually stacked under
    ``X`` (Jeunen, Van Balen and Goethals, "Closed-Form Models for Collaborative Filtering with
    Side-Information", RecSys 2020); as the mean of a Gaussian prior it leaves the Gram matrix,
    and so its conditioning, alone. ``device``: where it is solved, "cpu", "cuda" or "auto". ``top`` keeps of
    every column the ``top`` weights of largest absolute value, as in EASE. A user without history scores 0.
    """

    settings = ("regularization", "weight", "sharpness", "top")
    arrays = ("item_vectors", "weights")

    def __init__(
        self,
        item_vectors: np.ndarray,
        regularization: float = 400.0,
        weight: float = 0.1,
        sharpness: float = 1.5,
        top: int | None = None,
        device: str = "cpu",
    ):
        if not 0 < regularization < np.inf or weight < 0 or not sharpness > 0:
            raise InputError(
                f"regularization={regularization!r}, weight={weight!r}, sharpness={sharpness!r}: expected "
                f"more than 0 "
                "and finite, at least 0, more than 0"
            )
        check_top(top)
        self.item_vectors = np.asarray(item_vectors, dtype=np.float32)
        self.regularization, self.weight, self.sharpness = regularization, weight, sharpness
        self.top, self.device = top, checks.device(device)
        self.weights: np.ndarray | sp.csr_matrix = np.empty((0, 0), dtype=np.float32)

    def _fit(self, train: sp.csr_matrix, times: sp.csr_matrix | None) -> None:
        checks.vectors_for(train, self.item_vectors)
        checks.square_memory(train.shape[1], 6, "TextEASE", ADVICE)
        prior = self._prior() if self.weight else None
        weights = ease_weights((train.T @ train).toarray(), self.regularization, prior, self.device)
        self.weights = pruned(weights, self.top)

    def _prior(self) -> np.ndarray:
        """``wS``, see the class: what the weights are drawn to."""
        prior = np.maximum(similarity.cosine(self.item_vectors, self.item_vectors), 0) ** self.sharpness
        np.fill_diagonal(prior, 0)
        prior *= self.weight
        return prior

    def _score(self, histories: sp.csr_matrix) -> np.ndarray:
        return scores_by(histories, self.weights)
