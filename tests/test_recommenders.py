"""One contract for every recommender with answers known by hand; each against a naive or independent computation."""

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.metrics.pairwise import cosine_similarity

from recsys_lib import evaluation
from recsys_lib.errors import InputError
from recsys_lib.recommenders import EASE, ItemKNN, Popularity, TextProfile
from recsys_lib.recommenders.ease import ease_weights

# Users 0-3 like even items, 4-7 odd ones, but each has not yet met one of them; user 8 is empty, item 8 was never seen.
CHECKERBOARD = np.zeros((9, 9), dtype=np.float32)
for u in range(4):
    CHECKERBOARD[u, 0:8:2] = 1
    CHECKERBOARD[u + 4, 1:8:2] = 1
    CHECKERBOARD[u, 2 * u] = CHECKERBOARD[u + 4, 2 * u + 1] = 0
PARITY = np.array([[i % 2 == 0, i % 2 == 1] for i in range(9)], dtype=np.float32)
PARITY[8] = 0

RECOMMENDERS = {
    "popularity": lambda: Popularity(),
    "item-knn": lambda: ItemKNN(neighbours=5),
    "item-knn, normalized": lambda: ItemKNN(neighbours=5, shrinkage=1, normalize=True),
    "ease": lambda: EASE(1.0),
    "text": lambda: TextProfile(PARITY),
}
PERSONAL = [n for n in RECOMMENDERS if n != "popularity"]
every = pytest.mark.parametrize("name", RECOMMENDERS)


@every
def test_scores_are_finite_and_for_every_item(name):
    train = sp.csr_matrix(CHECKERBOARD)
    model = RECOMMENDERS[name]()
    assert model.fit(train) is model
    scores = model.scores(np.arange(9))
    assert scores.shape == (9, 9)
    assert scores.dtype == np.float32
    assert np.isfinite(scores).all()
    assert model.scores(np.arange(0)).shape == (0, 9)
    assert np.allclose(model.scores(np.array([3, 1])), scores[[3, 1]])


@pytest.mark.parametrize("name", PERSONAL)
def test_the_checkerboard_is_completed(name):
    train = sp.csr_matrix(CHECKERBOARD)
    ids = evaluation.recommend(RECOMMENDERS[name]().fit(train), train, np.arange(8), 1)
    assert ids.ravel().tolist() == [0, 2, 4, 6, 1, 3, 5, 7]


@every
def test_the_training_matrix_is_left_alone(name):
    train = sp.csr_matrix(CHECKERBOARD)
    before = train.copy()
    RECOMMENDERS[name]().fit(train).scores(np.arange(9))
    assert (train != before).nnz == 0


@every
def test_an_empty_user_and_an_unseen_item(name):
    scores = RECOMMENDERS[name]().fit(sp.csr_matrix(CHECKERBOARD)).scores(np.arange(9))
    if name != "popularity":
        assert (scores[8] == 0).all()
    assert np.allclose(scores[:, 8], 0)


@every
def test_a_catalogue_in_two_parts_stays_in_two(name):
    blocks = sp.block_diag([np.ones((3, 3)), np.ones((3, 3))]).tolil()
    blocks[0, 0] = 0
    vectors = np.repeat(np.eye(2), 3, axis=0)
    model = TextProfile(vectors) if name == "text" else RECOMMENDERS[name]()
    scores = model.fit(sp.csr_matrix(blocks, dtype=np.float32)).scores(np.array([0]))[0]
    if name != "popularity":
        assert scores[0] > 0.2
        assert np.allclose(scores[3:], 0, atol=1e-6)


@every
def test_everything_empty(name):
    train = sp.csr_matrix((3, 9), dtype=np.float32)
    assert (RECOMMENDERS[name]().fit(train).scores(np.arange(3)) == 0).all()


