"""Events are stored once, in an order that a reader can follow, whatever the database and whoever writes."""

import sqlite3
import subprocess
import sys
import threading

import numpy as np
import pytest

from recsys_lib.core.errors import InputError
from recsys_lib.serving.events import Event, EventLog, NewItem
from recsys_lib.serving.writer import Full, Writer


@pytest.fixture
def log(tmp_path):
    opened = EventLog(tmp_path / "events.sqlite")
    yield opened
    opened.close()


def event(key, user="u", item="i", time=5, list_id=""):
    return Event(key, user, item, time, list_id)


def test_an_event_is_stored_once(log):
    first = log.add_events([event("a"), event("b")])
    again = log.add_events([event("b", time=9), event("c")])
    assert first.new == {"a", "b"} and again.new == {"c"} and again.known == {"b"}
    kept = log.events_after()
    assert [(e.key, e.time) for _, e in kept] == [("a", 5), ("b", 5), ("c", 5)]
    assert kept == sorted(kept, key=lambda row: row[0])


def test_a_key_says_one_thing(log):
    log.add_events([event("a")])
    for other in (event("a", user="v"), event("a", item="j"), event("a", list_id="l")):
        found = log.add_events([other, event("new")])
        assert found.conflicts == {"a"}
    assert log.add_events([event("x"), event("x", item="j")]).conflicts == {"x"}
    assert [e.item for _, e in log.events_after()] == ["i", "i", "i"]


def test_reading_goes_on_where_it_ended(log):
    log.add_events([event(f"k{n}") for n in range(900)])
    assert [e.key for _, e in log.events_after(897)] == ["k897", "k898", "k899"]
    assert len(log.events_after(0, limit=10)) == 10
    assert log.add_events([]).new == frozenset()
    assert len(log.add_events([event(f"k{n}") for n in range(1800)]).known) == 900


def test_items_and_lists_come_back(log):
    item = NewItem("n", "Título \u2013 </script>", ("a", "b"), "text", np.array([1, 2.5], np.float32))
    assert log.add_items([item]).new == {"n"}
    assert log.add_items([item]).known == {"n"} and log.add_items([]).new == frozenset()
    other = NewItem("n", "another", (), "text", item.vector)
    assert log.add_items([other]).conflicts == {"n"}
    (found,) = log.items_after()
    assert (found.title, found.labels, found.text) == (item.title, item.labels, item.text)
    np.testing.assert_array_equal(found.vector, item.vector)
    shown = {"id": "l", "user_id": "u", "version": "v", "time": 3, "shown": '{"ids": ["n"]}'}
    log.add_lists([shown, shown])
    log.add_events([event("e", item="n", list_id="l")])
    assert log.lists() == [shown | {"shown": {"ids": ["n"]}, "chosen": ["n"]}]
    assert log.counts() == {"events": 1, "items": 1, "lists": 1}


def test_the_file_is_flushed_at_every_commit(tmp_path):
    """WAL and synchronous=FULL (2), on every connection: a power cut loses nothing acknowledged."""
    log = EventLog(tmp_path / "e.sqlite")
    with log._reading() as first, log._reading() as second:
        for connection in (first, second):
            assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
    log.close()


WRITE = """
import sys
from recsys_lib.serving.events import Event, EventLog
log = EventLog(sys.argv[1])
for n in range(20):
    log.add_events([Event(f"{sys.argv[2]}-{n}", "u", "i", n), Event(f"both-{n}", "u", "i", n)])
"""


def test_two_processes_write_to_one_database_and_a_reader_misses_nothing(tmp_path, log):
    path = str(tmp_path / "events.sqlite")
    writers = [subprocess.Popen([sys.executable, "-c", WRITE, path, name]) for name in "ab"]
    seen, last = [], 0
    while any(writer.poll() is None for writer in writers):
        for seq, found in log.events_after(last):
            seen.append(found.key)
            last = seq
    seen += [found.key for _, found in log.events_after(last)]
    assert [writer.returncode for writer in writers] == [0, 0]
    assert len(seen) == len(set(seen)) == 60


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("{folder}", "expected a file"),
        ("{folder}/nowhere/e.sqlite", "expected a file"),
        ("mysql://u:secret@h/d", "mysql"),
        ("what://", "what"),
        ("postgresql://u:secret@127.0.0.1:1/d", "cannot be opened"),
        ("{folder}/text", "not a database"),
        ("{folder}/later.sqlite", "events of format 99, expected 1"),
    ],
)
def test_a_database_that_is_none_is_refused_in_one_line(tmp_path, url, named):
    (tmp_path / "text").write_text("no database " * 500)
    EventLog(tmp_path / "later.sqlite").close()
    with sqlite3.connect(tmp_path / "later.sqlite") as later:
        later.execute("UPDATE format SET format = 99")
    with pytest.raises(InputError) as caught:
        EventLog(url.format(folder=tmp_path))
    assert named in str(caught.value) and "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


