"""The recorded study of distribution: what two workers of this machine cost beside one, and what they send.

``run`` does what ``data/measurements/distributed-study.json`` lacks: the time of all-reduces over gloo, a
step of training by one and by two workers, and a catalogue encoded with Ray Data beside the plain path.
"""

from __future__ import annotations

import contextlib
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from recsys_lib import encoders
from recsys_lib.core import paths
from recsys_lib.data import datasets
from recsys_lib.distributed import example, processes
from recsys_lib.distributed.cluster import cluster
from recsys_lib.distributed.encode_on_cluster import encode_sharded
from recsys_lib.encoders import shards, stream
from recsys_lib.experiments.notebook_record import resume

RECORD = "distributed-study"
NOTEBOOK = "17_distribution"
# Bytes of an all-reduce; the last are those of MiniLM's gradients.
SIZES = (1024, 16 * 1024, 256 * 1024, 2**20, 4 * 2**20, 16 * 2**20, 64 * 2**20, 90_261_504)
STEPS, BATCH = 9, 64
# Two numbers of titles tell what is paid once from what is paid for each title.
TITLES, SHARD = (10_000, 40_000), 1024
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


def encoding() -> dict[str, Any]:
    """Seconds and processor seconds for ``TITLES`` book titles: without Ray, and by one and two of its
    workers, on one cluster.
    """
    with tempfile.TemporaryDirectory() as place:
        titles = datasets.load("book-crossing").items["title"].astype(str).tolist()
        encoder = encoders.load("minilm", precision="int8", backend="native", cache=False)
        encoder.encode(titles[:64], progress=False)
        stream.BLOCK = SHARD
        sources = {}
        for n in TITLES:
            sources[n] = Path(place) / f"{n}.txt"
            lines = "".join(" ".join(title.split()) + "\n" for title in titles[:n])
            sources[n].write_text(lines, encoding="utf-8")
        found = {f"{n}": {"titles": n, "shard": SHARD, "plain": _plain(encoder, sources[n])} for n in TITLES}
        start = time.perf_counter()
        with cluster(workers=2):
            started = time.perf_counter() - start
            for n in TITLES:
                for workers in (1, 2):
                    found[f"{n}"][f"ray {workers}"] = _with_ray(encoder, sources[n], workers)
        return {"sizes": found, "start_s": started}


def _plain(encoder: encoders.Encoder, source: Path) -> dict[str, float]:
    with _used() as used:
        stream.encode_to_disk(encoder, str(source), source.with_suffix(".plain"), progress=False)
        stream.truncated_texts(encoder, str(source))  # which the command says, and Ray's workers count
    return used


def _with_ray(encoder: encoders.Encoder, source: Path, workers: int) -> dict[str, float]:
    folder = source.with_suffix(f".ray{workers}")
    with _used() as used:
        encode_sharded(encoder, str(source), folder, rows=SHARD, workers=workers, progress=False)
    plain = np.load(source.with_suffix(".plain") / "vectors.npy")
    assert np.array_equal(shards.vectors(folder), plain)
    return used


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
}


def run(path: Path | None = None, parts: Sequence[str] = tuple(PARTS)) -> Path:
    """Do those of ``parts`` that the record lacks, and write it after each."""
    cases = [{"part": part} for part in parts]
    return resume(path or paths.MEASUREMENTS / f"{RECORD}.json", NOTEBOOK, cases, _measured)


def _measured(case: Mapping[str, Any]) -> dict[str, Any]:
    load = psutil.getloadavg()[0]
    return PARTS[case["part"]]() | {"load before": load}
