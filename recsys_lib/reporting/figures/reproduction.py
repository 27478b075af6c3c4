"""The figures of notebook 03: our values beside published ones, and encoders in three geometries."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recsys_lib.reporting import plots

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


def published(ax: Axes, recall: pd.Series, spread: pd.Series, others: pd.Series, k: int = 10) -> None:
    """Recall of every method with its standard deviation over splits, best on top, and what others published.

    others: recall by method, several sources a method; ``text-kNN`` there is an ItemKNN on genres alone,
    and stands on the row ``genres alone``.
    """
    ordered = recall.sort_values(ascending=False)
    place = {name: row for row, name in enumerate(ordered.index)}
    ax.errorbar(
        ordered, list(place.values()), xerr=spread[ordered.index], fmt="o", color=plots.PALETTE[0], capsize=3,
        markersize=6, label="ours, mean and standard deviation of the splits", zorder=3,
    )  # fmt: skip
    theirs = others.rename(index={"text-kNN": "genres alone"})
    theirs = theirs[theirs.index.isin(ordered.index)]
    ax.scatter(
        theirs, [place[name] for name in theirs.index], marker="|", s=220, linewidths=2,
        color=plots.PALETTE[3],
        label="published", zorder=4,
    )  # fmt: skip
    for name, row in place.items():
        ax.text(ordered[name] + 0.012, row - 0.28, f"{ordered[name]:.3f}", fontsize=9, va="center")
    ax.set_yticks(list(place.values()), list(place))
    ax.invert_yaxis()
    ax.set_xlim(0, 1.15 * ordered.max())
    ax.legend(loc="lower right")
    texts = [name for name in ordered.index if name.startswith("text")]
    ratio = ordered["EASE"] / ordered[texts].max()
    title = "Our baselines agree with published values; "
    title += f"the best text alone finds a {_part(ratio)} of what EASE finds"
    plots.finish(ax, title, f"recall@{k}")


def _part(ratio: float) -> str:
    """``1 / ratio`` in words.

    >>> _part(3.9), _part(2.1)
    ('quarter', 'half')
    """
    words = {1: "like amount", 2: "half", 3: "third", 4: "quarter", 5: "fifth", 6: "sixth"}
    return words.get(round(ratio), f"{1 / ratio:.0%} part")


def geometries(ax: Axes, grid: pd.DataFrame, popularity: float, k: int = 10) -> None:
    """Recall of each encoder (a row) in each geometry (a marker), and popularity as a line."""
    plots.dots(ax, grid)
    ax.axvline(popularity, color=plots.GREY, linestyle="--", linewidth=1.2)
    ax.text(popularity, -0.35, " popularity", fontsize=9, color="#555555", va="center")
    ax.set_ylim(len(grid) - 0.5, -0.6)
    ax.set_xlim(0, 1.25 * max(popularity, float(grid.to_numpy().max())))
    ax.legend(loc="lower right")
    helped = int((grid["centred"] > grid["raw"]).sum())
    reach = "none reaches" if grid.to_numpy().max() < popularity else "some reach"
    title = f"Centring helps {helped} of {len(grid)} encoders; {reach} popularity"
    plots.finish(ax, title, f"recall@{k}, mean of the splits")
