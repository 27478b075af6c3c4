"""Full-ranking evaluation: every unseen item of the catalogue competes, for every user with something to
find.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from recsys_lib.core.errors import InputError
from recsys_lib.evaluation import metrics
from recsys_lib.recommenders import Recommender
from recsys_lib.vectors import similarity

# Scores of one batch of users: 64 MB of float32.
BATCH_SCORES = 16 * 2**20
TIES = ("id", "random")


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Result at cut ``k``: ``users [m]`` with a test item, metrics ``per_user`` (name → ``[m]``), their lists
    ``ids [m, k]``.
    """

    k: int
    users: np.ndarray
    per_user: dict[str, np.ndarray]
    ids: np.ndarray

    @classmethod
    def without_lists(cls, k: int, users: np.ndarray, per_user: dict[str, np.ndarray]) -> Evaluation:
        """Values of users whose lists are not kept, as a record holds them; ``ids`` has no column."""
        return cls(k, users, per_user, np.empty((len(users), 0), dtype=np.int64))

    def mean(self) -> dict[str, float]:
        """Every metric's mean over users."""
        return {name: float(values.mean()) for name, values in self.per_user.items()}

    def of_users(self, chosen: np.ndarray) -> Evaluation:
        """The part of it on the users that ``chosen`` (bool, over all users of the data) picks.

        Raises:
            InputError: none of them was evaluated.
        """
        kept = np.asarray(chosen, dtype=bool)[self.users]
        if not kept.any():
            raise InputError("of_users: none of the chosen users has a test item")
        per_user = {name: values[kept] for name, values in self.per_user.items()}
        return Evaluation(self.k, self.users[kept], per_user, self.ids[kept])


