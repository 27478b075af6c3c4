"""MIND: clicks on news, from the files that Microsoft publishes."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from recsys_lib.core.errors import InputError
from recsys_lib.data.datasets.assemble import assemble, check_file
from recsys_lib.data.datasets.dataset import Dataset

_NEWS = ("id", "category", "subcategory", "title", "abstract", "url", "title_entities", "abstract_entities")
_BEHAVIOURS = ("impression", "user", "time", "history", "shown")
_TIME = "%m/%d/%Y %I:%M:%S %p"


def load_mind(name: str, folder: Path) -> Dataset:
    """Clicks of MIND (``behaviors.tsv``, ``news.tsv``) with the time of the list that was clicked in.

    Kept are the clicked items of every list, and news that were shown or clicked. Clicks of the ``history``
    column have no times and are left out; the notes count them. A second click on the same news counts as
    one. ``title``, ``description`` (the abstract) and ``genres`` (category, subcategory).
    Source: Wu et al., MIND: A Large-scale Dataset for News Recommendation, ACL 2020.
    """
    behaviours = _table(folder / "behaviors.tsv", _BEHAVIOURS)
    times = pd.to_datetime(behaviours["time"], format=_TIME, errors="coerce")
    if times.isna().all():
        first = behaviours["time"].iloc[0]
        raise InputError(f"behaviors.tsv column time: {first!r}, expected such as '11/11/2019 9:05:58 AM'")
    since = (times - pd.Timestamp(0)) // pd.Timedelta(seconds=1)
    lists = behaviours.assign(timestamp=since.astype("Int64"), item=behaviours["shown"].str.split())
    events = lists[["user", "item", "timestamp"]].explode("item", ignore_index=True)
    clicked = events["item"].str.endswith("-1").fillna(False).astype(bool)
    shown = set(events["item"].dropna().str.rsplit("-", n=1).str[0])
    events = events[clicked].assign(item=lambda found: found["item"].str.rsplit("-", n=1).str[0])
    history = int(behaviours.drop_duplicates("user")["history"].str.split().str.len().sum())
    news = _table(folder / "news.tsv", _NEWS).drop_duplicates("id")
    news = news[news["id"].isin(shown)]
    items = pd.DataFrame(
        {
            "id": news["id"],
            "title": news["title"],
            "description": news["abstract"],
            "genres": news["category"] + ", " + news["subcategory"],
        }
    )
    return assemble(name, events, items, notes=(f"{history:,} earlier clicks without times were left out.",))


def _table(path: Path, names: tuple[str, ...]) -> pd.DataFrame:
    """A file without a header, its fields between tabs, quotes as plain characters."""
    check_file(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeError as error:
        raise InputError(f"{path.name}: not utf-8 ({error}); expected the file as published") from error
    rows = [line.split("\t") for line in lines if line]
    for number, row in enumerate(rows, 1):
        if len(row) != len(names):
            raise InputError(
                f"{path.name} row {number}: {len(row)} fields, expected {len(names)} between tabs"
            )
    return pd.DataFrame(rows, columns=list(names), dtype=str)
