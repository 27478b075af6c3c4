"""A shop of 60 items in three groups, an artefact fitted on it, and a server in a process of its own."""

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

from recsys_lib.data.datasets import Dataset
from recsys_lib.serving import artefact, fitting

ROOT = Path(__file__).resolve().parent.parent
WORDS = ("red wool scarf", "steel garden spade", "green oak table")
LABELS = ("clothes", "tools", "furniture")
N_ITEMS, N_USERS = 60, 90


def shop(seed=0):
    """Users of three tastes; item ``i`` belongs to group ``i % 3``, and its text names the group. The last
    six items have no interaction.
    """
    rng = np.random.default_rng(seed)
    pairs = [(u, i) for u in range(N_USERS) for i in range(N_ITEMS - 6)
             if rng.random() < (0.5 if u % 3 == i % 3 else 0.04)]  # fmt: skip
    user, item = (np.array(column, dtype=np.int32) for column in zip(*pairs, strict=True))
    items = pd.DataFrame(
        {
            "id": [f"i{i}" for i in range(N_ITEMS)],
            "title": [f"{WORDS[i % 3]} {i}" for i in range(N_ITEMS)],
            "genres": [LABELS[i % 3] for i in range(N_ITEMS)],
        }
    )
    users = pd.DataFrame({"id": [f"u{u}" for u in range(N_USERS)]})
    times = rng.permutation(len(user)).astype(np.int64) + 1_000_000
    return Dataset("shop", user, item, np.full(len(user), np.nan, np.float32), times, items, users)


def store_in(folder, rows=None):
    """A folder with the shop's artefact in place, fitted on some rows of its interactions."""
    store = Path(folder) / "store"
    fitted = fitting.from_dataset(shop(), "tfidf", rows, ease_regularization=20.0)
    artefact.put_in_place(store, artefact.write(fitted, store))
    return store


def opened(store, token=None, **settings):
    """A client of the application over a store, in this process; a context manager."""
    from fastapi.testclient import TestClient

    from recsys_lib.serving import http_app

    chosen = http_app.Settings(seed=0, **settings)
    application = http_app.create(store, store / "events.sqlite", chosen, token)
    return TestClient(application, raise_server_exceptions=False)


def group(items):
    """The groups of items of an answer."""
    return [int(item["id"][1:]) % 3 for item in items]


def events(keys, user="u0", item="i0", **more):
    """The body of a request with one event for each key."""
    return {"events": [{"key": key, "user": user, "item": item, **more} for key in keys]}


class Server:
    """``serve`` in a process of its own, which can be killed."""

    def __init__(self, store, *options):
        command = [sys.executable, "-m", "recsys_lib", "serve", str(store), "--port", "0", *options]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
        line = self.process.stdout.readline()
        if " on http://" not in line:
            raise RuntimeError(f"no server: {line}{self.process.stderr.read()}")
        self.port = int(line.split("http://")[1].split(",")[0].rsplit(":", 1)[1])

    def ask(self, method, path, content=None, timeout=10):
        """Status and answer; retried until the server listens."""
        body = None if content is None else json.dumps(content)
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def wait(self, seconds=20):
        """Until it is ready."""
        end = time.monotonic() + seconds
        while True:
            try:
                if self.ask("GET", "/ready", timeout=2)[0] == 200:
                    return self
            except OSError:
                pass
            if time.monotonic() > end or self.process.poll() is not None:
                raise RuntimeError(f"not ready: {self.process.poll()}")
            time.sleep(0.02)

    def kill(self):
        """As ``kill -9`` does."""
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()

    def stop(self):
        """As Ctrl-C or a supervisor does; its exit status and stderr."""
        self.process.terminate()
        _, errors = self.process.communicate(timeout=20)
        return self.process.returncode, errors
