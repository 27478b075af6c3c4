"""The application over HTTP: recommend, similar, items put and deleted, events, health, ready and metrics."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import prometheus_client
import pydantic_core

from recsys_lib.core.errors import InputError
from recsys_lib.serving import schemas
from recsys_lib.serving.admission import Admission
from recsys_lib.serving.batching import Batcher, TextBatcher
from recsys_lib.serving.events import Event, EventLog, NewItem
from recsys_lib.serving.guard import ADMISSION, Guard, Receive, Scope, Send
from recsys_lib.serving.plain_routes import App, Headers, PlainRoute, PlainRoutes, is_json, read
from recsys_lib.serving.refusals import Refused, Unavailable
from recsys_lib.serving.served import Query, Served
from recsys_lib.serving.service import Service
from recsys_lib.serving.slate import Rule, Slate
from recsys_lib.serving.trial import Trial
from recsys_lib.serving.writer import Full, Writer

Search = Callable[[Served, np.ndarray, int, np.ndarray], Awaitable[tuple[np.ndarray, np.ndarray]]]


@dataclass(frozen=True)
class Settings:
    """How a server answers.

    max_batch, deadline_ms, max_waiting: see ``batching.Batcher``. max_in_flight, max_wait_s: requests at
    once, and seconds that one may wait from its arrival, beyond which the server answers 503. poll_s: how
    often it looks for a new version, and for what other processes wrote. log_lists: keep shown lists with
    their propensities. seed: of the draws for the quota, None for any.
    """

    rule: Rule = field(default_factory=Rule)
    max_batch: int = 64
    deadline_ms: float = 0.0
    max_waiting: int = 256
    max_in_flight: int = 256
    max_wait_s: float = 0.5
    max_body: int = schemas.MAX_BODY
    poll_s: float = 0.5
    log_lists: bool = True
    seed: int | None = None


def create(
    store: Path,
    database: str | Path,
    settings: Settings | None = None,
    token: str | None = None,
    search: Search | None = None,
) -> Application:
    """The application over the artefacts in ``store`` and the events in ``database``; both are opened now.

    ``search``: finds similar items in place of ``Served.similar``, with its arguments and answer.

    Raises:
        InputError: no artefact, a damaged one, no database.
    """
    service = Service(store, EventLog(database))
    return Application(service, settings or Settings(), token, search or _similar)


async def _similar(
    served: Served, vectors: np.ndarray, k: int, left_out: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    return served.similar(vectors, k, left_out)


class Application:
    """ASGI: the guard, then lists and probes as plain routes, then FastAPI; and what all answers share."""

    def __init__(self, service: Service, settings: Settings, token: str | None, search: Search):
        self.service, self.settings, self.search = service, settings, search
        self.rng = np.random.default_rng(settings.seed)
        self.texts = TextBatcher(service.encode)
        self.admission = Admission(settings.max_in_flight, settings.max_wait_s)
        self.writer: Writer | None = None
        self.batcher: Batcher[tuple[Served | Trial, Query], Any] = Batcher(
            self._answer, settings.max_batch, settings.deadline_ms / 1000, settings.max_waiting
        )
        self.registry = prometheus_client.CollectorRegistry()
        self._gauges()
        self._fastapi: App | None = None
        self._importing = threading.Lock()
        routes = {
            ("POST", "/recommend"): PlainRoute(self._recommend),
            ("POST", "/similar"): PlainRoute(self._similar),
            ("POST", "/events"): PlainRoute(self._events, 202),
            ("GET", "/health"): PlainRoute(lambda headers, body: self.health()),
            ("GET", "/ready"): PlainRoute(lambda headers, body: self.ready()),
        }
        self._guard = Guard(
            PlainRoutes(self._other, routes), self.registry, token, settings.max_body, self.admission
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
        else:
            await self._guard(scope, receive, send)

    async def _other(self, scope: Scope, receive: Receive, send: Send) -> None:
        """What is no plain route."""
        app = self._fastapi
        if app is None:
            app = await asyncio.to_thread(self._routed)
        await app(scope, receive, send)

    def _routed(self) -> App:
        """FastAPI with all routes, imported once: that takes some tenths of a second."""
        with self._importing:
            if self._fastapi is None:
                from recsys_lib.serving import fastapi_routes

                self._fastapi = fastapi_routes.build(self)
            return self._fastapi

    def _gauges(self) -> None:
        values = {
            "batches": ("Batches of scores.", lambda: self.batcher.counts.batches),
            "batched_requests": ("Requests in those batches.", lambda: self.batcher.counts.questions),
            "swaps": ("Versions swapped in.", lambda: self.service.swaps),
            "failed_swaps": ("Versions that could not be loaded.", lambda: self.service.failed_swaps),
            "items": ("Items of the catalogue.", lambda: self.service.state.served.n_available),
            "lists_dropped": (
                "Shown lists not kept.",
                lambda: self.writer.dropped_lists if self.writer else 0,
            ),
        }
        for name, (about, value) in values.items():
            gauge = prometheus_client.Gauge(f"recsys_{name}", about, registry=self.registry)
            gauge.set_function(value)
        self.accepted = prometheus_client.Counter("recsys_events", "Events stored.", registry=self.registry)

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Start the writer and the poller with the server, and end both with it; tells the server who lets
        requests in, so that it can refuse before it makes a task.
        """
        await receive()
        self.writer = Writer(self.service.log, self.service.refresh)
        polling = asyncio.create_task(self._poll())
        scope.get("state", {})[ADMISSION] = self.admission
        await send({"type": "lifespan.startup.complete"})
        try:
            await receive()
        finally:
            polling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await polling
            await asyncio.to_thread(self.writer.close)
            self.service.log.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _poll(self) -> None:
        await asyncio.sleep(self.settings.poll_s)  # the first lists need no FastAPI
        with contextlib.suppress(Exception):  # a request that needs it will say why
            await asyncio.to_thread(self._routed)
        while True:
            with contextlib.suppress(Exception):  # a database that is away now may be back at the next poll
                await asyncio.to_thread(self.service.follow)
                await asyncio.to_thread(self.service.refresh)
            await asyncio.sleep(self.settings.poll_s)

    def _answer(self, questions: Sequence[tuple[Served | Trial, Query]]) -> list[Any]:
        """Lists for a batch; questions of one version, or of one trial, are scored together."""
        answers: list[Any] = [None] * len(questions)
        versions: dict[int, list[int]] = {}
        for place, (served, _) in enumerate(questions):
            versions.setdefault(id(served), []).append(place)
        for places in versions.values():
            served = questions[places[0]][0]
            queries = [questions[place][1] for place in places]
            found = served.recommend(queries, self.settings.rule, self.rng)
            for place, answer in zip(places, found, strict=True):
                answers[place] = answer
        return answers

    # ---------------------------------------------------------------- answers

    async def _recommend(self, headers: Headers, body: bytes) -> dict[str, Any]:
        if not is_json(headers):
            raise InputError("body: expected the content type application/json")
        return await self.recommend(schemas.RecommendRequest.model_validate_json(body))

    async def _similar(self, headers: Headers, body: bytes) -> dict[str, Any]:
        return await self.similar(read(schemas.SimilarRequest, headers, body))

    async def _events(self, headers: Headers, body: bytes) -> dict[str, Any]:
        return await self.post_events(read(schemas.EventsRequest, headers, body))

    async def recommend(self, asked: schemas.RecommendRequest) -> dict[str, Any]:
        """The best items for a user or a history, with a reason for each."""
        state = self.service.state
        served = state.served
        if asked.user is not None:
            history = state.history(asked.user)
            if history is None:
                raise Refused(404, f"user: {asked.user[:60]!r} is unknown, give a history instead")
        else:
            history = served.places(asked.history or (), "history")
        excluded = served.places(asked.exclude, "exclude")
        if asked.label is not None and asked.label not in served.with_label:
            raise InputError(f"label: {asked.label[:60]!r} is unknown")
        query = Query(history, excluded, asked.k, asked.label, asked.explore)
        answering = state.trial or served
        chosen, scores = await self.batcher.ask((answering, query))
        reasons = answering.reasons(history, chosen, asked.language)
        ids, titles = served.catalogue.ids, served.catalogue.titles
        places, propensities = chosen.ids.tolist(), chosen.propensities.round(6).tolist()
        explored = chosen.explored.tolist()
        items = [
            {
                "id": ids[item], "title": titles[item], "score": round(score, 6),
                "reason": reason, "explored": drawn, "propensity": propensity,
            }
            for item, score, reason, drawn, propensity in zip(
                places, scores, reasons, explored, propensities, strict=True
            )
        ]  # fmt: skip
        list_id = os.urandom(16).hex()
        if self.settings.log_lists and self.writer is not None:
            self.writer.show(_shown(list_id, asked.user or "", answering, chosen))
        return {"version": served.version, "list_id": list_id, "items": items}

    async def similar(self, asked: schemas.SimilarRequest) -> dict[str, Any]:
        """The items whose texts are nearest to a text or to an item."""
        served = self.service.state.served
        left_out: np.ndarray = np.empty(0, dtype=np.int64)
        if asked.item is not None:
            left_out = served.places([asked.item], "item")
            vectors = served.raw_vector(int(left_out[0]))
        else:
            vectors = await self._encode([asked.text or ""])
        places, cosines = await self.search(served, vectors, asked.k, left_out)
        ids, titles = served.catalogue.ids, served.catalogue.titles
        items = [
            {"id": ids[place], "title": titles[place], "cosine": round(float(cosine), 6)}
            for place, cosine in zip(places.tolist(), cosines, strict=True)
        ]
        return {"version": served.version, "items": items}

    async def put_items(self, asked: schemas.ItemsRequest) -> dict[str, Any]:
        """Add new items: they are encoded, placed by the map of cold items and recommended at once."""
        served = self.service.state.served
        given = {item.id: item for item in asked.items}
        if len(given) < len(asked.items):
            raise InputError("items: expected each id once")
        known = [i for i in given.values() if i.id in served.artefact.catalogue.index]
        gone = next((i.id for i in given.values() if i.id in served.deleted), None)
        if gone is not None:
            raise Refused(409, f"items: {gone[:60]!r} was deleted; choose another id")
        for item in known:
            if served.catalogue.titles[served.catalogue.index[item.id]] != item.title:
                raise Refused(409, f"items: {item.id[:60]!r} is another item of the catalogue")
        fresh = [i for i in given.values() if i.id not in served.artefact.catalogue.index]
        texts = [i.text or ". ".join([i.title, *([", ".join(i.labels)] if i.labels else [])]) for i in fresh]
        vectors = await self._encode(texts)
        items = [
            NewItem(i.id, i.title, tuple(i.labels), text, vector, encoder=served.artefact.encoder_id)
            for i, text, vector in zip(fresh, texts, vectors, strict=True)
        ]
        stored = await asyncio.to_thread(self.service.add_items, items)
        if stored.conflicts:
            raise Refused(409, f"items: {min(stored.conflicts)[:60]!r} was added as another item before")
        answer = {"added": len(stored.new), "known": len(stored.known) + len(known)}
        return {"version": served.version, **answer}

    async def delete_item(self, item: schemas.Id) -> dict[str, Any]:
        """Show an item never again, neither in lists nor among similar ones; events of it are still taken.

        Sending it again changes nothing, and nothing takes it back. Other processes follow when they poll.
        """
        if not await self._knows([item]):
            raise Refused(404, f"items: {item[:60]!r} is unknown")
        stored = await asyncio.to_thread(self.service.delete_items, [item])
        answer = {"deleted": len(stored.new), "known": len(stored.known)}
        return {"version": self.service.state.served.version, **answer}

    async def post_events(self, asked: schemas.EventsRequest) -> dict[str, Any]:
        """Keep events: they are on disk before the answer 202. Sending one again changes nothing."""
        await self._known_items([event.item for event in asked.events])
        now = int(time.time())
        events = [
            Event(e.key, e.user, e.item, now if e.time is None else e.time, e.list_id or "")
            for e in asked.events
        ]
        if self.writer is None:
            raise Full
        stored = await asyncio.wrap_future(self.writer.add(events))
        self.accepted.inc(len(stored.new))
        if stored.conflicts:
            raise Refused(
                409,
                f"events: key {min(stored.conflicts)[:60]!r} was used for another event; the others are kept",
            )
        return {"accepted": len(stored.new), "duplicates": len(stored.known)}

    async def _known_items(self, items: Sequence[str]) -> None:
        if not await self._knows(items):
            self.service.state.served.places(items, "events")

    async def _knows(self, items: Sequence[str]) -> bool:
        if all(item in self.service.state.served.catalogue.index for item in items):
            return True
        # Another process may have added it a moment ago.
        await asyncio.to_thread(self.service.refresh)
        return all(item in self.service.state.served.catalogue.index for item in items)

    async def _encode(self, texts: Sequence[str]) -> np.ndarray:
        return np.array(await self.texts.encode(texts), dtype=np.float32)

    async def health(self) -> dict[str, str]:
        """The process answers."""
        return {"status": "alive"}

    async def ready(self) -> dict[str, Any]:
        """An artefact is loaded and the database answers."""
        served, trial = self.service.state.served, self.service.state.trial
        try:
            counts = await asyncio.to_thread(self.service.log.counts)
        except Exception as error:
            raise Unavailable from error
        return {
            "status": "ready",
            "version": served.version,
            "items": served.n_available,
            "events": counts["events"],
            "trial": trial.candidate.version if trial else None,
        }


