"""The glossary, ``data/glossary.csv``: each term of the notebooks in one sentence."""

from __future__ import annotations

import csv
import html
from pathlib import Path

from recsys_lib.core.errors import InputError
from recsys_lib.core.paths import TABLES

GLOSSARY = TABLES / "glossary.csv"
COLUMNS = ("term", "zh", "meaning")


def terms(path: Path = GLOSSARY) -> list[dict[str, str]]:
    """Every term with its Chinese name and meaning, in alphabetical order.

    Raises:
        InputError: other columns, an empty cell or a term that occurs twice.
    """
    with open(path, encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise InputError(f"{path.name}: has columns {reader.fieldnames}, expected {', '.join(COLUMNS)}")
        rows = list(reader)
    seen: set[str] = set()
    for number, row in enumerate(rows, 2):
        if not all(row[column] for column in COLUMNS) or row["term"] in seen:
            raise InputError(
                f"{path.name} line {number}: expected a new term, its Chinese name and its meaning"
            )
        seen.add(row["term"])
    return sorted(rows, key=lambda row: row["term"].lower())


def table_html() -> str:
    """The glossary as a table for a page of the site."""
    rows = "".join(
        f'<tr><th>{html.escape(row["term"])}</th><td lang="zh">{html.escape(row["zh"])}</td>'
        f"<td>{html.escape(row['meaning'])}</td></tr>"
        for row in terms()
    )
    head = "".join(f"<th>{name}</th>" for name in ("term", "中文", "meaning"))
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
