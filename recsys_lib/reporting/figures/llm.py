"""Tables and figures of the language model as ranker, from the records of the reranking study."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from recsys_lib import evaluation
from recsys_lib.evaluation import Evaluation
from recsys_lib.reporting import plots
from recsys_lib.reporting.bench_tables import Bench

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MODELS = {
    "ms-marco": "cross-encoder, 33M",
    "smollm2": "SmolLM2, 135M",
    "qwen-coder-0.5b": "Qwen2.5-Coder, 0.5B",
    "qwen-coder-1.5b": "Qwen2.5-Coder, 1.5B",
}
# What a case has unless a table is about it.
USUAL = {
    "control": "none", "language": "en", "history": 10, "permutations": 2, "seed": 0, "depth": 20, "known": 0
}  # fmt: skip
# The precision that a model's cases have unless a table is about it; that of any other model is usual.
USUAL_PRECISION = {"smollm2": "float32", "qwen-coder-0.5b": "int8", "qwen-coder-1.5b": "int8"}
# Cases of the study's first question: more candidates, and users of whom little is known.
ORDERS: dict[str, Any] = {"depth": [20, 50], "known": [0, 1, 3, 5]}
LISTS = 1e6
QUALITY = (
    "users", "floor", "reranked", "first stage", "ceiling", "difference", "low", "high",
    "less floor", "floor low", "floor high",
)  # fmt: skip
FUSION = ("users", "weight", "first stage", "fused", "difference", "low", "high", "p")


def select(records: Sequence[dict[str, Any]], **chosen: Any) -> list[dict[str, Any]]:
    """The records whose parameters are ``chosen``, and usual elsewhere; a list chooses any of its values."""
    wanted = {**USUAL, **chosen}
    return [
        r
        for r in records
        if all(r["parameters"][k] in (v if isinstance(v, list) else [v]) for k, v in wanted.items())
        and ("precision" in chosen or not _rounded(r["parameters"]))
    ]


def _rounded(parameters: dict[str, Any]) -> bool:
    """Whether a case has other weights than is usual for its model."""
    precision = parameters["precision"]
    return precision != USUAL_PRECISION.get(parameters["model"], precision)


def label(parameters: dict[str, Any]) -> str:
    """Model and method of a case in words."""
    name = MODELS.get(parameters["model"], parameters["model"])
    return name if parameters["method"] == "cross-encoder" else f"{name}, {parameters['method']}"


def quality(records: Sequence[dict[str, Any]], names: Sequence[str] | None = None) -> pd.DataFrame:
    """A row a record: users, NDCG@10 of floor, reranker, first stage and ceiling, and the two paired
    differences.

    ``low`` and ``high``: 95% bootstrap interval of reranker less first stage. ``less floor``: reranker less
    the expected value of a random order, with its interval.
    """
    rows = []
    for r in records:
        m = r["metrics"]
        first, floor = m["minus_first_stage"], m["minus_floor"]
        rows.append({
            "users": len(m["users"]), "floor": m["floor"], "reranked": m["ndcg"],
            "first stage": m["first_stage"], "ceiling": m["ceiling"],
            "difference": first["difference"], "low": first["low"], "high": first["high"],
            "less floor": floor["difference"], "floor low": floor["low"], "floor high": floor["high"],
        })  # fmt: skip
    index = list(names) if names is not None else [label(r["parameters"]) for r in records]
    return pd.DataFrame(rows, index=index, columns=list(QUALITY))


def fusion(records: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """A row a record with validation lists: the weight chosen there, and the fused list less the first
    stage's, with Wilcoxon's p after Holm for all rows.
    """
    rows = {}
    for r in records:
        m, p = r["metrics"], r["parameters"]
        if "fused" in m:
            d = m["fused_minus_first_stage"]
            rows[case_label(p) + (f", seed {p['seed']}" if p["seed"] else "")] = {
                "users": len(m["users"]), "weight": m["weight"],
                "first stage": m["first_stage"], "fused": m["fused"],
                "difference": d["difference"], "low": d["low"], "high": d["high"], "p": d["p"],
            }  # fmt: skip
    table = pd.DataFrame.from_dict(rows, orient="index", columns=list(FUSION))
    table["p"] = evaluation.holm(table["p"].to_numpy(dtype=float))
    return table


def helped(tested: pd.DataFrame) -> pd.DataFrame:
    """The rows that gained, of ``fusion`` or a table with its ``low`` and ``p``: an interval above 0, and a p
    below 0.05.
    """
    return tested[(tested["low"] > 0) & (tested["p"] < 0.05)]


def _is_readable(record: dict[str, Any]) -> bool:
    """Whether a reranker's answers were orders: where as many had to be repaired as there are users, the list
    is the first stage's.
    """
    return record["metrics"].get("repaired", 0) < len(record["metrics"]["users"])


def readable(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The records of rerankers whose answers were orders."""
    return [r for r in records if _is_readable(r)]


