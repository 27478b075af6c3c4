"""What a new user's files hold: the whole way from two files to the answer, or one clear line."""

import re

import numpy as np
import pytest

from recsys_lib import cost
from recsys_lib.core.errors import InputError
from recsys_lib.experiments.own_catalogue import answer, compare_methods, pricing, reading

TITLES = ["red apple tea", "green apple tea", "black tea", "climbing rope", "steel rope", "chalk bag"]


def rows(n_users=40, n_items=12, events=8, seed=0):
    """Users who prefer even or odd items, ``events`` each: user, item and day."""
    rng = np.random.default_rng(seed)
    for user in range(n_users):
        liked = rng.permutation(np.arange(user % 2, n_items, 2))[: events - 2]
        other = rng.permutation(np.arange(1 - user % 2, n_items, 2))[:2]
        for item in [*liked, *other]:
            yield user, int(item), int(rng.integers(0, 300))


@pytest.fixture
def folder(tmp_path):
    """Two files of a small shop; a test writes its own variant over one of them."""
    events = [f"u{u},p{i},{1_700_000_000 + 86_400 * day}" for u, i, day in rows()]
    write(tmp_path / "a.csv", ["user,item,timestamp", *events])
    items = [f"p{i},{TITLES[i % 6]} {i},{'food' if i % 6 < 3 else 'sport'}" for i in range(12)]
    write(tmp_path / "b.csv", ["item,title,category", *items])
    return tmp_path


def write(path, lines, encoding="utf-8"):
    path.write_bytes(("\n".join(lines) + "\n").encode(encoding))


def find(folder, **options):
    settings = {"encoder": "wordllama", "trials": 1, "draws": 2} | options
    return answer.find_answer(folder / "a.csv", folder / "b.csv", folder, **settings)


def change(path, old, new, count=-1, encoding="utf-8"):
    path.write_text(path.read_text(encoding="utf-8").replace(old, new, count), encoding=encoding)


def test_two_files_get_an_answer_in_dollars(folder):
    found = find(folder, traffic={"requests_per_s": 50, "latency_ms": 100})
    text = found.markdown()
    assert text.startswith(f"**{found.conclusion.headline}.**")
    assert answer.with_prices(found.decision.sentence) in text and "50 lists a second" in text
    assert "$" in text and not re.search(r"(?<!\\)\$", text)
    assert 1 <= len(found.decision.changes) <= 3
    assert all(answer.with_prices(change) in text for change in found.decision.changes)
    assert found.markdown(sample=True).startswith("*This run is on the sample")
    table = answer.options_table(found)
    assert found.decision.best.name in table.index
    chosen = {option.name for option in found.decision.ranked}
    assert all(table.loc[name, "remark"] for name in table.index if name not in chosen)


def test_slices_are_tested_by_the_differences_that_their_table_shows(folder):
    compared = find(folder).compared
    table = compare_methods.slices(compared, ["TF-IDF", "ItemKNN"])
    tests, few = compare_methods.slice_tests(compared, "TF-IDF", "ItemKNN", 10)
    assert {*tests, *few} == set(table.index) and tests
    for label, (comparison, p) in tests.items():
        row = table.loc[label]
        assert row["test users"] >= 10 and p >= comparison.p_value
        assert comparison.difference == pytest.approx(row["TF-IDF"] - row["ItemKNN"])
    assert compare_methods.slice_tests(compared, "TF-IDF", "ItemKNN", 10**6) == ({}, table.index.tolist())
    assert compare_methods.slice_tests(compared, "no text", "ItemKNN", 10) == ({}, [])


def test_the_system_that_earns_more_and_was_left_out_is_named():
    methods = {"a": cost.MethodQuality("ItemKNN", 0.40, 0.1), "b": cost.MethodQuality("ItemKNN", 0.41, 0.1)}
    service = cost.Service(users=10_000, requests_per_s=5.0, items=20_000, cold_requests=0.1)
    priced = cost.decide(methods, service, draws=1)
    chosen = cost.decide({"a": methods["a"]}, service, draws=1)
    assert f": b, which would earn {priced.leads['a']} more." in pricing.excluded(chosen, priced)
    assert pricing.excluded(priced, priced) == ""


def test_metrics_are_names_and_numbers(folder):
    import json

    metrics = find(folder).metrics()
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics
    assert str(folder) not in json.dumps(metrics)


def test_movielens_columns_are_found(folder):
    """The names and forms of MovieLens latest small: userId, movieId, ratings, genres with bars."""
    events = [f"{u + 1},{i + 1},{(u + i) % 5 + 1}.0,{1_000_000_000 + day * 86_400}" for u, i, day in rows()]
    write(folder / "a.csv", ["userId,movieId,rating,timestamp", *events])
    write(
        folder / "b.csv",
        ["movieId,title,genres", *(f"{i + 1},Film {i} (1995),War|Drama" for i in range(12))],
    )
    found = find(folder)
    assert found.labels == "genres" and found.data.n_interactions == len(events)


