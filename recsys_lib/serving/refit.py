"""Refit: read new events, fit anew, evaluate on the newest slice against the running version, swap if not
worse.

The rule: the newest ``holdout`` of the new events, by time, is held out. The running version and a candidate
fitted on everything before the slice both rank the whole catalogue, new items included, for the users of the
slice, with the same histories. If the candidate's mean NDCG@k is at least ``1 - margin`` times that of the
running version, a model fitted on everything, the slice included, is written and put in place; else the
running version stays and the events are read again by the next refit. The margin is a rule on means, no test:
a slice of a few hundred users cannot show a small loss. The paired interval is recorded beside it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from recsys_lib import evaluation
from recsys_lib.core.errors import InputError
from recsys_lib.evaluation import Evaluation
from recsys_lib.serving import artefact as artefacts
from recsys_lib.serving import fitting
from recsys_lib.serving.artefact import Artefact, Catalogue, Interactions
from recsys_lib.serving.events import Event, EventLog, NewItem
from recsys_lib.serving.served import Served

# Users that are scored at once.
BATCH = 256


@dataclass(frozen=True)
class Policy:
    """When a refit swaps. holdout: the fraction of the new events that is held out; min_events: fewer new
    ones are left for the next refit; margin: how much worse, relatively, a candidate's NDCG@k may be.
    """

    margin: float = 0.02
    holdout: float = 0.2
    min_events: int = 100
    k: int = 10

    def __post_init__(self) -> None:
        if not (0 <= self.margin < 1 and 0 < self.holdout < 1 and self.min_events >= 1 and self.k >= 1):
            raise InputError(
                f"margin={self.margin!r}, holdout={self.holdout!r}, min_events={self.min_events!r}, "
                f"k={self.k!r}: expected fractions from 0 to 1, and numbers of at least 1"
            )


@dataclass(frozen=True)
class Outcome:
    """What a refit did. decision: swapped, on trial, kept or waiting (too few events); ndcg: means over
    ``users``; difference, low, high: candidate less running, with its 95% interval.
    """

    decision: str
    running: str
    version: str
    events: int
    new_items: int
    users: int = 0
    ndcg_running: float = 0.0
    ndcg_candidate: float = 0.0
    difference: float = 0.0
    low: float = 0.0
    high: float = 0.0
    seconds: float = 0.0

    def sentence(self) -> str:
        """The outcome for a person."""
        read = f"{self.events:,} new events, {self.new_items} new items"
        if self.decision == "waiting":
            return f"{read}: too few, {self.running} stays"
        found = (
            f"NDCG@10 on the newest slice ({self.users} users) {self.ndcg_candidate:.4f} refitted, "
            f"{self.ndcg_running:.4f} running, difference {self.difference:+.4f} "
            f"[{self.low:+.4f}, {self.high:+.4f}]"
        )
        last = f"{self.running} stays"
        if self.decision != "kept":
            last = f"{'swapped to' if self.decision == 'swapped' else 'on trial:'} {self.version}"
        return f"{read}: {found}; {last} ({self.seconds:.1f} s)"


def refit(store: Path, log: EventLog, policy: Policy | None = None, trial: bool = False) -> Outcome:
    """Read what came since the running version, and swap if the rule allows it; one refit at a time.

    ``trial``: what the rule allows is not put in place but interleaved with the running version. Killed at
    any moment it leaves the running version, or the whole new one.

    Raises:
        InputError: no artefact, a damaged one, another refit is running.
    """
    policy = policy or Policy()
    started = time.perf_counter()
    with artefacts.refitting(store):
        running = artefacts.load(store)
        news = _News.read(running, log)
        if len(news.events) < policy.min_events:
            return Outcome("waiting", running.version, running.version, len(news.events), len(news.items))
        found = _compared(running, news, policy)
        base = {
            "running": running.version, "events": len(news.events), "new_items": len(news.items), **found,
        }  # fmt: skip
        if found["ndcg_candidate"] < (1 - policy.margin) * found["ndcg_running"]:
            return Outcome("kept", version=running.version, seconds=time.perf_counter() - started, **base)
        evaluated = base | asdict(policy)
        new = _fitted(running, news, news.events, watermark=news.last_event,
                      item_watermark=news.last_item, evaluation=evaluated)  # fmt: skip
        version = artefacts.write(new, store)
        (artefacts.begin_trial if trial else artefacts.put_in_place)(store, version)
        decision = "on trial" if trial else "swapped"
        return Outcome(decision, version=version, seconds=time.perf_counter() - started, **base)


@dataclass(frozen=True, eq=False)
class _News:
    """What the log has beyond an artefact: events of items that are known, by time, and new items; and which
    items are deleted. These stay in the catalogue: what people chose of them still says what they like.
    """

    events: list[Event]
    items: list[NewItem]
    last_event: int
    last_item: int
    catalogue: Catalogue
    raw: np.ndarray
    deleted: frozenset[str]

    @staticmethod
    def read(running: Artefact, log: EventLog) -> _News:
        items = log.items_after(running.item_watermark)
        last_item = items[-1].seq if items else running.item_watermark
        fresh = [item for item in items if item.id not in running.catalogue.index]
        items = fitting.encoded(running, fresh)
        numbered = log.events_after(running.watermark)
        rows = [{"id": i.id, "title": i.title, "labels": i.labels, "text": i.text} for i in items]
        catalogue = fitting.extended(running.catalogue, rows) if rows else running.catalogue
        raw = np.concatenate([np.asarray(running.raw), *(item.vector[None] for item in items)])
        events = [event for _, event in numbered if event.item in catalogue.index]
        events.sort(key=lambda event: event.time)
        last_event = numbered[-1][0] if numbered else running.watermark
        deleted = frozenset(item for _, item in log.deletions_after())
        return _News(events, items, last_event, last_item, catalogue, raw, deleted)


def _fitted(running: Artefact, news: _News, events: Sequence[Event], **more: Any) -> Artefact:
    """A model on the running version's interactions and these events."""
    together = joined(running.interactions, events, news.catalogue)
    return fitting.fit(
        news.catalogue, together, running.encoder_from, news.raw, running.settings, **more
    )  # fmt: skip


