"""Lists and probes, which FastAPI does not see: answers by the schema, refusals in one sentence, counted."""

import asyncio
import logging

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient
from shop_server import opened, store_in

from recsys_lib.serving import schemas
from recsys_lib.serving.served import Query, Served
from recsys_lib.serving.slate import ranked


@pytest.fixture
def client(store):
    with opened(store) as opened_client:
        yield opened_client


def test_an_answer_has_the_schema(client):
    answer = client.post("/recommend", json={"user": "u0", "k": 7})
    found = schemas.Recommendations.model_validate_json(answer.content, strict=True)
    assert len(found.items) == 7 and found.model_dump() == answer.json()
    assert len(found.list_id) == 32 and answer.headers["content-type"] == "application/json"
    assert int(answer.headers["content-length"]) == len(answer.content)


def test_titles_of_any_script_come_back_as_they_are(client):
    titles = ["红色的围巾", 'a "quote" \\ and a line\'s end', "emoji 🧣 and é"]
    items = [{"id": f"n{n}", "title": title} for n, title in enumerate(titles)]
    assert client.put("/items", json={"items": items}).status_code == 200
    shown = client.post("/recommend", json={"history": [], "k": 63}).json()["items"]
    assert {item["id"]: item["title"] for item in shown if item["id"].startswith("n")} == {
        f"n{n}": title for n, title in enumerate(titles)
    }


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-json", "json"])
def test_another_content_type_is_refused(client, kind):
    headers = {} if kind is None else {"content-type": kind}
    answer = client.post("/recommend", content=b'{"user": "u0"}', headers=headers)
    assert answer.status_code == 422
    assert answer.json() == {"error": "body: expected the content type application/json"}


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "Application/JSON"])
def test_parameters_and_case_of_the_content_type_are_left_out(client, kind):
    answer = client.post("/recommend", content=b'{"user": "u0"}', headers={"content-type": kind})
    assert answer.status_code == 200


@pytest.mark.parametrize("path", ["/similar", "/events"])
@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("text/plain", b"{}"), ("application/json", b"{"), ("application/json", b"[1]"),
        ("application/json", b""),
        ("application/json", b'{"text": "\\ud800"}'), ("application/vnd.x+json", b'{"k": 0}'), (None, b"{}"),
        ("application/json", b'{"events": [{"key": "k", "user": 3, "item": "i0"}]}'),
    ],
)  # fmt: skip
def test_what_a_plain_route_leaves_unread_is_refused_as_fastapi_does(client, path, kind, body):
    headers = {} if kind is None else {"content-type": kind}
    answer = client.post(path, content=body, headers=headers)
    directly = TestClient(client.app._routed(), raise_server_exceptions=False)
    expected = directly.post(path, content=body, headers=headers)
    assert answer.status_code == expected.status_code == 422 and answer.json() == expected.json()


def test_json_of_another_encoding_is_read_by_fastapi(client):
    body = '{"item": "i2", "k": 5}'.encode("utf-16")
    answer = client.post("/similar", content=body, headers={"content-type": "application/json"})
    assert answer.json() == client.post("/similar", json={"item": "i2", "k": 5}).json()


def test_other_methods_and_paths_are_fastapis(client):
    assert client.get("/recommend").status_code == 405
    assert client.post("/recommend/more", json={}).status_code == 404


def test_what_is_not_known_fails_in_one_sentence_and_is_counted(client, monkeypatch, caplog):
    def broken(*_):
        raise RuntimeError("a secret of the server")

    monkeypatch.setattr(Served, "recommend", broken)
    with caplog.at_level(logging.ERROR):
        answer = client.post("/recommend", json={"user": "u0"})
    assert answer.status_code == 500
    assert answer.json() == {"error": "the server failed; its log says why"}
    assert 'recsys_requests_total{path="/recommend",status="500"} 1.0' in client.get("/metrics").text
    assert "recsys_requests_in_flight 1.0" in client.get("/metrics").text  # the request for metrics itself


def test_lists_at_once_are_each_their_users(store):
    from recsys_lib.serving import http_app

    app = http_app.create(store, store / "events.sqlite", http_app.Settings(seed=0, max_wait_s=600.0))

    async def many():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
            asked = [{"user": f"u{n}", "k": 5, "explore": False} for n in range(90)]
            together = await asyncio.gather(*(client.post("/recommend", json=one) for one in asked))
            alone = [await client.post("/recommend", json=one) for one in asked]
            return [[answer.json()["items"] for answer in answers] for answers in (together, alone)]

    together, alone = asyncio.run(many())
    assert together == alone and len({str(items) for items in together}) > 45


# ---------------------------------------------------------------- what makes a list


@pytest.mark.parametrize("k", [1, 3, 10, 40, 100])
def test_ranked_is_a_stable_sort(k):
    rng = np.random.default_rng(k)
    for _ in range(50):
        scores = rng.integers(0, 6, 40).astype(np.float32)  # many equal ones
        scores[rng.random(40) < rng.choice([0.0, 0.3, 0.9, 1.0])] = -np.inf
        expected = [i for i in np.lexsort((np.arange(40), -scores)) if scores[i] > -np.inf][:k]
        assert ranked(scores, k).tolist() == expected
    assert ranked(np.empty(0, np.float32), k).tolist() == []


def test_kept_scores_are_not_those_that_are_given(store):
    from recsys_lib.serving import artefact

    served, history = Served(artefact.load(store)), np.array([0, 3])
    before = served.scores([history])
    served.scores([history])[:] = 7
    np.testing.assert_array_equal(served.scores([history]), before)
    assert served.scores([]).shape == (0, 60)


def _rule():
    from recsys_lib.serving.slate import Rule

    return Rule()


def test_reasons_are_the_largest_positive_contributions(tmp_path):
    from recsys_lib.serving import artefact

    served = Served(artefact.load(store_in(tmp_path)))
    history = np.array([0, 3, 4, 9])
    (answer,) = served.recommend([Query(history, history[:0], 8)], _rule(), np.random.default_rng(0))
    weights = np.asarray(served.model.weights)
    for item, said in zip(answer[0].ids.tolist(), served.reasons(history, answer[0]), strict=True):
        own = sorted((i for i in history.tolist() if weights[i, item] > 0), key=lambda i: -weights[i, item])
        named = [served.catalogue.titles[i] for i in own[:2]]
        listed = " and ".join(named)
        assert said == (f"Because you chose {listed}." if named else "Nothing in your history speaks for it.")
