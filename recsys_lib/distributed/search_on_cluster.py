"""Exact top-k over shards of a catalogue, each held by a worker of a Ray cluster; the merged result is that
of one index over all items, ids, scores and ties.

A shard answers from memory and keeps every update on disk before it says so: a worker that dies is replaced,
reads its items and updates again, and nothing that was acknowledged is lost.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recsys_lib.core.errors import InputError
from recsys_lib.core.files import write_atomically
from recsys_lib.core.records import read_json
from recsys_lib.distributed.cluster import errors_in_one_line, ray_module
from recsys_lib.vectors.search.updatable import UpdatableIndex, merge_top_k

STATE = "shards.json"


def save_shards(folder: Path, ids: np.ndarray, rows: np.ndarray, shards: int, metric: str = "cosine") -> None:
    """Write items, ids ``[n]`` and float32 rows ``[n, d]``, as the start of so many shards below ``folder``.

    An item belongs to the shard of its id modulo ``shards``.

    Raises:
        InputError: fewer than one shard, another number of ids than rows, or a folder that holds shards.
    """
    ids, rows = np.asarray(ids, np.int64), np.asarray(rows, np.float32)
    if shards < 1 or ids.shape != (len(rows),):
        raise InputError(f"{shards} shards of {ids.shape} ids and {rows.shape} rows: expected one id a row")
    if (folder / STATE).exists():
        raise InputError(f"{folder}: holds shards already; choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    for shard in range(shards):
        own = ids % shards == shard
        _write(folder / f"shard-{shard:03d}-0.npz", ids=ids[own], rows=rows[own])
    state = {"shards": shards, "metric": metric, "dimension": rows.shape[1]}
    write_atomically(folder / STATE, json.dumps(state))


class SearchShard:
    """One shard: what ``save_shards`` wrote of it and all updates since, searchable while it is updated."""

    def __init__(self, folder: str, shard: int):
        self.folder, self.shard = Path(folder), shard
        metric = read_json(self.folder / STATE)["metric"]
        self.updates, self.updating = 0, threading.Lock()
        for number, path in enumerate(self._files()):
            with np.load(path, allow_pickle=False) as entry:
                if number == 0:
                    self.index = UpdatableIndex(entry["ids"], entry["rows"], metric)
                elif "rows" in entry:
                    self.index.insert(entry["ids"], entry["rows"])
                else:
                    self.index.delete(entry["ids"])
            self.updates = number

    def _files(self) -> list[Path]:
        found = self.folder.glob(f"shard-{self.shard:03d}-*.npz")
        return sorted(found, key=lambda path: int(path.stem.rpartition("-")[2]))

    def top_k(self, queries: np.ndarray, k: int, exclude: Any = None) -> tuple[np.ndarray, np.ndarray]:
        """As ``UpdatableIndex.top_k``."""
        return self.index.top_k(queries, k, exclude)

    def insert(self, ids: np.ndarray, rows: np.ndarray) -> int:
        """As ``UpdatableIndex.insert``, and on disk when it returns; how many items there are."""
        with self.updating:
            self.index.insert(ids, rows)
            return self._keep(ids=ids, rows=rows)

    def delete(self, ids: np.ndarray) -> int:
        """As ``UpdatableIndex.delete``, and on disk when it returns; how many items there are."""
        with self.updating:
            self.index.delete(ids)
            return self._keep(ids=ids)

    def _keep(self, **entry: np.ndarray) -> int:
        self.updates += 1
        _write(self.folder / f"shard-{self.shard:03d}-{self.updates}.npz", **entry)
        return len(self.index)

    def count(self) -> int:
        """How many items there are."""
        return len(self.index)

    def process(self) -> int:
        """The id of the worker's process."""
        return os.getpid()


class ShardedIndex:
    """The shards of a folder on the cluster to which this process is connected (``cluster.cluster``).

    An update reaches one shard an item: a search sees each item before or after it, never half of it. One
    process updates; any number may search. ``cpus`` are reserved for each shard.

    Raises:
        InputError: no shards in the folder.
    """

    def __init__(self, folder: Path, cpus: float = 1.0):
        state = read_json(folder / STATE)
        self.n_shards, self.dimension = int(state["shards"]), int(state["dimension"])
        # Searches go on while an update is made; either may be repeated if the worker dies meanwhile.
        options = {"num_cpus": cpus, "max_restarts": -1, "max_task_retries": -1, "max_concurrency": 4}
        actor = ray_module().remote(**options)(SearchShard)
        self.shards = [actor.remote(str(folder.resolve()), n) for n in range(self.n_shards)]

    def __len__(self) -> int:
        return sum(self._all([shard.count.remote() for shard in self.shards]))

    def top_k(
        self, queries: np.ndarray, k: int, exclude: Sequence[Sequence[int]] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """As ``UpdatableIndex.top_k`` over the items of all shards."""
        return merge_top_k(self._all([s.top_k.remote(queries, k, exclude) for s in self.shards]), k)

    def insert(self, ids: np.ndarray, rows: np.ndarray) -> None:
        """Add or replace items; on disk when it returns."""
        ids, rows = np.asarray(ids, np.int64), np.asarray(rows, np.float32)
        own = [(s, np.flatnonzero(ids % self.n_shards == n)) for n, s in enumerate(self.shards)]
        self._all([shard.insert.remote(ids[at], rows[at]) for shard, at in own if len(at)])

    def delete(self, ids: np.ndarray) -> None:
        """Take items out; on disk when it returns."""
        ids = np.asarray(ids, np.int64)
        own = [(s, ids[ids % self.n_shards == n]) for n, s in enumerate(self.shards)]
        self._all([shard.delete.remote(part) for shard, part in own if len(part)])

    def processes(self) -> list[int]:
        """The ids of the workers' processes, by shard."""
        return self._all([shard.process.remote() for shard in self.shards])

    def close(self) -> None:
        """End the workers; what they hold stays on disk."""
        for shard in self.shards:
            ray_module().kill(shard)

    def _all(self, answers: list[Any]) -> list[Any]:
        with errors_in_one_line("the search"):
            return ray_module().get(answers)


def _write(path: Path, **arrays: np.ndarray) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
