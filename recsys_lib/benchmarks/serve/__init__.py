"""The service under load, beside a plain FastAPI over faiss and implicit, or over sentence-transformers, on
as many cores.
"""

from __future__ import annotations

import datetime
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from recsys_lib.benchmarks.serve import faults, scenarios, servers
from recsys_lib.core import records
from recsys_lib.core.errors import InputError
from recsys_lib.hardware import machine

# At every load: the 99.9th percentile of fewer rests on a handful.
REQUESTS = 10_000


def _ours(store: Path, cores: list[int]) -> list[dict[str, Any]]:
    """The service as it is; for users who come again, and for histories that come once."""
    contents = scenarios.recommendations()
    rows = scenarios.under_load("ours", lambda: servers.ours(store, cores), contents, REQUESTS)
    return rows + scenarios.first_lists(store, cores)


def _unbatched(store: Path, cores: list[int]) -> list[dict[str, Any]]:
    """One request at a time, and batches that wait 5 ms for others."""
    contents, loads = scenarios.recommendations(), (0.5, 0.8)
    options = {"ours, one at a time": ("--max-batch", "1"), "ours, 5 ms deadline": ("--deadline-ms", "5")}
    rows = []
    for name, chosen in options.items():
        start = partial(servers.ours, store, cores, *chosen)
        rows += scenarios.under_load(name, start, contents, REQUESTS, loads)
    return rows


def _baseline(store: Path, cores: list[int]) -> list[dict[str, Any]]:
    """Plain FastAPI over implicit and faiss."""
    contents = scenarios.recommendations()
    return scenarios.under_load(
        "FastAPI, implicit, faiss", lambda: servers.baseline("factors", cores), contents, REQUESTS
    )  # fmt: skip


def _texts(store: Path, cores: list[int]) -> list[dict[str, Any]]:
    """Neighbours of texts, ours and over sentence-transformers."""
    contents, loads = scenarios.similar_texts(), (0.5, 0.8)
    first = ("/similar", b'{"text": "a first text"}')
    rows = scenarios.under_load(
        "ours, texts", lambda: servers.ours(store, cores), contents, REQUESTS, loads, first
    )
    start = partial(servers.baseline, "texts", cores)
    name = "FastAPI, sentence-transformers, faiss"
    return rows + scenarios.under_load(name, start, contents, REQUESTS, loads, first)


def _changes(store: Path, cores: list[int]) -> list[dict[str, Any]]:
    """Bursts, swaps under load and events."""
    return scenarios.bursts_and_swaps(store, cores, REQUESTS) + scenarios.events(store, cores)


def _overload(store: Path, cores: list[int]) -> list[dict[str, Any]]:
    """More requests than the service can answer."""
    return scenarios.overload(store, cores, REQUESTS)


def _workers(store: Path, cores: list[int]) -> list[dict[str, Any]]:
    """One process and two; nobody is pinned."""
    with servers.unpinned():
        return scenarios.workers(store)


def _refit_kills(store: Path, cores: list[int]) -> list[dict[str, Any]]:
    """A refit that is killed; its log is one of its own."""
    database = str(store.parent / "refits.sqlite")
    return faults.refit_kills(store, database, scenarios.new_pairs(store))


def _writer_kills(store: Path, cores: list[int]) -> list[dict[str, Any]]:
    """A client of the database that is killed."""
    return faults.writer_kills(str(store.parent / "writes.sqlite"))


def _merge(store: Path, cores: list[int]) -> list[dict[str, Any]]:
    """Lists of many shards."""
    return scenarios.merges()


PARTS: dict[str, Callable[[Path, list[int]], list[dict[str, Any]]]] = {
    "ours": _ours, "unbatched": _unbatched, "baseline": _baseline, "texts": _texts, "changes": _changes,
    "overload": _overload, "workers": _workers, "kills": faults.kills,
    "refit kills": _refit_kills, "writer kills": _writer_kills, "merge": _merge,
}  # fmt: skip


def run(json_file: Path | None = None, parts: Sequence[str] = ()) -> str:
    """Measure the parts (default: all), which replace what ``json_file`` holds of them, and return a table.

    The server has one core and the client another; each part says when it ran and under which load.

    Raises:
        InputError: an unknown part, or a server that does not start.
    """
    unknown = [part for part in parts if part not in PARTS]
    if unknown:
        raise InputError(f"part {unknown[0]!r} is unknown: expected one of {', '.join(PARTS)}")
    kept: dict[str, Any] = {"rows": [], "parts": {}}
    if json_file and json_file.is_file():
        kept |= records.read(json_file)
    measured: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder, servers.pinned() as cores:
        store = scenarios.fitted(Path(folder))
        for part in parts or PARTS:
            started = time.perf_counter()
            found = [{"part": part, **row} for row in PARTS[part](store, cores)]
            measured += found
            ran = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
            kept["parts"][part] = {
                "ran": ran, "seconds": round(time.perf_counter() - started, 1), "load": machine.load(),
                "environment": machine.describe(),
            }  # fmt: skip
            kept["rows"] = [row for row in kept["rows"] if row["part"] != part] + found
            if json_file:
                _write(json_file, kept)
    return "\n".join(_line(row) for row in measured)


def _write(json_file: Path, kept: dict[str, Any]) -> None:
    content = {
        "bench": "serve",
        "date": f"{datetime.date.today()}",
        "environment": machine.describe(),
        "parts": kept["parts"],
        "rows": kept["rows"],
    }
    records.write(json_file, content, indent=None)


def _line(row: dict[str, Any]) -> str:
    shown = (
        "rate_per_s", "throughput_per_s", "p50_ms", "p99_ms", "p99.9_ms", "forecast_p99_ms",
        "cpu_ms_per_answer", "client_late_ms", "statuses", "lost", "twice", "acknowledged", "swaps",
        "damaged", "new", "decision", "shards", "median_s",
    )  # fmt: skip
    values = "  ".join(
        f"{name} {row[name]:.2f}" if isinstance(row[name], float) else f"{name} {row[name]}"
        for name in shown
        if name in row
    )
    return f"{row['server']:38} {row['scenario']:14} {values}"
