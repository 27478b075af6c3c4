"""The static site: every notebook as executed, all figures, the claims, the glossary, the explorer, and a
search over them.

Nothing of it needs a network or a server: formulas and diagrams are drawn by pinned scripts, and the search
index is a script too.

Jupyter Book and Quarto were considered: both render notebooks well, but neither puts the explorer, the claims
and the
glossary into one search index that works from a disk, and each is a second tool chain to install and pin.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import nbformat

from recsys_lib.core import paths
from recsys_lib.core.files import write_atomically
from recsys_lib.data import assets
from recsys_lib.experiments.notebooks import numbered_notebooks, read_notebook, without_widgets
from recsys_lib.reporting import claims as ledger
from recsys_lib.reporting import explorer, glossary
from recsys_lib.reporting.site import home, layout
from recsys_lib.reporting.site.rendering import exporter_class, notebook_page, title_of, with_table_roles
from recsys_lib.reporting.site.sections import sections

__all__ = ["SCRIPTS", "build", "exporter_class", "notebook_page", "sections"]

FOLDER = Path(__file__).resolve().parent
SCRIPTS = ("mathjax", "mermaid")


def build(folder: Path, runs: bool = False) -> str:
    """Write the site into ``folder`` and say in one line what it holds.

    Notebooks are shown as committed. With ``runs`` those that ``run`` executed to their end are shown as
    executed there, under a banner that says so.

    Raises:
        InputError: the scripts that draw formulas and diagrams were not fetched.
    """
    committed = numbered_notebooks()
    scripts = {name: assets.locate(name) / f"{name}.js" for name in SCRIPTS}
    notebooks = {
        path.stem: _executed(path) if runs else without_widgets(read_notebook(path)) for path in committed
    }
    titles = {name: title_of(notebook, name) for name, notebook in notebooks.items()}
    for source in scripts.values():
        write_atomically(folder / source.name, source.read_text(encoding="utf-8"))
    for name in ("site.css", "site.js", "search.js"):
        write_atomically(folder / name, (FOLDER / name).read_text(encoding="utf-8"))
    for name, notebook in notebooks.items():
        write_atomically(folder / f"{name}.ipynb", nbformat.writes(notebook) + "\n")
    pages = _pages(notebooks, titles)
    for name, text in pages.items():
        write_atomically(folder / name, text)
    found = [section for name, text in pages.items() for section in sections(name, text)]
    index = json.dumps(found, ensure_ascii=False, separators=(",", ":")).replace("</", "<\\/")
    write_atomically(folder / "search-index.js", f"window.SEARCH_INDEX = {index};\n")
    where = os.path.relpath(folder / "index.html")
    return f"{len(committed)} notebooks rendered, {len(found)} sections searchable: open {where}"


def _pages(notebooks: dict[str, Any], titles: dict[str, str]) -> dict[str, str]:
    """Every page of the site by its file's name, the home page first."""
    pages = {"index.html": layout.plain("index.html", layout.TITLE, home.home(notebooks, titles), titles)}
    for name, notebook in notebooks.items():
        pages[f"{name}.html"] = layout.notebook(notebook_page(notebook), name, titles)
    bodies = {
        "ledger.html": with_table_roles(ledger.table_html()),
        "figures.html": home.figures(titles),
        "glossary.html": with_table_roles(glossary.table_html()),
    }
    for name, body in bodies.items():
        pages[name] = layout.plain(name, layout.PAGES[name], body, titles)
    pages["explorer.html"] = explorer.page('<nav class="back"><a href="index.html">All notebooks</a></nav>')
    return pages


def _executed(path: Path) -> Any:
    """The last run of a notebook, with a banner, if it reached its end; else the committed one."""
    run = paths.RUNS / path.name
    if run.exists():
        notebook = read_notebook(run)
        # papermill heads a run that failed with a cell of this tag.
        if not any("papermill-error-cell-tag" in cell.metadata.get("tags", []) for cell in notebook.cells):
            return _with_banner(without_widgets(notebook))
    return without_widgets(read_notebook(path))


def _with_banner(notebook: Any) -> Any:
    """Say below the title that this is a run on this machine, not the committed notebook."""
    banner = "> **This is your own run of the notebook**, not the committed one: "
    banner += "its data, numbers and conclusions are yours."
    notebook.cells[0].source += f"\n\n{banner}"
    return notebook
