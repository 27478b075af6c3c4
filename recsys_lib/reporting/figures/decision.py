"""Figures and tables of a decision: quality against cost, bills side by side, and what moves the verdict."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from recsys_lib.cost.decision import Choice, Scenario
from recsys_lib.cost.prices import TornadoRow
from recsys_lib.reporting import plots

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

COLOURS = dict(
    zip(("counting", "text", "both", "LLM"), (plots.PALETTE[i] for i in (0, 1, 2, 3)), strict=True)
)
MARKERS = {"counting": "o", "text": "s", "both": "D", "LLM": "^"}
WORDS = {
    "counting": "counts",
    "text": "reads texts",
    "both": "counts and reads",
    "LLM": "an LLM orders every list",
}


def quality_against(
    ax: Axes, choices: Sequence[Choice], cost_of: Callable[[Choice], float], target: str, front: Sequence[str]
) -> None:
    """Points of known quality with their Pareto front, logarithmic in cost; unknown ones hollow below zero,
    misfits faint.

    target: "seen" or "new", whose NDCG@10 is drawn. front: the names to join and to write out.
    """
    below = -0.045
    for choice in choices:
        value = getattr(choice, target).value
        ax.scatter(
            cost_of(choice), below if value is None else value, s=52, marker=MARKERS[choice.kind], zorder=3,
            facecolor="none" if value is None else COLOURS[choice.kind], edgecolor=COLOURS[choice.kind],
            alpha=0.3 if choice.problem else 1.0,
        )  # fmt: skip
    by = {c.name: c for c in choices}
    corners = [(cost_of(by[name]), getattr(by[name], target).value) for name in front]
    ax.set_xscale("log")
    ax.axhline(0, color=plots.GREY, linewidth=0.8)
    ax.set_ylim(-0.09, 0.52)
    low, high = ax.get_xlim()
    ax.set_xlim(low / 8, high * 1.3)  # room for names at the left
    ax.step([x for x, _ in corners] + [ax.get_xlim()[1]], [y for _, y in corners] + [corners[-1][1]],
        where="post",
            color=plots.GREY, linestyle="--", linewidth=1.2, zorder=2)  # fmt: skip
    for name, (x, y) in zip(front, corners, strict=True):
        # What is cheaper and better than a point of the front does not exist: up and left of it is room.
        ax.annotate(name, (x, y), (-7, 4), textcoords="offset points", fontsize=8, ha="right")
    ax.text(0.01, 0.02, "hollow: quality unknown", transform=ax.transAxes, fontsize=8, color="#555555")


def legend(kinds: Sequence[str] = tuple(COLOURS)) -> list:
    """Handles for a legend of the kinds of ways."""
    from matplotlib.lines import Line2D

    return [
        Line2D(
            [], [], linestyle="", marker=MARKERS[kind], color=COLOURS[kind], label=WORDS[kind], markersize=7
        )
        for kind in kinds
    ]


def bills(
    ax: Axes, choices: Sequence[Choice], case: Scenario, best: Choice | None, names: bool = True
) -> None:
    """Monthly bills as logarithmic bars in the order given, with both qualities beside each;
    what cannot serve is hatched.
    """
    place = range(len(choices))[::-1]
    values = [c.usd_per_month.value for c in choices]
    for y, choice, value in zip(place, choices, values, strict=True):
        able = choice.reaches(case.seen, case.new)
        ax.barh(
            y, value, height=0.7, color=COLOURS[choice.kind], alpha=1.0 if able else 0.35,
            hatch="////" if choice.problem else None, edgecolor="white", linewidth=0,
        )  # fmt: skip
        bold = "bold" if choice is best else "normal"
        ax.text(value * 1.15, y, f"${value:,.0f}", va="center", fontsize=8.5, fontweight=bold)
    ax.set_yticks(list(place), [_with_quality(c) for c in choices] if names else ["" for _ in choices])
    ax.set_xscale("log")
    ax.set_xlim(min(values) / 3, max(values) * 30)
    ax.grid(axis="y", visible=False)


def _with_quality(choice: Choice) -> str:
    known, new = ("?" if q.value is None else f"{q.value:.2f}".lstrip("0") for q in (choice.seen, choice.new))
    return f"{choice.name}   {known} / {new}"


def tornado(ax: Axes, rows: Sequence[TornadoRow], verdicts: Mapping[str, tuple[str, str]], base: str) -> None:
    """Bars from the base to the result at each end of every input, logarithmic; an end where the verdict
    changes is named.

    verdicts: the verdict's name at both ends of each input.
    """
    place = range(len(rows))[::-1]
    low, high = (
        f(min(r.at_low, r.at_high) if f is min else max(r.at_low, r.at_high) for r in rows)
        for f in (min, max)
    )
    for y, row in zip(place, rows, strict=True):
        ends = (row.at_low, row.low, plots.PALETTE[5]), (row.at_high, row.high, plots.PALETTE[3])
        for (value, end, colour), verdict in zip(ends, verdicts[row.name], strict=True):
            ax.barh(y, value - row.at_base, left=row.at_base, height=0.5, color=colour)
            side = 1 if value > row.at_base or (value == row.at_base and end == row.high) else -1
            text = f"{end:,.3g}" if end < 1000 else f"{end:,.0f}"
            text = text if verdict == base else f"{text}: {verdict}"
            ax.annotate(
                text, (value, y), (4 * side, 0), textcoords="offset points", va="center",
                ha="left" if side > 0 else "right", fontsize=7.5,
                fontweight="normal" if verdict == base else "bold",
            )  # fmt: skip
    ax.axvline(rows[0].at_base, color="#333333", linewidth=1)
    ax.set_xscale("log")
    # Room for what is written at the ends.
    room = max(2.0, (high / low) ** 0.45)
    ax.set_xlim(low / room, high * room)
    ax.set_yticks(list(place), [row.name.replace("_", " ") for row in rows])
    ax.grid(axis="y", visible=False)


def formatted(table: pd.DataFrame, formats: Mapping[str, str], missing: str = "unknown") -> pd.DataFrame:
    """The table with the numbers of the named columns written out (``{:,.2f}``), for display; nothing there
    reads ``missing``.

    pandas' own Styler draws a random id for every table, which no two runs share.
    """
    import pandas as pd

    written = {
        column: [missing if pd.isna(value) else form.format(value) for value in table[column]]
        for column, form in formats.items()
    }
    return table.assign(**written).fillna(missing)
