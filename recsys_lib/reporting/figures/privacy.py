"""Figures and findings of privacy: what each defence hides, at what quality and in how many bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from recsys_lib.reporting import plots
from recsys_lib.reporting.takeaways import bullets
from recsys_lib.trust.privacy import price

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


def family(name: str) -> str:
    """The kind of defence that a release's name says.

    >>> family("noise, ε = 100"), family("int8"), family("shared by 5")
    ('noise', 'fewer bits', 'shared')
    """
    for start, kind in (("noise", "noise"), ("1 bit, flipped", "flipped bits"), ("first", "truncated")):
        if name.startswith(start):
            return kind
    return "shared" if name.startswith("shared") else "none" if name == "float32" else "fewer bits"


def pareto(ax: Axes, table: pd.DataFrame, title: str) -> None:
    """NDCG@10 against the fraction of the history that the attack recovers; the area of a point is its
    bytes.
    """
    kinds = list(dict.fromkeys(family(str(name)) for name in table.index))
    for kind, colour in zip(kinds, plots.PALETTE, strict=False):
        rows = table[[family(str(name)) == kind for name in table.index]]
        area = 25 + 250 * np.sqrt(rows["bytes"] / table["bytes"].max())
        ax.scatter(
            100 * rows["history recovered"],
            rows["ndcg"],
            s=area,
            color=colour,
            alpha=0.7,
            label=kind,
            zorder=3,
        )
    for name, row in table.iterrows():
        place = (100 * row["history recovered"], row["ndcg"])
        ax.annotate(str(name), place, (6, 6), textcoords="offset points", fontsize=7.5)
    blind = 100 * float(table["without the vector"].mean())
    ax.axvline(blind, color=plots.GREY, linestyle="--", linewidth=1)
    ax.set_xlim(0, 110)
    ax.set_ylim(0, 1.15 * float(table["ndcg"].max()))
    ax.text(blind + 1, 0.004, "without the vector", fontsize=8, color="#555555")
    for handle in ax.legend(loc="upper left", fontsize=8).legend_handles:
        if handle is not None and hasattr(handle, "set_sizes"):
            handle.set_sizes([40])
    plots.finish(ax, title, "history that the attack recovers, %", "NDCG@10 (area: bytes sent)")


def pareto_title(table: pd.DataFrame) -> str:
    """The finding: which compression protects, which does not, and the best release that hides half of the
    gain.
    """
    blind, plain = float(table["without the vector"].mean()), table.loc["float32"]
    half = blind + (plain["history recovered"] - blind) / 2
    hidden = table[table["history recovered"] <= half]
    best = hidden["ndcg"].idxmax() if len(hidden) else None
    said = (
        f"int8 hides nothing ({table.loc['int8', 'history recovered']:.0%} "
        "of a history comes back), one bit still "
        f"gives {table.loc['1 bit', 'history recovered']:.0%}"
    )
    if best is None:
        return f"{said}; no defence hides half of what the vector adds"
    return (
        f"{said}; {best} gives {table.loc[best, 'history recovered']:.0%} "
        f"at NDCG@10 {table.loc[best, 'ndcg']:.3f} "
        f"(float32: {plain['ndcg']:.3f})"
    )


def takeaways(
    table: pd.DataFrame,
    members: pd.DataFrame,
    persons: pd.DataFrame,
    words: Mapping[str, float],
    private: Mapping[float, float],
    ease: float,
    popular: float,
) -> str:
    """What the run found, in Markdown, from its own numbers.

    ``members``: rows models, columns auc and true positives. ``persons``: rows features, columns attributes.
    ``words``: fraction of words by method. ``private``: NDCG of private EASE by ε, beside ``ease`` and
    ``popular``.
    """
    largest = max(private)
    lines = [
        "**A user's vector is the history.** The fraction of it that comes back is "
        f"{table.loc['float32', 'history recovered']:.2f} from float32, "
        f"{table.loc['int8', 'history recovered']:.2f} from int8 and "
        f"{table.loc['1 bit', 'history recovered']:.2f} from one bit; who sees no vector names "
        f"{table['without the vector'].mean():.2f}.",
        f"No release is better in all three respects than these: {', '.join(price.front(table))}.",
        "Who was in the training data is told with an area under the curve of "
        + _listed(f"{row['auc']:.2f} for {name}" for name, row in members.iterrows())
        + f"; at 0.1% false alarms {members['true positives'].max():.1%} of the members at most are found.",
        "Gender is guessed from a vector with an area of "
        f"{persons.loc['float32', 'gender']:.2f}, from a list of ten of "
        f"EASE with {persons.loc['list of EASE', 'gender']:.2f}; from one "
        f"bit {persons.loc['1 bit', 'gender']:.2f}.",
        f"A small inverter returns {words['inverter']:.0%} of the words of a "
        f"private text, its topic {words['topic']:.0%}, "
        f"the most frequent words {words['frequent']:.0%}.",
        f"Private EASE costs most where there are few users: at ε = {largest:g}, "
        "which is hardly a guarantee, NDCG@10 is "
        f"{private[largest]:.3f}; EASE has {ease:.3f}, popularity {popular:.3f}.",
    ]
    return bullets(lines)


def _listed(parts) -> str:
    words: Sequence[str] = list(parts)
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
