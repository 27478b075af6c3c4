"""Paths answered as plain ASGI: from a body to an answer FastAPI takes longer than a list, and to be imported
longer than the rest of a start.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import pydantic_core

from recsys_lib.serving.guard import Receive, Scope, Send
from recsys_lib.serving.refusals import refusal

App = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = Sequence[tuple[bytes, bytes]]
Answer = Callable[[Headers, bytes], Awaitable[Any]]


class PlainRoutes:
    """ASGI: a method and path of ``routes`` gets the route's answer to headers and body, as JSON or as a
    refusal; all else goes to ``app``.

    Behind the guard, which gives each body whole.
    """

    def __init__(self, app: App, routes: Mapping[tuple[str, str], Answer]):
        self.app, self._routes = app, dict(routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = self._routes.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        if answer is None:
            await self.app(scope, receive, send)
            return
        body = (await receive())["body"]
        try:
            content = pydantic_core.to_json(await answer(scope["headers"], body))
        except Exception as error:
            status, sentence, headers = refusal(error)
            more = [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
            await _respond(send, status, pydantic_core.to_json({"error": sentence}), more)
            if status == 500:
                raise  # the server logs it
            return
        await _respond(send, 200, content)


async def _respond(send: Send, status: int, content: bytes, headers: Headers = ()) -> None:
    length = (b"content-length", str(len(content)).encode())
    start = [length, (b"content-type", b"application/json"), *headers]
    await send({"type": "http.response.start", "status": status, "headers": start})
    await send({"type": "http.response.body", "body": content})


def is_json(headers: Headers) -> bool:
    """Whether the headers say that the body is JSON."""
    kind = next((value for name, value in headers if name == b"content-type"), b"")
    return kind.partition(b";")[0].strip().lower() == b"application/json"
