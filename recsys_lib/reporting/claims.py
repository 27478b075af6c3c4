"""The ledger of the article's claims, ``data/claims.csv``: each verdict, with its numbers and the notebook
that shows them.

The numbers in the table are references to records, see ``numbers``; ``claims`` fills them in.
"""

from __future__ import annotations

import csv
import html
import re
from pathlib import Path

from recsys_lib.core.errors import InputError
from recsys_lib.core.paths import TABLES
from recsys_lib.reporting import numbers

CLAIMS = TABLES / "claims.csv"
COLUMNS = (
    "section",
    "claim",
    "verdict",
    "condition",
    "found",
    "shown in",
    "claim_zh",
    "condition_zh",
    "found_zh",
)
VERDICTS = {
    "holds": "成立",
    "holds in part": "部分成立",
    "does not hold": "不成立",
    "cannot be concluded": "无从断定",
    "not tested yet": "尚未检验",
}
# The style of each verdict on a page.
STYLES = dict(zip(VERDICTS, ("holds", "part", "not", "open", "open"), strict=True))
HEADS = {
    "en": ("§", "the article says", "verdict", "what was found"),
    "zh": ("§", "文章的主张", "判定", "结果"),
}


def claims(path: Path = CLAIMS) -> list[dict[str, str]]:
    """Every row, in the article's order, its numbers filled in from records.

    Raises:
        InputError: other columns, an unknown verdict, "holds in part" without its condition, or a number that
        no record has.
    """
    rows = written(path)
    for number, row in enumerate(rows, 2):
        for column in ("found", "found_zh"):
            try:
                row[column] = numbers.filled(row[column])
            except InputError as error:
                raise InputError(f"{path.name} line {number}, {column}: {error}") from error
    return rows


def written(path: Path = CLAIMS) -> list[dict[str, str]]:
    """The rows as the table holds them, with references in place of numbers.

    Raises:
        InputError: as ``claims``, numbers apart.
    """
    with open(path, encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise InputError(f"{path.name}: has columns {reader.fieldnames}, expected {', '.join(COLUMNS)}")
        rows = list(reader)
    for number, row in enumerate(rows, 2):
        if row["verdict"] not in VERDICTS:
            raise InputError(
                f"{path.name} line {number}: verdict {row['verdict']!r}, "
                f"expected one of {', '.join(VERDICTS)}"
            )
        if (row["verdict"] == "holds in part") != bool(row["condition"]):
            raise InputError(
                f"{path.name} line {number}: a condition belongs to 'holds in part', and only there"
            )
    return rows


def table(language: str = "en", notebooks: str = "../notebooks") -> str:
    """The ledger as a Markdown table, "en" or "zh"; the finding links to the notebook that shows it, in
    ``notebooks``."""
    lines = [f"| {' | '.join(HEADS[language])} |", "|---|---|---|---|"]
    for row in claims():
        found = _said(row, "found", language)
        if row["shown in"]:
            found += f" [{row['shown in'][:2]}]({notebooks}/{row['shown in']})"
        lines.append(
            f"| {row['section']} | {_said(row, 'claim', language)} | {_verdict(row, language)} | {found} |"
        )
    return "\n".join(lines)


def count(language: str = "en") -> str:
    """How many claims have which verdict, in one line.

    >>> count("zh").partition("：")[0].endswith("条主张")
    True
    """
    rows = written()
    parts = []
    for verdict, chinese in VERDICTS.items():
        n = sum(row["verdict"] == verdict for row in rows)
        of_many = verdict if n == 1 else verdict.replace("does", "do").replace("holds", "hold")
        parts.append(f"{n} {of_many}" if language == "en" else f"{chinese} {n}")
    return (
        f"{len(rows)} claims: {', '.join(parts)}"
        if language == "en"
        else f"{len(rows)} 条主张：{'，'.join(parts)}"
    )


def _said(row: dict[str, str], what: str, language: str) -> str:
    return row[what if language == "en" else f"{what}_zh"]


def _verdict(row: dict[str, str], language: str) -> str:
    word = row["verdict"] if language == "en" else VERDICTS[row["verdict"]]
    condition = _said(row, "condition", language)
    return f"**{word}**{(': ' if language == 'en' else '：') + condition if condition else ''}"


def table_html() -> str:
    """The same for a page of the site, in English."""
    heads = "".join(f"<th>{h}</th>" for h in HEADS["en"])
    rows = "".join(_row_html(row) for row in claims())
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"


def _row_html(row: dict[str, str]) -> str:
    condition = f": {html.escape(row['condition'])}" if row["condition"] else ""
    shown = row["shown in"]
    link = (
        f' <a href="{Path(shown).stem}.html" aria-label="notebook {shown[:2]}">{shown[:2]}</a>'
        if shown
        else ""
    )
    found = re.sub(r"\*(.+?)\*", r"<em>\1</em>", html.escape(row["found"]))
    return (
        f"<tr><td>{row['section']}</td><td>{html.escape(row['claim'])}</td>"
        f'<td><span class="verdict {STYLES[row["verdict"]]}">{row["verdict"]}</span>{condition}</td>'
        f"<td>{found}{link}</td></tr>"
    )
