"""What is measured of a server: its most requests a second, latencies at rates below and beyond it, bursts, a
swap under load, and events; and how long the lists of shards take to merge.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from recsys_lib.benchmarks.serve import client, servers
from recsys_lib.benchmarks.serve.client import request_bytes
from recsys_lib.benchmarks.serve.faults import FIRST
from recsys_lib.cost import queueing
from recsys_lib.data import datasets
from recsys_lib.hardware import load_patterns
from recsys_lib.serving import artefact as artefacts
from recsys_lib.serving import fitting
from recsys_lib.serving.events import Event
from recsys_lib.serving.http_app import Settings
from recsys_lib.vectors.search.updatable import merge_top_k

# Fractions of the saturation at which latencies are measured, and beyond it; after these once more below it.
LOADS, OVERLOADS, AFTER = (0.3, 0.5, 0.7), (1.2, 1.5, 2.0), 0.5
CALLERS, SATURATION_S = 32, 3.0
# Lists that are merged: of so many shards, for a batch of so many queries, so many times.
SHARDS, MERGED, REPEATS = (1, 10, 30, 100, 300), 32, 51


def recommendations(n: int = 2000, seed: int = 0) -> list[bytes]:
    """Requests of random users of MovieLens-100K for ten films."""
    users = datasets.load("ml-100k").users["id"].astype(str).tolist()
    drawn = np.random.default_rng(seed).integers(0, len(users), n)
    return [request_bytes("/recommend", {"user": users[place], "k": 10}) for place in drawn]


def new_histories(n: int = 20_000, films: int = 60, seed: int = 0) -> list[bytes]:
    """Requests with histories of MovieLens-100K that no server has seen: as many random films in each."""
    ids = datasets.load("ml-100k").items["id"].astype(str).tolist()
    rng = np.random.default_rng(seed)
    drawn = [rng.choice(len(ids), films, replace=False) for _ in range(n)]
    return [request_bytes("/recommend", {"history": [ids[p] for p in own], "k": 10}) for own in drawn]


def similar_texts(n: int = 500, seed: int = 0) -> list[bytes]:
    """Requests for the neighbours of texts that no cache knows: titles of two films."""
    titles = datasets.load("ml-100k").items["title"].tolist()
    pairs = np.random.default_rng(seed).integers(0, len(titles), (n, 2))
    return [request_bytes("/similar", {"text": f"{titles[a]} and {titles[b]}", "k": 10}) for a, b in pairs]


def fitted(folder: Path) -> Path:
    """A store with an artefact of MovieLens-100K with MiniLM's vectors."""
    store = folder / "store"
    new = fitting.from_dataset(datasets.load("ml-100k"))
    artefacts.put_in_place(store, artefacts.write(new, store))
    return store


def under_load(
    name: str,
    start: Callable[[], servers.Running],
    contents: Sequence[bytes],
    requests: int,
    loads: Sequence[float] = LOADS,
    first: tuple[str, bytes] = ("/recommend", FIRST),
) -> list[dict[str, Any]]:
    """Saturation by callers that never pause, then Poisson arrivals at fractions of it, one server for all.

    ``requests`` at each load, however long that takes. Rows: ``one caller``, ``saturation``, then ``poisson``
    for each load, with the forecast of the 99th percentile by the cost model's queue for a service time of
    one over the saturation.
    """  # fmt: skip
    with start() as server:
        server.wait(first[0], "POST", first[1])
        client.closed_loop(server.port, contents, 8, 1.0)
        alone = _asked(server, partial(client.closed_loop, server.port, contents, 1, 1.0))
        most = _saturated(server, contents)
        rate = most["throughput_per_s"]
        rows = [{"server": name, "scenario": "one caller", **alone}]
        rows.append({"server": name, "scenario": "saturation", "callers": CALLERS, **most})
        for load in loads:
            arrivals = load_patterns.poisson_arrivals(load * rate, requests, seed=int(100 * load))
            row = _asked(server, partial(client.open_loop, server.port, contents, arrivals))
            rows.append({"server": name, "scenario": "poisson", "load": load, "rate_per_s": load * rate,
                         **_forecast(rate, load), **row})  # fmt: skip
            time.sleep(0.5)
    return rows


def first_lists(store: Path, cores: list[int]) -> list[dict[str, Any]]:
    """The most lists of histories that were never asked for before: nothing of them is kept."""
    with servers.ours(store, cores) as server:
        server.wait("/recommend", "POST", FIRST)
        client.closed_loop(server.port, recommendations(), 8, 1.0)
        most = _saturated(server, new_histories())
    return [{"server": "ours", "scenario": "new histories", "callers": CALLERS, **most}]


def _asked(server: servers.Running, ask: Callable[[], client.Load]) -> dict[str, Any]:
    """The row of a run with the processor time of the server, which other processes lengthen little."""
    before = server.cpu_s()
    row = ask().to_row()
    used = server.cpu_s() - before
    return row | {"server_cpu_s": round(used, 2), "cpu_ms_per_answer": 1000 * used / max(row["answered"], 1)}


def _saturated(server: servers.Running, contents: Sequence[bytes]) -> dict[str, Any]:
    """The row of callers that never pause: the most that the server answers."""
    return _asked(server, partial(client.closed_loop, server.port, contents, CALLERS, SATURATION_S))


def _forecast(rate: float, load: float) -> dict[str, float]:
    """The cost model's 99th percentile for one request at a time, where its table reaches."""
    if load > queueing.LOADS[-1]:
        return {}
    return {"forecast_p99_ms": 1000 / rate * queueing.p99_factor(1, 0.0, load)}


