"""Public catalogues as recorded, as a table; and the report on a user's own catalogue as one HTML page."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recsys_lib.core.files import write_atomically
from recsys_lib.experiments.notebooks import read_notebook, without_widgets
from recsys_lib.reporting.site import exporter_class

if TYPE_CHECKING:
    import pandas as pd

FINDS_MORE = {
    "model": "language model",
    "cheap": "cheap text",
    "either": "text of either kind",
    "none": "no text",
    "unclear": "unclear",
    "untested": "not tested",
}
# What the cell of the answer calls.
ANSWER = "found.markdown("
# Light and dark follow the user's system. Figures have a white ground in both.
STYLE = """
:root{color-scheme:light dark;--ink:#1d2329;--soft:#5b6670;--line:#d9dee3;
--paper:#fff;--wash:#f4f6f8;--accent:#0072b2}
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ec;--soft:#a4aeb8;--line:#3a434c;
--paper:#15191d;--wash:#20262c;--accent:#6db8e8}}
body{margin:0;background:var(--paper);color:var(--ink);font:17px/1.55 system-ui,sans-serif}
main{max-width:60rem;margin:0 auto;padding:1rem 1.2rem 4rem}
a{color:var(--accent)} h1{line-height:1.15} h2{margin-top:2.5rem}
.answer{border-left:.35rem solid var(--accent);background:var(--wash)}
.answer{padding:.4rem 1.2rem;border-radius:.4rem}
.jp-OutputArea-output{overflow-x:auto}
pre{background:var(--wash);padding:.7rem 1rem;border-radius:.4rem;font-size:14px}
table{border-collapse:collapse;font-size:14px;margin:.8rem 0}
th,td{padding:.25rem .7rem;text-align:right}
th:first-child,td:first-child{text-align:left} thead th{border-bottom:1px solid var(--soft)}
tbody tr{border-bottom:1px solid var(--line)}
img{max-width:100%;height:auto;background:#fff;border-radius:.4rem}
"""


def table(records: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """One row per recorded catalogue: its size, which text finds more, and what to serve."""
    import pandas as pd

    rows = {}
    for record in records:
        found = record["metrics"]
        rows[record["parameters"]["catalogue"]] = {
            "users": found["users"],
            "items": found["items"],
            "interactions": found["interactions"],
            "all items": FINDS_MORE[found["warm"]],
            "cold items": FINDS_MORE[found["cold"]],
            "serve": found["system"] or "no option can serve it",
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def write_report(notebook: Path, target: Path) -> None:
    """An executed notebook 90 as one HTML page without code: the answer first, then what it rests on.

    Pictures are inside the page; nothing of it needs a network.
    """
    content = without_widgets(read_notebook(notebook))
    cells = content.cells
    place = next(i for i, cell in enumerate(cells) if ANSWER in cell.source)
    title, _, introduction = cells[0].source.partition("\n")
    cells[0].source = f"## What this is\n{introduction.partition('[←')[0]}"
    exporter = exporter_class()(exclude_input=True, exclude_output_prompt=True, template_name="basic")
    parts = []
    for chosen in ([cells[place]], [c for i, c in enumerate(cells) if i not in (place, place - 1)]):
        content.cells = chosen
        parts.append(exporter.from_notebook_node(content)[0])
    heading = html.escape(title.lstrip("# "))
    page = (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{heading}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}</style></head><body><main>"
        f'<h1>{heading}</h1><section class="answer">{parts[0]}</section>'
        f"{parts[1]}</main></body></html>\n"
    )
    # What lies elsewhere in the repository is named, not linked: the page is read on its own.
    page = re.sub(r'<a href="(?!https?:|#)[^"]*">(.*?)</a>', r"\1", page)
    write_atomically(target, re.sub(r'<a class="anchor-link"[^>]*>.*?</a>', "", page))
