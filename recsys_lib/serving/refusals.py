"""What a request that is refused gets: a status, one sentence, and when to come again where that helps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic import ValidationError

from recsys_lib.core.errors import InputError
from recsys_lib.serving.batching import Overloaded
from recsys_lib.serving.events import UNAVAILABLE
from recsys_lib.serving.guard import OVERLOADED, RETRY_AFTER_S
from recsys_lib.serving.writer import Full

RETRY = {"Retry-After": str(RETRY_AFTER_S)}


class Refusal(NamedTuple):
    """Status, sentence and further headers."""

    status: int
    sentence: str
    headers: Mapping[str, str] | None = None


class Refused(Exception):
    """A request that is refused with a status of its own."""

    def __init__(self, status: int, sentence: str):
        super().__init__(sentence)
        self.status = status


class Unavailable(Exception):
    """The database does not answer."""


NO_DATABASE = Refusal(503, "the database of events does not answer", RETRY)


def refusal(error: Exception) -> Refusal:
    """What a client is told of an error; 500 where neither its request nor the load is the cause."""
    if isinstance(error, ValidationError):
        return first_mistake(error.errors())
    if isinstance(error, InputError):
        return Refusal(422, str(error))
    if isinstance(error, Refused):
        return Refusal(error.status, str(error))
    if isinstance(error, Overloaded | Full):
        return Refusal(503, OVERLOADED, RETRY)
    if isinstance(error, (Unavailable, *UNAVAILABLE)):
        return NO_DATABASE
    return Refusal(500, "the server failed; its log says why")


def first_mistake(errors: Any) -> Refusal:
    """The first of pydantic's ``errors`` as a sentence."""
    first = errors[0]
    if first["type"] == "json_invalid":
        return Refusal(422, "the body is not valid JSON")
    where = ".".join(str(part) for part in first["loc"] if part != "body") or "body"
    said = first["msg"].removeprefix("Value error, ")
    return Refusal(422, f"{where[:100]}: {said[:1].lower()}{said[1:200]}")
