"""Every recommender against answers known by hand, a naive loop or an independent computation."""

import numpy as np
import pytest
import scipy.sparse as sp
from recommender_cases import CHECKERBOARD, PARITY, RECOMMENDERS
from sklearn.metrics.pairwise import cosine_similarity

from recsys_lib.core.errors import InputError
from recsys_lib.recommenders import (
    EASE,
    EASEMap,
    ItemKNN,
    MaxSimilarity,
    Popularity,
    RankFusion,
    RecentPopularity,
    RidgeMap,
    SASRec,
    ScoreBlend,
    TextEASE,
    TextItemKNN,
    TextMLP,
    TextProfile,
    UserKNN,
)
from recsys_lib.recommenders.ease import ease_weights, largest_per_column
from recsys_lib.recommenders.sasrec import ordered_histories
from recsys_lib.recommenders.slim import slim_weights


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
    from recsys_lib.recommenders import column_neighbours

    train = random_train()
    dense = train.toarray()
    length = np.sqrt((dense**2).sum(0))
    expected = (dense.T @ dense) / (np.outer(length, length) + 7)
    np.fill_diagonal(expected, 0)
    whole = ItemKNN(15, 7).fit(train)
    assert np.allclose(whole.weights.toarray(), expected, atol=1e-6)
    monkeypatch.setattr(column_neighbours, "load", lambda: None)
    monkeypatch.setattr(column_neighbours, "BLOCK", 4)
    assert np.allclose(ItemKNN(15, 7).fit(train).weights.toarray(), expected, atol=1e-6)


def test_ease_solves_its_own_problem():
    train = random_train(200, 12).toarray().astype(float)
    weights = ease_weights(train.T @ train, 5.0).astype(float)
    assert (np.diag(weights) == 0).all()
    # At the optimum the gradient vanishes everywhere but on the diagonal, where the constraint holds it.
    gradient = train.T @ (train @ weights - train) + 5.0 * weights
    np.fill_diagonal(gradient, 0)
    assert np.abs(gradient).max() < 1e-3


def test_ease_says_when_it_cannot_invert():
    wide = sp.random(5, 200, 0.3, "csr", np.float32, random_state=0).sign()
    with pytest.raises(InputError, match="regularization=1e-09: too small"):
        EASE(1e-9).fit(wide)


def test_ease_in_single_precision_is_good_enough():
    from recsys_lib.data import datasets

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
    "make",
    [
        lambda: ItemKNN(0),
        lambda: ItemKNN(1, -1),
        lambda: EASE(0),
        lambda: EASE(float("nan")),
        lambda: EASE(float("inf")),
    ],
)
def test_bad_settings_are_refused(make):
    with pytest.raises(InputError, match="expected"):
        make()


@pytest.mark.parametrize(
    "make", [TextProfile, MaxSimilarity, TextItemKNN, RidgeMap, EASEMap, TextEASE, TextMLP]
)
def test_as_many_vectors_as_items(make):
    with pytest.raises(InputError, match="train has 9 items, item_vectors 3 rows"):
        make(np.eye(3)).fit(sp.csr_matrix(CHECKERBOARD))


def test_user_knn_against_a_naive_loop():
    train = random_train()
    cosines = cosine_similarity(train)
    # No one is a neighbour of a user with exactly their own history: the sum of squares is the product only
    # then.
    cosines[cosines > 1 - 1e-6] = 0
    for u, row in enumerate(cosines):
        keep = sorted(range(40), key=lambda v: (-row[v], v))[:6]
        cosines[u] = [c if v in keep else 0 for v, c in enumerate(row)]
    assert np.allclose(UserKNN(6).fit(train).scores(np.arange(40)), cosines @ train.toarray(), atol=1e-5)


def test_slim_against_scikit_learn_column_by_column():
    from sklearn.linear_model import ElasticNet

    x = random_train(300, 12).toarray().astype(float)
    l1, l2 = 3.0, 5.0
    ours = slim_weights(x.T @ x, l1, l2, iterations=300)
    for i in range(12):
        others = np.delete(np.arange(12), i)
        # scikit-learn divides the squared error by n, and mixes its two penalties.
        net = ElasticNet(
            alpha=(l1 + l2) / 300,
            l1_ratio=l1 / (l1 + l2),
            fit_intercept=False,
            positive=True,
            tol=1e-10,
            max_iter=10000,
        )
        net.fit(x[:, others], x[:, i])
        assert np.allclose(ours[others, i], net.coef_, atol=2e-3)
    assert (np.diag(ours) == 0).all() and (ours >= 0).all() and (ours == 0).mean() > 0.2


