"""The study of training on a small scale: a map that gains from training, shortened histories, a record."""

import numpy as np
import pytest
import scipy.sparse as sp
from training_cases import TEXTS, interactions, tiny_bert

from recsys_lib import evaluation
from recsys_lib.core import records
from recsys_lib.core.errors import InputError
from recsys_lib.evaluation.tuning import Task
from recsys_lib.experiments.training import trained_quality, training_study, variants
from recsys_lib.experiments.training.training_study import Part
from recsys_lib.experiments.training.variants import Variant


@pytest.fixture(scope="module")
def task():
    """Five items cold in validation and five others in the test."""
    whole = interactions(200)
    cold, held = np.arange(0, 40, 8), np.arange(1, 40, 8)
    keep = lambda items: evaluation.restrict(whole, np.isin(np.arange(40), items))  # noqa: E731
    rest = np.setdiff1d(np.arange(40), np.concatenate([cold, held]))
    train = keep(rest)
    return Task(
        train, keep(held), keep(np.concatenate([rest, held])), keep(cold), candidates=held,
        test_candidates=cold,
    )  # fmt: skip


@pytest.mark.parametrize("objective", ["distilled", "contrastive"])
def test_training_raises_the_validation_value_and_reads_no_test_item(tmp_path, task, objective):
    bert = tiny_bert(tmp_path / "bert")
    variant = Variant(objective, "full", 3e-3, 12, 8, encoder=bert)
    seen = []
    done = variants.train_variant(TEXTS, task, variant, report=lambda t: seen.append(t.step_number))
    first, best = done.progress.validated[0][1], done.progress.best[1]
    assert best > first + 0.02
    assert done.vectors.shape == (40, 32) and done.tokens > 0 and seen[0] == 0
    changed = Task(**{**vars(task), "test": sp.csr_matrix(task.test.shape, dtype=np.float32)})
    again = variants.train_variant(TEXTS, changed, variant)
    np.testing.assert_array_equal(done.vectors, again.vectors)


def test_an_unknown_objective_is_refused():
    with pytest.raises(InputError, match="objective='listwise'"):
        Variant("listwise")


def test_outcomes_hold_every_use_of_the_vectors(task):
    vectors = np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32)
    cold = trained_quality.metrics_of(trained_quality.cold_outcomes(vectors, task, 0, trials=2))
    assert set(cold["ndcg"]) == {"alone", "map", "kernel map"}
    assert len(cold["per_user"]["map"]) == len(cold["users"])
    assert np.mean(cold["per_user"]["map"]) == pytest.approx(cold["ndcg"]["map"], abs=1e-4)
    whole, rng = interactions(200).tocoo(), np.random.default_rng(1)
    role = rng.integers(0, 4, whole.nnz)
    train, test = (sp.csr_matrix((whole.data[m], (whole.row[m], whole.col[m])), whole.shape)
                   for m in (role > 0, role == 0))  # fmt: skip
    warm = Task(train, test, train, test)
    outcomes = trained_quality.warm_outcomes(vectors, warm, 0, trials=2)
    few = trained_quality.few_interactions(outcomes, warm, kept=(1, 40))
    assert set(few) == {"1", "40"} and set(few["1"]) == {"alone", "map", "EASE", "inside EASE"}
    np.testing.assert_allclose(  # with all that was known the lists are those of the test
        few["40"]["EASE"].per_user["ndcg"], outcomes["EASE"].test.per_user["ndcg"]
    )


def test_shortened_histories_are_parts_of_the_histories():
    histories = interactions(20)
    for n in (1, 3):
        short = trained_quality.shortened(histories, n, 0)
        assert (short.sum(axis=1) == np.minimum(histories.sum(axis=1), n)).all()
        assert (histories.toarray() >= short.toarray()).all()
    assert (trained_quality.shortened(histories, 3, 0) != trained_quality.shortened(histories, 3, 1)).nnz


def test_sentences_of_one_topic_are_told_from_others():
    assert (
        trained_quality.sentences(lambda texts: np.random.default_rng(0).normal(size=(len(texts), 4)))["en"]
        < 0.7
    )


def test_the_study_does_what_its_record_lacks(tmp_path):
    path, asked = tmp_path / "training-study.json", []

    def measured(part):
        asked.append(part.label)
        return {"ndcg": {"map": 0.5}}

    first, second = Part("cold", "frozen"), Part("cold", "distilled", 1)
    training_study.run(path, [first], measured)
    training_study.run(path, [first, second], measured)
    assert asked == ["cold, frozen, 0", "cold, distilled, 1"]
    found = records.read(path)
    assert [r["parameters"]["part"] for r in found] == asked
    assert (
        found[1]["parameters"]["variant"]["learning_rate"]
        == training_study.VARIANTS["distilled"].learning_rate
    )
    assert len({part.label for part in training_study.parts()}) == len(training_study.parts())
