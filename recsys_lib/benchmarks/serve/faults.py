"""kill -9 at random moments, of the server, of a refit and of a client of the database: what was lost, what
was stored twice, and whether the artefact is whole.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recsys_lib.benchmarks.serve import servers
from recsys_lib.core.paths import ROOT
from recsys_lib.serving import artefact as artefacts
from recsys_lib.serving.events import Event, EventLog

KILLS = 50
FIRST = json.dumps({"user": "196"}).encode()
# Events of one acknowledged write.
PARTS = 3
ENDED = "ended"

# Imports once, then a child for every line of stdin: what is killed is the work, not the import of torch.
_FORKING = """
import os, sys
from pathlib import Path
import torch
from recsys_lib import recommenders
from recsys_lib.serving.events import Event, EventLog
from recsys_lib.serving.refit import Policy, refit
from recsys_lib.serving.writer import Writer

def work(words):
{work}

for line in sys.stdin:
    child = os.fork()
    if not child:
        os.write(1, b"%d\\n" % os.getpid())  # itself: it may be faster than its parent
        work(line.split())
        os._exit(0)
    os.waitpid(child, 0)
    os.write(1, b"ended\\n")
"""
# Whatever came since is swapped in: a refit that keeps the running version would write nothing.
_REFIT = """
    found = refit(Path(sys.argv[1]), EventLog(sys.argv[2]), Policy(margin=0.99))
    os.write(1, (found.decision + "\\n").encode())
"""
# One write of a pipe is whole or absent up to 4 kB: a line that is read was acknowledged.
_WRITE = """
    writer, number = Writer(EventLog(sys.argv[1])), 0
    groups = [words[1]] if len(words) > 1 else []
    while True:
        group = groups.pop() if groups else f"{words[0]}-{number}"
        number += group.startswith(words[0] + "-")
        events = [Event(f"{group}-{part}", "196", "50", 9) for part in range(int(sys.argv[2]))]
        writer.add(events).result()
        os.write(1, (group + "\\n").encode())
