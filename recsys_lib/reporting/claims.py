"""The ledger of the article's claims, ``data/claims.csv``: what each verdict is,
with the number and where it is shown.
"""

from __future__ import annotations

import csv
import html
from pathlib import Path

from recsys_lib.core.errors import InputError
from recsys_lib.core.paths import TABLES

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
VERDICTS = {"holds": "成立", "holds in part": "部分成立", "does not hold": "不成立"}
HEADS = {
    "en": ("§", "the article says", "verdict", "what was found"),
    "zh": ("§", "文章的主张", "判定", "结果"),
}


def claims(path: Path = CLAIMS) -> list[dict[str, str]]:
    """Every row, in the article's order.

    Raises:
        InputError: other columns, an unknown verdict, or "holds in part" without its condition.
    """
    with open(path, encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise InputError(f"{path.name}: has columns {reader.fieldnames}, expected {', '.join(COLUMNS)}")
        rows = list(reader)
    for number, row in enumerate(rows, 2):
        if row["verdict"] not in VERDICTS:
            raise InputError(
                f"{path.name} line {number}: verdict {row['verdict']!r}, expected one of "
                f"{', '.join(VERDICTS)}"
            )
        if (row["verdict"] == "holds in part") != bool(row["condition"]):
            raise InputError(
                f"{path.name} line {number}: a condition belongs to 'holds in part', and only there"
            )
    return rows


def table(language: str = "en") -> str:
    """The ledger as a Markdown table, "en" or "zh"; the finding links to the notebook that shows it."""
    heads = HEADS[language]
    lines = [f"| {' | '.join(heads)} |", "|---|---|---|---|"]
    for row in claims():
        link = f"[{row['shown in'][:2]}](notebooks/{row['shown in']})"
        cells = (
            row["section"],
            _said(row, "claim", language),
            _verdict(row, language),
            f"{_said(row, 'found', language)} {link}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _said(row: dict[str, str], what: str, language: str) -> str:
    return row[what if language == "en" else f"{what}_zh"]


def _verdict(row: dict[str, str], language: str) -> str:
    word = row["verdict"] if language == "en" else VERDICTS[row["verdict"]]
    condition = _said(row, "condition", language)
    return f"**{word}**{(': ' if language == 'en' else '：') + condition if condition else ''}"


def table_html() -> str:
    """The same for a page of the site, in English."""
    heads = "".join(f"<th>{h}</th>" for h in HEADS["en"])
    rows = "".join(
        f"<tr><td>{row['section']}</td><td>{html.escape(row['claim'])}</td>"
        f'<td><span class="verdict '
        f'{row["verdict"].split()[-1] if row["verdict"] != "does not hold" else "not"}">'
        f"{row['verdict']}</span>{': ' + html.escape(row['condition']) if row['condition'] else ''}</td>"
        f"<td>{html.escape(row['found'])} <a "
        f'href="{Path(row["shown in"]).stem}.html">{row["shown in"][:2]}</a></td></tr>'
        for row in claims()
    )
    return f'<div class="wide"><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>'
