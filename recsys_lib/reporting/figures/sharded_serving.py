"""Figure, table and sentences of a catalogue searched in shards, priced by the cost model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from recsys_lib.cost import leads
from recsys_lib.cost.machines import Hardware
from recsys_lib.cost.scaling import Network
from recsys_lib.cost.sharded_search import Measured, ShardedService, plan
from recsys_lib.reporting import plots

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plans(
    sizes: Sequence[int], measured: Measured, service: ShardedService, machine: Hardware, network: Network
) -> pd.DataFrame:
    """A row a catalogue, by its items in millions: shards, machines, memory and times, dollars a month."""
    rows = {}
    for items in sizes:
        found = plan(items, measured, service, machine, network)
        rows[items / 1e6] = {
            "shards": found.shards,
            "groups": found.groups,
            "machines": found.machines,
            "GB a shard": found.shard_bytes / 1e9,
            "scan ms": 1000 * found.scan_s,
            "network ms": 1000 * found.network_s,
            "merge ms": 1000 * found.merge_s,
            "p99 of one ms": 1000 * found.one_p99_s,
            "p99 ms": 1000 * found.p99_s,
            "load": found.load,
            "USD a month": found.usd_per_month,
        }
    table = pd.DataFrame(rows).T.rename_axis("million items")
    return table.astype({"shards": int, "groups": int, "machines": int})


def shown(table: pd.DataFrame) -> pd.DataFrame:
    """The table with times in whole milliseconds where they are long, and dollars in two digits."""
    digits = {"GB a shard": 1, "scan ms": 0, "network ms": 1, "merge ms": 1, "p99 of one ms": 0, "p99 ms": 0,
              "load": 2, "USD a month": -1}  # fmt: skip
    return table.round(digits).rename(index=lambda items: f"{items:g}")


def waiting(ax: Axes, table: pd.DataFrame) -> None:
    """Where the 99th percentile of a search comes from, by size of the catalogue."""
    one = table["p99 of one ms"]
    between = table["network ms"] + table["merge ms"]
    slowest = table["p99 ms"] - one - between
    places = np.arange(len(table))
    bottom = np.zeros(len(table))
    parts = {"one shard": one, "the slowest of all": slowest, "network and merge": between}
    for colour, (name, part) in zip(plots.PALETTE, parts.items(), strict=False):
        ax.bar(places, part, bottom=bottom, color=colour, width=0.65, label=name)
        bottom = bottom + part.to_numpy()
    labels = [f"{m:g} million,\n{n} shards" for m, n in zip(table.index, table["shards"], strict=True)]
    ax.set_xticks(places, [text.replace("\n1 shards", "\n1 shard") for text in labels])
    ax.legend(loc="upper left")
    ax.set_ylim(0, 1.3 * float(table["p99 ms"].max()))
    last = table.iloc[-1]
    title = (
        f"{table.index[-1] / table.index[0]:g} times the items: the p99 grows from "
        f"{table['p99 ms'].iloc[0]:.0f} to {last['p99 ms']:.0f} ms, {slowest.iloc[-1]:.0f} of them for "
        f"waiting for the slowest of {last['shards']:.0f} shards"
    )
    plots.finish(ax, title, "", "p99 of a search, ms")


def dollars(ax: Axes, table: pd.DataFrame, service: ShardedService) -> None:
    """The bill by size of the catalogue, on logarithmic axes."""
    ax.loglog(table.index, table["USD a month"], marker="o", color=plots.PALETTE[0])
    for items, row in table.iterrows():
        ax.annotate(
            leads.dollars(row["USD a month"]), (float(items), row["USD a month"]), (-6, 6),
            textcoords="offset points", ha="right", fontsize=9,
        )  # fmt: skip
    last = table.iloc[-1]
    title = (
        f"{service.rate_per_s:g} searches a second over {table.index[-1]:g} million items cost "
        f"{leads.dollars(last['USD a month'])} a month, on {last['machines']:.0f} machines at a load of "
        f"{last['load']:.0%}"
    )
    ax.margins(x=0.18, y=0.15)
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.yaxis.set_major_formatter(lambda value, _: f"${value:,.0f}")
    plots.finish(ax, title, "million items", "US dollars a month")


def said(measured: Measured) -> str:
    """What was read from the records, in a sentence."""
    largest, queries = measured.scans.largest, max(measured.scans.measured)
    alone, many = (1000 * measured.scans.seconds(q, largest) for q in (1, queries))
    spread = np.percentile(measured.scatter, (50, 95, 100))
    return (
        f"recorded: a shard of {largest:,} items answers 1 query in {alone:.0f} ms, {queries} at once in "
        f"{many:.0f} ms; scans take {spread[1]:.2f} times their median in 1 of 20 cases, at most "
        f"{spread[2]:.1f} times"
    )
