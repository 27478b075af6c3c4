"""Requests that arrive whether or not earlier ones are answered, over connections that are kept open."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

# Connections beyond which arrivals wait for one: a client has as few ports as this.
MAX_CONNECTIONS = 1000
# Seconds after the last arrival until what is left counts as unanswered.
PATIENCE_S = 10.0
PERCENTILES = (50.0, 90.0, 95.0, 99.0, 99.9)


@dataclass
class Load:
    """What a run of requests met.

    latencies: seconds from arrival to answer of those answered with 2xx. statuses: how many answers of each
    status, 0 for none. seconds: from the start to the last answer. late_s: how late the client sent at worst.
    """

    latencies: list[float] = field(default_factory=list)
    statuses: Counter = field(default_factory=Counter)
    seconds: float = 0.0
    late_s: float = 0.0

    def to_row(self) -> dict[str, Any]:
        """Percentiles in milliseconds, with a curve of 101 points, and counts."""
        ok = np.array(self.latencies) * 1000
        row: dict[str, Any] = {
            "requests": sum(self.statuses.values()),
            "answered": len(ok),
            "statuses": {str(status): count for status, count in sorted(self.statuses.items())},
            "seconds": round(self.seconds, 3),
            "throughput_per_s": round(len(ok) / self.seconds, 2) if self.seconds else 0.0,
            "client_late_ms": round(1000 * self.late_s, 3),
        }
        if len(ok):
            row |= {f"p{q:g}_ms": round(float(np.percentile(ok, q)), 3) for q in PERCENTILES}
            row["curve_ms"] = np.percentile(ok, np.arange(101)).round(3).tolist()
        return row


def request_bytes(path: str, content: Any, method: str = "POST") -> bytes:
    """A request of HTTP/1.1 as it goes over the wire."""
    body = json.dumps(content).encode()
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


class _Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self) -> None:
        self.transport: Any = None
        self.answered: asyncio.Future | None = None
        self._received = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        if self.answered is not None and not self.answered.done():
            self.answered.set_result(0)

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0 or self.answered is None or self.answered.done():
            return
        head = self._received[:end].lower()
        at = head.find(b"content-length:")
        length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(self._received) >= end + 4 + length:
            self._received = b""
            self.answered.set_result(int(head.split(b" ", 2)[1]))

    async def ask(self, content: bytes) -> int:
        """The status of the answer; 0 if the connection ends before it."""
        if self.transport.is_closing():
            return 0
        self.answered = asyncio.get_running_loop().create_future()
        self.transport.write(content)
        return await self.answered


class _Pool:
    """Connections to one server, opened as they are needed."""

    def __init__(self, port: int):
        self.port, self._free, self._opened = port, deque[_Connection](), 0
        self._waiting: deque[asyncio.Future] = deque()

    async def take(self) -> _Connection:
        while self._free:
            connection = self._free.pop()
            if not connection.transport.is_closing():
                return connection
            self._opened -= 1
        if self._opened >= MAX_CONNECTIONS:
            future = asyncio.get_running_loop().create_future()
            self._waiting.append(future)
            await future
            return await self.take()
        self._opened += 1
        loop = asyncio.get_running_loop()
        return (await loop.create_connection(_Connection, "127.0.0.1", self.port))[1]

    async def ask(self, content: bytes) -> int:
        """Ask over a connection; once more where the server had closed an idle one, as HTTP clients do."""
        for _ in range(2):
            try:
                connection = await self.take()
                status = await connection.ask(content)
            except OSError:
                return 0
            self.give(connection)
            if status:
                return status
        return 0

    def give(self, connection: _Connection) -> None:
        self._free.append(connection)
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(None)
                return

    def close(self) -> None:
        for connection in self._free:
            connection.transport.close()


def open_loop(port: int, contents: Sequence[bytes], arrivals: np.ndarray) -> Load:
    """Send ``contents`` (repeated as needed) at the seconds ``arrivals``; each counts from its arrival."""
    return asyncio.run(_open_loop(port, contents, arrivals))


async def _open_loop(port: int, contents: Sequence[bytes], arrivals: np.ndarray) -> Load:
    pool, load, tasks = _Pool(port), Load(), []
    started = time.perf_counter() + 0.05

    async def one(number: int, due: float) -> None:
        status = await pool.ask(contents[number % len(contents)])
        load.statuses[status] += 1
        if 200 <= status < 300:
            load.latencies.append(time.perf_counter() - due)

    for number, arrival in enumerate(arrivals.tolist()):
        due = started + arrival
        wait = due - time.perf_counter()
        if wait > 0:
            await asyncio.sleep(wait)
        load.late_s = max(load.late_s, time.perf_counter() - due)
        tasks.append(asyncio.create_task(one(number, due)))
    _, left = await asyncio.wait(tasks, timeout=PATIENCE_S)
    for task in left:
        task.cancel()
    load.statuses[0] += len(left)
    load.seconds = time.perf_counter() - started
    pool.close()
    return load


def closed_loop(port: int, contents: Sequence[bytes], callers: int, seconds: float) -> Load:
    """So many callers, each asking again as soon as it is answered: the most that a server answers."""
    return asyncio.run(_closed_loop(port, contents, callers, seconds))


async def _closed_loop(port: int, contents: Sequence[bytes], callers: int, seconds: float) -> Load:
    pool, load = _Pool(port), Load()
    started = time.perf_counter()

    async def caller(number: int) -> None:
        while time.perf_counter() - started < seconds:
            sent = time.perf_counter()
            status = await pool.ask(contents[number % len(contents)])
            number += callers
            load.statuses[status] += 1
            if 200 <= status < 300:
                load.latencies.append(time.perf_counter() - sent)

    await asyncio.gather(*(caller(number) for number in range(callers)))
    load.seconds = time.perf_counter() - started
    pool.close()
    return load
