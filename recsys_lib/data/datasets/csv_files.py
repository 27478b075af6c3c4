"""A user's own data from CSV files, checked row by row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from recsys_lib.core.errors import InputError
from recsys_lib.data.datasets import ids
from recsys_lib.data.datasets.csv_table import ALIASES, NO_TEXT, QUOTES, Table, shown
from recsys_lib.data.datasets.dataset import Dataset

_TABS = ("\\t", "tab")
DUPLICATES, UNKNOWN_ITEMS = ("refuse", "first", "last"), ("refuse", "drop")
# Seconds of the years 1 and 9999; milliseconds of our time lie beyond, microseconds and nanoseconds far
# beyond.
_FIRST_SECOND, _LAST_SECOND = -62_135_596_800, 253_402_300_799


def from_csv(
    interactions: str | Path,
    items: str | Path,
    users: str | Path | None = None,
    *,
    columns: Mapping[str, str] | None = None,
    separator: str = ",",
    encoding: str = "utf-8",
    name: str | None = None,
    duplicates: str = "refuse",
    unknown_items: str = "refuse",
    match_ids: str = "exact",
    quotes: str = "check",
) -> Dataset:
    """Read interactions (user, item, optional rating and timestamp), items (id, title ...), users (id ...).

    Usual column names are recognized; ``columns`` maps ours (user, item, rating, timestamp, and id and title
    of the items) to yours, e.g. ``{"user": "kunde"}``. ``separator=""`` takes for each file whichever of
    ``, ; |`` and tab its header has most of. Ids stay text ("007") and are compared after ``ids.normalize``
    (blanks, Unicode's composed form, ``1.0`` as ``1``); ``match_ids`` also ignores leading "zeros" or upper
    and lower "case" of item ids. nan, NULL and None are none. An empty rating is implicit; nan or NULL for a
    text is no text. Timestamps are seconds since 1970 (or milli-, micro- or nanoseconds, if all of them lie
    beyond the year 9999 otherwise) or ISO 8601 dates (UTC unless they say otherwise; 03/04/2004 is refused as
    ambiguous). Rows are counted as an editor does: the header is row 1.

    Interactions that are equal in user, item, rating and timestamp are merged. Of those that are equal in
    user and item only, ``duplicates`` keeps the "first" or the "last" (by time, else by row) or refuses them.
    ``unknown_items``, interactions whose item the table of items lacks, are refused or dropped. The data set
    counts both.

    A quoted field over several lines that look like rows is refused (``quotes="check"``); "trust" takes it as
    one text, "off" takes quotes as plain characters. ``Dataset.notes`` says what was normalized and how
    unknown ids would match.

    Raises:
        InputError: naming file, row and column, what stands there and what is expected.
    """
    chosen, separator = _checked_columns(columns), _checked_separator(separator)
    _check_choices(duplicates, unknown_items, match_ids, quotes)
    source = Table(interactions, separator, encoding, quotes)
    names = _find_columns(source, chosen)
    catalogue = Table(items, separator, encoding, quotes)
    notes = [_read_items(catalogue, chosen, names["item"], match_ids)]
    people = None
    if users is not None:
        people = Table(users, separator, encoding, quotes)
        notes.append(_read_users(people, chosen, names["user"]))
    notes += _read_interactions(source, names, match_ids)
    data = _assemble(name or Path(interactions).stem, source, catalogue, people, duplicates, unknown_items)
    return replace(data, notes=(*filter(None, notes), *data.notes))


def _read_items(catalogue: Table, chosen: Mapping[str, str], column: str, match_ids: str) -> str:
    """Name the columns of the items and read their ids, texts and years; returns a note on the ids."""
    catalogue.rename(catalogue.find(("id", "title"), (), chosen, {"id": ("item", column)}))
    note = catalogue.read_ids("id", match_ids, once=True)
    catalogue.frame = catalogue.frame.replace(dict.fromkeys(NO_TEXT, ""))
    _years(catalogue)
    return note


def _read_users(people: Table, chosen: Mapping[str, str], column: str) -> str:
    """Name the columns of the users and read their ids; returns a note on the ids."""
    # "id" in columns names that of the items; a user's is called as among the interactions.
    others = {key: value for key, value in chosen.items() if key != "id"}
    people.rename(people.find(("id",), (), others, {"id": ("user", column)}))
    return people.read_ids("id", once=True)


def _check_choices(duplicates: str, unknown_items: str, match_ids: str, quotes: str) -> None:
    for argument, value, expected in (
        ("duplicates", duplicates, DUPLICATES),
        ("unknown_items", unknown_items, UNKNOWN_ITEMS),
        ("match_ids", match_ids, ids.RULES),
        ("quotes", quotes, QUOTES),
    ):
        if value not in expected:
            raise InputError(f"{argument}={value!r}: expected one of {', '.join(expected)}")


def _checked_columns(columns: Mapping[str, str] | None) -> dict[str, str]:
    chosen = dict(columns or {})
    unknown = set(chosen) - set(ALIASES)
    if unknown:
        raise InputError(f"columns={sorted(unknown)}: expected names among {', '.join(ALIASES)}")
    if not all(isinstance(name, str) for name in chosen.values()):
        raise InputError(f"columns={chosen}: expected texts, the names that the files have")
    return chosen


def _checked_separator(separator: str) -> str:
    separator = "\t" if separator in _TABS else separator
    if len(separator) > 1 or separator in ("\n", "\r"):
        raise InputError(
            f"separator={separator!r}: expected one character, such as ',' or ';' or a tab, or '' to find it"
        )
    return separator


def _find_columns(source: Table, chosen: Mapping[str, str]) -> dict[str, str]:
    """Our names of the interactions' columns with the file's, each of which stands for one of ours."""
    names = source.find(("user", "item"), ("rating", "timestamp"), chosen)
    twice = [ours for ours, theirs in names.items() if list(names.values()).count(theirs) > 1]
    if twice:
        raise InputError(
            f"{source.path.name}: column {names[twice[0]]!r} is taken for {' and '.join(twice)}: "
            "expected one each"
        )
    return names


def _read_interactions(source: Table, names: Mapping[str, str], match_ids: str) -> list[str]:
    """Keep and name the columns of the interactions and read their ids; returns notes on the ids."""
    source.frame = source.frame[list(names.values())]
    source.rename(names)
    return [source.read_ids("user"), source.read_ids("item", match_ids)]


def _known_items(source: Table, catalogue: Table, unknown_items: str) -> tuple[np.ndarray, str]:
    """Places ``[n]`` of the interactions' items in the table of items, -1 for unknown ones where those may be
    dropped.

    And a note on near misses among the unknown ids, "" if there are none.
    """
    named, known = source.frame["item"], pd.Index(catalogue.frame["id"])
    item = known.get_indexer(named)
    note = ids.near_misses(named[item < 0], catalogue.frame["id"]) if (item < 0).any() else ""
    if unknown_items == "refuse":
        expected = f"an id of {catalogue.path.name}" + (f"; {note}" if note else "")
        source.refuse(pd.Series(item < 0), named, "item", expected)
    elif (item < 0).all():
        raise InputError(
            f"{source.path.name} and {catalogue.path.name} have no item id in common ({shown(named.iloc[0])} "
            f"here, "
            f"{shown(known[0])} there): "
            f"{note or 'expected the same ids in both, or name other columns for item and id'}"
        )
    return item, note


def _of_duplicates(
    source: Table, events: pd.DataFrame, times: np.ndarray | None, duplicates: str
) -> np.ndarray:
    """Which events stay, bool ``[n]``: one for each user and item."""
    pairs = events[["user", "item"]]
    if duplicates == "refuse":
        twice = pairs.duplicated()
        source.refuse(twice, pairs["user"] + " × " + pairs["item"], "user × item", "each pair once")
        return np.ones(len(events), dtype=bool)
    order = np.arange(len(events)) if times is None else np.argsort(times, kind="stable")
    kept = np.zeros(len(events), dtype=bool)
    kept[order] = ~pairs.iloc[order].duplicated(keep="first" if duplicates == "first" else "last").to_numpy()
    return kept


def _assemble(
    name: str, source: Table, catalogue: Table, people: Table | None, duplicates: str, unknown_items: str
) -> Dataset:
    """Check the interactions against the tables, merge repeated ones, and number users and items."""
    events = source.frame
    item, note = _known_items(source, catalogue, unknown_items)
    known = (item >= 0) & ~events.duplicated(keep="first").to_numpy()
    n_dropped, events = int((item < 0).sum()), events[known]
    rating, times = _ratings(source, events), _times(source, events)
    kept = _of_duplicates(source, events, times, duplicates)
    n_merged, events, item = len(source.frame) - n_dropped - int(kept.sum()), events[kept], item[known][kept]
    if people is None:
        users = pd.DataFrame({"id": events["user"].drop_duplicates().sort_values(ignore_index=True)})
    else:
        users = people.frame
        known = events["user"].isin(users["id"])
        source.refuse(~known, events["user"], "user", f"an id of {people.path.name}")
    return Dataset(
        name,
        user=pd.Index(users["id"]).get_indexer(events["user"]).astype(np.int32),
        item=item.astype(np.int32),
        rating=rating[kept],
        timestamp=None if times is None else times[kept],
        items=catalogue.frame,
        users=users,
        n_dropped=n_dropped,
        n_merged=n_merged,
        notes=(note,) if note else (),
    )


def _years(table: Table) -> None:
    if "year" in table.frame.columns:
        texts = table.frame["year"]
        year = pd.to_numeric(texts.replace("", None), errors="coerce").astype(np.float64)
        # 1999.0 is what pandas writes where a year is missing.
        whole = year.abs().lt(1e5) & year.eq(year.round())
        table.refuse(~whole & texts.ne(""), texts, "year", "a year or nothing")
        table.frame = table.frame.assign(year=year.astype("Int64"))


def _ratings(source: Table, events: pd.DataFrame) -> np.ndarray:
    if "rating" not in events.columns:
        return np.full(len(events), np.nan, dtype=np.float32)
    texts = events["rating"]
    numbers = pd.to_numeric(texts.replace("", None), errors="coerce").astype(np.float64)
    bad = (numbers.isna() & texts.ne("")) | numbers.abs().gt(np.finfo(np.float32).max)
    source.refuse(bad, texts, "rating", "a number, or nothing for an implicit one")
    return numbers.to_numpy(np.float32)


def _times(source: Table, events: pd.DataFrame) -> np.ndarray | None:
    if "timestamp" not in events.columns:
        return None
    texts = events["timestamp"]
    numbers = pd.to_numeric(texts, errors="coerce").astype(np.float64)
    if numbers.notna().mean() > 0.5:  # numbers; what does not parse among them is a mistake
        _refuse_days(source, texts)
        numbers /= _unit(numbers)
        bad = ~numbers.between(_FIRST_SECOND, _LAST_SECOND)
        source.refuse(bad, texts, "timestamp", "seconds since 1970, or milliseconds in every row")
        return np.floor(numbers.to_numpy()).astype(np.int64)
    dates = pd.to_datetime(texts, errors="coerce", utc=True, format="ISO8601")
    source.refuse(dates.isna(), texts, "timestamp", "seconds since 1970 or a date such as 2004-03-31 17:05")
    return dates.dt.as_unit("s").astype("int64").to_numpy()


def _refuse_days(source: Table, texts: pd.Series) -> None:
    """20040331 is March 2004 to whoever wrote it, and August 1970 as seconds."""
    if texts.str.fullmatch(r"(?:19|20)\d{6}").all():
        days = pd.to_datetime(texts, errors="coerce", format="%Y%m%d")
        if days.notna().all():
            source.refuse(
                days.notna(), texts, "timestamp", "days as 2004-03-31, which cannot be taken for seconds"
            )


def _unit(numbers: pd.Series) -> int:
    """How many of the timestamps' units make a second: 1 unless every one, as seconds,
    lies beyond the year 9999.
    """
    least = numbers.min() if numbers.notna().all() else 0.0
    return next((unit for unit in (10**9, 10**6, 10**3) if least > _LAST_SECOND * unit / 1e3), 1)
