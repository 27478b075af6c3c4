"""Figure, table and sentences of gains by group of users: does personalization change with whom it serves?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys_lib.evaluation import p_text
from recsys_lib.experiments.catalogues.protocol import SHORT
from recsys_lib.reporting import plots

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

# The gain that personalization means: over the same list for everybody.
OVER_ALL = "EASE over popularity"
SHOWN = (OVER_ALL, "EASE + MiniLM over popularity")
SAME_LENGTH = "Holm p, same length"


def panels(axes: Sequence[Axes], metrics: Mapping[str, Any], kinds: Sequence[str]) -> None:
    """Gains over popularity by group, one panel for each kind of groups, with 95% intervals."""
    names = ("gain", "low", "high")
    for ax, kind in zip(axes, kinds, strict=True):
        own = metrics["groups"][kind]
        rows = {row["gain"]: row for row in metrics["gains"] if row["groups"] == kind}
        for i, gain in enumerate(SHOWN):
            place = np.arange(len(own)) + 0.2 * (i - 0.5)
            values, low, high = (np.array([one[name] for one in rows[gain]["mean"]]) for name in names)
            ax.hlines(place, low, high, color=plots.PALETTE[i])
            ax.scatter(
                values, place, color=plots.PALETTE[i], s=22, marker=plots.MARKERS[i], label=gain, zorder=3
            )
        ax.set_yticks(range(len(own)), [f"{label} ({one['users']})" for label, one in own.items()])
        ax.invert_yaxis()
        ax.set_xlim(left=0)
    axes[0].legend(loc="best", fontsize=8)


def table(measured: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """By catalogue, gain and kind of groups: the last group's gain less the first's with its interval, and
    Holm's p of the hypothesis that the gain is the same in all groups, also among users of like history
    length.
    """
    import pandas as pd

    rows = [
        {"catalogue": SHORT.get(name, name), "gain": row["gain"], "groups": row["groups"]}
        | {key: row[key] for key in ("last less first", "low", "high")}
        | {key: p_text(row[key]) if row.get(key) is not None else "" for key in ("Holm p", SAME_LENGTH)}
        for name, metrics in measured.items()
        for row in metrics["gains"]
    ]
    return (
        pd.DataFrame(rows)
        .set_index(["catalogue", "gain", "groups"])
        .sort_index(level=[0, 1], sort_remaining=False)
    )


def differences(metrics: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """By kind of groups EASE's gain over popularity, last group less first, with its interval and Holm's p,
    as a notebook records it.
    """
    kept = {"last less first": "difference", "low": "low", "high": "high", "Holm p": "p"}
    return {
        row["groups"]: {name: row[key] for key, name in kept.items()}
        for row in metrics["gains"]
        if row["gain"] == OVER_ALL
    }


def title(metrics: Mapping[str, Any]) -> str:
    """Where EASE's gain over popularity changes: the last group's less the first's."""
    changed, same = _changes(metrics)
    said = f"EASE's gain over popularity changes with {_list(changed)} (last group less first)"
    return said + (f",\nand is not shown to with {_list(same)}" if same else "")


def _list(names: Sequence[str]) -> str:
    return " and ".join(names) or "none of these"


def _changes(metrics: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Kinds of groups with which the gain changes, each with the difference, and the others."""
    changed, same = [], []
    for row in metrics["gains"]:
        if row["gain"] == OVER_ALL and row["Holm p"] < 0.05:
            one_way = row["low"] * row["high"] > 0
            changed.append(
                f"{row['groups']} " + (f"{row['last less first']:+.2f}" if one_way else "up and down")
            )
        elif row["gain"] == OVER_ALL:
            same.append(row["groups"])
    return changed, same


def sentence(measured: Mapping[str, Mapping[str, Any]]) -> str:
    """The finding: with what the gain changes, also among users of like history length, and whether text
    makes lists more personal.
    """
    said = []
    for name, metrics in measured.items():
        rows = [row for row in metrics["gains"] if row["gain"] == OVER_ALL]
        beyond = [row["groups"] for row in rows if (row.get(SAME_LENGTH) or 1.0) < 0.05]
        changed, same = _changes(metrics)
        unseen = f", not shown to with {_list(same)}" if same else ""
        said.append(
            f"On {SHORT.get(name, name)} it changes with {_list(changed)}{unseen}; among users of like "
            f"history length with {_list(beyond)}; {_relative(rows)}; {_text(metrics)}"
        )
    begin = "**Personalization by group**: EASE's gain over popularity, last group less first."
    return f"{begin} {'. '.join(said)}."


def _relative(rows: Sequence[Mapping[str, Any]]) -> str:
    """The gain relative to popularity's NDCG, of the shortest and of the longest histories."""
    first, *_, last = next(row["mean"] for row in rows if row["groups"] == "history length")
    return (
        f"relative to popularity's NDCG it is {first['relative']:+.0%} for the shortest histories and "
        f"{last['relative']:+.0%} for the longest"
    )


def _text(metrics: Mapping[str, Any]) -> str:
    """Whether text changes what another's history costs, in NDCG and as a part of the own."""
    found = metrics["text and loss"]
    part = f"{found['part']:+.1%} of the own NDCG ({found['part low']:+.1%} to {found['part high']:+.1%})"
    texts = [row for row in metrics["gains"] if row["gain"] == "EASE + MiniLM over EASE"]
    changed = [row["groups"] for row in texts if row["Holm p"] < 0.05]
    gain = f"changes with {', '.join(changed)}" if changed else "is not shown to differ by group"
    return f"with MiniLM another's history costs {part} more; MiniLM's gain over EASE {gain}"
