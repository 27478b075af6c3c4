"""Two versions answer in one list: who picked what, what people choose, and how a trial ends."""

import time

import numpy as np
import pytest
from shop_server import opened, shop, store_in

from recsys_lib.cli.app import main
from recsys_lib.core.errors import InputError
from recsys_lib.serving import artefact, fitting
from recsys_lib.serving.events import Event, EventLog, NewItem
from recsys_lib.serving.refit import refit
from recsys_lib.serving.served import Query, Served
from recsys_lib.serving.service import Service
from recsys_lib.serving.slate import Rule, interleaved
from recsys_lib.serving.trial import Trial, outcome

DATA = shop()
OLDER = np.argsort(DATA.timestamp, kind="stable")[: len(DATA.user) // 2]


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A store whose running version knows half of the interactions; a version of all of them is written."""
    store = store_in(tmp_path_factory.mktemp("trial"), OLDER)
    artefact.write(fitting.from_dataset(DATA, "tfidf", ease_regularization=20.0), store)
    return store


def candidate_of(store):
    running = artefact.current(store)
    return next(p.name for p in (store / artefact.VERSIONS).iterdir() if p.name not in (running, ".lock"))


def command(*arguments, capsys):
    status = main([str(a) for a in arguments])
    return status, capsys.readouterr()


# ---------------------------------------------------------------- the list


def test_a_list_is_drafted_before_the_quota_and_drawn_in_it():
    rng = np.random.default_rng(0)
    running = np.arange(20, 0, -1).astype(np.float32)
    candidate = running[::-1].copy()
    cold = np.arange(20) >= 12
    for _ in range(100):
        found = interleaved(running, candidate, cold, 6, Rule(quota=2), rng)
        assert len(set(found.ids.tolist())) == 6 and found.explored.tolist() == [False] * 4 + [True] * 2
        assert sorted(found.teams[:4].tolist()) == [0, 0, 1, 1] and found.teams[4:].tolist() == [-1, -1]
        assert set(found.ids[:4][found.teams[:4] == 0].tolist()) == {0, 1}
        assert set(found.ids[:4][found.teams[:4] == 1].tolist()) == {19, 18}
        assert cold[found.ids[4:]].all() and (found.propensities[4:] < 1).all()
    without = interleaved(running, candidate, cold, 6, Rule(quota=0), rng)
    assert (without.teams >= 0).all() and (without.propensities == 1).all() and without.pools == ()
    with pytest.raises(InputError, match="k=0"):
        interleaved(running, candidate, cold, 0, Rule(), rng)


def test_a_version_interleaved_with_itself_gives_its_own_list(store):
    own = Served(artefact.load(store))
    query = Query(np.array([0, 3]), np.array([6]), 8, None, explore=False)
    both, _ = Trial(own, own).recommend([query], Rule(), np.random.default_rng(0))[0]
    alone, _ = own.recommend([query], Rule(), np.random.default_rng(0))[0]
    assert both.ids.tolist() == alone.ids.tolist() and set(both.teams.tolist()) == {0, 1}


def test_catalogues_of_another_order_are_matched_by_id(store):
    """The candidate knows the same items, the last two in the other order, and one more."""
    running = Served(artefact.load(store), [new_item("a", 1), new_item("b", 2)])
    candidate = Served(artefact.load(store), [new_item("b", 2), new_item("a", 1), new_item("c", 3)])
    query = Query(np.array([0, 3, 61]), np.empty(0, dtype=np.int64), 20, None, explore=False)
    found, _ = Trial(running, candidate).recommend([query], Rule(), np.random.default_rng(0))[0]
    alone, _ = running.recommend([query], Rule(), np.random.default_rng(0))[0]
    assert found.ids.tolist() == alone.ids.tolist() and 61 not in found.ids
    reasons = Trial(running, candidate).reasons(query.history, found)
    assert reasons == running.reasons(query.history, found)


def new_item(name, seq):
    vector = np.random.default_rng(seq).standard_normal(artefact_width()).astype(np.float32)
    return NewItem(name, f"red wool scarf {name}", ("clothes",), f"red wool scarf {name}", vector, seq)


def artefact_width():
    return fitting.from_dataset(DATA, "tfidf", OLDER, ease_regularization=20.0).raw.shape[1]


# ---------------------------------------------------------------- over HTTP


def test_lists_are_interleaved_while_a_trial_runs_and_choices_are_counted(store):
    running, candidate = artefact.current(store), candidate_of(store)
    with opened(store, poll_s=0.05) as client:
        assert client.get("/ready").json()["trial"] is None
        artefact.begin_trial(store, candidate)
        service = client.app.service
        assert service.follow() is False and client.get("/ready").json()["trial"] == candidate
        users = [f"u{number}" for number in range(40)]
        answers = [client.post("/recommend", json={"user": user, "k": 6}).json() for user in users]
        teams = _teams(service, [answer["list_id"] for answer in answers])
        for user, answer in zip(users, answers, strict=True):
            ids, list_id = [item["id"] for item in answer["items"]], answer["list_id"]
            assert answer["version"] == running and len(set(ids)) == 6
            chosen = [name for name, team in zip(ids, teams[list_id], strict=True) if team == 1][:1]
            events = [{"key": f"{user} {i}", "user": user, "item": i, "list_id": list_id} for i in chosen]
            assert client.post("/events", json={"events": events}).status_code == 202
    log = EventLog(store / "events.sqlite")
    found = outcome(log, running, candidate)
    assert (found.first, found.second, found.ties) == (0, 40, 0) and found.p_value < 1e-6
    assert outcome(log, candidate, running).second == 0
    log.close()


def _teams(service, list_ids):
    """Teams of lists, as they are kept; lists are written within half a second."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        kept = {row["id"]: row["shown"]["teams"] for row in service.log.lists()}
        if kept.keys() >= set(list_ids):
            return kept
        time.sleep(0.05)
    raise AssertionError("a list was not kept")


def test_one_user_is_one_observation(tmp_path):
    log = EventLog(tmp_path / "events.sqlite")
    shown = '{"ids": ["i0", "i1", "i2"], "teams": [0, 1, -1], "candidate": "new"}'
    rows = [
        {"id": f"l{n}", "user_id": user, "version": "old", "time": n, "shown": shown}
        for n, user in enumerate(["u1"] * 9 + ["u2", "", ""])
    ]
    log.add_lists(rows)
    chosen = [(f"l{n}", "u1", "i1") for n in range(9)] + [("l9", "u2", "i0"), ("l10", "", "i2")]
    log.add_events([Event(f"k{shown_in}", user or "x", item, 1, shown_in) for shown_in, user, item in chosen])
    found = outcome(log, "old", "new")
    assert (found.second, found.first, found.ties) == (1, 1, 2) and found.p_value == 1.0
    log.close()


# ---------------------------------------------------------------- how it begins and ends


def test_a_refit_puts_its_version_on_trial_and_the_command_ends_it(store, capsys):
    log = EventLog(store / "events.sqlite")
    rows = np.setdiff1d(np.arange(len(DATA.user)), OLDER)
    log.add_events(
        [Event(f"k{r}", f"u{DATA.user[r]}", f"i{DATA.item[r]}", int(DATA.timestamp[r])) for r in rows]
    )
    running = artefact.current(store)
    found = refit(store, log, trial=True)
    assert found.decision == "on trial" and "on trial: " + found.version in found.sentence()
    assert artefact.current(store) == running and artefact.on_trial(store) == found.version
    status, said = command("trial", store, capsys=capsys)
    assert status == 0 and "0 users chose more" in said.out and "p = 1" in said.out
    assert artefact.on_trial(store) == found.version
    status, said = command("trial", store, "--accept", capsys=capsys)
    assert status == 0 and "is in place" in said.out
    assert artefact.current(store) == found.version and artefact.on_trial(store) is None
    log.close()


def test_a_stopped_trial_leaves_the_running_version(store, capsys):
    running = artefact.current(store)
    artefact.begin_trial(store, candidate_of(store))
    status, said = command("trial", store, "--stop", capsys=capsys)
    assert status == 0 and f"{running} stays" in said.out
    assert artefact.current(store) == running and artefact.on_trial(store) is None


@pytest.mark.parametrize(
    ("arguments", "says"),
    [((), "no version is on trial"), (("--accept", "--stop"), "expected one of them")],
)
def test_mistakes_are_one_line(store, capsys, arguments, says):
    status, said = command("trial", store, *arguments, capsys=capsys)
    assert status == 2 and says in said.err and len(said.err.strip().splitlines()) == 1


def test_a_damaged_candidate_leaves_the_service_as_it_is(store, tmp_path):
    candidate = candidate_of(store)
    service = Service(store, EventLog(tmp_path / "events.sqlite"))
    artefact.begin_trial(store, candidate)
    manifest = store / artefact.VERSIONS / candidate / artefact.MANIFEST
    manifest.write_text("{", encoding="utf-8")
    assert service.follow() is False and service.state.trial is None and service.failed_swaps == 1
    with pytest.raises(InputError):
        artefact.begin_trial(store, "20200101T000000-nothing")
    service.log.close()


def test_a_swap_ends_the_trial(store):
    artefact.begin_trial(store, candidate_of(store))
    artefact.put_in_place(store, artefact.current(store))
    assert artefact.on_trial(store) is None
