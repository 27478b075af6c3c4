"""What an update of federated training gives away: the history behind it, and who took part in a sum.

Adversary: the server, which knows the map, the catalogue and how popular items are, and sees either single
updates or, where these are added securely, only sums. Baselines: the most popular items; a coin.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from recsys_lib.core.errors import InputError
from recsys_lib.trust.privacy import membership, reconstruction
from recsys_lib.trust.privacy.federated import Updates, chances
from recsys_lib.trust.privacy.reconstruction import Recovered
from recsys_lib.vectors import similarity

# Users whose histories the adversary knows, its own accounts, as ``reconstruction.attack`` takes them.
OWN = 8


def factors(matrices: np.ndarray, steps: int = 50) -> tuple[np.ndarray, np.ndarray]:
    """The profiles ``[n, d]`` and residuals ``[n, d]`` behind updates ``[n, d + 1, d]``, noisy ones or sums:
    the first singular pair of each, by power iteration from its last row.

    That row belongs to the constant 1 of the profile, which also tells the sign.
    """
    right = similarity.normalize(matrices[:, -1])
    for _ in range(steps):
        left = similarity.normalize((matrices @ right[:, :, None])[:, :, 0])
        right = (left[:, None, :] @ matrices)[:, 0]
        lengths = np.linalg.norm(right, axis=1, keepdims=True)
        right = right / np.maximum(lengths, 1e-12)
    signs = np.where(left[:, -1:] >= 0, 1, -1)
    return signs * left[:, :-1], signs * lengths * right


def recover_histories(
    matrices: np.ndarray,
    weights: np.ndarray,
    item_vectors: np.ndarray,
    profile: sp.csr_matrix,
    targets: sp.csr_matrix,
    popularity: np.ndarray,
) -> Recovered:
    """Both halves of every history from ``matrices [n, d + 1, d]``, one a user, as the server saw them.

    The profile is a mean of item vectors, and so are the targets once the residual is taken from the mean
    that the map expects: both are recovered by ``reconstruction.attack``. Clipping hides the residual's
    length, for which the adversary takes that of its own accounts. Recall is of the whole history; where less
    comes back than without the updates, the adversary names the most popular items as the baseline does.

    Raises:
        InputError: another number of matrices than users; as ``reconstruction.attack``.
    """
    if len(matrices) != profile.shape[0] or profile.shape != targets.shape:
        raise InputError(
            f"{len(matrices)} updates, halves {profile.shape} and {targets.shape}: expected alike"
        )
    users, residuals = factors(matrices)
    left = np.concatenate([similarity.normalize(users), np.ones((len(users), 1))], axis=1)
    expected = chances(left, weights, item_vectors) @ item_vectors
    own = np.asarray(targets[:OWN] @ item_vectors) / np.maximum(targets[:OWN].sum(axis=1), 1)
    typical = np.linalg.norm(expected[:OWN] - np.asarray(own), axis=1).mean()
    scale = typical / np.maximum(np.linalg.norm(residuals, axis=1, keepdims=True), 1e-12)
    of_profile = reconstruction.attack(users, item_vectors, profile, popularity, calibration=OWN)
    of_targets = reconstruction.attack(
        expected - scale * residuals, item_vectors, targets, popularity, calibration=OWN
    )
    sizes, popular = of_profile.sizes + of_targets.sizes, np.argsort(-np.asarray(popularity), kind="stable")
    part = of_profile.sizes / sizes
    recall = part * of_profile.recall + (1 - part) * of_targets.recall
    whole = (profile + targets)[OWN:]
    blind = np.array([np.isin(row.indices, popular[: row.nnz]).mean() for row in whole])
    return Recovered(sizes, recall if recall.mean() > blind.mean() else blind, blind)


def group_sums(matrices: np.ndarray, size: int) -> np.ndarray:
    """The sum of the group of ``size`` updates that each is part of, ``[n, d + 1, d]``: what secure
    aggregation shows (Bonawitz et al., CCS 2017). The last group is filled with its predecessors.
    """
    sums = np.empty_like(matrices)
    for start in range(0, len(matrices), size):
        stop = min(start + size, len(matrices))
        sums[start:stop] = matrices[max(stop - size, 0) : stop].sum(axis=0)
    return sums


def participation(
    updates: Updates, size: int, noise: float, clip: float, rounds: int = 200, seed: int = 0
) -> membership.Success:
    """Who took part in a sum? Of every user the adversary knows the update that the user would have sent.

    In each of ``rounds`` a random ``size`` of the users takes part; their clipped updates and noise of
    ``noise · clip`` are added. The statistic is the product of the sum with the user's update, divided by the
    update's squared length, less its mean over the rounds without the user, which an adversary knows who can
    simulate rounds.

    Raises:
        InputError: a size outside of 1 to the number of users less 1, fewer than 4 rounds.
    """
    n = len(updates.left)
    if not 1 <= size < n or rounds < 4:
        raise InputError(f"size={size!r}, rounds={rounds!r}: expected 1 to {n - 1}, and at least 4")
    sent, rng = updates.clipped(clip), np.random.default_rng(seed)
    lengths = np.maximum(sent.norms, 1e-12)
    # Products of rank-one matrices are products of their factors.
    products = (sent.left @ sent.left.T) * (sent.right @ sent.right.T) / lengths[:, None]
    member = rng.random((rounds, n)).argsort(axis=1) < size
    # The product of the noise with a unit matrix is a normal number, here an independent one for each user.
    found = member.astype(np.float64) @ products.T.astype(np.float64)
    found += noise * clip * rng.standard_normal(found.shape)
    absent = np.where(member, 0, found).sum(axis=0) / np.maximum((~member).sum(axis=0), 1)
    return membership.success((found - absent) / lengths, member)
