"""Does a reason name what the model used: deletion and insertion, comprehensiveness and sufficiency,
agreement.

Deletion takes the items of a history out, first the one that a method calls most important; under a faithful
order the recommended item leaves the list early. Insertion puts them in; it enters early. Both after Petsiuk,
Das and Saenko, "RISE", BMVC 2018; comprehensiveness and sufficiency after DeYoung et al., "ERASER", ACL 2020.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from recsys_lib.core.errors import InputError
from recsys_lib.evaluation import Evaluation
from recsys_lib.recommenders import BaseRecommender
from recsys_lib.trust.explanations.partial_history import one_history, parts_of, rank_of

if TYPE_CHECKING:
    import pandas as pd

# Importance [h] of the items of a history (ids ascending) for one target: larger is more important.
Importance = Callable[[sp.csr_matrix, int], np.ndarray]
# Points of a curve: histories of many hundred items are cut in steps.
POINTS = 20
MEASURES = ("deletion", "insertion", "comprehensiveness", "sufficiency")


def leave_one_out(model: BaseRecommender, history: sp.csr_matrix, target: int) -> np.ndarray:
    """How much the target's score falls when one item is taken out, ``[h]`` in order of ids: for any model.

    For a model whose score is a sum over the history it equals the contributions.
    """
    row = one_history(history)
    items = row.indices
    scores = model.score(parts_of(row, [items, *(np.delete(items, place) for place in range(len(items)))]))
    return (scores[0, target] - scores[1:, target]).astype(np.float64)


def _checked_order(row: sp.csr_matrix, order: np.ndarray) -> np.ndarray:
    order = np.asarray(order, dtype=np.int64)
    if not np.array_equal(np.sort(order), row.indices):
        raise InputError(
            f"order of {len(order)} items: expected every item of the history of {row.nnz}, each once"
        )
    return order


def _sizes(length: int) -> np.ndarray:
    """Numbers of items at which a curve is read, from 0 to ``length - 1``."""
    return np.unique(np.linspace(0, length - 1, min(POINTS, length)).round().astype(int))


def in_list(
    model: BaseRecommender, history: sp.csr_matrix, target: int, order: np.ndarray, k: int = 10
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Whether the target is among the ``k`` best along both curves: sizes ``[p]``, deletion ``[p]``,
    insertion ``[p]`` (bool).

    At size s of deletion the first s items of ``order`` are out, at size s of insertion the first s + 1 are
    in.

    Raises:
        InputError: an empty history, an order that is not one of the history's items.
    """
    row = one_history(history)
    if not row.nnz:
        raise InputError("history is empty: expected at least one item to take out")
    order, sizes = _checked_order(row, order), _sizes(row.nnz)
    kept = [order[size:] for size in sizes] + [order[: size + 1] for size in sizes]
    ranks = rank_of(model, parts_of(row, kept), target, row.indices)
    return sizes, ranks[: len(sizes)] <= k, ranks[len(sizes) :] <= k


def evidence(
    model: BaseRecommender, history: sp.csr_matrix, target: int, order: np.ndarray, top: int = 3
) -> tuple[float, float]:
    """Comprehensiveness and sufficiency of the first ``top`` items of an order, both relative to the full
    score.

    Comprehensiveness: what the score loses without them (more is better). Sufficiency: what it loses when
    only they are left (less is better). 0 and 0 where the full score is 0.
    """
    row = one_history(history)
    order = _checked_order(row, order)
    full, rest, only = model.score(parts_of(row, [order, order[top:], order[:top]]))[:, target].astype(
        np.float64
    )
    return (0.0, 0.0) if full == 0 else ((full - rest) / abs(full), (full - only) / abs(full))


def measure(
    model: BaseRecommender,
    histories: sp.csr_matrix,
    users: Sequence[int] | np.ndarray,
    targets: np.ndarray,
    methods: Mapping[str, Importance],
    k: int = 10,
    top: int = 3,
) -> pd.DataFrame:
    """Every method's four measures for the recommended items ``targets [len(users), m]``, one row per user
    and method.

    deletion: mean fraction of the deletion curve on which the item is in the list (less is better);
    insertion: the same of the insertion curve (more is better); each averaged over a user's targets.
    """
    import pandas as pd

    found = []
    for user, chosen in zip(users, targets, strict=True):
        history = one_history(histories[user])
        for name, importance in methods.items():
            rows = [_measures(model, history, int(target), importance, k, top) for target in chosen]
            found.append(
                {"user": int(user), "method": name, **dict(zip(MEASURES, np.mean(rows, axis=0), strict=True))}
            )
    return pd.DataFrame(found)


