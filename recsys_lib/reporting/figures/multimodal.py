"""Tables, figures and findings of the study of kinds of knowledge about items, from its record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from recsys_lib.reporting import plots

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ADDED, SHUFFLED = " added to the rest", " against shuffled"
COLUMNS = ["NDCG gained", "low", "high", "Holm p", "answer"]
ABOUT_LINKS = ("graph without awards, added to the rest", "graph as distributed, added to the rest")
BESIDE_TITLE = ("image added to the title", "image against shuffled, beside the title")


def parts(records: Sequence[Mapping[str, Any]], start: str = "") -> dict[str, Mapping[str, Any]]:
    """The metrics of the recorded parts whose names begin with ``start``, by the rest of the name."""
    found = {str(r["parameters"]["part"]): r["metrics"] for r in records}
    return {name.removeprefix(start): m for name, m in found.items() if name.startswith(start)}


def quality(found: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """NDCG of every condition or method, a column for each catalogue."""
    return pd.DataFrame({name: metrics["ndcg"] for name, metrics in found.items()})


def link_prediction(records: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """The recorded ranks of true triples by method; empty if that part is not recorded."""
    recorded = parts(records).get("graph", {"found": {}})
    return pd.DataFrame(recorded["found"]).T


def answers(metrics: Mapping[str, Any]) -> pd.DataFrame:
    """The questions of a part with the difference, its interval and the answer."""
    return pd.DataFrame(metrics["answers"]).set_index("name")[COLUMNS]


def kinds(table: pd.DataFrame) -> pd.DataFrame:
    """A row for each kind: what it adds to the rest, what it has over its shuffled self, and whether both are
    decided for it.
    """
    rows = {}
    for question in table.index[table.index.str.endswith(ADDED)]:
        kind = question.removesuffix(ADDED)
        if kind + SHUFFLED not in table.index:  # a control, not a kind
            continue
        added, null = table.loc[question], table.loc[kind + SHUFFLED]
        rows[kind] = {
            "added": added["NDCG gained"], "low": added["low"], "high": added["high"],
            "over shuffled": null["NDCG gained"], "null low": null["low"], "null high": null["high"],
            "adds": added["answer"] == "better" and null["answer"] == "better",
        }  # fmt: skip
    return pd.DataFrame(rows).T


def knockout(found: Mapping[str, Mapping[str, Any]]) -> Figure:
    """What each kind adds for cold items, a panel for each catalogue: NDCG with it less without it, and less
    with it shuffled, with 95% intervals.
    """
    tables = {name: kinds(answers(metrics)) for name, metrics in found.items()}
    fig, axes = plots.figure(len(tables), width=4.7 * len(tables), height=3.9)
    for ax, (name, table) in zip(axes, tables.items(), strict=True):
        place = np.arange(len(table))
        for i, (label, columns) in enumerate(
            {
                "less without it": ("added", "low", "high"),
                "less it shuffled": ("over shuffled", "null low", "null high"),
            }.items()
        ):
            middle, low, high = (table[c].astype(float) for c in columns)
            at = place + 0.16 * (2 * i - 1)
            ax.hlines(at, low, high, color=plots.PALETTE[i], linewidth=2)
            ax.scatter(
                middle, at, color=plots.PALETTE[i], marker=plots.MARKERS[i], s=40, label=label, zorder=3
            )
        ax.axvline(0, color=plots.GREY, linewidth=1)
        ax.set_yticks(place, list(table.index))
        ax.invert_yaxis()
        title = f"{name}: {finding(table)}{_largest(table)}"
        plots.finish(ax, title, "NDCG@10 of all kinds, less ... (95%)")
    axes[0].legend(loc="best", fontsize=8)
    plots.save(fig, "14_knockout")
    return fig


def finding(table: pd.DataFrame) -> str:
    """Which kinds add something, in words.

    >>> finding(pd.DataFrame({"adds": [True, False]}, index=["text", "graph"]))
    'text adds, graph is not shown to'
    """
    yes = [str(k) for k in table.index[table["adds"].astype(bool)]]
    no = [str(k) for k in table.index if k not in yes]
    adds = f"{_listed(yes)} {'adds' if len(yes) == 1 else 'add'}" if yes else ""
    if not yes:
        return "no kind is shown to add to the rest"
    return adds + (f", {_listed(no)} {'is' if len(no) == 1 else 'are'} not shown to" if no else "")


def _largest(table: pd.DataFrame) -> str:
    """Which of the kinds that add does most, and how much."""
    adding = table[table["adds"].astype(bool)]["added"].astype(float)
    return f" ({adding.idxmax()} most: {adding.max():.3f})" if len(adding) else ""


def _said(row: pd.Series) -> str:
    return f"{row['NDCG gained']:+.3f} ({row['low']:+.3f} to {row['high']:+.3f}), {row['answer']}"


def _lost(found: Mapping[str, Mapping[str, Any]]) -> float:
    """The most that NDCG fell by a kind that could have been declined."""
    added = [float(value) for m in found.values() for value in kinds(answers(m))["added"]]
    return max(0.0, -min(added))


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def beside_title(found: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """Does the picture add to the title? A row for each catalogue that has pictures, and question."""
    tables = {}
    for name, metrics in found.items():
        table = answers(metrics)
        asked = [q for q in BESIDE_TITLE if q in table.index]
        if asked:
            tables[name] = table.loc[asked]
    return pd.concat(tables, names=["catalogue", "question"]) if tables else pd.DataFrame(columns=COLUMNS)


def fusion_methods(metrics: Mapping[str, Any]) -> Figure:
    """Methods to join the kinds: NDCG less that of the text alone, best first."""
    table = answers(metrics).sort_values("NDCG gained", ascending=False)
    base = str(table.index[0]).partition(" against ")[2]
    labels = [str(q).removesuffix(f" against {base}") for q in table.index]
    fig, (ax,) = plots.figure(width=7.5, height=1.4 + 0.36 * len(table))
    worse, better = table["high"] < 0, table["answer"] == "better"
    colours = np.where(worse, plots.PALETTE[3], np.where(better, plots.PALETTE[0], plots.GREY))
    plots.intervals(ax, labels, table["NDCG gained"].tolist(), table["low"], table["high"], colours)
    best, n = labels[0], int(better.sum())
    title = f"{n} of {len(table)} methods to join kinds rank better than the {base}; best: {best}"
    plots.finish(ax, title, f"NDCG@10 among cold films, less {metrics['ndcg'][base]:.3f} of the {base}")
    plots.save(fig, "14_methods")
    return fig


def costs(measured: Mapping[str, Any], cold: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """What each kind costs for an item, and for 0.01 of the NDCG that it adds to the rest in the catalogue
    where it adds most; a kind that adds nothing has no such price.
    """
    gains: dict[str, tuple[float, str]] = {}
    for name, metrics in cold.items():
        for kind, row in kinds(answers(metrics)).iterrows():
            if row["adds"] and float(row["added"]) > gains.get(str(kind), (0.0, ""))[0]:
                gains[str(kind)] = (float(row["added"]), name)
    rows = {}
    for kind, cost in measured["found"].items():
        gain, where = gains.get(kind, (0.0, "nowhere"))
        per = 0.01 / gain if gain else np.nan
        seconds = cost["cpu_seconds_per_item"]
        rows[kind] = {
            "core ms an item": 1000 * seconds, "model MB": cost["model_mb"],
            "vectors MB per 1,000": cost["mb_per_1000_items"], "adds most in": where, "added": gain,
            "core ms an item per 0.01": 1000 * seconds * per,
            "MB per 0.01": (cost["model_mb"] + cost["mb_per_1000_items"]) * per,
        }  # fmt: skip
    return pd.DataFrame.from_dict(rows, orient="index")


def takeaways(records: Sequence[Mapping[str, Any]], live: pd.DataFrame) -> str:
    """What was found here and in the record, as a list in Markdown."""
    cold, lines = parts(records, "cold: "), [f"* **Here**, one draw of cold films: {finding(kinds(live))}."]
    for name, metrics in cold.items():
        ndcg, said = metrics["ndcg"], finding(kinds(answers(metrics)))
        best = max(ndcg, key=ndcg.get)
        lines.append(
            f"* **{name.capitalize()}** (recorded): all kinds {ndcg['all']:.3f}, text {ndcg['text']:.3f}, "
            f"best: {best}, {ndcg[best]:.3f}; {said}."
        )
        table = answers(metrics)
        asked = [q for q in (*ABOUT_LINKS, *BESIDE_TITLE) if q in table.index]
        lines += [f"* **{name.capitalize()}**, {q}: {_said(table.loc[q])}." for q in asked]
    lines.append(
        f"* **How much the search decides**: a share of 0 is allowed, so a kind that lowers NDCG does so by "
        f"the choice made on other items: by up to {_lost(cold):.3f}. Gains of that size are no evidence."
    )
    for name, metrics in parts(records, "warm: ").items():
        table = answers(metrics)
        better = [str(q).removesuffix(" added to EASE") for q in table.index[table["answer"] == "better"]]
        said = (
            f"{_listed(better)} {'adds' if len(better) == 1 else 'add'}"
            if better
            else "nothing is shown to add"
        )
        lines.append(f"* **Warm items, {name}**: {said} to EASE's {metrics['ndcg']['EASE']:.3f}.")
    if "cke" in parts(records):
        ndcg = parts(records)["cke"]["ndcg"]
        named = ", ".join(f"{name} {value:.3f}" for name, value in ndcg.items())
        lines.append(f"* **The published null** (BPR 0.2920, CKE 0.2912), here on 8:1:1: {named}.")
    return "\n".join(lines)