def test_unicode_ids_and_titles(folder):
    change(folder / "a.csv", "u1,", "用户一,")
    change(folder / "a.csv", ",p2,", ",茶-2,")
    change(folder / "b.csv", "p2,black tea 2", "茶-2,乌龙茶")
    found = find(folder)
    assert "用户一" in set(found.data.users["id"]) and "乌龙茶" in set(found.data.items["title"])


def test_gbk_bytes_are_named_and_then_read(folder):
    items = [f"p{i},乌龙茶和绿茶的介绍第{i}号,茶叶" for i in range(12)]
    write(folder / "b.csv", ["item,title,category", *items], "gbk")
    with pytest.raises(InputError, match=r"b.csv row 2.*reading=\{'encoding': 'gb18030'\}") as caught:
        find(folder)
    assert "\n" not in str(caught.value)
    found = find(folder, files={"reading": {"encoding": "gb18030"}})
    assert found.data.items["title"].str.startswith("乌龙茶").all()


def test_blank_texts_are_counted(folder):
    for i in range(4):
        change(folder / "b.csv", f"p{i},{TITLES[i]} {i},food", f"p{i},,")
        change(folder / "b.csv", f"p{i},{TITLES[i]} {i},sport", f"p{i},,")
    assert any(note.startswith("4 of 12 items (33%) have no text") for note in find(folder).notes)


def test_unknown_items_and_repeats_are_counted(folder):
    with (folder / "a.csv").open("a") as file:
        file.write("u1,gone,1700000000\nu2,gone,1700000000\n")
    first = (folder / "a.csv").read_text().splitlines()[1]
    with (folder / "a.csv").open("a") as file:
        file.write(first.rpartition(",")[0] + ",1690000000\n")
    notes = " ".join(find(folder).notes)
    assert "2 of 323 interactions (0.6%) were dropped" in notes and "1 of 323 interactions repeat" in notes


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("a.csv", "user,", "kunde,", "no column for 'user'"),
        ("b.csv", "title", "titel", "no column for 'title'"),
        ("b.csv", "item,title", "nummer,titel", "b.csv: no column for"),
        ("a.csv", ",item,", ",,", "no column for 'item'"),
    ],
)
def test_wrong_columns_get_one_line(folder, file, old, new, message):
    change(folder / file, old, new, 1)
    with pytest.raises(InputError, match=message) as caught:
        find(folder)
    assert "\n" not in str(caught.value)


def test_no_items_file(folder):
    with pytest.raises(InputError, match="interactions is given and items is not: give both files"):
        answer.find_answer(folder / "a.csv", None, folder)
    (folder / "b.csv").unlink()
    with pytest.raises(InputError, match=r"b\.csv: no such file"):
        find(folder)


def test_three_users_get_a_count_or_one_line(folder):
    events = [f"u{u},p{i},{1_700_000_000 + 86_400 * (10 * u + i)}" for u in range(3) for i in range(9)]
    write(folder / "a.csv", ["user,item,timestamp", *events])
    found = find(folder)
    assert found.conclusion.warm == "unclear"
    assert any("test users are too few to compare" in str(one) for one in found.conclusion.answers)
    write(folder / "a.csv", ["user,item", "u1,p1", "u2,p2", "u3,p3"])
    with pytest.raises(InputError, match="3 users, 3 interactions; expected users with an interaction"):
        find(folder)


def test_all_at_one_moment(folder):
    write(folder / "a.csv", ["user,item,timestamp", *(f"u{u},p{i},1700000000" for u, i, _ in rows())])
    assert any(note.startswith("The times leave nobody") for note in find(folder).notes)


def test_no_text_at_all(folder):
    write(folder / "b.csv", ["item,title", *(f"p{i}," for i in range(12))])
    found = find(folder)
    assert found.conclusion.cold == "untested" and "nothing to encode" in found.conclusion.headline
    assert found.decision.best is not None and found.compared.cold == {}


# ---------------------------------------------------------------- own vectors


def test_own_vectors_take_part_as_an_encoder(folder):
    np.save(folder / "mine.npy", np.eye(12, dtype=np.float64) + 0.1)
    found = find(folder, files={"vectors": folder / "mine.npy"}, encoder="")
    name = "own vectors (mine.npy)"
    assert list(found.sources) == ["labels", "TF-IDF", "labels and TF-IDF", name]
    assert {f"{name}, whitened", f"{name}, raw", f"collaborative filtering + {name}"} <= set(
        found.compared.warm
    )
    assert {f"{name}, mapped", f"{name} and cheap text, mapped"} <= set(found.compared.cold)