@every
@pytest.mark.parametrize(("train", "message"), [
    (np.ones((2, 9)), "train is ndarray"),
    (sp.csr_matrix((0, 9)), "at least one user"),
    (sp.csr_matrix(-np.ones((2, 9))), "negative"),
    (sp.csr_matrix(np.full((2, 9), np.nan)), "NaN"),
])  # fmt: skip
def test_a_bad_training_matrix_is_refused(name, train, message):
    with pytest.raises(InputError, match=message):
        RECOMMENDERS[name]().fit(train)


@every
def test_scores_need_a_fit_and_known_users(name):
    with pytest.raises(InputError, match="call fit"):
        RECOMMENDERS[name]().scores(np.array([0]))
    model = RECOMMENDERS[name]().fit(sp.csr_matrix(CHECKERBOARD))
    for bad in ([9], [-1]):
        with pytest.raises(InputError, match="want indices from 0 to 8"):
            model.scores(np.array(bad))


def random_train(n_users=40, n_items=15, seed=0):
    return sp.random(n_users, n_items, 0.3, "csr", np.float32, random_state=seed).sign()


def test_popularity_counts():
    train = random_train()
    assert np.array_equal(Popularity().fit(train).scores(np.array([3]))[0], train.toarray().sum(0))


def test_item_knn_against_a_naive_loop():
    train = random_train()
    cosines = cosine_similarity(train.T)
    np.fill_diagonal(cosines, 0)
    for i, row in enumerate(cosines):
        keep = sorted(range(15), key=lambda j: (-row[j], j))[:4]
        cosines[i] = [v if j in keep else 0 for j, v in enumerate(row)]
    assert np.allclose(ItemKNN(4).fit(train).scores(np.arange(40)), train @ cosines.T, atol=1e-5)


def test_item_knn_shrinkage_and_blocks(monkeypatch):
    from recsys_lib.recommenders import neighbours

    train = random_train()
    dense = train.toarray()
    length = np.sqrt((dense**2).sum(0))
    expected = (dense.T @ dense) / (np.outer(length, length) + 7)
    np.fill_diagonal(expected, 0)
    whole = ItemKNN(15, 7).fit(train)
    assert np.allclose(whole.weights.toarray(), expected, atol=1e-6)
    monkeypatch.setattr(neighbours, "BLOCK", 4)
    assert np.allclose(ItemKNN(15, 7).fit(train).weights.toarray(), expected, atol=1e-6)


def test_ease_solves_its_own_problem():
    train = random_train(200, 12).toarray().astype(float)
    weights = ease_weights(train.T @ train, 5.0).astype(float)
    assert (np.diag(weights) == 0).all()
    # At the optimum the gradient vanishes everywhere but on the diagonal, where the constraint holds it.
    gradient = train.T @ (train @ weights - train) + 5.0 * weights
    np.fill_diagonal(gradient, 0)
    assert np.abs(gradient).max() < 1e-3


def test_ease_in_single_precision_is_good_enough():
    from recsys_lib import datasets

    gram = datasets.load("ml-100k").matrix()
    gram = (gram.T @ gram).toarray().astype(np.float64)
    p = np.linalg.inv(gram + 300 * np.eye(len(gram)))
    exact = -p / np.diag(p)
    np.fill_diagonal(exact, 0)
    assert np.abs(ease_weights(gram, 300.0) - exact).max() < 1e-4


def test_text_profile_by_hand():
    train = random_train()
    vectors = np.random.default_rng(3).standard_normal((15, 6)).astype(np.float32)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    profile = np.array([unit[row.indices].mean(0) if row.nnz else np.zeros(6) for row in train])
    assert np.allclose(
        TextProfile(vectors).fit(train).scores(np.arange(40)), cosine_similarity(profile, vectors), atol=1e-5
    )


@pytest.mark.parametrize(
    "make", [lambda: ItemKNN(0), lambda: ItemKNN(1, -1), lambda: EASE(0), lambda: EASE(float("nan"))]
)
def test_bad_settings_are_refused(make):
    with pytest.raises(InputError, match="want"):
        make()


def test_as_many_vectors_as_items():
    with pytest.raises(InputError, match="train has 9 items, item_vectors 3 rows"):
        TextProfile(np.eye(3)).fit(sp.csr_matrix(CHECKERBOARD))
