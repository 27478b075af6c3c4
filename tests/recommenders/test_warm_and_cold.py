"""Warm items keep their scores, cold ones are put on the same scale, and reserved places are given."""

import numpy as np
import pytest
import scipy.sparse as sp

from recsys_lib import recommenders
from recsys_lib.core.errors import InputError
from recsys_lib.recommenders import EASE, EASEMap, TextProfile, WarmAndCold, reserve

rng = np.random.default_rng(0)
CHOSEN = rng.random((30, 12)) < 0.4
CHOSEN[:, 9:] = False
TRAIN = sp.csr_matrix(CHOSEN.astype(np.float32))
VECTORS = rng.standard_normal((12, 5)).astype(np.float32)
USERS = np.arange(30)


def test_warm_items_keep_their_scores_and_cold_ones_follow_their_text():
    model = WarmAndCold(EASE(5.0), TextProfile(VECTORS)).fit(TRAIN)
    warm, text = EASE(5.0).fit(TRAIN).scores(USERS), TextProfile(VECTORS).fit(TRAIN).scores(USERS)
    found = model.scores(USERS)
    assert model.is_cold.tolist() == [False] * 9 + [True] * 3
    assert np.array_equal(found[:, :9], warm[:, :9])
    for user in np.flatnonzero(CHOSEN.any(axis=1)):
        ratio = warm[user, :9].std() / text[user, :9].std()
        expected = warm[user, :9].mean() + ratio * (text[user, 9:] - text[user, :9].mean())
        assert np.allclose(found[user, 9:], expected, atol=1e-5)


def test_the_scale_of_the_text_scores_does_not_matter():
    class Scaled(TextProfile):
        def _score(self, histories):
            return 50 * super()._score(histories) - 7

    plain = WarmAndCold(EASE(5.0), TextProfile(VECTORS)).fit(TRAIN).scores(USERS)
    scaled = WarmAndCold(EASE(5.0), Scaled(VECTORS)).fit(TRAIN).scores(USERS)
    assert np.allclose(plain, scaled, atol=1e-4)


def test_without_cold_or_without_warm_items_one_model_ranks_alone():
    full = TRAIN[:, :9]
    whole = WarmAndCold(EASE(5.0), TextProfile(VECTORS[:9])).fit(full)
    assert np.array_equal(whole.scores(USERS), EASE(5.0).fit(full).scores(USERS))
    all_cold = WarmAndCold(EASE(5.0), TextProfile(VECTORS), max_interactions=100).fit(TRAIN)
    assert np.array_equal(all_cold.scores(USERS), TextProfile(VECTORS).fit(TRAIN).scores(USERS))
    with pytest.raises(InputError, match="max_interactions=-1: expected at least 0"):
        WarmAndCold(EASE(), TextProfile(VECTORS), -1)


def test_saved_and_loaded_it_scores_the_same(tmp_path):
    model = WarmAndCold(EASE(5.0), EASEMap(VECTORS, 1.0, 5.0)).fit(TRAIN)
    model.save(tmp_path / "joint")
    again = recommenders.load(tmp_path / "joint")
    assert np.array_equal(again.score(TRAIN), model.score(TRAIN))
    assert np.array_equal(again.is_cold, model.is_cold)


IS_COLD = np.arange(10) >= 6


@pytest.mark.parametrize(
    ("ids", "places", "expected"),
    [
        ([0, 1, 2, 3], 0, [0, 1, 2, 3]),
        ([0, 1, 2, 3], 1, [0, 1, 2, 8]),
        ([0, 1, 2, 3], 2, [0, 1, 8, 9]),
        ([0, 8, 2, 3], 1, [0, 8, 2, 3]),
        ([0, 8, 2, 3], 2, [0, 8, 2, 9]),
        ([7, 6, 2, 3], 2, [7, 6, 2, 3]),
        ([0, 1, 2, -1], 1, [0, 1, 2, 8]),
    ],
)
def test_places_are_reserved_from_the_end(ids, places, expected):
    assert reserve(np.array([ids]), np.array([[8, 9, 7]]), IS_COLD, places).tolist() == [expected]


def test_more_places_than_there_are_is_refused():
    with pytest.raises(InputError, match="places=3: expected from 0 to 2"):
        reserve(np.array([[0, 1]]), np.array([[8, 9, 7]]), IS_COLD, 3)
