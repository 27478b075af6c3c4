"""Stack Exchange: who asked, answered, commented on or marked which question, from a site's data dump."""

from __future__ import annotations

import html
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from recsys_lib.core.errors import InputError
from recsys_lib.data.datasets.assemble import assemble, check_file, seconds
from recsys_lib.data.datasets.dataset import Dataset

_CODE = re.compile(r"<pre>.*?</pre>", re.DOTALL)
_MARKUP = re.compile(r"<[^>]+>")
FAVOURITE = "5"  # a kind of vote, and one of the two that name their user
QUESTION, ANSWER = "1", "2"


def load_dump(name: str, folder: Path) -> Dataset:
    """Events of one site's dump (``Posts.xml``, ``Comments.xml``, ``Votes.xml``), with times.

    An item is a question; an event is asking, answering, commenting on the question or on an answer to it, or
    marking it as a favourite. Whoever asks or answers is not who only reads, and reading is not published.
    Left out: events of deleted users and those whose question is gone; of several events of one user with one
    question the latest counts. Bodies lose their markup and blocks of code.
    """
    questions: dict[str, dict[str, str]] = {}
    parent: dict[str, str] = {}
    events: list[tuple[str, str, str]] = []
    for row in rows_of(folder / "Posts.xml"):
        kind, post = row.get("PostTypeId"), row.get("Id", "")
        if kind == QUESTION:
            questions[post] = _question(row)
            parent[post] = post
        elif kind == ANSWER:
            parent[post] = row.get("ParentId", "")
        if kind in (QUESTION, ANSWER):
            events.append((row.get("OwnerUserId", ""), parent[post], row.get("CreationDate", "")))
    for row in rows_of(folder / "Comments.xml"):
        question = parent.get(row.get("PostId", ""), "")
        events.append((row.get("UserId", ""), question, row.get("CreationDate", "")))
    for row in rows_of(folder / "Votes.xml"):
        if row.get("VoteTypeId") == FAVOURITE:
            question = parent.get(row.get("PostId", ""), "")
            events.append((row.get("UserId", ""), question, row.get("CreationDate", "")))
    if not questions:
        raise InputError(f"{folder / 'Posts.xml'}: no row is a question; expected a dump of posts")
    found = pd.DataFrame(events, columns=["user", "item", "timestamp"])
    return assemble(
        name, found.assign(timestamp=seconds(found["timestamp"])), pd.DataFrame(questions.values())
    )


def rows_of(path: Path) -> Iterator[dict[str, str]]:
    """Attributes of every ``row`` of a dump's file, read piece by piece; entities are never expanded beyond
    XML's own five.

    Raises:
        InputError: no such file, or no XML.
    """
    check_file(path)
    with path.open("rb") as file:
        if b"<!DOCTYPE" in file.read(1024).upper():
            raise InputError(f"{path.name}: declares a document type; expected a dump as published")
    try:
        for _, element in ElementTree.iterparse(path):
            if element.tag == "row":
                yield dict(element.attrib)
                element.clear()
    except ElementTree.ParseError as error:
        raise InputError(f"{path.name}: no XML ({error}); expected a dump as published") from error


def _question(row: dict[str, str]) -> dict[str, str]:
    """Title, tags as labels and the text of the body.

    Tags are written ``<a><b>`` in older dumps and ``|a|b|`` in newer ones.
    """
    tags = re.findall(r"[^<>|]+", row.get("Tags", ""))
    body = _MARKUP.sub(" ", _CODE.sub(" ", row.get("Body", "")))
    return {
        "id": row.get("Id", ""),
        "title": " ".join(row.get("Title", "").split()),
        "genres": ", ".join(tags),
        "description": " ".join(html.unescape(body).split()),
    }
