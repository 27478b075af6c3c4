"""Tables and figure of recommenders that write, from the record of the study of generation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from recsys_lib.reporting import plots

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COUNTED = ("invented per 100", "watched per 100", "repeated per 100", "core seconds per list")
PART_TITLES = {"titles": "titles by SmolLM2", "next item": "the next item"}


def parts(records: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """The metrics of the recorded parts, by name."""
    return {str(r["parameters"]["part"]): r["metrics"] for r in records}


def quality(metrics: Mapping[str, Any]) -> pd.DataFrame:
    """A row a method: NDCG@10, recall@10, and NDCG less that of EASE with its 95% interval; titles also have
    what of a hundred answers was no item, an item of the history or one written before.
    """
    table = pd.DataFrame(metrics["found"]).T[["ndcg", "recall", "less EASE", "low", "high"]]
    if "counts" in metrics:
        table = table.join(pd.DataFrame(metrics["counts"]).T[list(COUNTED)])
    return table


def beside_ease(axes: Sequence[Axes], found: Mapping[str, Mapping[str, Any]]) -> None:
    """One panel a part: NDCG less that of EASE with its 95% interval."""
    for ax, (part, metrics) in zip(axes, found.items(), strict=True):
        table = quality(metrics).drop(index="EASE")
        low, high = table["low"], table["high"]
        colours = np.select([high < 0, low > 0], [plots.PALETTE[3], plots.PALETTE[0]], plots.GREY)
        plots.intervals(ax, list(table.index), table["less EASE"], low, high, colours)
        ax.grid(axis="y", visible=False)
        ease = metrics["found"]["EASE"]["ndcg"]
        plots.finish(ax, f"{PART_TITLES[part]}: {_finding(table)}", f"NDCG@10 less EASE's {ease:.3f}")


def _finding(table: pd.DataFrame) -> str:
    better, worse = int((table["low"] > 0).sum()), int((table["high"] < 0).sum())
    return f"{better} better than EASE, {worse} worse"


def _tiger(metrics: Mapping[str, Any]) -> str:
    """TIGER beside EASE, and how long it was trained."""
    row = metrics["found"]["TIGER"]
    found = "below" if row["high"] < 0 else "above" if row["low"] > 0 else "not told from"
    return (
        f" TIGER, trained for {metrics['parameters']['TIGER']['epochs']} epochs, is {found} EASE "
        f"({row['less EASE']:+.3f}, interval {row['low']:+.3f} to {row['high']:+.3f})."
    )


def takeaways(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the record says, a sentence in Markdown each."""
    found = parts(records)
    lines = []
    if "titles" in found:
        written = quality(found["titles"]).dropna()
        free, held = (written[written.index.str.startswith(kind)] for kind in ("free", "trie"))
        ndcg = found["titles"]["found"]
        lines.append(
            f"**Written titles**: of a hundred, {free['invented per 100'].min():.0f} to "
            f"{free['invented per 100'].max():.0f} are no item when the model writes freely, "
            f"{held['invented per 100'].max():.0f} under the trie, whose lists reach an NDCG of "
            f"{held['ndcg'].max():.3f} at best; nearest neighbours of the history "
            f"{ndcg['neighbours']['ndcg']:.3f}, EASE {ndcg['EASE']['ndcg']:.3f}."
        )
    if "next item" in found:
        ndcg = {name: row["ndcg"] for name, row in found["next item"]["found"].items()}
        named = ", ".join(f"{name} {value:.3f}" for name, value in sorted(ndcg.items(), key=lambda p: -p[1]))
        lines.append(f"**Written ids** of the next item (NDCG@10): {named}.{_tiger(found['next item'])}")
    return lines
