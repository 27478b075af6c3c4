"""Who trained an encoder is told from its weights where nothing hides it, and not after enough noise."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
from training_cases import TEXTS, tiny_bert

from recsys_lib.core.errors import InputError
from recsys_lib.trust.privacy import membership, weight_attacks
from recsys_lib.trust.privacy.private_encoder import Plan, small, train

# Ten users of two items each, which no two share; all the other items are negatives.
USERS = sp.csr_matrix(np.kron(np.eye(10), np.ones((1, 4)) * [1, 0, 1, 0]).astype(np.float32))
PLAN = Plan(steps=3, rate=1.0, learning_rate=1.0, per_user=1, negatives=40)


def changes(folder, member, noise):
    first, found = weight_attacks.flat(small(folder, TEXTS, 1)), []
    for number, rows in enumerate(member):
        model = small(folder, TEXTS, 1)
        train(model, USERS[np.flatnonzero(rows)], replace(PLAN, noise=noise, seed=number))
        found.append(weight_attacks.flat(model) - first)
    return found


def test_weights_move_along_the_updates_of_those_who_trained_them(tmp_path):
    folder = tiny_bert(tmp_path)
    start = small(folder, TEXTS, 1)
    member = np.random.default_rng(0).random((6, 10)).argsort(axis=0) < 3
    aucs = []
    for noise in (0.0, 30.0):
        moved = weight_attacks.movement(start, changes(folder, member, noise), USERS, PLAN)
        alone = moved - moved.mean(axis=0)
        aucs.append(membership.success(alone, member).auc)
    assert aucs[0] > 0.9 > aucs[1] + 0.15, aucs
    with pytest.raises(InputError, match="at least one"):
        weight_attacks.movement(start, [], USERS, PLAN)
    with pytest.raises(InputError, match="each"):
        weight_attacks.movement(start, [np.zeros(3, np.float32)], USERS, PLAN)


def test_a_user_of_one_item_does_not_move_anything(tmp_path):
    start = small(tiny_bert(tmp_path), TEXTS, 1)
    one = sp.csr_matrix(np.eye(2, 40, dtype=np.float32))
    assert not weight_attacks.movement(start, [weight_attacks.flat(start)], one, PLAN).any()
