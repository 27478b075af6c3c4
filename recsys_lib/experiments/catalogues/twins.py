"""What twin accounts do to an evaluation: EASE on the articles with twins apart and joined."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

from recsys_lib.data.datasets import Dataset
from recsys_lib.data.datasets.articles import load_articles
from recsys_lib.evaluation import splits, tuning
from recsys_lib.evaluation.tuning import Method
from recsys_lib.experiments.catalogues.evaluated_methods import EASE_SPACE, TRIALS, K
from recsys_lib.recommenders import EASE, ItemKNN

# Accounts of at least so many articles are paired.
PAIRED_FROM = 8
BANDS = {"45% to 65%": (0.45, 0.65), "70% and over": (0.7, 1.01)}


def pairs_alike(data: Dataset) -> dict[str, int]:
    """Pairs of users with at least ``PAIRED_FROM`` items by the share of both histories that they have in
    common (Jaccard).
    """
    matrix = data.matrix()
    matrix = matrix[np.diff(matrix.indptr) >= PAIRED_FROM]
    length = np.diff(matrix.indptr)
    shared = sp.triu(matrix @ matrix.T, k=1).tocoo()
    share = shared.data / (length[shared.row] + length[shared.col] - shared.data)
    return {band: int(((share >= low) & (share < high)).sum()) for band, (low, high) in BANDS.items()}


def measure() -> dict[str, Any]:
    """NDCG of EASE and of the nearest neighbours, the λ that EASE chose, and users, on users with at least
    five articles, split at random.
    """
    found = {}
    for name, joined in (("twins apart", False), ("twins joined", True)):
        data = load_articles(join_twins=joined).k_core(5, 1)
        task = tuning.warm_task(splits.random_split(data, 0.2, 0.1, 0, per_user=False))
        methods = {"EASE": Method(EASE, EASE_SPACE), "ItemKNN": Method(ItemKNN)}
        done = tuning.compare_methods(methods, task, TRIALS, k=K, keep_models=False)
        found[name] = {
            "users": data.n_users,
            "interactions": data.n_interactions,
            "regularization": done["EASE"].parameters["regularization"],
            "pairs": pairs_alike(data),
            "ndcg": {method: outcome.test.mean()["ndcg"] for method, outcome in done.items()},
        }
    return found