def recommend(
    recommender: Recommender,
    train: sp.csr_matrix,
    users: np.ndarray | Sequence[int],
    k: int = 10,
    candidates: np.ndarray | None = None,
    ties: str = "random",
    seed: int = 0,
) -> np.ndarray:
    """The ``k`` best unseen items of every user, ids ``[len(users), k]``.

    ``ties`` orders items of equal score: ``"random"`` (default) draws an order for each user from ``seed``,
    ``"id"`` puts the smaller id first. Ids may carry information, as in MovieLens, where small ids are
    popular items: "id" flatters a model that scores items without interactions equal. A user's order depends
    on ``seed`` and the user only.

    ``candidates`` (item ids) restricts the competition, e.g. to cold items. Where fewer than ``k`` unseen
    items are left a list ends in -1.

    Raises:
        InputError: ``k`` below 1, candidates that do not exist, an unknown ``ties``, scores of a wrong shape
            or with NaN.
    """
    if ties not in TIES:
        raise InputError(f"ties={ties!r}: expected one of {', '.join(TIES)}")
    if not isinstance(k, int | np.integer) or k < 1:
        raise InputError(f"k={k!r}: expected a whole number, at least 1")
    users = np.asarray(users, dtype=np.int64)
    n_items = train.shape[1]
    left_out = _left_out(candidates, n_items)
    ids = np.empty((len(users), k), dtype=np.int64)
    batch = max(1, BATCH_SCORES // n_items)
    for start in range(0, len(users), batch):
        rows = users[start : start + batch]
        scores = np.array(recommender.scores(rows), dtype=np.float32)
        if scores.shape != (len(rows), n_items) or np.isnan(scores).any():
            raise InputError(
                f"{type(recommender).__name__}.scores: shape {scores.shape}, "
                f"expected {(len(rows), n_items)} without NaN"
            )
        similarity.mask(scores, train[rows])
        scores[:, left_out] = -np.inf
        ids[start : start + batch] = _ranked(scores, k, None if ties == "id" else rows, seed)
    return ids


def _ranked(scores: np.ndarray, k: int, users: np.ndarray | None, seed: int) -> np.ndarray:
    """Ids ``[n, k]``; equal scores by the smaller id, or in an order of their own for each of the ``users``.

    One place more than ``k`` shows which rows have equal scores within or at the end of their lists; only
    these are drawn.
    """
    ids, best = similarity.rank_scores(scores, k + 1)
    ids = ids[:, :k]
    if users is None:
        return ids
    equal = (best[:, 1:] == best[:, :-1]) & ~np.isneginf(best[:, 1:])
    tied = np.flatnonzero(equal.any(axis=1))
    if len(tied):
        ids[tied] = _ranked_at_random(scores[tied], k, users[tied], seed)
    return ids


def _ranked_at_random(scores: np.ndarray, k: int, users: np.ndarray, seed: int) -> np.ndarray:
    """As ``rank_scores``, equal scores in an order of their own for each of the ``users``."""
    n_items = scores.shape[1]
    orders = np.stack([np.random.default_rng([seed, int(user)]).permutation(n_items) for user in users])
    places = similarity.rank_scores(np.take_along_axis(scores, orders, axis=1), k)[0]
    return np.where(places < 0, -1, np.take_along_axis(orders, np.maximum(places, 0), axis=1))


def _left_out(candidates: np.ndarray | None, n_items: int) -> np.ndarray:
    """Which items do not compete, bool ``[n_items]``."""
    left_out = np.zeros(n_items, dtype=bool)
    if candidates is None:
        return left_out
    chosen = np.asarray(candidates)
    if chosen.dtype == bool and chosen.shape == (n_items,):
        return ~chosen
    if (
        not chosen.size
        or not np.issubdtype(chosen.dtype, np.integer)
        or chosen.min() < 0
        or chosen.max() >= n_items
    ):
        span = f"{chosen.min()} to {chosen.max()}" if chosen.size else "none"
        raise InputError(f"candidates: {span}, expected item ids from 0 to {n_items - 1}")
    left_out[:] = True
    left_out[chosen] = False
    return left_out


def evaluate(
    recommender: Recommender,
    train: sp.csr_matrix,
    test: sp.csr_matrix,
    k: int = 10,
    candidates: np.ndarray | None = None,
    ties: str = "random",
    seed: int = 0,
) -> Evaluation:
    """Rank the whole catalogue for every user who has a test item, items seen in training left out.

    ``ties`` and ``seed`` order items of equal score, see ``recommend``.

    Raises:
        InputError: different shapes of ``train`` and ``test``, an empty test, as ``recommend``.
    """
    if train.shape != test.shape:
        raise InputError(
            f"train has shape {train.shape}, test {test.shape}: expected the same users and items"
        )
    test = sp.csr_matrix(test, copy=True)
    test.eliminate_zeros()
    users = np.flatnonzero(np.diff(test.indptr))
    if not len(users):
        raise InputError("test holds no interaction: nothing to evaluate")
    return evaluate_lists(recommend(recommender, train, users, k, candidates, ties, seed), users, test)


def evaluate_lists(ids: np.ndarray, users: np.ndarray, test: sp.csr_matrix) -> Evaluation:
    """The evaluation of ranked lists ``ids [len(users), k]`` that are there already."""
    return Evaluation(ids.shape[1], users, metrics.all_metrics(ids, test[users]), ids)


def evaluate_sampled(
    recommender: Recommender,
    train: sp.csr_matrix,
    test: sp.csr_matrix,
    negatives: int = 100,
    k: int = 10,
    seed: int = 0,
) -> dict[str, float]:
    """Hit rate and NDCG at ``k`` of one test item at a time among ``negatives`` random unseen items.

    Each user's values are averaged over the user's test items, then over users, as in the full ranking.

    A warning, not a measure: it is not a scaled full ranking and can reverse the order of models (Krichene
    and Rendle, KDD 2020). Negatives are drawn with replacement; a tie counts half as ranked above.

    Raises:
        InputError: a user with fewer than ``negatives`` unseen items.
    """
    if train.shape != test.shape or not test.nnz or negatives < 1:
        raise InputError(
            f"train {train.shape}, test {test.shape}, negatives={negatives!r}: "
            "expected equal shapes, 1 or more"
        )
    rng, n_items = np.random.default_rng(seed), train.shape[1]
    users = np.flatnonzero(np.diff(test.indptr))
    batch = max(1, BATCH_SCORES // n_items)
    places: list[np.ndarray] = []
    for start in range(0, len(users), batch):
        for user, scores in zip(
            users[start : start + batch], recommender.scores(users[start : start + batch]), strict=True
        ):
            unseen = np.ones(n_items, dtype=bool)
            items = test.indices[test.indptr[user] : test.indptr[user + 1]]
            unseen[train.indices[train.indptr[user] : train.indptr[user + 1]]] = unseen[items] = False
            others = np.flatnonzero(unseen)
            if len(others) < negatives:
                raise InputError(
                    f"user {user} has {len(others)} unseen items: "
                    f"expected negatives of at most that, not {negatives}"
                )
            drawn = scores[others[rng.integers(0, len(others), (len(items), negatives))]]
            own = scores[items][:, None]
            places.append((drawn > own).sum(axis=1) + (drawn == own).sum(axis=1) / 2)
    return {
        "hit_rate": float(np.mean([(place < k).mean() for place in places])),
        "ndcg": float(np.mean([np.where(place < k, 1 / np.log2(place + 2), 0).mean() for place in places])),
    }


# ---------------------------------------------------------------- slices


def by_count(counts: np.ndarray, edges: Sequence[int] = (0, 1, 6, 21)) -> dict[str, np.ndarray]:
    """Masks of users or items by their number of training interactions, labelled; empty slices are left out.

    >>> {label: mask.tolist() for label, mask in by_count(np.array([0, 3, 50]), (0, 1, 6, 21)).items()}
    {'0': [True, False, False], '1–5': [False, True, False], 'over 20': [False, False, True]}
    """
    counts = np.asarray(counts)
    if list(edges) != sorted(set(edges)) or not len(edges):
        raise InputError(f"edges={tuple(edges)!r}: expected rising numbers")
    masks = {}
    for low, high in itertools.pairwise([*edges, np.inf]):
        if high == np.inf:
            label = f"over {low - 1}"
        else:
            label = f"{low}" if high == low + 1 else f"{low}–{high - 1:.0f}"
        masks[label] = (counts >= low) & (counts < high)
    return {label: mask for label, mask in masks.items() if mask.any()}


def restrict(test: sp.csr_matrix, items: np.ndarray) -> sp.csr_matrix:
    """The test interactions with the ``items`` (bool ``[n_items]``) only."""
    kept = sp.csr_matrix(test @ sp.diags(np.asarray(items, dtype=np.float32)))
    kept.eliminate_zeros()
    return kept
