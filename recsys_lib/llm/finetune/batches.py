"""Which items and users a step of training sees: a function of the seed and the number of the step alone.

So a run that was killed, or that is divided among workers, sees the same batches in the same order.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import scipy.sparse as sp

from recsys_lib.core.errors import InputError
from recsys_lib.recommenders import EASE
from recsys_lib.vectors import similarity


@dataclass(frozen=True, eq=False)
class Batch:
    """One step's items, each once, and what users did with them.

    items ``[n]``: catalogue rows. users ``[b]``. members bool ``[b, n]``: of which items a user's profile
    is made, targets included. known bool ``[b, n]``: items that must not count as negatives. rows, targets
    ``[m]``: pairs of a user's place and an item's place to be told from the other items. log_q ``[n]``:
    logarithm of how likely an item is in a batch, 0 where all are equally likely. order ``[b, h]``: places
    of a history's items, the most recent first, -1 for none.
    """

    items: np.ndarray
    users: np.ndarray
    members: np.ndarray
    known: np.ndarray
    rows: np.ndarray
    targets: np.ndarray
    log_q: np.ndarray
    order: np.ndarray = field(default_factory=lambda: np.empty((0, 0), np.int64))


class Batches(Protocol):
    """What the trainer asks for; ``per_epoch``: steps until every item or user was seen once."""

    per_epoch: int

    def batch(self, step: int) -> Batch: ...


class ItemBlocks:
    """A step sees a block of random items, and all users who chose at least two of them.

    Every warm item is in one block of an epoch, so that ``size`` texts are encoded for thousands of pairs,
    and each is in a step equally likely. This suits catalogues in which two random items have users in
    common; in a sparse one use ``UserSamples``. ``max_pairs``: pairs of a user and a target of a step,
    drawn at random.
    """

    def __init__(self, train: sp.csr_matrix, size: int = 128, max_pairs: int = 4096, seed: int = 0):
        if size < 2 or max_pairs < 1:
            raise InputError(f"size={size!r}, max_pairs={max_pairs!r}: expected at least 2 and 1")
        self.columns = sp.csc_matrix(train)
        self.warm = np.flatnonzero(np.diff(self.columns.indptr))
        if len(self.warm) < 2:
            raise InputError(f"{len(self.warm)} items with interactions: expected at least 2 to train on")
        self.size, self.max_pairs, self.seed = min(size, len(self.warm)), max_pairs, seed
        self.per_epoch = len(self.warm) // self.size

    def batch(self, step: int) -> Batch:
        epoch, place = divmod(step, self.per_epoch)
        order = np.random.default_rng([self.seed, epoch]).permutation(self.warm)
        items = order[place * self.size : (place + 1) * self.size]
        chosen = self.columns[:, items].toarray() != 0
        users = np.flatnonzero(chosen.sum(axis=1) >= 2)
        members = chosen[users]
        rows, targets = members.nonzero()
        if len(rows) > self.max_pairs:
            drawn = np.random.default_rng([self.seed, epoch, place]).permutation(len(rows))
            kept = np.sort(drawn[: self.max_pairs])
            rows, targets = rows[kept], targets[kept]
        return Batch(items, users, members, members, rows, targets, np.zeros(len(items), np.float32))


class UserSamples:
    """A step sees some users, each with one target and up to ``history`` other items of theirs.

    The other users' items are the negatives, so popular items are negatives often; ``log_q`` says how
    often, for the correction of Yi et al., "Sampling-Bias-Corrected Neural Modeling for Large Corpus Item
    Recommendations", RecSys 2019. ``hard`` negatives of each user are drawn from the 50 items that EASE
    ranks highest among those the user did not choose. With ``times`` the target is drawn from the later
    half of a history and the profile is what precedes it, most recent first.
    """

    def __init__(
        self,
        train: sp.csr_matrix,
        users: int = 64,
        history: int = 8,
        hard: int = 0,
        times: sp.csr_matrix | None = None,
        seed: int = 0,
        regularization: float = 400.0,
    ):
        if users < 2 or history < 1 or hard < 0:
            raise InputError(
                f"users={users!r}, history={history!r}, hard={hard!r}: expected at least 2, 1 and 0"
            )
        self.train, self.times = sp.csr_matrix(train), None if times is None else sp.csr_matrix(times)
        self.active = np.flatnonzero(np.diff(self.train.indptr) >= 2)
        if len(self.active) < 2:
            raise InputError(
                f"{len(self.active)} users with two interactions: expected at least 2 to train on"
            )
        self.size, self.history, self.hard, self.seed = min(users, len(self.active)), history, hard, seed
        self.per_epoch = len(self.active) // self.size
        counts = np.asarray((self.train != 0).sum(axis=0)).ravel()
        draws = self.size * (history + 1)
        self.log_q = np.log(-np.expm1(draws * np.log1p(-np.clip(counts / counts.sum(), 1e-9, 1 - 1e-9))))
        self.difficult = self._difficult(regularization) if hard else None

    def _difficult(self, regularization: float) -> np.ndarray:
        """The 50 best unseen items of every user by EASE, ``[n_users, 50]``."""
        scores = EASE(regularization).fit(self.train).score(self.train)
        scores[self.train.nonzero()] = -np.inf
        return similarity.rank_scores(scores, min(50, scores.shape[1] - 1))[0]

    def batch(self, step: int) -> Batch:
        epoch, place = divmod(step, self.per_epoch)
        order = np.random.default_rng([self.seed, epoch]).permutation(self.active)
        users = np.sort(order[place * self.size : (place + 1) * self.size])
        rng = np.random.default_rng([self.seed, epoch, place])
        drawn = [self._draw(user, rng) for user in users]
        chosen = [np.append(history, target) for history, target in drawn]
        if self.difficult is not None:
            chosen += [rng.choice(self.difficult[u], self.hard, replace=False) for u in users]
        items = np.unique(np.concatenate(chosen))
        at = {int(item): i for i, item in enumerate(items)}
        n = len(users)
        members = np.zeros((n, len(items)), bool)
        lists = np.full((n, self.history), -1, np.int64)
        for row, (history, _) in enumerate(drawn):
            lists[row, : len(history)] = [at[int(i)] for i in history]
            members[row, lists[row, : len(history)]] = True
        targets = np.array([at[int(target)] for _, target in drawn])
        members[np.arange(n), targets] = True
        known = self.train[users][:, items].toarray() != 0
        log_q = self.log_q[items].astype(np.float32)
        return Batch(items, users, members, known, np.arange(n), targets, log_q, lists)

    def _draw(self, user: int, rng: np.random.Generator) -> tuple[np.ndarray, int]:
        """A history, most recent first, and a target that is not in it."""
        own = slice(self.train.indptr[user], self.train.indptr[user + 1])
        items = self.train.indices[own]
        if self.times is None:
            mixed = rng.permutation(items)
            return mixed[1 : self.history + 1], int(mixed[0])
        latest = items[np.argsort(-self.times[user, items].toarray().ravel(), kind="stable")]
        at = int(rng.integers(0, max(1, len(latest) // 2)))
        return latest[at + 1 : at + 1 + self.history], int(latest[at])
