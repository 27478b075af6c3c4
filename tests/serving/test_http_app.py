"""The service as a client sees it: answers, refusals in one sentence, limits, tokens, swaps and new items."""

import asyncio
import json
import threading
import time

import httpx
import numpy as np
import pytest
import scipy.sparse as sp
from shop_server import LABELS, events, group, opened, shop

from recsys_lib.serving import artefact, fitting
from recsys_lib.serving import http_app as applications
from recsys_lib.serving.events import EventLog
from recsys_lib.serving.http_app import Settings
from recsys_lib.serving.slate import Rule

TOKEN = "a-secret-of-many-characters"


@pytest.fixture
def client(store):
    with opened(store, poll_s=0.05) as opened_client:
        yield opened_client


# ---------------------------------------------------------------- recommend and similar


def test_a_known_user_gets_unseen_items_of_their_taste(client):
    answer = client.post("/recommend", json={"user": "u1", "k": 6, "explore": False})
    items = answer.json()["items"]
    data = shop()
    seen = {f"i{i}" for i in data.item[data.user == 1]}
    assert answer.status_code == 200 and len(items) == 6
    assert not seen & {item["id"] for item in items} and np.mean(np.array(group(items)) == 1) > 0.8
    scores = [item["score"] for item in items]
    assert scores == sorted(scores, reverse=True)


def test_the_answer_is_what_the_model_says(client, store):
    loaded = artefact.load(store)
    history = ["i0", "i3", "i9"]
    asked = {"history": history, "k": 10, "explore": False, "exclude": ["i6"]}
    items = client.post("/recommend", json=asked).json()["items"]
    row = np.zeros((1, 60), dtype=np.float32)
    row[0, [0, 3, 9]] = 1
    scores = loaded.recommender.score(sp.csr_matrix(row))[0]
    scores[[0, 3, 9, 6]] = -np.inf
    expected = np.lexsort((np.arange(60), -scores))[:10]
    assert [item["id"] for item in items] == [f"i{i}" for i in expected]
    np.testing.assert_allclose([item["score"] for item in items], scores[expected], atol=2e-6)


def test_reasons_name_items_of_the_history_in_both_languages(client):
    asked = {"history": ["i0", "i3"], "k": 3, "explore": False}
    english = client.post("/recommend", json=asked).json()["items"][0]["reason"]
    chinese = client.post("/recommend", json=asked | {"language": "zh"}).json()["items"][0]["reason"]
    assert english.startswith("Because you chose red wool scarf") and chinese.startswith(
        "因为你选过《red wool"
    )


def test_without_a_history_the_popular_and_a_new_item(client):
    items = client.post("/recommend", json={"history": [], "k": 4}).json()["items"]
    assert "Many people chose it" in items[0]["reason"] and "new" in items[-1]["reason"]
    assert items[-1]["explored"] and 0 < items[-1]["propensity"] < 1


def test_labels_filter(client):
    for label in LABELS:
        items = client.post("/recommend", json={"user": "u0", "label": label, "k": 5}).json()["items"]
        assert group(items) == [LABELS.index(label)] * 5


def test_the_nearest_texts(client):
    by_text = client.post("/similar", json={"text": "oak table", "k": 5}).json()["items"]
    by_item = client.post("/similar", json={"item": "i2", "k": 5}).json()["items"]
    assert group(by_text) == [2] * 5 == group(by_item)
    assert "i2" not in {item["id"] for item in by_item}
    cosines = [item["cosine"] for item in by_item]
    assert cosines == sorted(cosines, reverse=True) and cosines[-1] >= -1 and cosines[0] <= 1.000001


# ---------------------------------------------------------------- items and events


