"""The smallest part of a history without which an item leaves the list, for linear models."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from recsys_lib.core.errors import InputError
from recsys_lib.recommenders import BaseRecommender, TextProfile
from recsys_lib.trust.explanations.contributions import weights_between
from recsys_lib.trust.explanations.partial_history import one_history, rank_of, without

# Sums that differ by less, relative to the largest weight, count as equal: float32 scores do not part them.
MARGIN = 1e-6
# Branches that the exact search may look at: a count, not a time, so that it ends alike on every machine.
NODE_LIMIT = 2000


@dataclass(frozen=True)
class Counterfactual:
    """A part of the history without which the item is no longer among the ``k`` best.

    items: ids, ascending. minimal: no smaller part does it (proven). rank: of the item without them, by
    re-ranking with the model.
    """

    items: tuple[int, ...]
    minimal: bool
    rank: int


def counterfactual(
    model: BaseRecommender, history: sp.csr_matrix, target: int, k: int = 10, prove: bool = True
) -> Counterfactual | None:
    """The smallest part of ``history [1, n_items]`` without which ``target`` leaves the top ``k``; None if
    there is none.

    The fitted model stays as it is; items taken out of the history are not recommended in turn. A greedy
    search gives a part, a bound on what ``m`` items can change says whether a smaller one is possible, and if
    it is, an integer program decides (``prove``). The answer is verified by ranking again. Counterfactual
    reasons over a user's own actions: Ghazimatin et al., "PRINCE", WSDM 2020; Tran et al., "ACCENT", SIGIR
    2021, who remove actions greedily.

    Raises:
        InputError: a model that is not linear, a target that is in the history or not in the list, ``k``
        below 1.
    """
    row = one_history(history)
    seen = row.indices.astype(np.int64)
    if k < 1:
        raise InputError(f"k={k!r}: expected at least 1")
    if isinstance(model, TextProfile) and model.popularity:
        raise InputError(
            f"TextProfile(popularity={model.popularity!r}): expected 0, a prior is no part of the history"
        )
    rank = int(rank_of(model, row, target, seen)[0])
    if rank > k:
        raise InputError(f"target={target!r} has rank {rank}: expected an item of the top {k}")
    gains, gaps = _gaps(model, row, target)
    found = _greedy(gains, gaps, k)
    if found is None:
        return None
    minimal = len(found) <= _lower_bound(gains, gaps, k)
    while prove and not minimal:
        smaller, finished = _integer_program(gains, gaps, k, len(found) - 1)
        if smaller is None:
            minimal = finished
            break
        found = smaller
        minimal = len(found) <= _lower_bound(gains, gaps, k)
    items = np.sort(seen[found])
    after = int(rank_of(model, without(row, items), target, seen)[0])
    return Counterfactual(tuple(items.tolist()), minimal, after) if after > k else None


def _gaps(model: BaseRecommender, row: sp.csr_matrix, target: int) -> tuple[np.ndarray, np.ndarray]:
    """How much further the target is above every competitor because of each item, ``[h, n_competitors]``, and
    in all, ``[n_competitors]``.

    A competitor stands above the target once its gap is below 0.
    """
    items = row.indices.astype(np.int64)
    weights = weights_between(model, items, np.arange(model.n_items)) * row.data[:, None]
    competitors = np.setdiff1d(np.arange(model.n_items), [*items, target])
    gains = weights[:, [target]] - weights[:, competitors]
    # Only a strict lead counts, whatever the order of ids.
    margin = MARGIN * max(float(np.abs(weights).max(initial=0)), 1e-12)
    return gains, gains.sum(axis=0) + margin


def _kth(gaps: np.ndarray, k: int) -> np.ndarray:
    """The ``k``-th smallest gap along the last axis: below 0 when ``k`` competitors stand above the
    target.
    """
    if gaps.shape[-1] < k:
        return np.full(gaps.shape[:-1], np.inf)
    return np.partition(gaps, k - 1, axis=-1)[..., k - 1]


def _greedy(gains: np.ndarray, gaps: np.ndarray, k: int) -> np.ndarray | None:
    """Places in the history, taken so that the ``k``-th competitor comes nearest; those not needed are put
    back.
    """
    left, taken, now = list(range(len(gains))), [], gaps.copy()
    while _kth(now, k) >= 0:
        if not left:
            return None
        best = left[int(np.argmin(_kth(now - gains[left], k)))]
        left.remove(best)
        taken.append(best)
        now = now - gains[best]
    for place in list(taken):
        if _kth(now + gains[place], k) < 0:
            taken.remove(place)
            now = now + gains[place]
    return np.array(sorted(taken), dtype=np.int64)


def _lower_bound(gains: np.ndarray, gaps: np.ndarray, k: int) -> int:
    """The least size at which ``k`` competitors could pass the target, each by the removals that are best
    for it.
    """
    best = np.cumsum(-np.sort(-gains, axis=0), axis=0)
    possible = _kth(gaps - best, k) < 0
    return int(np.argmax(possible)) + 1 if possible.any() else len(gains) + 1


def _integer_program(
    gains: np.ndarray, gaps: np.ndarray, k: int, size: int
) -> tuple[np.ndarray | None, bool]:
    """A part of at most ``size`` items that does it, or None; and whether None is proven.

    Binary ``x_j``: item j is taken out; ``y_c``: competitor c passes, which asks for ``Σ_j gain_jc x_j >
    gap_c``; ``Σ y = k``.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp

    ordered = np.sort(gains, axis=0)
    able = gaps - ordered[::-1][:size].sum(axis=0) < 0
    if able.sum() < k:
        return None, True
    d, gap, worst = gains[:, able], gaps[able], np.minimum(ordered[:size, able], 0).sum(axis=0)
    h, c = d.shape
    slack = gap - worst  # what the inequality of a competitor that does not pass must give way
    passes = LinearConstraint(np.hstack([d.T, -np.diag(slack)]), lb=gap - slack)
    counts = np.zeros((2, h + c))
    counts[0, :h], counts[1, h:] = 1, 1
    limits = LinearConstraint(counts, lb=[0, k], ub=[size, c])
    cost = np.concatenate([np.ones(h), np.zeros(c)])
    result = milp(
        cost, integrality=np.ones(h + c), bounds=Bounds(0, 1), constraints=[passes, limits],
        options={"node_limit": NODE_LIMIT},
    )  # fmt: skip
    if result.x is None:
        return None, result.status == 2
    chosen = np.flatnonzero(result.x[:h] > 0.5)
    if _kth(gaps - gains[chosen].sum(axis=0), k) >= 0:
        return None, False  # the solver's tolerance let a tie pass
    return chosen, True