def _unreadable(records: Sequence[dict[str, Any]]) -> str:
    """Which reranker wrote no order that could be read, so that it returned the first stage's."""
    names = [label(r["parameters"]) for r in records if not _is_readable(r)]
    return f" Answers of {', '.join(names)} had to be repaired to the order they came in." if names else ""


def costs(records: Sequence[dict[str, Any]], usd_per_core_hour: float, watts_per_core: float) -> pd.DataFrame:
    """A row a record: tokens and seconds a list on one core, the 99th percentile by the clock of a shared
    machine, joules at this power, dollars per million lists, NDCG gained over the first stage.
    """
    rows = []
    for r in records:
        m = r["metrics"]
        usd = m["cpu_seconds_per_list"] / 3600 * usd_per_core_hour * LISTS
        rows.append({
            "tokens read": m["read_tokens"], "tokens of all prompts": m["prompt_tokens"],
            "core seconds": m["cpu_seconds_per_list"], "p99 s, clock": m["seconds_p99"],
            "joules, modelled": m["cpu_seconds_per_list"] * watts_per_core, "USD per million lists": usd,
            "NDCG gained": m["minus_first_stage"]["difference"],
        })  # fmt: skip
    return pd.DataFrame(rows, index=[label(r["parameters"]) for r in records])


def speeds(bench: Bench) -> pd.DataFrame:
    """The rows of ``bench rerank`` of ``bench_tables.recorded``: the baseline's time over ours, and the
    fraction of the roofline that we reach.
    """
    rows = [
        {
            "work": r["workload"], "size": r["size"], "baseline": r["baseline"],
            "instructions": r["instructions"], "times as fast": r["ratio"],
            "fraction of the roofline": r["fraction_of_limit"],
        }
        for r in bench["rows"]
    ]  # fmt: skip
    return pd.DataFrame(rows).set_index(["work", "size", "baseline"])


def between(ax: Axes, table: pd.DataFrame) -> None:
    """A row of ``quality`` each: the reranker with the interval of its difference to the first stage, beside
    the first stage, and a grey band from floor to ceiling."""
    place = np.arange(len(table))
    reach = table["ceiling"] - table["floor"]
    ax.barh(place, reach, left=table["floor"], color="#E4E8EC", height=0.62, label="floor to ceiling")
    low = np.maximum(table["first stage"] + table["low"], 0)
    high = table["first stage"] + table["high"]
    ax.hlines(place, low, high, color=plots.PALETTE[0], linewidth=2)
    for column, colour, marker in (
        ("reranked", plots.PALETTE[0], "o"),
        ("first stage", plots.PALETTE[3], "D"),
    ):
        ax.scatter(table[column], place, color=colour, marker=marker, s=38, zorder=3, label=column)
    named = zip(table.index, table["users"], strict=True)
    ax.set_yticks(place, [f"{name} ({users:.0f} users)" for name, users in named])
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8)


def finding(table: pd.DataFrame) -> str:
    """What a table of ``quality`` shows, as a title."""
    better = [name for name, row in table.iterrows() if row["low"] > 0]
    above = [name for name, row in table.iterrows() if row["floor low"] > 0]
    first = f"{len(better)} of {len(table)} rerankers improve the first stage's order"
    return f"{first}; {len(above)} {'is' if len(above) == 1 else 'are'} better than a random order"


def differences(ax: Axes, table: pd.DataFrame) -> None:
    """A row of ``quality`` each: the reranker less the expected value of a random order, with its
    interval."""
    low, high = table["floor low"], table["floor high"]
    colours = np.where((low > 0) | (high < 0), plots.PALETTE[0], plots.GREY)
    plots.intervals(ax, list(table.index), table["less floor"], low, high, colours)
    ax.grid(axis="y", visible=False)


# What the table of forms varies beside the bits of the weights, one parameter or method at a time.
FORMS: dict[str, list[Any]] = {
    "language": ["zh"],
    "history": [3, 30],
    "permutations": [1, 8],
    "method": ["likelihood", "first token", "pairwise heap", "setwise 4", "written", "all pairs"],
}


def forms(records: Sequence[dict[str, Any]], **chosen: Any) -> list[dict[str, Any]]:
    """The records that differ from the usual in one of ``FORMS``, or in the bits of the weights."""
    varied = [r for key, values in FORMS.items() for r in select(records, **chosen, **{key: values})]
    bits = sorted({r["parameters"]["precision"] for r in records if _rounded(r["parameters"])})
    rounded = [r for r in select(records, **chosen, precision=bits) if _rounded(r["parameters"])]
    return varied + [r for r in rounded if r["parameters"]["method"] == "yes/no"]


def case_label(parameters: dict[str, Any]) -> str:
    """Catalogue, first stage, model and method of a case in words, and what is unusual of its lists."""
    depth = f", best {parameters['depth']}" if parameters["depth"] != USUAL["depth"] else ""
    known = f", {parameters['known']} known" if parameters["known"] else ""
    return f"{parameters['catalogue']}, {parameters['stage']}: {label(parameters)}{depth}{known}"


