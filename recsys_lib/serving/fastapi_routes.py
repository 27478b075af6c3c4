"""All routes as FastAPI knows them, with the schema for ``/docs``; imported after the start, or by the first
request that needs one.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import prometheus_client
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from recsys_lib.core.errors import InputError
from recsys_lib.serving import schemas
from recsys_lib.serving.batching import Overloaded
from recsys_lib.serving.refusals import Refusal, Refused, Unavailable, first_mistake, refusal
from recsys_lib.serving.writer import Full

if TYPE_CHECKING:
    from recsys_lib.serving.http_app import Application

PROBLEMS: dict[int | str, dict[str, Any]] = {
    code: {"model": schemas.Problem} for code in (401, 404, 408, 409, 413, 422, 503)
}


def build(own: Application) -> FastAPI:
    """FastAPI over the answers of ``own``."""
    app = FastAPI(title="recsys_lib", responses=PROBLEMS)
    app.post("/recommend", response_model=schemas.Recommendations)(_as_response(own.recommend))
    app.post("/similar", response_model=schemas.Neighbours)(_as_response(own.similar))
    app.put("/items", response_model=schemas.ItemsAnswer)(_as_response(own.put_items))
    app.delete("/items/{item:path}", response_model=schemas.DeletedAnswer)(_as_response(own.delete_item))
    app.post("/events", response_model=schemas.EventsAnswer, status_code=202)(
        _as_response(own.post_events, 202)
    )
    app.get("/health")(_as_response(own.health))
    app.get("/ready", response_model=None)(_as_response(own.ready))

    @app.get("/metrics")
    async def metrics() -> Response:
        """Counters in the text format of Prometheus, of this process."""
        return Response(
            prometheus_client.generate_latest(own.registry), media_type="text/plain; version=0.0.4"
        )

    known = (RequestValidationError, HTTPException, InputError, Refused, Unavailable, Overloaded, Full)
    for kind in (*known, Exception):
        app.add_exception_handler(kind, _refused)
    return app


def _as_response(answer: Callable[..., Awaitable[Any]], status: int = 200) -> Callable[..., Any]:
    """An answer as a response: FastAPI would validate it once more."""

    @functools.wraps(answer)
    async def responded(*arguments: Any, **named: Any) -> Response:
        return JSONResponse(await answer(*arguments, **named), status)

    return responded


async def _refused(request: Request, error: Exception) -> Response:
    if isinstance(error, RequestValidationError):
        said = first_mistake(error.errors())
    elif isinstance(error, HTTPException):
        said = Refusal(error.status_code, str(error.detail), error.headers)
    else:
        said = refusal(error)
    return JSONResponse({"error": said.sentence}, said.status, said.headers)
