"""From tables of a published data set to a ``Dataset``: what is missing, unknown or repeated is left out and
counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recsys_lib.core import memory
from recsys_lib.core.errors import InputError
from recsys_lib.data.datasets.csv_table import NO_ID, shown
from recsys_lib.data.datasets.dataset import Dataset

# Memory for each byte of a file of numbers: the columns, their dense indices and the order of pairs.
_BYTES_PER_BYTE = 4
_LAST_SECOND = 253_402_300_799  # of the year 9999


def _engine() -> Any:
    """pyarrow reads several times as fast; pandas' own reader serves where it is not installed."""
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        return "c"
    return "pyarrow"


def read_numbers(path: Path, types: dict[str, Any], names: Sequence[str] | None = None) -> pd.DataFrame:
    """The named columns of a large CSV file as numbers; ``names``: of a file without a header.

    Raises:
        InputError: no such file, a missing column, or a value that is no number, with its row.
    """
    check_file(path)
    memory.require(_BYTES_PER_BYTE * path.stat().st_size, f"reading {path.name}", "read a part of the file")
    header = None if names else 0
    columns = list(names) if names else header_of(path)
    require_columns(path, columns, types)
    try:
        return pd.read_csv(
            path, usecols=list(types), dtype=types, engine=_engine(), header=header, names=names
        )
    except (ValueError, TypeError, pd.errors.ParserError):
        frame = pd.read_csv(path, usecols=list(types), dtype=str, header=header, names=names)
    for column, kind in types.items():
        numbers = pd.to_numeric(frame[column], errors="coerce")
        bad = numbers.isna() & frame[column].notna()
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            value = shown(frame[column].iloc[row])
            raise InputError(
                f"{path.name} row {row + 1 + (not names)} column {column}: {value}, expected a number"
            )
        # Missing ids and times stay missing, and are left out and counted later.
        frame[column] = numbers.astype("Int64" if np.dtype(kind).kind == "i" else kind)
    return frame


def text_frame(
    path: Path, needed: Sequence[str], separator: str = ",", encoding: str = "utf-8", **options: Any
) -> pd.DataFrame:
    """A table of texts with at least the ``needed`` columns.

    Raises:
        InputError: no such file, an empty one, another encoding, a missing column, or rows of other lengths.
    """
    check_file(path)
    try:
        frame = pd.read_csv(
            path, sep=separator, encoding=encoding, dtype=str, keep_default_na=False, **options
        )
    except pd.errors.EmptyDataError as error:
        raise InputError(f"{path.name}: the file is empty, expected a header and rows") from error
    except UnicodeError as error:
        raise InputError(f"{path.name}: not {encoding} ({error}); expected the file as published") from error
    except pd.errors.ParserError as error:
        raise InputError(
            f"{path.name}: {' '.join(str(error).split())}; expected the file as published"
        ) from error
    frame.columns = pd.Index([str(column).lstrip("\ufeff").strip() for column in frame.columns])
    require_columns(path, list(frame.columns), needed)
    if frame.empty:
        raise InputError(f"{path.name}: a header and no rows")
    return frame


def check_file(path: Path) -> None:
    """Refuse a file that is not there or holds nothing.

    Raises:
        InputError: naming it.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected the data set's files as published")
    if not path.stat().st_size:
        raise InputError(f"{path.name}: the file is empty, expected a header and rows")


def header_of(path: Path, separator: str = ",") -> list[str]:
    """Column names of the first line.

    Raises:
        InputError: the line is not UTF-8.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            return [name.strip().strip('"') for name in file.readline().split(separator)]
    except UnicodeError as error:
        raise InputError(f"{path.name}: not utf-8 ({error}); expected the file as published") from error


def require_columns(path: Path, columns: Sequence[str], needed: Sequence[str] | dict[str, Any]) -> None:
    """Refuse a table without one of the ``needed`` columns.

    Raises:
        InputError: naming the first missing column and what the file has.
    """
    missing = [name for name in needed if name not in columns]
    if missing:
        raise InputError(f"{path.name}: no column {missing[0]!r}; it has {', '.join(columns)!r}")


