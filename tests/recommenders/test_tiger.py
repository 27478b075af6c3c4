"""TIGER: unique ids, an exact beam search, and a sequence that it learns."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from recommender_cases import one_line

from recsys_lib.recommenders import TIGER, semantic_ids
from recsys_lib.recommenders.sasrec import ordered_histories
from recsys_lib.recommenders.tiger import drawn_targets


def cycle(n_items=12, n_users=40, length=6):
    """Users who walk round a circle of items from different starts, with the time of every step."""
    starts = np.arange(n_users) % n_items
    steps = np.arange(length)
    users = np.repeat(np.arange(n_users), length)
    items = ((starts[:, None] + steps) % n_items).ravel()
    times = np.tile(steps + 1.0, n_users)
    ones = np.ones(len(users), dtype=np.float32)
    shape = (n_users, n_items)
    return sp.csr_matrix((ones, (users, items)), shape), sp.csr_matrix((times, (users, items)), shape)


VECTORS = np.random.default_rng(0).standard_normal((12, 5)).astype(np.float32)
SMALL = {"dimension": 16, "blocks": 1, "heads": 2, "length": 5, "dropout": 0.0, "progress": False}


@pytest.fixture(scope="module")
def model():
    train, times = cycle()
    return TIGER(VECTORS, 2, 3, epochs=80, targets=5, learning_rate=0.01, beams=12, **SMALL).fit(train, times)


def test_ids_are_unique_and_alike_for_alike_items():
    vectors = np.repeat(np.eye(4), 3, axis=0)
    ids = semantic_ids(vectors, levels=2, codes=4)
    assert ids.shape == (12, 3)
    assert len(np.unique(ids, axis=0)) == 12
    groups = [set(map(tuple, ids[i : i + 3, :2])) for i in range(0, 12, 3)]
    assert all(len(g) == 1 for g in groups)
    assert len(set.union(*groups)) == 4
    assert ids[:, 2].tolist() == [0, 1, 2] * 4


def test_one_item_and_more_codes_than_items():
    assert semantic_ids(np.ones((1, 3)), levels=3, codes=8).tolist() == [[0, 0, 0, 0]]
    assert len(np.unique(semantic_ids(VECTORS, levels=1, codes=64), axis=0)) == 12


def test_bad_vectors_and_settings_are_refused():
    one_line("expected finite numbers", semantic_ids, np.array([[np.nan]]))
    one_line("expected finite numbers", semantic_ids, np.empty((0, 3)))
    one_line("levels=0, codes=4: expected at least 1", semantic_ids, VECTORS, 0, 4)
    one_line("heads dividing dimension", lambda: TIGER(VECTORS, dimension=10, heads=4))
    one_line("dropout=1.0", lambda: TIGER(VECTORS, dropout=1.0))
    one_line("train has 12 items, item_vectors 11 rows", TIGER(VECTORS[:11], **SMALL).fit, *cycle())


def test_the_next_step_of_the_circle_is_first(model):
    train, times = cycle()
    scores = model.score(train, times)
    following = (np.arange(40) + 6) % 12
    assert (scores.argmax(axis=1) == following).mean() > 0.95
    np.testing.assert_allclose(model.scores(np.arange(40)), scores, atol=1e-5)


def test_the_beam_search_is_exact_when_it_holds_every_item(model):
    train, times = cycle()
    sequences = ordered_histories(train, times, 5)[:3]
    inputs = torch.from_numpy(model._flat(sequences))
    naive = np.zeros((3, 12))
    with torch.inference_mode():
        for item in range(12):
            labels = torch.from_numpy(np.repeat(model.tokens[[item]], 3, axis=0))
            logits = model.net(input_ids=inputs, attention_mask=(inputs != 0).long(), labels=labels).logits
            log_p = torch.log_softmax(logits, -1).gather(2, labels[:, :, None])[..., 0]
            naive[:, item] = log_p.sum(1).numpy()
    np.testing.assert_allclose(model.score(train[:3], times[:3]), naive, atol=1e-4)


def test_a_narrow_beam_reaches_few_items_and_ranks_the_others_last(model):
    train, times = cycle()
    exact = model.score(train, times)
    model.beams = 3
    narrow = model.score(train, times)
    model.beams = 12
    reached = narrow > narrow.min(axis=1, keepdims=True)
    assert (reached.sum(axis=1) == 3).all()
    np.testing.assert_allclose(narrow[reached], exact[reached], atol=1e-4)


def test_targets_follow_their_contexts():
    histories = np.array([[0, 0, 1, 2, 3], [0, 0, 0, 4, 5]])
    contexts, following = drawn_targets(histories, 10, 3, np.random.default_rng(0))
    pairs = sorted((tuple(c), int(f)) for c, f in zip(contexts, following, strict=True))
    assert pairs == [((0, 0, 1), 2), ((0, 0, 4), 5), ((0, 1, 2), 3)]