def test_a_new_item_is_recommended_at_once_and_after_a_restart(store):
    new = {"items": [{"id": "n0", "title": "steel garden spade, new", "labels": ["tools"]}]}
    asked = {"history": ["i1", "i4", "i7"], "k": 60, "explore": False}
    with opened(store) as client:
        before = client.post("/recommend", json=asked).json()["items"]
        assert client.put("/items", json=new).json()["added"] == 1
        assert client.put("/items", json=new).json() | {"version": ""} == {
            "version": "",
            "added": 0,
            "known": 1,
        }
        after = client.post("/recommend", json=asked).json()["items"]
        tools = client.post("/recommend", json=asked | {"history": ["i0"]}).json()["items"]
    assert "n0" not in {item["id"] for item in before}
    place = [item["id"] for item in after].index("n0")
    assert place < [item["id"] for item in tools].index("n0")
    assert after[place]["reason"].startswith("Because you chose steel garden spade")
    with opened(store) as client:
        again = client.post("/recommend", json=asked).json()["items"]
    assert again == after


def test_an_item_keeps_what_it_is(client):
    client.put("/items", json={"items": [{"id": "n", "title": "one"}]})
    changed = client.put("/items", json={"items": [{"id": "n", "title": "two"}]})
    of_catalogue = client.put("/items", json={"items": [{"id": "i0", "title": "other"}]})
    same = client.put("/items", json={"items": [{"id": "i0", "title": "red wool scarf 0"}]})
    assert (changed.status_code, of_catalogue.status_code, same.status_code) == (409, 409, 200)
    assert client.put("/items", json={"items": [{"id": "m", "title": "a"}] * 2}).status_code == 422


def test_an_event_is_in_the_history_of_the_next_request(client):
    assert client.post("/recommend", json={"user": "new"}).status_code == 404
    chosen = client.post("/events", json=events(["k1"], "new", "i4"))
    assert chosen.status_code == 202 and chosen.json() == {"accepted": 1, "duplicates": 0}
    items = client.post("/recommend", json={"user": "new", "k": 5, "explore": False}).json()["items"]
    assert "i4" not in {item["id"] for item in items} and group(items)[0] == 1
    assert "steel garden spade 4" in items[0]["reason"]


def test_sending_an_event_again_changes_nothing(client, store):
    body = events(["k1", "k2"])
    assert client.post("/events", json=body).json()["accepted"] == 2
    assert client.post("/events", json=body).json() == {"accepted": 0, "duplicates": 2}
    other = client.post("/events", json=events(["k1"], item="i5"))
    assert other.status_code == 409 and "'k1'" in other.json()["error"]
    assert EventLog(store / "events.sqlite").counts()["events"] == 2


def test_shown_lists_are_kept_with_their_propensities(store):
    with opened(store, rule=Rule(quota=2)) as client:
        answer = client.post("/recommend", json={"user": "u0", "k": 6}).json()
        drawn = [item for item in answer["items"] if item["explored"]]
        body = events(["e"], "u0", drawn[0]["id"], list_id=answer["list_id"])
        assert client.post("/events", json=body).status_code == 202
    (row,) = EventLog(store / "events.sqlite").lists()
    assert row["chosen"] == [drawn[0]["id"]] and row["version"] == answer["version"]
    assert row["shown"]["ids"] == [item["id"] for item in answer["items"]]
    assert row["shown"]["propensities"] == [item["propensity"] for item in answer["items"]]
    assert len(row["shown"]["pools"]) == 2 and drawn[0]["id"] in row["shown"]["pools"][0]


def test_titles_are_data(client):
    title = "<script>alert(1)</script> {{7*7}} ' OR 1=1 --"
    client.put("/items", json={"items": [{"id": "x", "title": title, "labels": ["<b>"]}]})
    answer = client.post("/recommend", json={"history": [], "label": "<b>"})
    assert answer.json()["items"][0]["title"] == title
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"


# ---------------------------------------------------------------- refusals