def _shown(list_id: str, user: str, answering: Served | Trial, chosen: Slate) -> dict[str, Any]:
    """A list as it is kept: ids, which were drawn, with which probability, from which candidates; in a trial
    also which version picked which.
    """
    served = answering.running if isinstance(answering, Trial) else answering
    ids = served.catalogue.ids
    shown: dict[str, Any] = {
        "ids": [ids[item] for item in chosen.ids.tolist()],
        "explored": chosen.explored.tolist(),
        "propensities": chosen.propensities.round(6).tolist(),
        "pools": [[ids[item] for item in pool.tolist()] for pool in chosen.pools],
    }
    if isinstance(answering, Trial) and chosen.teams is not None:
        shown |= {"candidate": answering.candidate.version, "teams": chosen.teams.tolist()}
    return {
        "id": list_id, "user_id": user, "version": served.version, "time": int(time.time()),
        "shown": pydantic_core.to_json(shown).decode(),
    }  # fmt: skip


def settings_from(content: dict[str, Any]) -> Settings:
    """``Settings`` from JSON types, as ``dataclasses.asdict`` gives them."""
    return Settings(**{**content, "rule": Rule(**content["rule"])})


def as_json(settings: Settings) -> dict[str, Any]:
    """``Settings`` as JSON types."""
    return dataclasses.asdict(settings)
