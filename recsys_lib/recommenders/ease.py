"""EASE: a linear autoencoder in closed form, the baseline that is hard to beat."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from recsys_lib.core.errors import InputError
from recsys_lib.recommenders import checks


class EASE:
    """Item-item weights that best rebuild every user's row from its other items (Steck, WWW 2019).

    ``min |X - XB|² + λ|B|²`` with ``diag(B) = 0`` has the solution ``B = I - P / diag(P)``, ``P = (XᵀX + λI)⁻¹``; scores are
    ``XB``. Time grows with the cube of the number of items, memory with its square. A user without history scores 0.
    """

    def __init__(self, regularization: float = 300.0):
        if not 0 < regularization < np.inf:
            raise InputError(f"regularization={regularization!r}: want a positive, finite number")
        self.regularization = regularization
        self.train: sp.csr_matrix | None = None
        self.weights = np.empty((0, 0), dtype=np.float32)

    def fit(self, train: sp.csr_matrix) -> EASE:
        self.train = checks.interactions(train)
        self.weights = ease_weights((self.train.T @ self.train).toarray(), self.regularization)
        return self

    def scores(self, users: np.ndarray) -> np.ndarray:
        return np.asarray(checks.histories(self.train, users) @ self.weights)


def ease_weights(gram: np.ndarray, regularization: float, prior: np.ndarray | None = None) -> np.ndarray:
    """``B [n_items, n_items]`` float32 with zero diagonal from a Gram matrix, by a Cholesky inverse.

    ``prior`` (zero diagonal) is what the penalty draws ``B`` to, 0 by default. float32 suffices while the regularization keeps the
    condition number small; tests compare with float64.

    Raises:
        InputError: the regularization is too small for the sum to be positive definite in float32.
    """
    import torch

    p = torch.from_numpy(np.ascontiguousarray(gram, dtype=np.float32)).clone()
    p.diagonal().add_(regularization)
    try:
        torch.linalg.cholesky(p, out=p)
    except torch.linalg.LinAlgError:
        raise InputError(
            f"regularization={regularization!r}: too small to invert this Gram matrix in float32, want more"
        ) from None
    p = torch.cholesky_inverse(p)
    diagonal = p.diagonal().clone()
    if prior is None:
        p /= -diagonal
    else:
        # P XᵀX = I - λP, and the identity falls out with the diagonal: λ(P·prior - P) less what clears the diagonal.
        pulled = p @ torch.from_numpy(np.asarray(prior, dtype=np.float32))
        p = regularization * pulled - p * (regularization * pulled.diagonal() / diagonal + 1 / diagonal)
    p.fill_diagonal_(0)
    return p.numpy()
