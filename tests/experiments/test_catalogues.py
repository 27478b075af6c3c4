"""The study over catalogues on small invented data: protocol, gains, groups of people, long texts, scale."""

import numpy as np
import pytest
import scipy.sparse as sp
from catalogue_cases import shop

from recsys_lib import evaluation
from recsys_lib.core import records
from recsys_lib.core.errors import InputError
from recsys_lib.data.datasets.plain_files import PLACES
from recsys_lib.evaluation import Evaluation, splits, tuning
from recsys_lib.experiments.catalogues import (
    alignment,
    catalogues_study,
    evaluated_methods,
    gains_by_group,
    long_texts,
    people,
    protocol,
    scale,
    wider_spaces,
)
from recsys_lib.recommenders import EASE, Interests, MaxSimilarity, Popularity, TextProfile
from recsys_lib.recommenders.interests import interests_of

pytestmark = pytest.mark.slow


def test_order_alone_is_no_time():
    data, parts = protocol.warm_parts(shop(notes=(PLACES,)))
    assert data.timestamp is None and parts[0].name.startswith("last 20%")
    assert parts[0].dataset.timestamp is None and parts[0].train_times is None
    known, parts = protocol.warm_parts(shop())
    assert known.timestamp is not None and not parts[0].name.startswith("random")
    assert protocol.warm_parts(shop(timed=False))[1][0].name.startswith("random")


def test_what_describes_a_catalogue():
    data = shop()
    part = protocol.warm_parts(data)[1][0]
    found = protocol.describe(data, ["one two three"] * 39 + [""], part)
    assert (found["users"], found["items"], found["interactions"]) == (60, 40, 720)
    assert found["words per text"] == 3 and found["items without text"] == pytest.approx(1 / 40)
    assert found["interactions per item"] == 18 and 0 <= found["cold share"] <= 1
    assert found["days"] == 719
    assert protocol.describe(shop(notes=(PLACES,)), ["x"] * 40, part)["days"] is None


def test_gains_of_an_invented_shop_whose_texts_say_everything():
    found = evaluated_methods.measure_data(shop(timed=False), trials=2, draws=1, encoder="wordllama")
    assert {"popularity", "EASE", "iALS", "ItemKNN", "TF-IDF"} <= set(found["warm"])
    # wordllama is not the study's encoder: no language map is compared, and text still beats chance.
    assert set(found["gains"]) == {"warm"}
    assert found["cold"]["TF-IDF"]["ndcg"] > 1.05 * found["cold"]["chance"]["ndcg"]
    gain = found["gains"]["warm"]
    assert gain["low"] <= gain["difference"] <= gain["high"] and gain["Holm p"] == gain["p"]
    assert gain["base"] in ("popularity", "EASE", "iALS", "ItemKNN") and gain["method"] not in gain["base"]
    assert set(found["warm"]["EASE"]["parameters"]) == {"regularization"}


def test_wider_spaces_hold_the_usual_ones_and_reach_every_method(monkeypatch):
    usual, wide = evaluated_methods.USUAL, wider_spaces.WIDE
    for field, space in vars(usual).items():
        wider = getattr(wide, field)
        assert set(wider) == set(space), field
        assert max(wider[next(iter(space))]) >= max(space[next(iter(space))]), field
    assert max(wide.item_knn["shrinkage"]) > max(usual.item_knn["shrinkage"])
    assert set(wider_spaces.CATALOGUES) <= set(protocol.CATALOGUES)
    seen = {}

    def compared(methods, task, trials):
        seen.update({name: (method.space, trials) for name, method in methods.items()})
        return tuning.compare_methods(methods, task, 1, keep_models=False)

    monkeypatch.setattr(evaluated_methods, "_compared", compared)
    monkeypatch.setattr(protocol, "catalogue", lambda name: shop(timed=True))
    monkeypatch.setattr(wider_spaces, "ENCODER", "wordllama")
    found = wider_spaces.measure("ml-100k", 3)
    assert seen["ItemKNN"] == (wide.item_knn, 3) and seen["iALS"][0] == wide.ials
    assert seen["recent popularity"][0] == wide.recent and seen["EASE"][0] == wide.ease
    assert seen["best + TF-IDF"][0] == wide.weights and seen["EASE with TF-IDF inside"][0] == wide.prior
    assert found["trials"] == 3 and set(found["warm"]) == set(seen)
    assert found["gain"]["relative low"] <= found["gain"]["relative"] <= found["gain"]["relative high"]


