"""Paired tests over users: is the difference between two recommenders real?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from recsys_lib.core.errors import InputError
from recsys_lib.evaluation.ranking import Evaluation

# Counts of users that the bootstrap draws at once: 32 MB of int64, and as much of float64 to multiply with.
BLOCK_COUNTS = 4 * 2**20


def average(evaluations: Sequence[Evaluation]) -> Evaluation:
    """Each user's mean over several evaluations of one recommender (seeds), over those in which the user has
    a test item.

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
    return Evaluation.without_lists(k, users, {n: s / times for n, s in sums.items()})


@dataclass(frozen=True)
class Comparison:
    """Paired difference ``a - b`` of one metric over the same users:
    mean, 95% bootstrap interval, Wilcoxon p.
    """

    metric: str
    difference: float
    low: float
    high: float
    p_value: float


def compare(
    a: Evaluation, b: Evaluation, metric: str = "ndcg", resamples: int = 2000, seed: int = 0
) -> Comparison:
    """Test whether ``a`` and ``b`` differ, paired by user: bootstrap over users and Wilcoxon's signed ranks,
    two-sided.

    Raises:
        InputError: different users or cuts, or an unknown metric.
    """
    from scipy import stats

    differences = np.subtract(*_paired(a, b, metric))
    low, high = np.percentile(resampled_means(differences, resamples, seed), [2.5, 97.5])
    p = 1.0 if not differences.any() else float(stats.wilcoxon(differences).pvalue)
    return Comparison(metric, float(differences.mean()), float(low), float(high), p)


