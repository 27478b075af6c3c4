"""What a user's own catalogue is compared with: blends and priors that may decline the text, shared fits."""

import dataclasses

import numpy as np
import pytest

from recsys_lib.data import datasets
from recsys_lib.experiments import study
from recsys_lib.experiments.own_catalogue import chosen_methods, compare_methods, sources
from recsys_lib.vectors import similarity


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    paths = datasets.write_sample(tmp_path_factory.mktemp("shop"), 80, 60, seed=1, sales=12)
    return datasets.from_csv(*paths, duplicates="first", unknown_items="drop")


def test_strongest_directions_keep_the_cosines():
    vectors = np.random.default_rng(0).standard_normal((30, 8)).astype(np.float32)
    flat = np.hstack([vectors, vectors @ np.ones((8, 4), dtype=np.float32)])  # rank 8
    unit = similarity.normalize(flat)
    kept = chosen_methods.strongest_directions(flat, 8)
    assert kept.shape == (30, 8) and kept @ kept.T == pytest.approx(unit @ unit.T, abs=1e-5)
    assert chosen_methods.strongest_directions(flat, 12) is flat
    assert chosen_methods.strongest_directions(flat, 2).shape == (30, 2)


def test_a_blend_with_weight_0_is_its_base(shop):
    part = compare_methods.warm_splits(shop, True, 1)[0]
    base = chosen_methods.FittedOnce(chosen_methods.recommenders.ItemKNN(20))
    found = sources.encode_sources(shop, ("title", "category"), "category", "wordllama")
    blend = chosen_methods.text_methods(found, part.train, base)["collaborative filtering + TF-IDF"].method
    only = study.tune_and_evaluate(dataclasses.replace(blend, space={"weight": [0.0]}), part, 1)
    alone = study.tune_and_evaluate(study.Method(lambda: chosen_methods.recommenders.ItemKNN(20)), part, 1)
    assert only.validation == pytest.approx(alone.validation)
    assert only.test.per_user["ndcg"] == pytest.approx(alone.test.per_user["ndcg"])


def test_ease_keeps_as_many_weights_with_text_inside_as_without(shop):
    part = compare_methods.warm_splits(shop, True, 1)[0]
    found = sources.encode_sources(shop, ("title", "category"), "category", "wordllama")
    base = chosen_methods.FittedOnce(chosen_methods.recommenders.ItemKNN(20))
    inside = chosen_methods.text_methods(found, part.train, base, 5.0)["EASE with TF-IDF inside"].method
    alone = chosen_methods.interaction_methods(part.train.shape[1])["EASE"].method.make(regularization=5.0)
    assert inside.make(weight=0.1, sharpness=1.0).top == alone.top == chosen_methods.SERVED_TOP
    tried = study.tune_and_evaluate(inside, part, 2).trials
    assert len(tried) == 3 and any(trial.parameters["weight"] == 0.0 for trial in tried)  # text is declined


def test_a_shared_base_is_fitted_once_for_each_matrix(shop):
    fits = []

    class Spy(chosen_methods.recommenders.Popularity):
        def fit(self, train):
            fits.append(train.nnz)
            return super().fit(train)

    base, a = chosen_methods.FittedOnce(Spy()), shop.matrix()
    b = shop.matrix(np.arange(shop.n_interactions - 1))
    for train in (a, a.copy(), b, b, a):  # equal content is the same matrix
        base.fit(train)
    assert fits == [a.nnz, b.nnz, a.nnz]
    expected = Spy().fit(a).scores(np.array([0]))
    assert (base.scores(np.array([0])) == expected).all() and (base.score(a[:1]) == expected).all()
