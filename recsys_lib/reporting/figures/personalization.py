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


def panels(axes: Sequence[Axes], metrics: Mapping[str, Any], relative: bool = False) -> None:
    """Gains over popularity by group, one panel for each kind of groups, with 95% intervals; ``relative``:
    to popularity's own NDCG of the group.
    """
    names = ("relative", "relative low", "relative high") if relative else ("gain", "low", "high")
    for ax, (kind, own) in zip(axes, metrics["groups"].items(), strict=True):
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


def title(metrics: Mapping[str, Any]) -> str:
    """Where EASE's gain over popularity changes: the last group's less the first's."""
    return f"EASE's gain over popularity, last group less first: {', '.join(_changes(metrics, OVER_ALL))}"


def _changes(metrics: Mapping[str, Any], gain: str) -> list[str]:
    found = []
    for row in metrics["gains"]:
        if row["gain"] == gain:
            decided = row["Holm p"] < 0.05
            found.append(f"{row['groups']} {row['last less first']:+.2f}" if decided else
                         f"{row['groups']} not shown to differ")  # fmt: skip
    return found


def sentence(measured: Mapping[str, Mapping[str, Any]]) -> str:
    """The finding: where the gain changes, where it does among users of like history length, and whether
    text makes lists more personal.
    """
    said = []
    for name, metrics in measured.items():
        rows = [row for row in metrics["gains"] if row["gain"] == OVER_ALL]
        beyond = [row["groups"] for row in rows if (row.get(SAME_LENGTH) or 1.0) < 0.05]
        said.append(
            f"{SHORT.get(name, name)}: {', '.join(_changes(metrics, OVER_ALL))}; among users of like history "
            f"length it changes with {', '.join(beyond) or 'none of them'}; {_text(metrics)}"
        )
    begin = "**Personalization by group** (EASE's gain over popularity, last group less first)"
    return f"{begin}: {'. '.join(said)}."


def _text(metrics: Mapping[str, Any]) -> str:
    """Whether text changes what another's history costs, in NDCG and as a part of the own."""
    found = metrics["text and loss"]
    part = f"{found['part']:+.1%} of the own NDCG ({found['part low']:+.1%} to {found['part high']:+.1%})"
    texts = [row for row in metrics["gains"] if row["gain"] == "EASE + MiniLM over EASE"]
    changed = [row["groups"] for row in texts if row["Holm p"] < 0.05]
    gain = f"changes with {', '.join(changed)}" if changed else "is not shown to differ by group"
    return f"with MiniLM another's history costs {part} more, and MiniLM's own gain {gain}"
