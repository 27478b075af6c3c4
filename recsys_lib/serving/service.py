"""The state of a running service: its artefact, what came after it, and how both change."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from recsys_lib.core.errors import InputError
from recsys_lib.serving import artefact as artefacts
from recsys_lib.serving import fitting
from recsys_lib.serving.artefact import Artefact
from recsys_lib.serving.events import EventLog, NewItem, Stored
from recsys_lib.serving.served import Served
from recsys_lib.serving.trial import Trial

logger = logging.getLogger("recsys_lib.serving")


@dataclass(frozen=True, eq=False)
class State:
    """One artefact with what came after it, and without what was deleted. recent: for every user the item ids
    of events that it lacks. trial: the version that is interleaved with it, if one is.

    ``recent`` only grows, while requests read it; everything else never changes.
    """

    served: Served
    recent: dict[str, list[str]]
    items: tuple[NewItem, ...]
    trial: Trial | None = None

    def history(self, user: str) -> np.ndarray | None:
        """Places of the items that a user chose; None for a user without an event."""
        own = self.served.artefact
        row = own.interactions.users.get(user)
        recent = self.recent.get(user, ())
        if row is None and not recent:
            return None
        before = np.empty(0, dtype=np.int64) if row is None else own.history(row)
        if not recent:
            return before
        index = self.served.catalogue.index
        later = np.array([index[item] for item in recent if item in index], dtype=np.int64)
        return np.unique(np.concatenate([before, later]))


def _with_trial(state: State, candidate: Artefact | None) -> State:
    if candidate is None:
        return state
    items = fitting.encoded(candidate, state.items)
    return replace(state, trial=Trial(state.served, Served(candidate, items)))


class Service:
    """Holds the current ``State``; a request takes it once, whoever changes it replaces it whole."""

    def __init__(self, store: Path, log: EventLog):
        """Load the current artefact of ``store`` and what ``log`` has beyond it.

        Raises:
            InputError: no artefact, a damaged one, or no database.
        """
        self.store, self.log = store, log
        self._lock = threading.Lock()
        self._event_seq = self._item_seq = self._deletion_seq = 0
        self.swaps = self.failed_swaps = 0
        self._failed: str | None = None
        self.state = self._started(artefacts.load(store))
        self.follow()

    def _started(self, artefact: Artefact) -> State:
        """The state of an artefact with everything that the log has after it."""
        items = tuple(fitting.encoded(artefact, self.log.items_after(artefact.item_watermark)))
        recent: dict[str, list[str]] = {}
        event_seq = artefact.watermark
        for seq, event in self.log.events_after(event_seq):
            recent.setdefault(event.user, []).append(event.item)
            event_seq = seq
        deletions = self.log.deletions_after()
        deleted = frozenset(item for _, item in deletions)
        state = State(Served(artefact, items, deleted), recent, items)
        self._event_seq = event_seq
        self._deletion_seq = deletions[-1][0] if deletions else 0
        self._item_seq = items[-1].seq if items else artefact.item_watermark
        return state

    def refresh(self) -> None:
        """Read events, new items and deletions that came since the last reading, by this process or
        another.
        """
        with self._lock:
            state = self.state
            for seq, event in self.log.events_after(self._event_seq):
                state.recent.setdefault(event.user, []).append(event.item)
                self._event_seq = seq
            more = self.log.items_after(self._item_seq)
            deletions = self.log.deletions_after(self._deletion_seq)
            if more or deletions:
                before = state.served
                items = (*state.items, *fitting.encoded(before.artefact, more))
                deleted = before.deleted.union(item for _, item in deletions)
                grown = State(Served(before.artefact, items, deleted, before), state.recent, items)
                candidate = state.trial.candidate.artefact if state.trial else None
                self.state = _with_trial(grown, candidate)
                self._item_seq = more[-1].seq if more else self._item_seq
                self._deletion_seq = deletions[-1][0] if deletions else self._deletion_seq

    def follow(self) -> bool:
        """Swap to the version that the store points to, and begin or end a trial, where the store says so;
        True after a swap.

        A version that cannot be loaded is logged once, and the old one goes on answering.
        """
        state = self.state
        before = state.trial.candidate.version if state.trial else None
        try:
            version, candidate = artefacts.current(self.store), artefacts.on_trial(self.store)
            candidate = None if candidate == version else candidate
            if (version, candidate) == (state.served.version, before):
                self._failed = None
                return False
            swapped = version != state.served.version
            loaded = artefacts.load(self.store, version) if swapped else None
            tried = artefacts.load(self.store, candidate) if candidate else None
        except InputError as error:
            if str(error) != self._failed:
                self._failed = str(error)
                self.failed_swaps += 1
                logger.warning("the running version stays: %s", error)
            return False
        with self._lock:
            state = self._started(loaded) if loaded else replace(self.state, trial=None)
            self.state = _with_trial(state, tried)
        self.swaps += swapped
        return swapped

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Raw text vectors of new texts, float32 ``[n, d]``."""
        return self.state.served.artefact.encoder.encode(list(texts), progress=False)

    def delete_items(self, ids: Sequence[str]) -> Stored:
        """Keep on disk that items are deleted, then show them no more."""
        stored = self.log.delete_items(ids)
        self.refresh()
        return stored

    def add_items(self, items: Sequence[NewItem]) -> Stored:
        """Store new items on disk, then rank them with all others."""
        stored = self.log.add_items(items)
        self.refresh()
        return stored
