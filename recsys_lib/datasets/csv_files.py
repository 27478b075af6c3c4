"""A reader's own data from CSV files, checked row by row."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NoReturn

import numpy as np
import pandas as pd

from recsys_lib.datasets.dataset import Dataset
from recsys_lib.errors import InputError

_ALIASES = {
    "user": ("user", "user_id", "userid", "customer", "customer_id", "visitor_id"),
    "item": ("item", "item_id", "itemid", "movieid", "movie_id", "product_id", "product", "isbn", "asin"),
    "rating": ("rating", "score", "stars", "value"),
    "timestamp": ("timestamp", "time", "date", "datetime", "created_at"),
    "id": ("id",),
    "title": ("title", "name", "item_title", "product_name"),
}
# How programs write a missing id; as a text it would become one busy user.
_NO_ID = ("", "nan", "NaN", "NULL", "null", "None", "<NA>")
# Seconds of the years 1 and 9999; milliseconds lie beyond.
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
) -> Dataset:
    """Read interactions (user, item, optional rating and timestamp), items (id, title, anything else) and users (id ...).

    Usual column names are recognized; ``columns`` maps ours (user, item, rating, timestamp, and id and title of the items)
    to yours, e.g. ``{"user": "kunde"}``. Ids stay text ("007"); nan, NULL and None are none. An empty rating is implicit.
    Timestamps are seconds since 1970 or ISO 8601 dates (UTC unless they say otherwise; 03/04/2004 is refused, since
    nobody knows whether it is in March). Interactions that are equal in user, item, rating and timestamp are merged; the
    same user and item with other values is refused. Rows are counted as an editor does: the header is row 1.

    Raises:
        InputError: naming file, row and column, what stands there and what is wanted.
    """
    chosen = dict(columns or {})
    unknown = set(chosen) - set(_ALIASES)
    if unknown:
        raise InputError(f"columns={sorted(unknown)}: want names among {', '.join(_ALIASES)}")
    if len(separator) != 1:
        raise InputError(f"separator={separator!r}: want one character, such as ',' or ';' or a tab")
    source = Table(interactions, separator, encoding)
    names = source.find(("user", "item"), ("rating", "timestamp"), chosen)
    catalogue = Table(items, separator, encoding)
    found = catalogue.find(("id", "title"), (), chosen, {"id": ("item", names["item"])})
    catalogue.rename(found)
    catalogue.refuse_bad_ids()
    _years(catalogue)
    people = None
    if users is not None:
        people = Table(users, separator, encoding)
        # "id" in columns names that of the items; a user's is called as among the interactions.
        others = {key: value for key, value in chosen.items() if key != "id"}
        people.rename(people.find(("id",), (), others, {"id": ("user", names["user"])}))
        people.refuse_bad_ids()
    source.frame = source.frame[list(names.values())]
    source.rename(names)
    return _assemble(name or Path(interactions).stem, source, catalogue, people)


class Table:
    """A file as texts, with the errors that name its rows."""

    def __init__(self, path: str | Path, separator: str, encoding: str) -> None:
        self.path, self.separator, self.encoding = Path(path), separator, encoding
        self.frame = self._read()

    def _read(self) -> pd.DataFrame:
        if not self.path.is_file():
            raise InputError(f"{self.path}: no such file")
        try:
            frame = pd.read_csv(
                self.path, sep=self.separator, encoding=self.encoding, dtype=str, keep_default_na=False
            )  # fmt: skip
        except UnicodeError as error:
            self._refuse_bytes(error)
        except LookupError as error:
            raise InputError(f"encoding={self.encoding!r}: Python knows no such encoding") from error
        except pd.errors.EmptyDataError as error:
            raise InputError(f"{self.path.name}: the file is empty, want a header and rows") from error
        except pd.errors.ParserError as error:
            self._refuse_shape(str(error))
        if not isinstance(frame.index, pd.RangeIndex):  # more fields than names: pandas made an index of the first
            self._refuse_shape("more fields than the header")
        frame.columns = pd.Index([str(c).lstrip("\ufeff").strip() for c in frame.columns])
        if frame.empty:
            raise InputError(f"{self.path.name}: a header and no rows")
        return frame.apply(lambda column: column.str.strip())

    def _records(self) -> Iterator[tuple[int, list[str]]]:
        """First line (1-based) and fields of every record, blank lines passed over as pandas does."""
        with self.path.open(encoding=self.encoding, newline="") as file:
            reader = csv.reader(file, delimiter=self.separator)
            line = 1
            for fields in reader:
                if len(fields) > 1 or (fields and fields[0].strip()):
                    yield line, fields
                line = reader.line_num + 1

    def row(self, record: int) -> int:
        """Row in an editor of a record (the header is record 0); read again, since only an error asks."""
        return next((line for n, (line, _) in enumerate(self._records()) if n == record), record + 1)

    def _refuse_bytes(self, error: UnicodeError) -> NoReturn:
        data, hint = self.path.read_bytes(), "save the file as UTF-8 or pass encoding='iso-8859-1' (or what it is)"
        try:
            data.decode(self.encoding)  # pandas counts from the start of its buffer, this from the start of the file
        except UnicodeDecodeError as exact:
            row = len((data[: exact.start] + b"x").splitlines())
            raise InputError(
                f"{self.path.name} row {row}: byte {exact.start} (0x{data[exact.start]:02x}) "
                f"is not {self.encoding}; {hint}"
            ) from exact
        raise InputError(f"{self.path.name}: not {self.encoding} ({error}); {hint}") from error

    def _refuse_shape(self, reason: str) -> NoReturn:
        opened = re.search(r"inside string starting at row (\d+)", reason)
        if opened:
            raise InputError(f"{self.path.name} row {self.row(int(opened[1]))}: a quote opens and never closes")
        records = self._records()
        _, header = next(records)
        for line, fields in records:
            if len(fields) > len(header):
                raise InputError(
                    f"{self.path.name} row {line}: {len(fields)} fields, want {len(header)} as in the header; "
                    f"quote a field that holds {self.separator!r}"
                )
        raise InputError(f"{self.path.name}: {' '.join(reason.split())}; want the same columns in every row")

    def find(
        self,
        needed: tuple[str, ...],
        optional: tuple[str, ...],
        chosen: Mapping[str, str],
        more: Mapping[str, tuple[str, str]] | None = None,
    ) -> dict[str, str]:
        """Our names to those of the file: the chosen one, else the first alias that is a column, whatever its case.

        ``more`` gives, for one of ours, another of ours whose aliases count too, and a name to try before them.
        """
        names: dict[str, str] = {}
        for ours in (*needed, *optional):
            wanted: tuple[str, ...] = (chosen[ours],) if ours in chosen else _ALIASES[ours]
            if more and ours in more and ours not in chosen:
                other, first = more[ours]
                wanted = (first, *wanted, *_ALIASES[other])
            lower = {c.lower(): c for c in reversed(self.frame.columns)}
            match = [lower[w.lower()] for w in wanted if w.lower() in lower]
            if match:
                names[ours] = chosen[ours] if chosen.get(ours) in self.frame.columns else match[0]
            elif ours in needed or ours in chosen:
                self._refuse_missing(ours, wanted)
        return names

    def _refuse_missing(self, ours: str, wanted: tuple[str, ...]) -> NoReturn:
        columns = ", ".join(self.frame.columns)
        other = next((s for s in ";\t,|" if s != self.separator and s in columns), None)
        mend = (
            f"pass separator={other!r}"
            if other and len(self.frame.columns) == 1
            else f"name it with columns={{{ours!r}: ...}}"
        )
        raise InputError(
            f"{self.path.name}: no column for {ours!r} (looked for {', '.join(dict.fromkeys(wanted))}); "
            f"it has {columns!r}; {mend}"
        )

    def rename(self, names: Mapping[str, str]) -> None:
        """Give the columns our names; another column that already has one of them goes."""
        taken = [ours for ours, theirs in names.items() if ours != theirs and ours in self.frame.columns]
        kept = [c for c in self.frame.columns if c not in taken or c in names.values()]
        self.frame = self.frame[kept].rename(columns={theirs: ours for ours, theirs in names.items()})

    def refuse(self, bad: pd.Series, values: pd.Series, column: str, wanted: str) -> None:
        """An error for the first of the bad rows; ``values`` carries the record numbers as its index."""
        rows = np.flatnonzero(bad.to_numpy())
        if len(rows):
            more = f" (and {len(rows) - 1} more rows)" if len(rows) > 1 else ""
            row = self.row(int(values.index[rows[0]]) + 1)
            raise InputError(
                f"{self.path.name} row {row} column {column}: {values.iloc[rows[0]]!r}, want {wanted}{more}"
            )

    def refuse_bad_ids(self) -> None:
        ids = self.frame["id"]
        self.refuse(ids.isin(_NO_ID), ids, "id", "an id")
        self.refuse(ids.duplicated(), ids, "id", "each id once")


def _assemble(name: str, source: Table, catalogue: Table, people: Table | None) -> Dataset:
    """Check the interactions against the tables, merge equal ones, and number users and items."""
    events = source.frame
    for column in ("user", "item"):
        source.refuse(events[column].isin(_NO_ID), events[column], column, "an id")
    item = pd.Index(catalogue.frame["id"]).get_indexer(events["item"])
    source.refuse(pd.Series(item < 0), events["item"], "item", f"an id of {catalogue.path.name}")
    repeated = events.duplicated(keep="first")
    clash = events.duplicated(["user", "item"]) & ~repeated
    if clash.any():
        source.refuse(clash, events["user"] + " × " + events["item"], "user × item", "each pair once")
    events, item = events[~repeated], item[~repeated.to_numpy()]
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
        rating=_ratings(source, events),
        timestamp=_times(source, events),
        items=catalogue.frame,
        users=users,
    )


def _years(table: Table) -> None:
    if "year" in table.frame.columns:
        texts = table.frame["year"]
        year = pd.to_numeric(texts.replace("", None), errors="coerce").astype(np.float64)
        whole = year.abs().lt(1e5) & year.eq(year.round())  # 1999.0 is what pandas writes where a year is missing
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
    if numbers.notna().mean() > 0.5:  # seconds; what does not parse among them is a mistake
        bad = ~numbers.between(_FIRST_SECOND, _LAST_SECOND)
        source.refuse(bad, texts, "timestamp", "seconds since 1970 (divide milliseconds by 1,000)")
        return np.floor(numbers.to_numpy()).astype(np.int64)
    dates = pd.to_datetime(texts, errors="coerce", utc=True, format="ISO8601")
    source.refuse(dates.isna(), texts, "timestamp", "seconds since 1970 or a date such as 2004-03-31 17:05")
    return dates.dt.as_unit("s").astype("int64").to_numpy()
