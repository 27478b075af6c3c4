"""What factor models give a history that training did not see, against independent answers."""

import numpy as np
import pytest
import scipy.sparse as sp

from recsys_lib import evaluation
from recsys_lib.core.errors import InputError
from recsys_lib.data import datasets
from recsys_lib.evaluation import metrics
from recsys_lib.recommenders import BPR, EASE, IALS, EASEMap, Popularity, RidgeMap, UserKNN
from recsys_lib.recommenders.slim import slim_weights
from recsys_lib.vectors import similarity

TRAIN = sp.random(60, 20, 0.3, "csr", np.float32, random_state=0)


def test_ials_solves_its_normal_equations():
    model = IALS(4, 2.0, 3.0, iterations=5).fit(TRAIN)
    y, x = model.item_factors.astype(float), TRAIN.toarray().astype(float)
    for user, factors in enumerate(model.factors_of(TRAIN)):
        # An interaction of weight w counts alpha · w times, everything else once.
        confidence = np.where(x[user] > 0, 3.0 * x[user], 1.0)
        expected = np.linalg.solve(
            (y.T * confidence) @ y + 2.0 * np.eye(4), (y.T * confidence) @ (x[user] > 0)
        )
        assert np.allclose(factors, expected, atol=1e-5)
    assert np.allclose(model.score(TRAIN), model.factors_of(TRAIN) @ model.item_factors.T)


def test_ials_of_a_training_row_is_one_more_half_step():
    from implicit.cpu.als import AlternatingLeastSquares

    peer = AlternatingLeastSquares(factors=4, regularization=2.0, alpha=3.0, iterations=5, random_state=0)
    peer.fit(TRAIN, show_progress=False)
    ours = IALS(4, 2.0, 3.0, iterations=5).fit(TRAIN)
    assert np.allclose(ours.factors_of(TRAIN), peer.recalculate_user(np.arange(60), TRAIN), atol=1e-4)
    # Near convergence half a step changes little, so training users and others are treated alike.
    ours = IALS(4, 2.0, 3.0, iterations=200).fit(TRAIN)
    assert np.allclose(ours.score(TRAIN), ours.scores(np.arange(60)), atol=0.02)


def test_bpr_is_the_mean_of_the_history_plus_the_bias():
    model = BPR(4, iterations=20).fit(TRAIN)
    history = np.zeros((1, 20), dtype=np.float32)
    history[0, [2, 5]] = [1, 3]
    y = model.item_factors
    expected = (0.25 * y[2, :-1] + 0.75 * y[5, :-1]) @ y[:, :-1].T + y[:, -1]
    assert np.allclose(model.score(sp.csr_matrix(history))[0], expected, atol=1e-5)
    assert (model.user_factors[:, -1] == 1).all()


@pytest.mark.parametrize(
    "make", [lambda: IALS(32, 20.0, 5.0), lambda: BPR(32, iterations=30), lambda: UserKNN(50)]
)
def test_new_users_of_movielens_get_more_than_popularity(make):
    matrix = datasets.load("ml-100k").matrix()
    drawn = np.random.default_rng(0).random(matrix.nnz) < 0.2
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    held, known = (
        sp.csr_matrix((matrix.data[m], (rows[m], matrix.indices[m])), shape=matrix.shape)
        for m in (drawn, ~drawn)
    )
    new = np.flatnonzero(np.diff(held.indptr) > 0)[::5]
    train = known[np.setdiff1d(np.arange(matrix.shape[0]), new)]

    def ndcg(model):
        scores = model.fit(train).score(known[new])
        similarity.mask(scores, known[new])
        return metrics.all_metrics(similarity.rank_scores(scores, 10)[0], held[new])["ndcg"].mean()

    assert ndcg(make()) > 1.2 * ndcg(Popularity())


def test_a_ridge_map_places_new_users_where_training_would_have():
    vectors = np.random.default_rng(0).standard_normal((20, 6))
    model = RidgeMap(vectors, factors=5).fit(TRAIN)
    counts = np.asarray((TRAIN != 0).sum(axis=0)).ravel()
    left, values, _ = sp.linalg.svds(
        (TRAIN @ sp.diags(1 / np.sqrt(np.maximum(counts, 1)))).astype(float), k=5, v0=np.ones(20)
    )
    scores = left * np.sqrt(values) @ (left * np.sqrt(values)).T
    assert np.allclose((TRAIN @ model.projection) @ (TRAIN @ model.projection).T, scores, atol=1e-5)


def test_a_user_knn_neighbour_with_the_same_history_adds_nothing():
    rows = np.array([[1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 0, 0, 1]], dtype=np.float32)
    model = UserKNN(1).fit(sp.csr_matrix(rows))
    # Users 0 and 1 are the same: their nearest other is user 2, who knows item 2.
    assert model.score(sp.csr_matrix(rows[:1]))[0, 2] > 0
    ids = evaluation.recommend(model, sp.csr_matrix(rows), [0, 1], 1)
    assert ids.ravel().tolist() == [2, 2]


# ---------------------------------------------------------------- equations without a solution, and pruning


def test_what_cannot_be_solved_is_one_line():
    wide = sp.random(5, 200, 0.3, "csr", np.float32, random_state=0).sign()
    flat = np.ones((200, 3))
    without_rank = IALS(4, 0.0).fit(wide)
    without_rank.item_factors = np.zeros((200, 4), dtype=np.float32)
    for call, message in [
        (lambda: slim_weights(np.array([[1, 5], [5, 1]]), 1.0, 0.0), "l2=0.0: too small"),
        (lambda: EASE(1e-9).fit(wide), "regularization=1e-09: too small"),
        (lambda: EASEMap(flat, 1e-30, 100.0, width=1e3).fit(wide), "regularization=1e-30: too small"),
        (lambda: without_rank.score(wide), "regularization=0.0: too small"),
    ]:
        with pytest.raises(InputError, match=message) as caught:
            call()
        assert "\n" not in str(caught.value)


def test_ease_keeps_the_largest_weights_of_each_column():
    full, pruned = EASE(5.0).fit(TRAIN).weights, EASE(5.0, top=4).fit(TRAIN).weights
    assert sp.issparse(pruned)
    dense = pruned.toarray()
    for column in range(20):
        order = sorted(range(20), key=lambda row: (-abs(full[row, column]), row))[:4]
        expected = np.zeros(20, dtype=np.float32)
        expected[order] = full[order, column]
        assert np.array_equal(dense[:, column], expected)
    assert np.array_equal(EASE(5.0, top=500).fit(TRAIN).weights.toarray(), full)
    with pytest.raises(InputError, match="top=0: expected at least 1"):
        EASE(top=0)


def test_pruned_ease_ranks_almost_as_well_on_movielens():
    matrix = datasets.load("ml-100k").matrix()
    users = np.arange(0, 943, 10)
    full, pruned = (evaluation.recommend(EASE(top=top).fit(matrix), matrix, users, 10) for top in (None, 200))
    shared = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(full, pruned, strict=True)])
    assert shared > 0.7
