"""A map from users to items over text vectors that is trained on the devices: each sends an update, never its
history.

The map scores item ``i`` for a user of profile ``x`` (the mean of the history's vectors, length 1, and a
constant 1) by ``xᵀ W v_i``. In a round a device splits its history at random, makes the profile of one half,
and its update is the gradient of the cross-entropy of the other half among all items, ``x rᵀ`` with ``r = Vᵀ
(softmax - targets)``: of rank one. The server adds the updates (McMahan et al., "Communication-Efficient
Learning of Deep Networks from Decentralized Data", AISTATS 2017). Clipped updates and noise on their sum make
the rounds differentially private towards every user (McMahan et al., "Learning Differentially Private
Recurrent Language Models", ICLR 2018).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from recsys_lib.core.errors import InputError
from recsys_lib.recommenders import BaseRecommender, checks
from recsys_lib.trust.privacy.accountant import sampled_epsilon
from recsys_lib.vectors import similarity

# Scores are multiplied by this in the softmax: products of unit vectors are small.
TEMPERATURE = 10.0
MOMENTUM = 0.9


@dataclass(frozen=True, eq=False)
class Updates:
    """Updates of rank one, ``left[u] right[u]ᵀ``: float32 ``[n, d + 1]`` and ``[n, d]``."""

    left: np.ndarray
    right: np.ndarray

    @property
    def norms(self) -> np.ndarray:
        """Frobenius norms ``[n]``."""
        return np.linalg.norm(self.left, axis=1) * np.linalg.norm(self.right, axis=1)

    def clipped(self, clip: float) -> Updates:
        """Every update scaled to a norm of at most ``clip``."""
        scale = np.minimum(1, clip / np.maximum(self.norms, 1e-12)).astype(np.float32)
        return Updates(self.left, self.right * scale[:, None])

    def signs(self, length: float) -> Updates:
        """One bit for every number of both factors, each product scaled to a norm of ``length``."""
        shape = self.left.shape[1] * self.right.shape[1]
        sent = (self.norms > 0)[:, None] * np.float32(length / np.sqrt(shape))
        return Updates(np.where(self.left >= 0, 1, -1).astype(np.float32), np.sign(self.right) * sent)

    def sum(self) -> np.ndarray:
        """The sum of all updates ``[d + 1, d]``."""
        return self.left.T @ self.right

    def matrices(self) -> np.ndarray:
        """Each update as a matrix, ``[n, d + 1, d]``."""
        return self.left[:, :, None] * self.right[:, None, :]


def profiles_of(histories: sp.csr_matrix, item_vectors: np.ndarray) -> np.ndarray:
    """The mean of each history's unit vectors at length 1, and a constant 1: float32 ``[n, d + 1]``."""
    means = similarity.normalize(np.asarray(histories @ item_vectors, dtype=np.float32))
    return np.concatenate([means, np.ones((len(means), 1), np.float32)], axis=1)


def halves(histories: sp.csr_matrix, rng: np.random.Generator) -> tuple[sp.csr_matrix, sp.csr_matrix]:
    """Every history in two random parts: that of the profile, and that of the targets."""
    first = rng.random(histories.nnz) < 0.5
    parts = []
    for kept in (first, ~first):
        part = sp.csr_matrix(
            (kept.astype(np.float32), histories.indices, histories.indptr), shape=histories.shape, copy=True
        )
        part.eliminate_zeros()
        parts.append(part)
    return parts[0], parts[1]


def chances(left: np.ndarray, weights: np.ndarray, item_vectors: np.ndarray) -> np.ndarray:
    """The softmax over all items ``[n, n_items]`` of users ``left [n, d + 1]``."""
    scores = TEMPERATURE * (left @ weights @ item_vectors.T)
    scores -= scores.max(axis=1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=1, keepdims=True)
    return scores


def updates_of(
    weights: np.ndarray, item_vectors: np.ndarray, profile: sp.csr_matrix, targets: sp.csr_matrix
) -> Updates:
    """What each device sends in a round, from the two halves of its history; zero where it has no target."""
    left = profiles_of(profile, item_vectors)
    sizes = np.asarray(targets.sum(axis=1)).ravel()
    wanted = np.asarray(targets @ item_vectors) / np.maximum(sizes, 1)[:, None]
    right = chances(left, weights, item_vectors) @ item_vectors - wanted
    return Updates(left, (right * (sizes > 0)[:, None]).astype(np.float32))


class FederatedMap(BaseRecommender):
    """The map of this module, fitted in ``rounds`` over users who take part with probability ``rate`` each.

    clip: the largest norm of an update. one_bit: only signs of both factors are sent, at that norm. noise:
    standard deviation of the Gaussian noise on the sum, in units of ``clip``; 0 for none. ``epsilon(delta)``
    is what the rounds guarantee every user towards whoever sees all sums and the map; as with
    ``PrivateEASE``, a guarantee only for who does not know ``seed``. The sum is divided by the expected
    number of participants. A user without history gets the items' popularity as far as their texts tell it.
    """

    settings = ("rounds", "learning_rate", "clip", "noise", "rate", "one_bit", "seed")
    arrays = ("item_vectors", "weights")

    def __init__(
        self,
        item_vectors: np.ndarray,
        rounds: int = 30,
        learning_rate: float = 3.0,
        clip: float = 0.3,
        noise: float = 0.0,
        rate: float = 1.0,
        one_bit: bool = False,
        seed: int = 0,
    ):
        positive = rounds >= 1 and 0 < learning_rate < np.inf and 0 < clip < np.inf
        if not positive or not 0 <= noise < np.inf or not 0 < rate <= 1:
            raise InputError(
                f"rounds={rounds!r}, learning_rate={learning_rate!r}, clip={clip!r}, noise={noise!r}, "
                f"rate={rate!r}: expected positive numbers, noise at least 0, rate at most 1"
            )
        self.item_vectors = similarity.normalize(np.asarray(item_vectors, dtype=np.float32))
        self.rounds, self.learning_rate, self.clip = rounds, learning_rate, clip
        self.noise, self.rate, self.one_bit, self.seed = noise, rate, one_bit, seed
        self.weights = np.empty((0, 0), dtype=np.float32)

    def epsilon(self, delta: float = 1e-5) -> float:
        """The ε of all rounds together for one user, infinite without noise."""
        return sampled_epsilon(delta, self.noise, self.rate, self.rounds) if self.noise else np.inf

    def _fit(self, train: sp.csr_matrix, times: sp.csr_matrix | None) -> None:
        checks.vectors_for(train, self.item_vectors)
        d = self.item_vectors.shape[1]
        rng = np.random.default_rng(self.seed)
        self.weights = np.zeros((d + 1, d), np.float32)
        speed = np.zeros_like(self.weights)
        ones = sp.csr_matrix((train != 0).astype(np.float32))
        for _ in range(self.rounds):
            taking_part = np.flatnonzero(rng.random(train.shape[0]) < self.rate)
            sent = updates_of(self.weights, self.item_vectors, *halves(ones[taking_part], rng))
            total = (sent.signs(self.clip) if self.one_bit else sent.clipped(self.clip)).sum()
            if self.noise:
                total = total + self.noise * self.clip * rng.standard_normal(total.shape)
            speed = MOMENTUM * speed + (total / (self.rate * train.shape[0])).astype(np.float32)
            self.weights = self.weights - np.float32(self.learning_rate) * speed

    def _score(self, histories: sp.csr_matrix) -> np.ndarray:
        left = profiles_of(histories, self.item_vectors)
        return np.asarray(left @ self.weights @ self.item_vectors.T, dtype=np.float32)
