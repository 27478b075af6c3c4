"""Figures and titles of explanations: curves of deletion and insertion, and what minimum support costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys_lib.evaluation import compare, holm, p_text
from recsys_lib.reporting import plots
from recsys_lib.reporting.takeaways_00_to_03 import bullets
from recsys_lib.trust.explanations import faithfulness

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

BASELINES = ("random", "popular")


def curves(axes: Sequence[Axes], found: Mapping[str, Mapping[str, np.ndarray]], title: str) -> None:
    """Deletion (left) and insertion (right) of several methods: fraction of lists that still hold the
    item.
    """
    for ax, name in zip(axes, ("deletion", "insertion"), strict=True):
        x = next(iter(found.values()))["fraction"]
        plots.lines(ax, (100 * x).tolist(), {method: c[name].tolist() for method, c in found.items()})
        ax.set_ylim(-0.03, 1.03)
    legend = axes[1].get_legend()
    if legend is not None:
        legend.remove()
    plots.finish(
        axes[0], title, "history taken out, most important first, %", "fraction of items still in the list"
    )
    plots.finish(axes[1], "Insertion: higher is better", "history put in, %", "fraction of items in the list")


def paired_tests(tables: Mapping[str, pd.DataFrame], measure: str = "deletion") -> pd.DataFrame:
    """Every method of every model against both baselines in one measure, paired by user, Holm-corrected over
    all.

    Columns: model, method, baseline, difference, low, high, Holm p. A negative difference of deletion is a
    gain.
    """
    import pandas as pd

    rows = []
    for model, table in tables.items():
        for method in table["method"].unique():
            for baseline in BASELINES:
                if method not in BASELINES:
                    one, other = (faithfulness.as_evaluation(table, name) for name in (method, baseline))
                    found = compare(one, other, measure)
                    rows.append(
                        (model, method, baseline, found.difference, found.low, found.high, found.p_value)
                    )
    result = pd.DataFrame(
        rows, columns=["model", "method", "baseline", "difference", "low", "high", "Holm p"]
    )
    result["Holm p"] = [p_text(p) for p in holm(result["Holm p"].tolist())]
    return result


def per_user(tables: Mapping[str, pd.DataFrame], measure: str = "deletion") -> dict[str, list[float]]:
    """One measure of every model and method, a value for each user in order of ids, to three digits: what the
    paired tests are of.
    """
    return {
        f"{model} / {method}": rows.sort_values("user")[measure].round(3).tolist()
        for model, table in tables.items()
        for method, rows in table.groupby("method", sort=False)
    }


def separated(runs: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Recorded runs in one table: for every catalogue and kind of reason, of how many models it makes items
    leave sooner than random and than popular items do (Holm p below 0.05), and where it does not.
    """
    import pandas as pd

    rows: dict[str, dict[str, str]] = {}
    for run in runs:
        tests = pd.DataFrame(run["metrics"]["tests"])
        p = tests["Holm p"].astype(str).str.removeprefix("< ").astype(float)
        tests["passed"] = (tests["difference"] < 0) & (p < 0.05)
        for method, own in tests.groupby("method", sort=False):
            row = {}
            for baseline, part in own.groupby("baseline", sort=False):
                row[f"beats {baseline}"] = f"{part['passed'].sum()} of {len(part)}"
                failed = ", ".join(part.loc[~part["passed"], "model"])
                row["fails on"] = "; ".join(
                    filter(None, [row.get("fails on"), failed and f"{failed} ({baseline})"])
                )
            rows[f"{run['parameters']['protocol'].split()[0]}: {method}"] = row
    return pd.DataFrame.from_dict(rows, orient="index", columns=["beats random", "beats popular", "fails on"])


def catalogues_sentence(runs: Sequence[Mapping[str, Any]]) -> str:
    """What the recorded runs say of each catalogue: where kinds of reason fail the removal test, and what
    rationales name.
    """
    table, said = separated(runs), []
    for run in runs:
        name, written = run["parameters"]["protocol"].split()[0], run["metrics"]["rationale"]
        own = table[table.index.str.startswith(f"{name}: ")]["fails on"].dropna()
        failed = [f"{kind.partition(': ')[2]} fails on {where}" for kind, where in own.items() if where]
        n = len(run["metrics"]["rationales"])
        said.append(
            f"{name}: {'; '.join(failed) or 'no kind fails'}; of {n} rationales "
            f"{written['names an item that is not in it']:.0%} name an item that is not in the history, and "
            f"without what they name the item leaves in {written['leaves without those named']:.0%} "
            f"(as many at random {written['leaves without as many at random']:.0%})"
        )
    return f"**Recorded, {runs[0]['parameters']['n_users']} users of each catalogue.** {'. '.join(said)}."


