"""Figures, tables and takeaways of the running service: weeks replayed, mixed slates, and recorded load."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from recsys_lib.core import paths, records
from recsys_lib.evaluation import Comparison, p_text
from recsys_lib.reporting import plots
from recsys_lib.reporting.takeaways_00_to_03 import bullets
from recsys_lib.serving.off_policy import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from recsys_lib.experiments.replay import Replay
    from recsys_lib.serving.interleaving import Preference

PLAIN = "FastAPI, implicit, faiss"
TEXT_SERVERS = ("ours, texts", "FastAPI, sentence-transformers, faiss")


# ---------------------------------------------------------------- the replay


def weeks(replay: Replay) -> pd.DataFrame:
    """A row a week: events, new items, users evaluated, NDCG by model, and whether the refit was swapped."""
    rows = [
        {
            "week": week.number,
            "events": week.events,
            "new items": week.new_items,
            "users": len(week.evaluations["refitted"].users),
            **{name: e.mean()["ndcg"] for name, e in week.evaluations.items()},
            "swapped": week.outcome.decision == "swapped",
        }
        for week in replay.weeks
    ]
    return pd.DataFrame(rows).set_index("week")


def costs(replay: Replay) -> pd.DataFrame:
    """A row a week: seconds to store its events over HTTP, and of the refit at its end."""
    rows = {w.number: {"events": w.events, "send s": w.send_s, "refit s": w.refit_s} for w in replay.weeks}
    return pd.DataFrame(rows).T.rename_axis("week").astype({"events": int})


def by_week(ax: Axes, table: pd.DataFrame, title: str) -> None:
    """NDCG of each model by week."""
    names = [name for name in ("refitted", "frozen", "recent popularity") if name in table]
    plots.lines(ax, table.index.to_numpy(), {name: table[name].tolist() for name in names})
    ax.set_ylim(0)
    plots.finish(ax, title, "week of the data", "NDCG@10, second half of each user's week")


def arrivals(ax: Axes, table: pd.DataFrame) -> None:
    """Events and new films by week."""
    ax.bar(table.index, table["events"], color=plots.PALETTE[5], width=0.7)
    for week, row in table.iterrows():
        ax.text(week, row["events"], f"+{row['new items']}", ha="center", va="bottom", fontsize=8)
    title = f"{table['events'].sum():,} events arrive, and {table['new items'].sum()} films as new items"
    plots.finish(ax, title, "week of the data", "events (above: new films)")


def direction(found: Comparison, a: str, b: str) -> str:
    """How ``a`` stands to ``b`` by the paired interval, in words."""
    if found.low > 0:
        return f"{a} ranks better than {b}"
    if found.high < 0:
        return f"{a} ranks worse than {b}"
    return f"{a} and {b} cannot be told apart"


def slates(slates: Mapping[int, Mapping[str, np.ndarray]]) -> pd.DataFrame:
    """A row a quota: mean NDCG@10 and the fraction of places that cold items get."""
    rows = {quota: {name: float(v.mean()) for name, v in own.items()} for quota, own in slates.items()}
    return pd.DataFrame(rows).T.rename_axis("quota")


def slate_costs(ax: Axes, table: pd.DataFrame) -> None:
    """What each place for cold items costs, against what cold items gain."""
    ax.plot(100 * table["cold"], table["ndcg"], marker="o", color=plots.PALETTE[0])
    for quota, row in table.iterrows():
        ax.annotate(
            f"quota {quota}", (100 * row["cold"], row["ndcg"]), (5, 5), textcoords="offset points", fontsize=9
        )
    first, last = table.iloc[0], table.iloc[-1]
    title = (
        f"{table.index[-1]} places of 10 for cold items take NDCG@10 from {first['ndcg']:.2f} to "
        f"{last['ndcg']:.2f}"
    )
    ax.set_ylim(0, 1.15 * float(table["ndcg"].max()))
    ax.margins(x=0.15)
    plots.finish(ax, title, "places that cold items get, %", "NDCG@10")


def off_policy(found: Mapping[str, Mapping[str, Estimate]], truth: Mapping[str, float]) -> pd.DataFrame:
    """A row a policy and estimator: value per 100 draws, interval, truth, and whether it lies inside."""
    rows = []
    for policy, own in found.items():
        for name in ("ips", "snips", "dr"):
            low, high = own[name].interval
            rows.append(
                {
                    "policy": policy, "estimator": name, "value": 100 * own[name].value, "low": 100 * low,
                    "high": 100 * high, "truth": 100 * truth[policy],
                    "inside": bool(low <= truth[policy] <= high),
                }
            )  # fmt: skip
    return pd.DataFrame(rows).set_index(["policy", "estimator"])


# ---------------------------------------------------------------- recorded load


def recorded() -> dict[str, Any]:
    """What ``bench serve`` wrote."""
    return records.read(paths.MEASUREMENTS / "serve-bench.json")


def rows_of(record: Mapping[str, Any], scenario: str) -> pd.DataFrame:
    """The rows of one scenario, with their servers as index."""
    rows = [{k: v for k, v in row.items() if k != "curve_ms"} for row in record["rows"]]
    return pd.DataFrame([row for row in rows if row["scenario"] == scenario]).set_index("server")


def processor_ms(record: Mapping[str, Any]) -> dict[str, float]:
    """By server the milliseconds of processor time that an answer costs it at saturation.

    Other work on the machine lengthens the time on the clock and hardly this.
    """
    return rows_of(record, "saturation")["cpu_ms_per_answer"].to_dict()


def processor_ratios(record: Mapping[str, Any]) -> dict[float, float]:
    """By load below saturation the processor time of our list over that of the plain server's."""
    cost = rows_of(record, "poisson").reset_index().set_index(["server", "load"])["cpu_ms_per_answer"]
    ours, theirs = cost["ours"], cost[PLAIN]
    return {load: float(ours[load] / theirs[load]) for load in ours.index if load in theirs.index}


