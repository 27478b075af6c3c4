"""One user's history as a CSR row, parts of it, and the rank of an item when only a part is scored."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp

from recsys_lib.core.errors import InputError
from recsys_lib.recommenders import BaseRecommender


def one_history(history: sp.csr_matrix) -> sp.csr_matrix:
    """``history [1, n_items]`` as CSR float32, items in order, duplicates summed.

    Raises:
        InputError: no sparse matrix of one row, or weights that are negative, infinite or NaN.
    """
    if not sp.issparse(history) or history.ndim != 2 or history.shape[0] != 1:
        raise InputError(
            f"history of shape {getattr(history, 'shape', None)}: expected one sparse row [1, n_items]"
        )
    row = sp.csr_matrix(history, dtype=np.float32, copy=True)
    row.sum_duplicates()
    row.eliminate_zeros()
    if not np.isfinite(row.data).all() or (row.data < 0).any():
        raise InputError(
            "history holds negative, infinite or NaN weights: expected non-negative, finite ones"
        )
    return row


def parts_of(history: sp.csr_matrix, kept: Sequence[np.ndarray]) -> sp.csr_matrix:
    """For each array of item ids in ``kept`` the history cut to these items, ``[len(kept), n_items]``."""
    row = one_history(history)
    blocks = [np.isin(row.indices, items) for items in kept]
    lengths = np.cumsum([0, *(int(block.sum()) for block in blocks)])
    indices = np.concatenate([row.indices[block] for block in blocks]) if blocks else row.indices[:0]
    data = np.concatenate([row.data[block] for block in blocks]) if blocks else row.data[:0]
    return sp.csr_matrix((data, indices, lengths), shape=(len(blocks), row.shape[1]))


def without(history: sp.csr_matrix, items: Sequence[int] | np.ndarray) -> sp.csr_matrix:
    """The history less ``items``; ids that are not in it change nothing."""
    row = one_history(history)
    return parts_of(row, [np.setdiff1d(row.indices, np.asarray(items, dtype=np.int64))])


def rank_of(model: BaseRecommender, histories: sp.csr_matrix, target: int, seen: np.ndarray) -> np.ndarray:
    """Rank of ``target`` (1 is best) for each of ``histories [n, n_items]`` among all items not in ``seen``.

    ``seen`` are the items of the whole history: an item taken out of a history is not recommended in turn.
    Equal scores are ordered by id, as in evaluation.

    Raises:
        InputError: a target that does not exist or is in ``seen``.
    """
    n_items = histories.shape[1]
    if not 0 <= target < n_items or target in seen:
        raise InputError(
            f"target={target!r}: expected an item from 0 to {n_items - 1} that is not in the history"
        )
    scores = np.array(model.score(histories), dtype=np.float32)
    own = scores[:, [target]]
    scores[:, seen] = -np.inf
    before = (scores > own).sum(axis=1) + (scores[:, :target] == own).sum(axis=1)
    return 1 + before
