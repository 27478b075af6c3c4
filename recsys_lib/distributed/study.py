"""The recorded study of distribution: what two workers of this machine cost beside one, and what they send.

``run`` does what ``data/measurements/distributed-study.json`` lacks: the time of all-reduces over gloo, a
step of training by one and by two workers, and a catalogue encoded with Ray Data beside the plain path.
"""

from __future__ import annotations

import contextlib
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from recsys_lib import encoders
from recsys_lib.core import paths, records
from recsys_lib.data import datasets
from recsys_lib.distributed import example, processes
from recsys_lib.distributed.cluster import cluster
from recsys_lib.distributed.encode import encode_sharded
from recsys_lib.encoders import shards, stream
from recsys_lib.experiments.notebook_record import entry

RECORD = "distributed-study"
NOTEBOOK = "17_distribution"
# Bytes of an all-reduce; the last are those of MiniLM's gradients.
SIZES = (1024, 16 * 1024, 256 * 1024, 2**20, 4 * 2**20, 16 * 2**20, 64 * 2**20, 90_261_504)
STEPS, BATCH = 9, 64
# Two numbers of titles tell what is paid once from what is paid for each title.
TITLES, MANY_TITLES, SHARD = 20_000, 80_000, 2048
# Seconds between two looks at how much processor time the workers have used.
LOOK_S = 0.2


def network() -> dict[str, Any]:
    """Seconds of an all-reduce by two workers, by bytes."""
    samples = processes.all_reduce_times(2, SIZES)
    return {"samples": [{"workers": p, "bytes": n, "seconds": s} for p, n, s in samples]}


def training() -> dict[str, Any]:
    """One worker, two that share its batch (strong), and two with a batch twice as large (weak); the first
    step of each is left out. Processor seconds say what a step costs also on a machine that does other work;
    of the seconds the fastest step is kept, too.
    """
    half = example.Example(batch=BATCH, steps=STEPS)
    twice = example.Example(batch=2 * BATCH, steps=STEPS)
    found = {
        "one": processes.run(example.steps, 1, half, True),
        "strong": processes.run(example.steps, 2, half),
        "weak": processes.run(example.steps, 2, twice),
    }
    difference = np.abs(np.subtract(found["one"][0]["losses"], found["strong"][0]["losses"])).max()
    return {name: _medians(workers) for name, workers in found.items()} | {
        "losses": {name: workers[0]["losses"] for name, workers in found.items()},
        "largest loss difference": float(difference),
        "batch": BATCH,
    }


def _medians(workers: Sequence[dict[str, Any]]) -> dict[str, float]:
    step = np.max([w["step_s"][1:] for w in workers], axis=0)
    processor = np.sum([w["processor_s"][1:] for w in workers], axis=0)
    return {
        "workers": len(workers),
        "step_s": float(np.median(step)),
        "fastest_step_s": float(step.min()),
        "processor_s": float(np.median(processor)),
        "sent_bytes": workers[0]["sent_bytes"],
        "gathered_bytes": workers[0]["gathered_bytes"],
        "parameters": workers[0]["parameters"],
    } | {f"{name} s": seconds / STEPS for name, seconds in workers[0]["phases"].items()}


def encoding(n: int = TITLES) -> dict[str, Any]:
    """Seconds and processor seconds for ``n`` book titles: without Ray, and by one and two of its workers."""
    with tempfile.TemporaryDirectory() as place:
        source = Path(place) / "titles.txt"
        titles = datasets.load("book-crossing").items["title"].astype(str).tolist()[:n]
        source.write_text("\n".join(" ".join(t.split()) for t in titles) + "\n", encoding="utf-8")
        encoder = encoders.load("minilm", precision="int8", backend="native", cache=False)
        encoder.encode(titles[:64], progress=False)
        stream.BLOCK = SHARD
        found: dict[str, Any] = {"titles": n, "shard": SHARD}
        with _used() as used:
            plain = stream.encode_to_disk(encoder, str(source), Path(place) / "plain", progress=False)
            stream.truncated_texts(encoder, str(source))  # which the command says, and Ray's workers count
        found["plain"] = dict(used)
        whole = np.load(plain)
        for workers in (1, 2):
            folder, start = Path(place) / f"ray-{workers}", time.perf_counter()
            with cluster(workers=workers):
                started = time.perf_counter() - start
                with _used() as used:
                    encode_sharded(encoder, str(source), folder, rows=SHARD, workers=workers, progress=False)
            found[f"ray {workers}"] = used | {"start_s": started}
            assert np.array_equal(shards.vectors(folder), whole)
    return found


@contextlib.contextmanager
def _used() -> Iterator[dict[str, float]]:
    """Seconds, and processor seconds of this process and all below it, of what is done inside."""
    found: dict[str, float] = {}
    seen: dict[int, float] = {}
    before, over, start = _processor_seconds(), threading.Event(), time.perf_counter()

    def look() -> None:
        while not over.wait(LOOK_S):
            seen.update(_processor_seconds())

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield found
    finally:
        found["seconds"] = time.perf_counter() - start
        seen.update(_processor_seconds())
        over.set()
        watcher.join()
        found["processor_s"] = sum(s - before.get(pid, 0.0) for pid, s in seen.items())


def _processor_seconds() -> dict[int, float]:
    own = psutil.Process()
    found = {}
    for process in [own, *own.children(recursive=True)]:
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            found[process.pid] = times.user + times.system
    return found


PARTS: dict[str, Callable[[], dict[str, Any]]] = {
    "network": network,
    "training": training,
    "encoding": encoding,
    "encoding, many": lambda: encoding(MANY_TITLES),
}


def run(path: Path | None = None, parts: Sequence[str] = tuple(PARTS)) -> Path:
    """Do those of ``parts`` that the record lacks, and write it after each."""
    path = path or paths.MEASUREMENTS / f"{RECORD}.json"
    found = records.read(path) if path.is_file() else []
    done = {record["parameters"]["part"] for record in found}
    for part in parts:
        if part in done:
            continue
        start, load = time.perf_counter(), psutil.getloadavg()[0]
        metrics = PARTS[part]() | {"load before": load}
        found.append(entry(NOTEBOOK, {"part": part}, metrics, time.perf_counter() - start))
        records.write(path, found)
        print(f"study distributed: {part}: {time.perf_counter() - start:.0f} s", flush=True)
    return path
