"""Curves of membership over noise, and one item's membership beside the record of the tuned encoder."""

import numpy as np
import pytest
import scipy.sparse as sp

from recsys_lib.core import records
from recsys_lib.experiments import private_curves
from recsys_lib.experiments.notebook_record import entry
from recsys_lib.recommenders import EASE, ItemKNN, TextProfile
from recsys_lib.trust.explanations.support import MinimumSupport
from recsys_lib.trust.privacy import reconstruction, releases

RNG = np.random.default_rng(8)
BOTH = (RNG.random((60, 30)) < 0.3).astype(np.float32)
BOTH[:, :3] = 1
HELD = RNG.random(BOTH.shape) < 0.3
TRAIN, TEST = sp.csr_matrix(BOTH * ~HELD), sp.csr_matrix(BOTH * HELD)


@pytest.fixture
def record(tmp_path):
    weights = {"no noise": {"auc": 0.7, "true positives": 0.1, "no shadows": 0.5},
               "ε = 3": {"auc": 0.5, "true positives": 0.001, "no shadows": 0.5}}  # fmt: skip
    parts = {
        "encoder": {"membership": {"auc": 0.49, "true positives": 0.0008}},
        "encoder weights": {"membership": weights, "ndcg": {"before": 0.1, "no noise": 0.2, "ε = 3": 0.15}},
        "tuned vectors": {"tuned": {"float32": 0.9, "1 bit": 0.6, "without the vector": 0.2}},
    }
    path = tmp_path / "privacy-study.json"
    records.write(path, [entry("11_privacy", {"part": name}, found, 1.0) for name, found in parts.items()])
    return path


def test_noise_on_ease_hides_members_and_costs_ndcg():
    found = private_curves.of_private_ease(TRAIN, TEST, (1.0, np.inf), 4)
    assert found.index.tolist() == ["ε = 1", "no noise"] and found["epsilon"].tolist() == [1.0, np.inf]
    assert found.loc["no noise", "auc"] > found.loc["ε = 1", "auc"]
    assert (found["true positives"] <= 1).all() and found["ndcg"].between(0, 1).all()


def test_members_of_makers_with_and_without_support():
    makers = {"EASE": lambda i: EASE(1.0), "KNN": lambda i: MinimumSupport(ItemKNN(10), 3)}
    found = private_curves.of_makers(makers, TRAIN, 6)
    assert found.index.tolist() == list(makers) and found.loc["EASE", "auc"] > 0.6


def test_recorded_attacks_are_read_and_absent_ones_are_empty(record, tmp_path):
    curve = private_curves.of_encoder_weights(record)
    assert curve.loc["no noise", "epsilon"] == np.inf
    assert curve.loc["ε = 3", ["epsilon", "ndcg"]].tolist() == [3.0, 0.15]
    assert private_curves.tuned_encoder(record)["true positives"] == 0.0008
    assert private_curves.of_encoder_weights(tmp_path / "none.json").empty
    assert private_curves.tuned_encoder(tmp_path / "none.json") is None


def test_one_item_beside_the_tuned_encoder(record, tmp_path):
    items = RNG.standard_normal((30, 16)).astype(np.float32)
    profiles = TextProfile(items).fit(TRAIN).profiles(np.arange(60))
    popularity = np.asarray(TRAIN.sum(axis=0)).ravel()
    forms = [releases.plain(profiles), releases.quantized(profiles, "binary")]
    found = {f.name: reconstruction.attack(f.vectors, items, TRAIN, popularity) for f in forms}
    rest = [releases.Release(f.name, f.vectors[8:], f.bytes_per_vector) for f in forms]
    table = private_curves.one_item(rest, found, items, TRAIN[8:], popularity, record)
    assert table.index.tolist() == ["float32", "1 bit", "without the vector"]
    assert table.loc["float32", "auc"] > table.loc["1 bit", "auc"] > table.loc["without the vector", "auc"]
    assert table["history, tuned"].tolist() == [0.9, 0.6, 0.2]
    alone = private_curves.one_item(rest, found, items, TRAIN[8:], popularity, tmp_path / "none.json")
    assert alone["history, tuned"].isna().all()
