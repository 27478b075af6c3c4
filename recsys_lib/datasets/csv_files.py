"""A reader's own data from CSV files, checked row by row."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from recsys_lib.datasets.dataset import Dataset
from recsys_lib.errors import InputError

_ALIASES = {
    "user": ("user", "user_id", "userid", "customer", "customer_id", "visitor_id"),
    "item": ("item", "item_id", "itemid", "movieid", "movie_id", "product_id", "product", "isbn", "asin"),
    "rating": ("rating", "score", "stars", "value"),
    "timestamp": ("timestamp", "time", "date", "datetime", "created_at"),
    "id": (
        "id",
        "item",
        "item_id",
        "itemid",
        "movieid",
        "movie_id",
        "product_id",
        "isbn",
        "asin",
        "user",
        "user_id",
        "userid",
    ),
    "title": ("title", "name", "item_title", "product_name"),
}


def from_csv(
    interactions: str | Path,
    items: str | Path,
    users: str | Path | None = None,
    *,
    columns: Mapping[str, str] | None = None,
    separator: str = ",",
    encoding: str = "utf-8",
    name: str | None = None,
) -> Dataset:
    """Read interactions (user, item, optional rating and timestamp), items (id, title, anything else) and users (id ...).

    Usual column names are recognized; ``columns`` maps ours to yours, e.g. ``{"user": "kunde"}``. Ids stay text ("007").
    Timestamps are seconds since 1970 or dates that pandas reads. The same user and item twice is refused unless the rows
    are equal in every column, which are merged. Rows are counted as an editor does: the header is row 1.

    Raises:
        InputError: naming file, row and column, what stands there and what is wanted.
    """
    chosen = dict(columns or {})
    unknown = set(chosen) - set(_ALIASES)
    if unknown:
        raise InputError(f"columns={sorted(unknown)}: want names among {', '.join(_ALIASES)}")
    events = _read(Path(interactions), separator, encoding)
    catalogue = _table(Path(items), separator, encoding, chosen, needs_title=True)
    events = _rename(events, Path(interactions).name, chosen, ("user", "item"), ("rating", "timestamp"))
    people = None if users is None else _table(Path(users), separator, encoding, chosen, needs_title=False)
    where = Path(interactions).name
    for column in ("user", "item"):
        _refuse(events[column].eq(""), events[column], where, column, "an id")
    item = pd.Index(catalogue["id"]).get_indexer(events["item"])
    _refuse(pd.Series(item < 0), events["item"], where, "item", f"an id of {Path(items).name}")
    repeated = events.duplicated(keep="first")
    _refuse(events.duplicated(["user", "item"]) & ~repeated, events["user"] + " × " + events["item"], where,
            "user × item", "each pair once")  # fmt: skip
    events, item = events[~repeated], item[~repeated.to_numpy()]
    if people is None:
        people = pd.DataFrame({"id": events["user"].drop_duplicates().sort_values(ignore_index=True)})
    user = pd.Index(people["id"]).get_indexer(events["user"])
    _refuse(pd.Series(user < 0, index=events.index), events["user"], where, "user", "an id of the users file")
    return Dataset(
        name or Path(interactions).stem,
        user=user.astype(np.int32),
        item=item.astype(np.int32),
        rating=_ratings(events, where),
        timestamp=_times(events, where),
        items=catalogue,
        users=people,
    )


def _read(path: Path, separator: str, encoding: str) -> pd.DataFrame:
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        frame = pd.read_csv(
            path, sep=separator, encoding=encoding, dtype=str, keep_default_na=False, encoding_errors="strict"
        )
    except UnicodeDecodeError as error:
        row = path.read_bytes()[: error.start].count(b"\n") + 1
        raise InputError(
            f"{path.name} row {row}: byte 0x{error.object[error.start]:02x} is not {encoding}; "
            f"save the file as UTF-8 or pass encoding='iso-8859-1' (or what it is)"
        ) from error
    except LookupError as error:
        raise InputError(f"encoding={encoding!r}: Python knows no such encoding") from error
    except pd.errors.EmptyDataError as error:
        raise InputError(f"{path.name}: the file is empty, want a header and rows") from error
    except pd.errors.ParserError as error:
        raise InputError(
            f"{path.name}: {str(error).strip().splitlines()[-1]}; want the same columns in every row"
        ) from error
    frame.columns = [str(c).lstrip("\ufeff").strip() for c in frame.columns]
    if frame.empty:
        raise InputError(f"{path.name}: a header and no rows")
    return frame.apply(lambda column: column.str.strip())


def _rename(frame: pd.DataFrame, where: str, chosen: Mapping[str, str], needed: tuple, optional: tuple) -> pd.DataFrame:
    names = {}
    for ours in (*needed, *optional):
        wanted = (chosen[ours].lower(),) if ours in chosen else _ALIASES[ours]
        match = [c for c in frame.columns if c.lower() in wanted and c not in names]
        if match:
            names[match[0]] = ours
        elif ours in needed or ours in chosen:
            raise InputError(
                f"{where}: no column for {ours!r} (looked for {', '.join(wanted)}); it has {', '.join(frame.columns)}; "
                f"name it with columns={{{ours!r}: ...}}"
            )
    return frame.rename(columns=names)[list(names.values())] if optional else frame.rename(columns=names)


def _table(path: Path, separator: str, encoding: str, chosen: Mapping[str, str], needs_title: bool) -> pd.DataFrame:
    """An item or user table: unique, present ids; years as numbers."""
    frame = _read(path, separator, encoding)
    frame = _rename(frame, path.name, chosen, ("id", "title") if needs_title else ("id",), ())
    _refuse(frame["id"].eq(""), frame["id"], path.name, "id", "an id")
    _refuse(frame["id"].duplicated(), frame["id"], path.name, "id", "each id once")
    if needs_title and "year" in frame.columns:
        year = pd.to_numeric(frame["year"].replace("", None), errors="coerce")
        _refuse(year.isna() & frame["year"].ne(""), frame["year"], path.name, "year", "a year or nothing")
        frame["year"] = year.round().astype("Int64")
    return frame


def _refuse(bad: pd.Series, values: pd.Series, where: str, column: str, wanted: str) -> None:
    rows = np.flatnonzero(bad.to_numpy())
    if len(rows):
        more = f" (and {len(rows) - 1} more rows)" if len(rows) > 1 else ""
        row = int(values.index[rows[0]]) + 2
        raise InputError(f"{where} row {row} column {column}: {values.iloc[rows[0]]!r}, want {wanted}{more}")


def _ratings(events: pd.DataFrame, where: str) -> np.ndarray:
    if "rating" not in events.columns:
        return np.full(len(events), np.nan, dtype=np.float32)
    numbers = pd.to_numeric(events["rating"].replace("", None), errors="coerce").astype(np.float64)
    bad = (numbers.isna() & events["rating"].ne("")) | np.isinf(numbers)
    _refuse(bad, events["rating"], where, "rating", "a number, or nothing for an implicit one")
    return numbers.to_numpy(np.float32)


def _times(events: pd.DataFrame, where: str) -> np.ndarray | None:
    if "timestamp" not in events.columns:
        return None
    texts = events["timestamp"]
    numbers = pd.to_numeric(texts, errors="coerce")
    if numbers.notna().mean() > 0.5:  # seconds; what does not parse among them is a mistake
        _refuse(numbers.isna() | np.isinf(numbers), texts, where, "timestamp", "seconds since 1970")
        return numbers.to_numpy(np.float64).astype(np.int64)
    dates = pd.to_datetime(texts, errors="coerce", utc=True, format="mixed")
    _refuse(dates.isna(), texts, where, "timestamp", "seconds since 1970 or a date such as 2004-03-31 17:05")
    return dates.dt.as_unit("s").astype("int64").to_numpy()
