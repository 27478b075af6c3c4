"""EASE that also reads texts."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from recsys_lib.core.errors import InputError
from recsys_lib.recommenders import checks
from recsys_lib.recommenders.ease import ease_weights
from recsys_lib.vectors import similarity


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
