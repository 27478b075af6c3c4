"""Deletion of users from a fitted EASE without fitting it again, and a proof for whoever holds the
remaining data.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from recsys_lib.core.errors import InputError


def inverse_gram(train: sp.csr_matrix, regularization: float) -> np.ndarray:
    """``P = (XᵀX + λI)⁻¹``, float64 ``[n_items, n_items]``: what EASE's weights are made of, and what
    deletion needs.

    Raises:
        InputError: a regularization that is not positive.
    """
    from scipy import linalg

    if not 0 < regularization < np.inf:
        raise InputError(f"regularization={regularization!r}: expected a positive, finite number")
    gram = (train.T @ train).toarray().astype(np.float64)
    gram[np.diag_indices_from(gram)] += regularization
    factor = linalg.cho_factor(gram, lower=True, overwrite_a=True)
    return linalg.cho_solve(factor, np.eye(len(gram)))


def weights_of(inverse: np.ndarray) -> np.ndarray:
    """EASE's weights float32 ``[n_items, n_items]`` from ``P``: ``I - P / diag(P)``, zero diagonal."""
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0)
    return weights.astype(np.float32)


def without_users(inverse: np.ndarray, rows: sp.csr_matrix) -> np.ndarray:
    """``P`` as if the users ``rows [m, n_items]`` had never been there, by the Woodbury identity.

    ``P' = P + P Rᵀ (I - R P Rᵀ)⁻¹ R P``: ``m`` products with a vector each, ``O(m n²)``, where a new fit
    takes ``O(n³)``. The rows must be those that were trained on: a row that was not makes the system
    indefinite or the result wrong, which ``residual`` shows.

    Raises:
        InputError: another number of items, rows that were not part of the training data.
    """
    if rows.shape[1] != len(inverse):
        raise InputError(f"rows of {rows.shape[1]} items: expected {len(inverse)}")
    if not rows.nnz:
        return inverse.copy()
    r = sp.csr_matrix(rows, dtype=np.float64)
    right = np.asarray(r @ inverse)
    small = np.eye(r.shape[0]) - np.asarray(r @ right.T)
    if np.linalg.eigvalsh((small + small.T) / 2).min() <= 0:
        raise InputError(
            "rows: expected histories that were in the training data; these were not, or are named twice"
        )
    return inverse + right.T @ np.linalg.solve(small, right)


def operations(n_items: int, n_users: int, n_interactions: int) -> tuple[float, float]:
    """Floating-point operations of ``without_users`` for ``n_users`` of ``n_interactions`` together, and of
    ``inverse_gram`` (Cholesky and two solves for the identity): two per multiply-add.

    >>> downdate, fit = operations(1000, 1, 50)
    >>> f"{downdate / fit:.1e}"
    '9.0e-04'
    """
    n, m = float(n_items), float(n_users)
    products = 2 * n_interactions * n + 2 * n_interactions * m
    return products + m * m * m + 2 * m * m * n + 2 * m * n * n, n * n * n / 3 + 2 * n * n * n


def residual(
    inverse: np.ndarray, remaining: sp.csr_matrix, regularization: float, probes: int = 8, seed: int = 0
) -> float:
    """How far ``P`` is from the inverse for the ``remaining`` data: ``max |P (XᵀX + λI) v - v|`` over random
    signs ``v``.

    The proof of a deletion: who holds the remaining data checks it in a few products with vectors and need
    not fit again (Freivalds, 1977). A ``P`` that still holds the deleted user fails with a probability that
    halves with every probe.
    """
    if remaining.shape[1] != len(inverse):
        raise InputError(f"remaining data of {remaining.shape[1]} items: expected {len(inverse)}")
    v = np.random.default_rng(seed).choice([-1.0, 1.0], size=(len(inverse), probes))
    x = sp.csr_matrix(remaining, dtype=np.float64)
    return float(np.abs(inverse @ (x.T @ (x @ v) + regularization * v) - v).max())
