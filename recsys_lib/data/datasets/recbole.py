"""RecBole's atomic files: tab-separated tables whose headers name a type, as in ``user_id:token``."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from recsys_lib.core.errors import InputError
from recsys_lib.data.datasets.assemble import assemble, require_columns, seconds, text_frame
from recsys_lib.data.datasets.dataset import Dataset

TYPES = ("token", "token_seq", "float", "float_seq")
_TITLES = ("title", "movie_title", "name", "item_name", "product_name")
_LABELS = ("genres", "genre", "class", "categories", "category")


def from_recbole(folder: str | Path, name: str = "") -> Dataset:
    """Interactions, items and users from ``NAME.inter``, ``NAME.item`` and, if there, ``NAME.user``.

    ``name`` may be left out where the folder holds one ``.inter`` file. Headers name a type after a colon,
    which is checked and goes. Needed are ``user_id`` and ``item_id`` in the interactions and ``item_id``
    among the items; ``rating`` and ``timestamp`` are taken if there, and so are the item's title and label
    under the names that RecBole's data sets give them. Without an ``.item`` file, items have ids as titles.

    Raises:
        InputError: no or several ``.inter`` files, a header without types, a missing column, a rating or time
            that is no number.
    """
    folder = Path(folder).expanduser()
    stem = name or _only(folder)
    events = _table(folder / f"{stem}.inter", ("user_id", "item_id"))
    events = events.rename(columns={"user_id": "user", "item_id": "item"})
    kept = [c for c in ("user", "item", "rating", "timestamp") if c in events]
    events = events[kept]
    if "timestamp" in events:
        events = events.assign(timestamp=seconds(_numbers(stem, events, "timestamp")))
    if "rating" in events:
        events = events.assign(rating=_numbers(stem, events, "rating"))
    return assemble(stem, events, _items(folder / f"{stem}.item", events), _users(folder / f"{stem}.user"))


def _only(folder: Path) -> str:
    found = sorted(path.stem for path in folder.glob("*.inter")) if folder.is_dir() else []
    if len(found) != 1:
        raise InputError(f"{folder}: {len(found)} files end in .inter, expected one, or its name")
    return found[0]


def _table(path: Path, needed: tuple[str, ...]) -> pd.DataFrame:
    """A table under the names of its header without their types."""
    frame = text_frame(path, (), separator="\t", quoting=3)
    for column in frame.columns:
        if column.rpartition(":")[2] not in TYPES or ":" not in column:
            raise InputError(
                f"{path.name}: column {column!r} names no type; expected such as 'user_id:token' "
                f"({', '.join(TYPES)})"
            )
    frame.columns = pd.Index([column.rpartition(":")[0] for column in frame.columns])
    require_columns(path, list(frame.columns), needed)
    return frame


def _numbers(stem: str, events: pd.DataFrame, column: str) -> pd.Series:
    numbers = pd.to_numeric(events[column], errors="coerce")
    bad = numbers.isna() & (events[column] != "")
    if bad.any():
        row = int(bad.to_numpy().argmax())
        raise InputError(
            f"{stem}.inter row {row + 2} column {column}: {events[column].iloc[row]!r}, expected a number"
        )
    return numbers


def _items(path: Path, events: pd.DataFrame) -> pd.DataFrame:
    if not path.is_file():
        ids = sorted(set(events["item"]) - {""})
        return pd.DataFrame({"id": ids, "title": ids})
    items = _table(path, ("item_id",)).rename(columns={"item_id": "id"})
    title = next((c for c in _TITLES if c in items), None)
    label = next((c for c in _LABELS if c in items), None)
    items = items.rename(columns={k: v for k, v in ((title, "title"), (label, "genres")) if k})
    if "title" not in items:
        items["title"] = items["id"]
    if "genres" in items:
        items["genres"] = items["genres"].str.split().str.join(", ")
    if "release_year" in items:
        items["year"] = pd.to_numeric(items["release_year"], errors="coerce").astype("Int64")
    return items


def _users(path: Path) -> pd.DataFrame | None:
    return _table(path, ("user_id",)).rename(columns={"user_id": "id"}) if path.is_file() else None
