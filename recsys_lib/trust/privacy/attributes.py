"""Who is it: gender, age and occupation from a user's vector or list.

Adversary: has vectors or lists of some people whose attributes are known, and those of others whose are not.
Baseline: the most frequent class, or an area under the curve of 0.5.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recsys_lib.core.errors import InputError

ALPHAS = tuple(float(10.0**e) for e in range(-1, 6))
FOLDS = 5


@dataclass(frozen=True)
class Inferred:
    """score: area under the curve of two classes, accuracy of more. baseline: the same without any
    feature.
    """

    score: float
    baseline: float


def infer(features: np.ndarray, labels: np.ndarray, seed: int = 0) -> Inferred:
    """Out-of-fold success of a ridge classifier (``ALPHAS`` chosen within each training part) over five
    folds.

    features: ``[n, d]``, standardized within the training part. labels: ``[n]`` of any type.

    Raises:
        InputError: NaN, other lengths, fewer than two classes.
    """
    from sklearn.linear_model import RidgeClassifierCV
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold
    from sklearn.preprocessing import StandardScaler

    x, y = np.asarray(features, dtype=np.float64), np.asarray(labels)
    classes, counts = np.unique(y, return_counts=True)
    if x.ndim != 2 or len(x) != len(y) or not np.isfinite(x).all() or len(classes) < 2:
        raise InputError(
            f"features {x.shape}, {len(y)} labels of {len(classes)} kinds: expected finite ones, two kinds"
        )
    decided = np.zeros((len(y), len(classes))) if len(classes) > 2 else np.zeros(len(y))
    folds = StratifiedKFold(
        min(FOLDS, int(counts.min())) if counts.min() > 1 else FOLDS, shuffle=True, random_state=seed
    )
    code = np.searchsorted(classes, y)
    for train, test in folds.split(x, code):
        scaler = StandardScaler().fit(x[train])
        model = RidgeClassifierCV(ALPHAS).fit(scaler.transform(x[train]), code[train])
        found = model.decision_function(scaler.transform(x[test]))
        if len(classes) > 2:
            decided[np.ix_(test, model.classes_)] = found
        else:
            decided[test] = found
    if len(classes) > 2:
        return Inferred(float((decided.argmax(axis=1) == code).mean()), float(counts.max() / len(y)))
    return Inferred(float(roc_auc_score(code, decided)), 0.5)


def list_features(lists: np.ndarray, n_items: int) -> np.ndarray:
    """Recommendation lists ``[n, k]`` (ids, -1 for none) as 0 and 1 over the items that occur, ``[n, m]``."""
    marked = np.zeros((len(lists), n_items), dtype=np.float32)
    rows = np.repeat(np.arange(len(lists)), lists.shape[1])
    present = lists.ravel() >= 0
    marked[rows[present], lists.ravel()[present]] = 1
    return marked[:, marked.any(axis=0)]
