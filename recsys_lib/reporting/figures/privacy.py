"""Figures of privacy and their titles: what each defence hides, at what quality, bytes and dollars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from recsys_lib.reporting import plots

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

# An ε that is a guarantee to speak of.
SMALL = 10.5


def family(name: str) -> str:
    """The kind of defence that a release's name says.

    >>> family("noise, ε = 100"), family("int8"), family("shared by 5"), family("sum of 5")
    ('noise', 'fewer bits', 'shared', 'updates of a map')
    """
    if name.startswith(("update", "noisy sum", "sum of")):
        return "updates of a map"
    for start, kind in (("noise", "noise"), ("1 bit, flipped", "flipped bits"), ("first", "truncated")):
        if name.startswith(start):
            return kind
    return "shared" if name.startswith("shared") else "none" if name == "float32" else "fewer bits"


def pareto(ax: Axes, table: pd.DataFrame, title: str) -> None:
    """NDCG@10 against the fraction of the history that the attack recovers; a point's area grows with the
    logarithm of its bytes.
    """
    recovered = 100 * table["history recovered"]
    _points(ax, table, recovered, table["ndcg"])
    blind = 100 * float(table["without the vector"].mean())
    ax.axvline(blind, color=plots.GREY, linestyle="--", linewidth=1)
    ax.set_xlim(0, 130)
    ax.set_ylim(0, 1.15 * float(table["ndcg"].max()))
    ax.text(blind + 1, 0.004, "without the vector", fontsize=8, color="#555555")
    for handle in ax.legend(loc="lower right", fontsize=8).legend_handles:
        if handle is not None and hasattr(handle, "set_sizes"):
            handle.set_sizes([40])
    plots.finish(ax, title, "history that the attack recovers, %", "NDCG@10 (area: logarithm of bytes sent)")
    _label(ax, table, recovered, table["ndcg"])


def dollars(ax: Axes, table: pd.DataFrame, title: str) -> None:
    """The fraction of the history that the attack recovers against dollars a month at the server; colours and
    areas as in ``pareto``.
    """
    usd, recovered = table["usd"].astype(float), 100 * table["history recovered"]
    _points(ax, table, usd, recovered)
    ax.set_xscale("log")
    ax.set_xlim(usd.min() / 1.6, usd.max() * 6)
    ax.set_ylim(0, 112)
    ax.axhline(100 * float(table["without the vector"].mean()), color=plots.GREY, linestyle="--", linewidth=1)
    plots.finish(ax, title, "server, USD a month (log)", "history that the attack recovers, %")
    _label(ax, table, usd, recovered)


def _points(ax: Axes, table: pd.DataFrame, x: pd.Series, y: pd.Series) -> None:
    """Points of one colour a kind of defence."""
    kinds, area = np.array([family(str(name)) for name in table.index]), _areas(table)
    for kind, colour in zip(dict.fromkeys(kinds), plots.PALETTE, strict=False):
        own = kinds == kind
        ax.scatter(x[own], y[own], s=area[own], color=colour, alpha=0.7, label=str(kind), zorder=3)


def _areas(table: pd.DataFrame) -> pd.Series:
    """In square points, growing with the logarithm of the bytes."""
    return 8 * np.log10(table["bytes"].astype(float)) ** 2


def _label(ax: Axes, table: pd.DataFrame, x: pd.Series, y: pd.Series) -> None:
    """Names beside the points: those of one place together, and none over another.

    Places are fractions of the axes, whose limits and scale must be set before.
    """
    data = np.column_stack([x.to_numpy(float), y.to_numpy(float)])
    at = ax.transAxes.inverted().transform(ax.transData.transform(data))
    radius = np.sqrt(_areas(table).to_numpy() / np.pi) / 72
    groups: dict[tuple[int, int], list[tuple[str, np.ndarray]]] = {}
    for name, place in zip(table.index, np.column_stack([at, radius]), strict=True):
        groups.setdefault((round(place[0] / 0.017), round(place[1] / 0.012)), []).append((str(name), place))
    inches = ax.figure.get_size_inches() * ax.get_position().size  # type: ignore[union-attr]
    height = 0.14 / inches[1]
    taken: list[tuple[float, float, float]] = []
    for places in sorted(groups.values(), key=lambda g: -g[0][1][1]):
        text = ", ".join(name for name, _ in places)
        x0, up, wide = (float(value) for value in places[0][1])
        left = x0 + (wide + 0.04) / inches[0]
        right = left + 0.057 * len(text) / inches[0]
        while any(abs(up - other) < height and left < e and right > s for other, s, e in taken):
            up -= height / 4
        taken.append((up, left, right))
        ax.text(left, up, text, fontsize=7.5, va="center", transform=ax.transAxes)


def dollars_title(table: pd.DataFrame) -> str:
    """The finding: which releases cost the server less than plain vectors, and what they leave."""
    plain = float(table.loc["float32", "usd"])
    kinds = {str(name): family(str(name)) for name in table.index}
    vectors = table.loc[[name for name, kind in kinds.items() if kind != "updates of a map"], "usd"]
    cheap = str(vectors.astype(float).idxmin())
    noisy = table.loc[[name for name, kind in kinds.items() if kind == "noise"], "usd"].astype(float)
    said = (
        f"int8 saves {1 - table.loc['int8', 'usd'] / plain:.0%} of float32's dollars and hides nothing; "
        f"{cheap} saves {1 - table.loc[cheap, 'usd'] / plain:.0%} and leaves "
        f"{table.loc[cheap, 'history recovered']:.0%}"
    )
    return said + ("; noise saves nothing" if len(noisy) and (noisy >= plain).all() else "")


def pareto_title(table: pd.DataFrame) -> str:
    """The finding: which compression protects, which does not; of the releases that hide half of what the
    vector adds the best; and the best with a guarantee.
    """
    plain = table.loc["float32"]
    gain = table["history recovered"] - table["without the vector"]
    hidden = table[gain <= gain["float32"] / 2]
    said = (
        f"int8 hides nothing ({table.loc['int8', 'history recovered']:.0%} "
        "of a history comes back), one bit still "
        f"gives {table.loc['1 bit', 'history recovered']:.0%}"
    )
    if "update" in table.index:
        said += f", an update of a trained map {table.loc['update', 'history recovered']:.0%}"
    guaranteed = hidden[hidden["epsilon"] <= SMALL]
    best = next((rows["ndcg"].astype(float).idxmax() for rows in (guaranteed, hidden) if len(rows)), None)
    if best is None:
        return f"{said}; no defence hides half of what the vector adds"
    return (
        f"{said}; {best} gives {table.loc[best, 'history recovered']:.0%} "
        f"at NDCG@10 {table.loc[best, 'ndcg']:.3f} "
        f"(float32: {plain['ndcg']:.3f})"
    )


def strengths(axes: Sequence[Axes], curves: Mapping[str, pd.DataFrame]) -> None:
    """Two panels over ε, no noise at the right: area under the curve of membership, and NDCG@10.

    ``curves``: by model, with columns epsilon, auc and ndcg, an index of labels.
    """
    curves = {name: table.sort_values("epsilon") for name, table in curves.items() if len(table)}
    found = sorted({float(e) for table in curves.values() for e in table["epsilon"]})
    place = {e: i for i, e in enumerate(found)}
    columns = (("auc", "membership, area under the curve"), ("ndcg", "NDCG@10"))
    for ax, (column, y) in zip(axes, columns, strict=True):
        for (name, rows), colour, marker in zip(curves.items(), plots.PALETTE, plots.MARKERS, strict=False):
            x = [place[float(e)] for e in rows["epsilon"]]
            ax.plot(x, rows[column].astype(float), marker=marker, color=colour, label=name)
        ax.set_xticks(range(len(found)), ["none" if e == np.inf else f"{e:g}" for e in found])
        ax.set_ylim(0.45 if column == "auc" else 0, 1.05 if column == "auc" else None)
        plots.finish(ax, strength_title(curves, column), "noise: ε of all training together", y)
    axes[0].axhline(0.5, color=plots.GREY, linestyle="--", linewidth=1)
    axes[0].legend(loc="upper left", fontsize=8)


def strength_title(curves: Mapping[str, pd.DataFrame], column: str) -> str:
    """What noise hides (auc) or costs (ndcg), from none to the smallest ε; ``curves`` in rising ε."""
    said = "; ".join(
        f"{name} {rows[column].iloc[-1]:{'.2f' if column == 'auc' else '.3f'}} without noise, "
        f"{rows[column].iloc[0]:{'.2f' if column == 'auc' else '.3f'}} at {rows.index[0]}"
        for name, rows in curves.items()
    )
    return f"{'Members are told' if column == 'auc' else 'Its price'}: {said}"
