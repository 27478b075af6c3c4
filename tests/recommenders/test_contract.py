"""One contract for every recommender of the package, on toys and on MovieLens-100K."""

import inspect
import os
import re

import numpy as np
import pytest
import scipy.sparse as sp
from recommender_cases import CHECKERBOARD, RECOMMENDERS, fitted, one_line, scored, times_of

from recsys_lib import evaluation, recommenders
from recsys_lib.core import storage
from recsys_lib.data import datasets
from recsys_lib.recommenders import (
    BPR,
    EASE,
    IALS,
    SLIM,
    TIGER,
    EASEMap,
    GatedMLP,
    Interests,
    ItemKNN,
    JoinedKernelMap,
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
    WarmAndCold,
    checks,
)

# Fusion ranks even equal scores, and a blend, a factor model or a softmax has no natural zero.
ZERO = [
    "ItemKNN",
    "ItemKNN, normalized",
    "UserKNN",
    "ItemKNN with text",
    "EASE",
    "EASE, pruned",
    "SLIM",
    "TextProfile",
    "MaxSimilarity",
    "Interests",
    "TextItemKNN",
    "TextEASE",
    "TextEASE, pruned",
]
SAME_FOR_ALL = ["Popularity", "RecentPopularity"]
# Two models learn an order that this toy does not have. Pruned to three weights, EASE may leave the item
# sought without any.
PERSONAL = [n for n in RECOMMENDERS if n not in (*SAME_FOR_ALL, "SASRec", "TIGER", "EASE, pruned")]
# They score training users by learned factors and others by a rule: test_factors states how the two agree.
OWN_RULE = ["IALS", "BPR"]
SEEDED = ["IALS", "BPR", "SASRec", "TIGER", "TextMLP", "RidgeMap"]
every = pytest.mark.parametrize("name", RECOMMENDERS)


def test_every_class_of_the_package_is_here():
    classes = {n for n in recommenders.__all__ if inspect.isclass(getattr(recommenders, n))}
    # CKE needs a graph: test_cke.py holds it to its own contract.
    classes -= {"Recommender", "BaseRecommender", "CKE"}
    assert classes == {type(make()).__name__ for make in RECOMMENDERS.values()}
    for name in classes:
        assert issubclass(getattr(recommenders, name), recommenders.BaseRecommender)


# ---------------------------------------------------------------- training users


@every
def test_scores_are_finite_and_for_every_item(name):
    train = sp.csr_matrix(CHECKERBOARD)
    model = RECOMMENDERS[name]()
    assert checks.fit(model, train, times_of(train)) is model
    scores = model.scores(np.arange(9))
    assert scores.shape == (9, 9)
    assert scores.dtype == np.float32
    assert np.isfinite(scores).all()
    assert model.scores(np.arange(0)).shape == (0, 9)
    assert np.allclose(model.scores(np.array([3, 1])), scores[[3, 1]])
    assert np.allclose(model.scores([3, 1]), scores[[3, 1]])


@pytest.mark.parametrize("name", PERSONAL)
def test_the_checkerboard_is_completed(name):
    train = sp.csr_matrix(CHECKERBOARD)
    ids = evaluation.recommend(fitted(name), train, np.arange(8), 1)
    assert ids.ravel().tolist() == [0, 2, 4, 6, 1, 3, 5, 7]


@every
def test_the_input_is_left_alone(name):
    train = sp.csr_matrix(CHECKERBOARD)
    before, times = train.copy(), times_of(train)
    model = checks.fit(RECOMMENDERS[name](), train, times)
    model.scores(np.arange(9))
    checks.score(model, train, times)
    assert (train != before).nnz == 0
    assert (times != times_of(train)).nnz == 0


@every
def test_an_empty_user_and_an_unseen_item(name):
    model = fitted(name)
    scores = model.scores(np.arange(9))
    assert np.isfinite(scores).all()
    if name not in SAME_FOR_ALL:
        assert len(np.unique(scores[8])) == 1, "an empty user gets the same score for every item"
    if name in ZERO:
        assert (scores[8] == 0).all()
        assert np.allclose(scores[:, 8], 0)


@every
def test_a_catalogue_in_two_parts_stays_in_two(name):
    blocks = sp.block_diag([np.ones((3, 3)), np.ones((3, 3))]).tolil()
    blocks[0, 0] = 0
    model = fitted(name, sp.csr_matrix(blocks, dtype=np.float32), np.repeat(np.eye(2), 3, axis=0))
    scores = model.scores(np.array([0]))[0]
    if name in PERSONAL:
        assert scores[0] > scores[3:].max()
    if name in ZERO:
        assert np.allclose(scores[3:], 0, atol=1e-6)


