"""EASE: a linear autoencoder in closed form, a strong baseline."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from recsys_lib.core.errors import InputError
from recsys_lib.recommenders import checks
from recsys_lib.recommenders.recommender import BaseRecommender
from recsys_lib.vectors import similarity

# Columns of the weights whose largest entries are searched at once.
BLOCK = 1024
ADVICE = "use ItemKNN or iALS, or fewer items"


class EASE(BaseRecommender):
    """Item-item weights that best rebuild every user's row from its other items (Steck, WWW 2019).

    ``min |X - XB|² + λ|B|²`` with ``diag(B) = 0`` has the solution ``B = I - P / diag(P)``,
    ``P = (XᵀX + λI)⁻¹``; scores are ``XB``. Time grows with the cube of the number of items, memory with its
    square. ``top`` keeps of every column the ``top`` weights of largest absolute value, stored sparse, and
    leaves the memory of fitting as it is. ``device``: where the matrix is inverted, "cpu", "cuda" or "auto".
    A user without history scores 0.
    """

    settings = ("regularization", "top")
    arrays = ("weights",)

    def __init__(self, regularization: float = 300.0, top: int | None = None, device: str = "cpu"):
        if not 0 < regularization < np.inf:
            raise InputError(f"regularization={regularization!r}: expected a positive, finite number")
        check_top(top)
        self.regularization, self.top, self.device = regularization, top, checks.device(device)
        self.weights: np.ndarray | sp.csr_matrix = np.empty((0, 0), dtype=np.float32)

    def _fit(self, train: sp.csr_matrix, times: sp.csr_matrix | None) -> None:
        checks.square_memory(train.shape[1], 4, "EASE", ADVICE)
        weights = ease_weights((train.T @ train).toarray(), self.regularization, device=self.device)
        self.weights = pruned(weights, self.top)

    def _score(self, histories: sp.csr_matrix) -> np.ndarray:
        return scores_by(histories, self.weights)


def check_top(top: int | None) -> None:
    """Refuse to keep fewer than one weight a column.

    Raises:
        InputError: ``top`` below 1.
    """
    if top is not None and top < 1:
        raise InputError(f"top={top!r}: expected at least 1, or None to keep all weights")


def pruned(weights: np.ndarray, top: int | None) -> np.ndarray | sp.csr_matrix:
    """``weights``, or of every column the ``top`` largest, sparse."""
    return weights if top is None else largest_per_column(weights, top)


def scores_by(histories: sp.csr_matrix, weights: np.ndarray | sp.csr_matrix) -> np.ndarray:
    """``histories [n, n_items]`` times ``weights [n_items, n_items]``, dense."""
    scores = histories @ weights
    return scores.toarray() if sp.issparse(scores) else np.asarray(scores)


def ease_weights(
    gram: np.ndarray, regularization: float, prior: np.ndarray | None = None, device: str = "cpu"
) -> np.ndarray:
    """``B [n_items, n_items]`` float32 with zero diagonal from a Gram matrix, by a Cholesky inverse on
    ``device``.

    ``prior`` (zero diagonal) is what the penalty draws ``B`` to, 0 by default. float32 suffices while the
    regularization keeps the condition number small; tests compare with float64.

    Raises:
        InputError: the regularization is too small for the sum to be positive definite in float32.
    """
    import torch

    if prior is None and not gram.diagonal().all():
        return _embedded(gram, regularization, device)
    p = torch.from_numpy(np.ascontiguousarray(gram, dtype=np.float32)).to(device, copy=True)
    p.diagonal().add_(regularization)
    try:
        torch.linalg.cholesky(p, out=p)
    except torch.linalg.LinAlgError:
        raise InputError(
            f"regularization={regularization!r}: too small to invert this Gram matrix in float32, expected "
            f"more"
        ) from None
    p = torch.cholesky_inverse(p)
    diagonal = p.diagonal().clone()
    if prior is None:
        p /= -diagonal
    else:
        # P XᵀX = I - λP, and the identity falls out with the diagonal: λ(P·prior - P) less what clears the
        # diagonal.
        pulled = p @ torch.from_numpy(np.asarray(prior, dtype=np.float32)).to(device)
        p = regularization * pulled - p * (regularization * pulled.diagonal() / diagonal + 1 / diagonal)
    p.fill_diagonal_(0)
    return p.cpu().numpy()


def _embedded(gram: np.ndarray, regularization: float, device: str) -> np.ndarray:
    """``ease_weights`` where some items have no interaction: their rows and columns are 0, at no cost."""
    warm = np.flatnonzero(gram.diagonal())
    weights = np.zeros(gram.shape, dtype=np.float32)
    if len(warm):
        weights[np.ix_(warm, warm)] = ease_weights(gram[np.ix_(warm, warm)], regularization, device=device)
    return weights


def largest_per_column(weights: np.ndarray, top: int) -> sp.csr_matrix:
    """Of every column the ``top`` entries of largest absolute value, equal ones by the smaller row, as CSR
    without zeros.

    >>> largest_per_column(np.array([[0, 3, -1], [2, 0, 1], [-4, 3, 0]], dtype=np.float32), 1).toarray()
    array([[ 0.,  3., -1.],
           [ 0.,  0.,  0.],
           [-4.,  0.,  0.]], dtype=float32)
    """
    n, top = len(weights), min(top, len(weights))
    parts = []
    for start in range(0, weights.shape[1], BLOCK):
        columns = np.ascontiguousarray(weights[:, start : start + BLOCK].T)
        kept = similarity.rank_scores(np.abs(columns), top)[0]
        values = np.take_along_axis(columns, kept, axis=1)
        starts = np.arange(0, values.size + 1, top)
        parts.append(sp.csr_matrix((values.ravel(), kept.ravel(), starts), shape=(len(columns), n)))
    pruned = sp.vstack(parts, format="csr").T.tocsr()
    pruned.eliminate_zeros()
    return pruned
