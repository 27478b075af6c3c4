"""When the bytes of a request arrived, by uvicorn's protocols for HTTP: requests wait in the sockets of a
busy process, where nothing that runs inside the application can see it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import sys
import time
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from recsys_lib.serving.guard import ARRIVED

# Of Linux's tcp_info: milliseconds since data arrived, an unsigned integer after 8 bytes and 11 integers.
_LAST_DATA, _LENGTH = 52, 56


def waited_s(connection: Any) -> float:
    """Seconds that the newest bytes of a TCP socket have been on this machine; 0 where none can say.

    Linux says so, to its clock tick of some milliseconds.
    """
    if connection is None or not sys.platform.startswith("linux"):
        return 0.0
    try:
        told = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _LENGTH)
    except OSError:
        return 0.0
    return struct.unpack_from("=I", told, _LAST_DATA)[0] / 1000 if len(told) >= _LENGTH else 0.0


class Stamped:
    """What both protocols add: the state of each request says when its bytes arrived."""

    app_state: dict[str, Any]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[misc]
        self.app_state = dict(self.app_state)
        self._connection = transport.get_extra_info("socket")

    def data_received(self, data: bytes) -> None:
        self.app_state[ARRIVED] = time.monotonic() - waited_s(self._connection)
        super().data_received(data)  # type: ignore[misc]


class PlainArrivals(Stamped, H11Protocol):
    """On h11, which is always there; refusals are the application's."""


def protocol() -> type[asyncio.Protocol]:
    """The protocol for this machine: on httptools where it is installed, with refusals that cost no task."""
    with contextlib.suppress(ImportError):
        from recsys_lib.serving.fast_arrivals import FastArrivals

        return FastArrivals
    return PlainArrivals
