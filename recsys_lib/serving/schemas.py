"""What requests and answers look like: typed, with limits, and nothing beside what is named."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    StringConstraints,
    model_validator,
)

MAX_K = 100
MAX_ID, MAX_TITLE, MAX_TEXT, MAX_LABELS = 200, 500, 5000, 50
MAX_HISTORY, MAX_EVENTS, MAX_ITEMS = 1000, 1000, 100
MAX_BODY = 2**20
LAST_SECOND = 253_402_300_799


def _storable(text: str) -> str:
    """No lone surrogate, which no database stores, and no control character except white space."""
    if text.isascii() and text.isprintable():  # most are, and a look at each character takes long
        return text
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError("expected text that UTF-8 can encode") from error
    if any(unicodedata.category(c) == "Cc" and c not in "\n\r\t" for c in text):
        raise ValueError("expected text without control characters")
    return text


def _one_line(text: str) -> str:
    if text.isascii() and text.isprintable() and not text.isspace():
        return text
    if not text.strip() or any(c in "\n\r\t" for c in text):
        raise ValueError("expected one line that is not blank")
    return _storable(text)


def _text(longest: int, check: Callable[[str], str]) -> tuple[Any, ...]:
    """What a text is annotated with."""
    return StringConstraints(strict=True, min_length=1, max_length=longest), AfterValidator(check)


Id = Annotated[str, *_text(MAX_ID, _one_line)]
Title = Annotated[str, *_text(MAX_TITLE, _one_line)]
LongText = Annotated[str, *_text(MAX_TEXT, _storable)]
K = Annotated[StrictInt, Field(ge=1, le=MAX_K)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class RecommendRequest(_Strict):
    """A known user, or a history of item ids (which may be empty)."""

    user: Id | None = None
    history: Annotated[list[Id], Field(max_length=MAX_HISTORY)] | None = None
    k: K = 10
    exclude: Annotated[list[Id], Field(max_length=MAX_HISTORY)] = Field(default_factory=list)
    label: Id | None = None
    language: Literal["en", "zh"] = "en"
    explore: StrictBool = True

    @model_validator(mode="after")
    def _one_of_both(self) -> RecommendRequest:
        if (self.user is None) == (self.history is None):
            raise ValueError("expected either user or history")
        return self


class SimilarRequest(_Strict):
    """A text, or the id of an item."""

    text: LongText | None = None
    item: Id | None = None
    k: K = 10

    @model_validator(mode="after")
    def _one_of_both(self) -> SimilarRequest:
        if (self.text is None) == (self.item is None):
            raise ValueError("expected either text or item")
        return self


class ItemIn(_Strict):
    """A new item; ``text``: what the encoder reads, by default title and labels."""

    id: Id
    title: Title
    labels: Annotated[list[Id], Field(max_length=MAX_LABELS)] = Field(default_factory=list)
    text: LongText | None = None


class ItemsRequest(_Strict):
    """New items."""

    items: Annotated[list[ItemIn], Field(min_length=1, max_length=MAX_ITEMS)]


class EventIn(_Strict):
    """Somebody chose an item. ``key``: the client's own, the same when it sends the event again; ``time``:
    seconds since 1970, by default now; ``list_id``: the list it was chosen
    from.
    """

    key: Id
    user: Id
    item: Id
    time: Annotated[StrictInt, Field(ge=0, le=LAST_SECOND)] | None = None
    list_id: Id | None = None


class EventsRequest(_Strict):
    """Events of any users."""

    events: Annotated[list[EventIn], Field(min_length=1, max_length=MAX_EVENTS)]


# ---------------------------------------------------------------- answers


class Recommended(BaseModel):
    """An item of a list; ``explored``: drawn for the exploration quota, with this ``propensity``."""

    id: str
    title: str
    score: float
    reason: str
    explored: bool
    propensity: float


class Recommendations(BaseModel):
    """A list; ``list_id`` names it, for the events of what is chosen from it."""

    version: str
    list_id: str
    items: list[Recommended]


class Neighbour(BaseModel):
    """A similar item."""

    id: str
    title: str
    cosine: float


class Neighbours(BaseModel):
    """Similar items, the nearest first."""

    version: str
    items: list[Neighbour]


class ItemsAnswer(BaseModel):
    """How many items were new, and how many were there already."""

    version: str
    added: int
    known: int


class DeletedAnswer(BaseModel):
    """Whether the item was deleted by this request (1, 0) or before (0, 1)."""

    version: str
    deleted: int
    known: int


class EventsAnswer(BaseModel):
    """How many events were stored by this request, and how many were there already."""

    accepted: int
    duplicates: int


class Problem(BaseModel):
    """What is wrong, in one sentence."""

    error: str
