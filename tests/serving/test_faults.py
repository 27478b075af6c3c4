"""kill -9 of server, refit and client of the database at random moments: nothing acknowledged is lost, and
nothing is stored twice.
"""

import contextlib
import os
import signal
import threading
import time

import numpy as np
import psutil
import pytest
from shop_server import Server, events, shop, store_in

from recsys_lib.benchmarks.serve import faults
from recsys_lib.core.errors import InputError
from recsys_lib.serving import artefact
from recsys_lib.serving.events import Event, EventLog

pytestmark = pytest.mark.slow
# RECSYS_KILLS=50 kills each as often as the recorded run does; so many take minutes.
KILLS = int(os.environ.get("RECSYS_KILLS", "0"))
SERVER_KILLS, REFIT_KILLS, WRITER_KILLS = KILLS or 4, KILLS or 8, KILLS or 8
# What a child of a process that forks does for ever.
WRITING = "    while True:\n        os.write(1, b'more\\n')\n"


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    return store_in(tmp_path_factory.mktemp("faults"), np.arange(shop().n_interactions) % 3 > 0)


def send(server, name, acknowledged, pending, stop):
    """Send events until the server is gone; ``pending``: sent without an answer."""
    number = len(acknowledged) + len(pending)
    while not stop.is_set():
        number += 1
        keys = [f"{name}-{number}-{part}" for part in range(3)]
        pending.append(keys)
        try:
            status, _ = server.ask("POST", "/events", events(keys))
        except OSError:
            return
        except ValueError:  # half an answer
            return
        if status == 202:
            acknowledged.extend(pending.pop())


def test_no_acknowledged_event_is_lost_and_none_is_stored_twice(store):
    rng, log = np.random.default_rng(0), EventLog(store / "events.sqlite")
    acknowledged, pending = [[], []], [[], []]
    for _ in range(SERVER_KILLS):
        server, stop = Server(store).wait(), threading.Event()
        for own in pending:  # a client that got no answer sends the same again
            while own:
                assert server.ask("POST", "/events", events(own[-1]))[0] == 202
                acknowledged[pending.index(own)].extend(own.pop())
        clients = [
            threading.Thread(target=send, args=(server, f"c{n}", acknowledged[n], pending[n], stop))
            for n in range(2)
        ]
        for client in clients:
            client.start()
        time.sleep(rng.uniform(0.01, 0.4))
        server.kill()
        stop.set()
        for client in clients:
            client.join()
        stored = [event.key for _, event in log.events_after()]
        sent = {key for own in acknowledged for key in own}
        assert len(stored) == len(set(stored)) and sent <= set(stored)
    assert len(sent) > 20 * SERVER_KILLS
    last = Server(store).wait()
    status, answer = last.ask("POST", "/recommend", {"user": "u1"})
    assert status == 200 and len(answer["items"]) == 10
    assert last.stop() == (-signal.SIGTERM, "")


def running(processes):
    """Those that still run; whoever inherits an ended one may not have collected it."""
    found = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def left_after(seconds, processes):
    """Those that have not ended by themselves by then; they are killed."""
    end = time.monotonic() + seconds
    while running(processes) and time.monotonic() < end:
        time.sleep(0.02)
    left = running(processes)
    for process in left:
        process.kill()
    return left


def test_workers_end_with_a_killed_parent(store):
    server = Server(store, "--workers", "2").wait()
    started = psutil.Process(server.process.pid).children(recursive=True)
    assert len(running(started)) >= 2
    os.kill(server.process.pid, signal.SIGKILL)
    left = left_after(2.0, started)
    server.process.communicate()
    assert left == []


def new_events():
    """The part of the shop's interactions on which the template was not fitted."""
    data = shop()
    rows = np.flatnonzero(np.arange(data.n_interactions) % 3 == 0)
    return [Event(f"k{r}", f"u{data.user[r]}", f"i{data.item[r]}", int(data.timestamp[r])) for r in rows]


def test_a_killed_refit_leaves_the_old_version_or_the_whole_new_one(store, tmp_path):
    old, events_of_users = artefact.current(store), new_events()
    database = str(tmp_path / "e.sqlite")
    (row,) = faults.refit_kills(store, database, events_of_users, REFIT_KILLS, seed=1)
    assert (row["kills"], row["damaged"], row["lost"], row["twice"]) == (REFIT_KILLS, 0, 0, 0)
    assert row["decision"] == "swapped" and row["left"] == 0 and row["new"] <= REFIT_KILLS
    assert row["acknowledged"] == len(events_of_users) > 300
    assert artefact.current(store) == old and artefact.load(store).n_items == 60


def test_a_version_that_is_not_whole_is_counted_as_damaged(store, tmp_path, monkeypatch):
    """The check itself can fail: here whatever is in place after a kill does not load."""
    load, calls = artefact.load, []

    def broken(*arguments, **options):
        calls.append(arguments)
        if len(calls) == 2:
            raise InputError("damaged")
        return load(*arguments, **options)

    monkeypatch.setattr(artefact, "load", broken)
    (row,) = faults.refit_kills(store, str(tmp_path / "e.sqlite"), new_events(), 2)
    assert row["damaged"] == 1


def test_a_killed_client_of_the_database_loses_nothing_that_was_acknowledged(tmp_path):
    (row,) = faults.writer_kills(str(tmp_path / "e.sqlite"), WRITER_KILLS)
    assert (row["kills"], row["lost"], row["twice"]) == (WRITER_KILLS, 0, 0)
    assert row["acknowledged"] > 10 * WRITER_KILLS
    assert EventLog(tmp_path / "e.sqlite").counts()["events"] >= row["acknowledged"]


def test_a_child_faster_than_its_parent_is_told_by_its_number_first():
    with faults._forks("    os.write(1, b'a\\nb\\n')\n") as forks:
        assert [forks.killed("go", None) for _ in range(100)] == [["a", "b"]] * 100


def test_an_error_meanwhile_ends_a_child_that_would_write_for_ever():
    with contextlib.suppress(ZeroDivisionError), faults._forks(WRITING) as forks:
        forks.process.stdin.write("go\n")
        forks.process.stdin.flush()
        child = psutil.Process(int(forks._line()))
        assert forks._line() == "more"
        raise ZeroDivisionError
    assert left_after(20.0, [child]) == []


def test_a_process_that_forks_no_more_is_an_error_at_once():
    with faults._forks("    os.kill(os.getppid(), 9)\n") as forks, pytest.raises(RuntimeError, match="ended"):
        forks.killed("go", None)


def test_keys_that_the_log_lacks_or_has_twice_are_counted(tmp_path):
    log = EventLog(tmp_path / "e.sqlite")
    log.add_events([Event(f"a-{n}", "u", "i", 1) for n in range(3)])
    assert faults._lost(log, "a-", ["a-0", "a-7"]) == {"acknowledged": 2, "lost": 1, "twice": 0}

    class Doubled:
        def events_after(self):
            return log.events_after() * 2

    assert faults._lost(Doubled(), "a-", ["a-0"])["twice"] == 3
