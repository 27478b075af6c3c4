"""The same log on a real PostgreSQL server in a folder of its own; skipped where none is installed."""

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from shop_server import events, store_in

from recsys_lib.benchmarks.serve import faults
from recsys_lib.serving import http_app as applications
from recsys_lib.serving.events import Event, EventLog, NewItem

pytestmark = pytest.mark.slow
WRITER_KILLS = int(os.environ.get("RECSYS_KILLS", "6"))


def binaries():
    """The folder of initdb and pg_ctl, or None."""
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    on_path = shutil.which("pg_ctl")
    return next((folder for folder in [*installed, *([Path(on_path).parent] if on_path else [])]
                 if (folder / "initdb").exists()), None)  # fmt: skip


class Database:
    """A server of a user who is not root, which it refuses; only reachable through a socket in its folder."""

    def __init__(self, folder):
        self.folder, self.data = folder, folder / "data"
        self.user = "nobody" if os.geteuid() == 0 else None
        if self.user:
            os.chown(folder, pwd.getpwnam(self.user).pw_uid, -1)
        self.run("initdb", "-A", "trust", "-U", "tester", "-N")
        self.start()

    def run(self, program, *options):
        command = [binaries() / program, "-D", self.data, *options]
        user = {"user": self.user} if self.user else {}
        log = self.folder / "out"
        with log.open("ab") as out:
            subprocess.run(command, check=True, stdout=out, stderr=out, cwd=self.folder, timeout=60, **user)

    def start(self):
        self.run("pg_ctl", "-w", "-o", f"-k {self.folder} -c listen_addresses=''", "start")

    def stop(self):
        self.run("pg_ctl", "-w", "-m", "immediate", "stop")

    @property
    def url(self):
        return f"postgresql://tester@/postgres?host={self.folder}"


@pytest.fixture(scope="module")
def database():
    if binaries() is None:
        pytest.skip("PostgreSQL is not installed")
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    folder.chmod(0o755)
    started = Database(folder)
    yield started
    started.stop()
    shutil.rmtree(folder, ignore_errors=True)


def event(key, item="i1", user="u1"):
    return Event(key, user, item, 5)


def test_events_and_items_are_stored_once(database):
    log = EventLog(database.url)
    assert log.add_events([event("a"), event("b")]).new == {"a", "b"}
    found = log.add_events([event("b"), event("a", item="i2"), event("c")])
    assert (found.new, found.known, found.conflicts) == ({"c"}, {"b"}, {"a"})
    assert [e.key for _, e in log.events_after()] == ["a", "b", "c"]
    item = NewItem("n", "Título", ("x",), "text", np.array([1.5, 2], np.float32))
    assert log.add_items([item]).new == {"n"} and log.add_items([item]).known == {"n"}
    assert log.items_after()[0].vector.tolist() == [1.5, 2]
    log.add_lists([{"id": "l", "user_id": "u", "version": "v", "time": 1, "shown": "[]"}] * 2)
    assert log.counts() == {"events": 3, "items": 1, "lists": 1}
    assert "tester@" in log.shown
    log.close()


WRITE = """
import sys
from recsys_lib.serving.events import Event, EventLog
log = EventLog(sys.argv[1])
print("ready", flush=True)
for n in range(100_000):
    log.add_events([Event(f"{sys.argv[2]}-{n}-{part}", "u", "i", n) for part in range(3)])
    print(n, flush=True)
"""


def test_writers_that_are_killed_lose_nothing_and_a_reader_misses_nothing(database):
    """Numbers are given before commits: without the lock a reader could pass over one that commits later."""
    log = EventLog(database.url)
    last = max((seq for seq, _ in log.events_after()), default=0)
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITE, database.url, name], stdout=subprocess.PIPE, text=True)
        for name in "pqr"
    ]
    for writer in writers:
        assert writer.stdout.readline() == "ready\n"
    seen, end = [], time.monotonic() + 0.7
    while time.monotonic() < end:
        for seq, found in log.events_after(last):
            seen.append(found.key)
            last = seq
    acknowledged = set()
    for name, writer in zip("pqr", writers, strict=True):
        writer.send_signal(signal.SIGKILL)
        for line in writer.communicate()[0].split():
            acknowledged |= {f"{name}-{line}-{part}" for part in range(3)}
    time.sleep(0.2)  # the server ends what the killed ones had begun
    seen += [found.key for _, found in log.events_after(last)]
    assert len(seen) == len(set(seen)) and acknowledged <= set(seen) and len(acknowledged) > 30
    log.close()


def test_the_service_goes_on_after_the_database_was_away(database, tmp_path):
    store = store_in(tmp_path)
    application = applications.create(store, database.url)
    with TestClient(application, raise_server_exceptions=False) as client:
        assert client.post("/events", json=events(["s1"])).status_code == 202
        database.stop()
        assert client.post("/recommend", json={"user": "u1"}).status_code == 200
        refused = client.post("/events", json=events(["s2"]))
        assert refused.status_code == 503 and refused.headers["retry-after"] == "1"
        assert client.get("/ready").status_code == 503
        database.start()
        answers = [client.post("/events", json=events(["s1", "s2"])) for _ in range(2)]
        assert answers[-1].status_code == 202
        assert sum(answer.json().get("accepted", 0) for answer in answers) == 1
        assert client.get("/ready").status_code == 200


def test_a_client_that_is_killed_again_and_again_loses_nothing(database):
    (row,) = faults.writer_kills(database.url, WRITER_KILLS, latest_s=0.5)
    assert (row["kills"], row["lost"], row["twice"]) == (WRITER_KILLS, 0, 0)
    assert row["acknowledged"] > 3 * WRITER_KILLS