JSON = {"content-type": "application/json"}
BAD = [
    ("/recommend", b"", 422, "body"),
    ("/recommend", b"{}", 422, "either user or history"),
    ("/recommend", b'{"user": "u0", "history": []}', 422, "either user or history"),
    ("/recommend", b'{"user": "nobody"}', 404, "'nobody'"),
    ("/recommend", b'{"user": 5}', 422, "user"),
    ("/recommend", b'{"user": "u0", "k": 0}', 422, "k"),
    ("/recommend", b'{"user": "u0", "k": 101}', 422, "k"),
    ("/recommend", b'{"user": "u0", "k": true}', 422, "k"),
    ("/recommend", b'{"user": "u0", "k": "3"}', 422, "k"),
    ("/recommend", b'{"user": "u0", "k": 3.5}', 422, "k"),
    ("/recommend", b'{"user": "u0", "k": NaN}', 422, "k"),
    ("/recommend", b'{"user": "u0", "k": 1e400}', 422, "k"),
    ("/recommend", b'{"user": "u0", "kk": 3}', 422, "kk"),
    ("/recommend", b'{"user": "u0", "language": "fr"}', 422, "language"),
    ("/recommend", b'{"user": "u0", "label": "none"}', 422, "label"),
    ("/recommend", b'{"history": ["i0", "zz"]}', 422, "'zz'"),
    ("/recommend", b'{"history": "i0"}', 422, "history"),
    ("/recommend", b'{"user": "u0"', 422, "JSON"),
    ("/recommend", b"\xff\xfe", 422, "JSON"),
    ("/recommend", b"[" * 50_000, 422, "JSON"),
    ("/events", b"[" * 50_000, 400, "body"),
    ("/recommend", b"[1]", 422, "body"),
    ("/similar", b'{"text": ""}', 422, "text"),
    ("/similar", b'{"item": "zz"}', 422, "'zz'"),
    ("/similar", json.dumps({"text": "x" * 6000}).encode(), 422, "text"),
    ("/similar", b'{"text": "a\\u0000b"}', 422, "control"),
    ("/similar", b'{"text": "\\ud800"}', 422, "text"),
    ("/events", b'{"events": []}', 422, "events"),
    ("/events", b'{"events": [{"key": "k", "user": "u", "item": "zz"}]}', 422, "'zz'"),
    ("/events", b'{"events": [{"key": "", "user": "u", "item": "i0"}]}', 422, "key"),
    ("/events", b'{"events": [{"key": "k", "user": "u", "item": "i0", "time": -1}]}', 422, "time"),
    ("/events", b'{"events": [{"key": "k", "user": "a\\nb", "item": "i0"}]}', 422, "user"),
    ("/events", b"x" * 2**21, 413, "1,048,576"),
    ("/nowhere", b"{}", 404, "Not Found"),
    ("/ready", b"{}", 405, "Method"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "body", "status", "named"), BAD)
def test_a_mistake_gets_one_sentence(client, path, body, status, named):
    answer = client.post(path, content=body, headers=JSON)
    assert answer.status_code == status, answer.text
    assert list(answer.json()) == ["error"] and named in answer.json()["error"]
    assert "\n" not in answer.json()["error"] and len(answer.json()["error"]) < 300


def test_nothing_is_stored_of_a_request_that_is_refused(client, store):
    body = events(["a"])["events"] + events(["b"], item="zz")["events"]
    assert client.post("/events", json={"events": body}).status_code == 422
    assert EventLog(store / "events.sqlite").counts()["events"] == 0


def test_a_body_without_length_is_limited_too(client):
    parts = (b"x" * 65_536 for _ in range(40))
    assert client.post("/events", content=parts, headers=JSON).status_code == 413


def test_a_token_is_asked_for(store):
    with opened(store, TOKEN) as client:
        for header in ({}, {"Authorization": TOKEN}, {"Authorization": f"Bearer {TOKEN}x"},
                       {"Authorization": "Bearer"}):  # fmt: skip
            for method, path in (("POST", "/recommend"), ("GET", "/metrics"), ("GET", "/docs")):
                answer = client.request(method, path, headers=header)
                assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
        right = {"Authorization": f"Bearer {TOKEN}"}
        assert client.post("/recommend", json={"user": "u0"}, headers=right).status_code == 200
        assert client.get("/health").status_code == client.get("/ready").status_code == 200


def test_beyond_its_places_the_server_says_when_to_come_again(store):
    with opened(store, max_in_flight=0) as client:
        answer = client.post("/recommend", json={"user": "u0"})
        assert answer.status_code == 503 and answer.headers["retry-after"] == "1"
        assert "come again" in answer.json()["error"] and client.get("/health").status_code == 200


