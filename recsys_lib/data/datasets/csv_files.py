"""A reader's own data from CSV files, checked row by row."""

from __future__ import annotations

import csv
import difflib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NoReturn

import numpy as np
import pandas as pd

from recsys_lib.core.errors import InputError
from recsys_lib.data.datasets.dataset import Dataset

# Compared by letters and digits alone, whatever the case: User-ID, user_id and UserID are one name.
_ALIASES = {
    "user": ("user", "user_id", "customer", "customer_id", "visitor_id", "client_id", "session_id"),
    "item": ("item", "item_id", "movie_id", "product_id", "product", "article_id", "sku", "isbn", "asin"),
    "rating": ("rating", "score", "stars", "value"),
    "timestamp": ("timestamp", "time", "date", "datetime", "created_at"),
    "id": ("id",),
    "title": ("title", "name", "item_title", "product_name"),
}
# How programs write a missing id; as a text it would become one busy user.
_NO_ID = ("", "nan", "NaN", "NULL", "null", "None", "<NA>")
# The same for texts, but for what might be a title.
_NO_TEXT = ("nan", "NaN", "NULL", "<NA>")
_TABS = ("\\t", "tab")
REPEATS, STRANGERS = ("refuse", "first", "last"), ("refuse", "drop")
# Seconds of the years 1 and 9999; milliseconds of our time lie beyond, microseconds and nanoseconds far beyond.
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
    repeats: str = "refuse",
    strangers: str = "refuse",
) -> Dataset:
    """Read interactions (user, item, optional rating and timestamp), items (id, title, anything else) and users (id ...).

    Usual column names are recognized; ``columns`` maps ours (user, item, rating, timestamp, and id and title of the items)
    to yours, e.g. ``{"user": "kunde"}``. ``separator=""`` takes for each file whichever of ``, ; |`` and tab its header has most
    of. Ids stay text ("007"); nan, NULL and None are none. An empty rating is implicit; nan or NULL for a text is no text.
    Timestamps are seconds since 1970 (or milli-, micro- or nanoseconds, if all of them lie beyond the year 9999 otherwise) or
    ISO 8601 dates (UTC unless they say otherwise; 03/04/2004 is refused, since nobody knows whether it is in March).
    Rows are counted as an editor does: the header is row 1.

    Interactions that are equal in user, item, rating and timestamp are merged. Of those that are equal in user and item only,
    ``repeats`` keeps the "first" or the "last" (by time, else by row) or refuses them. ``strangers``, interactions whose item the
    table of items lacks, are refused or dropped. The data set counts both.

    Raises:
        InputError: naming file, row and column, what stands there and what is wanted.
    """
    for argument, value, wanted in (("repeats", repeats, REPEATS), ("strangers", strangers, STRANGERS)):
        if value not in wanted:
            raise InputError(f"{argument}={value!r}: want one of {', '.join(wanted)}")
    chosen = dict(columns or {})
    unknown = set(chosen) - set(_ALIASES)
    if unknown:
        raise InputError(f"columns={sorted(unknown)}: want names among {', '.join(_ALIASES)}")
    if not all(isinstance(name, str) for name in chosen.values()):
        raise InputError(f"columns={chosen}: want texts, the names that the files have")
    separator = "\t" if separator in _TABS else separator
    if len(separator) > 1 or separator in ("\n", "\r"):
        raise InputError(f"separator={separator!r}: want one character, such as ',' or ';' or a tab, or '' to find it")
    source = Table(interactions, separator, encoding)
    names = source.find(("user", "item"), ("rating", "timestamp"), chosen)
    twice = [ours for ours, theirs in names.items() if list(names.values()).count(theirs) > 1]
    if twice:
        raise InputError(
            f"{source.path.name}: column {names[twice[0]]!r} is taken for {' and '.join(twice)}: want one each"
        )
    catalogue = Table(items, separator, encoding)
    found = catalogue.find(("id", "title"), (), chosen, {"id": ("item", names["item"])})
    catalogue.rename(found)
    catalogue.refuse_bad_ids()
    catalogue.frame = catalogue.frame.replace(dict.fromkeys(_NO_TEXT, ""))
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
    return _assemble(name or Path(interactions).stem, source, catalogue, people, repeats, strangers)