def _more(ratios: Mapping[float, float]) -> str:
    """The smallest and the largest of the ratios less one, in words."""
    low, high = min(ratios.values()) - 1, max(ratios.values()) - 1
    if low < 0 < high:
        return f"{-low:.0%} less to {high:.0%} more"
    return f"{low:.0%} to {high:.0%} more" if low >= 0 else f"{-high:.0%} to {-low:.0%} less"


def processor_bars(axes: Sequence[Axes], record: Mapping[str, Any]) -> None:
    """Processor time of a list, and of a request with a text."""
    cost = processor_ms(record)
    texts = [name for name in cost if name in TEXT_SERVERS]
    lists = [name for name in cost if name not in texts]
    plots.bars(axes[0], lists, [cost[name] for name in lists], digits=2, highlight=["ours"])
    title = (
        f"A list costs {cost['ours']:.2f} ms of a core at saturation, the plain server's {cost[PLAIN]:.2f}; "
        f"at lower rates ours costs {_more(processor_ratios(record))}"
    )
    plots.finish(axes[0], title, "processor time per answer at saturation, ms")
    plots.bars(axes[1], texts, [cost[name] for name in texts], digits=1, highlight=["ours, texts"])
    title = f"A text {cost[TEXT_SERVERS[0]]:.1f} ms, over sentence-transformers {cost[TEXT_SERVERS[1]]:.1f}"
    plots.finish(axes[1], title, "processor time per answer at saturation, ms")


PERCENTILES = ("p50_ms", "p99_ms", "p99.9_ms", "forecast_p99_ms")


ASKED = 10_000
GOAL_RATIO, GOAL_RESTART_S = 2.0, 1.0


def requests_said(record: Mapping[str, Any]) -> str:
    """How many loads were measured on fewer requests than a 99.9th percentile asks for."""
    counts = rows_of(record, "poisson")["requests"]
    few = int((counts < ASKED).sum())
    return (
        f"{few} of {len(counts)} loads were measured on fewer than {ASKED:,} requests ({counts.min():,} at "
        f"least): {'their p99.9 rests on a few' if few else 'every p99.9 rests on ten or more'}"
    )


