"""The figures of smaller models: bits, sizes, parts, and paths over lengths and batches."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from recsys_lib.reporting import compression_titles, plots

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from recsys_lib.reporting.model_study import ModelStudy


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


def parts(quality: Axes, speed: Axes, table: pd.DataFrame) -> None:
    """NDCG with 95% of its difference to the first row, orange where significantly worse, and texts per
    second, a row a model.
    """
    place = np.arange(len(table))
    centre = float(table["ndcg"].iloc[0])
    colours = [plots.PALETTE[3] if high < 0 else plots.PALETTE[0] for high in table["high"]]
    low, high = (centre + table[end].astype(float) for end in ("low", "high"))
    quality.hlines(place, low, high, color=colours, linewidth=2)
    quality.scatter(table["ndcg"].astype(float), place, color=colours, s=36, zorder=3)
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


# How a path's precision ends, and the title of its panel.
KINDS = {
    "float32": "float32", "bfloat16": "bfloat16", "int8": "int8, weights and activations",
    "weight": "weights alone in fewer bits",
}  # fmt: skip
MEMORY = {"disk_MB": "file", "resident_MB": "in memory", "peak_MB": "while loading"}


def sizes(axes: Sequence[Axes], table: pd.DataFrame, memory: pd.DataFrame, decoder: str) -> None:
    """Megabytes of words and layers of each model and precision, and what each path takes in memory.

    table: of ``weight_sizes``, ``[(model, part), precision]``; memory: a row a path, megabytes.
    """
    models = list(dict.fromkeys(table.index.get_level_values(0)))
    order = [(model, precision) for model in models for precision in table.columns]
    stacked_sizes(axes[0], table.stack().unstack(1).loc[order, ["words", "layers"]])
    whole = table["float32"].groupby(level=0).sum()
    title = compression_titles.share_of_words(table["float32"].xs("words", level=1), whole, decoder)
    plots.finish(axes[0], title, "MB of weights")
    sideways(axes[1], memory[list(MEMORY)].rename(columns=MEMORY))
    plots.finish(axes[1], compression_titles.resident(memory), "MB of MiniLM beyond the libraries")


def encoder_bits(axes: Sequence[Axes], study: ModelStudy, now: pd.DataFrame, encoder: str) -> None:
    """Quality of each recorded encoder against bits: a cosine of the first one, then NDCG of all.

    now: rows (method, bits) of ``encoder``, drawn as crosses.
    """
    axis = {"cosine": "mean cosine to float32", "ndcg": "NDCG@10 (grey: unchanged)"}
    panels = [(next(iter(study.encoders)), "cosine"), *((name, "ndcg") for name in study.encoders)]
    for ax, (name, column) in zip(axes, panels, strict=True):
        table = study.encoders[name]
        over_bits(ax, table.reset_index(), column, now.reset_index() if name == encoder else None)
        title = compression_titles.at_four_bits(name, table, column, study.parameters["groups"][0])
        plots.finish(ax, title, "bits of a weight", axis[column])
    axes[0].legend()


def decoder_bits(
    axes: Sequence[Axes], study: ModelStudy, now: pd.DataFrame, comparable: Collection[str]
) -> None:
    """Perplexity, neighbours and NDCG of the recorded decoder against bits.

    now: rows (method, bits), drawn as crosses where perplexity or the ranking ("ndcg") is ``comparable``.
    """
    table, same = study.decoder, {"perplexity": "perplexity", "neighbours": "ndcg", "ndcg": "ndcg"}
    shown = {
        "perplexity": (compression_titles.perplexity(table), "perplexity on film plots"),
        "neighbours": (compression_titles.neighbours(table), "share of the 10 nearest films"),
        "ndcg": (compression_titles.ndcg_of_decoder(table), "NDCG@10 (grey: as it came)"),
    }
    for ax, (column, (title, label)) in zip(axes, shown.items(), strict=True):
        crosses = now.reset_index() if same[column] in comparable else None
        over_bits(ax, table.reset_index(), column, crosses, log=column == "perplexity")
        plots.finish(ax, title, "bits of a weight", label)
    axes[1].legend()


def ladders(axes: Sequence[Axes], study: ModelStudy, encoder: str = "minilm") -> None:
    """What 8-bit weights and activations lose under finer and finer scales, of an encoder and the decoder."""
    decoder, lost = study.parameters["decoder"], "1 - mean cosine, thousandths"
    steps = {name: study.ladders[name] for name in (encoder, decoder)}
    for ax, table in zip(axes, steps.values(), strict=True):
        plots.bars(ax, list(table.index), (1000 * (1 - table["mean"])).tolist(), digits=1)
    plots.finish(axes[0], compression_titles.smoothing_of_encoder(steps[encoder]), lost)
    plots.finish(axes[1], compression_titles.smoothing_of_decoder(decoder, steps[decoder]), lost)


def pruned(axes: Sequence[Axes], table: pd.DataFrame) -> None:
    """Quality and speed of models with fewer parts; table: rows of ``parts_quality`` with ``texts per s``."""
    parts(axes[0], axes[1], table)
    label = "NDCG@10 with 95% of the difference (grey: whole)"
    plots.finish(axes[0], compression_titles.parts(table), label)
    plots.finish(axes[1], compression_titles.speed_of_parts(table), "texts per second, two threads")


def speeds(width: float, height: float, ratios: pd.DataFrame) -> Figure:
    """A heat map of ``speed_ratios`` for each kind of precision, as high as it has paths."""
    rows = [sum(path.split()[1].endswith(kind) for path in ratios.index) for kind in KINDS]
    grid = {"height_ratios": rows}
    fig, axes = plots.figure(
        rows=len(KINDS), width=width, height=height, sharex=True, gridspec_kw=grid
    )  # fmt: skip
    speed_map(list(axes), ratios, list(KINDS))
    for ax, title in zip(axes, KINDS.values(), strict=True):
        plots.finish(ax, title, "tokens of a text × texts at once" if ax is axes[-1] else "")
    plots.suptitle(fig, compression_titles.native_speed(ratios))
    return fig


def processors(ax: Axes, table: pd.DataFrame) -> None:
    """Texts per second, ``[instruction set, precision]``."""
    grouped(ax, table)
    label = "instructions the kernel was compiled for"
    plots.finish(ax, compression_titles.int8_by_processor(table), label, "texts per second, two threads")