def overload(store: Path, cores: list[int], requests: int) -> list[dict[str, Any]]:
    """Poisson arrivals at more than the saturation, then at less: how many are answered, how many are sent
    away with 503, how long the answered ones wait, and whether the service recovers.
    """
    contents, rows = recommendations(), []
    with servers.ours(store, cores) as server:
        server.wait("/recommend", "POST", FIRST)
        client.closed_loop(server.port, contents, 8, 1.0)
        most = _saturated(server, contents)
        rate = most["throughput_per_s"]
        rows.append({"server": "ours", "scenario": "saturation again", "callers": CALLERS, **most})
        for load in (*OVERLOADS, AFTER):
            arrivals = load_patterns.poisson_arrivals(load * rate, 2 * requests, seed=int(100 * load))
            row = _asked(server, partial(client.open_loop, server.port, contents, arrivals))
            scenario = "overload" if load > 1 else "after overload"
            refused = row["statuses"].get("503", 0) / row["requests"]
            rows.append({"server": "ours", "scenario": scenario, "load": load, "rate_per_s": load * rate,
                         "refused": refused, "max_wait_s": Settings().max_wait_s, **row})  # fmt: skip
            time.sleep(0.5)
    return rows


def workers(store: Path) -> list[dict[str, Any]]:
    """The most that one and two processes answer, in turns, on all cores together with the client."""
    contents, rows = recommendations(), []
    for n in (1, 2, 1, 2, 1, 2):
        with servers.ours(store, [], "--workers", str(n)) as server:
            server.wait("/recommend", "POST", FIRST)
            client.closed_loop(server.port, contents, CALLERS, 2.0)
            most = _saturated(server, contents)
        rows.append({"server": "ours", "scenario": "workers", "processes": n, **most})
    return rows


def bursts_and_swaps(store: Path, cores: list[int], requests: int) -> list[dict[str, Any]]:
    """Bursty arrivals, and a swap of the version every second, at half of the saturation."""
    contents = recommendations()
    with servers.ours(store, cores) as server:
        server.wait("/recommend", "POST", FIRST)
        most = _saturated(server, contents)
        rate = 0.5 * most["throughput_per_s"]
        rows = []
        steady = load_patterns.poisson_arrivals(rate, requests, seed=1)
        bursty = load_patterns.bursty_arrivals(rate, requests, seed=1)
        for scenario, arrivals in (("poisson again", steady), ("bursts", bursty)):
            row = _asked(server, partial(client.open_loop, server.port, contents, arrivals))
            rows.append({"server": "ours", "scenario": scenario, "rate_per_s": rate, **row})
        swapping = _Swapping(store)
        row = _asked(server, partial(client.open_loop, server.port, contents, steady))
        swaps = swapping.stop()
        rows.append({"server": "ours", "scenario": "swaps", "rate_per_s": rate, "swaps": swaps, **row})
    return rows


class _Swapping:
    """Points the store at another of two versions every second, in a thread."""

    def __init__(self, store: Path):
        self._store, self._stop, self.swaps = store, threading.Event(), 0
        self._versions = [artefacts.current(store), artefacts.write(artefacts.load(store), store)]
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(1.0):
            self.swaps += 1
            artefacts.put_in_place(self._store, self._versions[self.swaps % 2])

    def stop(self) -> int:
        self._stop.set()
        self._thread.join()
        return self.swaps


def events(store: Path, cores: list[int], seconds: float = 4.0) -> list[dict[str, Any]]:
    """Events acknowledged a second, flushed to disk first: one caller, and 32 whose commits are shared."""
    rows = []
    with servers.ours(store, cores) as server:
        server.wait("/recommend", "POST", FIRST)
        for callers in (1, CALLERS):
            contents = [
                request_bytes("/events", {"events": [{"key": f"{callers}-{n}", "user": "196", "item": "50"}]})
                for n in range(200_000 // (1 if callers > 1 else 4))
            ]
            row = client.closed_loop(server.port, contents, callers, seconds).to_row()
            rows.append({"server": "ours", "scenario": "events", "callers": callers, **row})
    return rows


def new_pairs(store: Path, n: int = 300, seed: int = 0) -> list[Event]:
    """Events of pairs of users and items that the artefact in ``store`` does not have."""
    own = artefacts.load(store)
    rng, known = np.random.default_rng(seed), own.histories.toarray() > 0
    users, items = np.nonzero(~known)
    drawn = rng.choice(len(users), n, replace=False)
    names, ids = own.interactions.user_ids, own.catalogue.ids
    last = int(own.interactions.time.max())
    return [
        Event(f"pair-{seed}-{k}", names[users[place]], ids[items[place]], last + k)
        for k, place in enumerate(drawn)
    ]


def merges(queries: int = MERGED, k: int = 10, seed: int = 0) -> list[dict[str, Any]]:
    """How long ``merge_top_k`` takes for the lists of many shards with random scores, medians."""
    rng, rows = np.random.default_rng(seed), []
    for shards in SHARDS:
        parts = []
        for shard in range(shards):
            scores = -np.sort(-rng.random((queries, k), dtype=np.float32), axis=1)
            parts.append((rng.integers(0, 2**20, (queries, k)) * shards + shard, scores))
        samples = []
        for _ in range(REPEATS):
            began = time.perf_counter()
            merge_top_k(parts, k)
            samples.append(time.perf_counter() - began)
        measured = {"median_s": float(np.median(samples)), "samples": [round(s, 7) for s in samples]}
        rows.append(
            {"server": "ours", "scenario": "merge", "shards": shards, "queries": queries, "k": k, **measured}
        )
    return rows
