"""Fitting recommenders on a large catalogue against baselines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse as sp

from recsys_lib.benchmarks.baselines.rows import Row, row
from recsys_lib.data import datasets
from recsys_lib.evaluation import splits
from recsys_lib.hardware import machine, timing
from recsys_lib.recommenders import EASE, IALS, ItemKNN


def recommend_rows() -> list[Row]:
    """EASE, ItemKNN and iALS fitted on MovieLens-100K and on Book-Crossing's 10-core, with the highest memory
    each took.

    Peers: EASE as its paper prints it (NumPy, float64 inverse); ``implicit``'s cosine neighbours;
    ``implicit``'s ALS called directly, which ours wraps. The bound of EASE is its n³ operations, of ItemKNN
    the products of its Gram matrix, of iALS none.
    """
    rows = []
    for name, data in (
        ("ml-100k", datasets.load("ml-100k")),
        ("book-crossing", datasets.load("book-crossing").k_core(10)),
    ):
        train = splits.random_split(data, 0.2, seed=0).train
        peak = machine.matmul_peak("float32", seconds=0.3).throughput
        operations = {
            "EASE": float(train.shape[1]) ** 3,
            "ItemKNN": 2.0 * float((np.diff(train.indptr).astype(float) ** 2).sum()),
            "iALS": 0.0,
        }  # fmt: skip
        few: dict[str, Any] = (
            {"min_samples": 1, "min_seconds": 0.0, "warmup": 0, "max_seconds": 1.0}
            if name != "ml-100k"
            else {}
        )
        for work, (ours, baseline, theirs, same) in _pairs(train).items():
            timed = timing.compare({"ours": ours, baseline: theirs}, **few)
            memory = timing.peak_memory(ours).added
            size = f"{name}, {train.shape[0]:,} x {train.shape[1]:,}"
            quality = f"{same()}, {memory / 2**30:.2f} GiB more at its peak"
            rows.append(row(f"fit {work}", size, baseline, timed, operations[work] / peak, quality))
    return rows


def _pairs(train: sp.csr_matrix) -> dict[str, tuple[Callable, str, Callable, Callable[[], str]]]:
    """Work → ours, the baseline's name, the baseline's, and how near the two results are."""
    from implicit.cpu.als import AlternatingLeastSquares
    from implicit.nearest_neighbours import CosineRecommender
    from threadpoolctl import threadpool_limits

    def printed() -> np.ndarray:
        gram = (train.T @ train).toarray().astype(np.float64)
        gram[np.diag_indices(len(gram))] += 400.0
        p = np.linalg.inv(gram)
        b = p / -np.diag(p)
        b[np.diag_indices(len(b))] = 0
        return b

    def neighbours() -> Any:
        model = CosineRecommender(K=100)
        model.fit(train, show_progress=False)
        return model.similarity

    def factors() -> np.ndarray:
        with threadpool_limits(1, "blas"):
            model = AlternatingLeastSquares(
                factors=64, regularization=20.0, alpha=5.0, iterations=15, random_state=0
            )
            model.fit(train, show_progress=False)
        return model.item_factors

    ease, knn, ials = EASE(400.0), ItemKNN(100), IALS(64, 20.0, 5.0)
    return {
        "EASE": (lambda: ease.fit(train), "NumPy, float64", printed,
        lambda: f"largest difference {np.abs(ease.weights - printed()).max():.0e}"),
        "ItemKNN": (
            lambda: knn.fit(train), "implicit", neighbours,
            lambda: f"mean similarity {_mean(knn.weights):.4f} and {_mean(neighbours()):.4f}",
        ),
        "iALS": (lambda: ials.fit(train), "implicit, directly", factors,
        lambda: f"largest difference {np.abs(ials.item_factors - factors()).max():.0e}"),
    }  # fmt: skip


def _mean(weights: Any) -> float:
    """Mean of the off-diagonal stored entries."""
    entries = sp.coo_matrix(weights)
    return float(entries.data[(entries.row != entries.col) & (entries.data > 0)].mean())
