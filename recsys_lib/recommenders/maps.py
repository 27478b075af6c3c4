"""Maps from text into the space of interactions, learned on warm items and applied to cold ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np
import scipy.sparse as sp

from recsys_lib.core.errors import InputError
from recsys_lib.recommenders import checks
from recsys_lib.recommenders.ease import ADVICE, EASE
from recsys_lib.recommenders.recommender import BaseRecommender
from recsys_lib.vectors import similarity

# EASE's weights for a matrix of interactions and a λ.
Columns = Callable[[sp.csr_matrix, float], np.ndarray]


class RidgeMap(BaseRecommender):
    """Predict an item's interaction factors from its text vector by ridge regression, then rank by them.

    The interaction matrix, its columns scaled to length 1, is cut to ``factors`` by a truncated SVD. Items
    with training interactions teach the map ``text [d] → factors``, each with the weight ``n / (n + 5)`` of
    its ``n`` interactions, and every item is then placed by its text alone, so that an item without any
    interaction is placed as well as any other. Linear
    mappings of attributes to factors: Gantner et al., "Learning Attribute-to-Feature Mappings for Cold-Start
    Recommendations", ICDM 2010. A user without history scores 0.
    """

    settings = ("factors", "regularization", "seed")
    arrays = ("item_vectors", "projection", "item_factors")

    def __init__(
        self, item_vectors: np.ndarray, factors: int = 32, regularization: float = 1.0, seed: int = 0
    ):
        if factors < 1 or not regularization > 0:
            raise InputError(
                f"factors={factors!r}, regularization={regularization!r}: expected at least 1, more than 0"
            )
        self.item_vectors = similarity.normalize(np.asarray(item_vectors, dtype=np.float32))
        self.factors, self.regularization, self.seed = factors, regularization, seed
        self.projection = self.item_factors = np.empty((0, factors), dtype=np.float32)

    def _fit(self, train: sp.csr_matrix, times: sp.csr_matrix | None) -> None:
        checks.vectors_for(train, self.item_vectors)
        counts = np.asarray((train != 0).sum(axis=0)).ravel()
        warm = np.flatnonzero(counts)
        k = min(self.factors, len(warm) - 1, train.shape[0] - 1)
        if k < 1:
            self.projection = self.item_factors = np.zeros((train.shape[1], 1), np.float32)
            return
        scale = 1 / np.sqrt(np.maximum(counts, 1))
        scaled = train @ sp.diags(scale)
        start = np.random.default_rng(self.seed).standard_normal(min(scaled.shape))
        _, values, right = sp.linalg.svds(scaled.astype(np.float64), k=k, v0=start)
        # Directions without any variance carry nothing but rounding errors.
        kept = values > 1e-6 * values.max()
        values, right = values[kept], right[kept]
        targets = (right * np.sqrt(values)[:, None]).T[warm]
        weights = counts[warm] / (counts[warm] + 5.0)
        x = self.item_vectors[warm].astype(np.float64)
        mean, offset = np.average(x, axis=0, weights=weights), np.average(targets, axis=0, weights=weights)
        centred = x - mean
        gram = (centred.T * weights) @ centred + self.regularization * np.eye(x.shape[1])
        with checks.solvable(f"regularization={self.regularization!r}"):
            coefficients = np.linalg.solve(gram, (centred.T * weights) @ (targets - offset))
        self.item_factors = ((self.item_vectors - mean) @ coefficients + offset).astype(np.float32)
        # From a history to its user's factors: of a training user the left singular vectors times √values.
        self.projection = (right.T * scale[:, None] / np.sqrt(values)).astype(np.float32)

    def _score(self, histories: sp.csr_matrix) -> np.ndarray:
        return np.asarray(histories @ self.projection) @ self.item_factors.T


class EASEMap(BaseRecommender):
    """Predict an item's column of EASE weights from its text vector by ridge regression, then rank by the
    predicted columns.

    EASE is fitted on the items with interactions, ``B [n_items, n_items]``; column ``i`` says how much each
    item of a history speaks for ``i``. The ridge map ``text [d] → column`` is fitted on the warm items and
    gives every item, also a cold one, a column: a mixture of the columns of the items with similar texts.
    EASE's weights carry popularity, so the map learns what kind of item is popular as well. With a ``width``
    the regression is not linear but over Gaussian kernels ``exp(-|a - b|²/2 width²)`` of unit vectors:
    similarity counts the more, the closer two texts are. ``keep_warm`` leaves EASE's own columns to the items
    that have interactions: one model for warm and cold. Maps from attributes to factors (Gantner et al., ICDM
    2010), with EASE's columns as the factors. ``device``: where EASE and the regression are solved, "cpu",
    "cuda" or "auto". ``columns``: EASE's weights ``[n_items, n_items]`` fitted before on the same
    interactions with ``ease_regularization``, or a function of both that gives them; maps of many vectors
    then share them. A user without history scores 0.
    """

    settings: ClassVar[tuple[str, ...]] = ("regularization", "ease_regularization", "width", "keep_warm")
    arrays = ("item_vectors", "weights")
    _columns: np.ndarray | Columns | None = None

    def __init__(
        self,
        item_vectors: np.ndarray,
        regularization: float = 3.0,
        ease_regularization: float = 400.0,
        width: float | None = None,
        keep_warm: bool = False,
        device: str = "cpu",
        columns: np.ndarray | Columns | None = None,
    ):
        numbers = [regularization, ease_regularization, *([] if width is None else [width])]
        if not all(0 < x < np.inf for x in numbers):
            raise InputError(
                f"regularization={regularization!r}, ease_regularization={ease_regularization!r}, "
                f"width={width!r}: "
                "expected positive, finite numbers"
            )
        self.item_vectors = similarity.normalize(np.asarray(item_vectors, dtype=np.float32))
        self.regularization, self.width, self.keep_warm = regularization, width, keep_warm
        self.ease_regularization, self.device = ease_regularization, checks.device(device)
        self._columns = columns
        self.weights = np.empty((0, 0), dtype=np.float32)

    def _fit(self, train: sp.csr_matrix, times: sp.csr_matrix | None) -> None:
        import torch

        checks.vectors_for(train, self.item_vectors)
        warm = np.flatnonzero(np.asarray(train.sum(axis=0)).ravel())
        checks.square_memory(train.shape[1], 10 if self.width else 6, "EASEMap", ADVICE)
        columns = self._columns
        if callable(columns):
            columns = columns(train, self.ease_regularization)
        if columns is None:
            columns = np.asarray(EASE(self.ease_regularization, device=self.device).fit(train).weights)
        elif columns.shape != (train.shape[1], train.shape[1]):
            expected = (train.shape[1], train.shape[1])
            raise InputError(f"columns of shape {columns.shape}: expected {expected}, a pair of items")
        self.weights = np.zeros_like(columns)
        if len(warm):
            # Cold items have no weight in any column: only the rows of warm ones are predicted.
            targets = torch.from_numpy(np.ascontiguousarray(columns[np.ix_(warm, warm)].T)).to(self.device)
            mean = targets.mean(dim=0)
            with checks.solvable(f"regularization={self.regularization!r}"):
                predicted = (self._kernel if self.width else self._linear)(warm, targets - mean)
            self.weights[warm] = (predicted + mean).T.contiguous().cpu().numpy()
        if self.keep_warm:
            self.weights[:, warm] = columns[:, warm]

    def _linear(self, warm: np.ndarray, targets):
        """Predicted ``[n_items, n_warm]`` from a system of the size of the vectors, or of the warm items
        where these are fewer: both give the same.
        """
        import torch

        x = torch.from_numpy(self.item_vectors).to(self.device)
        if x.shape[1] > len(warm):
            products = x @ x[warm].T
            dual = products[warm].double()
            dual.diagonal().add_(self.regularization)
            return products @ torch.linalg.solve(dual, targets.double()).float()
        taught = x[warm].double()
        gram = taught.T @ taught
        gram.diagonal().add_(self.regularization)
        # The right side is large and only summed once, in float32; the small system is solved in float64.
        return x @ torch.linalg.solve(gram, (x[warm].T @ targets).double()).float()

    def _kernel(self, warm: np.ndarray, targets):
        """Predicted ``[n_items, n_warm]`` from a system of the size of the warm items:
        a kernel has no smaller one.
        """
        import torch

        assert self.width is not None
        x = torch.from_numpy(self.item_vectors).to(self.device)
        kernel = torch.exp((x @ x[warm].T - 1) / self.width**2)
        gram = kernel[warm].clone()
        gram.diagonal().add_(self.regularization)
        return kernel @ torch.cholesky_solve(targets, torch.linalg.cholesky(gram))

    def _score(self, histories: sp.csr_matrix) -> np.ndarray:
        return np.asarray(histories @ self.weights)
