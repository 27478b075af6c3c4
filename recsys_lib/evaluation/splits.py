"""What a model may learn from and what it is evaluated on.

No test interaction is ever among the training ones.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import scipy.sparse as sp

from recsys_lib.core.errors import InputError
from recsys_lib.data.datasets import Dataset


@dataclass(frozen=True, eq=False)
class Split:
    """Rows of a data set's interactions by role; the matrices are CSR float32 ``[n_users, n_items]`` of ones.

    Test users or items without any training interaction stay in the matrices: evaluation decides about them.
    ``cold_items`` are the held-out items of ``cold_item_split``.
    """

    name: str
    dataset: Dataset
    train_rows: np.ndarray
    test_rows: np.ndarray
    validation_rows: np.ndarray
    cold_items: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))

    def __repr__(self) -> str:
        roles = (self.train_rows, self.validation_rows, self.test_rows)
        train, validation, test = (f"{len(rows):,}" for rows in roles)
        return (
            f"<Split {self.name!r} of {self.dataset.name!r}: {self.dataset.n_users:,} users, "
            f"{self.dataset.n_items:,} items, {train} + {validation} + {test} interactions "
            "to train, validate and test>"
        )

    @property
    def train(self) -> sp.csr_matrix:
        return self.dataset.matrix(self.train_rows)

    @property
    def train_times(self) -> sp.csr_matrix | None:
        """Times of the training interactions, see ``Dataset.times``."""
        return self.dataset.times(self.train_rows)

    @property
    def test(self) -> sp.csr_matrix:
        return self.dataset.matrix(self.test_rows)

    @property
    def validation(self) -> sp.csr_matrix:
        return self.dataset.matrix(self.validation_rows)

    def with_validation(self) -> Split:
        """The same split with its validation part given back to training,
        for the last fit before the test.
        """
        rows = np.sort(np.concatenate([self.train_rows, self.validation_rows]))
        return replace(self, train_rows=rows, validation_rows=np.empty(0, dtype=np.int64))


def _fraction(name: str, value: float, zero: bool = False) -> None:
    if not (0 < value < 1 or (zero and value == 0)):
        raise InputError(f"{name}={value!r}: expected a fraction between 0 and 1")


def _fractions(test: float, validation: float) -> None:
    _fraction("test_fraction", test)
    _fraction("validation_fraction", validation, zero=True)
    _fraction("test_fraction + validation_fraction", test + validation)


def _generator(seed: int) -> np.random.Generator:
    if not isinstance(seed, int | np.integer) or seed < 0:
        raise InputError(f"seed={seed!r}: expected a whole number of at least 0")
    return np.random.default_rng(seed)


def _times(dataset: Dataset) -> np.ndarray:
    if dataset.timestamp is None:
        raise InputError(f"data set {dataset.name!r} has no timestamps: use random_split")
    return dataset.timestamp


def _split(name: str, dataset: Dataset, role: np.ndarray, **more) -> Split:
    """role ``[n]``: 0 train, 1 validation, 2 test."""
    train, validation, test = (np.flatnonzero(role == r) for r in range(3))
    return Split(name, dataset, train, test, validation, **more)


def _last_ranks(user: np.ndarray, order: np.ndarray) -> np.ndarray:
    """For every interaction its place from the end (0 is last) among its user's,
    in the given order of all.
    """
    by_user = order[np.argsort(user[order], kind="stable")]
    counts = np.bincount(user)
    ends = np.repeat(np.cumsum(counts), counts)
    rank = np.empty(len(user), dtype=np.int64)
    rank[by_user] = ends - 1 - np.arange(len(user))
    return rank


def _last_roles(place: np.ndarray, count: np.ndarray, test: float, validation: float) -> np.ndarray:
    """Roles ``[n]`` from each interaction's ``place`` from the end among the ``count`` of its group: the last
    are the test, those before them for validation, rounded, and at least one is left to train on.
    """
    n_test, n_held = (
        np.minimum(np.rint(count * fraction), np.maximum(count - 1, 0))
        for fraction in (test, test + validation)
    )
    return np.where(place < n_test, 2, np.where(place < n_held, 1, 0))


def random_split(
    dataset: Dataset,
    test_fraction: float = 0.2,
    validation_fraction: float = 0.0,
    seed: int = 0,
    per_user: bool = True,
) -> Split:
    """A random ``test_fraction`` of the interactions for testing, then a ``validation_fraction``; both are
    shares of all.

    ``per_user`` draws within each user (rounded), and a user always keeps at least one for training. Without
    it the interactions of all users are drawn together, as most published holdouts do: users with few may get
    no test item.
    """
    _fractions(test_fraction, validation_fraction)
    order = _generator(seed).permutation(dataset.n_interactions)
    if per_user:
        place, counts = _last_ranks(dataset.user, order), np.bincount(dataset.user, minlength=dataset.n_users)
    else:
        place = np.empty(dataset.n_interactions, dtype=np.int64)
        place[order] = np.arange(dataset.n_interactions)
        counts = np.array([dataset.n_interactions])
    group = dataset.user if per_user else np.zeros(dataset.n_interactions, dtype=np.int64)
    role = _last_roles(place, counts[group], test_fraction, validation_fraction)
    kind = "random per user" if per_user else "random"
    return _split(f"{kind} {1 - test_fraction:.0%}/{test_fraction:.0%}, seed {seed}", dataset, role)


def temporal_split(dataset: Dataset, test_fraction: float = 0.2, validation_fraction: float = 0.0) -> Split:
    """One moment for all: the latest ``test_fraction`` of all interactions is the test, what precedes it the
    rest.

    Interactions of the very second of a boundary all fall on its later side, so that no training interaction
    is as late as a test one; the test part may therefore be a little larger than asked for.
    """
    _fractions(test_fraction, validation_fraction)
    times = _times(dataset)
    ordered = np.sort(times, kind="stable")
    n = len(ordered)
    role = np.zeros(n, dtype=np.int8)
    if validation_fraction:
        role[times >= ordered[int(np.floor(n * (1 - test_fraction - validation_fraction)))]] = 1
    role[times >= ordered[int(np.floor(n * (1 - test_fraction)))]] = 2
    if not (role == 0).any():
        raise InputError(f"data set {dataset.name!r}: its timestamps leave no training part")
    return _split(f"temporal, last {test_fraction:.0%}", dataset, role)


def last_of_each_user(
    dataset: Dataset, test_fraction: float = 0.2, validation_fraction: float = 0.0
) -> Split:
    """The latest ``test_fraction`` of every user's interactions is the test, the ``validation_fraction``
    before it for tuning.

    Counts are rounded and a user keeps at least one for training; equal times go by the order of rows. Unlike
    in ``temporal_split``, some training interactions of other users are later than a user's test.
    """
    _fractions(test_fraction, validation_fraction)
    place = _last_ranks(dataset.user, np.argsort(_times(dataset), kind="stable"))
    counts = np.bincount(dataset.user, minlength=dataset.n_users)
    role = _last_roles(place, counts[dataset.user], test_fraction, validation_fraction)
    return _split(f"last {test_fraction:.0%} of each user", dataset, role)


def leave_one_out(dataset: Dataset, validation: bool = False) -> Split:
    """Each user's last interaction for testing, the one before for validation if asked; ties go by the order
    of rows.

    Users with fewer interactions than that plus one only train.
    """
    times = _times(dataset)
    place = _last_ranks(dataset.user, np.argsort(times, kind="stable"))
    held = 1 + validation
    enough = np.bincount(dataset.user, minlength=dataset.n_users)[dataset.user] > held
    role = np.where(enough & (place == 0), 2, np.where(enough & validation & (place == 1), 1, 0))
    return _split("leave one out", dataset, role)


def cold_item_split(
    dataset: Dataset, item_fraction: float = 0.2, seed: int = 0, kept: int = 0, at_least: int = 0
) -> Split:
    """A random ``item_fraction`` of the items loses its interactions to the test: nothing was ever seen of
    them.

    ``kept`` leaves each of them so many random interactions to train on, the same and more as it grows: what
    an item is worth in its first days. ``at_least`` draws only among items with so many interactions, so that
    the same items serve for every ``kept``.
    """
    _fraction("item_fraction", item_fraction)
    counts = np.bincount(dataset.item, minlength=dataset.n_items)
    eligible = np.flatnonzero(counts >= at_least)
    n_cold = int(np.rint(len(eligible) * item_fraction))
    if not 0 < n_cold < dataset.n_items:
        raise InputError(
            f"item_fraction={item_fraction!r} of {len(eligible)} items with at least {at_least!r} "
            f"interactions: expected at least one "
            "cold and one warm"
        )
    if kept < 0 or kept >= max(at_least, 1):
        raise InputError(
            f"kept={kept!r}, at_least={at_least!r}: expected from 0 to fewer kept than every drawn item has"
        )
    rng = _generator(seed)
    cold = np.sort(eligible[rng.permutation(len(eligible))[:n_cold]])
    place = _last_ranks(dataset.item, rng.permutation(dataset.n_interactions))
    role = np.where(np.isin(dataset.item, cold) & (place >= kept), 2, 0)
    kind = (
        f"cold items {item_fraction:.0%}"
        if not kept
        else f"items with {kept} interactions kept, {item_fraction:.0%}"
    )
    return _split(f"{kind}, seed {seed}", dataset, role, cold_items=cold)