@every
def test_everything_empty(name):
    train = sp.csr_matrix((3, 9), dtype=np.float32)
    model = fitted(name, train)
    for scores in (model.scores(np.arange(3)), scored(model, train)):
        assert np.isfinite(scores).all()
        assert len(np.unique(scores)) == 1


@every
def test_one_user_and_one_item(name):
    model = fitted(name, np.ones((1, 1), dtype=np.float32), np.ones((1, 2)))
    for scores in (
        model.scores(np.array([0])),
        scored(model, np.ones((1, 1))),
        scored(model, np.zeros((2, 1))),
    ):
        assert scores.shape[1] == 1
        assert scores.dtype == np.float32
        assert np.isfinite(scores).all()


@every
@pytest.mark.parametrize("dtype", [bool, np.int8, np.int64, np.float64])
def test_the_dtype_of_the_matrix_does_not_matter(name, dtype):
    expected = fitted(name).scores(np.arange(9))
    model = fitted(name, CHECKERBOARD.astype(dtype))
    assert np.array_equal(model.scores(np.arange(9)), expected)
    assert np.array_equal(scored(model, CHECKERBOARD.astype(dtype)), scored(model, CHECKERBOARD))


@every
def test_the_form_of_the_matrix_does_not_matter(name):
    # As triples, out of order, in halves that add up and with a stored zero.
    rows, columns = np.nonzero(CHECKERBOARD)
    order = np.random.default_rng(0).permutation(len(rows))
    rows, columns = rows[order], columns[order]
    entries = (np.r_[np.full(2 * len(rows), 0.5), 0.0], (np.r_[rows, rows, 8], np.r_[columns, columns, 8]))
    train = sp.coo_matrix(entries, shape=(9, 9))
    model = checks.fit(RECOMMENDERS[name](), train, times_of(CHECKERBOARD))
    assert np.array_equal(model.scores(np.arange(9)), fitted(name).scores(np.arange(9)))


@pytest.mark.parametrize("name", SEEDED)
def test_the_seed_decides(name):
    train = sp.random(40, 15, 0.3, "csr", np.float32, random_state=0).sign()
    vectors = np.random.default_rng(0).standard_normal((15, 6)).astype(np.float32)
    a, b = (fitted(name, train, vectors).scores(np.arange(40)) for _ in range(2))
    assert np.array_equal(a, b)


# ---------------------------------------------------------------- any history


@every
def test_a_history_of_training_scores_as_its_user(name):
    model, train = fitted(name), sp.csr_matrix(CHECKERBOARD)
    scores = checks.score(model, train, times_of(train))
    assert scores.shape == (9, 9) and scores.dtype == np.float32
    if name not in OWN_RULE:
        assert np.array_equal(scores, model.scores(np.arange(9)))


@every
def test_histories_never_seen(name):
    model = fitted(name)
    new = np.zeros((5, 9), dtype=np.float32)
    new[0, [0, 2]] = 1
    new[1, [1, 3]] = 1
    new[3] = 1
    new[4, 8] = 1
    scores = scored(model, new)
    assert scores.shape == (5, 9)
    assert scores.dtype == np.float32
    assert np.isfinite(scores).all()
    assert scored(model, np.zeros((0, 9))).shape == (0, 9)
    # A score depends on no other row of the request.
    alone = np.concatenate(
        [checks.score(model, sp.csr_matrix(new)[i : i + 1], times_of(new)[i : i + 1]) for i in range(5)]
    )
    assert np.allclose(alone, scores, atol=1e-6)
    if name in PERSONAL:
        assert scores[0, 4:8:2].min() > scores[0, 5:8:2].max()
        assert scores[1, 5:8:2].min() > scores[1, 4:8:2].max()
    if name not in SAME_FOR_ALL:
        assert len(np.unique(scores[2])) == 1, "no history: the same score for every item"


BAD_MATRICES = [
    (np.ones((2, 9)), "is ndarray: expected a SciPy sparse matrix"),
    (None, "is NoneType: expected a SciPy sparse matrix"),
    (sp.csr_matrix(-np.ones((2, 9))), "negative"),
    (sp.csr_matrix(np.full((2, 9), np.nan)), "NaN"),
    (sp.csr_matrix(np.full((2, 9), np.inf)), "infinite"),
    (sp.csr_matrix(np.full((2, 9), 1e300)), "infinite"),
    (sp.csr_matrix(np.full((2, 9), 1e20)), "weights up to 1e.20: expected at most 1e.09"),
    (sp.csr_matrix(np.ones((2, 9), dtype=complex)), "holds complex128: expected real numbers"),
]


