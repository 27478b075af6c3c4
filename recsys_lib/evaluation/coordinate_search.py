"""A search from a start, one parameter at a time: for spaces of many parameters whose values have an
order.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from recsys_lib.core.errors import InputError
from recsys_lib.evaluation.tuning import SAME_VALUE, Trial


def search(
    value: Callable[[dict[str, Any]], float],
    space: Mapping[str, Sequence[Any]],
    start: Mapping[str, Any],
    budget: int,
) -> list[Trial]:
    """All points tried, best first; at most ``budget`` of them.

    From ``start`` each parameter in turn, in the order of ``space``, goes to the next value up and the next
    one down, and on while that is better by more than a relative ``SAME_VALUE``; round after round until
    nothing is better or the budget is spent. Methods searched with the same budget had the same chance,
    however many parameters they have.

    >>> best = search(lambda p: -(p["a"] - 3) ** 2, {"a": [0, 1, 2, 3, 4]}, {"a": 1}, 10)[0]
    >>> best.parameters["a"], best.value
    (3, 0)

    Raises:
        InputError: a budget below 1, or a start outside of the space.
    """
    if budget < 1:
        raise InputError(f"budget={budget!r}: expected at least 1")
    outside = [name for name in space if start.get(name) not in space[name]]
    if outside:
        raise InputError(f"start={dict(start)!r}: {outside[0]} is none of {list(space[outside[0]])}")
    tried: dict[tuple[Any, ...], Trial] = {}

    def at(point: dict[str, Any]) -> Trial | None:
        key = tuple(point[name] for name in space)
        if key not in tried:
            if len(tried) >= budget:
                return None
            began = time.perf_counter()
            tried[key] = Trial(dict(point), value(dict(point)), time.perf_counter() - began, len(tried))
        return tried[key]

    best = at(dict(start))
    assert best is not None
    moved = True
    while moved:
        moved = False
        for name in space:
            for step in (1, -1):
                better = _climb(at, best, name, space[name], step)
                moved |= better is not best
                best = better
    others = sorted((t for t in tried.values() if t is not best), key=lambda t: -t.value)
    return [best, *others]


def _climb(
    at: Callable[[dict[str, Any]], Trial | None], best: Trial, name: str, values: Sequence[Any], step: int
) -> Trial:
    """The best point on the way from ``best`` along one parameter in one direction."""
    while True:
        place = list(values).index(best.parameters[name]) + step
        if not 0 <= place < len(values):
            return best
        tried = at(best.parameters | {name: values[place]})
        if tried is None or not tried.value > best.value + SAME_VALUE * abs(best.value):
            return best
        best = tried
