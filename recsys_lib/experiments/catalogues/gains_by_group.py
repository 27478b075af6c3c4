"""Whether personalization changes from group to group: gains over popularity, tested by permutation.

Groups are different people, so their gains are compared by moving people between groups at random. History
length goes with everything else, so each of the other groupings is also tested with people moved only between
those of one quarter of history length.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from recsys_lib import evaluation
from recsys_lib.evaluation import Evaluation

RESAMPLES, PERMUTATIONS, DIGITS = 2000, 10_000, 4
LENGTH = "history length"
# Gains that are tested: the method and what it is held against.
PAIRS = (("EASE", "popularity"), ("EASE + MiniLM", "popularity"), ("EASE + MiniLM", "EASE"))

Values = Mapping[str, Sequence[float]]


def kept(found: Mapping[str, Evaluation], groups: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, Any]:
    """What the record keeps of every user: NDCG of each method to four digits, and the number of the user's
    group of each kind, -1 for none.
    """
    users = next(iter(found.values())).users
    return {
        "values": {name: np.round(e.per_user["ndcg"], DIGITS).tolist() for name, e in found.items()},
        "group": {kind: numbers(own, users).tolist() for kind, own in groups.items()},
    }


def numbers(groups: Mapping[str, np.ndarray], users: np.ndarray) -> np.ndarray:
    """For every one of ``users`` the number of its group among bool masks ``[n_users]``, -1 for none."""
    found = np.full(len(users), -1)
    for number, mask in enumerate(groups.values()):
        found[mask[users]] = number
    return found


def tested(values: Values, group: Mapping[str, Sequence[int]]) -> list[dict[str, Any]]:
    """A row for each kind of groups and each of ``PAIRS``: the mean gain of every group with its 95%
    interval, also relative to what it is a gain over, the last group's less the first's, and the p-values,
    Holm-corrected over all rows; ``p, same length`` moves people within quarters of history length only.
    """
    strata = np.array(group[LENGTH])
    rows = [
        {"groups": kind, "gain": f"{a} over {b}"}
        | _row(np.array(values[a]), np.array(values[b]), np.array(own), None if kind == LENGTH else strata)
        for kind, own in group.items()
        for a, b in PAIRS
        if a in values and b in values
    ]
    for name in ("p", "p, same length"):
        asked = [row for row in rows if row[name] is not None]
        for row, adjusted in zip(asked, evaluation.holm([row[name] for row in asked]), strict=True):
            row[f"Holm {name}"] = float(adjusted)
    return rows


def _row(a: np.ndarray, b: np.ndarray, group: np.ndarray, strata: np.ndarray | None) -> dict[str, Any]:
    gain, known = a - b, group >= 0
    labels = np.unique(group[known])
    first, last = (gain[group == label] for label in (labels[0], labels[-1]))
    drawn = evaluation.resampled_means(last, RESAMPLES, 0) - evaluation.resampled_means(first, RESAMPLES, 1)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return {
        "mean": [_interval(a[group == label], b[group == label]) for label in labels],
        "last less first": float(last.mean() - first.mean()),
        "low": float(low),
        "high": float(high),
        "p": permutation_p(gain[known], group[known]),
        "p, same length": None if strata is None else permutation_p(gain[known], group[known], strata[known]),
    }


def _interval(a: np.ndarray, b: np.ndarray) -> dict[str, float]:
    """Gain of paired values, and the gain relative to the mean of ``b``, with 95% bootstrap intervals."""
    means = [evaluation.resampled_means(values, RESAMPLES) for values in (a, b)]
    low, high = np.percentile(means[0] - means[1], [2.5, 97.5])
    found = {"gain": float((a - b).mean()), "low": float(low), "high": float(high), "users": len(a)}
    if means[1].min() > 0:
        low, high = np.percentile(means[0] / means[1] - 1, [2.5, 97.5])
        relative = float(a.mean() / b.mean() - 1)
        found |= {"relative": relative, "relative low": float(low), "relative high": float(high)}
    return found


def permutation_p(
    values: np.ndarray,
    group: np.ndarray,
    strata: np.ndarray | None = None,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> float:
    """Of the hypothesis that ``values [n]`` do not depend on ``group [n]``: how often the groups' means vary
    as much where people are moved at random, within each stratum of ``strata`` if given.

    >>> rng = np.random.default_rng(0)
    >>> permutation_p(np.r_[rng.normal(size=50), rng.normal(2, size=50)], np.arange(100) // 50) < 0.001
    True
    """
    rng = np.random.default_rng(seed)
    strata = np.zeros(len(values), dtype=int) if strata is None else strata
    _, places = np.unique(group, return_inverse=True)
    counts = np.bincount(places)
    parts = [np.flatnonzero(strata == label) for label in np.unique(strata)]

    def spread(moved: np.ndarray) -> float:
        sums = np.bincount(places, weights=moved)
        return float((sums**2 / counts).sum())

    observed, moved, reached = spread(values), values.copy(), 0
    for _ in range(permutations):
        for part in parts:
            moved[part] = values[rng.permutation(part)]
        reached += spread(moved) >= observed * (1 - 1e-12)
    return (reached + 1) / (permutations + 1)


def text_and_loss(values: Values) -> dict[str, float]:
    """Whether text makes EASE's lists more personal: what another's history costs EASE with MiniLM less what
    it costs EASE, paired over users, in NDCG and as a part of the own NDCG.
    """
    own, other, text, text_other = (
        np.array(values[name])
        for name in ("EASE", "EASE, another's", "EASE + MiniLM", "EASE + MiniLM, another's")
    )
    users = np.arange(len(own))
    with_text, without = (
        Evaluation.without_lists(10, users, {"ndcg": loss}) for loss in (text - text_other, own - other)
    )
    test = evaluation.compare(with_text, without)
    means = [evaluation.resampled_means(v, RESAMPLES) for v in (own, other, text, text_other)]
    parts = means[1] / means[0] - means[3] / means[2]
    low, high = np.percentile(parts, [2.5, 97.5])
    return {
        "difference": test.difference, "low": test.low, "high": test.high, "p": test.p_value,
        "part": float(other.mean() / own.mean() - text_other.mean() / text.mean()),
        "part low": float(low), "part high": float(high),
    }  # fmt: skip