def _measures(
    model: BaseRecommender, history: sp.csr_matrix, target: int, importance: Importance, k: int, top: int
) -> tuple[float, float, float, float]:
    order = order_of(history, importance(history, target))
    _, deletion, insertion = in_list(model, history, target, order, k)
    comprehensive, sufficient = evidence(model, history, target, order, top)
    return float(deletion.mean()), float(insertion.mean()), comprehensive, sufficient


def order_of(history: sp.csr_matrix, importance: np.ndarray) -> np.ndarray:
    """The history's items, most important first, equal ones by id.

    Raises:
        InputError: another number of values than items, or NaN.
    """
    row, values = one_history(history), np.asarray(importance, dtype=np.float64)
    if values.shape != (row.nnz,) or np.isnan(values).any():
        raise InputError(f"importance of shape {values.shape}: expected {row.nnz} numbers without NaN")
    return row.indices[np.argsort(-values, kind="stable")].astype(np.int64)


def curve(
    model: BaseRecommender,
    histories: sp.csr_matrix,
    users: Sequence[int] | np.ndarray,
    targets: np.ndarray,
    importance: Importance,
    k: int = 10,
) -> dict[str, np.ndarray]:
    """Mean curves over users on one grid: fraction of the history changed, deletion and insertion,
    ``[11]`` each.
    """
    grid = np.linspace(0, 1, 11)
    sums: dict[str, list[np.ndarray]] = {"deletion": [], "insertion": []}
    for user, chosen in zip(users, targets, strict=True):
        history = one_history(histories[user])
        for target in chosen:
            order = order_of(history, importance(history, int(target)))
            sizes, *both = in_list(model, history, int(target), order, k)
            place = np.minimum(
                np.searchsorted(sizes, grid * max(history.nnz - 1, 0), side="right") - 1, len(sizes) - 1
            )
            for name, values in zip(sums, both, strict=True):
                sums[name].append(values[place].astype(float))
    return {"fraction": grid} | {name: np.mean(values, axis=0) for name, values in sums.items()}


def as_evaluation(table: pd.DataFrame, method: str, k: int = 10) -> Evaluation:
    """One method's rows of ``measure`` in the form that ``evaluation.compare`` tests, paired by user.

    Raises:
        InputError: a method that was not measured.
    """
    rows = table[table["method"] == method].sort_values("user")
    if rows.empty:
        raise InputError(f"method={method!r}: expected one of {', '.join(table['method'].unique())}")
    per_user = {name: rows[name].to_numpy(float) for name in MEASURES}
    return Evaluation.without_lists(k, rows["user"].to_numpy(), per_user)


def agreement(a: np.ndarray, b: np.ndarray, top: int = 3) -> tuple[float, float]:
    """Spearman's rank correlation of two importances ``[h]``, and the fraction of their ``top`` items that
    they share.

    The correlation with a constant is 0: it orders nothing.
    """
    from scipy import stats

    a, b = np.asarray(a, float), np.asarray(b, float)
    if a.shape != b.shape or not len(a):
        raise InputError(
            f"importances of shapes {a.shape} and {b.shape}: expected two of one history, not empty"
        )
    first = [set(np.argsort(-values, kind="stable")[:top].tolist()) for values in (a, b)]
    shared = len(first[0] & first[1]) / min(top, len(a))
    rho = 0.0 if np.ptp(a) == 0 or np.ptp(b) == 0 else float(stats.spearmanr(a, b).statistic)
    return rho, shared


def mean_agreement(pairs: Iterable[tuple[np.ndarray, np.ndarray]], top: int = 3) -> dict[str, float]:
    """The mean of ``agreement`` over pairs of importances, one pair a history."""
    found = np.array([agreement(a, b, top) for a, b in pairs])
    return {"rank correlation": float(found[:, 0].mean()), f"top {top} shared": float(found[:, 1].mean())}
