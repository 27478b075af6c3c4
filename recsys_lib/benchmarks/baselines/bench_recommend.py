"""Fitting recommenders on a large catalogue against baselines."""

from __future__ import annotations

import warnings
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

    Peers: EASE as its paper prints it (NumPy, float64 inverse); ``implicit``'s cosine neighbours on as many
    threads; ``implicit``'s ALS called directly, which ours wraps. The bound of EASE is its n³ operations, of
    ItemKNN the additions of its Gram matrix at the rate of ``addition_rate``, of iALS none.
    """
    rows = []
    for name, data in (
        ("ml-100k", datasets.load("ml-100k")),
        ("book-crossing", datasets.load("book-crossing").k_core(10)),
    ):
        train = splits.random_split(data, 0.2, seed=0).train
        peak = machine.matmul_peak("float32", seconds=0.3).throughput
        additions = float((np.diff(train.indptr).astype(float) ** 2).sum())
        limits = {"EASE": train.shape[1] ** 3 / peak, "ItemKNN": additions / addition_rate(), "iALS": 0.0}
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
            rows.append(row(f"fit {work}", size, baseline, timed, limits[work], quality))
    return rows


def addition_rate(items: int = 512, users: int = 256) -> float:
    """Additions per second of ItemKNN's kernel where nothing else takes time.

    Every user has every item: rows are long, sums lie in the nearest cache in order, and an item is selected
    once for ``users`` additions.
    """
    whole = sp.csr_matrix(np.ones((users, items), np.float32))
    timed = timing.measure(lambda: ItemKNN(1).fit(whole), "additions", min_samples=5, min_seconds=0.3)
    return users * items**2 / min(timed.samples)


def _pairs(train: sp.csr_matrix) -> dict[str, tuple[Callable, str, Callable, Callable[[], str]]]:
    """Work → ours, the baseline's name, the baseline's, and how near the two results are."""
    import torch
    from implicit.cpu.als import AlternatingLeastSquares
    from implicit.nearest_neighbours import CosineRecommender
    from implicit.utils import ParameterWarning
    from threadpoolctl import threadpool_limits

    def printed() -> np.ndarray:
        gram = (train.T @ train).toarray().astype(np.float64)
        gram[np.diag_indices(len(gram))] += 400.0
        p = np.linalg.inv(gram)
        b = p / -np.diag(p)
        b[np.diag_indices(len(b))] = 0
        return b

    def neighbours() -> Any:
        model = CosineRecommender(K=100, num_threads=torch.get_num_threads())
        with warnings.catch_warnings():  # it warns of a matrix that it makes itself
            warnings.simplefilter("ignore", ParameterWarning)
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
