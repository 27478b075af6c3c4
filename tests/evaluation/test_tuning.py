"""The choice of a point by tuning does not depend on the last digits of a validation value."""

import numpy as np
import pytest
import scipy.sparse as sp

from recsys_lib import evaluation
from recsys_lib.evaluation import tuning


class Constant:
    """Scores nothing; ``tune`` only needs something that fits."""

    def __init__(self, a):
        self.a = a

    def fit(self, train):
        return self

    def scores(self, users):
        return np.zeros((len(users), 2), dtype=np.float32)


class Found:
    def __init__(self, value):
        self.value = value

    def mean(self):
        return {"ndcg": self.value}


@pytest.mark.parametrize("noise", [1e-9, -1e-9])
def test_values_equal_but_for_rounding_choose_the_point_tried_first(monkeypatch, noise):
    train = sp.csr_matrix(np.eye(2, dtype=np.float32))
    first = tuning.points({"a": [1, 2, 3]}, 3)[0]["a"]
    values = {1: 0.25, 2: 0.25, 3: 0.25, first: 0.25 + noise}
    monkeypatch.setattr(evaluation, "evaluate", lambda model, *_: Found(values[model.a]))
    trials = tuning.tune(tuning.Method(Constant, {"a": [1, 2, 3]}), train, train, 3)
    assert trials[0].parameters == {"a": first}


def test_a_better_value_still_wins(monkeypatch):
    train = sp.csr_matrix(np.eye(2, dtype=np.float32))
    monkeypatch.setattr(evaluation, "evaluate", lambda model, *_: Found(0.25 + 0.001 * model.a))
    trials = tuning.tune(tuning.Method(Constant, {"a": [1, 2, 3]}), train, train, 3)
    assert [t.parameters["a"] for t in trials] == [3, 2, 1]


def test_the_first_drawn_of_equal_values_wins_at_any_boundary():
    # Rounding to six digits would part these two, which lie 2e-10 from each other.
    first, second = tuning.Trial({"a": 1}, 0.2500004999, 0.1), tuning.Trial({"a": 2}, 0.2500005001, 0.1)
    assert tuning.best_first([first, second])[0] is first
    assert tuning.best_first([second, first])[0] is second
    assert (
        tuning.best_first([tuning.Trial({}, 0.0, 0.1), tuning.Trial({"a": 1}, 0.0, 0.1)])[0].parameters == {}
    )


def test_a_trial_prints_what_it_rests_on():
    assert str(tuning.Trial({"factors": 8}, 0.12345, 2.0)) == "factors=8: 0.1235 on the validation part"
    assert str(tuning.Trial({}, 0.5, 2.0)) == "no parameters: 0.5000 on the validation part"
