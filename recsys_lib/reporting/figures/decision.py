"""Figures and tables of a decision: the map, quality against dollars, what moves the choice, and forecasts
against measurements.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys_lib.cost.choose import Decision, RankedOption
from recsys_lib.cost.decision_map import DecisionMap, TornadoRow, pareto
from recsys_lib.cost.deployments import Deployment
from recsys_lib.cost.services import Service
from recsys_lib.cost.units import two_digits
from recsys_lib.cost.validation import Check
from recsys_lib.reporting import plots
from recsys_lib.reporting.decision_text import TORNADO_ROWS

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

KINDS = ("collaborative", "text", "both", "rerank")
COLOURS = dict(zip(KINDS, plots.PALETTE[:4], strict=True))
MARKERS = dict(zip(KINDS, plots.MARKERS[:4], strict=True))
WORDS = {
    "collaborative": "interactions only",
    "text": "text only",
    "both": "interactions and text",
    "rerank": "a model reranks",
}
# Names of points, in the units of the axes: decades of dollars and NDCG.
LABEL_GAP, LABEL_DECADES, LABEL_HEIGHT = 0.04, 0.0195, 0.024


def map_of(ax: Axes, found: DecisionMap) -> None:
    """The decision map: colour the best option, the fuller the surer."""
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    x, y, names = np.log10(found.cold_shares), np.log10(found.usd_per_point), found.winners
    place = np.full(found.best.shape, np.nan)
    for i, name in enumerate(names):
        place[found.best == found.names.index(name)] = i
    colours = [plots.PALETTE[i % len(plots.PALETTE)] for i in range(len(names))]
    # Pale where it is the best with a probability under a half, full from 0.9 on.
    strength = np.select([found.probability < 0.5, found.probability < 0.9], [0.35, 0.65], 1.0)
    options: dict[str, Any] = {
        "alpha": strength,
        "shading": "nearest",
        "vmin": -0.5,
        "vmax": len(names) - 0.5,
    }
    ax.pcolormesh(x, y, place, cmap=ListedColormap(colours), **options)
    handles = [Patch(color=colour, label=name) for colour, name in zip(colours, names, strict=True)]
    ax.legend(handles=handles, loc="upper left", bbox_to_anchor=(-0.12, -0.18), ncols=2)
    _map_axes(ax, x, y)


def regret_of(ax: Axes, found: DecisionMap) -> None:
    """Dollars per million lists that the second best loses, logarithmic."""
    x, y = np.log10(found.cold_shares), np.log10(found.usd_per_point)
    lost = np.log10(np.maximum(found.regret, 1e-3))
    image = ax.pcolormesh(x, y, lost, cmap="cividis", shading="nearest")
    bar = ax.figure.colorbar(image, ax=ax, shrink=0.9)
    ticks = list(range(-3, int(np.ceil(lost.max())) + 1))
    bar.set_ticks(ticks, labels=[_dollars(10.0**t) for t in ticks])
    _map_axes(ax, x, y)


def _map_axes(ax: Axes, x: np.ndarray, y: np.ndarray) -> None:
    exponents = range(int(np.ceil(y[0])), int(np.floor(y[-1])) + 1)
    ax.set_yticks(list(exponents), [_dollars(10.0**e) for e in exponents])
    ax.set_xticks([-3, -2, -1, 0], ["0.1%", "1%", "10%", "100%"])
    ax.set_xlim(x[0], x[-1])
    ax.grid(visible=False)


def _dollars(value: float) -> str:
    """An amount as a tick.

    >>> _dollars(0.01), _dollars(1000.0), _dollars(-10.0)
    ('$0.01', '$1,000', '-$10')
    """
    return f"{'-' if value < 0 else ''}${abs(value):,.10g}"


def quality_against_dollars(ax: Axes, ranked: Sequence[RankedOption], shown: Sequence[str]) -> None:
    """A dot for every option that can serve and was measured, dollars logarithmic; the Pareto front joined;
    names of ``shown``.
    """
    able = [o for o in ranked if o.quality is not None and not o.problem]
    for option in able:
        kind = option.deployment.kind
        ax.scatter(
            option.usd_per_month,
            option.quality or 0.0,
            s=60,
            marker=MARKERS[kind],
            color=COLOURS[kind],
            zorder=3,
        )
    front = pareto({o.name: (o.usd_per_month, o.quality or 0.0) for o in able})
    corners = [(o.usd_per_month, o.quality) for name in front for o in able if o.name == name]
    ax.step(
        *zip(*corners, strict=True), where="post", color=plots.GREY, linestyle="--", linewidth=1.2, zorder=2
    )
    ax.set_xscale("log")
    low, high = ax.get_xlim()
    ax.set_xlim(low / 1.2, high * 3)
    points = [(float(np.log10(o.usd_per_month)), o.quality or 0.0) for o in able]
    taken: list[tuple[float, float]] = []
    for option in sorted((o for o in able if o.name in shown), key=lambda o: -(o.quality or 0.0)):
        x, y = float(np.log10(option.usd_per_month)), option.quality or 0.0
        place = _free_height(x, y, len(option.name), points, taken)
        taken.append((x, place))
        ax.annotate(
            option.name,
            (option.usd_per_month, y),
            xytext=(option.usd_per_month * 10**LABEL_GAP, place),
            fontsize=8.5,
            va="center",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6},
            arrowprops={
                "arrowstyle": "-",
                "color": plots.GREY,
                "linewidth": 0.6,
                "relpos": (0, 0.5),
                "shrinkB": 3,
            },
        )
    ax.set_ylim(bottom=0)
    dollars_axis(ax)
    ax.legend(handles=legend({o.deployment.kind for o in able}), loc="lower right")


def _free_height(
    x: float, y: float, characters: int, points: list[tuple[float, float]], taken: list[tuple[float, float]]
) -> float:
    """The highest place at or below ``y`` for a name right of ``x`` that covers no point and no other name;
    ``x`` in decades of dollars.
    """
    end = x + LABEL_GAP + LABEL_DECADES * characters
    while any(x + LABEL_GAP / 2 < px < end and abs(py - y) < LABEL_HEIGHT for px, py in points) or any(
        abs(tx - x) < 0.5 and abs(ty - y) < LABEL_HEIGHT for tx, ty in taken
    ):
        y -= LABEL_HEIGHT / 4
    return y


def dollars_axis(ax: Axes) -> None:
    """Dollars as ticks of a logarithmic x axis, without exponents."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _dollars(value)))
    ax.xaxis.set_minor_formatter(NullFormatter())


