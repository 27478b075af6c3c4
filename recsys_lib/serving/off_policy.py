"""What would another way to choose cold items have earned: estimates from logged draws and their
propensities.

A place of the exploration quota draws an item ``a`` with the probability ``p`` (its propensity) and earns
``r``: 1 if it was chosen from that list, else 0. Another policy would draw the same item with the probability
``q``; with the weights ``w = q / p`` over ``n`` logged draws:

* IPS (inverse propensity scoring): ``mean(w r)``, unbiased, of high variance where weights are large;
* SNIPS (self-normalized): ``sum(w r) / sum(w)``, slightly biased, of less variance;
* DR (doubly robust): ``mean(m + w (r - m(a)))`` with a model of rewards ``m(a)`` and its mean ``m`` under the
  other policy; unbiased if propensities are right, of small variance where the model is good.

Horvitz and Thompson (1952); Swaminathan and Joachims, "The Self-Normalized Estimator for Counterfactual
Learning", NeurIPS 2015; Dudik, Langford and Li, "Doubly Robust Policy Evaluation and Learning", ICML 2011.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from recsys_lib.core.errors import InputError

# Of one place: its candidates' ids, best first, to their probabilities.
Policy = Callable[[Sequence[str]], np.ndarray]


@dataclass(frozen=True)
class Draw:
    """One logged draw of a place: its candidates, which was shown, with which probability, and its reward."""

    candidates: tuple[str, ...]
    shown: str
    propensity: float
    reward: float


@dataclass(frozen=True)
class Estimate:
    """A value per draw and its standard error; ``effective``: to how many draws the weights amount."""

    value: float
    error: float
    effective: float

    @property
    def interval(self) -> tuple[float, float]:
        """95%, by the normal approximation."""
        return self.value - 1.96 * self.error, self.value + 1.96 * self.error


def draws_of(lists: Sequence[Mapping[str, Any]]) -> list[Draw]:
    """The draws in lists as ``EventLog.lists`` gives them: one for every explored place."""
    found = []
    for row in lists:
        shown, chosen = row["shown"], set(row["chosen"])
        places = [place for place, explored in enumerate(shown["explored"]) if explored]
        for place, pool in zip(places, shown["pools"], strict=True):
            item = shown["ids"][place]
            found.append(Draw(tuple(pool), item, shown["propensities"][place], float(item in chosen)))
    return found


def estimates(
    draws: Sequence[Draw], policy: Policy, rewards: Mapping[str, float] | None = None
) -> dict[str, Estimate]:
    """The value per draw of ``policy``: ``ips``, ``snips``, ``dr`` and, for comparison, ``logged`` (what was
    earned).

    ``rewards``: a model of the reward of each item, for ``dr``; without one, the mean reward of each item in
    the other half of the draws (two folds, so that no draw is predicted from itself).

    Raises:
        InputError: fewer than two draws, a propensity outside (0, 1], or a policy whose probabilities do not
            fit its candidates.
    """
    if len(draws) < 2:
        raise InputError(f"{len(draws)} draws: expected at least 2")
    chances = [_probabilities(policy, draw.candidates) for draw in draws]
    shown = [draw.candidates.index(draw.shown) for draw in draws]
    p = np.array([draw.propensity for draw in draws])
    if not ((p > 0) & (p <= 1)).all():
        raise InputError(f"propensities from {p.min()} to {p.max()}: expected more than 0, at most 1")
    r = np.array([draw.reward for draw in draws])
    w = np.array([q[place] for q, place in zip(chances, shown, strict=True)]) / p
    predicted = _predicted(draws, rewards)
    at = np.array([m[place] for m, place in zip(predicted, shown, strict=True)])
    under = np.array([q @ m for q, m in zip(chances, predicted, strict=True)])
    effective = float(w.sum() ** 2 / (w**2).sum()) if w.any() else 0.0
    ratio = float((w * r).sum() / w.sum()) if w.any() else 0.0
    spread = w * (r - ratio) / max(float(w.mean()), 1e-12)
    return {
        "ips": _estimate(w * r, effective),
        "snips": Estimate(ratio, _error(spread), effective),
        "dr": _estimate(under + w * (r - at), effective),
        "logged": _estimate(r, float(len(r))),
    }


def _predicted(draws: Sequence[Draw], rewards: Mapping[str, float] | None) -> list[np.ndarray]:
    """The model's reward of every candidate of every draw; 0 where ``rewards`` does not know an item."""
    if rewards is not None:
        return [np.array([rewards.get(item, 0.0) for item in draw.candidates]) for draw in draws]
    folds = _means(draws[1::2]), _means(draws[::2])
    return [
        np.array([folds[n % 2].get(item, folds[n % 2][""]) for item in draw.candidates])
        for n, draw in enumerate(draws)
    ]


def _estimate(values: np.ndarray, effective: float) -> Estimate:
    return Estimate(float(values.mean()), _error(values), effective)


def _error(values: np.ndarray) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values)))


def _probabilities(policy: Policy, candidates: Sequence[str]) -> np.ndarray:
    q = np.asarray(policy(candidates), dtype=np.float64)
    if q.shape != (len(candidates),) or (q < 0).any() or not np.isclose(q.sum(), 1):
        raise InputError(f"policy: gave {q.tolist()}, expected {len(candidates)} probabilities of sum 1")
    return q


def _means(draws: Sequence[Draw]) -> dict[str, float]:
    """Mean reward of every item, drawn towards the mean of all, which stands under the empty id."""
    overall = float(np.mean([draw.reward for draw in draws]))
    sums: dict[str, list[float]] = {}
    for draw in draws:
        sums.setdefault(draw.shown, []).append(draw.reward)
    means = {item: (sum(r) + 5 * overall) / (len(r) + 5) for item, r in sums.items()}
    return means | {"": overall}


# ---------------------------------------------------------------- policies to ask about


def uniform(candidates: Sequence[str]) -> np.ndarray:
    """Every candidate alike."""
    return np.full(len(candidates), 1 / len(candidates))


def greedy(candidates: Sequence[str]) -> np.ndarray:
    """The best by the map, always."""
    return np.eye(len(candidates))[0]
