"""Places new items: a linear map from an item's text vector to its column of EASE weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recsys_lib.core import storage
from recsys_lib.core.errors import InputError
from recsys_lib.vectors import similarity

KIND = "cold-map"


@dataclass(frozen=True, eq=False)
class ColdMap:
    """``column(x) = coefficientsᵀ x / |x| + offset``: what every item of a history adds to a new item's
    score.

    coefficients: float32 ``[d, n_items]``. offset: float32 ``[n_items]``. Both are 0 for items that had no
    interaction. The map is that of ``recommenders.EASEMap``, which fits it and keeps its predictions only;
    here the coefficients are kept, so that an item which comes after the fit is placed without another one.
    """

    coefficients: np.ndarray
    offset: np.ndarray

    @staticmethod
    def fit(
        item_vectors: np.ndarray, columns: np.ndarray, warm: np.ndarray, regularization: float = 3.0
    ) -> ColdMap:
        """Ridge regression on the ``warm`` items (ids) from ``item_vectors [n, d]`` to EASE's ``columns [n,
        n]``.

        Raises:
            InputError: other shapes, or a regularization that is not positive.
        """
        n = len(item_vectors)
        if columns.shape != (n, n) or not 0 < regularization < np.inf:
            raise InputError(
                f"columns of shape {columns.shape}, regularization={regularization!r}: expected {(n, n)} and "
                "a positive number"
            )
        unit = similarity.normalize(np.asarray(item_vectors, dtype=np.float32))
        coefficients = np.zeros((unit.shape[1], n), dtype=np.float32)
        offset = np.zeros(n, dtype=np.float32)
        if len(warm):
            targets = columns[np.ix_(warm, warm)].T
            mean = targets.mean(axis=0)
            taught = unit[warm].astype(np.float64)
            gram = taught.T @ taught
            gram[np.diag_indices(len(gram))] += regularization
            product = (unit[warm].T @ (targets - mean)).astype(np.float64)
            coefficients[:, warm] = np.linalg.solve(gram, product)
            offset[warm] = mean
        return ColdMap(coefficients, offset)

    def place(self, vectors: np.ndarray) -> np.ndarray:
        """Columns float32 ``[n_items, m]`` of ``m`` new items from their text vectors ``[m, d]``.

        Raises:
            InputError: vectors of another length than in the fit.
        """
        if vectors.ndim != 2 or vectors.shape[1] != len(self.coefficients):
            raise InputError(
                f"vectors of shape {vectors.shape}: expected [m, {len(self.coefficients)}], as in the fit"
            )
        unit = similarity.normalize(np.asarray(vectors, dtype=np.float32))
        return (unit @ self.coefficients + self.offset).T

    def save(self, folder: str | Path) -> None:
        """Write the map to ``folder``, see ``core.storage``."""
        storage.save(folder, KIND, {"coefficients": self.coefficients, "offset": self.offset}, {})

    @staticmethod
    def load(folder: str | Path) -> ColdMap:
        """What ``save`` wrote.

        Raises:
            InputError: nothing saved there, another kind, another version, or damaged files.
        """
        arrays, _ = storage.load(folder, KIND, mapped=True)
        return ColdMap(arrays["coefficients"], arrays["offset"])
