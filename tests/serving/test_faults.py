"""kill -9 of server and refit at random moments: nothing acknowledged is lost, nothing is stored twice."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import psutil
import pytest
from shop_server import ROOT, Server, events, shop, store_in

from recsys_lib.serving import artefact
from recsys_lib.serving.events import Event, EventLog

pytestmark = pytest.mark.slow
SERVER_KILLS, REFIT_KILLS = 4, 8


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    return store_in(tmp_path_factory.mktemp("faults"), np.arange(shop().n_interactions) % 3 > 0)


@pytest.fixture
def store(template, tmp_path):
    return shutil.copytree(template, tmp_path / "store")


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


def test_workers_end_with_a_killed_parent(store):
    server = Server(store, "--workers", "2").wait()
    started = psutil.Process(server.process.pid).children(recursive=True)
    assert len(running(started)) >= 2
    os.kill(server.process.pid, signal.SIGKILL)
    end = time.monotonic() + 2.0
    while running(started) and time.monotonic() < end:
        time.sleep(0.02)
    left = running(started)
    for process in left:
        process.kill()
    server.process.communicate()
    assert left == []


# Imports once, then a child for every line: what is killed is a refit, not the import of torch.
REFITS = """
import os, sys
from pathlib import Path
import torch
from recsys_lib import recommenders
from recsys_lib.serving.events import EventLog
from recsys_lib.serving.refit import refit
for _ in sys.stdin:
    child = os.fork()
    if not child:
        print(refit(Path(sys.argv[1]), EventLog(sys.argv[2])).decision, flush=True)
        os._exit(0)
    print(child, flush=True)
    os.waitpid(child, 0)
    print("ended", flush=True)
"""


def start_refit(parent):
    """The process id of a refit that has just begun."""
    parent.stdin.write("go\n")
    parent.stdin.flush()
    return int(parent.stdout.readline())


def until_ended(parent):
    """What a refit printed until it ended."""
    return "".join(iter(parent.stdout.readline, "ended\n")).split()


def test_a_killed_refit_leaves_the_old_version_or_the_whole_new_one(store, tmp_path):
    rng, data = np.random.default_rng(1), shop()
    log = EventLog(tmp_path / "e.sqlite")
    rows = np.flatnonzero(np.arange(data.n_interactions) % 3 == 0)
    log.add_events(
        [Event(f"k{r}", f"u{data.user[r]}", f"i{data.item[r]}", int(data.timestamp[r])) for r in rows]
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", REFITS, str(store), str(tmp_path / "e.sqlite")]
    old = artefact.current(store)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, env=environment, **pipes) as parent:
        for _ in range(REFIT_KILLS):
            child = start_refit(parent)
            time.sleep(rng.uniform(0.0, 0.3))
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            until_ended(parent)
            found = artefact.load(store)
            assert found.n_items == 60 and (found.version == old) == (found.watermark == 0)
            artefact.put_in_place(store, old)
        start_refit(parent)
        assert until_ended(parent) == ["swapped"]
        parent.stdin.close()
    assert artefact.load(store).watermark == len(rows)
    left = [path for path in (store / artefact.VERSIONS).iterdir() if path.name.startswith(".")]
    assert left == [] and len(log.events_after()) == len(rows)
