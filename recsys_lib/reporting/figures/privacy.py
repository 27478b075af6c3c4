"""Figures and findings of privacy: what each defence hides, at what quality and in how many bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from recsys_lib.reporting import plots
from recsys_lib.reporting.takeaways_00_to_03 import bullets
from recsys_lib.trust.privacy import price

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
    kinds = list(dict.fromkeys(family(str(name)) for name in table.index))
    for kind, colour in zip(kinds, plots.PALETTE, strict=False):
        rows = table[[family(str(name)) == kind for name in table.index]]
        area = 8 * np.log10(rows["bytes"].astype(float)) ** 2
        ax.scatter(
            100 * rows["history recovered"],
            rows["ndcg"],
            s=area,
            color=colour,
            alpha=0.7,
            label=kind,
            zorder=3,
        )
    _label(ax, table)
    blind = 100 * float(table["without the vector"].mean())
    ax.axvline(blind, color=plots.GREY, linestyle="--", linewidth=1)
    ax.set_xlim(0, 125)
    ax.set_ylim(0, 1.15 * float(table["ndcg"].max()))
    ax.text(blind + 1, 0.004, "without the vector", fontsize=8, color="#555555")
    for handle in ax.legend(loc="lower right", fontsize=8).legend_handles:
        if handle is not None and hasattr(handle, "set_sizes"):
            handle.set_sizes([40])
    plots.finish(ax, title, "history that the attack recovers, %", "NDCG@10 (area: logarithm of bytes sent)")


def _label(ax: Axes, table: pd.DataFrame) -> None:
    """Names beside the points: those of one place together, and none over another."""
    heights = 0.033 * 1.15 * float(table["ndcg"].max())
    groups: dict[tuple[int, int], list[tuple[str, float, float]]] = {}
    for name, row in table.iterrows():
        key = (round(float(row["history recovered"]) / 0.02), round(float(row["ndcg"]) / 0.004))
        groups.setdefault(key, []).append((str(name), 100 * row["history recovered"], row["ndcg"]))
    taken: list[tuple[float, float, float]] = []
    for places in sorted(groups.values(), key=lambda g: -g[0][2]):
        text = ", ".join(name for name, _, _ in places)
        x, y, width = places[0][1] + 2.2, float(places[0][2]), 0.95 * len(text)
        while any(abs(y - other) < heights and x < end and x + width > start for other, start, end in taken):
            y -= heights / 4
        taken.append((y, x, x + width))
        ax.text(x, y, text, fontsize=7.5, va="center")


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


def takeaways(
    table: pd.DataFrame,
    members: pd.DataFrame,
    persons: pd.DataFrame,
    words: Mapping[str, float],
    private: Mapping[float, float],
    ease: float,
    popular: float,
    of_map: Mapping[float, float],
    tokens: pd.DataFrame,
) -> str:
    """What the run found, in Markdown, from its own numbers.

    ``members``: rows models, columns auc and true positives. ``persons``: rows features, columns attributes.
    ``words``: fraction of words by method. ``private``: NDCG of private EASE by ε, beside ``ease`` and
    ``popular``. ``of_map``: NDCG of the federated map by ε. ``tokens``: what updates of an encoder give away.
    """
    largest, shared = max(private), [e for e in sorted(private) if e in of_map]
    lines = [
        "**A user's vector is the history.** The fraction of it that comes back is "
        f"{table.loc['float32', 'history recovered']:.2f} from float32, "
        f"{table.loc['int8', 'history recovered']:.2f} from int8 and "
        f"{table.loc['1 bit', 'history recovered']:.2f} from one bit; who sees no vector names "
        f"{table['without the vector'].mean():.2f}.",
        f"No release is better in all three respects than these: {', '.join(price.front(table))}.",
        "**An update is the history too.** From what a device sends in one round of federated training "
        f"{table.loc['update', 'history recovered']:.0%} of its history comes back, from one bit a number "
        f"{table.loc['update, 1 bit', 'history recovered']:.0%}; the update of a whole encoder names "
        f"{tokens['words recovered'].iloc[0]:.0%} of the words and "
        f"{tokens['history recovered'].iloc[0]:.0%} of the items. Sums of 20 devices, "
        "or noise on the sum of all, leave what popularity tells anyway.",
        "At equal guarantees a private map of text has NDCG@10 "
        + _listed(f"{of_map[e]:.3f} at ε = {e:g} (private EASE {private[e]:.3f})" for e in shared)
        + f", without noise {of_map[np.inf]:.3f}: with fewer numbers to hide, it leads where noise is large.",
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