@every
@pytest.mark.parametrize(("train", "message"), [*BAD_MATRICES, (sp.csr_matrix((0, 9)), "at least one user")])
def test_a_bad_training_matrix_is_refused(name, train, message):
    one_line(message, RECOMMENDERS[name]().fit, train)


@every
def test_bad_histories_are_refused(name):
    model = fitted(name)
    for histories, message in BAD_MATRICES:
        one_line(message, model.score, histories)
    one_line(
        "histories have shape .1, 8.: expected 9 items, as in training", model.score, sp.csr_matrix((1, 8))
    )


def test_a_matrix_with_indices_beyond_it_is_refused():
    train = sp.csr_matrix(CHECKERBOARD)
    train.indices[0] = 99
    one_line("train is no valid sparse matrix", EASE().fit, train)


@every
def test_scores_need_a_fit_and_users_that_exist(name):
    one_line("call fit", RECOMMENDERS[name]().scores, np.array([0]))
    one_line("call fit", RECOMMENDERS[name]().score, sp.csr_matrix(CHECKERBOARD))
    model = fitted(name)
    assert model.scores(np.array([0, 0])).shape == (2, 9)
    for bad in ([9], [-1]):
        one_line("expected indices from 0 to 8", model.scores, np.array(bad))
    for bad in ([0.5], [True], [[0]], ["a"]):
        one_line("expected a list of row numbers", model.scores, np.array(bad))


@pytest.mark.parametrize(
    "name", [n for n in RECOMMENDERS if n.split(" ")[0] not in ("ScoreBlend", "RankFusion", "WarmAndCold")]
)
def test_a_failed_fit_does_not_score(name, monkeypatch):
    model = fitted(name)

    def exhausted(*arguments):
        raise MemoryError("Unable to allocate 931. GiB for an array")

    monkeypatch.setattr(model, "_fit", exhausted)
    train = sp.csr_matrix(CHECKERBOARD)
    one_line("ran out of memory .Unable to allocate 931", lambda: checks.fit(model, train, times_of(train)))
    one_line("call fit", model.scores, np.array([0]))


# ---------------------------------------------------------------- saving and loading


@every
def test_a_loaded_recommender_scores_the_same(name, tmp_path):
    model = fitted(name)
    model.save(tmp_path / "модель")
    new = np.vstack([CHECKERBOARD, np.ones((1, 9)), np.eye(9)])
    expected = scored(model, new)
    for loaded in (type(model).load(tmp_path / "модель"), recommenders.load(str(tmp_path / "модель"))):
        assert type(loaded) is type(model)
        assert loaded.reads_times == model.reads_times
        assert np.array_equal(scored(loaded, new), expected)
        one_line("expected 9 items", loaded.score, sp.csr_matrix((1, 8)))
    # Saved once more, it is the same again, and it can be fitted anew.
    loaded.save(tmp_path / "b")
    assert np.array_equal(scored(recommenders.load(tmp_path / "b"), new), expected)
    train = sp.csr_matrix(CHECKERBOARD)
    assert np.array_equal(scored(checks.fit(loaded, train, times_of(train)), new), expected)


