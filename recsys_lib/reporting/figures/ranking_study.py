"""The figures of the ranking study: encoders, methods, what text adds, controls and protocols."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from recsys_lib.reporting import plots

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def encoders(table: pd.DataFrame, cheap: Sequence[str], k: int) -> Figure:
    """NDCG of every encoder in every geometry, one row each; the chosen geometry is ringed. Best chosen
    first.
    """
    chosen = {name: float(row[row["chosen"]]) for name, row in table.iterrows()}
    order = sorted(chosen, key=lambda name: -chosen[name])
    fig, (ax,) = plots.figure(width=7.8, height=1.2 + 0.42 * len(order))
    plots.dots(ax, table.loc[order].drop(columns="chosen"))
    place = range(len(order))
    ax.scatter(
        [chosen[n] for n in order], place, s=150, facecolors="none", edgecolors="black", label="chosen"
    )
    ax.set_ylim(len(order) - 0.5, -0.5)
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    base = [name for name in order if name in cheap]
    title = f"{order[0]} ranks best"
    if base and order[0] != base[0]:
        title += f", with {chosen[order[0]] / chosen[base[0]]:.2f} times the NDCG of {base[0]}"
    plots.finish(ax, title, f"NDCG@{k} of mean and cosine on the test part")
    plots.save(fig, "04_encoders")
    return fig


def methods(
    ndcg: pd.Series, reads: Mapping[str, str], closed: Mapping[str, float], k: int, seeds: int
) -> Figure:
    """Every method as a bar, best first; those that read text set apart."""
    fig, (ax,) = plots.figure(width=7.5, height=0.9 + 0.27 * len(ndcg))
    texts = [name for name in ndcg.index if reads[name] in ("text", "both")]
    plots.bars(ax, list(ndcg.index), ndcg.tolist(), highlight=texts)
    title = f"{ndcg.index[0]} ranks best"
    if closed:
        name, share = next(iter(closed.items()))
        title += f"; of text alone, {name} closes {share:.0%} of the gap"
    plots.finish(ax, title, f"NDCG@{k} on the test part, mean of {seeds} split(s); blue: reads text")
    plots.save(fig, "04_methods")
    return fig


def gain(tables: Mapping[str, pd.DataFrame], margin: float, k: int, name: str = "04_gain") -> Figure:
    """What each method with text adds to its base, in percent of the base, with 95% intervals; one panel a
    protocol.

    The band is the margin within which two methods count as equal.
    """
    rows = list(dict.fromkeys(row for table in tables.values() for row in table.index))[::-1]
    columns = min(2, len(tables))
    lines = -(-len(tables) // columns)
    height = (1.6 + 0.36 * len(rows)) * lines
    fig, axes = plots.figure(columns, lines, width=2.8 + 3.8 * columns, height=height, sharey=True)
    for ax in axes[len(tables) :]:
        ax.set_visible(False)
    for ax, (protocol, table) in zip(axes, tables.items(), strict=False):
        _gain(ax, table, rows, margin)
        best = (table["relative"] if len(table) else None) if "relative" in table else None
        title = protocol if best is None else f"{protocol}: {best.idxmax()} {100 * best.max():+.1f}%"
        plots.finish(ax, title, f"change of NDCG@{k} (%)")
    axes[0].set_yticks(range(len(rows)), rows)
    plots.save(fig, name)
    return fig


def _gain(ax: Axes, table: pd.DataFrame, rows: Sequence[str], margin: float) -> None:
    ax.axvspan(-100 * margin, 100 * margin, color="#ECECEC", zorder=0)
    ax.axvline(0, color=plots.GREY, linestyle="--", linewidth=1)
    shown = table[table["NDCG gained"] != 0]
    place = [rows.index(row) for row in shown.index]
    # The base's NDCG turns a difference into percent.
    base = shown["NDCG gained"] / shown["relative"]
    middle = 100 * shown["relative"]
    errors = [middle - 100 * shown["low"] / base, 100 * shown["high"] / base - middle]
    ax.errorbar(middle, place, xerr=errors, fmt="o", color=plots.PALETTE[0], capsize=3)
    declined = [rows.index(row) for row in table.index if row not in shown.index]
    ax.scatter(np.zeros(len(declined)), declined, marker="x", color=plots.PALETTE[3], zorder=3)
    ax.locator_params(axis="x", nbins=6)


def controls(tables: Mapping[str, pd.DataFrame], margin: float, k: int, name: str = "04_controls") -> Figure:
    """Item texts that lack one thing each: their NDCG alone, and what they add to EASE in percent; two panels
    a data set.
    """
    rows = list(next(iter(tables.values())).index)[::-1]
    height = 0.9 + 0.36 * len(rows)
    fig, axes = plots.figure(2, len(tables), width=9.6, height=height * len(tables), sharey=True)
    for (left, right), (data, table) in zip(axes.reshape(-1, 2), tables.items(), strict=True):
        values = table["text alone"].reindex(rows)
        left.barh(range(len(rows)), values, color=plots.PALETTE[0], height=0.6)
        left.set_yticks(range(len(rows)), rows)
        left.locator_params(axis="x", nbins=5)
        share = table.loc["title masked", "text alone"] / table.loc["all fields", "text alone"]
        plots.finish(left, f"{data}: without titles {share:.0%} of the NDCG", f"NDCG@{k}, text alone")
        _gain(right, table.rename(columns={"added to EASE": "NDCG gained"}), rows, margin)
        added = 100 * table.loc["all fields", "relative"]
        plots.finish(right, f"right texts add {added:+.1f}% to EASE", f"change of NDCG@{k} (%)")
    plots.save(fig, name)
    return fig


def protocols(
    tables: Mapping[str, pd.DataFrame], reference: str, k: int, name: str = "04_protocols"
) -> Figure:
    """NDCG relative to the reference under each protocol, one panel a data set, the best first."""
    tallest = max(len(table) for table in tables.values())
    width = 4.0 + 3.6 * len(tables)
    fig, axes = plots.figure(len(tables), width=width, height=1.5 + 0.32 * tallest)
    for ax, (data, table) in zip(axes, tables.items(), strict=True):
        share = (table / table.loc[reference]).dropna(axis=1, how="all")
        share = share.loc[share.max(axis=1).sort_values(ascending=False).index]
        plots.dots(ax, share)
        ax.set_ylim(len(share) - 0.5, -0.5)
        ax.axvline(1, color=plots.GREY, linestyle="--", linewidth=1)
        best = {protocol: str(column.idxmax()) for protocol, column in share.items()}
        same = len(set(best.values())) == 1
        winners = "; ".join(f"{winner} ({protocol})" for protocol, winner in best.items())
        plots.finish(
            ax,
            f"{data}, best: {next(iter(best.values())) + ' by all' if same else winners}",
            f"NDCG@{k} relative to {reference}",
        )
    axes[-1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    plots.save(fig, name)
    return fig


def published(table: pd.DataFrame, title_of: str = "films") -> Figure | None:
    """Recall of ours beside the range of published values; nothing where none is known."""
    rows = table[table.index.str.contains("recall")] if len(table) else table
    if not len(rows):
        return None
    rows = rows.sort_values("ours", ascending=False)
    place = range(len(rows))
    fig, (ax,) = plots.figure(width=7.5, height=1.0 + 0.36 * len(rows))
    ax.hlines(place, rows["min"], rows["max"], color=plots.PALETTE[1], linewidth=3, label="published range")
    for column in ("min", "max"):
        ax.scatter(rows[column], place, marker="|", s=220, linewidth=2.5, color=plots.PALETTE[1], zorder=3)
    ax.scatter(rows["ours"], place, color=plots.PALETTE[0], s=36, zorder=4, label="ours")
    ax.set_yticks(place, [name.rpartition(" ")[0] for name in rows.index])
    ax.invert_yaxis()
    ax.legend(loc="lower right")
    reached = int((rows["ours"] >= 0.97 * rows["min"]).sum())
    title = f"{title_of}: {reached} of {len(rows)} methods reach 97% of the lowest published recall"
    plots.finish(ax, title, rows.index[0].rpartition(" ")[2])
    plots.save(fig, "04_published")
    return fig
