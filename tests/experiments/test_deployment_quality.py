"""The study of the deployment options' quality: its split, its cut models, its bootstrap."""

import numpy as np
import pytest
import scipy.sparse as sp

from recsys_lib.core import records
from recsys_lib.core.errors import InputError
from recsys_lib.evaluation import Evaluation
from recsys_lib.experiments import deployment_quality as study


def evaluation(values, users=None):
    values = np.asarray(values, dtype=float)
    users = np.arange(len(values)) if users is None else np.asarray(users)
    return Evaluation(10, users, {"ndcg": values}, np.empty((len(values), 0), dtype=np.int64))


def test_held_out_entries_and_the_rest_make_the_whole():
    whole = sp.random(50, 30, density=0.3, random_state=0, format="csr")
    kept, held = study.hold_out(whole, 0.2, seed=1)
    assert (kept + held != whole).nnz == 0 and kept.multiply(held).nnz == 0
    assert held.nnz == pytest.approx(0.2 * whole.nnz, rel=0.3)


def test_the_split_hides_every_interaction_with_a_cold_item():
    parts = study.parts_of("ml-100k random", 0)
    assert parts.train[:, parts.cold_items].nnz == 0 and parts.warm[:, parts.cold_items].nnz == 0
    assert parts.cold[:, parts.warm_items].nnz == 0 and parts.cold.nnz > 0
    inner = study.validation_of(parts, 0)
    assert inner.train.nnz < parts.train.nnz and inner.train[:, inner.cold_items].nnz == 0
    assert inner.train[:, parts.cold_items].nnz == 0


def test_a_cut_model_scores_with_its_largest_weights():
    weights = np.array([[0, 3, 1], [2, 0, -4], [1, 1, 0]], dtype=np.float32)
    train = sp.csr_matrix(np.array([[1, 1, 0]], dtype=np.float32))
    assert study.ItemWeights(weights, train, 1).scores(np.array([0])).tolist() == [[2.0, 3.0, -4.0]]
    assert study.ItemWeights(weights, train).scores(np.array([0])).tolist() == [[2.0, 3.0, -3.0]]


def test_the_bootstrap_is_paired_and_centred_on_the_mean():
    rng = np.random.default_rng(0)
    values = [rng.random(200) for _ in range(3)]
    found = {"a": [evaluation(v) for v in values], "b": [evaluation(v + 0.1) for v in values]}
    drawn = study.bootstrap(found, samples=300)
    assert np.allclose(drawn["b"] - drawn["a"], 0.1)
    assert drawn["a"].mean() == pytest.approx(np.mean(values), abs=0.01)
    assert drawn["a"].std() == pytest.approx(np.concatenate(values).std() / np.sqrt(200), rel=0.7)


def test_a_record_needs_at_least_one_split():
    with pytest.raises(InputError, match="seeds=0"):
        study.measure(seeds=0)


def test_a_record_is_measured_once_and_again_where_its_splits_or_trials_change(tmp_path, monkeypatch):
    path, made = tmp_path / "study.json", []

    def measure(**arguments):
        made.append(arguments)
        shell = {"notebook": "16_cost_benefit", "metrics": {}, "environment": {}, "seconds": 1.0}
        return shell | {"parameters": arguments | {"samples": 200}}

    monkeypatch.setattr(study, "measure", measure)
    first, second = ({"protocol": name, "seeds": 1, "trials": 3} for name in ("films", "books"))
    monkeypatch.setattr(study, "RECORDS", (first, second))
    study.run(path)
    study.run(path)
    assert made == [first, second]
    more = second | {"seeds": 5}
    monkeypatch.setattr(study, "RECORDS", (first, more))
    assert study.run(path) == "study.json: 2 records"
    assert made == [first, second, more]
    assert [r["parameters"]["seeds"] for r in records.read(path)] == [1, 5]
