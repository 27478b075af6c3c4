"""Tables, figures and findings of the study of kinds of knowledge about items, from its record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from recsys_lib.reporting import plots

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ADDED, SHUFFLED = " added to the rest", " against shuffled"
COLUMNS = ["NDCG gained", "low", "high", "Holm p", "answer"]
UNAWARDED = "graph without awards, added to the rest"
DISTRIBUTED = "all, graph as distributed"
ABOUT_LINKS = ("graph as distributed, added to the rest",)
BESIDE_TITLE = ("image added to the title", "image against shuffled, beside the title")
BESIDE_TEXT = ("price added to the text", "price against shuffled, beside the text")


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


def ranks(predicted: pd.DataFrame) -> pd.DataFrame:
    """``link_prediction`` for reading: three digits, the reciprocal rank of a random order in two that count,
    triples as a whole number.
    """
    shown = predicted.astype(object)
    for column, form in {"mrr": ".3f", "hits@10": ".3f", "random mrr": ".1g", "triples": ",.0f"}.items():
        shown[column] = [f"{value:{form}}" for value in predicted[column].astype(float)]
    return shown


def answers(metrics: Mapping[str, Any]) -> pd.DataFrame:
    """The questions of a part with the difference, its interval and the answer."""
    return pd.DataFrame(metrics["answers"]).set_index("name")[COLUMNS]


def by_chance(found: Mapping[str, Mapping[str, Any]]) -> tuple[float, float]:
    """The least and the most that a kind which says nothing added to the rest, over all catalogues: each kind
    shuffled, and the graph by the links as distributed.
    """
    added = [0.0]
    for metrics in found.values():
        ndcg = metrics["ndcg"]
        own = kinds(answers(metrics)).index
        added += [ndcg[f"all, {kind} shuffled"] - ndcg[f"all without {kind}"] for kind in own]
        if DISTRIBUTED in ndcg:
            added.append(ndcg[DISTRIBUTED] - ndcg["all without graph"])
    return min(added), max(added)


def kinds(table: pd.DataFrame, above: float = 0.0) -> pd.DataFrame:
    """A row for each kind: what it adds to the rest, what it has over its shuffled self, and whether both are
    decided for it and it adds more than ``above``, what one that says nothing may add (``by_chance``).
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
            "adds": added["answer"] == "better" == null["answer"] and added["NDCG gained"] > above,
        }  # fmt: skip
    return pd.DataFrame(rows).T