def assemble(
    name: str,
    events: pd.DataFrame,
    items: pd.DataFrame,
    users: pd.DataFrame | None = None,
    notes: Sequence[str] = (),
) -> Dataset:
    """A data set from ``events`` (user, item; rating and timestamp if known) and ``items`` (id, title, ...).

    Left out and counted: events without a user or an item, events whose item the table lacks (both
    ``n_dropped``), and repeated pairs of user and item (``n_merged``): the latest stays, or the first where
    there are no times. A repeated id among the items is refused. ``users`` without an event are left out.

    Raises:
        InputError: nothing is left, or an item id occurs twice.
    """
    n_read = len(events)
    present = _present(events["user"]) & _present(events["item"])
    if "timestamp" in events:
        present &= events["timestamp"].notna().to_numpy()
    n_missing = int((~present).sum())
    events = events[present] if n_missing else events
    item = _places_of(name, items, events["item"])
    unknown = item < 0
    n_unknown = int(unknown.sum())
    if n_unknown:
        events, item = events[~unknown], item[~unknown]
    if not len(events):
        raise InputError(f"{name}: none of its {n_read:,} interactions names a user and a known item")
    user, ids = pd.factorize(events["user"], sort=True)
    times = events["timestamp"].to_numpy(np.int64) if "timestamp" in events else None
    kept = _one_of_each(user, item, len(items), times)
    rating = events["rating"].to_numpy(np.float32) if "rating" in events else None
    said = [f"{n_missing:,} interactions name no user, item or time and were left out."] * bool(n_missing)
    said += [f"{n_unknown:,} interactions are of items without a row and were left out."] * bool(n_unknown)
    return Dataset(
        name,
        user=user[kept].astype(np.int32),
        item=item[kept].astype(np.int32),
        rating=np.full(len(kept), np.nan, np.float32) if rating is None else rating[kept],
        timestamp=None if times is None else times[kept],
        items=items.reset_index(drop=True).assign(id=items["id"].astype(str).to_numpy()),
        users=_users(ids, users),
        n_dropped=n_missing + n_unknown,
        n_merged=len(events) - len(kept),
        notes=(*notes, *said),
    )


def _present(ids: pd.Series) -> np.ndarray:
    """Which ids name something, bool ``[n]``."""
    present = ids.notna().to_numpy()
    return present if ids.dtype.kind in "iuf" else present & ~ids.isin(NO_ID).to_numpy()


def _places_of(name: str, items: pd.DataFrame, wanted: pd.Series) -> np.ndarray:
    """Rows of the item table, -1 for an id that it lacks."""
    index = pd.Index(items["id"])
    if not index.is_unique:
        twice = index[index.duplicated()][0]
        raise InputError(f"{name}: item id {str(twice)!r} occurs more than once in the table of items")
    codes, different = pd.factorize(wanted)
    return index.get_indexer(pd.Index(different))[codes].astype(np.int64)


def _one_of_each(user: np.ndarray, item: np.ndarray, n_items: int, times: np.ndarray | None) -> np.ndarray:
    """Places of the interactions that stay, in their order: the latest of each pair, or the first."""
    pair = user.astype(np.int64) * n_items + item
    order = np.argsort(pair, kind="stable") if times is None else np.lexsort((times, pair))
    ordered = pair[order]
    differs = ordered[1:] != ordered[:-1]
    edge = np.concatenate([[True], differs] if times is None else [differs, [True]])
    return np.sort(order[edge])


def _users(ids: Any, users: pd.DataFrame | None) -> pd.DataFrame:
    """The table of the users with these ids, in their order; columns of ``users`` where it knows them."""
    found = pd.DataFrame({"id": pd.Index(ids)})
    if users is not None:
        found = found.merge(users.drop_duplicates("id"), on="id", how="left")
    return found.assign(id=found["id"].astype(str))


def seconds(times: pd.Series) -> pd.Series:
    """Whole seconds since 1970 from seconds, milliseconds or ISO 8601 dates; missing ones stay missing."""
    numbers = pd.to_numeric(times, errors="coerce")
    if numbers.notna().any():
        unit = 1000 if numbers.min() > _LAST_SECOND / 1000 * 10 else 1
        return (numbers // unit).astype("Int64")
    dates = pd.to_datetime(times, errors="coerce", utc=True, format="ISO8601")
    whole = (dates - pd.Timestamp(0, tz="UTC")) // pd.Timedelta(seconds=1)
    return whole.astype("Int64")
