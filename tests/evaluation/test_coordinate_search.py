"""A search along one parameter at a time: it finds a separable optimum, and never spends more than its
budget.
"""

import pytest

from recsys_lib.core.errors import InputError
from recsys_lib.evaluation.coordinate_search import search

SPACE = {"a": [0, 1, 2, 3, 4, 5], "b": [0.1, 0.3, 1.0, 3.0], "c": ["x"]}
START = {"a": 1, "b": 1.0, "c": "x"}


def separable(point):
    return 1 - (point["a"] - 4) ** 2 / 100 - (point["b"] - 0.3) ** 2


def test_the_optimum_of_a_separable_value_is_found():
    tried = search(separable, SPACE, START, 30)
    assert tried[0].parameters == {"a": 4, "b": 0.3, "c": "x"}
    assert [t.value for t in tried] == sorted((t.value for t in tried), reverse=True)
    assert len({str(t.parameters) for t in tried}) == len(tried)


@pytest.mark.parametrize("budget", [1, 2, 5])
def test_the_budget_is_kept(budget):
    calls = []
    tried = search(lambda p: calls.append(p) or separable(p), SPACE, START, budget)
    assert len(calls) == len(tried) == budget
    assert sorted(t.order for t in tried) == list(range(budget))


def test_equal_values_leave_the_start():
    assert search(lambda p: 0.5, SPACE, START, 30)[0].parameters == START
    # A gain in the last digits is none.
    assert search(lambda p: 0.5 + 1e-9 * p["a"], SPACE, START, 30)[0].parameters == START


def test_mistakes_are_named():
    with pytest.raises(InputError, match="budget=0"):
        search(separable, SPACE, START, 0)
    with pytest.raises(InputError, match="b is none of"):
        search(separable, SPACE, START | {"b": 7.0}, 3)