def test_the_study_resumes_and_names_what_is_missing(tmp_path, monkeypatch, capsys):
    done = []
    jobs = {("methods", "a"): lambda: done.append("a") or {"x": 1}, ("methods", "b"): lambda: 1 / 0}

    def missing():
        raise InputError("not here")

    monkeypatch.setattr(catalogues_study, "parts", lambda: {("methods", "c"): missing} | jobs)
    path = tmp_path / "r.json"
    catalogues_study.run(path, only=lambda part, name: name != "b")
    catalogues_study.run(path, only=lambda part, name: name != "b")
    assert done == ["a"] and [r["parameters"]["catalogue"] for r in records.read(path)] == ["a"]
    assert "methods, c: left out: not here" in capsys.readouterr().out


def test_texts_of_other_items_are_seen():
    data = shop(timed=False)
    texts = data.item_texts(("title",))
    found = alignment.alike(data, texts)
    order = np.random.default_rng(0).permutation(40)
    moved = alignment.alike(data, [texts[i] for i in order])
    assert found["together"] > 1.5 * found["all pairs"] and moved["together"] < 0.75 * found["together"]
    assert moved["all pairs"] == pytest.approx(found["all pairs"])
    everything = alignment.alike(data, ["same text"] * 40)
    assert everything["together"] == pytest.approx(1) == everything["all pairs"]


# ---------------------------------------------------------------- people


def test_quarters_share_out_all_known_users():
    values = np.arange(100, dtype=float)
    known = values >= 20
    found = people.quarters(values, known, "{:.0f} to {:.0f}")
    assert list(found) == ["20 to 39", "40 to 59", "60 to 79", "80 to 99"]
    assert np.array_equal(np.sum(list(found.values()), axis=0), known)
    assert list(people.quarters(np.ones(9), np.ones(9, bool), "{:.0f} to {:.0f}")) == ["1 to 1"]


def test_another_history_costs_a_personal_method_and_not_popularity():
    split = splits.random_split(shop(timed=False), 0.2, 0.1, 0)
    task = tuning.warm_task(split)
    for model, personal in ((EASE(10.0), True), (Popularity(), False)):
        own = evaluation.evaluate(model.fit(task.whole), task.whole, task.test, 10)
        found = people.personal(own, people.swapped(model, task, own))
        assert (found["difference"] > 0.05) == personal
        assert found["own"] - found["another's"] == pytest.approx(found["difference"])
    swapped = people.Others(model, np.array([3, 5, 8]))
    assert sorted(swapped.other[[3, 5, 8]]) == [3, 5, 8] and not (swapped.other[[3, 5, 8]] == [3, 5, 8]).any()


def test_gaps_between_groups():
    values = np.r_[np.full(30, 0.2), np.full(30, 0.5)]
    found = {"m": Evaluation(10, np.arange(60), {"ndcg": values}, np.zeros((60, 10), int))}
    groups = {"a": np.arange(60) < 30, "b": np.arange(60) >= 30}
    gap = people.gaps(found, groups)["m"]
    assert gap["difference"] == pytest.approx(0.3) == gap["low"] and gap["relative"] == pytest.approx(1.5)
    assert gap["between"] == "b less a" and gap["Holm p"] < 0.001
    table = people.by_group(found, groups | {"empty": np.zeros(60, bool)})
    assert table["b"]["m"]["ndcg"] == 0.5 and table["b"]["users"] == 30 and "empty" not in table


def test_gains_are_tested_between_groups_and_within_equal_lengths():
    rng, length = np.random.default_rng(0), np.repeat([0, 1], 100)
    # The gain follows the length of a history; gender does too, and says nothing beyond it.
    gender = np.where(rng.random(200) < 0.8, length, 1 - length)
    popularity = rng.random(200)
    gain = 0.3 * length + rng.normal(0, 0.1, 200)
    values = {"popularity": popularity, "EASE": popularity + gain}
    found = {name: Evaluation.without_lists(10, np.arange(200), {"ndcg": v}) for name, v in values.items()}
    groups = {
        "history length": {"short": length == 0, "long": length == 1},
        "gender": {"F": gender == 0, "M": gender == 1},
        "age": {"young": np.arange(200) % 2 == 0},
    }
    every = gains_by_group.kept(found, groups)
    assert every["group"]["age"][:4] == [0, -1, 0, -1]
    np.testing.assert_array_equal(every["values"]["EASE"], values["EASE"].round(4))
    rows = {row["groups"]: row for row in gains_by_group.tested(every["values"], every["group"])}
    short, long = rows["history length"]["mean"]
    assert long["gain"] - short["gain"] == pytest.approx(rows["history length"]["last less first"])
    assert rows["history length"]["Holm p"] < 0.001 and rows["gender"]["Holm p"] < 0.001
    assert rows["history length"]["p, same length"] is None and rows["gender"]["Holm p, same length"] > 0.05
    assert short["relative"] == pytest.approx(short["gain"] / popularity[:100].mean(), rel=1e-3)
    assert rows["age"]["p"] == 1.0 and rows["age"]["last less first"] == 0.0


