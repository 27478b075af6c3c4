"""What recommendation lists give away of the histories behind them, and lists that many users share.

Adversary: sees a person's list, has lists and histories of other users of the same service, knows how popular
items are and how long the history is. It learns by a ridge regression which histories go with which lists.
Baseline: the most popular items, without the list.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from recsys_lib import evaluation
from recsys_lib.core.errors import InputError
from recsys_lib.trust.privacy.attributes import infer, list_features
from recsys_lib.trust.privacy.reconstruction import Recovered
from recsys_lib.vectors import similarity

if TYPE_CHECKING:
    import pandas as pd

# Penalties of the regression that are tried; the largest leaves the popularity alone.
PENALTIES = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
OWN = 64


def recover_from_lists(
    lists: np.ndarray,
    histories: sp.csr_matrix,
    users: np.ndarray,
    penalties: Sequence[float] = PENALTIES,
    calibration: int = OWN,
) -> Recovered:
    """Recover the histories of ``users`` from their lists; all other users are the adversary's.

    lists: ids ``[n, k]`` in any order, -1 for none. histories ``[n, n_items]``. The penalty is the one that
    recovers most of ``calibration`` of the adversary's own users, whom the regression then leaves out.

    Raises:
        InputError: another number of lists than histories, an empty history among ``users``, too few others.
    """
    n, n_items = histories.shape
    others, ones = np.setdiff1d(np.arange(n), users), sp.csr_matrix((histories != 0).astype(np.float64))
    sizes = np.diff(ones.indptr)
    if len(lists) != n or len(others) <= calibration or not sizes[users].all():
        raise InputError(
            f"{len(lists)} lists, {n} histories, {len(users)} users: expected as many lists as histories, "
            f"users who have one, and more than {calibration} others"
        )
    seen = list_features(lists, n_items).astype(np.float64)
    held = others[sizes[others] > 0][:calibration]
    taught = np.setdiff1d(others, held)
    known = np.asarray(ones[taught].todense())
    mean = known.mean(axis=0)
    values, axes = np.linalg.eigh(seen[taught] @ seen[taught].T)
    turned = axes.T @ (known - mean)

    def recall(rows: np.ndarray, penalty: float) -> np.ndarray:
        near = (seen[rows] @ seen[taught].T) @ axes
        return _recall(mean + near @ (turned / (values[:, None].clip(0) + penalty)), ones[rows])

    best = max(penalties, key=lambda penalty: float(recall(held, penalty).mean()))
    blind = _recall(np.repeat(mean[None], len(users), axis=0), ones[users])
    return Recovered(sizes[users], recall(users, best), blind)


def _recall(scores: np.ndarray, histories: sp.csr_matrix) -> np.ndarray:
    """The fraction of each history among as many items of largest scores, ``[n]``; scores equal to within
    rounding are in order of their ids.
    """
    found = np.empty(len(scores))
    for row, values in enumerate(scores):
        own = histories[row].indices
        best = np.argsort(-values.round(9), kind="stable")[: len(own)]
        found[row] = np.isin(own, best).mean()
    return found


def shared_lists(vectors: np.ndarray, item_vectors: np.ndarray, k: int = 10) -> np.ndarray:
    """The ``k`` items nearest to each released vector, ids ``[n, k]``: users of one vector get one list, so
    that vectors shared by ``m`` users give m-anonymous lists.

    Nothing is left out for having been seen, which would tell users of a group apart: devices do that.
    """
    return similarity.top_k(vectors, item_vectors, k)[0]


def unseen(lists: np.ndarray, train: sp.csr_matrix, k: int = 10) -> np.ndarray:
    """What a device shows of the list that it got: the first ``k`` that its user has not seen, ids
    ``[n, k]``; -1 where too few are left.
    """
    shown, seen = np.full((len(lists), k), -1, dtype=np.int64), sp.csr_matrix(train != 0)
    for row, ids in enumerate(lists):
        own = seen[row].indices
        kept = ids[(ids >= 0) & ~np.isin(ids, own)][:k]
        shown[row, : len(kept)] = kept
    return shown


def priced(
    lists: Mapping[str, np.ndarray],
    train: sp.csr_matrix,
    test: sp.csr_matrix,
    users: np.ndarray,
    labels: Mapping[str, np.ndarray],
    k: int = 10,
    seed: int = 0,
) -> pd.DataFrame:
    """One row a kind of list ``[n_users, any]`` of all users of ``train``: recall of the histories of
    ``users``, without the list, how well each of ``labels [n_users]`` is inferred, and NDCG@k of what devices
    show.
    """
    import pandas as pd

    tested, rows = np.flatnonzero(np.diff(test.indptr)), {}
    for name, ids in lists.items():
        found = recover_from_lists(ids, train, users).mean()
        seen = list_features(ids, train.shape[1])
        guessed = {label: infer(seen, values, seed).score for label, values in labels.items()}
        shown = evaluation.evaluate_lists(unseen(ids, train, k)[tested], tested, test).mean()["ndcg"]
        rows[name] = {"history recovered": found["recall"], "without the list": found["baseline"],
                      **guessed, "ndcg": shown}  # fmt: skip
    return pd.DataFrame(rows).T
