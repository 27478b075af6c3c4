"""Matrix factorization by the ``implicit`` library."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse as sp

from recsys_lib.core.errors import InputError
from recsys_lib.recommenders import checks


class _Factors:
    """What both share: factors of users and items whose dot products are the scores.

    A user without history scores 0 everywhere: factors of the unknown are noise left over from the start.
    """

    def __init__(self, factors: int, iterations: int, seed: int):
        if factors < 1 or iterations < 1:
            raise InputError(f"factors={factors!r}, iterations={iterations!r}: want at least 1")
        self.factors, self.iterations, self.seed = factors, iterations, seed
        self.train: sp.csr_matrix | None = None
        self.user_factors = self.item_factors = np.empty((0, factors), dtype=np.float32)

    def _fit(self, make: Callable[[], Any], train: sp.csr_matrix) -> None:
        from threadpoolctl import threadpool_limits

        self.train = train
        if train.nnz:
            # The library brings its own threads; BLAS threads inside them slow both down.
            with threadpool_limits(1, "blas"):
                model = make()
                model.fit(train, show_progress=False)
            self.user_factors, self.item_factors = np.asarray(model.user_factors), np.asarray(model.item_factors)
        else:
            self.user_factors = np.zeros((train.shape[0], 1), dtype=np.float32)
            self.item_factors = np.zeros((train.shape[1], 1), dtype=np.float32)

    def scores(self, users: np.ndarray) -> np.ndarray:
        histories = checks.histories(self.train, users)
        scores = self.user_factors[np.asarray(users)] @ self.item_factors.T
        scores[np.diff(histories.indptr) == 0] = 0
        return scores.astype(np.float32)


class IALS(_Factors):
    """Alternating least squares on implicit feedback (Hu, Koren and Volinsky, ICDM 2008).

    Every pair counts as a 0 of weight 1, an interaction as a 1 of weight ``1 + alpha``.
    """

    def __init__(
        self, factors: int = 64, regularization: float = 5.0, alpha: float = 5.0, iterations: int = 15, seed: int = 0
    ):
        super().__init__(factors, iterations, seed)
        if regularization < 0 or not alpha > 0:
            raise InputError(f"regularization={regularization!r}, alpha={alpha!r}: want at least 0 and more than 0")
        self.regularization, self.alpha = regularization, alpha

    def fit(self, train: sp.csr_matrix) -> IALS:
        from implicit.cpu.als import AlternatingLeastSquares

        train = checks.interactions(train)
        options: dict[str, Any] = {
            "factors": self.factors, "regularization": self.regularization, "alpha": self.alpha, "iterations": self.iterations,
            "random_state": self.seed,
        }  # fmt: skip
        self._fit(lambda: AlternatingLeastSquares(**options), train)
        return self


class BPR(_Factors):
    """Pairwise ranking by stochastic gradients (Rendle et al., UAI 2009).

    Updates race between threads, so results repeat exactly only with ``threads=1``, the default here.
    """

    def __init__(
        self,
        factors: int = 64,
        learning_rate: float = 0.05,
        regularization: float = 0.01,
        iterations: int = 100,
        seed: int = 0,
        threads: int = 1,
    ):
        super().__init__(factors, iterations, seed)
        if not learning_rate > 0 or regularization < 0:
            raise InputError(
                f"learning_rate={learning_rate!r}, regularization={regularization!r}: want more than 0, at least 0"
            )
        self.learning_rate, self.regularization, self.threads = learning_rate, regularization, threads

    def fit(self, train: sp.csr_matrix) -> BPR:
        from implicit.cpu.bpr import BayesianPersonalizedRanking

        train = checks.interactions(train)
        options: dict[str, Any] = {
            "factors": self.factors, "learning_rate": self.learning_rate, "regularization": self.regularization,
            "iterations": self.iterations, "random_state": self.seed, "num_threads": self.threads,
        }  # fmt: skip
        self._fit(lambda: BayesianPersonalizedRanking(**options), train)
        return self
