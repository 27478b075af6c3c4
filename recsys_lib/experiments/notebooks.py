"""The notebooks as files: which there are, how one is read, and what is stripped from a committed one."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from pathlib import Path

from recsys_lib.core import paths
from recsys_lib.core.errors import InputError

# Metadata of a code cell that was executed in place: the hash of the source its outputs belong to.
EXECUTED = "executed"


def find_notebook(name: str | Path) -> Path:
    """The notebook at a path, or the one in ``notebooks/`` whose name begins with ``name`` (``03``,
    ``03_ranking``).

    Raises:
        InputError: no such file, or another number of notebooks than one whose name begins so.
    """
    path = Path(name)
    if path.is_file() and path.suffix == ".ipynb":
        return path.resolve()
    # A path is taken at its word, never for a notebook of that name elsewhere.
    if path.is_file() or len(path.parts) > 1:
        raise InputError(
            f"notebook {str(name)!r}: {'not a .ipynb file' if path.is_file() else 'no such file'}"
        )
    matches = [
        p
        for p in sorted(paths.NOTEBOOKS.glob("*.ipynb"))
        if p.name.startswith(path.name.removesuffix(".ipynb"))
    ]
    if len(matches) != 1:
        known = ", ".join(p.stem for p in matches or sorted(paths.NOTEBOOKS.glob("*.ipynb")))
        raise InputError(f"notebook {str(name)!r}: {len(matches)} notebooks match; choose one of {known}")
    return matches[0]


def read_notebook(path: Path):
    """The notebook as nbformat reads it; an unreadable one is refused in one line."""
    import nbformat

    try:
        return nbformat.read(path, as_version=4)
    except Exception as error:  # nbformat raises half a dozen kinds for a broken file
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(f"{path.name}: not a readable notebook ({reason[0]})") from error


def numbered_notebooks() -> list[Path]:
    """The repository's notebooks in reading order."""
    return sorted(p for p in paths.NOTEBOOKS.glob("*.ipynb") if re.match(r"\d\d_", p.name))


def strip_volatile(notebook):
    """Remove what differs from machine to machine: versions, timings, widget state, papermill's notes."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in notebook.cells:
        tags = cell.metadata.get("tags")
        cell.metadata = {"tags": tags} if tags else {}
    return without_widgets(notebook)


def source_hash(source: str) -> str:
    """A short hash of a cell's source.

    >>> source_hash("1 + 1")
    '72fce59447a01f48'
    """
    return hashlib.sha256(source.encode("utf-8")).hexdigest()[:16]


def mark_executed(notebook):
    """Note in every code cell which source its outputs belong to, so that a later edit shows."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.metadata[EXECUTED] = source_hash(cell.source)
    return notebook


def without_widgets(notebook):
    """Remove what shows a widget of a kernel that is gone; the output's other forms stay."""
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)
    return notebook


def open_lab() -> int:
    """Start JupyterLab in ``notebooks/``; returns its exit status."""
    return subprocess.call([sys.executable, "-m", "jupyter", "lab", str(paths.NOTEBOOKS)])