@every
def test_damaged_and_foreign_saves_are_one_line(name, tmp_path):
    one_line("save before fit", RECOMMENDERS[name]().save, tmp_path / "x")
    model = fitted(name)
    model.save(tmp_path / "a")
    (arrays,) = (tmp_path / "a").glob("*.safetensors")
    os.truncate(arrays, arrays.stat().st_size // 2)
    for load in (type(model).load, recommenders.load):
        one_line("damaged", load, tmp_path / "a")
        one_line("no saved object", load, tmp_path / "nothing")
    storage.save(tmp_path / "index", "index", {}, {})
    one_line("of kind 'index', expected a recommender", recommenders.load, tmp_path / "index")
    storage.save(
        tmp_path / "old", f"recommender.{type(model).__name__}", {}, {"n_items": 9, "settings": {"x": 1}}
    )
    one_line("of another version of this library; fit and save it again", recommenders.load, tmp_path / "old")
    other = Popularity if type(model) is not Popularity else EASE
    model.save(tmp_path / "a")
    one_line(f"expected 'recommender.{other.__name__}'", other.load, tmp_path / "a")


@every
def test_only_user_knn_saves_who_was_trained_on(name, tmp_path):
    model = fitted(name)
    model.save(tmp_path)
    loaded = recommenders.load(tmp_path)
    if name == "UserKNN":
        assert np.array_equal(loaded.scores([0]), model.scores([0]))
    else:
        one_line(r"holds no training users; call score\(histories\)", loaded.scores, [0])


def test_settings_may_be_numbers_of_numpy(tmp_path):
    model = EASE(np.float32(2.5), top=np.int64(4)).fit(sp.csr_matrix(CHECKERBOARD))
    model.save(tmp_path)
    assert recommenders.load(tmp_path).regularization == 2.5


def test_a_blend_with_a_part_that_cannot_be_saved_or_score_histories(tmp_path):
    class Fixed:
        def fit(self, train):
            return self

        def scores(self, users):
            return np.ones((len(users), 9), dtype=np.float32)

    blend = ScoreBlend([Fixed()], [1.0]).fit(sp.csr_matrix(CHECKERBOARD))
    one_line("Fixed cannot be saved", blend.save, tmp_path)
    one_line(r"Fixed has no score\(histories\)", blend.score, sp.csr_matrix(CHECKERBOARD))


# ---------------------------------------------------------------- a realistic size

REALISTIC = {
    "Popularity": lambda v: Popularity(),
    "RecentPopularity": lambda v: RecentPopularity(),
    "ItemKNN": lambda v: ItemKNN(),
    "UserKNN": lambda v: UserKNN(),
    "EASE": lambda v: EASE(),
    "EASE, pruned": lambda v: EASE(top=100),
    "SLIM": lambda v: SLIM(iterations=5),
    "IALS": lambda v: IALS(32, 20.0, 5.0),
    "BPR": lambda v: BPR(32, iterations=30),
    "SASRec": lambda v: SASRec(16, 1, 1, length=30, epochs=1, progress=False),
    "TIGER": lambda v: TIGER(v, 2, 16, 16, 1, 2, length=10, epochs=1, targets=2, beams=10, progress=False),
    "TextProfile, recent": lambda v: TextProfile(v, half_life=10.0, popularity=0.1),
    "MaxSimilarity": lambda v: MaxSimilarity(v),
    "Interests": lambda v: Interests(v),
    "TextItemKNN": lambda v: TextItemKNN(v),
    "RidgeMap": lambda v: RidgeMap(v),
    "EASEMap": lambda v: EASEMap(v, width=0.7, keep_warm=True),
    "JoinedKernelMap": lambda v: JoinedKernelMap([v[:, :32], v[:, 32:]], keep_warm=True),
    "TextMLP": lambda v: TextMLP(v, 32, 16, epochs=2, progress=False),
    "GatedMLP": lambda v: GatedMLP([v[:, :32], v[:, 32:]], hidden=32, output=16, epochs=2, progress=False),
    "TextEASE": lambda v: TextEASE(v),
    "ScoreBlend": lambda v: ScoreBlend([EASE(), TextProfile(v, half_life=5.0)], [1.0, 0.5]),
    "RankFusion": lambda v: RankFusion([ItemKNN(), TextProfile(v)]),
    "WarmAndCold": lambda v: WarmAndCold(EASE(), TextProfile(v)),
}


def test_every_class_has_a_realistic_size():
    names = {re.sub(",.*", "", n) for n in RECOMMENDERS} - {"ItemKNN with text"}
    kinds = {re.sub("( of| and| with).*", "", n) for n in names}
    assert {re.sub(",.*", "", n) for n in REALISTIC} == kinds


@pytest.mark.parametrize("name", REALISTIC)
def test_on_movielens(name, tmp_path):
    data = datasets.load("ml-100k")
    matrix, times = data.matrix(), data.times()
    vectors = np.random.default_rng(0).standard_normal((matrix.shape[1], 48)).astype(np.float32)
    old, new = slice(0, 843), slice(843, 943)
    model = checks.fit(REALISTIC[name](vectors), matrix[old], times[old])
    users = np.arange(0, 843, 7)
    scores = model.scores(users)
    assert (
        scores.shape == (len(users), matrix.shape[1])
        and scores.dtype == np.float32
        and np.isfinite(scores).all()
    )
    if name not in OWN_RULE:
        assert np.array_equal(checks.score(model, matrix[users], times[users]), scores)
    fresh = checks.score(model, matrix[new], times[new])
    assert fresh.shape == (100, matrix.shape[1]) and np.isfinite(fresh).all()
    model.save(tmp_path)
    assert np.array_equal(checks.score(recommenders.load(tmp_path), matrix[new], times[new]), fresh)