def load_table(record: Mapping[str, Any]) -> pd.DataFrame:
    """A row a server and load: the rate, how many were asked and answered, percentiles of the time to an
    answer beside the p99 that the queueing model forecasts, all in milliseconds, how many times the forecast
    was measured, and the processor time of an answer.
    """
    table = rows_of(record, "poisson").reset_index()
    table["times_forecast"] = table["p99_ms"] / table["forecast_p99_ms"]
    columns = [
        "server",
        "load",
        "rate_per_s",
        "requests",
        "answered",
        *PERCENTILES,
        "times_forecast",
        "cpu_ms_per_answer",
    ]
    return table[columns].set_index(["server", "load"]).round(2)


def changes(record: Mapping[str, Any]) -> pd.DataFrame:
    """Bursts and swaps beside the same rate without them; ``refused``: with 503, as the service sheds load;
    ``failed``: answered with another error, or not at all.
    """
    names = ("poisson again", "bursts", "swaps")
    table = pd.concat([rows_of(record, name).assign(scenario=name) for name in names]).set_index("scenario")
    table["refused"] = [row.get("503", 0) for row in table["statuses"]]
    bad = [sum(n for status, n in row.items() if status[0] in "045") for row in table["statuses"]]
    table["failed"] = bad - table["refused"]
    columns = ["rate_per_s", "answered", "refused", "failed", "p50_ms", "p99_ms", "cpu_ms_per_answer"]
    return table[columns].round(2)


def overload(record: Mapping[str, Any]) -> pd.DataFrame:
    """A row a rate beyond the saturation, then one below it: per second what came and what was answered, the
    fraction refused with 503 and of no answer, and milliseconds of those answered.
    """
    found: dict[str, dict[str, float]] = {}
    rows = [row for row in record["rows"] if row["scenario"] in ("overload", "after overload")]
    for row in rows:
        found[f"{row['load']:g}{', afterwards' if row['scenario'] != 'overload' else ''}"] = {
            "came a second": row["rate_per_s"], "answered a second": row["throughput_per_s"],
            "refused": row["refused"], "no answer": row["statuses"].get("0", 0) / row["requests"],
            "p50 ms": row["p50_ms"], "p99 ms": row["p99_ms"],
        }  # fmt: skip
    return pd.DataFrame(found).T.rename_axis("times the saturation")


def overload_said(record: Mapping[str, Any]) -> str:
    """What the service does beyond its saturation, in a sentence; a record from before it bounded the wait
    says so.
    """
    rows = [row for row in record["rows"] if row["scenario"] == "overload"]
    (most,) = [r["throughput_per_s"] for r in record["rows"] if r["scenario"] == "saturation again"]
    kept, p99, refused = (
        f"{min(values):{form}} to {max(values):{form}}"
        for values, form in (
            ([row["throughput_per_s"] / most for row in rows], ".0%"),
            ([row["p99_ms"] / 1000 for row in rows], ".1f"),
            ([row["refused"] for row in rows], ".0%"),
        )
    )
    bounds = {row.get("max_wait_s") for row in rows}
    state = (
        "recorded before the wait was bounded"
        if None in bounds
        else f"at most {max(bounds):g} s of waiting are let in"
    )
    return (
        f"beyond saturation ({state}): {kept} of the saturation answered, p99 {p99} s, {refused} refused "
        "with 503"
    )


def workers(record: Mapping[str, Any]) -> pd.DataFrame:
    """Per number of processes the median of the most lists a second, and of processor milliseconds a list."""
    found = rows_of(record, "workers")
    columns = {"throughput_per_s": "lists a second", "cpu_ms_per_answer": "processor ms a list"}
    return found.groupby("processes")[list(columns)].median().rename(columns=columns)


