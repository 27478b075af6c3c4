"""The privacy study on a small shop: its parts run, and what they find points where it must."""

from dataclasses import replace

import numpy as np
import pytest

from recsys_lib.core import records
from recsys_lib.data import datasets
from recsys_lib.evaluation import splits
from recsys_lib.experiments import federated_map, privacy_study
from recsys_lib.recommenders import TextProfile


@pytest.fixture
def shop(tmp_path, monkeypatch):
    paths = datasets.write_sample(tmp_path, 150, 60, seed=2, sales=14)
    data = datasets.from_csv(*paths, duplicates="first", unknown_items="drop")
    vectors = np.random.default_rng(0).standard_normal((data.n_items, 24)).astype(np.float32)
    monkeypatch.setattr(privacy_study, "dataset_of", lambda protocol: data)
    monkeypatch.setattr(
        privacy_study, "split_of", lambda protocol, seed: splits.random_split(data, 0.2, 0.1, seed)
    )
    monkeypatch.setattr(privacy_study, "encode", lambda items, encoder: vectors)
    monkeypatch.setattr(privacy_study, "ATTACKED", 16)
    monkeypatch.setattr(privacy_study, "SHADOWS", 4)
    return data


def test_maps_on_a_small_shop(shop, tmp_path):
    found = privacy_study.maps(privacy_study.BOOKS)
    updates = found["updates"]
    assert updates["update"]["history recovered"] > 0.9 > updates["update"]["without the vector"]
    for name in ("noisy sum, ε = 10", "sum of 20 updates"):
        assert updates[name]["history recovered"] < updates["update"]["history recovered"] - 0.2
        assert updates[name]["bytes"] > updates["update"]["bytes"] > updates["update, 1 bit"]["bytes"]
    assert found["took_part"]["10 users, no noise"]["auc"] > found["took_part"]["10 users, ε = 10"]["auc"]
    assert set(found["membership"]) == {np.inf, 10.0}
    tests = found["comparisons"]["map less private EASE"]
    assert set(tests) == {"ε = 100", "ε = 10"} and all(t["low"] <= t["difference"] for t in tests.values())


def test_the_recorded_table_shows_every_part(shop, monkeypatch, tmp_path):
    told = {"auc": 0.6, "true positives": 0.01}
    encoder = {"ndcg": {"frozen": 0.1, "tuned": 0.2}, "membership": told}
    found = privacy_study.maps(privacy_study.FILMS)
    private = {"ndcg": {"before": 0.1, "after": 0.3}}
    parts = {"maps": lambda protocol: found, "encoder": lambda protocol: encoder}
    parts["private encoder"] = lambda protocol, epsilon: private
    parts["tuned vectors"] = parts["encoder weights"] = lambda protocol: {"x": 1.0}
    monkeypatch.setattr(privacy_study, "PARTS", parts)
    table = federated_map.recorded(privacy_study.run(tmp_path / "privacy-study.json"))
    assert table.loc["ml-100k: tuned encoder", ["membership", "found"]].tolist() == [0.6, 0.01]
    assert table.loc["ml-100k: small encoder, DP-SGD, ε = 10", "ndcg"] == 0.3
    for place in ("ml-100k", "book-crossing"):
        assert table.loc[f"{place}: update", "history recovered"] > 0.9
        assert 0 <= table.loc[f"{place}: noisy sum, ε = 10", "membership"] <= 1
    assert federated_map.recorded(tmp_path / "none.json").empty


def test_the_record_is_resumed(monkeypatch, tmp_path):
    made = []
    parts = {
        name: lambda protocol, epsilon=None, name=name: made.append((name, epsilon)) or {"x": 1.0}
        for name in privacy_study.PARTS
    }
    monkeypatch.setattr(privacy_study, "PARTS", parts)
    path = privacy_study.run(tmp_path / "privacy-study.json")
    assert len(records.read(path)) == len(made) == 7 and privacy_study.run(path) == path and len(made) == 7


def test_a_tuned_profile_is_another_text_profile(shop):
    texts, train = shop.item_texts(), splits.random_split(shop, 0.2, 0.1, 0).train
    tuned = privacy_study.TunedProfile(texts, steps=2).fit(train)
    assert isinstance(tuned, TextProfile) and tuned.item_vectors.shape == (shop.n_items, 384)
    assert np.isfinite(tuned.score(train[:3])).all()


def test_chosen_points_are_of_the_grid():
    assert set(federated_map.CHOSEN.values()) <= set(federated_map.GRID)
    assert set(privacy_study.EPSILONS) <= set(federated_map.CHOSEN)


def test_vectors_of_a_tuned_encoder_give_the_history_as_frozen_ones_do(shop, monkeypatch):
    monkeypatch.setattr(privacy_study, "STEPS", 1)
    found = privacy_study.tuned_vectors(privacy_study.FILMS)
    for own in (found["frozen"], found["tuned"]):
        assert own["float32"] > 0.8 > own["without the vector"] and own["int8"] > own["1 bit"]


def test_who_trained_an_encoder_is_asked_of_its_weights_at_every_strength(shop, monkeypatch):
    plan = replace(privacy_study.ATTACKED_PLAN, steps=1, rate=0.3)
    monkeypatch.setattr(privacy_study, "ATTACKED_PLAN", plan)
    monkeypatch.setattr(privacy_study, "STRENGTHS", (None, 1.0))
    found = privacy_study.encoder_weights(privacy_study.FILMS)
    assert set(found["membership"]) == {"no noise", "ε = 1"} and set(found["ndcg"]) == {
        "before", "no noise", "ε = 1"
    }  # fmt: skip
    assert all(0 <= one["true positives"] <= 1 for one in found["membership"].values())
