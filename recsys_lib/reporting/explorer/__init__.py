"""The cost model to play with, as one self-contained HTML page: the tables of ``cost.explorer_tables`` and
the model in JavaScript.
"""

from __future__ import annotations

import json
from pathlib import Path

from recsys_lib.cost import explorer_tables

FOLDER = Path(__file__).resolve().parent


def page(navigation: str = "") -> str:
    """The page, with ``navigation`` (HTML) above its title where it is part of a site."""
    # "</" would end the script that holds the tables.
    tables = json.dumps(explorer_tables.tables(), ensure_ascii=False, allow_nan=False).replace("</", "<\\/")
    parts = {
        "/*STYLE*/": _read("style.css"),
        "/*MODEL*/": _read("model.js"),
        "/*TABLES*/null": tables,
        "/*VIEW*/": _read("view.js"),
        "<!--NAVIGATION-->": navigation,
    }
    text = _read("page.html")
    for place, part in parts.items():
        text = text.replace(place, part)
    return text


def _read(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")
