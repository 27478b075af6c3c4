"""Paired tests over users: is the difference between two recommenders real?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recsys_lib.core.errors import InputError
from recsys_lib.evaluation.ranking import Evaluation


def average(evaluations: Sequence[Evaluation]) -> Evaluation:
    """Each user's mean over several evaluations of one recommender (seeds), over those in which the user has a test item.

    What paired tests over users need: the same user in five splits is one user, not five. Lists are left out.

    Raises:
        InputError: none, or evaluations at different cuts.
    """
    if not evaluations or len({e.k for e in evaluations}) > 1:
        raise InputError(f"{len(evaluations)} evaluations: expected at least one, all at the same k")
    users = np.unique(np.concatenate([e.users for e in evaluations]))
    times = np.zeros(len(users))
    sums = {name: np.zeros(len(users)) for name in evaluations[0].per_user}
    for e in evaluations:
        at = np.searchsorted(users, e.users)
        times[at] += 1
        for name, values in e.per_user.items():
            sums[name][at] += values
    k = evaluations[0].k
    return Evaluation(k, users, {n: s / times for n, s in sums.items()}, np.empty((len(users), 0), dtype=np.int64))


@dataclass(frozen=True)
class Comparison:
    """Paired difference ``a - b`` of one metric over the same users: mean, 95% bootstrap interval, Wilcoxon p."""

    metric: str
    difference: float
    low: float
    high: float
    p_value: float


def compare(a: Evaluation, b: Evaluation, metric: str = "ndcg", resamples: int = 2000, seed: int = 0) -> Comparison:
    """Test whether ``a`` and ``b`` differ, paired by user: bootstrap over users and Wilcoxon's signed ranks, two-sided.

    Raises:
        InputError: different users or cuts, or an unknown metric.
    """
    from scipy import stats

    if a.k != b.k or not np.array_equal(a.users, b.users):
        raise InputError(
            f"a (k={a.k}, {len(a.users)} users) and b (k={b.k}, {len(b.users)} users): expected the same users and k"
        )
    if metric not in a.per_user:
        raise InputError(f"metric={metric!r}: expected one of {', '.join(a.per_user)}")
    differences = a.per_user[metric] - b.per_user[metric]
    rng = np.random.default_rng(seed)
    # Resampling users is resampling counts; a multinomial draw is the same and needs no gather.
    weights = rng.multinomial(len(differences), np.full(len(differences), 1 / len(differences)), size=resamples)
    low, high = np.percentile(weights @ differences / len(differences), [2.5, 97.5])
    p = 1.0 if not differences.any() else float(stats.wilcoxon(differences).pvalue)
    return Comparison(metric, float(differences.mean()), float(low), float(high), p)


def p_text(p: float) -> str:
    """A p-value as printed: a small one without its digits, which depend on single users.

    >>> [p_text(p) for p in (0.0123, 1e-80)]
    ['0.012', '< 0.001']
    """
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Holm's adjusted p-values for several tests at once (Holm, 1979), in the given order.

    >>> holm([0.01, 0.04, 0.03]).round(2).tolist()
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate((len(p) - np.arange(len(p))) * p[order])
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1)
    return adjusted
