"""What happens before a request is read: its token, its size, and whether it would be answered in time."""

from __future__ import annotations

import asyncio
import functools
import hmac
import json
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from recsys_lib.serving.admission import Admission

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

PATHS = ("/recommend", "/similar", "/items", "/events", "/health", "/ready", "/metrics")
# Without a token: whether the service runs is asked by machines that hold none.
OPEN = ("/health", "/ready")
# Of the state that a request carries: when its bytes arrived (``time.monotonic``), who lets it in, whether
# it is in already, and whether its body is there to its end.
ARRIVED, ADMISSION, ADMITTED, WHOLE = "arrived", "admission", "admitted", "whole"
BODY_TIMEOUT_S = 10.0
RETRY_AFTER_S = 1
OVERLOADED = f"overloaded: come again after {RETRY_AFTER_S} s"
SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
HEADERS = [(b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store")]


class Guard:
    """ASGI middleware: counts, and refuses with 401, 413, 408 or 503 before anything is parsed."""

    def __init__(
        self,
        app: Callable[[Scope, Receive, Send], Awaitable[None]],
        registry: CollectorRegistry,
        token: str | None,
        max_body: int,
        admission: Admission,
    ):
        self.app, self._token = app, token
        self.max_body, self.admission = max_body, admission
        labels = ["path", "status"]
        self._requests = Counter("recsys_requests", "Requests answered.", labels, registry=registry)
        self._latency = Histogram(
            "recsys_request_seconds", "Seconds from a request's body to its answer.", ["path"],
            buckets=SECONDS, registry=registry,
        )  # fmt: skip
        # A look-up of labels takes longer than the count.
        self._counter = functools.cache(lambda path, status: self._requests.labels(path, str(status)))
        self._seconds = functools.cache(self._latency.labels)
        gauge = Gauge("recsys_requests_in_flight", "Requests that are being answered.", registry=registry)
        gauge.set_function(lambda: admission.in_flight)
        gauge = Gauge("recsys_refused", "Refused with 503, before a task is made too.", registry=registry)
        gauge.set_function(lambda: admission.refused)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        # Ids are no labels of counters: there are too many.
        path = "/items" if scope["path"].startswith("/items/") else scope["path"]
        path = path if path in PATHS else "other"
        started = time.perf_counter()

        async def counted(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *HEADERS]
                self._counter(path, message["status"]).inc()
            await send(message)

        await self._admitted(scope, receive, counted, path)
        self._seconds(path).observe(time.perf_counter() - started)

    async def _admitted(self, scope: Scope, receive: Receive, send: Send, path: str) -> None:
        state = scope.get("state", {})
        if not state.get(ADMITTED):
            # Probes are answered whatever the load, so that an overloaded server is not taken for a dead one.
            if path not in OPEN and not self.admission.admits(_age_s(state)):
                await overloaded(send)
                return
            self.admission.began()
        try:
            await self._authorized_only(scope, receive, send, path)
        finally:
            self.admission.ended()

    async def _authorized_only(self, scope: Scope, receive: Receive, send: Send, path: str) -> None:
        if self._token is not None and path not in OPEN and not self._authorized(scope):
            header = [(b"www-authenticate", b"Bearer")]
            await refuse(send, 401, "expected the header Authorization: Bearer TOKEN", header)
            return
        body = await self._read(scope, receive, send)
        if body is not None:
            await self.app(scope, replayed(body, receive), send)

    async def _read(self, scope: Scope, receive: Receive, send: Send) -> bytes | None:
        """The body; None where there is nothing left to answer."""
        try:
            if scope.get("state", {}).get(WHOLE):
                body = await self._body(scope, receive)  # nothing to wait for
            else:
                async with asyncio.timeout(BODY_TIMEOUT_S):
                    body = await self._body(scope, receive)
        except TimeoutError:
            await refuse(send, 408, f"the body did not arrive within {BODY_TIMEOUT_S:g} seconds")
            return None
        except _Gone:
            return None
        if body is None:
            await refuse(send, 413, f"the body is too large: expected at most {self.max_body:,} bytes")
        return body

    def _authorized(self, scope: Scope) -> bool:
        given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        expected = f"Bearer {self._token}".encode()
        return hmac.compare_digest(given, expected)

    async def _body(self, scope: Scope, receive: Receive) -> bytes | None:
        """The whole body, or None if it is larger than allowed."""
        length = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if length.isdigit() and int(length) > self.max_body:
            return None
        parts, size = [], 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _Gone
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > self.max_body:
                return None
            if not message.get("more_body"):
                return b"".join(parts)


def _age_s(state: MutableMapping[str, Any]) -> float:
    return time.monotonic() - state[ARRIVED] if ARRIVED in state else 0.0


class _Gone(Exception):
    """The client went away."""


def replayed(body: bytes, receive: Receive) -> Receive:
    """What gives ``body`` first, then what comes."""
    sent = False

    async def again() -> MutableMapping[str, Any]:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


async def refuse(
    send: Send, status: int, sentence: str, headers: list[tuple[bytes, bytes]] | None = None
) -> None:
    """Answer with one sentence."""
    body = json.dumps({"error": sentence}).encode()
    start = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*start, *(headers or [])]})
    await send({"type": "http.response.body", "body": body})


async def overloaded(send: Send) -> None:
    """Answer 503 with the time after which to come again."""
    header = [(b"retry-after", str(RETRY_AFTER_S).encode())]
    await refuse(send, 503, OVERLOADED, header)
