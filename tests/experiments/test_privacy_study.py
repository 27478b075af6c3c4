"""The privacy study on a small shop: its parts run, and what they find points where it must."""

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
    encoder = {"ndcg": {"frozen": 0.1, "tuned": 0.2}, "membership": {"auc": 0.6}}
    found = privacy_study.maps(privacy_study.FILMS)
    private = {"ndcg": {"before": 0.1, "after": 0.3}}
    parts = {"maps": lambda protocol: found, "encoder": lambda protocol: encoder}
    parts["private encoder"] = lambda protocol, epsilon: private
    monkeypatch.setattr(privacy_study, "PARTS", parts)
    table = federated_map.recorded(privacy_study.run(tmp_path / "privacy-study.json"))
    assert table.loc["ml-100k: tuned encoder", "membership"] == 0.6
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
    assert len(records.read(path)) == len(made) == 5 and privacy_study.run(path) == path and len(made) == 5


def test_a_tuned_profile_is_another_text_profile(shop):
    texts, train = shop.item_texts(), splits.random_split(shop, 0.2, 0.1, 0).train
    tuned = privacy_study.TunedProfile(texts, steps=2).fit(train)
    assert isinstance(tuned, TextProfile) and tuned.item_vectors.shape == (shop.n_items, 384)
    assert np.isfinite(tuned.score(train[:3])).all()


def test_chosen_points_are_of_the_grid():
    assert set(federated_map.CHOSEN.values()) <= set(federated_map.GRID)
    assert set(privacy_study.EPSILONS) <= set(federated_map.CHOSEN)