def means(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The mean of every measure by model and method."""
    import pandas as pd

    measures = list(faithfulness.MEASURES)
    return pd.concat(
        {name: table.groupby("method", sort=False)[measures].mean() for name, table in tables.items()}
    )


def deletion_title(table: pd.DataFrame, model: str) -> str:
    """The finding of a deletion curve: after how much of the history the item leaves, exact against
    random.
    """
    mean = table.loc[model]["deletion"]
    best = "exact" if "exact" in mean.index else "left out"
    return (
        f"{model}: under exact reasons an item stays for {mean[best]:.0%} "
        "of the removals, in random order for "
        f"{mean['random']:.0%}, by likeness of texts for {mean['text alike']:.0%}"
    )


def support(ax: Axes, table: pd.DataFrame, title: str) -> None:
    """What minimum support costs and saves: NDCG@k, and the fraction of reasons that rest on few people.

    ``table``: index the minimum support, columns ``ndcg`` and ``few supporters`` (a fraction).
    """
    x = range(len(table))
    ax.plot(x, table["ndcg"], marker="o", color=plots.PALETTE[0], label="NDCG@10")
    ax.set_xticks(list(x), [str(n) for n in table.index])
    ax.set_ylim(0)
    other = ax.twinx()
    other.plot(
        x,
        100 * table["few supporters"],
        marker="s",
        color=plots.PALETTE[3],
        label="reasons with few supporters",
    )
    other.set_ylabel("reasons that rest on fewer than five people, %")
    other.set_ylim(0)
    other.grid(visible=False)
    handles = [*ax.get_lines(), *other.get_lines()]
    ax.legend(handles, [str(h.get_label()) for h in handles], loc="lower left")
    plots.finish(ax, title, "minimum support: people who have both items", "NDCG@10")


def support_title(table: pd.DataFrame) -> str:
    """The finding of minimum support: where no reason rests on few people any more, and what that costs."""
    first, free = table.iloc[0], table[table["few supporters"] == 0]
    said = f"{first['few supporters']:.1%} of the reasons rest on fewer than five people"
    if free.empty:
        return f"{said}, and no minimum support here ends that"
    change = free["ndcg"].iloc[0] / first["ndcg"] - 1
    return f"{said}; a minimum support of {free.index[0]} leaves none and changes NDCG@10 by {change:+.1%}"


def reranker_sentence(told: Mapping[str, Any]) -> str:
    """What the deletion test of the reranker's reasons found, from the record."""
    passed = [row["order"] for row in told["tests"] if row["difference"] > 0 and row["Holm p"] < 0.05]
    failed = [row["order"] for row in told["tests"] if row["order"] not in passed]
    lost = ", ".join(f"{name} {value:.2f}" for name, value in told["lost"].items())
    said = f"beat random order: {', '.join(passed) or 'none'}; not shown to: {', '.join(failed) or 'none'}"
    return (
        f"**The reranker's reasons** ({len(told['users'])} lists, what SmolLM2's log odds lose without the "
        f"first items of an order: {lost}) {said}."
    )


def takeaways(
    mean: pd.DataFrame,
    counterfactuals: pd.DataFrame,
    agreement: pd.DataFrame,
    rationale: pd.Series,
    decisive: float,
) -> str:
    """What the run found, in Markdown, from its own numbers."""
    ease, text = mean.loc["EASE"]["deletion"], mean.loc["text profile"]["deletion"]
    shared = agreement["top 3 shared"]
    lines = [
        "Reasons of linear models are exact: the summands over the history "
        "equal the score to 1e-5, and the smallest part "
        "of the history that an item of EASE hangs on has "
        f"{counterfactuals.loc['EASE', 'median size']:.0f} items in the "
        f"median, proven for {counterfactuals['proven smallest'].min():.0%}.",
        "They pass the removal test: under EASE an item stays for "
        f"{ease['exact']:.0%} of the removals, in random order "
        f"for {ease['random']:.0%}, in order of popularity for {ease['popular']:.0%}.",
        "Likeness of texts is a true reason of the model that ranks by "
        f"text ({text['text alike']:.0%} against "
        f"{text['random']:.0%} at random), and a poor one of EASE ({ease['text alike']:.0%}): it shares "
        f"{shared['EASE: exact and text alike']:.0%} of the top three with the exact reasons.",
        f'At most three items decide {decisive:.0%} of the reasons; only those may say "without it ...".',
    ]
    if len(rationale):
        lines.append(
            f"SmolLM2 names an item of the history in {rationale['names an item of the history']:.0%} "
            "of its rationales and "
            f"one that is not in it in {rationale['names an item that is not in it']:.0%}; "
            "without what it names EASE's item "
            f"leaves in {rationale['leaves without those named']:.0%}, without as many at random in "
            f"{rationale['leaves without as many at random']:.0%}, without the largest contributions in "
            f"{rationale['leaves without the largest contributions']:.0%}."
        )
    return bullets(lines)
