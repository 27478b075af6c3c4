"""The figures of smaller models: bits, sizes, parts, and paths over lengths and batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from recsys_lib.reporting import compression_titles, plots

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


def over_bits(
    ax: Axes, kept: pd.DataFrame, column: str, now: pd.DataFrame | None = None, log: bool = False
) -> None:
    """``column`` against bits, a line a method, fewest bits on the right; crosses: what was computed now;
    grey: the unchanged model.

    kept, now: rows of ``encoder_bits`` or ``decoder_bits``.
    """
    methods = [m for m in kept["method"].unique() if (kept["method"] == m).sum() > 1]
    for i, method in enumerate(methods):
        rows = kept[kept["method"] == method].sort_values("bits")
        ax.plot(
            rows["bits"],
            rows[column],
            color=plots.PALETTE[i],
            marker=plots.MARKERS[i],
            markersize=5,
            label=method,
        )
    if now is not None:
        few = now[now["bits"] < 32]
        ax.scatter(few["bits"], few[column], marker="x", color="black", zorder=4, label="computed now")
    ax.axhline(kept[column].iloc[0], color=plots.GREY, linewidth=1)
    if log:
        ax.set_yscale("log")
    ax.set_xticks(sorted(kept["bits"][kept["bits"] < 32].unique()))
    ax.invert_xaxis()


def stacked_sizes(ax: Axes, sizes: pd.DataFrame) -> None:
    """Megabytes as bars: a bar a row, a colour a column, the sum beside it."""
    left, place = np.zeros(len(sizes)), np.arange(len(sizes))
    for i, part in enumerate(sizes.columns):
        ax.barh(place, sizes[part], left=left, color=plots.PALETTE[i], height=0.68, label=part)
        left += sizes[part].to_numpy()
    for at, total in enumerate(left):
        ax.text(total + 0.01 * left.max(), at, f"{total:.0f}", va="center", fontsize=9)
    ax.set_yticks(place, [" ".join(name) if isinstance(name, tuple) else name for name in sizes.index])
    ax.invert_yaxis()
    ax.set_xlim(0, 1.1 * left.max())
    ax.grid(axis="y", visible=False)
    ax.legend(loc="lower right")


def layer_maps(
    axes: Sequence[Axes], lost: pd.DataFrame, outlying: Mapping[str, pd.DataFrame], encoder: str, decoder: str
) -> None:
    """What one layer in 2 bits costs, and the largest input channel of each layer over the median one, as
    heat maps.
    """
    import seaborn as sns

    sns.heatmap(1000 * lost, annot=True, fmt=".0f", cmap="cividis", cbar=False, ax=axes[0])
    sns.heatmap(outlying[encoder], annot=True, fmt=".0f", cmap="cividis", cbar=False, ax=axes[1])
    bar = {"label": "powers of ten"}
    sns.heatmap(np.log10(outlying[decoder]), cmap="cividis", ax=axes[2], yticklabels=5, cbar_kws=bar)
    plots.finish(axes[0], compression_titles.most_lost(encoder, lost), "place", "transformer layer")
    plots.finish(axes[1], compression_titles.loudest_channel(encoder, outlying[encoder]), "place", "")
    plots.finish(axes[2], compression_titles.loudest_of_decoder(decoder, outlying[decoder]), "place", "")


def parts(quality: Axes, speed: Axes, table: pd.DataFrame, reference: float | None = None) -> None:
    """NDCG with 95% of its difference to ``reference``, and texts per second, a row a model.

    With a reference of cold items cold NDCG is drawn: blue within the margin, orange worse, green better,
    grey not decided. Without it NDCG of warm items against the first row: orange significantly worse.
    """
    place = np.arange(len(table))
    if reference is None:
        column, ends, centre = "ndcg", ("low", "high"), float(table["ndcg"].iloc[0])
        colours = [plots.PALETTE[3] if high < 0 else plots.PALETTE[0] for high in table["high"]]
    else:
        column, ends, centre = "cold_ndcg", ("cold_low", "cold_high"), reference
        kinds = {"within": plots.PALETTE[0], "worse": plots.PALETTE[3], "better": plots.PALETTE[2]}
        colours = [
            next((v for k, v in kinds.items() if c.startswith(k)), plots.GREY) for c in table["conclusion"]
        ]
    low, high = (centre + table[end].astype(float) for end in ends)
    quality.hlines(place, low, high, color=colours, linewidth=2)
    quality.scatter(table[column].astype(float), place, color=colours, s=36, zorder=3)
    quality.axvline(centre, color=plots.GREY, linewidth=1)
    quality.set_yticks(place, list(table.index))
    quality.invert_yaxis()
    rates = table["texts per s"].astype(float)
    speed.barh(place, rates, color="#B9C6D3", height=0.68)
    speed.set_xscale("log")
    for at, rate in enumerate(rates):
        speed.text(rate * 1.05, at, f"{rate:,.0f}", va="center", fontsize=9)
    speed.set_xlim(rates.min() / 2, rates.max() * 4)
    speed.grid(axis="y", visible=False)


def speed_ratios(speed: pd.DataFrame, base: str) -> pd.DataFrame:
    """Tokens per second of every path over those of ``base`` at the same length and batch:
    a row a path, a column ``(length, batch)``.
    """
    rates = speed.pivot_table(index="path", columns=["length", "batch"], values="tokens per s", sort=False)
    return rates / rates.loc[base]


def speed_map(axes: Sequence[Axes], ratios: pd.DataFrame, precisions: Sequence[str]) -> None:
    """A heat map for each ending of a path's precision: a row a path of ``speed_ratios``;
    cells slower than the base carry a cross, in orange.
    """
    import seaborn as sns

    shown = np.log2(ratios)
    reach = float(np.ceil(np.nanmax(np.abs(shown.to_numpy()))))
    for ax, precision in zip(axes, precisions, strict=True):
        rows = [path for path in ratios.index if path.split()[1].endswith(precision)]
        words = ratios.loc[rows].map(lambda r: f"{r:.1f}" + (" ×" if r < 1 else ""))
        sns.heatmap(
            shown.loc[rows], annot=words, fmt="", cmap="PuOr", vmin=-reach, vmax=reach, cbar=False, ax=ax,
            annot_kws={"size": 9},
        )  # fmt: skip
        names = [
            path.split()[0] if path.endswith(f" {precision}") else path.replace("-weight", "")
            for path in rows
        ]
        ax.set_yticks(np.arange(len(rows)) + 0.5, names, rotation=0)
        ax.set_xticks(
            np.arange(ratios.shape[1]) + 0.5,
            [f"{length} × {batch}" for length, batch in ratios.columns],
            rotation=0,
        )
        # The panels share their columns: marks between them only cut into titles.
        ax.tick_params(bottom=ax is axes[-1])


def sideways(ax: Axes, table: pd.DataFrame) -> None:
    """Bars on their side: a group a row, first on top, a colour a column."""
    height = 0.8 / len(table.columns)
    for i, name in enumerate(table.columns):
        place = np.arange(len(table)) + height * (i - (len(table.columns) - 1) / 2)
        ax.barh(place, table[name], height=0.9 * height, color=plots.PALETTE[i], label=name)
    ax.set_yticks(range(len(table)), list(table.index))
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    ax.legend()


def grouped(ax: Axes, table: pd.DataFrame) -> None:
    """Upright bars: a group a row, a colour a column, the value above; what a row lacks is left out."""
    width = 0.8 / len(table.columns)
    for i, name in enumerate(table.columns):
        values = table[name].dropna()
        place = np.array([table.index.get_loc(row) for row in values.index]) + width * (
            i - (len(table.columns) - 1) / 2
        )
        ax.bar(place, values, width=0.92 * width, color=plots.PALETTE[i], label=name)
        for x, value in zip(place, values, strict=True):
            ax.text(x, value, f"{value:,.0f}", ha="center", va="bottom", fontsize=9)
    ax.set_xticks(range(len(table)), list(table.index))
    ax.grid(axis="x", visible=False)
    ax.legend()
