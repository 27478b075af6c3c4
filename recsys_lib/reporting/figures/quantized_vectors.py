"""The figures of quantized vectors: bits in three geometries, warm and cold items, codes compared as they
are, search.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from recsys_lib.reporting import plots

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

# Families of methods in the order of their bytes; a line each.
FAMILIES = {
    "floating point": ("float32", "float16"),
    "int8, int4": ("int8", "int4"),
    "sign": ("binary",),
    "pq": ("pq, 2 bits", "pq, 1 bit", "pq, 1/2 bit"),
    "principal components": ("pca 1/2", "pca 1/4", "pca 1/8", "pca 1/32"),
}
GEOMETRIES = {"raw": "raw", "centred": "centred", "zca": "whitened"}
BITS = ("float32", "float16", "int8", "int4", "pq, 2 bits", "pq, 1 bit", "pq, 1/2 bit")
# Methods compared at about equal bytes: all numbers in fewer bits, or fewer numbers.
TRUNCATION = {
    "all numbers, fewer bits": ("float16", "int8", "int4", "pq, 2 bits", "binary", "pq, 1/2 bit"),
    "fewer numbers, float32": ("pca 1/2", "pca 1/4", "pca 1/8", "pca 1/32"),
    "fewer numbers, int8": ("pca 1/2, int8", "pca 1/4, int8", "pca 1/8, int8"),
}
# Methods whose codebook comes out of k-means, the last digits of which differ between machines.
CODEBOOKS = ("pq, 2 bits", "pq, 1 bit", "pq, 1/2 bit")
CONCLUSIONS = {
    "within": plots.PALETTE[0],
    "not decided": plots.GREY,
    "worse": plots.PALETTE[3],
    "better": plots.PALETTE[2],
}


def bits_by_geometry(axes: Sequence[Axes], table: pd.DataFrame, k: int) -> None:
    """NDCG against bytes, a panel for each geometry, a line for each family; table: ``quality`` by geometry
    and stored.
    """
    for ax, (name, shown) in zip(axes, GEOMETRIES.items(), strict=True):
        for i, (family, members) in enumerate(FAMILIES.items()):
            part = table.loc[name].loc[list(members)]
            ax.plot(
                part["code_bytes"],
                part["ndcg"],
                color=plots.PALETTE[i],
                marker=plots.MARKERS[i],
                markersize=5,
                label=family,
            )
        _bytes_axis(ax)
        plots.finish(ax, shown, "bytes per item", f"NDCG@{k}" if name == "raw" else "")
    axes[0].set_ylim(0, None)
    axes[0].legend()


def grid(axes: Sequence[Axes], table: pd.DataFrame, k: int) -> None:
    """NDCG against bytes, a panel for each data set and encoder, a line for each geometry; a star is the
    sign.
    """
    pairs = list(dict.fromkeys(table.index.droplevel([2, 3])))
    for ax, (dataset, encoder) in zip(axes, pairs, strict=True):
        for i, (geometry, shown) in enumerate(GEOMETRIES.items()):
            part = table.loc[(dataset, encoder, geometry)]
            line, sign = part.loc[list(BITS)], part.loc["binary"]
            colour = plots.PALETTE[i]
            ax.plot(
                line["code_bytes"],
                line["ndcg"],
                color=colour,
                marker=plots.MARKERS[i],
                markersize=5,
                label=shown,
            )
            ax.plot(
                sign["code_bytes"], sign["ndcg"], color=colour, marker="*", markersize=11, linestyle="none"
            )
        _bytes_axis(ax)
        ax.set_ylim(0, None)
        plots.finish(ax, f"{dataset}, {encoder}", "bytes per item", f"NDCG@{k}")
    axes[0].legend()


def cold_changes(ax: Axes, table: pd.DataFrame, reference: float, margin: float) -> None:
    """Change of NDCG on cold items against float32 with 95% intervals, a row each; the grey band is the
    margin.

    table: ``cold_ranking.compare``; reference: the NDCG of float32, by which the interval is divided.
    """
    place = np.arange(len(table))[::-1]
    keys = [str(c).split(" 1%")[0] for c in table["conclusion"]]
    colours = [next(v for name, v in CONCLUSIONS.items() if key.startswith(name)) for key in keys]
    low, high = (100 * table[c].astype(float) / reference for c in ("cold_low", "cold_high"))
    ax.axvspan(-100 * margin, 100 * margin, color="#E8EEF4", zorder=0)
    ax.axvline(0, color=plots.GREY, linewidth=1)
    ax.hlines(place, low, high, color=colours, linewidth=2)
    ax.scatter(100 * table["change"].astype(float), place, color=colours, s=36, zorder=3)
    for at, (_, row) in zip(place, table.iterrows(), strict=True):
        ax.annotate(
            str(row["conclusion"]), (1.01, at), xycoords=("axes fraction", "data"), va="center", fontsize=9
        )
    ax.set_yticks(place, list(table.index))
    ax.grid(axis="y", visible=False)


def code_loss(axes: Sequence[Axes], kept: pd.DataFrame, k: int) -> None:
    """Fraction of the nearest items that stay, a panel for each encoder, raw and centred; kept: a column
    (encoder, geometry).
    """
    names = list(kept.index[1:])
    place = np.arange(len(names))[::-1]
    for ax, encoder in zip(axes, dict.fromkeys(kept.columns.get_level_values(0)), strict=True):
        for shift, geometry, colour in ((0.2, "raw", plots.PALETTE[1]), (-0.2, "centred", plots.PALETTE[0])):
            ax.barh(
                place + shift,
                100 * kept.loc[names, (encoder, geometry)],
                height=0.38,
                color=colour,
                label=geometry,
            )
        ax.set_yticks(place, names)
        ax.set_xlim(0, 100)
        ax.grid(axis="y", visible=False)
        plots.finish(ax, str(encoder), f"of the {k} nearest items, still among them (%)")
    axes[-1].legend(loc="lower right")


def truncation(axes: Sequence[Axes], table: pd.DataFrame, k: int) -> None:
    """NDCG kept against bytes, centred and whitened: fewer bits beside fewer numbers."""
    for ax, geometry in zip(axes, ("centred", "zca"), strict=True):
        for i, (label, members) in enumerate(TRUNCATION.items()):
            part = table.loc[geometry].loc[list(members)]
            kept = 100 * part["ndcg_kept"]
            ax.plot(
                part["code_bytes"],
                kept,
                color=plots.PALETTE[i],
                marker=plots.MARKERS[i],
                markersize=5,
                label=label,
            )
        _bytes_axis(ax)
        label = f"NDCG@{k} kept (%)" if geometry == "centred" else ""
        plots.finish(ax, GEOMETRIES[geometry], "bytes per item", label)
    axes[0].legend(loc="lower right")


def searches(axes: Sequence[Axes], recorded: pd.DataFrame, encode_ms: float, k: int) -> None:
    """Time of one query and what it finds against the size of the catalogue; recorded: rows of ``searches``
    with query_ms.
    """
    time, found = (recorded.pivot(index="items", columns="search", values=v) for v in ("query_ms", "recall"))
    plots.lines(axes[0], list(time.index), {n: time[n].tolist() for n in time.columns}, log="xy")
    axes[0].axhline(encode_ms, color=plots.GREY, linestyle="--", linewidth=1, label="encode one text")
    legend = axes[0].get_legend()
    if legend is not None:
        legend.remove()
    plots.finish(axes[0], "Time", "items in the catalogue", "one query (ms)")
    plots.lines(axes[1], list(found.index), {n: (100 * found[n]).tolist() for n in found.columns}, log="x")
    plots.finish(axes[1], "Recall", "items in the catalogue", f"of the best {k}, found (%)")
    axes[1].legend(
        *axes[0].get_legend_handles_labels(), loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=8
    )


def three_costs(axes: Sequence[Axes], points: pd.DataFrame) -> None:
    """Quality, bytes and latency of each method side by side, a row each; filled: no other is better in all
    three.

    points: columns ndcg_kept, code_bytes, ms and best, in the order of the rows.
    """
    place, best = np.arange(len(points))[::-1], points["best"].to_numpy(dtype=bool)
    columns = (
        ("ndcg_kept", 100.0, "NDCG kept (%)", ".1f"),
        ("code_bytes", 1.0, "bytes per item", ",.0f"),
        ("ms", 1000.0, "one query (µs)", ",.0f"),
    )
    for ax, (column, scale, label, digits) in zip(axes, columns, strict=True):
        values = scale * points[column].astype(float).to_numpy()
        for chosen, face in ((best, plots.PALETTE[0]), (~best, "white")):
            ax.scatter(
                values[chosen], place[chosen], s=55, facecolor=face, edgecolor=plots.PALETTE[0], zorder=3
            )
        for x, y in zip(values, place, strict=True):
            ax.annotate(
                f"{x:{digits}}", (x, y), xytext=(7, 0), textcoords="offset points", va="center", fontsize=8
            )
        if column != "ndcg_kept":
            ax.set_xscale("log")
            ax.xaxis.set_minor_formatter("")
        ax.set_xlabel(label)
        ax.margins(x=0.2)
    axes[0].set_yticks(place, list(points.index))


def _bytes_axis(ax: Axes) -> None:
    ax.set_xscale("log")
    ax.set_xticks([25, 50, 100, 200, 400, 800, 1600], ["25", "50", "100", "200", "400", "800", "1600"])
    ax.minorticks_off()
