"""Each attack beats its baseline where nothing is defended, and each defence lowers it."""

import numpy as np
import pytest
import scipy.sparse as sp

from recsys_lib.core.errors import InputError
from recsys_lib.recommenders import EASE, IALS, ItemKNN, TextProfile
from recsys_lib.trust.privacy import attributes, inversion, membership, reconstruction, releases
from recsys_lib.trust.privacy.private_ease import PrivateEASE
from recsys_lib.vectors import similarity

RNG = np.random.default_rng(77)
ITEMS = RNG.standard_normal((120, 48)).astype(np.float32)


def histories(n_users=60, n_items=120, seed=1):
    """Histories of 4 to 10 items, some items far more popular than others."""
    rng = np.random.default_rng(seed)
    weights = 1 / np.sqrt(np.arange(1, n_items + 1))
    rows = [
        rng.choice(n_items, rng.integers(4, 11), replace=False, p=weights / weights.sum())
        for _ in range(n_users)
    ]
    indptr = np.cumsum([0, *map(len, rows)])
    return sp.csr_matrix(
        (np.ones(indptr[-1], np.float32), np.concatenate(rows), indptr), shape=(n_users, n_items)
    )


TRAIN = histories()
POPULARITY = np.asarray(TRAIN.sum(axis=0)).ravel()
USERS = TextProfile(ITEMS).fit(TRAIN).profiles(np.arange(60))


def recall(release):
    return reconstruction.attack(release.vectors, ITEMS, TRAIN, POPULARITY).mean()


def test_a_plain_vector_gives_the_whole_history_back():
    found = recall(releases.plain(USERS))
    assert found["recall"] > 0.99 > 0.9 > found["baseline"]


@pytest.mark.parametrize(
    "release",
    [
        releases.noisy(USERS, 20.0),
        releases.randomized_bits(USERS, 20.0),
        releases.truncated(USERS, ITEMS, 6),
        releases.shared(USERS, 10),
    ],
    ids=lambda r: r.name,
)
def test_defences_lower_the_reconstruction(release):
    assert recall(release)["recall"] < 0.8


def test_int8_only_looks_as_if_it_protected():
    assert recall(releases.quantized(USERS, "int8"))["recall"] > 0.9


def test_a_rotation_protects_until_pairs_are_known():
    release, secret = releases.rotated(USERS)
    assert np.allclose(secret @ secret.T, np.eye(48), atol=1e-10)
    assert recall(release)["recall"] < 0.7
    unit = similarity.normalize(ITEMS)
    learned = reconstruction.learned_rotation(unit[:60], unit[:60] @ secret)
    turned_back = releases.Release("", (release.vectors @ learned.T).astype(np.float32), 0.0)
    assert recall(turned_back)["recall"] > 0.99


def test_equal_items_and_users_of_zero_length_are_no_error():
    doubled = np.concatenate([ITEMS, ITEMS])
    train = sp.hstack([TRAIN, sp.csr_matrix(TRAIN.shape)], format="csr")
    both = np.concatenate([POPULARITY, POPULARITY])
    assert reconstruction.attack(USERS, doubled, train, both).mean()["recall"] > 0.95
    assert np.isfinite(reconstruction.recovery_scores(np.zeros((1, 48)), ITEMS, POPULARITY, 0.1)).all()


def test_bad_input_of_the_reconstruction_is_refused():
    with pytest.raises(InputError, match="empty history"):
        reconstruction.attack(USERS[:10], ITEMS, sp.csr_matrix((10, 120)), POPULARITY)
    with pytest.raises(InputError, match="expected as many"):
        reconstruction.attack(USERS[:9], ITEMS, TRAIN, POPULARITY)
    with pytest.raises(InputError, match="without NaN"):
        reconstruction.recovery_scores(np.full((1, 48), np.nan), ITEMS, POPULARITY, 0.1)
    with pytest.raises(InputError, match="expected one dimension"):
        reconstruction.recovery_scores(np.zeros((1, 7)), ITEMS, POPULARITY, 0.1)


def test_shared_vectors_are_those_of_at_least_k_users():
    for least in (1, 2, 7, 60):
        _, counts = np.unique(releases.shared(USERS, least).vectors, axis=0, return_counts=True)
        assert counts.min() >= least
    with pytest.raises(InputError, match="number of users"):
        releases.shared(USERS, 61)
    assert releases.shared(USERS[:1], 1).vectors.shape == (1, 48)


