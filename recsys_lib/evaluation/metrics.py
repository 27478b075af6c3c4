"""Ranking metrics, one value per user, and what lists do to a catalogue.

``ids`` are ranked recommendations ``[n_users, k]``, best first, -1 where a list is short; ``relevant`` is CSR
``[n_users, n_items]`` with a non-zero at every test item. Users without a test item get NaN: there is nothing
to find.
A list that names an item twice is refused: its hit would count twice, and recall could exceed 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import scipy.sparse as sp

from recsys_lib.core.errors import InputError
from recsys_lib.vectors import similarity


def hits(ids: np.ndarray, relevant: sp.csr_matrix) -> np.ndarray:
    """Which recommendations are test items, bool ``[n_users, k]``.

    Raises:
        InputError: another number of rows than ``relevant``, ids that do not exist, an id twice in a list.
    """
    if len(ids) != relevant.shape[0]:
        raise InputError(
            f"ids has {len(ids)} rows, relevant {relevant.shape[0]}: expected one per user in both"
        )
    _known(ids, relevant.shape[1])
    relevant = relevant.astype(bool).tocsr()
    keys = (
        np.repeat(np.arange(relevant.shape[0]), np.diff(relevant.indptr)) * relevant.shape[1]
        + relevant.indices
    )
    keys = keys[relevant.data]
    asked = np.arange(len(ids))[:, None] * relevant.shape[1] + ids
    return np.isin(asked, keys) & (ids >= 0)


def _known(ids: np.ndarray, n_items: int) -> None:
    if ids.ndim != 2 or not ids.shape[1]:
        raise InputError(
            f"ids has shape {ids.shape}: expected ranked lists [n_users, k] with k of at least 1"
        )
    if ids.size and not (ids.min() >= -1 and ids.max() < n_items):
        raise InputError(
            f"ids from {ids.min()} to {ids.max()}: expected items from 0 to {n_items - 1}, or -1 for none"
        )
    in_order = np.sort(ids, axis=1)
    repeated = (in_order[:, 1:] == in_order[:, :-1]) & (in_order[:, 1:] >= 0)
    if repeated.any():
        row = int(repeated.any(axis=1).argmax())
        item = in_order[row, 1:][repeated[row]][0]
        raise InputError(
            f"ids row {row} holds item {item} more than once: expected each item at most once in a list"
        )


def _n_relevant(relevant: sp.csr_matrix) -> np.ndarray:
    counts = np.asarray((relevant != 0).sum(axis=1)).ravel().astype(float)
    return np.where(counts > 0, counts, np.nan)


def precision(found: np.ndarray, n_relevant: np.ndarray) -> np.ndarray:
    """Hits over k, also where a list is shorter than k."""
    return found.mean(axis=1) + 0 * n_relevant


def recall(found: np.ndarray, n_relevant: np.ndarray) -> np.ndarray:
    """Hits over the number of test items (not over min(k, that number))."""
    return found.sum(axis=1) / n_relevant


def hit_rate(found: np.ndarray, n_relevant: np.ndarray) -> np.ndarray:
    """1 with at least one hit, else 0."""
    return found.any(axis=1) + 0 * n_relevant


def mrr(found: np.ndarray, n_relevant: np.ndarray) -> np.ndarray:
    """One over the rank of the first hit, 0 without one (Voorhees, TREC-8, 1999)."""
    first = np.where(found.any(axis=1), found.argmax(axis=1) + 1.0, np.inf)
    return 1 / first + 0 * n_relevant


def ndcg(found: np.ndarray, n_relevant: np.ndarray) -> np.ndarray:
    """``Σ hit_r / log2(r + 1)`` over the best possible such sum, the ideal list being cut at k as well.

    Järvelin and Kekäläinen (2002) with binary gains. Ranks 1 and 2 weigh 1 and 0.63. Authors who normalize by
    all test items, cut or not, get smaller values for users with more than k of them.
    """
    k = found.shape[1]
    discount = 1 / np.log2(np.arange(2, k + 2))
    ideal = np.concatenate([[np.nan], np.cumsum(discount)])
    best = ideal[np.minimum(np.nan_to_num(n_relevant), k).astype(int)]
    return found @ discount / best


def average_precision(found: np.ndarray, n_relevant: np.ndarray) -> np.ndarray:
    """Mean of the precision at every hit, over ``min(k, test items)``."""
    at = np.cumsum(found, axis=1) / np.arange(1, found.shape[1] + 1)
    return (at * found).sum(axis=1) / np.minimum(n_relevant, found.shape[1])


PER_USER: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "precision": precision, "recall": recall, "ndcg": ndcg, "mrr": mrr, "hit_rate": hit_rate,
    "map": average_precision,
}  # fmt: skip


def all_metrics(ids: np.ndarray, relevant: sp.csr_matrix) -> dict[str, np.ndarray]:
    """Every metric of ``PER_USER``, each ``[n_users]``."""
    found, n_relevant = hits(ids, relevant), _n_relevant(relevant)
    return {name: metric(found, n_relevant) for name, metric in PER_USER.items()}


def at_cuts(
    ids: np.ndarray, relevant: sp.csr_matrix, cuts: Sequence[int] = (5, 10, 20)
) -> dict[str, np.ndarray]:
    """Every metric of ``PER_USER`` at every cut, ``ndcg@10`` and so on, each ``[n_users]``, from one set of
    lists.

    Raises:
        InputError: a cut below 1 or beyond the lists' length.
    """
    if not cuts or min(cuts) < 1 or max(cuts) > ids.shape[1]:
        raise InputError(f"cuts={tuple(cuts)!r}: expected from 1 to {ids.shape[1]}, the length of the lists")
    found, n_relevant = hits(ids, relevant), _n_relevant(relevant)
    return {
        f"{name}@{k}": metric(found[:, :k], n_relevant) for k in cuts for name, metric in PER_USER.items()
    }


# ---------------------------------------------------------------- over all lists together


def exposure(ids: np.ndarray, n_items: int) -> np.ndarray:
    """How often each item is recommended, ``[n_items]``."""
    _known(ids, n_items)
    return np.bincount(ids[ids >= 0].ravel(), minlength=n_items)


def coverage(ids: np.ndarray, n_items: int) -> float:
    """Fraction of the catalogue that is recommended to at least one user."""
    return float((exposure(ids, n_items) > 0).mean())


def gini(ids: np.ndarray, n_items: int) -> float:
    """Inequality of exposure: 0 all items equally often, towards 1 few items take all."""
    sorted_counts = np.sort(exposure(ids, n_items)).astype(float)
    if not sorted_counts.sum():
        return 0.0
    ranks = np.arange(1, n_items + 1)
    return float((2 * ranks - n_items - 1) @ sorted_counts / (n_items * sorted_counts.sum()))


def novelty(ids: np.ndarray, train: sp.csr_matrix) -> float:
    """Mean self-information, ``-log2`` of the fraction of users with an interaction with the item, in bits
    (Zhou et al., PNAS 2010).

    An item without interactions counts as having one.
    """
    _known(ids, train.shape[1])
    known = np.maximum(np.asarray((train != 0).sum(axis=0)).ravel(), 1) / train.shape[0]
    listed = ids[ids >= 0]
    return float(-np.log2(known[listed]).mean()) if len(listed) else 0.0


def popularity_lift(ids: np.ndarray, train: sp.csr_matrix, users: np.ndarray) -> float:
    """How much more popular the lists are than what the same ``users [n]`` chose before: 0 as popular, 1
    twice as popular.

    Mean over users of the mean popularity (training users) of their list, over that of their histories, less
    1 (Abdollahpouri et al., "The Unfairness of Popularity Bias in Recommendation", 2019). Users without
    history or list are passed over; 0 where no user is left.
    """
    _known(ids, train.shape[1])
    seen = (train != 0).astype(np.float64)
    popularity = np.asarray(seen.sum(axis=0)).ravel()
    length, listed = np.asarray(seen.sum(axis=1)).ravel()[users], (ids >= 0).sum(axis=1)
    both = (length > 0) & (listed > 0)
    if not both.any():
        return 0.0
    of_lists = np.where(ids >= 0, popularity[ids], 0).sum(axis=1)[both] / listed[both]
    of_histories = (seen @ popularity)[users][both] / length[both]
    return float(of_lists.mean() / of_histories.mean() - 1)


def intra_list_diversity(ids: np.ndarray, vectors: np.ndarray) -> float:
    """Mean over lists of the mean ``1 - cosine`` between two of their items, 0 to 2 (Ziegler et al., WWW
    2005).

    Take ``vectors [n_items, d]`` of another embedding than the recommender's: in its own its lists look alike
    by design. Lists of fewer than two items are passed over; 0 where there is none.
    """
    _known(ids, len(vectors))
    unit = similarity.normalize(vectors)
    present = ids >= 0
    count = present.sum(axis=1)
    enough = count > 1
    if not enough.any():
        return 0.0
    # The sum of all pairs' cosines is the squared length of the sum of unit vectors, less each one's own.
    items = np.where(present[..., None], unit[ids], 0)[enough]
    own = (items**2).sum(axis=(1, 2))
    pairs = (items.sum(axis=1) ** 2).sum(axis=1) - own
    n = count[enough]
    return float((1 - pairs / (n * (n - 1))).mean())


def of_catalogue(
    ids: np.ndarray, train: sp.csr_matrix, users: np.ndarray, vectors: np.ndarray | None = None
) -> dict[str, float]:
    """What the lists ``ids [n, k]`` of ``users [n]`` do to the catalogue: every metric above;
    diversity with ``vectors`` only.
    """
    n_items = train.shape[1]
    found = {
        "coverage": coverage(ids, n_items), "gini": gini(ids, n_items), "novelty": novelty(ids, train),
        "popularity_lift": popularity_lift(ids, train, users),
    }  # fmt: skip
    return found if vectors is None else found | {"diversity": intra_list_diversity(ids, vectors)}
