"""Equal budgets, no point twice, and every method can be made at every point of its space."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from recsys_lib import evaluation
from recsys_lib.core.errors import InputError
from recsys_lib.data import datasets
from recsys_lib.evaluation import splits
from recsys_lib.experiments import study
from recsys_lib.recommenders import EASE, Popularity, SASRec, ScoreBlend, TextProfile
from recsys_lib.vectors import similarity

rng = np.random.default_rng(0)
TRAIN = sp.random(60, 30, 0.3, "csr", np.float32, random_state=0).sign()
HELD = sp.csr_matrix((rng.random((60, 30)) < 0.1) & (TRAIN.toarray() == 0), dtype=np.float32)
VECTORS = rng.standard_normal((30, 8)).astype(np.float32)


def test_points_are_different_and_seeded():
    space = {"a": [1, 2, 3, 4], "b": list("xyz")}
    chosen = study.points(space, 7, seed=1)
    assert len({tuple(p.values()) for p in chosen}) == 7
    assert chosen == study.points(space, 7, seed=1) != study.points(space, 7, seed=2)
    assert len(study.points(space, 100)) == 12
    with pytest.raises(InputError, match="trials=0"):
        study.points(space, 0)


JOINED = study.side_by_side([VECTORS, rng.standard_normal((30, 3)).astype(np.float32)])
TIMES = TRAIN.copy().astype(np.float64)
TIMES.data = rng.integers(1, 10**6, TIMES.nnz).astype(np.float64)
METHODS = study.warm_methods(VECTORS, JOINED) | study.timed_methods(VECTORS)


SMALL = {"factors": [2, 4], "epochs": [1], "iterations": [2], "dimension": [4]}


@pytest.mark.parametrize("name", METHODS)
def test_every_method_can_be_tuned(name):
    method = METHODS[name]
    space = {p: SMALL.get(p, values) for p, values in method.space.items()}
    method = dataclasses.replace(method, space=space)
    base = study.tune(method.base, TRAIN, HELD, trials=2)[0] if method.base else None
    trials = study.tune(method, TRAIN, HELD, trials=2, times=TIMES, base=base)
    assert len(trials) == min(2, method.size) + (base is not None)
    shared = set(base.parameters) if base else set()
    assert all(0 <= t.value <= 1 and set(t.parameters) == set(method.space) | shared for t in trials)
    assert all(t.seconds > 0 for t in trials if not base or t.order)


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.base])
def test_a_method_that_declines_the_text_is_its_base(name):
    """Nested spaces: EASE is a member of the space of EASE + text, ItemKNN of that of ItemKNN + text."""
    method = METHODS[name]
    point = study.points(method.base.space, 1)[0]
    plain = method.base.make(**point).fit(TRAIN)
    declined = method.make(**point, **method.declined).fit(TRAIN)
    users = np.arange(60)
    expected = evaluation.recommend(plain, TRAIN, users, 5)
    assert np.array_equal(evaluation.recommend(declined, TRAIN, users, 5), expected)


def test_control_and_text_share_the_parameters_of_ease():
    task = study.Task(TRAIN, HELD, TRAIN, HELD)
    names = ("EASE", "EASE + joined text", "EASE + shuffled text")
    found = study.compare_methods({name: METHODS[name] for name in names}, task, trials=3)
    assert len({outcome.parameters["regularization"] for outcome in found.values()}) == 1
    assert all(len(found[name].trials) == 3 + (name != "EASE") for name in names)
    assert all(found[name].validation >= found["EASE"].validation for name in names)


def test_the_best_trial_comes_first_and_is_repeatable():
    method = study.Method(EASE, {"regularization": [0.1, 1.0, 10.0, 100.0]})
    trials = study.tune(method, TRAIN, HELD, trials=4)
    assert [t.value for t in trials] == sorted((t.value for t in trials), reverse=True)
    assert trials[0].parameters == study.tune(method, TRAIN, HELD, trials=4)[0].parameters


def test_side_by_side_averages_cosines():
    a, b = VECTORS, rng.standard_normal((30, 3)).astype(np.float32) * 100
    mean = (similarity.cosine(a, a) + similarity.cosine(b, b)) / 2
    assert np.allclose(
        similarity.cosine(study.side_by_side([a, b]), study.side_by_side([a, b])), mean, atol=1e-5
    )


@pytest.mark.parametrize("protocol", study.PROTOCOLS)
def test_protocols_hold_apart_what_they_must(protocol):
    split = study.split_of(protocol, 1)
    n = split.dataset.n_interactions
    rows = np.concatenate([split.train_rows, split.validation_rows, split.test_rows])
    assert len(np.unique(rows)) == len(rows) <= n
    assert len(split.validation_rows) and len(split.test_rows)
    if "temporal" in protocol:
        when = split.dataset.timestamp
        assert when[split.train_rows].max() < when[split.validation_rows].min()
        assert when[split.validation_rows].max() < when[split.test_rows].min()
        assert n == 90_000
        assert split.train.shape == study.split_of(protocol, 0).train.shape == (943, 1682)
    if "book" in protocol:
        assert (split.dataset.n_users, split.dataset.n_items, n) == (6_406, 5_330, 260_913)


def test_an_unknown_protocol_and_a_moment_too_many():
    with pytest.raises(InputError, match="expected one of ml-100k random"):
        study.split_of("ml-1m random")
    with pytest.raises(InputError, match="moments 0 to 7"):
        study.split_of("ml-100k temporal", 8)


def test_control_texts_take_away_one_thing_each():
    data = datasets.load("ml-100k")
    texts = study.control_texts(data)
    place = data.items["title"].tolist().index("Toy Story")
    assert texts["all fields"][place] == "Toy Story (1995). Animation, Children's, Comedy"
    assert texts["title masked"][place] == "1995. Animation, Children's, Comedy"
    assert texts["year left out"][place] == "Toy Story. Animation, Children's, Comedy"
    other = texts["titles shuffled"][place]
    assert other.endswith("(1995). Animation, Children's, Comedy") and "Toy Story" not in other
    assert sorted(texts["all shuffled"]) == sorted(texts["all fields"])
    assert study.control_texts(data)["all shuffled"] == texts["all shuffled"]


def test_encoders_of_the_study():
    data = datasets.load("ml-100k")
    year = study.encode(data, "year")
    when = data.items["year"].tolist()
    assert year.shape[0] == data.n_items and np.isfinite(year).all()
    assert year[when.index(1995)] @ year[when.index(1994)] > 5 * (
        year[when.index(1995)] @ year[when.index(1980)]
    )
    assert (year[[i for i, y in enumerate(when) if y is pd.NA]] == 0).all()
    assert study.encode(data, "labels").sum() == sum(len(g.split(", ")) for g in data.items["genres"] if g)
    assert study.encode(data, "tfidf").shape == (data.n_items, 2048)
    with pytest.raises(InputError, match="one of"):
        study.encode(data, "minilm loudest")


def test_evaluation_looks_at_the_test_only_once_and_after_tuning():
    data = datasets.load("ml-100k")
    split = splits.random_split(data, 0.2, 0.1, seed=0)
    looked = []

    class Spy(Popularity):
        def __init__(self, exponent):
            super().__init__()
            self.exponent = exponent

        def fit(self, train):
            looked.append((self.exponent, train.nnz))
            return super().fit(train)

        def scores(self, users):
            return (super().scores(users) + 1) ** self.exponent

    outcome = study.tune_and_evaluate(study.Method(Spy, {"exponent": [-1.0, 1.0]}), split, trials=2)
    sizes = [n for _, n in looked]
    assert sizes == [len(split.train_rows)] * 2 + [len(split.train_rows) + len(split.validation_rows)]
    assert outcome.parameters == {"exponent": 1.0} == {"exponent": looked[-1][0]}
    assert outcome.test.mean()["ndcg"] == pytest.approx(
        evaluation.evaluate(outcome.model, split.with_validation().train, split.test).mean()["ndcg"]
    )


def test_cold_items_stay_cold_while_tuning():
    split = splits.cold_item_split(datasets.load("ml-100k"), seed=0)
    train, validation, cold = study.cold_validation(split)
    counts = np.asarray(train.sum(axis=0)).ravel()
    assert (counts[cold] == 0).all() and not set(cold) & set(split.cold_items)
    assert (train + validation != split.train).nnz == 0
    outcome = study.tune_and_evaluate_cold(study.Method(Popularity), split)
    assert set(outcome.test.ids.ravel()) <= set(split.cold_items) | {-1}


def test_users_without_history_are_not_evaluated():
    train = sp.csr_matrix(np.array([[1, 0], [0, 0]], dtype=np.float32))
    held = sp.csr_matrix(np.array([[0, 1], [1, 1]], dtype=np.float32))
    assert study.known_users(held, train).toarray().tolist() == [[0, 1], [0, 0]]


def test_stored_bytes_by_hand():
    assert study.stored_bytes(EASE(1.0).fit(TRAIN)) == 30 * 30 * 4
    blend = ScoreBlend([EASE(1.0), Popularity()], [1, 1]).fit(TRAIN)
    assert study.stored_bytes(blend) == 30 * 30 * 4 + 30 * 4
    vectors = np.ones((30, 3), dtype=np.float32)
    assert study.stored_bytes(TextProfile(vectors).fit(TRAIN)) == vectors.nbytes + 30 * 4  # and the prior
    net = SASRec(4, 1, 1, length=5, epochs=1, progress=False).fit(TRAIN)
    assert study.stored_bytes(net) == 4 * sum(p.numel() for p in net.net.parameters())


def test_items_with_few_interactions_keep_just_as_many_while_tuning():
    split = splits.cold_item_split(datasets.load("ml-100k"), seed=0, kept=4, at_least=45)
    train, validation, cold = study.cold_validation(split, kept=4, at_least=45)
    counts = np.asarray(train.sum(axis=0)).ravel()
    assert (counts[cold] == 4).all() and not set(cold) & set(split.cold_items)
    assert (train + validation != split.train).nnz == 0
    assert (np.asarray(train[:, split.cold_items].sum(axis=0)) == 4).all()
    with pytest.raises(InputError, match="at_least=5000: no item has so many interactions"):
        study.cold_validation(split, kept=4, at_least=5000)


def test_chosen_edges_are_reported_where_a_range_could_be_longer():
    method = study.Method(EASE, {"a": [0.0, 1.0, 2.0], "b": [False, True], "c": [1, 2], "d": [1, 2, 3]})
    assert study.chosen_edges(method, {"a": 0.0, "b": True, "c": 1, "d": 2}) == ()
    assert study.chosen_edges(method, {"a": 2.0, "b": True, "c": 2, "d": 1}) == ("a=2.0", "d=1")


@pytest.mark.parametrize(
    "name",
    study.cold_methods(
        {"tfidf": VECTORS, "labels": VECTORS, "year": VECTORS, "minilm": VECTORS}, TRAIN, "minilm"
    ),
)
def test_every_cold_method_ranks_what_nobody_has_seen(name):
    data = datasets.load("ml-100k")
    split = splits.cold_item_split(data, 0.2, seed=0)
    words, labels, year = (study.encode(data, e) for e in ("tfidf", "labels", "year"))
    raw = {"tfidf": words, "labels": labels, "year": year, "minilm": words[:, :300]}
    method = study.cold_methods(raw, split.train, "minilm")[name]
    outcome = study.tune_and_evaluate_cold(method, split, trials=2 if method.reads == "both" else 1)
    chance = 0.07
    assert (
        outcome.test.mean()["ndcg"] < 1.4 * chance
        if name == "chance"
        else outcome.test.mean()["ndcg"] > 1.2 * chance
    )