def test_nearest_and_text_knn_against_naive_loops():
    train = random_train()
    vectors = np.random.default_rng(3).standard_normal((15, 6)).astype(np.float32)
    cosines = cosine_similarity(vectors)
    nearest = [cosines[row.indices].max(0) if row.nnz else np.zeros(15) for row in train]
    assert np.allclose(MaxSimilarity(vectors).fit(train).scores(np.arange(40)), nearest, atol=1e-5)
    np.fill_diagonal(cosines, -1)
    for i, row in enumerate(cosines):
        keep = sorted(range(15), key=lambda j: (-row[j], j))[:4]
        cosines[i] = [max(c, 0) if j in keep else 0 for j, c in enumerate(row)]
    assert np.allclose(TextItemKNN(vectors, 4).fit(train).scores(np.arange(40)), train @ cosines.T, atol=1e-5)


def test_ridge_map_places_an_item_that_nobody_has_seen():
    # Item 8 is even by its text: users of even items must get it before users of odd ones.
    vectors = PARITY.copy()
    vectors[8] = [1, 0]
    for name in ("RidgeMap", "EASEMap", "EASEMap, warm kept", "TextMLP", "TextProfile", "TextEASE"):
        scores = RECOMMENDERS[name](vectors).fit(sp.csr_matrix(CHECKERBOARD)).scores(np.arange(8))
        assert scores[:4, 8].min() > scores[4:, 8].max(), name


def test_text_ease_without_weight_is_ease():
    train = random_train()
    vectors = np.random.default_rng(3).standard_normal((15, 6)).astype(np.float32)
    ease, text = EASE(5.0).fit(train), TextEASE(vectors, 5.0, 0.0).fit(train)
    assert np.allclose(ease.weights, text.weights, atol=1e-5)


def test_pruned_text_ease_keeps_the_weights_that_ease_does():
    train = random_train()
    vectors = np.random.default_rng(3).standard_normal((15, 6)).astype(np.float32)
    full = TextEASE(vectors, 5.0, 0.3).fit(train).weights
    pruned = TextEASE(vectors, 5.0, 0.3, top=4).fit(train).weights.toarray()
    assert np.array_equal(pruned, largest_per_column(full, 4).toarray())
    assert (np.count_nonzero(pruned, axis=0) <= 4).all() and np.count_nonzero(pruned) < np.count_nonzero(full)
    with pytest.raises(InputError, match="top=0"):
        TextEASE(vectors, top=0)


def test_text_ease_solves_its_own_problem():
    train = random_train(200, 12)
    vectors = np.random.default_rng(3).standard_normal((12, 6)).astype(np.float32)
    x = train.toarray().astype(float)
    prior = 0.3 * np.maximum(cosine_similarity(vectors.astype(float)), 0) ** 2
    weights = TextEASE(vectors, 5.0, 0.3, sharpness=2).fit(train).weights.astype(float)
    assert (np.diag(weights) == 0).all()
    # The gradient of |X - XB|²/2 + λ|B - prior|²/2 vanishes off the diagonal.
    gradient = x.T @ (x @ weights - x) + 5.0 * (weights - prior)
    np.fill_diagonal(gradient, 0)
    assert np.abs(gradient).max() < 1e-3
    # With a very large penalty it is the text.
    np.fill_diagonal(prior, 0)
    assert np.allclose(TextEASE(vectors, 1e8, 0.3, sharpness=2).fit(train).weights, prior, atol=1e-4)


