"""What a defence costs and what it hides: attack success, NDCG and bytes of every release of the users'
vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from recsys_lib import evaluation
from recsys_lib.trust.privacy import reconstruction
from recsys_lib.trust.privacy.releases import Release
from recsys_lib.vectors import similarity

if TYPE_CHECKING:
    import pandas as pd


class Released:
    """Ranks by the cosine of the released vectors with the items, as the server that receives them does."""

    def __init__(self, release: Release, item_vectors: np.ndarray):
        self.release, self.item_vectors = release, item_vectors

    def fit(self, train: sp.csr_matrix) -> Released:
        """Nothing is learned: the vectors are given."""
        return self

    def scores(self, users: np.ndarray) -> np.ndarray:
        """Cosines float32 ``[len(users), n_items]``."""
        return similarity.cosine(self.release.vectors[users], self.item_vectors)


def price(
    releases: Sequence[Release],
    item_vectors: np.ndarray,
    train: sp.csr_matrix,
    test: sp.csr_matrix,
    users: np.ndarray,
    k: int = 10,
) -> pd.DataFrame:
    """One row a release: recall of the history by the attack on ``users``, without the vector, NDCG@k, bytes
    and ε.

    Releases hold the vectors of all users of ``train``; NDCG is over everybody with a test item.
    """
    import pandas as pd

    popularity = np.asarray(train.sum(axis=0)).ravel()
    rows = {}
    for release in releases:
        found = reconstruction.attack(release.vectors[users], item_vectors, train[users], popularity).mean()
        ranked = evaluation.evaluate(Released(release, item_vectors), train, test, k)
        rows[release.name] = {
            "history recovered": found["recall"],
            "without the vector": found["baseline"],
            "ndcg": ranked.mean()["ndcg"],
            "bytes": release.bytes_per_vector,
            "epsilon": release.epsilon,
        }
    return pd.DataFrame(rows).T


def front(table: pd.DataFrame) -> list[str]:
    """Releases that no other beats: none recovers less of the history at as much NDCG in as few bytes and,
    where the table has ``usd``, for as few dollars.
    """
    lower = [name for name in ("history recovered", "bytes", "usd") if name in table]
    values = np.column_stack([table[lower].astype(float), -table["ndcg"].astype(float)])
    kept = []
    for name, own in zip(table.index, values, strict=True):
        beaten = (values <= own).all(axis=1) & (values < own).any(axis=1)
        if not beaten.any():
            kept.append(str(name))
    return kept
