"""Equal budgets, no point twice, and every contender can be made at every point of its space."""

import numpy as np
import pytest
import scipy.sparse as sp

from recsys_lib import study
from recsys_lib.errors import InputError
from recsys_lib.recommenders import EASE

rng = np.random.default_rng(0)
TRAIN = sp.random(60, 30, 0.3, "csr", np.float32, random_state=0).sign()
HELD = sp.csr_matrix((rng.random((60, 30)) < 0.1) & (TRAIN.toarray() == 0), dtype=np.float32)
VECTORS = rng.standard_normal((30, 8)).astype(np.float32)


def test_points_are_different_and_seeded():
    space = {"a": [1, 2, 3, 4], "b": list("xyz")}
    chosen = study.points(space, 7, seed=1)
    assert len({tuple(p.values()) for p in chosen}) == 7
    assert chosen == study.points(space, 7, seed=1) != study.points(space, 7, seed=2)
    assert len(study.points(space, 100)) == 12
    with pytest.raises(InputError, match="trials=0"):
        study.points(space, 0)


@pytest.mark.parametrize("name", study.contenders(VECTORS))
def test_every_contender_can_be_tuned(name):
    contender = study.contenders(VECTORS)[name]
    if "factors" in contender.space:
        contender = study.Contender(contender.make, dict(contender.space) | {"factors": [2, 4]})
    if "epochs" in contender.space:
        contender = study.Contender(contender.make, dict(contender.space) | {"epochs": [1]})
    trials = study.tune(contender, TRAIN, HELD, trials=2)
    assert len(trials) == min(2, contender.size)
    assert all(0 <= t.value <= 1 and t.seconds > 0 and set(t.parameters) == set(contender.space) for t in trials)


def test_the_best_trial_comes_first_and_is_repeatable():
    contender = study.Contender(EASE, {"regularization": [0.1, 1.0, 10.0, 100.0]})
    trials = study.tune(contender, TRAIN, HELD, trials=4)
    assert [t.value for t in trials] == sorted((t.value for t in trials), reverse=True)
    assert trials[0].parameters == study.tune(contender, TRAIN, HELD, trials=4)[0].parameters