def test_own_vectors_follow_their_items(folder):
    with (folder / "b.csv").open("a") as file:
        file.write("p99,never chosen,food\n")
    np.save(folder / "v.npy", np.arange(26, dtype=np.float32).reshape(13, 2))
    kept = reading.read(
        folder / "a.csv", folder / "b.csv", folder, vectors=folder / "v.npy", min_interactions=2
    )
    (vectors,) = kept.vectors.values()
    assert kept.data.n_items == 12
    places = kept.data.items["id"].str.removeprefix("p").astype(int).to_numpy()
    assert vectors.tolist() == [[2 * i, 2 * i + 1] for i in places]
    assert any("1" in note and "min_interactions=2" in note for note in kept.notes) or not kept.notes


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.ones((11, 2)), "11 rows, expected 12, one per row of the items file"),
        (np.ones(12), r"float64 of shape \(12,\), expected numbers \[items, dimensions\]"),
        (np.array([["a", "b"]] * 12), "expected numbers"),
        (np.zeros((12, 2)), "every value is 0"),
        (
            np.where(np.arange(24).reshape(12, 2) == 9, np.nan, 1.0),
            r"row 4 \(the first is 0\) and 0 more hold NaN",
        ),
        (np.array([{}] * 12, dtype=object), "not a NumPy array of numbers"),
    ],
)
def test_wrong_vectors_get_one_line(folder, array, message):
    np.save(folder / "v.npy", array, allow_pickle=True)
    with pytest.raises(InputError, match=f"vectors=v.npy: .*{message}") as caught:
        reading.read_vectors(folder / "v.npy", 12)
    assert "\n" not in str(caught.value)


def test_files_that_are_no_vectors(folder):
    with pytest.raises(InputError, match=r"vectors=v.csv: expected a .npy file"):
        reading.read_vectors(folder / "v.csv", 12)
    with pytest.raises(InputError, match="no such file"):
        reading.read_vectors(folder / "v.npy", 12)
    (folder / "v.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(InputError, match="not a NumPy array of numbers"):
        reading.read_vectors(folder / "v.npy", 12)
    with pytest.raises(InputError, match="vectors is given and items is not"):
        reading.read(None, None, folder, vectors=folder / "v.npy")


# ---------------------------------------------------------------- traffic


@pytest.mark.parametrize(
    ("traffic", "message"),
    [
        ({"requests_per_s": 0}, "requests_per_s=0: expected a finite number above 0"),
        ({"requests_per_s": float("nan")}, "requests_per_s=nan: expected a finite number above 0"),
        ({"latency_ms": -1}, "latency_ms=-1: expected a finite number above 0"),
        ({"latency_ms": "fast"}, "latency_ms='fast': expected a finite number above 0"),
        ({"new_items_per_day": -1}, "new_items_per_day=-1: expected a finite number of at least 0"),
        ({"usd_per_point": float("inf")}, "usd_per_point=inf: expected a finite number of at least 0"),
        ({"request_per_s": 1}, "no number 'request_per_s'; did you mean 'requests_per_s'"),
    ],
)
def test_traffic_without_sense_is_refused_first(folder, traffic, message):
    (folder / "a.csv").unlink()  # never reached
    with pytest.raises(InputError, match=f"traffic: .*{message}"):
        find(folder, traffic=traffic)


def test_traffic_over_the_defaults():
    assert pricing.read_traffic() == pricing.Traffic()
    assert pricing.read_traffic({"requests_per_s": "50"}).requests_per_s == 50.0
    assert pricing.read_traffic({"new_items_per_day": 0}).new_items_per_day == 0.0


def test_the_service_is_what_the_files_show(folder):
    found = find(folder, traffic={"requests_per_s": 7, "latency_ms": 250, "new_items_per_day": 3})
    service = found.decision.service
    assert (service.users, service.items, service.requests_per_s) == (40, 12, 7.0)
    assert (service.latency_limit_s, service.new_items_per_day) == (0.25, 3.0)
    assert service.text_tokens == 6  # about four words with the label, 1.3 tokens each, rounded up
    assert find(folder).decision.service.new_items_per_day == 0.0  # all items occur early


def test_samples_are_paired_and_centred_on_the_mean():
    values = np.random.default_rng(5).random(400)
    samples = pricing._samples(values)
    assert samples.mean() == pytest.approx(values.mean(), abs=0.01)
    assert samples.std() == pytest.approx(values.std() / 20, rel=0.2)
    assert pricing._samples(values + 1) - samples == pytest.approx(np.ones(len(samples)))


@pytest.mark.parametrize("encoder", ["minilm", "wordllama", "e5", "smollm2", "some/model"])
def test_every_deployment_exists(encoder):
    from recsys_lib import cost

    known = {option.name for option in cost.OPTIONS}
    assert {*pricing.DEPLOYMENTS.values(), *pricing._encoder_options(encoder).values()} <= known
