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

# Users whose histories the adversary knows, its own accounts, as ``reconstruction.attack`` takes them.
OWN = 8


def factors(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The profile ``[d]`` and the residual ``[d]`` behind an update ``[d + 1, d]``, noisy or a sum: its first
    singular pair.

    The last coordinate of the left factor is the constant 1, which tells the sign.
    """
    left, values, right = np.linalg.svd(np.asarray(matrix, dtype=np.float64), full_matrices=False)
    a, b = left[:, 0], right[0]
    sign = 1.0 if a[-1] >= 0 else -1.0
    return sign * a[:-1], sign * values[0] * b


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
    length, for which the adversary takes that of its own accounts. Recall is of the whole history.

    Raises:
        InputError: another number of matrices than users; as ``reconstruction.attack``.
    """
    if len(matrices) != profile.shape[0] or profile.shape != targets.shape:
        raise InputError(
            f"{len(matrices)} updates, halves {profile.shape} and {targets.shape}: expected alike"
        )
    pairs = [factors(matrix) for matrix in matrices]
    users, residuals = (np.array(part) for part in zip(*pairs, strict=True))
    length = np.linalg.norm(users, axis=1, keepdims=True)
    left = np.concatenate([users / np.maximum(length, 1e-12), np.ones((len(users), 1))], axis=1)
    expected = chances(left, weights, item_vectors) @ item_vectors
    own = np.asarray(targets[:OWN] @ item_vectors) / np.maximum(targets[:OWN].sum(axis=1), 1)
    typical = np.linalg.norm(expected[:OWN] - np.asarray(own), axis=1).mean()
    scale = typical / np.maximum(np.linalg.norm(residuals, axis=1, keepdims=True), 1e-12)
    of_profile = reconstruction.attack(users, item_vectors, profile, popularity, calibration=OWN)
    of_targets = reconstruction.attack(
        expected - scale * residuals, item_vectors, targets, popularity, calibration=OWN
    )
    sizes = of_profile.sizes + of_targets.sizes
    part = of_profile.sizes / sizes
    recall = part * of_profile.recall + (1 - part) * of_targets.recall
    return Recovered(sizes, recall, part * of_profile.baseline + (1 - part) * of_targets.baseline)


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
