"""Data sets as two CSV files, interactions and items: citeulike-a with abstracts, Amazon in short histories,
Stack Exchange; and citeulike-a as its authors publish it.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from recsys_lib.core.errors import InputError
from recsys_lib.data.datasets.assemble import assemble, check_file, seconds, text_frame
from recsys_lib.data.datasets.dataset import Dataset

# Our names of the columns that hold texts of an item, and what the files call them.
_TEXTS = {"abstract": "description", "body": "description", "brand": "author"}
PLACES = "Timestamps are places in each user's history, not seconds: only the order within a user is known."

# citeulike-a counts papers from 0 in its users and from 1 in its texts; this form of it joined the two as
# they are, so that papers bookmarked together have texts hardly more alike than all pairs
# (``experiments.catalogues.alignment`` measures it).
SHIFTED = "citeulike-a-abstracts"
SHIFT_NOTE = (
    "Texts were moved by one paper: the file counts papers from 0 in interactions and from 1 in items."
)


def load_plain(name: str, folder: Path) -> Dataset:
    """``interactions.csv`` (user, item; timestamp or place if known) and ``items.csv`` (item, title, texts).

    Abstracts, bodies and descriptions become ``description``, brands ``author``, tags ``genres`` (joined by
    ", "). ``place``, the order within a user's history, serves as the time and the data set's notes say so.
    Repeated events of one user with one item count once, the latest. Texts of ``SHIFTED`` belong to the paper
    before, and only papers of which both are there remain.
    """
    events = text_frame(folder / "interactions.csv", ("user", "item"))
    items = text_frame(folder / "items.csv", ("item", "title"))
    events = events.assign(user=events["user"].str.strip(), item=events["item"].str.strip())
    notes: tuple[str, ...] = ()
    if "place" in events:
        events = events.assign(timestamp=pd.to_numeric(events["place"], errors="coerce").astype("Int64"))
        notes = (PLACES,)
    elif "timestamp" in events:
        events = events.assign(timestamp=seconds(events["timestamp"]))
    taken = {theirs: ours for theirs, ours in _TEXTS.items() if theirs in items and ours not in items}
    items = items.rename(columns={"item": "id"} | taken).drop(columns="timestamp", errors="ignore")
    items["id"] = items["id"].str.strip()
    if name == SHIFTED:
        items["id"] = _one_less(items["id"])
        notes = (*notes, SHIFT_NOTE)
    for column in items.columns.intersection(["title", "description", "author"]):
        items[column] = [" ".join(text.split()) for text in items[column]]
    if "tags" in items:
        items = items.rename(columns={"tags": "genres"})
        items["genres"] = items["genres"].str.split().str.join(", ")
    if "year" in items:
        items["year"] = pd.to_numeric(items["year"], errors="coerce").astype("Int64")
    return assemble(name, events.drop(columns="rating", errors="ignore"), items, notes=notes)


def _one_less(ids: pd.Series) -> pd.Series:
    numbers = pd.to_numeric(ids, errors="coerce")
    if numbers.isna().any():
        raise InputError(f"items.csv column item: {ids[numbers.isna()].iloc[0]!r}, expected a whole number")
    return (numbers.astype(int) - 1).astype(str)


def load_citeulike(name: str, folder: Path) -> Dataset:
    """citeulike-a as published: 5,551 people, 16,980 papers, 204,986 bookmarks, no times.

    ``users.dat`` has one line per person, the number of bookmarks and then the papers' places;
    ``raw-data.csv`` (ISO-8859-1) has title and abstract. A line whose number does not fit is refused.
    Source: Wang, Chen and Li, IJCAI 2013.
    """
    path = folder / "users.dat"
    check_file(path)
    users, papers = [], []
    for row, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        fields = line.split()
        if not all(field.isdigit() for field in fields):
            raise InputError(f"{path.name} row {row}: {line[:40]!r}, expected whole numbers")
        if fields and int(fields[0]) != len(fields) - 1:
            raise InputError(f"{path.name} row {row}: says {fields[0]} papers and names {len(fields) - 1}")
        users += [row - 1] * (len(fields) - 1)
        papers += [int(field) for field in fields[1:]]
    table = text_frame(folder / "raw-data.csv", ("raw.title", "raw.abstract"), encoding="iso-8859-1")
    items = pd.DataFrame({"id": range(len(table))})
    for ours, theirs in (("title", "raw.title"), ("description", "raw.abstract")):
        items[ours] = [" ".join(text.split()) for text in table[theirs]]
    return assemble(name, pd.DataFrame({"user": users, "item": papers}), items)