def knockout(found: Mapping[str, Mapping[str, Any]]) -> Figure:
    """What each kind adds for cold items, a panel for each catalogue: NDCG with it less without it, and less
    with it shuffled, with 95% intervals; in grey what a kind that says nothing added.
    """
    null = by_chance(found)
    columns = min(3, len(found))
    rows = -(-len(found) // columns)
    fig, axes = plots.figure(columns, rows, width=4.7 * columns, height=4.5 * rows)
    for spare in axes[len(found) :]:
        spare.set_visible(False)
    for ax, (name, metrics) in zip(axes, found.items(), strict=False):
        asked = answers(metrics)
        table = kinds(asked, null[1])
        labels = _rows_of(ax, table, asked)
        ax.axvspan(
            *null, color=plots.GREY, alpha=0.18, linewidth=0, label="added by a kind that says nothing"
        )
        ax.axvline(0, color=plots.GREY, linewidth=1)
        ax.set_yticks(range(len(labels)), labels)
        ax.invert_yaxis()
        title = f"{name}: {_graph_first(table, asked)}{finding(table)}"
        ax.locator_params(axis="x", nbins=6)
        plots.finish(ax, title, "NDCG@10 of all kinds, less ... (95%)")
    axes[0].legend(loc="best", fontsize=8)
    plots.suptitle(fig, f"A kind that says nothing may add {null[1]:.3f}: smaller gains show nothing")
    plots.save(fig, "14_knockout")
    return fig


def _rows_of(ax: Axes, table: pd.DataFrame, asked: pd.DataFrame) -> list[str]:
    """Points and intervals of every kind, the graph without awards above the graph; the rows' labels."""
    labels = [str(kind) for kind in table.index]
    if UNAWARDED in asked.index:
        labels.insert(labels.index("graph"), "graph,\nno awards")
    places = [labels.index(str(kind)) for kind in table.index]
    series = {
        "less without it": ("added", "low", "high"),
        "less it shuffled": ("over shuffled", "null low", "null high"),
    }
    for i, (label, columns) in enumerate(series.items()):
        middle, low, high = (table[c].astype(float).tolist() for c in columns)
        at = [place + 0.16 * (2 * i - 1) for place in places]
        if i == 0 and len(labels) > len(table):
            row = asked.loc[UNAWARDED]
            at.append(float(labels.index("graph,\nno awards")))
            for values, column in ((middle, "NDCG gained"), (low, "low"), (high, "high")):
                values.append(float(row[column]))
        ax.hlines(at, low, high, color=plots.PALETTE[i], linewidth=2)
        ax.scatter(middle, at, color=plots.PALETTE[i], marker=plots.MARKERS[i], s=40, label=label, zorder=3)
    return labels


def _graph_first(table: pd.DataFrame, asked: pd.DataFrame) -> str:
    """What the graph adds without awards, which a new film lacks, and with them; empty without that test."""
    if UNAWARDED not in asked.index or "graph" not in table.index:
        return ""
    return (
        f"the graph without awards adds {asked.loc[UNAWARDED, 'NDCG gained']:.3f}, with them "
        f"{float(table.loc['graph', 'added']):.3f}; "
    )


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


def _said(row: pd.Series) -> str:
    return f"{row['NDCG gained']:+.3f} ({row['low']:+.3f} to {row['high']:+.3f}), {row['answer']}"


def _lost(found: Mapping[str, Mapping[str, Any]]) -> float:
    """The most that NDCG fell by a kind that could have been declined."""
    added = [float(value) for m in found.values() for value in kinds(answers(m))["added"]]
    return max(0.0, -min(added))


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def beside_title(found: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """Does the picture add to the title, and the price to the text? A row for each catalogue that has one,
    and question.
    """
    tables = {}
    for name, metrics in found.items():
        table = answers(metrics)
        asked = [q for q in (*BESIDE_TITLE, *BESIDE_TEXT) if q in table.index]
        if asked:
            tables[name] = table.loc[asked]
    return pd.concat(tables, names=["catalogue", "question"]) if tables else pd.DataFrame(columns=COLUMNS)


def fusion_methods(found: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Methods to join the kinds, a panel for each catalogue: NDCG less that of the text alone, best first."""
    tables = {
        name: answers(metrics).sort_values("NDCG gained", ascending=False) for name, metrics in found.items()
    }
    height = 1.4 + 0.36 * max(len(table) for table in tables.values())
    fig, axes = plots.figure(len(tables), width=7.0 * len(tables), height=height)
    for ax, (name, table) in zip(axes, tables.items(), strict=True):
        base = str(table.index[0]).partition(" against ")[2]
        labels = [str(q).removesuffix(f" against {base}") for q in table.index]
        worse, better = table["high"] < 0, table["answer"] == "better"
        colours = np.where(worse, plots.PALETTE[3], np.where(better, plots.PALETTE[0], plots.GREY))
        plots.intervals(ax, labels, table["NDCG gained"].tolist(), table["low"], table["high"], colours)
        title = f"{name}: {int(better.sum())} of {len(table)} rank better than the {base}; best: {labels[0]}"
        plots.finish(
            ax, title, f"NDCG@10 among cold items, less {found[name]['ndcg'][base]:.3f} of the {base}"
        )
    plots.save(fig, "14_methods")
    return fig


def fusion_sentence(found: Mapping[str, Mapping[str, Any]]) -> str:
    """The method to join kinds that ranks best in each catalogue, its gain over the text, and over which of
    the others.
    """
    best = {}
    for name, metrics in found.items():
        table = answers(metrics)
        question = str(table["NDCG gained"].astype(float).idxmax())
        best[name] = (question.partition(" against ")[0], table.loc[question])
    said = "; ".join(f"{name}: {method}, {_said(row)}" for name, (method, row) in best.items())
    same = len({method for method, _ in best.values()}) == 1 < len(best)
    return f"**How to join**, best on {said}." + (" It is the same method." if same else "")


def posters_sentence(records: Sequence[Mapping[str, Any]]) -> str:
    """Of how many posters the study could use which, and why; empty where they were not counted."""
    found = parts(records).get("posters", {}).get("films")
    if not found:
        return ""
    have, used = found["with a poster"], found["with a poster and an entity"]
    return (
        f"{have:,} films of MovieLens-100K match one of {found['posters']:,} posters by title and year (it "
        f"lists some films twice); {used:,} are used. The graph has no entity for the other {have - used}, "
        "which are left out so that having one tells nothing."
    )


def takeaways(records: Sequence[Mapping[str, Any]], live: pd.DataFrame) -> str:
    """What was found here and in the record, as a list in Markdown."""
    cold = parts(records, "cold: ")
    null = by_chance(cold)
    lines = [f"* **Here**, one draw of cold films: {finding(kinds(live, null[1]))}."]
    for name, metrics in cold.items():
        lines += _cold_lines(name, metrics, null)
    lines.append(
        f"* **How much the search decides**: a share of 0 is allowed, yet kinds that say nothing (shuffled, "
        f"or linked to other films) changed NDCG by {null[0]:+.3f} to {null[1]:+.3f}, since shares are "
        f"chosen on other items, and a true kind lowered it by up to {_lost(cold):.3f}. A kind counts as "
        f"adding only above {null[1]:.3f}."
    )
    lines += [_warm_line(name, metrics) for name, metrics in parts(records, "warm: ").items()]
    if "cke" in parts(records):
        ndcg = parts(records)["cke"]["ndcg"]
        named = ", ".join(f"{name} {value:.3f}" for name, value in ndcg.items())
        lines.append(f"* **The published null** (BPR 0.2920, CKE 0.2912), here on 8:1:1: {named}.")
    return "\n".join(lines)


def _cold_lines(name: str, metrics: Mapping[str, Any], null: tuple[float, float]) -> list[str]:
    """The findings of one recorded catalogue: the graph without awards first, then all kinds."""
    ndcg, table = metrics["ndcg"], answers(metrics)
    lines = []
    if UNAWARDED in table.index:
        gained = float(table.loc[UNAWARDED, "NDCG gained"])
        near = (
            f"{gained / null[1]:.1f} times the {null[1]:.3f}" if null[1] > 0 else f"above the {null[1]:.3f}"
        )
        less = f", and less than the {-null[0]:.3f} that one lowered NDCG by" if gained < -null[0] else ""
        lines.append(
            f"* **{name.capitalize()}**, the graph without awards and nominations, which a new film lacks: "
            f"{_said(table.loc[UNAWARDED])}; {near} that a kind that says nothing may add{less}. With them "
            f"{table.loc['graph' + ADDED, 'NDCG gained']:+.3f}."
        )
    best = max(ndcg, key=ndcg.get)
    lines.append(
        f"* **{name.capitalize()}** (recorded): {finding(kinds(table, null[1]))}; all kinds "
        f"{ndcg['all']:.3f}, text {ndcg['text']:.3f}, best: {best}, {ndcg[best]:.3f}."
    )
    asked = [q for q in (*ABOUT_LINKS, *BESIDE_TITLE, *BESIDE_TEXT) if q in table.index]
    return lines + [f"* **{name.capitalize()}**, {q}: {_said(table.loc[q])}." for q in asked]


def warm_kinds(metrics: Mapping[str, Any]) -> pd.DataFrame:
    """Where items have interactions, a row for each kind and for all: what it adds to EASE, what its shuffled
    self adds, and what it has over that one, with intervals and answers; blank where no null was run.
    """
    table, rows = answers(metrics), {}
    for question in table.index[table.index.str.endswith(" added to EASE")]:
        kind = question.removesuffix(" added to EASE")
        if kind.endswith(" shuffled"):
            continue
        added = table.loc[question]
        row = {"NDCG gained": added["NDCG gained"], "low": added["low"], "high": added["high"]}
        row |= {"Holm p": added["Holm p"], "answer": added["answer"]}
        null, over = f"{kind} shuffled added to EASE", f"{kind} against shuffled"
        if null in table.index:
            row["shuffled gained"] = table.loc[null, "NDCG gained"]
        if over in table.index:
            row |= {"over shuffled": table.loc[over, "NDCG gained"], "its answer": table.loc[over, "answer"]}
        rows[kind] = row
    return pd.DataFrame.from_dict(rows, orient="index")


def adds_warm(table: pd.DataFrame) -> list[str]:
    """The kinds of ``warm_kinds`` that are better than EASE and, where it was run, than their nulls."""
    decided = table["answer"] == "better"
    if "its answer" in table:
        decided &= table["its answer"].isna() | (table["its answer"] == "better")
    return [str(kind) for kind in table.index[decided]]


def _warm_line(name: str, metrics: Mapping[str, Any]) -> str:
    table = warm_kinds(metrics)
    better = adds_warm(table)
    verb = "adds" if len(better) == 1 else "add"
    said = f"{_listed(better)} {verb}" if better else "nothing is shown to add"
    said += f" to EASE's {metrics['ndcg']['EASE']:.3f}, by at most {table['NDCG gained'].max():+.3f}"
    if "shuffled gained" not in table:
        return f"* **Warm items, {name}**: {said}."
    nulls = table["shuffled gained"].dropna()
    changed = f"shuffled kinds change it by {nulls.min():+.3f} to {nulls.max():+.3f}"
    return f"* **Warm items, {name}**: {said}; {changed}."