def legend(kinds: Sequence[str] | set[str] = KINDS) -> list:
    """Handles for a legend of the kinds of options that are drawn."""
    from matplotlib.lines import Line2D

    return [
        Line2D(
            [], [], linestyle="", marker=MARKERS[kind], color=COLOURS[kind], label=WORDS[kind], markersize=7
        )
        for kind in KINDS
        if kind in kinds
    ]


def dots_of_services(ax: Axes, placed: Mapping[str, Sequence[Deployment]], shown: Sequence[str]) -> None:
    """Dollars per million lists, a row of dots for each option and a colour for each service.

    Hollow: no plan keeps the service's limits. An arrow to the right: the price is the least it could be.
    """
    rows = {name: y for y, name in enumerate(shown)}
    for i, (service, deployments) in enumerate(placed.items()):
        for one in deployments:
            if one.name not in rows:
                continue
            y, colour = rows[one.name] + 0.18 * (i - 1), plots.PALETTE[i]
            ax.scatter(
                one.usd_per_million,
                y,
                s=48,
                marker=plots.MARKERS[i],
                edgecolor=colour,
                zorder=3,
                facecolor="white" if one.problem else colour,
            )
            if one.basis == "bound":
                ax.annotate(
                    "",
                    (one.usd_per_million * 1.8, y),
                    (one.usd_per_million, y),
                    arrowprops={"arrowstyle": "->", "color": colour},
                )
        ax.scatter([], [], marker=plots.MARKERS[i], color=plots.PALETTE[i], label=service)
    ax.scatter([], [], marker="o", facecolor="white", edgecolor="#555555", label="breaks the latency limit")
    ax.set_yticks(list(rows.values()), list(rows))
    ax.invert_yaxis()
    ax.set_xscale("log")
    dollars_axis(ax)
    ax.legend(loc="lower left", bbox_to_anchor=(0, -0.32), ncols=4)


def tornado(ax: Axes, rows: Sequence[TornadoRow]) -> None:
    """The lead of the best option at both ends of the inputs that move it most (circle: low, square: high);
    left of zero another leads and is named at the right.
    """
    from matplotlib.ticker import FuncFormatter

    rows = list(rows)[:TORNADO_ROWS]
    for y, row in enumerate(rows):
        ax.plot([row.at_low, row.at_high], [y, y], color=plots.GREY, linewidth=1.5, zorder=2)
        ax.scatter(row.at_low, y, s=45, color=plots.PALETTE[5], marker="o", zorder=3)
        ax.scatter(row.at_high, y, s=45, color=plots.PALETTE[3], marker="s", zorder=3)
        then = row.then_low if row.at_low < row.at_high else row.then_high
        if row.flips:
            place: dict[str, Any] = {
                "xytext": (8, -3),
                "textcoords": ("offset points", "offset points"),
                "fontsize": 8.5,
            }
            ax.annotate(then, (1.0, y), xycoords=("axes fraction", "data"), **place)
    ax.scatter([], [], s=45, color=plots.PALETTE[5], marker="o", label="low end of the input")
    ax.scatter([], [], s=45, color=plots.PALETTE[3], marker="s", label="high end of the input")
    ax.legend(loc="upper left", bbox_to_anchor=(0, -0.16), ncols=2)
    ax.axvline(rows[0].at_base, color="#333333", linewidth=1)
    ax.axvline(0, color=plots.PALETTE[3], linewidth=1, linestyle="--")
    linear = max(0.1, abs(rows[0].at_base))
    ax.set_xscale("symlog", linthresh=linear)
    # Around zero the scale is linear, and decades would be written over each other.
    ax.set_xticks([tick for tick in ax.get_xticks() if tick == 0 or abs(tick) >= linear])
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _dollars(value)))
    ax.set_yticks(range(len(rows)), [_input(row) for row in rows])
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.grid(axis="y", visible=False)