def faults(record: Mapping[str, Any]) -> dict[str, float]:
    """What was lost, what was stored twice, and how long a restart took."""
    (row,) = [row for row in record["rows"] if row["scenario"] == "kills"]
    seconds = np.array(row["restart_s"])
    kept = {name: row[name] for name in ("kills", "acknowledged", "lost", "twice")}
    return kept | {"restart median s": float(np.median(seconds)), "restart slowest s": float(seconds.max())}


KILLED = {"kills": "server", "refit kills": "refit", "writer kills": "client of the database"}


def killed(record: Mapping[str, Any]) -> pd.DataFrame:
    """A row for what was killed: how often, events acknowledged to it or given to it, lost and stored twice,
    and artefacts that were not whole afterwards.
    """
    columns = ["kills", "acknowledged", "lost", "twice"]
    rows = {KILLED[row["scenario"]]: row for row in record["rows"] if row["scenario"] in KILLED}
    table = pd.DataFrame({name: [row[c] for c in columns] for name, row in rows.items()}, index=columns).T
    table["artefacts damaged"] = [row.get("damaged", "-") for row in rows.values()]
    return table.rename_axis("killed")


def sustained(record: Mapping[str, Any], ours: str, theirs: str) -> dict[float, tuple[float, float]]:
    """For each load of the other server its p99 in milliseconds, and how many times its rate ours sustains
    within that: by the highest recorded rate of ours whose p99 is no higher, 0 where none is.
    """
    rows = rows_of(record, "poisson").reset_index()
    own, others = (rows[rows["server"] == name] for name in (ours, theirs))
    found = {}
    for other in others.sort_values("load").itertuples():
        within = own.loc[own["p99_ms"] <= other.p99_ms, "rate_per_s"]
        found[float(other.load)] = (
            float(other.p99_ms),
            float(within.to_numpy().max(initial=0.0) / other.rate_per_s),
        )
    return found


def goals(record: Mapping[str, Any]) -> list[str]:
    """What was aimed at, and whether the record reaches it."""
    (row,) = [row for row in record["rows"] if row["scenario"] == "kills"]
    seconds = np.array(row["restart_s"])
    within = int((seconds <= GOAL_RESTART_S).sum())
    lines = [
        f"**Restart**: the goal was an answer within {GOAL_RESTART_S:g} s of a restart. The first came after "
        f"{seconds.min():.1f} to {seconds.max():.1f} s ({np.median(seconds):.1f} in the median), in time "
        f"{within} of {len(seconds)} times: the goal is {'met' if within == len(seconds) else 'missed'}."
    ]
    most = rows_of(record, "saturation")["throughput_per_s"]
    for what, ours, theirs in (("Lists", "ours", PLAIN), ("Texts", *TEXT_SERVERS)):
        if {ours, theirs} <= set(most.index):
            ratio = float(most[ours] / most[theirs])
            lines.append(_rate_said(what, ratio, sustained(record, ours, theirs)))
    return lines


def _rate_said(what: str, ratio: float, within: Mapping[float, tuple[float, float]]) -> str:
    """The goal of the rate within the same p99, held against what ``sustained`` found."""
    met = [load for load, (_, times) in within.items() if times >= GOAL_RATIO]
    each = ", ".join(f"{times:.1f} times within {p99:.0f} ms" for p99, times in within.values())
    verdict = "met" if len(met) == len(within) else "missed"
    if met and verdict == "missed":
        verdict = f"met at {' and '.join(f'{load:.0%}' for load in met)} only"
    return (
        f"**{what} beside a plain server**: the goal was {GOAL_RATIO:g} times its rate within the same p99. "
        f"At {', '.join(f'{load:.0%}' for load in within)} of its saturation the recorded rates give {each}; "
        f"at saturation {ratio:.2f} times. The goal is {verdict}."
    )


# ---------------------------------------------------------------- takeaways


