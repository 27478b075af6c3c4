"""A CSV file as a table of texts; its errors name the file and the row."""

from __future__ import annotations

import csv
import difflib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, NoReturn

import numpy as np
import pandas as pd

from recsys_lib.core import memory
from recsys_lib.core.errors import InputError
from recsys_lib.data.datasets import ids

# Compared by letters and digits alone, whatever the case: User-ID, user_id and UserID are one name.
ALIASES = {
    "user": ("user", "user_id", "customer", "customer_id", "visitor_id", "client_id", "session_id"),
    "item": ("item", "item_id", "movie_id", "product_id", "product", "article_id", "sku", "isbn", "asin"),
    "rating": ("rating", "score", "stars", "value"),
    "timestamp": ("timestamp", "time", "date", "datetime", "created_at"),
    "id": ("id",),
    "title": ("title", "name", "item_title", "product_name"),
}
# How programs write a missing id; as a text it would become one busy user.
NO_ID = ("", "nan", "NaN", "NULL", "null", "None", "<NA>")
# The same for texts, but for what might be a title.
NO_TEXT = ("nan", "NaN", "NULL", "<NA>")
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
# Bytes of a file that are looked at for what it is.
_SAMPLE = 1_000_000
# Bytes of memory for each byte of a file at least: every field is a text of its own.
BYTES_PER_BYTE_READ = 8
QUOTES = ("check", "trust", "off")
# The csv module's own limit of 131,072 characters a field is less than a long description.
csv.field_size_limit(2**31 - 1)


def shown(value: str) -> str:
    """A value in quotes for a message of one line; its first 60 characters and its length where it is longer.

    >>> shown("007"), shown("9" * 70)[-19:]
    ("'007'", "9…' (70 characters)")
    """
    return repr(value) if len(value) <= 60 else f"{value[:60] + '…'!r} ({len(value):,} characters)"


