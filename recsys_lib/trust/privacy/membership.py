"""Was this user in the training data, and was this item in that history?

Adversary of a user's membership: knows the whole history of a person, may ask the fitted model for the scores
of that history, and can fit models of the same kind on people of the same kind (shadow models). Baseline: the
length of the history alone. Reported is the area under the curve *and* the true positives at 0.1% false ones,
which say what an attacker can be sure of (Carlini et al., "Membership Inference Attacks From First
Principles", S&P 2022).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import scipy.sparse as sp

from recsys_lib.core.errors import InputError
from recsys_lib.recommenders import BaseRecommender

FALSE_POSITIVES = 1e-3


@dataclass(frozen=True)
class Success:
    """auc: 0.5 is chance. true_positives: the fraction of members found at ``FALSE_POSITIVES``, which is
    chance.
    """

    auc: float
    true_positives: float


def success(scores: np.ndarray, member: np.ndarray) -> Success:
    """How well ``scores`` tell members from others; arrays of one shape.

    Raises:
        InputError: other shapes, NaN, only members or none.
    """
    from sklearn.metrics import roc_auc_score

    s, m = np.asarray(scores, dtype=float).ravel(), np.asarray(member, dtype=bool).ravel()
    if s.shape != m.shape or m.all() or not m.any() or np.isnan(s).any():
        raise InputError(
            f"{len(s)} scores, {int(m.sum())} of {len(m)} members: expected both kinds, without NaN"
        )
    others = np.sort(s[~m])[::-1]
    allowed = int(FALSE_POSITIVES * len(others))
    return Success(float(roc_auc_score(m, s)), float((s[m] > others[allowed]).mean()))


class Fits(Protocol):
    """Whatever gives a fitted recommender."""

    def fit(self, train: sp.csr_matrix, /) -> BaseRecommender: ...


@dataclass(frozen=True, eq=False)
class Shadows:
    """statistics float64 ``[n_models, n_users]`` of every model for every user; member bool, who was in
    its training.
    """

    statistics: np.ndarray
    member: np.ndarray


def own_score(model: BaseRecommender, histories: sp.csr_matrix) -> np.ndarray:
    """How much higher a model scores the items of each history than the others, ``[n]``: the statistic of the
    attack.

    In units of the spread of that user's scores; 0 for an empty history.
    """
    scores = model.score(histories).astype(np.float64)
    sizes = np.diff(histories.indptr)
    own = np.asarray(histories.multiply(scores).sum(axis=1)).ravel() / np.maximum(sizes, 1)
    spread = scores.std(axis=1)
    return np.where(
        (sizes > 0) & (spread > 0), (own - scores.mean(axis=1)) / np.where(spread > 0, spread, 1), 0.0
    )


def drawn_members(n_models: int, n_users: int, seed: int = 0) -> np.ndarray:
    """Which users are in which model's data, bool ``[n_models, n_users]``: every user in a random half of the
    models (rounded), so that both distributions can be seen.
    """
    order = np.random.default_rng(seed).random((n_models, n_users)).argsort(axis=0)
    return order < n_models // 2


def shadow_models(
    make: Callable[[int], Fits], histories: sp.csr_matrix, n_models: int = 16, seed: int = 0
) -> Shadows:
    """Fit ``n_models`` models, each on a random half of the users, and take the statistic of all users from
    each.

    Who is in which: ``drawn_members``. ``make`` gets the number of the model: a randomized one needs a seed
    of its own each time, since an attacker does not know the noise.

    Raises:
        InputError: fewer than 4 models or users.
    """
    n_users = histories.shape[0]
    if n_models < 4 or n_users < 4:
        raise InputError(f"n_models={n_models!r}, {n_users} users: expected at least 4 of each")
    ones = (histories != 0).astype(np.float32)
    member = drawn_members(n_models, n_users, seed)
    fitted = (make(number).fit(ones[np.flatnonzero(rows)]) for number, rows in enumerate(member))
    statistics = np.stack([own_score(model, ones) for model in fitted])
    return Shadows(statistics, member)


def likelihood_ratios(shadows: Shadows) -> np.ndarray:
    """For every model and user the log likelihood ratio of membership, from the other models alone,
    ``[n_models, n_users]``.

    Each user has two normal distributions, with and without; means are the user's own, variances shared by
    all users, since a dozen models do not give one for each. Differences are taken in units of the user's own
    spread.
    """
    s, m = shadows.statistics, shadows.member
    found = np.empty_like(s)
    for target in range(len(s)):
        rest = np.arange(len(s)) != target
        inside, values = m[rest], s[rest]
        means = [
            np.where(part, values, 0).sum(axis=0) / np.maximum(part.sum(axis=0), 1)
            for part in (inside, ~inside)
        ]
        left = np.where(inside, values - means[0], values - means[1])
        spread = np.maximum(np.sqrt((left**2).mean(axis=0)), 1e-12)
        scaled = left / spread
        inner, outer = (max(float(np.sqrt((scaled[part] ** 2).mean())), 1e-6) for part in (inside, ~inside))
        z_in, z_out = ((s[target] - mean) / spread for mean in means)
        found[target] = (
            -0.5 * (z_in / inner) ** 2 - np.log(inner) + 0.5 * (z_out / outer) ** 2 + np.log(outer)
        )
    return found


def of_items(scores: np.ndarray, histories: sp.csr_matrix) -> Success:
    """How well ``scores [n, n_items]`` tell whether an item is in a history: over all pairs of user and item.

    Adversary: sees a user's vector, knows the catalogue, asks for one item. Scores are cosines with the
    vector, or the weights of ``reconstruction.recovery_scores``; popularity alone is the baseline.

    Raises:
        InputError: other shapes, NaN, no item or every item in the histories.
    """
    return success(scores, (histories != 0).toarray())
