"""A refit reads what came since, decides by the newest slice, and swaps or leaves everything as it was."""

from dataclasses import replace

import numpy as np
import pytest
from shop_server import shop, store_in

from recsys_lib import evaluation
from recsys_lib.core.errors import InputError
from recsys_lib.serving import artefact
from recsys_lib.serving.events import Event, EventLog, NewItem
from recsys_lib.serving.refit import Policy, joined, ranked, refit
from recsys_lib.serving.served import Served
from recsys_lib.serving.service import Service


@pytest.fixture(scope="module")
def parts():
    """Rows of the shop's interactions: the older two thirds, and the newer third by time."""
    order = np.argsort(shop().timestamp, kind="stable")
    cut = 2 * len(order) // 3
    return order[:cut], order[cut:]


@pytest.fixture(scope="module")
def template(tmp_path_factory, parts):
    return store_in(tmp_path_factory.mktemp("refit"), parts[0])


@pytest.fixture
def log(tmp_path):
    return EventLog(tmp_path / "events.sqlite")


def as_events(rows, start=0):
    data = shop()
    return [
        Event(f"k{start + n}", f"u{data.user[row]}", f"i{data.item[row]}", int(data.timestamp[row]))
        for n, row in enumerate(rows)
    ]


def test_a_refit_is_a_fit_on_everything(store, log, parts):
    log.add_events(as_events(parts[1]))
    found = refit(store, log)
    assert found.decision == "swapped" and found.events == len(parts[1]) and found.users > 10
    again, data = artefact.load(store), shop()
    assert again.version == found.version == artefact.current(store) and again.watermark == found.events
    whole = data.matrix()
    places = [int(name[1:]) for name in again.interactions.user_ids]
    assert (again.histories != whole[places]).nnz == 0
    assert again.evaluation["ndcg_candidate"] == found.ndcg_candidate


def test_a_second_refit_reads_only_what_is_new(store, log, parts):
    half = len(parts[1]) // 2
    log.add_events(as_events(parts[1][:half]))
    first = refit(store, log)
    log.add_events(as_events(parts[1][half:], half))
    second = refit(store, log)
    assert (first.events, second.events) == (half, len(parts[1]) - half)
    assert len(artefact.load(store).interactions.user) == shop().n_interactions
    assert refit(store, log).decision == "waiting"


def test_a_refit_that_would_be_worse_keeps_the_running_version(store, log, parts):
    """Before the slice everybody chooses at random; the slice is true to the tastes."""
    rng, data = np.random.default_rng(0), shop()
    noise = [Event(f"n{n}", f"u{rng.integers(90)}", f"i{rng.integers(54)}", 10 + n) for n in range(4000)]
    log.add_events(noise)
    log.add_events(as_events(parts[1]))
    before = artefact.current(store)
    held_out = len(parts[1]) / (len(noise) + len(parts[1]))
    found = refit(store, log, Policy(margin=0.02, holdout=held_out))
    assert found.decision == "kept" and found.ndcg_candidate < 0.98 * found.ndcg_running
    assert artefact.current(store) == before and f"{before} stays" in found.sentence()
    assert refit(store, log, Policy(margin=0.9, holdout=held_out)).decision == "swapped"
    assert data.n_items == artefact.load(store).n_items


def test_both_versions_are_evaluated_as_the_service_ranks(store, log, parts):
    events = as_events(parts[1])
    log.add_events(events)
    cut = len(events) - round(0.2 * len(events))
    running = artefact.load(store)
    known = joined(running.interactions, events[:cut], running.catalogue)
    every = joined(known, events[cut:], running.catalogue)
    new = np.arange(len(every.user)) >= len(known.user)
    histories, test = every.matrix(60, ~new), every.matrix(60, new)
    direct = running.recommender.score(histories)
    lists = ranked(Served(running), histories, test)
    scores = np.where(histories.toarray() > 0, -np.inf, direct)[lists.users]
    first = scores.argmax(axis=1)
    warm = np.diff(histories.indptr)[lists.users] > 0
    assert (lists.ids[warm, 0] == first[warm]).all()
    assert refit(store, log).ndcg_running == pytest.approx(lists.mean()["ndcg"])


def test_new_items_join_the_catalogue(store, log, parts):
    running = artefact.load(store)
    vector = running.encoder.encode(["green oak table, new"])[0]
    text = "green oak table, new"
    log.add_items([NewItem("n", text, ("furniture",), text, vector, encoder=running.encoder_id)])
    log.add_events(
        as_events(parts[1]) + [Event(f"x{u}", f"u{u}", "n", 3_000_000 + u) for u in range(2, 60, 3)]
    )
    found = refit(store, log)
    again = artefact.load(store)
    assert found.new_items == 1 and again.n_items == 61 and again.catalogue.labels[60] == ("furniture",)
    assert again.counts[60] == 20 and again.item_watermark == 1
    np.testing.assert_array_equal(again.raw[60], vector)
    other = [again.interactions.users["u89"]]
    best = evaluation.evaluate(again.recommender.fit(again.histories), again.histories, again.histories)
    assert again.recommender.score(again.histories[other])[0, 60] > 0 and best.k == 10
    assert not Served(again, log.items_after()).extra, "what is in the catalogue is no extra item"


def test_vectors_of_another_encoder_are_made_anew(store, log, parts):
    text = "green oak table, new"
    log.add_items([NewItem("n", text, (), text, np.ones(3, np.float32), encoder="another")])
    running = artefact.load(store)
    service = Service(store, log)
    np.testing.assert_array_equal(service.state.items[0].vector, running.encoder.encode([text])[0])
    log.add_events(as_events(parts[1]))
    assert refit(store, log).new_items == 1
    np.testing.assert_array_equal(artefact.load(store).raw[60], running.encoder.encode([text])[0])


def test_events_of_items_that_nobody_knows_are_passed_over(store, log, parts):
    log.add_events([*as_events(parts[1]), Event("odd", "u0", "gone", 5)])
    found = refit(store, log)
    assert found.events == len(parts[1]) and artefact.load(store).watermark == found.events + 1


def test_too_few_events_wait(store, log):
    log.add_events([Event("a", "u0", "i1", 5)])
    before = artefact.current(store)
    found = refit(store, log)
    assert found.decision == "waiting" and artefact.current(store) == before and "too few" in found.sentence()


def test_a_slice_without_anything_new_is_refused(store, log, parts):
    log.add_events(as_events(parts[0][:200]))
    with pytest.raises(InputError, match="wait for more events"):
        refit(store, log)


def test_pairs_that_occur_twice_count_once(store):
    running = artefact.load(store)
    twice = [Event("a", "new", "i5", 9), Event("b", "new", "i5", 10), Event("c", "u0", "i1", 11)]
    found = joined(running.interactions, twice, running.catalogue)
    place = found.users["new"]
    assert found.item[found.user == place].tolist() == [5] and found.time[found.user == place].tolist() == [9]
    assert found.matrix(60).max() == 1


@pytest.mark.parametrize(
    "wrong",
    [{"margin": -0.1}, {"margin": 1.0}, {"holdout": 0.0}, {"holdout": 1.0}, {"min_events": 0}, {"k": 0}],
)
def test_policies_that_say_nothing_are_refused(wrong):
    with pytest.raises(InputError, match="expected fractions"):
        replace(Policy(), **wrong)
