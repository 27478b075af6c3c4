"""Lessons for students, yes-no examples and the regression beside them, on the films of MovieLens-100K."""

import numpy as np
import pytest
from tiny_models import tiny_folder

from recsys_lib.core import paths, records
from recsys_lib.evaluation import splits
from recsys_lib.evaluation.protocols import split_of
from recsys_lib.experiments.reranking import candidates
from recsys_lib.experiments.training import answers, students
from recsys_lib.recommenders import EASE


@pytest.fixture(scope="module")
def split():
    return split_of(answers.FILMS, 0)


def test_examples_are_balanced_and_do_not_tell_their_own_answer(split):
    rows = answers.pairs(split, split.train_rows, 64, 0)
    assert len(rows) == 64 == len(set(rows)) and set(rows) <= set(split.train_rows)
    found = answers.examples(split, rows)
    assert sum(e.wanted[0] for e in found) == 32
    for example in found:
        assert not any(entry.startswith(example.candidates[0]) for entry in example.history)
        assert len(example.history) <= answers.SHOWN


def test_histories_hold_training_items_only_also_of_test_examples(split):
    rows = answers.pairs(split, split.test_rows, 16, 0)
    data, titles = split.dataset, split.dataset.items["title"].to_numpy()
    for row, example in zip(rows, answers.examples(split, rows), strict=True):
        own = split.train_rows[data.user[split.train_rows] == data.user[row]]
        known = {str(titles[i]) for i in data.item[own]}
        assert {entry.rsplit(", rated ", 1)[0] for entry in example.history} <= known


def test_features_of_the_regression_are_eases_scores(split):
    features = answers.EASEFeatures(split).of(np.array([3, 5]), np.array([10, 0]))
    assert features.shape == (2, 2)
    all_rated = EASE(answers.REGULARIZATION).fit(split.train).scores(np.array([5]))
    assert features[1, 1] == pytest.approx(all_rated[0, 0], abs=1e-5)


def test_a_tiny_decoder_goes_through_the_curve(tmp_path, monkeypatch):
    pytest.importorskip("peft")
    folder = str(tiny_folder(tmp_path / "llama"))
    for name, value in {"TESTED": 16, "USERS": 3, "TUNED_ON": 16, "VALIDATED": 8}.items():
        monkeypatch.setattr(answers, name, value)
    monkeypatch.setattr(answers, "PASSES", {16: 1})
    lists = candidates.warm_lists(lambda: EASE(answers.REGULARIZATION), split_of(answers.FILMS, 0), 3, 1, k=5)
    monkeypatch.setattr(candidates, "first_stage", lambda *given: lists)
    found = {n: answers.auc(n, model=folder) for n in (0, 16)}
    assert set(found[0]["reranked"]) == {"decoder"} and not found[0]["losses"]
    assert set(found[16]["reranked"]) == {"decoder", "logistic regression on EASE"}
    assert len(found[16]["losses"]) == 1 and len(found[16]["decoder_scores"]) == 16 == found[16]["tested"]
    both = [m["first_stage"] for m in found[16]["reranked"].values()]
    assert both[0] == both[1] == found[0]["reranked"]["decoder"]["first_stage"]
    tried = answers.validated(1e-3, model=folder)
    assert tried["rate"] == 1e-3 and 0 <= tried["auc"] <= 1 and tried["validated"] == 8


def test_the_rate_is_the_one_that_the_record_chose():
    found = records.read(paths.MEASUREMENTS / "training-study.json")
    tried = {r["metrics"]["rate"]: r["metrics"]["auc"] for r in found
             if r["parameters"]["task"] == "yes-no rate"}  # fmt: skip
    assert set(tried) == set(answers.RATES)
    assert max(tried, key=lambda rate: tried[rate]) == answers.RATE
    used = {r["metrics"]["rate"] for r in found if r["parameters"]["task"] == "yes-no"}
    assert used == {answers.RATE}


@pytest.fixture(scope="module")
def course():
    return students.course(0, 40)


def test_students_learn_nothing_of_films_on_which_they_are_judged(course):
    judged = {course.texts[i] for c in (course.validation, course.cold) for i in c.ids.ravel() if i >= 0}
    lists = course.lessons.lists
    learned = {text for part in (*lists.candidates, *lists.histories) for text in part}
    twice = {text for text in course.texts if course.texts.count(text) > 1}  # films with two ids
    assert len(learned) > 100 and not (judged & learned) - twice and len(twice) < 25


def test_a_lesson_is_what_ease_says_of_films_the_user_has_not_seen():
    source = candidates.catalogue("ml-100k")
    split, texts = splits.cold_item_split(source.data, 0.2, 0), [str(i) for i in range(source.data.n_items)]
    lessons = students.lessons(split, texts, 10, 0)
    ease = EASE(students.REGULARIZATION).fit(split.train)
    for history, shown, wanted in zip(
        lessons.lists.histories, lessons.lists.candidates, lessons.wanted, strict=True
    ):
        items = np.array(shown, int)
        users = np.flatnonzero(
            np.asarray((split.train[:, np.array(history, int)] != 0).sum(axis=1)).ravel() == len(history)
        )
        scores = ease.scores(users)[:, items]
        orders = [np.array_equal(np.argsort(row), np.argsort(wanted)) for row in scores]
        assert any(orders) and len(items) == students.BEST + students.RANDOM
        assert wanted.sum() == pytest.approx(1) and 1 <= len(history) <= students.HISTORY


def test_a_taught_cross_encoder_ranks_and_an_untaught_one_is_as_it_was(course):
    learned, losses = students.taught("cross-encoder", 1e-4, course.lessons.first(8), 0)
    before, none = students.taught("cross-encoder", 1e-4, course.lessons.first(0), 0)
    assert len(losses) == 1 and none == []
    found = course.cold.first(2)
    scores = [students.scores_of(pupil, found, course.texts) for pupil in (learned, before)]
    assert [len(own) for own in scores[0]] == [20, 20]
    assert not np.array_equal(scores[0][0], scores[1][0])
