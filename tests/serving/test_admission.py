"""Requests that cannot be answered in time are refused at once, whether they wait inside or in a socket."""

import asyncio
import socket
import sys
import threading
import time

import numpy as np
import prometheus_client
import pytest
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from recsys_lib.benchmarks.serve import client
from recsys_lib.serving import arrivals
from recsys_lib.serving.admission import BUSY, Admission
from recsys_lib.serving.fast_arrivals import FastArrivals
from recsys_lib.serving.guard import ADMISSION, Guard


def test_places_and_age_limit_who_is_let_in():
    admission = Admission(max_in_flight=2, max_wait_s=0.5)
    assert admission.admits() and admission.admits(0.5) and not admission.admits(0.51)
    admission.began()
    admission.began()
    assert not admission.admits() and admission.refused == 2
    admission.ended()
    assert admission.admits()


def test_the_pace_of_answers_limits_the_queue(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    admission = Admission(max_in_flight=10_000, max_wait_s=1.0)
    for _ in range(2 * BUSY):
        admission.began()
    for _ in range(1000):  # a busy server, one answer in 0.1 s
        now[0] += 0.1
        admission.ended()
        admission.began()
    assert admission.pace_s == pytest.approx(0.1)
    assert not admission.admits()  # 16 before it: 1.6 s
    while admission.in_flight > 10:
        admission.ended()
    assert admission.admits() and not admission.admits(age_s=0.5)


def test_few_requests_at_a_time_say_nothing_of_a_queue(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    admission = Admission()
    for _ in range(100):
        admission.began()
        now[0] += 0.4
        admission.ended()
    assert admission.pace_s == 0.0 and admission.in_flight == 0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux says when bytes arrived")
def test_the_kernel_says_how_long_bytes_have_waited():
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        socket.create_connection(listening.getsockname()) as asking,
        listening.accept()[0] as accepted,
    ):
        asking.sendall(b"x")
        time.sleep(0.1)
        assert arrivals.waited_s(accepted) >= 0.05
    assert arrivals.waited_s(None) == 0.0
    with socket.socket(socket.AF_UNIX) as other:
        assert arrivals.waited_s(other) == 0.0


def test_the_protocol_is_chosen_by_what_is_installed(monkeypatch):
    assert issubclass(arrivals.protocol(), HttpToolsProtocol)
    monkeypatch.setitem(sys.modules, "recsys_lib.serving.fast_arrivals", None)
    assert arrivals.protocol() is arrivals.PlainArrivals


class Slow:
    """A guarded application that holds the event loop for 30 ms a request, on a free port."""

    def __init__(self, protocol, max_wait_s):
        self.admission, registry = Admission(max_wait_s=max_wait_s), prometheus_client.CollectorRegistry()
        self.guarded = Guard(self._answer, registry, None, 1000, self.admission)
        config = uvicorn.Config(
            self._application, http=protocol, log_level="warning", lifespan="on", interface="asgi3"
        )
        self._server = uvicorn.Server(config)
        self._bound = socket.create_server(("127.0.0.1", 0))
        self.port = self._bound.getsockname()[1]
        self._thread = threading.Thread(target=self._server.run, args=([self._bound],))

    async def _application(self, scope, receive, send):
        if scope["type"] == "lifespan":
            scope["state"][ADMISSION] = self.admission
            for stage in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{stage}.complete"})
            return
        await self.guarded(scope, receive, send)

    async def _answer(self, scope, receive, send):
        time.sleep(0.03)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    def __enter__(self):
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive()
            time.sleep(0.005)
        return self

    def __exit__(self, *_):
        self._server.should_exit = True
        self._thread.join(10)
        self._bound.close()


@pytest.mark.parametrize("protocol", [FastArrivals, arrivals.PlainArrivals])
def test_a_burst_is_answered_in_part_and_the_rest_told_to_come_again(protocol):
    contents = [client.request_bytes("/recommend", {"n": 1})]

    async def heads_of_answers(port):
        """Heads of the answers to 120 requests at once on 60 connections."""
        pairs = [await asyncio.open_connection("127.0.0.1", port) for _ in range(60)]
        for _, writer in pairs:
            writer.write(contents[0] * 2)  # two requests, one after another, on each
        heads = []
        for reader, writer in pairs:
            for _ in range(2):
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
                heads.append(head)
            writer.close()
        return heads

    with Slow(protocol, max_wait_s=0.3) as server:
        heads = asyncio.run(heads_of_answers(server.port))
        refused = [head for head in heads if b" 503 " in head.split(b"\r\n")[0]]
        assert len(heads) == 120 and 0 < len(refused) < 120 and server.admission.refused >= len(refused)
        assert all(b"retry-after: 1" in head.lower() for head in refused)
        probes = client.open_loop(server.port, [client.request_bytes("/health", {})], np.zeros(1))
        assert probes.statuses[200] == 1 and server.admission.in_flight == 0
        again = client.closed_loop(server.port, contents, 1, 0.2)
        assert set(again.statuses) == {200}