def test_what_text_changes_of_the_loss():
    rng = np.random.default_rng(1)
    own, other = rng.uniform(0.4, 0.6, 80), rng.uniform(0.1, 0.2, 80)
    values = {
        "EASE": own,
        "EASE, another's": other,
        "EASE + MiniLM": 2 * own,
        "EASE + MiniLM, another's": 2 * other,
    }
    found = gains_by_group.text_and_loss(values)
    assert found["difference"] == pytest.approx((own - other).mean()) and found["low"] > 0
    assert found["part"] == pytest.approx(0) and found["part low"] == pytest.approx(0)


def test_interests_between_a_profile_and_single_items():
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((30, 8)).astype(np.float32)
    train = sp.csr_matrix((rng.random((12, 30)) < 0.2).astype(np.float32))
    users = np.arange(12)
    one = Interests(vectors, 1).fit(train).scores(users)
    assert np.allclose(one, TextProfile(vectors).fit(train).scores(users), atol=1e-5)
    all_of_them = Interests(vectors, 30).fit(train).scores(users)
    assert np.allclose(all_of_them, MaxSimilarity(vectors).fit(train).scores(users), atol=1e-5)
    with pytest.raises(InputError, match="interests=0"):
        Interests(vectors, 0)


def test_two_tastes_become_two_interests():
    tastes = np.array([[1, 0.1, 0], [1, -0.1, 0], [0, 0.1, 1], [0, -0.1, 1]], dtype=np.float32)
    found = interests_of(tastes, 2)
    assert sorted(found.round(3).tolist()) == [[0, 0, 1], [1, 0, 0]]
    assert len(interests_of(tastes, 9)) == 4
    assert len(interests_of(np.ones((5, 3), np.float32), 3)) == 1


# ---------------------------------------------------------------- long texts, scale


def test_chunks_are_averaged(monkeypatch):
    def fake(texts, max_tokens):
        return np.array([[len(text.split()), 1.0] for text in texts], dtype=np.float32)

    monkeypatch.setattr(long_texts, "_encode", fake)
    words = " ".join(["w"] * (long_texts.CHUNK_WORDS + 40))
    found = long_texts.chunked([words, "", "a b"])
    assert found.tolist() == [[(long_texts.CHUNK_WORDS + 40) / 2, 1], [0, 1], [2, 1]]
    assert len(long_texts.pieces("x " * 10_000)) == long_texts.CHUNKS
    variants = long_texts.variants(shop(timed=False), "description", ["red warm thing"] * 40)
    assert {"title only", "64 tokens", "256 tokens"} <= set(variants)
    assert "chunks averaged" not in variants  # texts of three words have one chunk
    ranked = long_texts.evaluate(shop(timed=False), {"a": variants["TF-IDF, whole text"]}, draws=1)
    assert ranked["a"].mean()["ndcg"] > 0


def test_the_whole_path_of_an_invented_catalogue():
    shape = scale.Shape(400, 120, 6_000, columns=40, top=10, sample=50)
    found = scale.measure(shape)
    assert found["sizes"]["items"] == 120 and 3_000 < found["sizes"]["interactions"] <= 6_000
    assert found["evaluated users"] == 50 and found["texts encoded by MiniLM"] == 120
    stages = list(found["stages"])
    assert stages[:2] == ["invent and write", "read the CSV files"] and stages[-1] == "evaluate, EASE"
    peaks = [row["peak_gib"] for row in found["stages"].values()]
    assert peaks == sorted(peaks)


def test_gram_in_blocks_is_the_product():
    x = sp.csr_matrix((np.random.default_rng(0).random((50, 9)) < 0.3).astype(np.float32))
    assert np.array_equal(scale.gram_in_blocks(x, 7), (x.T @ x).toarray())


def test_columns_rank_below_them_what_was_left_out():
    weights = sp.csr_matrix(np.array([[0, -2.0], [1.0, 0]], dtype=np.float32))
    model = scale.Columns(weights, sp.csr_matrix(np.eye(2, dtype=np.float32)), np.array([1, 3]), 4)
    assert model.scores(np.array([0])).tolist() == [[-3, 0, -3, -2]]
