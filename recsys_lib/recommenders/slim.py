"""SLIM: a sparse, non-negative linear item-item model."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from recsys_lib.core.errors import InputError
from recsys_lib.recommenders import checks
from recsys_lib.recommenders.ease import ADVICE
from recsys_lib.recommenders.recommender import BaseRecommender


class SLIM(BaseRecommender):
    """Non-negative item-item weights under an elastic net (Ning and Karypis, ICDM 2011).

    ``min ½|X - XB|² + ½ l2 |B|² + l1 |B|₁`` with ``B ≥ 0`` and ``diag(B) = 0``, solved for all items at once
    by ADMM (Steck, Dimakopoulou, Riabov and Jebara, "ADMM SLIM", WSDM 2020): one factorization, then
    ``iterations`` matrix products.
    Memory: ten matrices ``[n_items, n_items]``. ``device``: where it is solved, "cpu", "cuda" or "auto". A
    user without history scores 0.
    """

    settings = ("l1", "l2", "iterations")
    arrays = ("weights",)

    def __init__(self, l1: float = 1.0, l2: float = 400.0, iterations: int = 40, device: str = "cpu"):
        if not (0 <= l1 < np.inf and 0 <= l2 < np.inf) or iterations < 1 or l1 + l2 == 0:
            raise InputError(
                f"l1={l1!r}, l2={l2!r}, iterations={iterations!r}: expected non-negative, not both 0, and 1 "
                f"or more"
            )
        self.l1, self.l2, self.iterations, self.device = l1, l2, iterations, checks.device(device)
        self.weights: sp.csr_matrix | None = None

    def _fit(self, train: sp.csr_matrix, times: sp.csr_matrix | None) -> None:
        checks.square_memory(train.shape[1], 10, "SLIM", ADVICE)
        gram = (train.T @ train).toarray()
        self.weights = sp.csr_matrix(slim_weights(gram, self.l1, self.l2, self.iterations, self.device))

    def _score(self, histories: sp.csr_matrix) -> np.ndarray:
        return (histories @ self.weights).toarray()


def slim_weights(
    gram: np.ndarray, l1: float, l2: float, iterations: int = 60, device: str = "cpu"
) -> np.ndarray:
    """``B [n_items, n_items]`` float32, sparse in effect: non-negative, zero diagonal.

    ADMM with the penalty ρ at the mean of the Gram's diagonal, which makes quadratic and sparse steps move
    alike.

    Raises:
        InputError: ``l2`` is too small for the Gram matrix to be factorized in float32.
    """
    import torch

    g = torch.from_numpy(np.ascontiguousarray(gram, dtype=np.float32)).to(device)
    n, rho = len(g), max(float(g.diagonal().mean()), 1e-6)
    p = g.clone()
    p.diagonal().add_(l2 + rho)
    with checks.solvable(f"l2={l2!r}"):
        p = torch.cholesky_inverse(torch.linalg.cholesky(p))
    base = p @ g
    diagonal = p.diagonal().clone()
    sparse, dual = torch.zeros(n, n, device=device), torch.zeros(n, n, device=device)
    for _ in range(iterations):
        dense = base + p @ (rho * sparse - dual)
        # The multiplier of the constraint diag(B) = 0, solved per column in closed form.
        dense -= p * (dense.diagonal() / diagonal)
        sparse = torch.clamp(dense + (dual - l1) / rho, min=0)
        sparse.fill_diagonal_(0)
        dual += rho * (dense - sparse)
    return sparse.cpu().numpy()