# ---------------------------------------------------------------- group commit


def test_requests_of_a_moment_are_answered_each_with_its_own(log):
    writer = Writer(log)
    futures = [writer.add([event(f"k{n % 30}", item=f"i{n % 30}")]) for n in range(60)]
    answers = [future.result(10) for future in futures]
    writer.close()
    # A key that comes twice in one group counts as new for both requests: it is stored, once.
    assert all(a.new | a.known == {f"k{n % 30}"} and not a.conflicts for n, a in enumerate(answers))
    assert log.counts()["events"] == 30


def test_a_full_queue_refuses_and_keeps_what_it_took(log):
    gate, first = threading.Event(), threading.Event()

    def wait():
        first.set()
        gate.wait(10)

    writer = Writer(log, wait, max_waiting=2)
    futures = [writer.add([event("a")])]
    assert first.wait(10)
    futures += [writer.add([event(key)]) for key in "bc"]
    with pytest.raises(Full):
        writer.add([event("d")])
    gate.set()
    assert [next(iter(f.result(10).new)) for f in futures] == ["a", "b", "c"]
    writer.close()


def test_what_the_database_refuses_reaches_the_caller_and_the_writer_goes_on(log, monkeypatch):
    writer = Writer(log)
    add = log.add_events

    def refuse(events):
        monkeypatch.setattr(log, "add_events", add)
        raise OSError("disk is full")

    monkeypatch.setattr(log, "add_events", refuse)
    with pytest.raises(OSError, match="disk is full"):
        writer.add([event("a")]).result(10)
    assert writer.add([event("a")]).result(10).new == {"a"}
    writer.close()


def test_closing_writes_what_waits(log):
    writer = Writer(log)
    writer.show({"id": "l", "user_id": "u", "version": "v", "time": 1, "shown": "{}"})
    futures = [writer.add([event(f"k{n}")]) for n in range(5)]
    writer.close()
    assert all(future.done() for future in futures)
    assert log.counts() == {"events": 5, "items": 0, "lists": 1}


def test_who_gives_up_waiting_stops_nobody_else_and_its_events_are_kept(log):
    """A server that ends cancels what waits; the writer answers the others and goes on."""
    gate, first = threading.Event(), threading.Event()

    def wait():
        first.set()
        gate.wait(10)

    writer = Writer(log, wait)
    begun = writer.add([event("a")])
    assert first.wait(10) and not begun.cancel()
    given_up, other = (writer.add([event(key)]) for key in "bc")
    assert given_up.cancel()
    gate.set()
    assert begun.result(10).new == {"a"} and other.result(10).new == {"c"}
    assert writer.add([event("b")]).result(10).known == {"b"}
    writer.close()


def test_a_closed_writer_takes_nothing_that_nobody_would_answer(log):
    writer = Writer(log, max_waiting=1)
    writer.add([event("a")]).result(10)
    writer.close()
    with pytest.raises(Full):
        writer.add([event("b")])
    writer.close()
    assert log.counts()["events"] == 1


def test_deletions_are_kept_once_in_order(tmp_path):
    log = EventLog(tmp_path / "e.sqlite")
    assert log.delete_items([]).new == set()
    found = log.delete_items(["b", "a", "b"])
    assert (found.new, found.known) == ({"a", "b"}, set())
    again = log.delete_items(["a", "c"])
    assert (again.new, again.known) == ({"c"}, {"a"})
    assert [item for _, item in log.deletions_after()] == ["b", "a", "c"]
    last = log.deletions_after()[1][0]
    assert [item for _, item in EventLog(tmp_path / "e.sqlite").deletions_after(last)] == ["c"]