@pytest.mark.parametrize(
    "make",
    [lambda i: EASE(1.0), lambda i: IALS(16, regularization=0.1), lambda i: ItemKNN(50)],
    ids=["EASE", "iALS", "KNN"],
)
def test_membership_of_a_user_is_told_better_than_by_chance(make):
    shadows = membership.shadow_models(make, TRAIN, 12)
    assert (shadows.member.sum(axis=0) == 6).all()
    found = membership.success(membership.likelihood_ratios(shadows), shadows.member)
    assert found.auc > 0.6
    lengths = np.tile(np.diff(TRAIN.indptr), (12, 1))
    assert membership.success(lengths, shadows.member).auc == pytest.approx(0.5, abs=0.05)


def test_noise_on_the_gram_matrix_hides_membership():
    open_, private = (
        membership.shadow_models(make, TRAIN, 12)
        for make in (lambda i: EASE(1.0), lambda i: PrivateEASE(1.0, most=5, regularization=1.0, seed=i))
    )
    aucs = [membership.success(membership.likelihood_ratios(s), s.member).auc for s in (open_, private)]
    assert aucs[1] < aucs[0] - 0.1 and aucs[1] < 0.6


def test_success_of_known_scores():
    assert membership.success([3.0, 2.0, 1.0, 0.0], [1, 1, 0, 0]) == membership.Success(1.0, 1.0)
    with pytest.raises(InputError, match="both kinds"):
        membership.success([1.0, 2.0], [1, 1])
    with pytest.raises(InputError, match="without NaN"):
        membership.success([np.nan, 2.0], [1, 0])


def test_one_item_of_a_history_is_told_better_than_by_its_popularity():
    found = reconstruction.attack(USERS, ITEMS, TRAIN, POPULARITY)
    rest = TRAIN[8:]
    by_scores = membership.of_items(found.scores, rest)
    by_cosine = membership.of_items(similarity.cosine(USERS[8:], ITEMS), rest)
    blind = membership.of_items(np.repeat(POPULARITY[None], 52, axis=0), rest)
    assert by_scores.auc > by_cosine.auc > 0.95 > blind.auc + 0.1
    assert by_scores.true_positives > 0.9 > blind.true_positives + 0.5
    with pytest.raises(InputError, match="both kinds"):
        membership.of_items(np.zeros((1, 120)), sp.csr_matrix((1, 120)))


def test_problems_solved_together_are_those_solved_one_by_one():
    both = reconstruction.recovery_scores(USERS[[0, 1, 0]], ITEMS, POPULARITY, np.array([0.01, 0.1, 0.01]))
    one = reconstruction.recovery_scores(USERS[:1], ITEMS, POPULARITY, 0.01)
    other = reconstruction.recovery_scores(USERS[1:2], ITEMS, POPULARITY, 0.1)
    assert np.allclose(both, np.concatenate([one, other, one]), atol=1e-9)
    with pytest.raises(InputError, match="positive numbers"):
        reconstruction.recovery_scores(USERS[:2], ITEMS, POPULARITY, np.array([0.1, -1.0]))


def test_attributes_are_inferred_and_noise_hides_them():
    labels = (USERS @ np.ones(48) > 0).astype(int)
    open_ = attributes.infer(USERS, labels)
    hidden = attributes.infer(releases.noisy(USERS, 1.0).vectors, labels)
    assert open_.score > 0.8 and hidden.score < open_.score - 0.1 and open_.baseline == 0.5
    three = attributes.infer(USERS, np.digitize(USERS[:, 0], [-0.1, 0.1]))
    assert three.score > three.baseline
    with pytest.raises(InputError, match="two kinds"):
        attributes.infer(USERS, np.zeros(60))


def test_lists_become_features_of_the_items_that_occur():
    assert attributes.list_features(np.array([[2, 0], [2, -1]]), 5).tolist() == [[1, 1], [0, 1]]


PUBLIC = [f"{a} {b} story" for a in ("pirate", "robot", "wizard") for b in ("island", "battle", "castle")] * 4


def bag(texts):
    words = ["pirate", "robot", "wizard", "island", "battle", "castle", "story"]
    return np.array([[w in t.split() for w in words] for t in texts], np.float32) + 0.01


def test_words_come_back_from_a_vector():
    guesser = inversion.WordGuesser(bag(PUBLIC), PUBLIC)
    private = ["robot castle story", "wizard island story"]
    scores = {
        name: guesser.recovered(getattr(guesser, name)(bag(private)), private).mean()
        for name in ("frequent", "by_neighbours", "by_inverter")
    }
    assert scores["by_inverter"] == 1.0 and scores["by_neighbours"] > scores["frequent"]
    topical = guesser.recovered(guesser.by_topic(bag(private), 3), private).mean()
    assert topical >= scores["frequent"]
    assert np.isnan(guesser.recovered(guesser.frequent(bag(["the"])), ["the"])[0])
    with pytest.raises(InputError, match="as many"):
        inversion.WordGuesser(bag(PUBLIC), PUBLIC[:3])
