"""Paths answered as plain ASGI: from a body to an answer FastAPI takes longer than a list, and to be imported
longer than the rest of a start.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import pydantic_core
from pydantic import BaseModel, ValidationError

from recsys_lib.serving.guard import Receive, Scope, Send, replayed
from recsys_lib.serving.refusals import refusal

App = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = Sequence[tuple[bytes, bytes]]
Body = TypeVar("Body", bound=BaseModel)


class Unread(Exception):
    """A request that the plain route does not understand: FastAPI says what is wrong with it."""


class PlainRoute(NamedTuple):
    """``answer`` to headers and body, JSON types, and its ``status``."""

    answer: Callable[[Headers, bytes], Awaitable[Any]]
    status: int = 200


class PlainRoutes:
    """ASGI: a method and path of ``routes`` gets the route's answer, as JSON or as a refusal; all else, and
    what a route leaves unread, goes to ``app``.

    Behind the guard, which gives each body whole.
    """

    def __init__(self, app: App, routes: Mapping[tuple[str, str], PlainRoute]):
        self.app, self._routes = app, dict(routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = self._routes.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        if route is None:
            await self.app(scope, receive, send)
            return
        body = (await receive())["body"]
        try:
            content = pydantic_core.to_json(await route.answer(scope["headers"], body))
        except Unread:
            await self.app(scope, replayed(body, receive), send)
        except Exception as error:
            status, sentence, headers = refusal(error)
            more = [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
            await _respond(send, status, pydantic_core.to_json({"error": sentence}), more)
            if status == 500:
                raise  # the server logs it
        else:
            await _respond(send, route.status, content)


async def _respond(send: Send, status: int, content: bytes, headers: Headers = ()) -> None:
    length = (b"content-length", str(len(content)).encode())
    start = [length, (b"content-type", b"application/json"), *headers]
    await send({"type": "http.response.start", "status": status, "headers": start})
    await send({"type": "http.response.body", "body": content})


def is_json(headers: Headers) -> bool:
    """Whether the headers say that the body is JSON."""
    kind = next((value for name, value in headers if name == b"content-type"), b"")
    return kind.partition(b";")[0].strip().lower() == b"application/json"


def read(kind: type[Body], headers: Headers, body: bytes) -> Body:
    """The body as ``kind``.

    Raises:
        Unread: it is not.
    """
    if not is_json(headers):
        raise Unread
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        raise Unread from error