def joined(before: Interactions, events: Sequence[Event], catalogue: Catalogue) -> Interactions:
    """Interactions with those of ``events``; of a pair that occurs twice the first stays."""
    users = dict(before.users)
    seen = set(zip(before.user.tolist(), before.item.tolist(), strict=True))
    rows: list[tuple[int, int, int]] = []
    for event in events:
        user = users.setdefault(event.user, len(users))
        pair = user, catalogue.index[event.item]
        if pair not in seen:
            seen.add(pair)
            rows.append((*pair, event.time))
    new = np.array(rows, dtype=np.int64).reshape(-1, 3)
    return Interactions(
        tuple(users),
        np.concatenate([before.user, new[:, 0].astype(before.user.dtype)]),
        np.concatenate([before.item, new[:, 1].astype(before.item.dtype)]),
        np.concatenate([before.time, new[:, 2]]),
    )


def _compared(running: Artefact, news: _News, policy: Policy) -> dict[str, Any]:
    """Both versions on the newest slice."""
    cut = len(news.events) - max(1, round(policy.holdout * len(news.events)))
    before, after = news.events[:cut], news.events[cut:]
    known = joined(running.interactions, before, news.catalogue)
    together = joined(known, after, news.catalogue)
    n_items = len(news.catalogue.ids)
    held_out = np.arange(len(together.user)) >= len(known.user)
    histories = together.matrix(n_items, ~held_out)
    # No list shows a deleted item, so none is missed in one.
    available = np.array([name not in news.deleted for name in news.catalogue.ids])
    test = together.matrix(n_items, held_out & available[together.item])
    if not test.nnz:
        raise InputError("the newest slice holds no new interaction: wait for more events")
    candidate = fitting.fit(news.catalogue, known, running.encoder_from, news.raw, running.settings)
    own = ranked(Served(running, news.items, news.deleted), histories, test, policy.k)
    new = ranked(Served(candidate, (), news.deleted), histories, test, policy.k)
    difference = evaluation.compare(new, own, resamples=1000)
    return {
        "users": len(own.users),
        "ndcg_running": own.mean()["ndcg"],
        "ndcg_candidate": new.mean()["ndcg"],
        "difference": difference.difference,
        "low": difference.low,
        "high": difference.high,
    }


class Ranker:
    """A ``Served`` as evaluation asks for it: rows of ``histories [n_users, n_items]`` to scores."""

    def __init__(self, served: Served, histories: sp.csr_matrix):
        self._served, self._histories = served, histories

    def fit(self, train: sp.csr_matrix) -> Ranker:
        """Fitted already."""
        return self

    def scores(self, users: np.ndarray) -> np.ndarray:
        """As the service scores these histories, float32 ``[len(users), n_items]``; -inf at deleted items."""
        rows = self._histories[users].sorted_indices()
        parts = np.split(rows.indices.astype(np.int64), rows.indptr[1:-1])
        found = self._served.scores(parts)
        found[:, self._served.gone] = -np.inf
        return found


def ranked(served: Served, histories: sp.csr_matrix, test: sp.csr_matrix, k: int = 10) -> Evaluation:
    """The whole catalogue ranked as the service ranks it, for every user with a test item."""
    return evaluation.evaluate(Ranker(served, histories), histories, test, k)