def takeaways(
    replay: Replay,
    to_frozen: Comparison,
    to_popular: Comparison,
    preference: Preference,
    estimates: pd.DataFrame,
    record: Mapping[str, Any],
) -> str:
    """What the notebook found, in Markdown."""
    table, lists = weeks(replay), slates(replay.slates)
    swapped = int(table["swapped"].sum())
    refits = (
        f"**Refits**: over {len(table)} weeks "
        f"{direction(to_frozen, 'the refitted model', 'the frozen one')} "
        f"({to_frozen.difference:+.2f} NDCG@10 [{to_frozen.low:+.2f}, {to_frozen.high:+.2f}]), and "
        f"{direction(to_popular, 'it', 'recent popularity')} ({to_popular.difference:+.2f}). "
        f"The rule swapped {swapped} of {len(table)} refits."
    )
    interleaved = (
        f"**Interleaving** agrees: of the lists that one of both won, the refitted model won "
        f"{preference.fraction_second:.0%} (sign test p {p_text(preference.p_value)})."
        if (preference.p_value >= 0.05) == (to_frozen.low <= 0 <= to_frozen.high)
        else f"**Interleaving** says otherwise: the refitted model won {preference.fraction_second:.0%}."
    )
    first, last = lists.iloc[0], lists.iloc[-1]
    mixed = (
        f"**Exploration**: without a quota cold items get {first['cold']:.1%} of the places; with "
        f"{lists.index[-1]} of 10 they get {last['cold']:.0%}, and NDCG@10 falls by "
        f"{1 - last['ndcg'] / first['ndcg']:.0%}."
    )
    policies = f"**Off-policy estimates** from the logged draws: {_covered(estimates)}."
    return bullets([refits, interleaved, mixed, policies, *_load(record), *goals(record)])


def _covered(estimates: pd.DataFrame) -> str:
    """For each policy whether its intervals hold the truth, and how wide they are; the estimators share the
    draws, so a policy is one case.
    """
    said = []
    for policy, rows in estimates.groupby(level="policy", sort=False):
        held = "hold" if rows["inside"].all() else "hold in part" if rows["inside"].any() else "miss"
        said.append(
            f"for {policy} the intervals, {rows['low'].min():.1f} to {rows['high'].max():.1f} choices per "
            f"100 draws, {held} the truth of {rows['truth'].iloc[0]:.1f}"
        )
    return f"{'; '.join(said)}. Two policies are two cases: the estimators share the draws"


def _first_lists(record: Mapping[str, Any]) -> str:
    """What a list of a history costs that was never asked for before, where the record has it."""
    found = [row["cpu_ms_per_answer"] for row in record["rows"] if row["scenario"] == "new histories"]
    if not found:
        return ""
    return f" That is for users who come again; a history that comes for the first time costs {found[0]:.2f}."


def _load(record: Mapping[str, Any]) -> list[str]:
    cost, changed, stopped = processor_ms(record), changes(record), faults(record)
    ours, theirs, table = cost["ours"], cost[PLAIN], load_table(record)
    lines = [
        f"**Load** (recorded, one run each): at saturation a list costs {ours:.2f} ms of a core, that of a "
        f"plain FastAPI over implicit and faiss {theirs:.2f}; at lower rates ours costs "
        f"{_more(processor_ratios(record))}. Ours includes reasons and an exploration quota, the plain one "
        f"does not.{_first_lists(record)}",
        f"**The queueing forecast of p99 misses**: measured is {table['times_forecast'].min():.1f} to "
        f"{table['times_forecast'].max():.0f} times the forecast, {table['times_forecast'].median():.1f} in "
        f"the median of {len(table)} runs.",
    ]
    if all(name in cost for name in TEXT_SERVERS):
        own, other = (cost[name] for name in TEXT_SERVERS)
        lines.append(f"**Texts**: {own:.1f} ms of a core for each, over sentence-transformers {other:.1f}.")
    without = int(changed.loc["swaps", ["refused", "failed"]].sum())
    lines.append(
        f"**Swaps** of the version every second failed {without} of "
        f"{int(changed.loc['swaps', 'answered']):,} answered requests. **kill -9** at {stopped['kills']:.0f} "
        f"random moments lost {stopped['lost']:.0f} of {stopped['acknowledged']:,.0f} acknowledged events "
        f"and stored {stopped['twice']:.0f} twice."
    )
    return lines