def test_ease_map_against_scikit_learn():
    from sklearn.linear_model import Ridge

    train = random_train(100, 15).tolil()
    train[:, 13:] = 0
    train = train.tocsr()
    vectors = np.random.default_rng(3).standard_normal((15, 6)).astype(np.float32)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    columns = EASE(20.0).fit(train).weights.T[:13].astype(float)
    ridge = Ridge(2.0, fit_intercept=False).fit(unit[:13], columns - columns.mean(0))
    expected = (ridge.predict(unit) + columns.mean(0)).T
    model = EASEMap(vectors, 2.0, 20.0).fit(train)
    assert np.allclose(model.weights, expected, atol=1e-5)
    kept = EASEMap(vectors, 2.0, 20.0, keep_warm=True).fit(train)
    assert np.allclose(kept.weights[:, :13], columns.T) and np.allclose(
        kept.weights[:, 13:], expected[:, 13:], atol=1e-5
    )


def test_the_kernel_map_against_scikit_learn():
    from sklearn.kernel_ridge import KernelRidge

    train = random_train(100, 15).tolil()
    train[:, 13:] = 0
    train = train.tocsr()
    vectors = np.random.default_rng(3).standard_normal((15, 6)).astype(np.float32)
    unit = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(float)
    columns = EASE(20.0).fit(train).weights.T[:13].astype(float)
    ridge = KernelRidge(alpha=0.5, kernel="rbf", gamma=1 / (2 * 0.6**2)).fit(
        unit[:13], columns - columns.mean(0)
    )
    expected = (ridge.predict(unit) + columns.mean(0)).T
    assert np.allclose(EASEMap(vectors, 0.5, 20.0, width=0.6).fit(train).weights, expected, atol=1e-5)
    with pytest.raises(InputError, match="width=0"):
        EASEMap(vectors, width=0)


def test_blend_and_fusion_by_hand():
    train = sp.csr_matrix(CHECKERBOARD)
    a, b = EASE(1.0).fit(train), TextProfile(PARITY).fit(train)
    users = np.arange(8)
    z = [(s - s.mean(1, keepdims=True)) / s.std(1, keepdims=True) for s in (a.scores(users), b.scores(users))]
    blend = ScoreBlend([EASE(1.0), TextProfile(PARITY)], [2, 1]).fit(train)
    assert np.allclose(blend.scores(users), 2 * z[0] + z[1], atol=1e-5)

    class Fixed:
        def __init__(self, row):
            self.row = np.array([row], dtype=np.float32)

        def fit(self, train):
            return self

        def scores(self, users):
            return self.row

    fused = RankFusion([Fixed([3, 2, 1]), Fixed([5, 9, 5])], 10).scores(np.array([0]))[0]
    assert fused == pytest.approx([1 / 11 + 1 / 12, 1 / 12 + 1 / 11, 1 / 13 + 1 / 12])


def test_histories_are_in_order_of_time():
    train = sp.csr_matrix(np.array([[1, 1, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0]], dtype=np.float32))
    times = sp.csr_matrix(np.array([[30, 10, 20, 0], [0, 5, 0, 0], [0, 0, 0, 0]], dtype=np.float64))
    assert ordered_histories(train, times, 4).tolist() == [[0, 2, 3, 1], [0, 0, 0, 2], [0, 0, 0, 0]]
    assert ordered_histories(train, times, 2).tolist() == [[3, 1], [0, 2], [0, 0]]
    tied = times.copy()
    tied.data[:] = 7
    assert ordered_histories(train, tied, 3).tolist() == [[1, 2, 3], [0, 0, 2], [0, 0, 0]]
    with pytest.raises(InputError, match="expected a stored time"):
        ordered_histories(train, times[:, ::-1], 3)


def test_sasrec_learns_a_cycle():
    # Everyone walks 0 → 1 → 2 → 3 → 4 → 0 from another start; the next step is the one not yet taken.
    users = 25
    train, times = np.zeros((users, 5)), np.zeros((users, 5))
    for u in range(users):
        for step in range(4):
            item = (u + step) % 5
            train[u, item], times[u, item] = 1, step + 1
    model = SASRec(16, 1, 1, length=5, dropout=0.0, epochs=150, learning_rate=0.01, progress=False)
    scores = model.fit(sp.csr_matrix(train, dtype=np.float32), sp.csr_matrix(times)).scores(np.arange(users))
    assert (scores.argmax(1) == (np.arange(users) + 4) % 5).mean() > 0.9


