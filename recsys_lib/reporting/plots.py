"""The figure style: one look, a colour-blind-safe palette, and titles that state the finding."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from recsys_lib.core.errors import InputError
from recsys_lib.core.paths import ROOT
from recsys_lib.experiments.runs import FIGURES_VARIABLE

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito (2008): told apart by people with any common colour blindness, and in grey by their
# lightness.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442", "#000000")
GREY = "#8A8A8A"
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")


def use_style() -> None:
    """Set fonts, grid and palette for every figure of this process."""
    import matplotlib as mpl
    import seaborn as sns

    sns.set_theme(style="ticks", palette=list(PALETTE), font="DejaVu Sans")
    mpl.rcParams.update(
        {
            "figure.dpi": 100, "savefig.dpi": 150, "figure.constrained_layout.use": True,
            "axes.titlelocation": "left",
            "axes.titlesize": 11, "axes.titleweight": "bold", "axes.labelsize": 10, "xtick.labelsize": 9,
            "ytick.labelsize": 9, "legend.fontsize": 9, "legend.frameon": False, "axes.grid": True,
            "grid.color": "#E4E4E4", "grid.linewidth": 0.7, "axes.axisbelow": True, "axes.spines.top": False,
            "axes.spines.right": False, "image.cmap": "cividis",
        }
    )  # fmt: skip


def figure(
    columns: int = 1, rows: int = 1, width: float = 7.0, height: float = 4.0, **options
) -> tuple[Figure, np.ndarray]:
    """A styled figure of ``width`` x ``height`` inches; the axes always come as a flat array."""
    import matplotlib.pyplot as plt

    use_style()
    fig, axes = plt.subplots(rows, columns, figsize=(width, height), squeeze=False, **options)
    return fig, axes.ravel()


def finish(ax: Axes, title: str, x: str = "", y: str = "") -> None:
    """Title (the finding, wrapped to the axes' width) and axis labels (with units)."""
    if not title.strip():
        raise InputError("a figure needs a title that says what was found")
    ax.set_xlabel(x)
    ax.set_ylabel(y)
    # Long tick labels narrow the axes; only the layout knows by how much.
    ax.figure.draw_without_rendering()  # type: ignore[union-attr]
    inches = ax.figure.get_size_inches()[0] * ax.get_position().width  # type: ignore[union-attr]
    ax.set_title(textwrap.fill(title, max(24, int(inches * 10.4))))


def suptitle(fig: Figure, title: str) -> None:
    """The finding of a figure of several panels, over all of them."""
    fig.suptitle(title, x=0.01, ha="left", fontweight="bold", fontsize=11)


def intervals(
    ax: Axes,
    labels: Sequence[str],
    values: Sequence[float],
    low: Sequence[float],
    high: Sequence[float],
    colours: Sequence[str] | np.ndarray,
) -> None:
    """A point with its interval in a row for each label, first label on top; a grey line at 0."""
    place = np.arange(len(labels))
    ax.hlines(place, low, high, color=colours, linewidth=2)
    ax.scatter(values, place, color=colours, s=40, zorder=3)
    ax.axvline(0, color=GREY, linewidth=1)
    ax.set_yticks(place, list(labels))
    ax.invert_yaxis()


def bars(ax: Axes, labels: Sequence[str], values: Sequence[float], errors: Sequence[float] | None = None,
         digits: int = 3, highlight: Sequence[str] = ()) -> None:  # fmt: skip
    """Horizontal bars, first label on top, each with its value written beside it;
    ``highlight`` sets some apart.
    """
    place = np.arange(len(labels))[::-1]
    colours = [PALETTE[0] if not highlight or label in highlight else "#B9C6D3" for label in labels]
    ax.barh(
        place,
        values,
        xerr=errors,
        color=colours,
        height=0.68,
        error_kw={"elinewidth": 1, "ecolor": "#444444"},
    )
    ax.set_yticks(place, labels)
    ax.grid(axis="y", visible=False)
    reach = (
        max((abs(v) + (errors[i] if errors is not None else 0) for i, v in enumerate(values)), default=1.0)
        or 1.0
    )
    for i, value in enumerate(values):
        end = value + (errors[i] if errors is not None else 0)
        ax.text(end + 0.012 * reach, place[i], f"{value:.{digits}f}", va="center", fontsize=9)
    ax.set_xlim(min(0.0, 1.1 * min(values, default=0.0)), 1.14 * reach)


def dots(ax: Axes, table: pd.DataFrame) -> None:
    """A row of dots for each row of ``table``, first on top, one marker and colour a column;
    the legend is left to the caller.
    """
    for i, name in enumerate(table.columns):
        ax.scatter(
            table[name], range(len(table)), marker=MARKERS[i], color=PALETTE[i], s=45, label=name, zorder=3
        )
    ax.set_yticks(range(len(table)), list(table.index))
    ax.invert_yaxis()


def ecdfs(ax: Axes, samples: dict[str, np.ndarray]) -> None:
    """The fraction of each sample at or below a value: nothing is binned, and samples of any size compare."""
    for i, (label, sample) in enumerate(samples.items()):
        values = np.sort(np.asarray(sample, dtype=float))
        fractions = np.arange(1, len(values) + 1) / len(values)
        style = ("-", "--", "-.", ":")[i % 4]
        ax.plot(
            values, fractions, color=PALETTE[i % len(PALETTE)], linestyle=style, linewidth=1.8, label=label
        )
    ax.set_ylim(0, 1)
    ax.legend()


def lines(ax: Axes, x: Sequence[float], series: dict[str, Sequence[float]], log: str = "") -> None:
    """One marked line per series, told apart by colour and marker;
    ``log`` names logarithmic axes: x, y or xy.
    """
    for i, (label, y) in enumerate(series.items()):
        ax.plot(
            x, y, marker=MARKERS[i % len(MARKERS)], markersize=5, color=PALETTE[i % len(PALETTE)], label=label
        )
    if "x" in log:
        ax.set_xscale("log")
    if "y" in log:
        ax.set_yscale("log")
    if len(series) > 1:
        ax.legend()


def figures_folder() -> Path:
    """Where figures go: a run's own folder when papermill or a test says so,
    else the repository's ``figures/``.
    """
    return Path(os.environ.get(FIGURES_VARIABLE) or ROOT / "figures")


def save(fig: Figure, name: str) -> Path:
    """Save as ``<name>.png`` with its title inside the file, from which the index page is written.

    The title of several panels without one over all is that of each in turn.
    """
    titles = [ax.get_title(loc="left") or ax.get_title() for ax in fig.axes]
    title = fig.get_suptitle() or "; ".join(dict.fromkeys(t for t in titles if t))
    if not title:
        raise InputError(f"figure {name!r} has no title: say what was found")
    folder = figures_folder()
    folder.mkdir(parents=True, exist_ok=True)
    path, beside = folder / f"{name}.png", folder / f".{name}.part.png"
    fig.savefig(beside, metadata={"Title": " ".join(title.split()), "Software": None})
    os.replace(beside, path)
    return path


def figure_title(path: Path) -> str:
    """The finding that ``save`` wrote into a figure's file."""
    from PIL import Image

    with Image.open(path) as image:
        return str(image.info.get("Title", path.stem))


def write_index(folder: Path | None = None) -> Path:
    """Write ``README.md`` beside the figures: every figure with its finding, in order of its notebook."""
    from recsys_lib.core.files import write_atomically

    folder = folder or ROOT / "figures"
    parts = [
        "# Figures\n\nEach is saved by the notebook whose number it carries; titles state what was found.\n"
    ]
    for path in sorted(folder.glob("*.png")):
        title = figure_title(path)
        parts.append(f"## {title}\n\n![{title}]({path.name})\n\n`{path.name}`\n")
    write_atomically(folder / "README.md", "\n".join(parts))
    return folder / "README.md"