class Table:
    """A file as texts, with the errors that name its rows."""

    def __init__(self, path: str | Path, separator: str, encoding: str) -> None:
        self.path, self.encoding = Path(path), encoding
        self._refuse_other_files()
        try:
            self.separator = separator or self._separator()
            self.frame = self._read()
        except UnicodeError as error:
            self._refuse_bytes(error)
        except LookupError as error:
            raise InputError(f"encoding={self.encoding!r}: Python knows no such encoding") from error

    def _refuse_other_files(self) -> None:
        if self.path.is_dir():
            raise InputError(f"{self.path}: a folder, want a CSV file")
        if not self.path.is_file():
            beside = [p.name for p in self.path.parent.iterdir()] if self.path.parent.is_dir() else []
            near = difflib.get_close_matches(self.path.name, beside, 1)
            raise InputError(f"{self.path}: no such file{f'; did you mean {near[0]}?' if near else ''}")
        try:
            with self.path.open("rb") as file:
                start = file.read(4)
        except OSError as error:
            raise InputError(f"{self.path}: not readable ({error.strerror})") from error
        if start.startswith((b"PK\x03\x04", b"\x1f\x8b", b"\xd0\xcf\x11\xe0")):
            raise InputError(f"{self.path.name}: an Excel, zip or gzip file; save or unpack it as CSV")

    def _separator(self) -> str:
        """The one of the usual separators that the header has most of outside quotes; a comma if it has none."""
        with self.path.open(encoding=self.encoding, newline="") as file:
            header = re.sub(r'"[^"]*"', "", next((line for line in file if line.strip()), ""))
        return max(",;\t|", key=header.count)

    def _read(self) -> pd.DataFrame:
        try:
            frame = pd.read_csv(
                self.path, sep=self.separator, encoding=self.encoding, dtype=str, keep_default_na=False,
                compression=None,
            )  # fmt: skip
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
        data = self.path.read_bytes()
        likely = "utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "iso-8859-1"
        hint = f"save the file as UTF-8 or pass encoding='{likely}' (or what it is)"
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
            plain = {_plain(c): c for c in reversed(self.frame.columns)}
            match = [plain[_plain(w)] for w in wanted if _plain(w) in plain]
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


def _plain(name: str) -> str:
    """A column's name by its letters and digits alone, in lower case."""
    return "".join(c for c in name.lower() if c.isalnum()) or name


def _known_items(source: Table, catalogue: Table, strangers: str) -> np.ndarray:
    """Places ``[n]`` of the interactions' items in the table of items, -1 for strangers where those may be dropped."""
    wanted, ids = source.frame["item"], pd.Index(catalogue.frame["id"])
    item = ids.get_indexer(wanted)
    if strangers == "refuse":
        source.refuse(pd.Series(item < 0), wanted, "item", f"an id of {catalogue.path.name}")
    elif (item < 0).all():
        raise InputError(
            f"{source.path.name} and {catalogue.path.name} have no item id in common ({wanted.iloc[0]!r} here, {ids[0]!r} "
            "there): want the same ids in both, or name other columns for item and id"
        )
    return item


def _of_repeats(source: Table, events: pd.DataFrame, times: np.ndarray | None, repeats: str) -> np.ndarray:
    """Which events stay, bool ``[n]``: one for each user and item."""
    pairs = events[["user", "item"]]
    if repeats == "refuse":
        twice = pairs.duplicated()
        source.refuse(twice, pairs["user"] + " × " + pairs["item"], "user × item", "each pair once")
        return np.ones(len(events), dtype=bool)
    order = np.arange(len(events)) if times is None else np.argsort(times, kind="stable")
    kept = np.zeros(len(events), dtype=bool)
    kept[order] = ~pairs.iloc[order].duplicated(keep="first" if repeats == "first" else "last").to_numpy()
    return kept


def _assemble(
    name: str, source: Table, catalogue: Table, people: Table | None, repeats: str, strangers: str
) -> Dataset:
    """Check the interactions against the tables, merge repeated ones, and number users and items."""
    events = source.frame
    for column in ("user", "item"):
        source.refuse(events[column].isin(_NO_ID), events[column], column, "an id")
    item = _known_items(source, catalogue, strangers)
    known = (item >= 0) & ~events.duplicated(keep="first").to_numpy()
    n_dropped, events = int((item < 0).sum()), events[known]
    rating, times = _ratings(source, events), _times(source, events)
    kept = _of_repeats(source, events, times, repeats)
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
            source.refuse(days.notna(), texts, "timestamp", "days as 2004-03-31, which cannot be taken for seconds")


def _unit(numbers: pd.Series) -> int:
    """How many of the timestamps' units make a second: 1 unless every one, as seconds, lies beyond the year 9999."""
    least = numbers.min() if numbers.notna().all() else 0.0
    return next((unit for unit in (10**9, 10**6, 10**3) if least > _LAST_SECOND * unit / 1e3), 1)
