"""Histories from lists: what a list of near items tells, what a shared one does, and what devices show."""

import numpy as np
import pytest
import scipy.sparse as sp

from recsys_lib.core.errors import InputError
from recsys_lib.trust.privacy import list_attacks

RNG = np.random.default_rng(5)
# Forty items in four tastes: users have items of one taste, and lists name the taste.
TASTES = RNG.integers(0, 4, 300)
DENSE = RNG.random((300, 40)) < np.where(np.arange(40) // 10 == TASTES[:, None], 0.5, 0.03)
DENSE[:, 0] = True
HISTORIES = sp.csr_matrix(DENSE.astype(np.float32))
LISTS = 10 * TASTES[:, None] + np.array([[3, 5, 7]])
USERS = np.arange(60)


def test_a_list_tells_more_of_a_history_than_popularity_does():
    found = list_attacks.recover_from_lists(LISTS, HISTORIES, USERS).mean()
    assert found["recall"] > found["baseline"] + 0.2
    same = np.repeat([[1, 2, 3]], 300, axis=0)
    nothing = list_attacks.recover_from_lists(same, HISTORIES, USERS).mean()
    assert nothing["recall"] == pytest.approx(nothing["baseline"], abs=0.02)


def test_lists_that_do_not_fit_the_histories_are_refused():
    with pytest.raises(InputError, match="as many lists"):
        list_attacks.recover_from_lists(LISTS[:9], HISTORIES, USERS)
    with pytest.raises(InputError, match="more than 64 others"):
        list_attacks.recover_from_lists(LISTS, HISTORIES, np.arange(250))


def test_users_of_one_vector_get_one_list():
    items = RNG.standard_normal((20, 6)).astype(np.float32)
    vectors = np.repeat(items[[4, 9]], 3, axis=0)
    lists = list_attacks.shared_lists(vectors, items, 5)
    assert lists.shape == (6, 5) and lists[:, 0].tolist() == [4] * 3 + [9] * 3
    assert (lists[0] == lists[2]).all()


def test_a_device_shows_what_its_user_has_not_seen():
    train = sp.csr_matrix(np.array([[0, 1, 0, 1], [1, 1, 1, 0]], dtype=np.float32))
    # A stored zero is nothing seen.
    train.data[-1] = 0
    shown = list_attacks.unseen(np.array([[1, 2, 0], [2, 3, -1]]), train, 2)
    assert shown.tolist() == [[2, 0], [2, 3]]


def test_kinds_of_lists_are_priced():
    kept = RNG.random(DENSE.shape) < 0.6
    kept[:, 0] = True
    train, test = (sp.csr_matrix((DENSE & part).astype(np.float32)) for part in (kept, ~kept))
    kinds = {"taste": LISTS, "all alike": np.repeat([[1, 2, 3]], 300, axis=0)}
    found = list_attacks.priced(kinds, train, test, USERS, {"taste is 0": TASTES == 0}, 3)
    assert found.loc["taste", "taste is 0"] > 0.99 > 0.6 > found.loc["all alike", "taste is 0"]
    assert (found["history recovered"] >= found["without the list"] - 0.02).all()
    assert found.loc["taste", "ndcg"] > found.loc["all alike", "ndcg"]