def test_many_requests_at_once_are_answered_or_told_to_come_again(store):
    async def many():
        app = applications.create(store, store / "events.sqlite", Settings(max_in_flight=40, seed=0))
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            asked = [client.post("/recommend", json={"user": f"u{n % 90}"}) for n in range(200)]
            first = await asyncio.gather(*asked)
            return first, await client.post("/recommend", json={"user": "u0"})

    first, later = asyncio.run(many())
    statuses = [answer.status_code for answer in first]
    assert set(statuses) == {200, 503} and statuses.count(200) >= 40 and later.status_code == 200
    assert all(a.headers["retry-after"] == "1" for a in first if a.status_code == 503)


def test_a_database_that_went_away_is_said(client, monkeypatch):
    from sqlalchemy.exc import OperationalError

    def gone(*_):
        raise OperationalError("x", {}, Exception("gone"))

    log = client.app.service.log
    monkeypatch.setattr(log, "add_events", gone)
    monkeypatch.setattr(log, "counts", gone)
    refused = client.post("/events", json=events(["k"]))
    assert refused.status_code == 503 and refused.headers["retry-after"] == "1"
    assert client.get("/ready").status_code == 503 and client.get("/health").status_code == 200
    assert client.post("/recommend", json={"user": "u0"}).status_code == 200


def test_metrics_count_what_happened(client):
    client.post("/recommend", json={"user": "u0"})
    client.post("/recommend", json={})
    client.post("/events", json=events(["a", "b"]))
    text = client.get("/metrics").text
    for line in (
        'recsys_requests_total{path="/recommend",status="200"} 1.0',
        'recsys_requests_total{path="/recommend",status="422"} 1.0',
        "recsys_events_total 2.0", "recsys_items 60.0",
        'recsys_request_seconds_count{path="/recommend"} 2.0',
    ):  # fmt: skip
        assert line in text


def test_the_schema_names_limits(client):
    schema = client.get("/openapi.json").json()
    assert {"/recommend", "/similar", "/items", "/events", "/health", "/ready", "/metrics"} <= set(
        schema["paths"]
    )
    asked = schema["components"]["schemas"]["RecommendRequest"]["properties"]
    assert asked["k"]["maximum"] == 100


# ---------------------------------------------------------------- swaps


def other_version(store):
    """A model of half the interactions, in place."""
    data = shop()
    rows = np.flatnonzero(data.timestamp < np.median(data.timestamp))
    fitted = fitting.from_dataset(data, "tfidf", rows, ease_regularization=5.0)
    version = artefact.write(fitted, store)
    artefact.put_in_place(store, version)
    return version


def eventually(condition, seconds=30):
    """Whether the condition holds before the seconds are over."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def test_a_swap_under_load_fails_no_request_and_mixes_no_versions(store):
    asked = {"history": ["i1", "i4"], "k": 8, "explore": False}
    answers, stop = [], threading.Event()
    with opened(store, poll_s=0.02) as client:

        def ask():
            while not stop.is_set():
                answer = client.post("/recommend", json=asked)
                answers.append((answer.status_code, answer.json()))

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        old = client.get("/ready").json()["version"]
        new = other_version(store)
        assert eventually(lambda: client.get("/ready").json()["version"] == new)
        time.sleep(0.1)
        stop.set()
        for thread in threads:
            thread.join()
    assert {status for status, _ in answers} == {200}
    lists = {}
    for _, answer in answers:
        scores = tuple((item["id"], item["score"]) for item in answer["items"])
        lists.setdefault(answer["version"], set()).add(scores)
    assert set(lists) == {old, new} and all(len(found) == 1 for found in lists.values())
    assert lists[old] != lists[new]


def test_a_damaged_new_version_leaves_the_old_one(store):
    with opened(store, poll_s=0.02) as client:

        def version():
            return client.get("/ready").json()["version"]

        old, new = version(), other_version(store)
        assert eventually(lambda: version() == new)
        (store / artefact.CURRENT).write_text("20990101-nothing")
        assert eventually(lambda: "recsys_failed_swaps 1.0" in client.get("/metrics").text)
        assert version() == new != old
        assert client.post("/recommend", json={"user": "u0"}).status_code == 200
