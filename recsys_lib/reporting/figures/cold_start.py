"""The figures of cold items: who ranks them, after how many interactions others do, and what they cost a
list.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from recsys_lib.reporting import plots

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def strictly_cold(ndcg: pd.Series, encoder: str, text_map: str, k: int, seeds: int) -> Figure:
    """Every method for cold items as a bar, best first; maps set apart."""
    maps = [name for name in ndcg.index if "map" in name]
    fig, (ax,) = plots.figure(width=7.5, height=0.8 + 0.29 * len(ndcg))
    plots.bars(ax, list(ndcg.index), ndcg.tolist(), highlight=maps)
    raw = ndcg[f"cosine: {encoder}, raw"]
    title = f"{text_map} has {ndcg[text_map] / raw:.1f} times the NDCG of the raw cosine"
    plots.finish(ax, title, f"NDCG@{k} among cold items, {seeds} draw(s); blue: maps from text")
    plots.save(fig, "05_cold")
    return fig


def crossover(
    curves: Mapping[str, pd.DataFrame], crossing: Mapping[str, Mapping[str, int | None]], k: int, name: str
) -> Figure:
    """NDCG over interactions left to an item with 95% intervals, one panel a data set, the axis from 0."""
    fig, axes = plots.figure(len(curves), width=4.2 + 3.6 * len(curves), height=4.4, sharey=False)
    for ax, (data, table) in zip(axes, curves.items(), strict=True):
        _curve(ax, table)
        at = {method: n for method, n in crossing[data].items() if method in ("EASE", "ItemKNN")}
        text = "; ".join(f"{m} {'stays below' if n is None else f'from {n}'}" for m, n in at.items())
        label = "interactions left to each drawn item (95% interval over users)"
        plots.finish(ax, f"{data}, above the map from text: {text}", label, f"NDCG@{k} among the drawn items")
    axes[0].legend(loc="lower right", fontsize=8)
    plots.save(fig, name)
    return fig


def _curve(ax: Axes, table: pd.DataFrame) -> None:
    kept = sorted(table.index.get_level_values("kept").unique())
    methods = table.index.get_level_values("method").unique()
    # Each method a little apart, so that intervals do not hide each other.
    for i, method in enumerate(methods):
        rows = table.loc[method].reindex(kept)
        place = np.arange(len(kept)) + 0.05 * (i - (len(methods) - 1) / 2)
        errors = [rows["ndcg"] - rows["low"], rows["high"] - rows["ndcg"]]
        (line, _, _) = ax.errorbar(
            place, rows["ndcg"], yerr=errors, capsize=2, color=plots.PALETTE[i], label=method
        )
        line.set(marker=plots.MARKERS[i], markersize=5, linewidth=1.4)
    ax.set_xticks(range(len(kept)), [str(n) for n in kept])
    ax.set_ylim(0, 1.08 * table["high"].max())


def reserved(tables: Mapping[str, pd.DataFrame], k: int) -> Figure:
    """What places reserved for cold items cost and bring: change of NDCG against the fraction of cold items
    found.
    """
    filled = {name: table for name, table in tables.items() if len(table)}
    fig, axes = plots.figure(len(filled), width=3.6 + 3.4 * len(filled), height=3.9)
    for ax, (name, table) in zip(axes, filled.items(), strict=True):
        x, y = 100 * table["cold recall"].astype(float), 100 * table["change"].astype(float)
        errors = [100 * (table["change"] - table["low"]), 100 * (table["high"] - table["change"])]
        ax.errorbar(x, y, yerr=errors, fmt="o", color=plots.PALETTE[0], ecolor="#B9C6D3", capsize=3)
        for label, a, b in zip(table.index, x, y, strict=True):
            text = label.removeprefix("warm and cold, ")
            ax.annotate(text, (a, b), textcoords="offset points", xytext=(6, 5), fontsize=8)
        ax.axhline(0, color=plots.GREY, linestyle="--", linewidth=1)
        ax.margins(y=0.12)
        ax.set_xlim(-0.05 * x.max(), 1.35 * x.max())
        last = table.iloc[-1]
        title = f"{name}: 3 of {k} places change NDCG by {100 * last['change']:+.1f}%"
        plots.finish(
            ax, title, f"test interactions with cold items found in {k} places (%)", "change of NDCG (%)"
        )
    plots.save(fig, "05_reserved")
    return fig
