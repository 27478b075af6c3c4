"""EASE whose weights are differentially private towards every user: noise on the Gram matrix."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from recsys_lib.core.errors import InputError
from recsys_lib.recommenders import BaseRecommender, checks
from recsys_lib.recommenders.ease import ADVICE, ease_weights
from recsys_lib.trust.privacy.accountant import gaussian_sigma


def clipped(train: sp.csr_matrix, most: int, seed: int = 0) -> sp.csr_matrix:
    """At most ``most`` random items of every user, as ones: what one user can change is then bounded.

    Raises:
        InputError: ``most`` below 1.
    """
    if most < 1:
        raise InputError(f"most={most!r}: expected at least 1")
    rng = np.random.default_rng(seed)
    rows = sp.csr_matrix(train)
    kept = [
        rng.permutation(rows.indices[a:b])[:most]
        for a, b in zip(rows.indptr[:-1], rows.indptr[1:], strict=True)
    ]
    return checks.as_matrix(kept, rows.shape[1])


class PrivateEASE(BaseRecommender):
    """EASE from a noisy Gram matrix of clipped users: (``epsilon``, ``delta``)-private, neighbours differing
    in one user.

    A user of at most ``c = most`` items adds 1 to at most ``c (c + 1) / 2`` entries of the upper triangle,
    which moves it by at most ``√(c (c + 1) / 2)``; symmetric Gaussian noise of the exact σ goes onto it
    (McSherry and Mironov, "Differentially Private Recommender Systems", KDD 2009, for covariances). The
    penalty is raised by ``2σ√n``, the largest eigenvalue of the noise, which keeps the sum positive definite
    and needs no look at the data. Scores read the asking user's own history, which the guarantee is not
    about; it holds towards whoever does not know ``seed``: draw a new one for every fit. A user without
    history scores 0.
    """

    settings = ("epsilon", "delta", "most", "regularization", "seed")
    arrays = ("weights",)

    def __init__(
        self,
        epsilon: float,
        delta: float = 1e-5,
        most: int = 20,
        regularization: float = 100.0,
        seed: int = 0,
    ):
        if most < 1 or not 0 < regularization < np.inf:
            raise InputError(
                f"most={most!r}, regularization={regularization!r}: expected at least 1, and more than 0"
            )
        self.epsilon, self.delta, self.most = epsilon, delta, most
        self.regularization, self.seed = regularization, seed
        self.sigma = gaussian_sigma(epsilon, delta, float(np.sqrt(most * (most + 1) / 2)))
        self.weights = np.empty((0, 0), dtype=np.float32)

    def _fit(self, train: sp.csr_matrix, times: sp.csr_matrix | None) -> None:
        n = train.shape[1]
        checks.square_memory(n, 6, "PrivateEASE", ADVICE)
        part = clipped(train, self.most, self.seed)
        noise = np.triu(np.random.default_rng([self.seed, 1]).standard_normal((n, n)) * self.sigma)
        gram = (part.T @ part).toarray() + noise + np.triu(noise, 1).T
        self.weights = ease_weights(
            gram.astype(np.float32), self.regularization + 2 * self.sigma * np.sqrt(n)
        )

    def _score(self, histories: sp.csr_matrix) -> np.ndarray:
        return np.asarray(histories @ self.weights)
