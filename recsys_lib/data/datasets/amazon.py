"""Amazon Reviews of 2018 (5-core) and 2023, one category at a time, from the files that the McAuley lab
publishes.
"""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

import pandas as pd

from recsys_lib.core.errors import InputError
from recsys_lib.data.datasets import locations
from recsys_lib.data.datasets.assemble import assemble, seconds
from recsys_lib.data.datasets.dataset import Dataset

_TAGS = re.compile(r"<[^>]*>")
# Titles of 2018 that hold the page's script instead of the product's name.
_SCRIPT = re.compile(r"getTime|var aPageStart|function\(")
# Names of the fields in the reviews of both years: user, item, rating, time.
_EVENT = {
    "amazon-2018": ("reviewerID", "asin", "overall", "unixReviewTime"),
    "amazon-2023": ("user_id", "parent_asin", "rating", "timestamp"),
}


def plain_text(value: Any) -> str:
    """A field's text without markup: lists are joined, entities and tags go, single blanks remain.

    >>> plain_text(["A &amp; B", "<b>strong</b>  glue", None]), plain_text(None)
    ('A & B strong glue', '')
    """
    if isinstance(value, list):
        value = " ".join(str(part) for part in value if part)
    text = html.unescape(str(value)) if value else ""
    return " ".join(_TAGS.sub(" ", text).split())


def load_amazon(name: str, folder: Path) -> Dataset:
    """Reviews of one category, such as ``amazon-2018:Office_Products`` or ``amazon-2023:Office_Products``.

    Ratings from 1 to 5, with times. ``title``, ``description`` (with what the seller lists as features),
    ``author`` (brand or store), ``genres`` (categories, the first, which names the file, left out), ``price``
    as published and ``image``, an address that is kept as text and never opened. Cleaned: markup and
    entities; titles of 2018 that hold a script are empty; a product listed twice counts once; reviews of
    products without a row are left out (``n_dropped``), of several by one user the latest counts.
    """
    year = name.partition(":")[0]
    reviews, products = locations.published(name).files
    keys = _EVENT[year]
    rows = [tuple(one.get(key) for key in keys) for one in _records(folder, reviews, keys[:2])]
    events = pd.DataFrame(rows, columns=["user", "item", "rating", "timestamp"])
    events = events.assign(
        rating=pd.to_numeric(events["rating"], errors="coerce"), timestamp=seconds(events["timestamp"])
    )
    read = set(events["item"])
    key = "asin" if year == "amazon-2018" else "parent_asin"
    items: dict[str, dict[str, str]] = {}
    for one in _records(folder, products, (key,)):
        if one[key] in read and one[key] not in items:
            items[one[key]] = _product(one[key], one)
    if not items:
        raise InputError(f"{products}: has none of the products of {reviews}; expected the same category")
    return assemble(name, events, pd.DataFrame(list(items.values())))


def _records(folder: Path, name: str, needed: tuple[str, ...]) -> Any:
    """JSON objects, one a line, with the ``needed`` keys."""
    row = 0
    for row, line in enumerate(locations.open_lines(folder, name), 1):
        if not line.strip():
            continue
        try:
            one = json.loads(line)
        except ValueError as error:
            raise InputError(f"{name} row {row}: no JSON ({error}); expected one object a line") from error
        missing = [key for key in needed if key not in one]
        if missing:
            raise InputError(f"{name} row {row}: no field {missing[0]!r}; it has {', '.join(one)!r}")
        yield one
    if not row:
        raise InputError(f"{name}: the file is empty, expected one object a line")


def _product(asin: str, one: dict[str, Any]) -> dict[str, str]:
    title = plain_text(one.get("title"))
    images = one.get("imageURLHighRes") or one.get("images") or one.get("imageURL") or []
    first = images[0] if isinstance(images, list) and images else ""
    if isinstance(first, dict):
        first = first.get("large") or first.get("thumb") or ""
    categories = one.get("categories") or one.get("category") or []
    described = [one.get("description"), one.get("features") or one.get("feature")]
    return {
        "id": asin,
        "title": "" if _SCRIPT.search(title) else title,
        "author": plain_text(one.get("brand") or one.get("store")).removeprefix("by "),
        "genres": ", ".join(filter(None, (plain_text(c) for c in categories[1:]))),
        "description": " ".join(filter(None, map(plain_text, described))),
        "price": plain_text(one.get("price")),
        "image": str(first),
    }