"""


class _Forks:
    """A process that forks a child for every line it is told."""

    def __init__(self, work: str, *arguments: str):
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-c", _FORKING.replace("{work}", work), *arguments]
        self.process = subprocess.Popen(
            command, text=True, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip

    def killed(self, line: str, after_s: float | None) -> list[str]:
        """What a child printed until it ended by itself, or was killed ``after_s`` its start."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        child = int(self._line())
        killing = None if after_s is None else threading.Timer(after_s, _kill, [child])
        if killing:
            killing.start()
        said = list(iter(self._line, ENDED))
        if killing:
            killing.cancel()
        return said

    def _line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the process that forks has ended: {self.process.wait()}")
        return line.strip()

    def end(self) -> None:
        """No more children: one that is there after an error would write for ever."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()


def _kill(process: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)


@contextlib.contextmanager
def _forks(work: str, *arguments: str) -> Iterator[_Forks]:
    forks = _Forks(work, *arguments)
    try:
        yield forks
    finally:
        forks.end()


# ---------------------------------------------------------------- the server


def kills(store: Path, cores: list[int], n: int = KILLS, seed: int = 0) -> list[dict[str, Any]]:
    """kill -9 at ``n`` random moments while events are sent: what was lost or stored twice, and the seconds
    from each restart to the first answer.
    """
    rng, log = np.random.default_rng(seed), EventLog(store / "events.sqlite")
    before = log.counts()["events"]
    acknowledged: list[str] = []
    restarts: list[float] = []
    for round_ in range(n):
        with servers.ours(store, cores) as server:
            restarts.append(server.wait("/recommend", "POST", FIRST))
            sending = _Sending(server.port, f"kill-{seed}-{round_}", acknowledged)
            time.sleep(float(rng.uniform(0.02, 0.5)))
        sending.join()
    found = _lost(log, f"kill-{seed}-", acknowledged)
    log.close()
    return [
        {
            "server": "ours", "scenario": "kills", "kills": n, **found, "stored_before": before,
            "restart_s": [round(s, 3) for s in restarts],
        }
    ]  # fmt: skip


def _lost(log: EventLog, start: str, acknowledged: Sequence[str]) -> dict[str, int]:
    """Of acknowledged keys how many the log lacks, and how many of those with that start it has twice."""
    stored = [event.key for _, event in log.events_after() if event.key.startswith(start)]
    kept = set(stored)
    return {
        "acknowledged": len(acknowledged),
        "lost": sum(key not in kept for key in acknowledged),
        "twice": len(stored) - len(kept),
    }


class _Sending(threading.Thread):
    """Sends events one after another until the server is gone; keeps the keys of those acknowledged."""

    def __init__(self, port: int, name: str, acknowledged: list[str]):
        super().__init__(daemon=True)
        self._port, self._key, self._acknowledged = port, name, acknowledged
        self.start()

    def run(self) -> None:
        number = 0
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        try:
            while True:
                keys = [f"{self._key}-{number}-{part}" for part in range(PARTS)]
                body = json.dumps({"events": [{"key": k, "user": "196", "item": "50"} for k in keys]})
                connection.request("POST", "/events", body, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                answer.read()
                if answer.status == 202:
                    self._acknowledged += keys
                number += 1
        except (OSError, http.client.HTTPException):
            return


# ---------------------------------------------------------------- a refit


def refit_kills(
    store: Path, database: str, events: Sequence[Event], n: int = KILLS, seed: int = 0
) -> list[dict[str, Any]]:
    """kill -9 of a refit over ``events`` at ``n`` random moments, the old version in place before each; then
    one that is left alone.

    damaged: times that the version in place could not be loaded whole. new: times that it was the new one.
    lost: events that the log lacks at the end, or that the last refit did not read; decision: of that one.
    left: what writers left beside the versions. The folder ``store`` is left as it was.
    """
    rng, log, old = np.random.default_rng(seed), EventLog(database), artefacts.current(store)
    before = artefacts.load(store, old)
    log.add_events(events)
    damaged = new = killed = 0
    with _forks(_REFIT, str(store), database) as forks:
        for _ in range(2):  # the first reads files that no cache holds
            began = time.perf_counter()
            _back_to(store, old)
            forks.killed("go", None)
            whole_s = time.perf_counter() - began
        while killed < n:
            _back_to(store, old)
            if forks.killed("go", float(rng.uniform(0, whole_s))):
                continue  # it had ended before
            killed += 1
            try:
                new += artefacts.load(store).watermark > before.watermark
            except Exception:
                damaged += 1
        _back_to(store, old)
        (decision,) = forks.killed("go", None)
    read = artefacts.load(store).watermark
    kept = log.events_after(before.watermark)
    found = {event.key for seq, event in kept if seq <= read}
    log.close()
    left = len(_beside(store))
    _back_to(store, old)
    return [
        {
            "server": "ours", "scenario": "refit kills", "kills": killed, "damaged": damaged, "new": new,
            "acknowledged": len(events), "lost": sum(event.key not in found for event in events),
            "twice": len(kept) - len({event.key for _, event in kept}), "decision": decision,
            "whole_s": round(whole_s, 3), "left": left,
        }
    ]  # fmt: skip


def _back_to(store: Path, version: str) -> None:
    """Put the version in place and remove newer ones, which would push it out; what lies beside stays."""
    artefacts.put_in_place(store, version)
    for path in (store / artefacts.VERSIONS).iterdir():
        if path.name != version and not path.name.startswith("."):
            shutil.rmtree(path)


def _beside(store: Path) -> list[Path]:
    """What a writer that was killed left beside the versions."""
    return [path for path in (store / artefacts.VERSIONS).iterdir() if path.name.startswith(".")]


# ---------------------------------------------------------------- a client of the database


def writer_kills(database: str, n: int = KILLS, seed: int = 0, latest_s: float = 0.3) -> list[dict[str, Any]]:
    """kill -9 of a process that writes events to the database itself, at ``n`` random moments; the next one
    first sends again what had no answer.
    """
    rng, log, name = np.random.default_rng(seed), EventLog(database), f"write-{seed}"
    groups: list[str] = []
    again = ""
    with _forks(_WRITE, database, str(PARTS)) as forks:
        for round_ in range(n):
            own = f"{name}.{round_}"
            said = forks.killed(f"{own} {again}", float(rng.uniform(0.01, latest_s)))
            groups += said
            done = [group for group in said if group.startswith(f"{own}-")]
            # The first group without an answer: perhaps never sent, perhaps stored.
            again = f"{own}-{len(done)}" if said or not again else again
    keys = [f"{group}-{part}" for group in groups for part in range(PARTS)]
    found = _lost(log, f"{name}.", keys)
    log.close()
    return [{"server": "ours", "scenario": "writer kills", "kills": n, **found}]
