"""The protocol for HTTP on httptools, which refuses what cannot be answered in time before a task is made."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from recsys_lib.serving.arrivals import Stamped
from recsys_lib.serving.guard import (
    ADMISSION,
    ADMITTED,
    ARRIVED,
    HEADERS,
    OPEN,
    OVERLOADED,
    RETRY_AFTER_S,
    WHOLE,
)

_BODY = json.dumps({"error": OVERLOADED}).encode()
_HEADERS = [
    (b"content-type", b"application/json"),
    (b"content-length", str(len(_BODY)).encode()),
    (b"retry-after", str(RETRY_AFTER_S).encode()),
    *HEADERS,
]
REFUSAL = b"\r\n".join(
    [b"HTTP/1.1 503 Service Unavailable", *(b": ".join(header) for header in _HEADERS), b"", _BODY]
)


class FastArrivals(Stamped, HttpToolsProtocol):
    """Lets requests in, or answers 503 at a tenth of the cost of an answer by the application."""

    def _start_asgi_task(self, cycle: Any, app: Callable[..., Any]) -> None:
        admission, scope = self.app_state.get(ADMISSION), cycle.scope
        if admission is None or scope["path"] in OPEN:
            super()._start_asgi_task(cycle, app)
        elif admission.admits(time.monotonic() - scope["state"][ARRIVED]):
            admission.began()
            scope["state"][ADMITTED] = True
            super()._start_asgi_task(cycle, app)
        else:
            cycle.response_started = cycle.response_complete = True
            self.transport.write(REFUSAL)
            if not cycle.keep_alive:
                self.transport.close()
            self.on_response_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        if self.cycle is not None:
            self.cycle.scope["state"][WHOLE] = True
