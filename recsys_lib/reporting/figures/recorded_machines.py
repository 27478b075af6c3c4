"""The figures of the records: every recorded machine in one picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from recsys_lib.benchmarks.workloads import points
from recsys_lib.hardware import machine
from recsys_lib.reporting import plots

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

STYLES = ("-", "--", "-.", ":")


def ladder(ax: Axes, found: dict[str, machine.Ceilings]) -> None:
    """GB/s read against the bytes of the sample, one line a machine."""
    for i, (name, c) in enumerate(found.items()):
        sizes = sorted(c.read_by_size)
        rates = [c.read_by_size[s] / 1e9 for s in sizes]
        ax.plot(
            [s / 2**20 for s in sizes], rates, color=plots.PALETTE[i], marker=plots.MARKERS[i], label=name
        )
    ax.set_xscale("log", base=2)
    ax.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
    ax.set_ylim(0)
    ax.legend()


def roofline(ax: Axes, rows: list[dict[str, Any]], found: dict[str, machine.Ceilings]) -> None:
    """Points under their ceilings: a roof per precision and machine, a colour per precision,
    a marker per work.
    """
    colours = dict(zip(("float32", "bfloat16", "int8", "float16", "binary"), plots.PALETTE, strict=False))
    marks = dict(zip(dict.fromkeys(p["workload"] for p in rows), plots.MARKERS, strict=False))
    x = np.logspace(-1, 4, 200)
    for style, c in zip(STYLES, found.values(), strict=False):
        for precision, peak in c.operations_per_s.items():
            ax.plot(
                x,
                np.minimum(peak, x * c.read_bytes_per_s) / 1e9,
                color=colours[precision],
                linestyle=style,
                linewidth=1.2,
            )
    for point in rows:
        speed = point["operations"] / point["measurement"]["p50"] / 1e9
        ax.scatter(
            points.intensity(point), speed, color=colours[point["precision"]],
            marker=marks[point["workload"]], s=38,
            edgecolor="white", linewidth=0.6, zorder=3,
        )  # fmt: skip
    used = [p for p in colours if any(row["precision"] == p for row in rows)]
    handles = [ax.plot([], [], color=colours[p], label=p)[0] for p in used]
    handles += [
        ax.plot([], [], color=plots.GREY, marker=m, linestyle="none", label=work)[0]
        for work, m in marks.items()
    ]
    if len(found) > 1:
        handles += [
            ax.plot([], [], color=plots.GREY, linestyle=s, label=n)[0]
            for s, n in zip(STYLES, found, strict=False)
        ]
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.legend(handles=handles, loc="center left", bbox_to_anchor=(1.0, 0.5))


def stacked(ax: Axes, table: pd.DataFrame, unit: str = "ms", share: bool = False) -> None:
    """Horizontal bars of the columns' values, end to end, one bar a row, first row on top;
    ``share``: of the row's sum.
    """
    place = np.arange(len(table))[::-1]
    values = table.fillna(0.0).to_numpy(dtype=float)
    whole = values.sum(axis=1)
    shown = values / whole[:, None] if share else values
    left = np.zeros(len(table))
    for i, column in enumerate(table.columns):
        ax.barh(
            place,
            shown[:, i],
            left=left,
            color=plots.PALETTE[i % len(plots.PALETTE)],
            height=0.66,
            label=str(column),
        )
        left += shown[:, i]
    for y, end, total in zip(place, left, whole, strict=True):
        ax.text(
            end + 0.01 * left.max(),
            y,
            f"{total:,.0f} {unit}" if total >= 100 else f"{total:.3g} {unit}",
            va="center",
            fontsize=9,
        )
    ax.set_yticks(place, [label if isinstance(label, str) else label[-1] for label in table.index])
    ax.set_xlim(0, 1.18 * left.max())
    ax.grid(axis="y", visible=False)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.26), ncols=min(5, len(table.columns)))


def scaling(axes: np.ndarray, panels: dict[str, list[dict[str, Any]]]) -> None:
    """One panel a group of series: ms against size, both logarithmic,
    with the expected growth dashed through the largest size.
    """
    for ax, group in zip(axes, panels.values(), strict=True):
        for i, r in enumerate(group):
            x = np.asarray(r["sizes"], dtype=float)
            y = np.array([1e3 * m["p50"] for m in r["measurements"]])
            expected = np.asarray(r["expected"]) * (y[-1] / r["expected"][-1])
            ax.plot(x, y, color=plots.PALETTE[i], marker=plots.MARKERS[i], label=r["workload"])
            ax.plot(x, expected, color=plots.PALETTE[i], linestyle="--", linewidth=1)
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.yaxis.set_minor_formatter(lambda y, _: "")
        ax.legend()
