"""Group commit: one thread writes what all requests of a moment brought, in one transaction, then answers
each.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from recsys_lib.serving.events import Event, EventLog, Stored

# Events of one transaction: more wait for the next.
MAX_GROUP = 5000
# Shown lists that may wait; further ones are dropped and counted: they are not acknowledged to anybody.
MAX_LISTS = 20_000


class Full(Exception):
    """The queue is full: the caller should come again later."""


@dataclass(frozen=True, eq=False)
class _Job:
    events: tuple[Event, ...]
    done: Future


class Writer:
    """Takes events of many requests and stores them together; a request is answered after the commit."""

    def __init__(self, log: EventLog, after: Callable[[], None] = lambda: None, max_waiting: int = 1000):
        """``after``: called in the writer's thread after every commit and before the answers."""
        self._log, self._after = log, after
        self._jobs: queue.Queue[_Job | None] = queue.Queue(max_waiting)
        self._lists: list[dict[str, Any]] = []
        self._lock = threading.Lock()
        self._closed = False
        self.dropped_lists = 0
        self._thread = threading.Thread(target=self._run, name="event-writer", daemon=True)
        self._thread.start()

    def add(self, events: Sequence[Event]) -> Future:
        """A future of what becomes of the events (``Stored``); it is set once they are on disk.

        Raises:
            Full: too many requests wait, or the writer is closed.
        """
        job = _Job(tuple(events), Future())
        with self._lock:  # nothing comes behind the end of the queue, where nobody would answer it
            if self._closed:
                raise Full
            try:
                self._jobs.put_nowait(job)
            except queue.Full as error:
                raise Full from error
        return job.done

    def show(self, row: dict[str, Any]) -> None:
        """Keep a shown list soon; nobody waits for it, and a kill may lose the last ones."""
        with self._lock:
            if len(self._lists) < MAX_LISTS:
                self._lists.append(row)
            else:
                self.dropped_lists += 1

    def close(self) -> None:
        """Write what waits, then end."""
        with self._lock:
            self._closed = True
        self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        job: _Job | None
        while True:
            try:
                job = self._jobs.get(timeout=0.5)
            except queue.Empty:
                self._flush_lists()
                continue
            jobs: list[_Job] = []
            size = 0
            while job is not None:
                jobs.append(job)
                size += len(job.events)
                if size >= MAX_GROUP:
                    break
                try:
                    job = self._jobs.get_nowait()
                except queue.Empty:
                    break
            if jobs:
                self._write(jobs)
            self._flush_lists()
            if job is None:
                return

    def _write(self, jobs: Sequence[_Job]) -> None:
        # Whoever gave up waiting gets no answer, and cannot give up from here on; the events are kept.
        waiting = [job for job in jobs if job.done.set_running_or_notify_cancel()]
        try:
            stored = self._log.add_events([event for job in jobs for event in job.events])
            self._after()
        except BaseException as error:
            for job in waiting:
                job.done.set_exception(error)
            return
        for job in waiting:
            keys = {event.key for event in job.events}
            job.done.set_result(Stored(stored.new & keys, stored.known & keys, stored.conflicts & keys))

    def _flush_lists(self) -> None:
        with self._lock:
            rows, self._lists = self._lists, []
        try:
            self._log.add_lists(rows)
        except Exception:
            self.dropped_lists += len(rows)
