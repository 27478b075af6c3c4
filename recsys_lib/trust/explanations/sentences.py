"""A reason in one sentence, in English and Chinese, of items whose removal changes the list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from recsys_lib.core.errors import InputError
from recsys_lib.recommenders import BaseRecommender
from recsys_lib.trust.explanations.contributions import contributions
from recsys_lib.trust.explanations.counterfactual import counterfactual
from recsys_lib.trust.explanations.faithfulness import Importance, order_of
from recsys_lib.trust.explanations.partial_history import one_history, parts_of, rank_of

VERBS = {
    "en": {"film": "watched", "book": "read", "item": "chose"},
    "zh": {"film": "看过", "book": "读过", "item": "选过"},
}


@dataclass(frozen=True)
class Reason:
    """Why ``target`` is in a list: ``items`` by contribution, and whether it leaves the list without them."""

    target: int
    items: tuple[int, ...]
    decisive: bool


def reasons(
    model: BaseRecommender, history: sp.csr_matrix, targets: Sequence[int] | np.ndarray, most: int = 2
) -> list[Reason]:
    """For each of ``targets`` the at most ``most`` items with the largest positive contributions, not tested
    by removal.

    One product of a block of weights and a selection: the cost of a list in a request.
    """
    found = contributions(model, history, targets)
    first = np.argsort(-found.values, axis=0, kind="stable")[:most]
    positive = np.take_along_axis(found.values, first, axis=0) > 0
    return [
        Reason(int(target), tuple(found.items[first[positive[:, place], place]].tolist()), False)
        for place, target in enumerate(found.targets)
    ]


def faithful_reasons(
    model: BaseRecommender, history: sp.csr_matrix, targets: Sequence[int] | np.ndarray, k: int, most: int = 3
) -> list[Reason]:
    """As ``reasons``, but at most ``most`` items without which the item leaves the top ``k``, where there are
    such.

    Such a reason is decisive: ranking without them has shown it. Where no so small part decides, the largest
    contributions are given as supporting ones. Items of a reason are in order of their contributions.

    Raises:
        InputError: as ``counterfactual``; the targets are items of the list.
    """
    row, found = one_history(history), []
    for reason in reasons(model, row, targets, most):
        least = counterfactual(model, row, reason.target, k, prove=False) if row.nnz else None
        if least is None or len(least.items) > most:
            found.append(reason)
            continue
        order = contributions(model, row, [reason.target]).order(reason.target)
        found.append(Reason(reason.target, tuple(order[np.isin(order, least.items)].tolist()), True))
    return found


def checked_reasons(
    model: BaseRecommender,
    history: sp.csr_matrix,
    targets: Sequence[int] | np.ndarray,
    importance: Importance,
    k: int,
    most: int = 3,
) -> list[Reason]:
    """Reasons of any model, also one that is no sum over the history: the first items in the order of an
    ``importance``, as few as make the item leave the top ``k`` when they are taken out.

    Where the first ``most`` do not suffice, those of them with a positive importance are given as supporting
    ones. An empty history gives reasons without items.
    """
    row, found = one_history(history), []
    for target in np.asarray(targets, dtype=np.int64).tolist():
        if not row.nnz:
            found.append(Reason(target, (), False))
            continue
        values = importance(row, target)
        order = order_of(row, values)
        first = order[: min(most, row.nnz)]
        parts = parts_of(row, [order[size:] for size in range(1, len(first) + 1)])
        out = rank_of(model, parts, target, row.indices) > k
        if out.any():
            found.append(Reason(target, tuple(first[: int(np.argmax(out)) + 1].tolist()), True))
            continue
        supports = dict(zip(row.indices.tolist(), values, strict=True))
        found.append(Reason(target, tuple(i for i in first.tolist() if supports[i] > 0), False))
    return found


def sentence(reason: Reason, titles: Sequence[str], language: str = "en", kind: str = "film") -> str:
    """One sentence for a user.

    >>> sentence(Reason(2, (0, 1), False), ["Alien", "Aliens", "Predator"])
    'Because you watched Alien and Aliens.'
    >>> sentence(Reason(2, (0,), True), ["Alien", "Aliens", "Predator"], "zh")
    '因为你看过《Alien》；没有它，这一条不会出现。'

    Raises:
        InputError: another language than en or zh, another kind than film, book or item.
    """
    if language not in VERBS or kind not in VERBS[language]:
        raise InputError(f"language={language!r}, kind={kind!r}: expected en or zh, and film, book or item")
    names = [str(titles[item]) for item in reason.items]
    verb = VERBS[language][kind]
    if language == "zh":
        if not names:
            return "这一条与你的历史无关。"
        tail = f"；没有{'它' if len(names) == 1 else '它们'}，这一条不会出现" if reason.decisive else ""
        return f"因为你{verb}{'、'.join(f'《{name}》' for name in names)}{tail}。"
    if not names:
        return "Nothing in your history speaks for it."
    listed = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
    tail = (
        f"; without {'it' if len(names) == 1 else 'them'} it would not be listed" if reason.decisive else ""
    )
    return f"Because you {verb} {listed}{tail}."