def form_label(parameters: dict[str, Any]) -> str:
    """Model and method of a case, and what is unusual about its prompt."""
    unusual = [f"{k} {parameters[k]}" for k, usual in USUAL.items() if k != "seed" and parameters[k] != usual]
    unusual += [parameters["precision"]] if _rounded(parameters) else []
    return ", ".join([label(parameters), *unusual])


def control_changes(records: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """A row a control: the reranker's NDCG@10 with everything in place less that under the control, for the
    users whom both have, its 95% interval, and Wilcoxon's p after Holm.
    """
    columns = ["users", "difference", "low", "high", "p"]
    whole = next((r for r in records if r["parameters"]["control"] == "none"), None)
    if whole is None:
        return pd.DataFrame(columns=columns)
    rows: dict[str, dict[str, float]] = {}
    for r in records:
        if r["parameters"]["control"] == "none":
            continue
        common = np.intersect1d(whole["metrics"]["users"], r["metrics"]["users"])
        test = evaluation.compare(_of_users(whole, common), _of_users(r, common))
        rows[r["parameters"]["control"]] = {
            "users": len(common), "difference": test.difference, "low": test.low, "high": test.high,
            "p": test.p_value,
        }  # fmt: skip
    table = pd.DataFrame(rows.values(), index=list(rows), columns=columns)
    table["p"] = evaluation.holm(table["p"].to_numpy(dtype=float))
    return table


def _of_users(record: dict[str, Any], users: np.ndarray) -> Evaluation:
    m = record["metrics"]
    place = {user: i for i, user in enumerate(m["users"])}
    values = np.array(m["per_user"]["ndcg"])[[place[user] for user in users.tolist()]]
    return Evaluation.without_lists(10, users, {"ndcg": values})


def control_finding(records: Sequence[dict[str, Any]]) -> str:
    """What the controls show, as a title."""
    table = control_changes(records)
    if not len(table):
        return "Beside a random order; no control is recorded yet"
    lost = [name for name, row in table.iterrows() if row["p"] < 0.05 and row["difference"] > 0]
    if not lost:
        return f"None of {len(table)} controls ranks worse: that the model uses the history is not shown"
    return f"{len(lost)} of {len(table)} controls rank worse: {', '.join(lost)}"


def _sentence(record: dict[str, Any]) -> str:
    m = record["metrics"]
    bounds = f"floor {m['floor']:.3f}, first stage {m['first_stage']:.3f}"
    return f"{label(record['parameters'])} {m['ndcg']:.3f} ({len(m['users'])} users, {bounds})"


def _little_known(records: Sequence[dict[str, Any]]) -> list[str]:
    """The line on users of whom little is known, where recorded."""
    few = [r for r in records if r["parameters"]["known"]]
    said = [
        f"{label(r['parameters'])} {r['metrics']['ndcg']:.3f}, first stage {r['metrics']['first_stage']:.3f} "
        f"({r['parameters']['known']} known)"
        for r in few
    ]
    return [f"* **Users of whom little is known**: {'; '.join(said)}."] if said else []


def takeaways(records: Sequence[dict[str, Any]], bill: pd.DataFrame) -> str:
    """The study's findings as a list in Markdown, every number from the records; ``bill``: of ``costs``."""
    usual = select(records, **ORDERS)
    films = select(records, catalogue="ml-100k", stage="EASE")
    better = [r for r in usual if r["metrics"]["minus_first_stage"]["low"] > 0]
    worse = [r for r in usual if r["metrics"]["minus_first_stage"]["high"] < 0]
    above = [r for r in readable(usual) if r["metrics"]["minus_floor"]["low"] > 0]
    below = [r for r in usual if r["metrics"]["minus_floor"]["high"] < 0]
    mixed = fusion(usual)
    gained = helped(mixed)
    cheap, dear = bill["USD per million lists"].min(), bill["USD per million lists"].max()
    named = f": {'; '.join(case_label(r['parameters']) for r in above)}" if above else ""
    zero = int((mixed["weight"] == 0).sum())
    lines = [
        f"* **Order improved: {len(better)} of {len(usual)}** combinations of catalogue, first stage, model "
        f"and method; {len(worse)} are worse beyond chance. EASE's best 20 films reordered: "
        f"{'; '.join(_sentence(r) for r in films)}.",
        f"* **Better than a random order: {len(above)} of {len(usual)}**{named}; {len(below)} are worse "
        f"than it beyond chance (intervals of 95%, each case by itself).{_unreadable(usual)}",
        f"* **Fused with the first stage's score**, its weight chosen on validation lists: {len(gained)} of "
        f"{len(mixed)} gain beyond chance (interval, and Holm's p below 0.05); the weight is 0 in {zero}.",
        *_little_known(usual),
        f"* **Cost**: {cheap:,.0f} to {dear:,.0f} USD per million lists of 20 candidates, on cores. Where "
        "nothing is gained, a hundredth of NDCG has no price.",
    ]
    return "\n".join(lines)
