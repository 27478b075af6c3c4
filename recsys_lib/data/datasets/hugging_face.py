"""Any data set of the Hugging Face hub with named columns, through the library ``datasets`` where it is
installed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from recsys_lib.core.errors import InputError
from recsys_lib.data.datasets.assemble import assemble, seconds
from recsys_lib.data.datasets.dataset import Dataset

_EVENTS = ("user", "item", "rating", "timestamp")


def from_hugging_face(
    interactions: str,
    items: str | None = None,
    *,
    columns: Mapping[str, str],
    configuration: str | None = None,
    items_configuration: str | None = None,
    split: str = "train",
    texts: Sequence[str] = (),
    revision: str | None = None,
) -> Dataset:
    """Interactions of a hub data set, and its items: columns of the same rows, or another data set ``items``.

    ``columns`` maps ours (user, item, title; rating, timestamp, id of the items if called otherwise) to
    theirs. ``texts`` names more columns of the items to keep. No code of a data set is run. Where the items
    stand in the rows of the interactions, the first row of an item describes it.

    Example::

        from_hugging_face("owner/reviews", columns={"user": "user_id", "item": "asin", "title": "title"})

    Raises:
        InputError: ``datasets`` is not installed, the data set is not reached, or a column is missing.
    """
    unknown = set(columns) - {*_EVENTS, "id", "title"}
    if unknown or not {"user", "item", "title"} <= set(columns):
        raise InputError(
            f"columns={dict(columns)}: expected user, item and title, rating, timestamp and id if any"
        )
    wanted = [columns[name] for name in _EVENTS if name in columns]
    described = [columns["title"], *texts]
    if items is None:
        events = _frame(interactions, configuration, split, revision, [*wanted, *described])
        table, id_column = events.drop_duplicates(columns["item"]), columns["item"]
        table = table[table[id_column].notna()]
    else:
        id_column = columns.get("id", columns["item"])
        events = _frame(interactions, configuration, split, revision, wanted)
        table = _frame(items, items_configuration, split, revision, [id_column, *described])
    found = pd.DataFrame({"id": table[id_column].astype(str), "title": _texts(table[columns["title"]])})
    for column in texts:
        found[column] = _texts(table[column])
    renamed = pd.DataFrame({name: events[columns[name]] for name in _EVENTS if name in columns})
    for name in ("user", "item"):
        renamed[name] = renamed[name].where(renamed[name].isna(), renamed[name].astype(str))
    if "timestamp" in renamed:
        renamed["timestamp"] = seconds(renamed["timestamp"])
    return assemble(interactions.rpartition("/")[2], renamed, found)


def _texts(column: pd.Series) -> list[str]:
    return ["" if value is None or value != value else " ".join(str(value).split()) for value in column]


def _frame(
    name: str, configuration: str | None, split: str, revision: str | None, needed: list[str]
) -> pd.DataFrame:
    """The needed columns of one split."""
    table = _load(name, configuration, split, revision)
    missing = [column for column in needed if column not in table.column_names]
    if missing:
        raise InputError(f"{name}: no column {missing[0]!r}; it has {', '.join(table.column_names)!r}")
    return table.select_columns(list(dict.fromkeys(needed))).to_pandas()


def _load(name: str, configuration: str | None, split: str, revision: str | None) -> Any:
    try:
        from datasets import load_dataset
    except ImportError:
        raise InputError(
            f"data set {name!r} of the hub needs the library 'datasets': pip install datasets"
        ) from None
    try:
        return load_dataset(name, configuration, split=split, revision=revision)
    except Exception as error:  # whatever the hub, the network or the files answer, in one line
        raise InputError(f"data set {name!r}: {' '.join(str(error).split())[:300]}") from error
