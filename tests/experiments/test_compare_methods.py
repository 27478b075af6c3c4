"""Sources, methods and splits for catalogues of any shape, the sample shop, and the checks of the data."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from recsys_lib.core.errors import InputError
from recsys_lib.data import datasets
from recsys_lib.data.datasets import Dataset
from recsys_lib.evaluation import tuning as study_tuning
from recsys_lib.experiments import study
from recsys_lib.experiments.own_catalogue import (
    answer,
    chosen_methods,
    compare_methods,
    conclusion,
    data_check,
    reading,
    sources,
)
from recsys_lib.vectors import similarity


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    paths = datasets.write_sample(tmp_path_factory.mktemp("shop"), 80, 60, seed=1, sales=12)
    return datasets.from_csv(*paths, duplicates="first", unknown_items="drop")


def tiny(user, item, timestamp=None, n_items=None, **columns):
    """A data set of these pairs; titles are ``item 0``, ``item 1`` ... unless columns say otherwise."""
    n_items = max(item) + 1 if n_items is None else n_items
    ids, titles = ([f"{kind}{i}" for i in range(n_items)] for kind in ("i", "item "))
    table = pd.DataFrame({"id": ids, "title": titles, **columns})
    return Dataset(
        "tiny",
        np.array(user, dtype=np.int32),
        np.array(item, dtype=np.int32),
        np.full(len(user), np.nan, dtype=np.float32),
        None if timestamp is None else np.array(timestamp, dtype=np.int64),
        table,
        pd.DataFrame({"id": [f"u{u}" for u in range(max(user) + 1)]}),
    )


def compare(data, by_time=True, seeds=1, encoder="wordllama", labels="", trials=1):
    """Warm and cold results, as the notebook gets them."""
    found = sources.encode_sources(data, data_check.text_columns(data), labels, encoder)
    compared = compare_methods.compare_methods(data, found, by_time=by_time, seeds=seeds, trials=trials)
    return compared.warm, compared.cold


# ---------------------------------------------------------------- the sample


def test_the_sample_is_the_same_every_time(tmp_path):
    first = [p.read_bytes() for p in datasets.write_sample(tmp_path / "a", 30, 20, seed=3)]
    assert first == [p.read_bytes() for p in datasets.write_sample(tmp_path / "b", 30, 20, seed=3)]
    assert first != [p.read_bytes() for p in datasets.write_sample(tmp_path / "b", 30, 20, seed=4)]
    assert not [p.name for p in tmp_path.rglob("*.part")]
    assert first[0].splitlines()[0] == b"customer,sku,stars,date"


def test_the_sample_has_what_real_files_have(tmp_path):
    paths = datasets.write_sample(tmp_path)
    with pytest.raises(InputError, match="SKU-9999"):
        datasets.from_csv(*paths)
    data = datasets.from_csv(*paths, duplicates="first", unknown_items="drop")
    assert (data.n_users, data.n_items) == (600, 300)
    assert data.n_dropped > 30 and data.n_merged > 30
    assert (data.items["title"] == "").sum() > 3 and data.items["title"].duplicated().any()
    assert not data.items["title"].str.isascii().all()
    assert set(np.unique(data.rating)) == {1, 2, 3, 4, 5}
    assert data.timestamp.min() < data.timestamp.max()


def test_tastes_of_the_sample_follow_departments(shop):
    """Two purchases of one customer share a department far more often than two of anybody."""
    department = shop.items["category"].to_numpy()[shop.item]
    known = department != ""
    pairs = pd.DataFrame({"user": shop.user[known], "department": department[known]})
    shares = pairs.groupby("user")["department"].value_counts(normalize=True)
    overall = (pairs["department"].value_counts(normalize=True) ** 2).sum()
    assert shares.pow(2).groupby("user").sum().mean() > 2 * overall


@pytest.mark.parametrize(("arguments"), [(0, 10), (5, 1), (5, 10, 0, 1)])
def test_a_sample_too_small_is_refused(tmp_path, arguments):
    with pytest.raises(InputError, match="expected at least 1, 2 and 2"):
        datasets.write_sample(tmp_path, *arguments)
    data = datasets.from_csv(*datasets.write_sample(tmp_path, 1, 2), duplicates="last", unknown_items="drop")
    assert data.n_users == 1


# ---------------------------------------------------------------- sources of text


def test_labels_are_parted_counted_and_shared():
    vectors = sources.label_vectors(["A, B", "B|C", "c > A;B", "", "lonely"])
    assert vectors.tolist() == [
        [1, 1],
        [0, 1],
        [1, 1],
        [0, 0],
        [0, 0],
    ]  # A and B; C, c and lonely stand alone
    assert sources.label_vectors(["x", "y"]).tolist() == [[0], [0]]
    many = sources.label_vectors([f"{i // 2}" for i in range(5000)])
    assert many.shape == (5000, sources.MAX_LABELS)


def test_labels_separated_by_blanks():
    assert sources.label_vectors(["python sql", "sql", "python"]).tolist() == [[1, 1], [0, 1], [1, 0]]
    assert sources.label_vectors(["Old Mill", "Old Mill"]).tolist() == [[1], [1]]  # a name, not two labels


def test_sources_are_what_the_data_offers():
    data = tiny([0, 0], [0, 1], n_items=4, category=["a", "a", "b", "b"])
    found = sources.encode_sources(data, ("title", "category"), "category", "wordllama")
    assert list(found) == ["labels", "TF-IDF", "labels and TF-IDF", "wordllama"]
    assert {len(source.vectors) for source in found.values()} == {4}
    assert list(sources.encode_sources(data, ("title",), "", "wordllama")) == ["TF-IDF", "wordllama"]
    assert list(sources.encode_sources(data, ("title",))) == ["TF-IDF"]
    bare = tiny([0, 0], [0, 1], n_items=2, title=["", "…"], category=["a", "a"])
    assert list(sources.encode_sources(bare, ("title",), "category", "wordllama")) == ["labels"]
    assert sources.encode_sources(bare, ("title",), "", "wordllama") == {}
    own = np.eye(4, dtype=np.float32)
    with_own = sources.encode_sources(data, ("title",), "", "", {"mine": own})
    assert list(with_own) == ["TF-IDF", "mine"] and with_own["mine"].kind == sources.LANGUAGE
    with pytest.raises(InputError, match="encoder='tfidf': expected a language model"):
        sources.encode_sources(data, ("title",), "", "tfidf")


def test_cheap_text_is_joined_as_notebook_05_joins_it(shop):
    found = sources.encode_sources(shop, ("title", "category"), "category")
    both = found["labels and TF-IDF"].vectors
    parts = [similarity.normalize(found[name].vectors) for name in ("TF-IDF", "labels")]
    cosines = sum(part @ part.T for part in parts) / 2
    assert both @ both.T == pytest.approx(cosines, abs=1e-5)
    joined = sources.joined_with_cheap({**found, "m": found["TF-IDF"]}, "m", shop.matrix())
    assert joined.shape == (shop.n_items, found["TF-IDF"].vectors.shape[1] + both.shape[1])


@pytest.mark.parametrize("source", ["labels", "TF-IDF", "wordllama"])
def test_encoding_takes_time_whatever_is_cached(source):
    assert sources.seconds_per_1000(source, ["a b", "b c", "", "c, d", "c, d"] * 10) > 0


# ---------------------------------------------------------------- methods


def test_spaces_are_those_of_the_study(shop):
    entries = chosen_methods.interaction_methods(shop.n_items, timed=True)
    assert entries["EASE"].method.space is study.EASE_SPACE
    assert entries["EASE"].method.make(regularization=3.0).top == chosen_methods.SERVED_TOP
    assert {entry.kind for entry in entries.values()} == {sources.COLLABORATIVE}
    assert min(chosen_methods.WEIGHTS) == 0.0  # text can be declined


def test_a_catalogue_too_large_for_ease_goes_without(shop, monkeypatch):
    warm, cold = compare(shop, labels="category")
    assert {"EASE", "EASE with wordllama inside", "collaborative filtering + wordllama"} <= set(warm)
    assert {"wordllama, mapped", "wordllama and cheap text, kernel map", "chance"} <= set(cold)
    assert "labels and TF-IDF, kernel map" in cold
    monkeypatch.setattr(chosen_methods, "MAX_ITEMS_OF_TEXT_EASE", shop.n_items - 1)
    warm, cold = compare(shop)
    assert [name for name in warm if "EASE" in name] == ["EASE"]
    assert not [name for name in cold if "kernel" in name]
    assert (
        cold["wordllama, mapped"].parameters["ease_regularization"]
        == warm["EASE"].parameters["regularization"]
    )
    monkeypatch.setattr(chosen_methods, "MAX_ITEMS_OF_EASE", shop.n_items - 1)
    warm, cold = compare(shop)
    assert not [name for name in warm if "EASE" in name]
    assert {"collaborative filtering + wordllama", "iALS"} <= set(warm)
    assert "factors" in cold["wordllama, mapped"].parameters


def test_shared_ease_is_that_of_a_fit_of_its_own(shop):
    shared, train = chosen_methods.SharedEASE(), shop.matrix()
    own = chosen_methods.recommenders.EASE(50.0).fit(train).weights
    assert shared(train, 50.0) == pytest.approx(own)
    assert shared(train.copy(), 50.0) is shared(train, 50.0)
    vectors = np.random.default_rng(0).standard_normal((shop.n_items, 8)).astype(np.float32)
    maps = [
        chosen_methods.recommenders.EASEMap(vectors, 2.0, 50.0, columns=columns).fit(train)
        for columns in (None, shared)
    ]
    assert maps[0].weights == pytest.approx(maps[1].weights)


def test_points_are_chosen_on_a_sample_of_the_validation_users(shop):
    held = shop.matrix()
    few = study_tuning.sampled_users(held, 10, seed=1)
    users = np.flatnonzero(np.diff(few.indptr))
    assert len(users) == 10 and (few[users] != held[users]).nnz == 0
    assert study_tuning.sampled_users(held, 1000) is held and study_tuning.sampled_users(held, None) is held
    with pytest.raises(InputError, match="max_users=0"):
        study_tuning.sampled_users(held, 0)


# ---------------------------------------------------------------- splits


def test_splits_by_time_where_there_are_times(shop):
    assert [p.name for p in compare_methods.warm_splits(shop, True, 3)] == ["temporal, last 20%"]
    random = compare_methods.warm_splits(shop, False, 2)
    assert len(random) == 2 and random[0].name != random[1].name
    timeless = dataclasses.replace(shop, timestamp=None)
    assert len(compare_methods.warm_splits(timeless, True, 2)) == 2
    with pytest.raises(InputError, match="seeds=0: expected at least 1"):
        compare_methods.warm_splits(shop, True, 0)


def test_what_cannot_be_tested_is_refused_in_one_line():
    with pytest.raises(
        InputError, match=r"tiny: 3 users, 3 interactions; expected users with an interaction to learn from"
    ) as caught:
        compare_methods.warm_splits(tiny([0, 1, 2], [0, 1, 0]), True, 1)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="expected users with an interaction"):
        compare_methods.warm_splits(tiny(range(50), [u % 5 for u in range(50)], timestamp=range(50)), True, 1)


def test_cold_items_where_they_can_be_tested(shop):
    parts = compare_methods.cold_splits(shop, 2)
    assert [seed for seed, _ in parts] == [0, 1] and len(parts[0][1].cold_items) == 12
    assert compare_methods.cold_splits(tiny([0, 1], [0, 1]), 3) == []  # two items
    assert compare_methods.cold_splits(tiny(range(9), range(9)), 3) == []  # nobody has two items


# ---------------------------------------------------------------- from data to verdict


def test_the_sample_shop_gets_a_verdict(shop):
    warm, cold = compare(shop, labels="category", trials=2)
    found = conclusion.conclude(warm, cold, "wordllama")
    assert len(found.answers) == 4 and found.cold in ("cheap", "model", "either", "unclear")
    assert cold["labels"].test.mean()["ndcg"] > cold["chance"].test.mean()["ndcg"]


def test_no_times_and_several_seeds(shop):
    warm, _ = compare(dataclasses.replace(shop, timestamp=None), seeds=2)
    assert len({len(r.test.users) for r in warm.values()}) == 1


def test_one_user():
    data = tiny([0] * 20, range(20))
    warm, cold = compare(data)
    found = conclusion.conclude(warm, cold, "wordllama")
    assert found.warm == "unclear" and {a.decision for a in found.answers} == {"too few"}


def test_no_text_at_all(shop):
    blank = dataclasses.replace(shop, items=shop.items.assign(title="", category="", brand=""))
    warm, cold = compare(blank)
    found = conclusion.conclude(warm, cold, "wordllama")
    assert cold == {} and (found.warm, found.cold) == ("untested", "untested")
    assert "nothing to encode" in found.headline


def test_everything_is_the_same():
    """Everybody has the same items, which all read the same."""
    data = tiny(np.repeat(np.arange(40), 10), np.tile(np.arange(10), 40), title=["same"] * 10)
    warm, cold = compare(data)
    found = conclusion.conclude(warm, cold, "wordllama")
    assert found.warm in ("none", "unclear")
    assert data_check.check_data(data, compare_methods.warm_splits(data, True, 1)[0], ("title",))


def test_all_items_of_the_test_are_new():
    """Items 0 to 11 are had early by all, 17 to 19 late: interactions say nothing of the test."""
    early, late = np.repeat(np.arange(12), 40), np.repeat(np.arange(17, 20), 40)
    data = tiny(np.tile(np.arange(40), 15), np.concatenate([early, late]), timestamp=range(600), n_items=20)
    part = compare_methods.warm_splits(data, True, 1)[0]
    checks = {c.what: c for c in data_check.check_data(data, part, ("title",))}
    assert checks["cold items in the test"].found.startswith("100.0%")
    warm, cold = compare(data)
    assert conclusion.conclude(warm, cold, "wordllama").answers
    assert warm["ItemKNN"].test.mean()["ndcg"] < warm["wordllama, raw"].test.mean()["ndcg"]


# ---------------------------------------------------------------- checks of the data


def test_columns_are_found_by_the_end_of_their_names(shop):
    assert data_check.text_columns(shop) == ("title", "category", "brand")
    assert data_check.label_column(shop) == "category"
    books = tiny([0], [0], n_items=2, **{"Book-Author": ["a", "b"], "price": ["1", "2"]})
    assert data_check.text_columns(books) == ("title", "Book-Author")
    assert data_check.label_column(books) == "Book-Author"
    assert data_check.text_columns(books, "title, PRICE") == ("title", "price")
    bare = tiny([0], [0])
    assert (data_check.text_columns(bare), data_check.label_column(bare)) == (("title",), "")
    with pytest.raises(InputError, match="text_columns='titel': did you mean 'title'"):
        data_check.text_columns(books, "titel")
    with pytest.raises(InputError, match="label_column='zzz': the items have id, title"):
        data_check.label_column(bare, "zzz")


def test_looks_by_hand():
    data = dataclasses.replace(
        tiny(
            [0] * 6 + [1] * 5,
            [*range(6), *range(5)],
            title=["same thing", "same thing", "", "d", "e", "f g h i j"],
        ),
        n_dropped=2,
        n_merged=1,
    )
    looks = {
        c.what: c
        for c in data_check.check_data(data, compare_methods.warm_splits(data, True, 1)[0], ("title",))
    }
    assert looks["size"].found == "2 users, 6 items, 11 interactions"
    assert looks["size"].meaning == "91.67% of all pairs are known"
    assert looks["left out"].found == "2 with an item not in the items file, 1 duplicates of a pair"
    assert "check the ids" in looks["left out"].meaning
    assert looks["rare items"].found == "100% of the items with interactions have fewer than 5; 0 have none"
    assert looks["texts"].found == "title: 2 words in the median, 16.7% of the items have none"
    assert looks["duplicate texts"].found == "33.3% of the items, most often 'same thing', 2 times"
    assert looks["times"].found == "none"
    assert looks["test (random 80%/20%, seed 0)"].meaning == "too few: expected at least 30"


def test_looks_at_times_and_strangers(shop):
    looks = {
        c.what: c
        for c in data_check.check_data(
            shop, compare_methods.warm_splits(shop, True, 1)[0], ("title", "category")
        )
    }
    assert (
        looks["times"].found.startswith("2024-0")
        and looks["times"].meaning == "the latest fifth can be the test"
    )
    assert "of the users in it have no history" in looks["test (temporal, last 20%)"].found
    day = dataclasses.replace(shop, timestamp=np.zeros(shop.n_interactions, dtype=np.int64))
    assert (
        "all on one day"
        in data_check.check_data(day, compare_methods.warm_splits(shop, True, 1)[0], ("title",))[6].meaning
    )


# ---------------------------------------------------------------- what a report opens with


def test_a_split_that_leaves_too_few_users_is_replaced():
    """Thirty users in turn: only the last few are there in the latest fifth, and each of them is new."""
    data = tiny(np.repeat(np.arange(30), 20), np.tile(np.arange(20), 30), timestamp=range(600))
    part = compare_methods.warm_splits(data, True, 1)[0]
    assert part.name == "last 20% of each user" and compare_methods.count_test_users(part) == 30
    for user in range(30):
        train, test = (
            data.timestamp[rows[data.user[rows] == user]] for rows in (part.train_rows, part.test_rows)
        )
        assert len(test) == 4 and train.max() < test.min()
    (line,) = answer.replaced(data, part, ("title",))
    assert "would leave 0" in line and "which leaves 30 users" in line


def test_items_without_text_get_no_text_score(shop):
    blank = np.arange(shop.n_items) % 5 == 0
    items = shop.items.assign(**{c: shop.items[c].where(~blank, "") for c in ("title", "category", "brand")})
    data = dataclasses.replace(shop, items=items)
    columns = ("title", "category", "brand")
    found = sources.encode_sources(data, columns, "category", "wordllama")
    part = compare_methods.warm_splits(data, True, 1)[0]
    for name, source in found.items():
        assert not source.vectors[blank].any(), name
        assert not source.centred(part.train)[blank].any(), name
    vectors = found["wordllama"].whitened(part.train)
    assert not vectors[blank].any() and vectors[~blank].any(axis=1).all()
    known = ~blank & (np.asarray(part.train.sum(axis=0)).ravel() > 0)
    assert np.abs(vectors[known].mean(axis=0)).max() < 1e-3  # centred on written texts alone
    lines = answer.replaced(data, part, columns)
    assert lines[-1].startswith("12 of 60 items (20%) have no text")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": 0}, "k=0"),
        ({"trials": 0}, "trials=0"),
        ({"seeds": True}, "seeds=True"),
        ({"matters": float("nan")}, "matters=nan"),
        ({"matters": 1.0}, "matters=1.0"),
        ({"min_rating": float("nan")}, "min_rating=nan"),
        ({"min_interactions": 0}, "min_inter"),
    ],
)
def test_parameters_are_refused_before_any_work(change, message):
    good = {"k": 10, "trials": 6, "seeds": 2, "matters": 0.05, "min_rating": 0.0, "min_interactions": 1}
    reading.check_parameters(**good)
    with pytest.raises(InputError, match=message):
        reading.check_parameters(**good | change)


def test_lists_longer_than_the_catalogue_are_refused(shop):
    reading.check_list_length(60, shop)
    with pytest.raises(InputError, match="k=100000: expected at most 60 of the catalogue's 60 items"):
        reading.check_list_length(100_000, shop)