def _input(row: TornadoRow) -> str:
    """An input with the factors at its ends."""
    if row.name == "quality":
        return "quality, 95% of samples"
    return f"{row.name.replace('_', ' ')} ×{row.low:.2g} to ×{row.high:.2g}"


def forecasts(ax: Axes, groups: Mapping[str, Sequence[Check]]) -> None:
    """Ratio of forecast to measurement, a row of dots for each group; the band holds what is off by no more
    than a factor of two.
    """
    ax.axvspan(0.5, 2.0, color="#EDEDED", zorder=0)
    ax.axvline(1.0, color="#333333", linewidth=1)
    rng = np.random.default_rng(0)
    for y, checks in enumerate(groups.values()):
        spread = rng.uniform(-0.22, 0.22, len(checks))
        ax.scatter(
            [c.ratio for c in checks],
            y + spread,
            s=36,
            color=plots.PALETTE[y],
            marker=plots.MARKERS[y],
            zorder=3,
        )
    ax.set_yticks(range(len(groups)), list(groups))
    ax.set_ylim(len(groups) - 0.5, -0.5)
    ax.set_xscale("log")
    least = min(c.ratio for checks in groups.values() for c in checks)
    ticks = [t for t in (0.01, 0.03, 0.1) if t > least / 2] + [0.25, 0.5, 1, 2, 4]
    ax.set_xticks(ticks, [f"{t:g}" for t in ticks])
    ax.minorticks_off()
    ax.grid(axis="y", visible=False)


# ---------------------------------------------------------------- tables


def options_table(decision: Decision) -> pd.DataFrame:
    """Every option from best to worst: qualities, dollars with two digits, what the best leads it by with its
    interval, latency, machines, what stops it and what it would need.
    """
    import pandas as pd

    return pd.DataFrame(
        {
            o.name: {
                "warm": _quality(o.warm),
                "cold": _quality(o.cold),
                "USD/month": o.usd_text.replace("$", "") + (", breaks the limit" if o.problem else ""),
                "USD/million lists": ("≥ " if o.is_bound else "") + two_digits(o.usd_per_million),
                "the best leads by, USD/month": _lead(decision, o.name),
                "best with": f"{o.probability:.0%}",
                "p99, s": float(f"{o.p99_s:.2g}"),
                "machines": " + ".join(f"{f.machines} {f.machine.name}" for f in o.deployment.fleets),
                "a refit": _refit(o.deployment),
                "stopped by": o.problem or "",
                "would need": o.nearest if o.problem else "",
            }
            for o in decision.ranked
        }
    ).T


def _refit(deployment: Deployment) -> str:
    """Hours and machines of one fit; its memory, not its time, may need more than one."""
    if not deployment.refit_s:
        return ""
    hours = deployment.refit_s / deployment.refit_machines / 3600
    return f"{two_digits(hours)} h, {deployment.refit_machines} {deployment.refit_machine.name}"


def _lead(decision: Decision, name: str) -> str:
    by = decision.leads.get(name)
    return by.cell if by else ""


def one_list_table(lists: Mapping[str, tuple[float, float]], cases: Mapping[str, Service]) -> pd.DataFrame:
    """NDCG@10 of warm and of cold items by kind of list, and over all requests of each service."""
    import pandas as pd

    rows = {
        name: {"warm": warm, "cold": cold}
        | {s: (1 - case.cold_share) * warm + case.cold_share * cold for s, case in cases.items()}
        for name, (warm, cold) in lists.items()
    }
    return pd.DataFrame(rows).T


def _quality(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.3f}"


def checks_table(checks: Sequence[Check]) -> pd.DataFrame:
    """Forecast and measurement of every check with their ratio."""
    import pandas as pd

    return pd.DataFrame(
        {
            c.name: {
                "forecast": two_digits(c.forecast),
                "measured": two_digits(c.measured),
                "unit": c.unit,
                "ratio": f"{c.ratio:.2f}",
            }
            for c in checks
        }
    ).T