def _paired(a: Evaluation, b: Evaluation, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """The metric of both for the same users, ``[n_users]`` each."""
    if a.k != b.k or not np.array_equal(a.users, b.users):
        raise InputError(
            f"a (k={a.k}, {len(a.users)} users) and b (k={b.k}, {len(b.users)} users): expected the same "
            f"users and k"
        )
    if metric not in a.per_user:
        raise InputError(f"metric={metric!r}: expected one of {', '.join(a.per_user)}")
    return a.per_user[metric], b.per_user[metric]


def resampled_means(values: np.ndarray, resamples: int, seed: int = 0) -> np.ndarray:
    """Means of ``values [n]`` over ``resamples`` bootstrap samples, drawn in blocks of bounded memory.

    Resampling users is resampling counts; a multinomial draw is the same and needs no gather. The generator
    draws row after row, so the blocks do not change what is drawn.
    """
    rng, n = np.random.default_rng(seed), len(values)
    each = np.full(n, 1 / n)
    means = np.empty(resamples)
    block = max(1, BLOCK_COUNTS // n)
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        means[start : start + rows] = rng.multinomial(n, each, size=rows) @ values / n
    return means


def bootstrap_means(
    evaluations: Mapping[str, Evaluation], metric: str = "ndcg", resamples: int = 200, seed: int = 0
) -> dict[str, np.ndarray]:
    """Means of a metric over bootstrap samples of the users, ``[resamples]`` for each of the evaluations.

    All share the sampled users, so that the differences of two are those of a paired bootstrap.

    Raises:
        InputError: evaluations of different users or cuts, or an unknown metric.
    """
    first = next(iter(evaluations.values()))
    return {
        name: resampled_means(_paired(found, first, metric)[0], resamples, seed)
        for name, found in evaluations.items()
    }


def auc_interval(
    liked: np.ndarray, scores: Sequence[float], others: Sequence[float] | None = None
) -> tuple[float, float, float]:
    """The area under the ROC curve of ``scores [n]`` for ``liked [n]`` with its 95% interval; with
    ``others [n]``, scores of the same examples, the difference of the two areas with its interval.

    The area is the mean, over the liked, of the fraction of the others that score lower; the variance of such
    means is DeLong's (DeLong, DeLong and Clarke-Pearson, Biometrics 1988).

    Raises:
        InputError: fewer than two liked or two others, or scores of another length.
    """
    liked, all_scores = np.asarray(liked, bool), [scores] if others is None else [scores, others]
    if min(liked.sum(), (~liked).sum()) < 2 or any(len(s) != len(liked) for s in all_scores):
        raise InputError(
            f"{int(liked.sum())} of {len(liked)} examples liked, {[len(s) for s in all_scores]} scores: "
            "expected two of either kind and a score each"
        )
    parts = [_placements(liked, np.asarray(s, dtype=np.float64)) for s in all_scores]
    of_liked, of_others = (parts[0][i] - (parts[1][i] if others is not None else 0.0) for i in (0, 1))
    error = np.sqrt(of_liked.var(ddof=1) / len(of_liked) + of_others.var(ddof=1) / len(of_others))
    value = float(of_liked.mean())
    return value, value - 1.96 * float(error), value + 1.96 * float(error)


def _placements(liked: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each liked example the fraction of the others that score lower, and of each other the fraction of
    the liked that score higher; equal scores count a half.
    """
    from scipy.stats import rankdata

    ranks, n_liked, n_others = rankdata(scores), liked.sum(), (~liked).sum()
    below = (ranks[liked] - rankdata(scores[liked])) / n_others
    above = 1 - (ranks[~liked] - rankdata(scores[~liked])) / n_liked
    return below, above


@dataclass(frozen=True)
class Equivalence:
    """Two one-sided paired tests of one metric: is the mean of ``a`` within ``margin`` of that of ``b``,
    relative to ``b``?

    relative_difference: ``mean(a) / mean(b) - 1``. p_not_worse, p_not_better: of the hypotheses that ``a`` is
    worse, or
    better, by the margin or more. equivalent: both are rejected at ``alpha``.
    """

    metric: str
    margin: float
    relative_difference: float
    p_not_worse: float
    p_not_better: float
    alpha: float

    @property
    def p_value(self) -> float:
        """Of the hypothesis that the two are not equivalent: the larger of both."""
        return max(self.p_not_worse, self.p_not_better)

    @property
    def equivalent(self) -> bool:
        return self.p_value < self.alpha


def equivalent(
    a: Evaluation, b: Evaluation, margin: float, metric: str = "ndcg", alpha: float = 0.05
) -> Equivalence:
    """Test whether ``a`` is as good as ``b`` within a relative ``margin`` (0.02: 2% of the mean of ``b``),
    paired by user.

    A difference that is not significant is no evidence of equality; this test puts the burden of proof on
    equality (Schuirmann, "A comparison of the two one-sided tests procedure ...", 1987). Both tests are
    paired t-tests of means over
    users: ``a - (1 - margin) b > 0`` and ``(1 + margin) b - a > 0``, so that the uncertainty of the mean of
    ``b``, of which the margin is a part, is in them.

    Raises:
        InputError: as ``compare``; a margin or alpha outside of (0, 1), fewer than 2 users, a baseline whose
            mean is 0.
    """
    for name, value in (("margin", margin), ("alpha", alpha)):
        if not 0 < value < 1:
            raise InputError(f"{name}={value!r}: expected a fraction between 0 and 1")
    ours, theirs = _paired(a, b, metric)
    if len(ours) < 2 or not theirs.mean() > 0:
        raise InputError(
            f"{len(ours)} users, mean {metric} of b {theirs.mean() if len(ours) else 0:.4g}: "
            "expected at least 2 users and a mean above 0, of which the margin is a part"
        )
    return Equivalence(
        metric,
        margin,
        float(ours.mean() / theirs.mean() - 1),
        _p_above_zero(ours - (1 - margin) * theirs),
        _p_above_zero((1 + margin) * theirs - ours),
        alpha,
    )


def _p_above_zero(values: np.ndarray) -> float:
    """The p-value of a one-sided t-test that the mean is above 0;
    values without spread decide by their sign.
    """
    from scipy import stats

    if np.ptp(values) == 0:
        return 0.0 if values[0] > 0 else 1.0
    return float(stats.ttest_1samp(values, 0, alternative="greater").pvalue)


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

    Raises:
        InputError: a value outside [0, 1], or NaN.
    """
    from statsmodels.stats.multitest import multipletests

    p = np.asarray(p_values, dtype=float)
    if p.size and not ((p >= 0) & (p <= 1)).all():
        raise InputError(f"p_values from {p.min()} to {p.max()}: expected numbers from 0 to 1")
    return multipletests(p, method="holm")[1] if p.size else p
