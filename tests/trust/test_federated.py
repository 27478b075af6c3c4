"""Federated training learns, its updates give histories away, and clipping, sums and noise hide them."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from recsys_lib import evaluation
from recsys_lib.core.errors import InputError
from recsys_lib.recommenders import TextProfile
from recsys_lib.trust.privacy import federated, update_attacks
from recsys_lib.trust.privacy.federated import FederatedMap
from recsys_lib.vectors import similarity

RNG = np.random.default_rng(5)
ITEMS = similarity.normalize(RNG.standard_normal((120, 40)).astype(np.float32))


def tastes(n_users=80, seed=3):
    """Users of six tastes, each of whom chooses 12 of the 20 items of a taste."""
    rng = np.random.default_rng(seed)
    rows = [rng.choice(20, 12, replace=False) + 20 * (user % 6) for user in range(n_users)]
    shape, starts = (n_users, 120), np.arange(0, 12 * n_users + 1, 12)
    return sp.csr_matrix((np.ones(12 * n_users, np.float32), np.concatenate(rows), starts), shape=shape)


ALL = tastes()
TRAIN, TEST = federated.halves(ALL, np.random.default_rng(1))
POPULARITY = np.asarray(TRAIN.sum(axis=0)).ravel()


def ndcg(model):
    return evaluation.evaluate(model.fit(TRAIN), TRAIN, TEST, 10).mean()["ndcg"]


def sent(weights=None, seed=2):
    weights = np.zeros((41, 40), np.float32) if weights is None else weights
    parts = federated.halves(ALL, np.random.default_rng(seed))
    return parts, federated.updates_of(weights, ITEMS, *parts)


def test_an_update_is_the_gradient_that_autograd_finds():
    weights = RNG.standard_normal((41, 40)).astype(np.float32) / 10
    (profile, targets), updates = sent(weights)
    w = torch.from_numpy(weights).requires_grad_(True)
    x, v = torch.from_numpy(federated.profiles_of(profile, ITEMS)[3]), torch.from_numpy(ITEMS)
    log_p = torch.log_softmax(federated.TEMPERATURE * (x @ w @ v.T), dim=0)
    wanted = torch.from_numpy(targets[3].toarray()[0] / targets[3].sum())
    # The softmax's temperature is a constant factor, which the learning rate holds.
    (-(wanted * log_p).sum() / federated.TEMPERATURE).backward()
    assert np.allclose(updates.matrices()[3], w.grad.numpy(), atol=1e-6)
    assert np.allclose(updates.sum(), updates.matrices().sum(axis=0), atol=1e-4)


def test_rounds_learn_what_texts_alone_do_not_say_and_noise_costs():
    learned = ndcg(FederatedMap(ITEMS, 30, 3.0))
    assert learned > ndcg(TextProfile(ITEMS)) + 0.1
    assert ndcg(FederatedMap(ITEMS, 30, 3.0, noise=50.0)) < learned - 0.1


def test_clipping_bounds_what_one_user_can_add():
    _, updates = sent()
    clipped = updates.clipped(0.2)
    assert clipped.norms.max() <= 0.2 + 1e-6
    small = updates.norms < 0.2
    assert np.allclose(clipped.right[small], updates.right[small])
    one_less = federated.Updates(clipped.left[1:], clipped.right[1:])
    assert np.linalg.norm(clipped.sum() - one_less.sum()) <= 0.2 + 1e-5


def test_the_guarantee_is_that_of_all_rounds():
    model = FederatedMap(ITEMS, rounds=20, noise=3.0, rate=0.5)
    assert FederatedMap(ITEMS, rounds=40, noise=3.0, rate=0.5).epsilon() > model.epsilon()
    assert FederatedMap(ITEMS, rounds=20, noise=3.0).epsilon() > model.epsilon()
    assert FederatedMap(ITEMS).epsilon() == np.inf


def test_saved_and_loaded_it_scores_alike(tmp_path):
    model = FederatedMap(ITEMS, 5).fit(TRAIN)
    model.save(tmp_path / "m")
    assert np.array_equal(FederatedMap.load(tmp_path / "m").score(TEST), model.score(TEST))


def test_one_update_gives_the_history_away_and_defences_hide_it():
    (profile, targets), updates = sent()
    zero = np.zeros((41, 40), np.float32)

    def recovered(matrices):
        found = update_attacks.recover_histories(matrices, zero, ITEMS, profile, targets, POPULARITY)
        return found.recall.mean(), found.baseline.mean()

    plain, blind = recovered(updates.matrices())
    assert plain > 0.95 > 0.5 > blind
    one_bit = recovered(np.sign(updates.matrices()))[0]
    assert one_bit > blind + 0.25, "one bit an entry only looks as if it protected"
    clipped = updates.clipped(0.3)
    assert recovered(clipped.matrices())[0] > 0.9, "clipping alone hides nothing"
    noise = np.random.default_rng(0).standard_normal(clipped.matrices().shape)
    assert recovered(clipped.matrices() + 0.3 * noise)[0] < blind + 0.15
    assert recovered(update_attacks.group_sums(clipped.matrices(), 20))[0] < plain - 0.3


def test_who_took_part_is_seen_in_small_sums_and_not_under_noise():
    _, updates = sent()
    alone = update_attacks.participation(updates, 5, 0.0, 0.3)
    assert alone.auc > 0.95
    assert update_attacks.participation(updates, 40, 0.0, 0.3).auc < alone.auc
    assert abs(update_attacks.participation(updates, 40, 20.0, 0.3).auc - 0.5) < 0.05


def test_bad_values_are_refused():
    (profile, targets), updates = sent()
    for call in (
        lambda: FederatedMap(ITEMS, rate=0.0),
        lambda: FederatedMap(ITEMS, noise=-1.0),
        lambda: update_attacks.participation(updates, 80, 0.0, 0.3),
        lambda: update_attacks.recover_histories(
            updates.matrices()[:9], np.zeros((41, 40)), ITEMS, profile, targets, POPULARITY
        ),
    ):
        with pytest.raises(InputError, match="expected"):
            call()