class Table:
    """A file as texts, with the errors that name its rows."""

    def __init__(self, path: str | Path, separator: str, encoding: str, quotes: str = "check") -> None:
        self.path, self.encoding = Path(path), encoding
        self.quoting: Literal[0, 3] = csv.QUOTE_NONE if quotes == "off" else csv.QUOTE_MINIMAL
        self._refuse_other_files()
        try:
            self.skipped = 0
            self.separator = self._stated_separator() or separator or self._separator()
            self.frame = self._read()
            if quotes == "check":
                self._refuse_swallowed_rows()
        except OSError as error:
            raise InputError(f"{self.path}: not readable ({error.strerror or error})") from error
        except UnicodeError as error:
            self._refuse_bytes(error)
        except LookupError as error:
            raise InputError(f"encoding={self.encoding!r}: Python knows no such encoding") from error

    def _refuse_other_files(self) -> None:
        if self.path.is_dir():
            raise InputError(f"{self.path}: a folder, expected a CSV file")
        if not self.path.is_file():
            beside = [p.name for p in self.path.parent.iterdir()] if self.path.parent.is_dir() else []
            near = difflib.get_close_matches(self.path.name, beside, 1)
            raise InputError(f"{self.path}: no such file{f'; did you mean {near[0]}?' if near else ''}")
        try:
            with self.path.open("rb") as file:
                start = file.read(_SAMPLE)
        except OSError as error:
            raise InputError(f"{self.path}: not readable ({error.strerror})") from error
        if (
            b"\0" in start
            and "16" not in self.encoding
            and "32" not in self.encoding
            and start[:2] not in _UTF_16
        ):
            raise InputError(
                f"{self.path.name}: holds NUL bytes; expected a text file (UTF-16 needs encoding='utf-16')"
            )
        if start.startswith((b"PK\x03\x04", b"\x1f\x8b", b"\xd0\xcf\x11\xe0")):
            raise InputError(f"{self.path.name}: an Excel, zip or gzip file; save or unpack it as CSV")

    def _stated_separator(self) -> str:
        """The separator that a first line ``sep=;`` states, as spreadsheets write it;
        that line is then passed over.
        """
        with self.path.open(encoding=self.encoding, newline="") as file:
            stated = re.fullmatch(r'\ufeff?"?sep=(.)"?\s*', file.readline(20))
        self.skipped = 1 if stated else 0
        return stated[1] if stated else ""

    def _separator(self) -> str:
        """The one of the usual separators that the header has most of outside quotes;
        a comma if it has none.
        """
        with self.path.open(encoding=self.encoding, newline="") as file:
            header = re.sub(r'"[^"]*"', "", next((line for line in file if line.strip()), ""))
        return max(",;\t|", key=header.count)

    def _read(self) -> pd.DataFrame:
        size = self.path.stat().st_size
        what = f"reading {self.path.name}, {memory.gibibytes(size)} of text,"
        memory.require(BYTES_PER_BYTE_READ * size, what, "read a part of the file")
        try:
            frame = pd.read_csv(
                self.path, sep=self.separator, encoding=self.encoding, dtype=str, keep_default_na=False,
                compression=None, skiprows=self.skipped, quoting=self.quoting,
            )  # fmt: skip
        except pd.errors.EmptyDataError as error:
            raise InputError(f"{self.path.name}: the file is empty, expected a header and rows") from error
        except pd.errors.ParserError as error:
            self._refuse_shape(str(error))
        # More fields than names: pandas made an index of the first.
        if not isinstance(frame.index, pd.RangeIndex):
            self._refuse_shape("more fields than the header")
        frame.columns = pd.Index([str(c).lstrip("\ufeff").strip() for c in frame.columns])
        if frame.empty:
            raise InputError(f"{self.path.name}: a header and no rows")
        return frame.apply(lambda column: column.str.strip())

    def _records(self, strict: bool = False) -> Iterator[tuple[int, list[str]]]:
        """First line (1-based) and fields of every record, blank lines passed over as pandas does.

        ``strict``: text after a closing quote is refused where the quoted field runs over several lines.
        """
        with self.path.open(encoding=self.encoding, newline="") as file:
            for _ in range(self.skipped):
                file.readline()
            reader = csv.reader(file, delimiter=self.separator, quoting=self.quoting, strict=strict)
            line = self.skipped + 1
            try:
                for fields in reader:
                    if len(fields) > 1 or (fields and fields[0].strip()):
                        yield line, fields
                    line = reader.line_num + self.skipped + 1
            except csv.Error:
                if reader.line_num + self.skipped > line:
                    self._refuse_quote(line, reader.line_num + self.skipped - line + 1)
                yield from ((n, fields) for n, fields in self._records() if n >= line)

    def _refuse_swallowed_rows(self) -> None:
        """Refuse a quote that opens in one row and closes in a later one, which makes one text of the rows
        between.

        The rule: a field over several lines whose closing quote is followed by text, or at least half of
        whose further lines have exactly the header's number of separators, none of them followed by a blank
        as in prose.
        """
        if not any(column.str.contains(r"[\r\n]").any() for _, column in self.frame.items()):
            return
        needed = len(self.frame.columns) - 1
        for line, fields in self._records(strict=True):
            for field in fields:
                further = field.splitlines()[1:]
                rows = [
                    n for n in further if n.count(self.separator) == needed and f"{self.separator} " not in n
                ]
                if needed and rows and 2 * len(rows) >= len(further):
                    self._refuse_quote(line, len(further) + 1)

    def _refuse_quote(self, line: int, lines: int) -> NoReturn:
        raise InputError(
            f"{self.path.name} row {line}: a quote opens and the field runs over {lines} lines that look "
            f"like rows; "
            "close the quote, or pass quotes='off' (quotes are plain characters) or quotes='trust' (it is "
            "one text)"
        )

    def row(self, record: int) -> int:
        """Row in an editor of a record (the header is record 0); read again, since only an error asks."""
        return next((line for n, (line, _) in enumerate(self._records()) if n == record), record + 1)

    def _refuse_bytes(self, error: UnicodeError) -> NoReturn:
        data = self.path.read_bytes()
        utf16 = data.startswith(_UTF_16)
        likely = "utf-16" if utf16 else "gb18030" if _looks_chinese(data) else "iso-8859-1"
        hint = f"save the file as UTF-8 or pass encoding='{likely}' (or what it is)"
        try:
            # Pandas counts from the start of its buffer, this from the start of the file.
            data.decode(self.encoding)
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
            raise InputError(
                f"{self.path.name} row {self.row(int(opened[1]))}: a quote opens and never closes"
            )
        records = self._records()
        _, header = next(records)
        for line, fields in records:
            if len(fields) > len(header):
                raise InputError(
                    f"{self.path.name} row {line}: {len(fields)} fields, expected {len(header)} as in the "
                    f"header; "
                    f"quote a field that holds {self.separator!r}"
                )
        raise InputError(
            f"{self.path.name}: {' '.join(reason.split())}; expected the same columns in every row"
        )

    def find(
        self,
        needed: tuple[str, ...],
        optional: tuple[str, ...],
        chosen: Mapping[str, str],
        more: Mapping[str, tuple[str, str]] | None = None,
    ) -> dict[str, str]:
        """Our names to those of the file: the chosen one, else the first alias that is a column, whatever its
        case.

        ``more`` gives, for one of ours, another of ours whose aliases count too, and a name to try before
        them.
        """
        names: dict[str, str] = {}
        for ours in (*needed, *optional):
            expected: tuple[str, ...] = (chosen[ours],) if ours in chosen else ALIASES[ours]
            if more and ours in more and ours not in chosen:
                other, first = more[ours]
                expected = (first, *expected, *ALIASES[other])
            plain = {_plain(c): c for c in reversed(self.frame.columns)}
            match = [plain[_plain(w)] for w in expected if _plain(w) in plain]
            if match:
                names[ours] = chosen[ours] if chosen.get(ours) in self.frame.columns else match[0]
            elif ours in needed or ours in chosen:
                self._refuse_missing(ours, expected)
        return names

    def _refuse_missing(self, ours: str, expected: tuple[str, ...]) -> NoReturn:
        columns = ", ".join(self.frame.columns)
        if sum(bool(re.fullmatch(r"-?\d+([.,]\d+)?", c)) for c in self.frame.columns) * 2 >= len(
            self.frame.columns
        ):
            raise InputError(
                f"{self.path.name}: its first row {columns!r} looks like data; expected a header with a "
                f"column for {ours!r}"
            )
        other = next((s for s in ";\t,|" if s != self.separator and s in columns), None)
        remedy = (
            f"pass separator={other!r}"
            if other and len(self.frame.columns) == 1
            else f"name it with columns={{{ours!r}: ...}}"
        )
        raise InputError(
            f"{self.path.name}: no column for {ours!r} (looked for {', '.join(dict.fromkeys(expected))}); "
            f"it has {columns!r}; {remedy}"
        )

    def rename(self, names: Mapping[str, str]) -> None:
        """Give the columns our names; another column that already has one of them goes."""
        taken = [ours for ours, theirs in names.items() if ours != theirs and ours in self.frame.columns]
        kept = [c for c in self.frame.columns if c not in taken or c in names.values()]
        self.frame = self.frame[kept].rename(columns={theirs: ours for ours, theirs in names.items()})

    def refuse(self, bad: pd.Series, values: pd.Series, column: str, expected: str) -> None:
        """An error for the first of the bad rows; ``values`` carries the record numbers as its index."""
        rows = np.flatnonzero(bad.to_numpy())
        if len(rows):
            more = f" (and {len(rows) - 1} more rows)" if len(rows) > 1 else ""
            row = self.row(int(values.index[rows[0]]) + 1)
            raise InputError(
                f"{self.path.name} row {row} column {column}: {shown(values.iloc[rows[0]])}, expected "
                f"{expected}{more}"
            )

    def read_ids(self, column: str, rule: str = "exact", once: bool = False) -> str:
        """Refuse missing and rounded ids (and, if ``once``, duplicates), normalize the others;
        a note if any changed.
        """
        written = self.frame[column]
        self.refuse(written.isin(NO_ID), written, column, "an id")
        rounded = written.str.fullmatch(ids.ROUNDED)
        self.refuse(
            rounded,
            written,
            column,
            "an id whose digits no spreadsheet has rounded: format it as text, export again",
        )
        read = ids.normalized(written, rule)
        if once:
            self.refuse(read.duplicated(), written, column, "each id once")
        self.frame = self.frame.assign(**{column: read})
        changed = written.ne(ids.normalized(written)) & written.ne("")
        if not changed.any():
            return ""
        example = written[changed].iloc[0]
        return (
            f"{changed.sum():,} {column} ids of {self.path.name} were normalized, "
            f"such as {example!r} to {ids.normalize(example)!r}"
        )


def _plain(name: str) -> str:
    """A column's name by its letters and digits alone, in lower case."""
    return "".join(c for c in name.lower() if c.isalnum()) or name


def _looks_chinese(data: bytes) -> bool:
    """Whether bytes read as GB 18030 are Chinese: mostly pairs of GB 2312, and those mostly of its commoner
    half (level 1).

    Accented letters of Western texts stand alone, Cyrillic ones read as rare characters of level 2.
    """
    try:
        text = data.decode("gb18030")
    except UnicodeDecodeError:
        return False
    beyond = [c.encode("gb18030") for c in text[:100_000] if ord(c) > 127]
    pairs = [c for c in beyond if len(c) == 2 and c[0] >= 0xA1 and c[1] >= 0xA1]
    common = sum(0xB0 <= c[0] <= 0xD7 for c in pairs)
    return bool(beyond) and len(pairs) >= 0.8 * len(beyond) and common >= 0.6 * len(pairs)
