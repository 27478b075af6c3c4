"""Methods that say how important each item of a history is for a recommended one, as ``faithfulness``
tests them.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from recsys_lib.recommenders import BaseRecommender
from recsys_lib.trust.explanations import faithfulness
from recsys_lib.trust.explanations.contributions import contributions
from recsys_lib.trust.explanations.faithfulness import Importance
from recsys_lib.trust.explanations.partial_history import one_history
from recsys_lib.vectors import similarity


def exact(model: BaseRecommender) -> Importance:
    """The contributions of a linear model."""

    def importance(history: sp.csr_matrix, target: int) -> np.ndarray:
        return contributions(model, history, [target]).of(target)

    return importance


def left_out(model: BaseRecommender) -> Importance:
    """What the score loses without the item, for any model."""

    def importance(history: sp.csr_matrix, target: int) -> np.ndarray:
        return faithfulness.leave_one_out(model, history, target)

    return importance


def alike(item_vectors: np.ndarray) -> Importance:
    """The cosine of both items' vectors, whatever the model did: "because it is like ..."."""
    unit = similarity.normalize(np.asarray(item_vectors, dtype=np.float32))

    def importance(history: sp.csr_matrix, target: int) -> np.ndarray:
        return (unit[one_history(history).indices] @ unit[target]).astype(np.float64)

    return importance


def popular(train: sp.csr_matrix) -> Importance:
    """The item's interactions in training: a baseline that knows neither the model nor the target."""
    counts = np.asarray((train != 0).sum(axis=0)).ravel().astype(np.float64)

    def importance(history: sp.csr_matrix, target: int) -> np.ndarray:
        return counts[one_history(history).indices]

    return importance


def random(seed: int = 0) -> Importance:
    """A random order of its own for every history and target: the baseline that knows nothing."""

    def importance(history: sp.csr_matrix, target: int) -> np.ndarray:
        row = one_history(history)
        return np.random.default_rng([seed, target, row.nnz, int(row.indices.sum())]).random(row.nnz)

    return importance
