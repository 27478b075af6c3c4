"""The figure of a search: was the budget sufficient?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from recsys_lib.reporting import plots

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def trials(curves: pd.DataFrame, name: str) -> Figure:
    """The best validation value after each trial relative to the last, a line for each method."""
    fig, (ax,) = plots.figure(width=7.2, height=3.6)
    slow = curves.sub(curves.iloc[:, -1], axis=0).abs().sum(axis=1).nlargest(5).index
    for method in curves.index.drop(slow):
        ax.plot(curves.columns, curves.loc[method], color="#B9C6D3", linewidth=1)
    for i, method in enumerate(slow):
        ax.plot(
            curves.columns, curves.loc[method], marker=plots.MARKERS[i], color=plots.PALETTE[i], label=method
        )
    ax.legend(loc="lower right", title="the five that gain most from trials")
    ax.xaxis.get_major_locator().set_params(integer=True)
    half = curves.iloc[:, max(0, (curves.shape[1] + 1) // 2 - 1)]
    title = f"After half of the trials the median method has {half.median():.1%} of its final validation NDCG"
    plots.finish(ax, title, "trials", "best validation NDCG, relative to the last")
    plots.save(fig, name)
    return fig