def test_weights_of_interactions_count():
    train = sp.csr_matrix(np.array([[1, 0.25, 0]], dtype=np.float32))
    assert Popularity().fit(train).counts.tolist() == [1, 0.25, 0]
    profile = TextProfile(np.eye(3)).fit(train).profiles(np.array([0]))[0]
    assert profile == pytest.approx(np.array([1, 0.25, 0]) / np.hypot(1, 0.25))


TIMES = sp.csr_matrix(np.array([[30, 10, 20, 0], [0, 5, 0, 0], [0, 0, 0, 0]], dtype=np.float64))


def test_recent_popularity_halves_with_age():
    day = 86_400
    train = sp.csr_matrix(np.array([[1, 1, 0], [0, 1, 0], [0, 0, 0]], dtype=np.float32))
    times = sp.csr_matrix(np.array([[31 * day, day, 0], [0, 31 * day, 0], [0, 0, 0]], dtype=np.float64))
    scores = RecentPopularity(half_life_days=15).fit(train, times).scores(np.arange(3))
    assert np.allclose(scores, [1, 0.25 + 1, 0])
    empty = sp.csr_matrix((2, 3), dtype=np.float32)
    assert (RecentPopularity().fit(empty, empty).scores(np.arange(2)) == 0).all()


def test_a_recent_profile_leans_to_the_latest_items():
    train = (TIMES != 0).astype(np.float32)
    profile = TextProfile(np.eye(4), half_life=1).fit(train, TIMES).profiles(np.arange(3))
    expected = np.array([1, 0.25, 0.5, 0])
    assert np.allclose(profile[0], expected / np.linalg.norm(expected))
    assert profile[1].tolist() == [0, 1, 0, 0] and (profile[2] == 0).all()


@pytest.mark.parametrize("make", [RecentPopularity, lambda: TextProfile(np.eye(4), half_life=1)])
def test_those_that_read_times_ask_for_them(make):
    train = (TIMES != 0).astype(np.float32)
    with pytest.raises(InputError, match="times=None"):
        make().fit(train)
    with pytest.raises(InputError, match="expected a stored time"):
        make().fit(train, TIMES[:, ::-1])
    blend = ScoreBlend([make(), EASE(1.0)], [1, 1])
    assert np.allclose(blend.fit(train, TIMES).recommenders[0].scores(np.arange(3)),
                       make().fit(train, TIMES).scores(np.arange(3)))  # fmt: skip


def test_the_popularity_prior_of_text():
    train = random_train()
    vectors = np.random.default_rng(3).standard_normal((15, 6)).astype(np.float32)
    plain, prior = (TextProfile(vectors, popularity=p).fit(train).scores(np.arange(40)) for p in (0.0, 2.0))
    counts = np.log1p(train.toarray().sum(0))
    expected = plain + 2 * counts / counts.max()
    expected[np.diff(train.indptr) == 0] = 0
    assert np.allclose(prior, expected, atol=1e-5)


def test_item_knn_with_text_is_item_knn_on_more_rows():
    train = random_train()
    vectors = np.random.default_rng(3).standard_normal((15, 6)).astype(np.float32)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    stacked = np.vstack([train.toarray(), np.sqrt(7) * unit.T])
    expected = np.maximum(cosine_similarity(stacked.T), 0)
    np.fill_diagonal(expected, 0)
    assert np.allclose(
        ItemKNN(15, item_vectors=vectors, text_weight=7).fit(train).weights.toarray(), expected, atol=1e-5
    )
    # An item that nobody has seen is reached by its text alone.
    cold = train.tolil()
    cold[:, 14] = 0
    weights = ItemKNN(15, item_vectors=vectors).fit(cold.tocsr()).weights.toarray()
    assert weights[:, 14].max() > 0


def test_item_knn_with_users_of_one_length():
    train = random_train()
    rows = train.toarray() / np.maximum(np.linalg.norm(train.toarray(), axis=1, keepdims=True), 1)
    expected = cosine_similarity(rows.T)
    np.fill_diagonal(expected, 0)
    assert np.allclose(ItemKNN(15, unit_users=True).fit(train).weights.toarray(), expected, atol=1e-5)
