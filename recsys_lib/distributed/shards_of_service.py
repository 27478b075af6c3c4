"""The search of ``/similar`` in shards under Ray Serve: each holds a part of the items' vectors, answers its
exact top k, and the merged lists are those of one index over all.

Item ``p`` of the catalogue belongs to shard ``p modulo shards``. A request names the version and how far the
log of new items and deletions was read; a shard that has read less reads on first. So all shards answer for
the state that the request began with, and a new item or a deletion is seen as soon as it is acknowledged.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from recsys_lib.distributed.cluster import ray_module
from recsys_lib.serving import artefact as artefacts
from recsys_lib.serving import fitting
from recsys_lib.serving.batching import Overloaded
from recsys_lib.serving.events import EventLog
from recsys_lib.serving.http_app import Search
from recsys_lib.serving.served import Served
from recsys_lib.vectors.search.updatable import UpdatableIndex, merge_top_k

# Versions that a shard keeps: while servers swap, some still ask for the old one.
VERSIONS = 2
# Times that a search is asked again whose shard died meanwhile.
ATTEMPTS = 3


class Part:
    """The items of one shard in one version, with those that came since and without those deleted."""

    def __init__(self, artefact: artefacts.Artefact, shard: int, shards: int):
        self.artefact, self.shard, self.shards = artefact, shard, shards
        self.places = dict(artefact.catalogue.index)
        own = np.arange(shard, artefact.n_items, shards)
        self.index = UpdatableIndex(own, np.asarray(artefact.vectors)[own])
        self.deleted = 0
        self._item_seq, self._deletion_seq = artefact.item_watermark, 0
        self._reading = threading.Lock()

    def read(self, log: EventLog, n_items: int, deleted: int) -> None:
        """Read on in the log where it holds less than ``n_items`` and ``deleted`` ones."""
        with self._reading:
            if len(self.places) < n_items:
                self._insert(log)
            if self.deleted < deleted:
                found = log.deletions_after(self._deletion_seq)
                self.index.delete(np.array([self.places.get(item, -1) for _, item in found], np.int64))
                self.deleted += len(found)
                self._deletion_seq = found[-1][0] if found else self._deletion_seq

    def _insert(self, log: EventLog) -> None:
        found = log.items_after(self._item_seq)
        fresh = [item for item in fitting.encoded(self.artefact, found) if item.id not in self.places]
        first = len(self.places)
        self.places |= {item.id: first + n for n, item in enumerate(fresh)}
        own = [n for n in range(len(fresh)) if (first + n) % self.shards == self.shard]
        if own:
            raw = np.array([fresh[n].vector for n in own], dtype=np.float32)
            self.index.insert(np.array(own) + first, self.artefact.geometry.apply(raw))
        self._item_seq = found[-1].seq if found else self._item_seq


class SearchShard:
    """One shard as a replica of Ray Serve runs it."""

    def __init__(self, store: str, database: str, shard: int, shards: int):
        self.store, self.log = Path(store), EventLog(database)
        self.shard, self.shards = shard, shards
        self.parts: dict[str, Part] = {}
        self._part(artefacts.current(self.store))

    def _part(self, version: str) -> Part:
        if version not in self.parts:
            loaded = artefacts.load(self.store, version, check=False)
            self.parts[version] = Part(loaded, self.shard, self.shards)
            for old in list(self.parts)[:-VERSIONS]:
                del self.parts[old]
        return self.parts[version]

    def top_k(
        self, version: str, n_items: int, deleted: int, queries: np.ndarray, k: int, left_out: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The best ``k`` own items of each query ``[n, d]``, places and cosines ``[n, k]``, among the first
        ``n_items`` of the version that are neither ``left_out`` nor deleted.
        """
        part = self._part(version)
        part.read(self.log, n_items, deleted)
        later = np.arange(n_items, len(part.places))
        exclude = np.concatenate([left_out, later]).tolist()
        return part.index.top_k(queries, k, [exclude] * len(queries))


def sharded_search(handles: Callable[[], list[Any]]) -> Search:
    """What ``http_app.create`` takes as ``search``: asks the shards of ``handles()`` at once and merges."""
    found: list[Any] = []

    async def search(
        served: Served, vectors: np.ndarray, k: int, left_out: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        if not found:
            found.extend(handles())
        queries = served.artefact.geometry.apply(vectors)
        asked = (served.version, served.n_items, len(served.deleted), queries, k, left_out)
        parts = await asyncio.gather(*(_answer(handle, asked) for handle in found))
        ids, cosines = (merged[0] for merged in merge_top_k(parts, k))
        return ids[ids >= 0], cosines[ids >= 0]

    return search


async def _answer(handle: Any, asked: tuple[Any, ...]) -> Any:
    """One shard's answer; asked again where its worker died, since a search changes nothing.

    Raises:
        Overloaded: too many requests wait for the shard.
    """
    died = ray_module().exceptions.RayActorError
    for _ in range(ATTEMPTS - 1):
        with contextlib.suppress(died):
            return await _once(handle, asked)
    return await _once(handle, asked)


async def _once(handle: Any, asked: tuple[Any, ...]) -> Any:
    from ray.serve.exceptions import BackPressureError

    try:
        return await handle.top_k.remote(*asked)
    except BackPressureError as error:
        raise Overloaded from error
