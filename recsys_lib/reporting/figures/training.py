"""Tables, figures and sentences of training a language model, from the record of the study of training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from recsys_lib import evaluation
from recsys_lib.evaluation import Evaluation
from recsys_lib.reporting import plots

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Records = Sequence[Mapping[str, Any]]
FROZEN = "frozen"
USES = ("alone", "map", "kernel map")
PHASES = ("tokens and batch", "forward", "loss", "backward", "optimizer")


def parts(records: Records, task: str) -> dict[tuple[str, int], Mapping[str, Any]]:
    """The metrics of one task's parts by encoder and seed."""
    return {
        (str(r["parameters"]["name"]), int(r["parameters"]["seed"])): r["metrics"]
        for r in records
        if r["parameters"]["task"] == task
    }


def cold_table(records: Records, seeds: Sequence[int] | None = None, task: str = "cold") -> pd.DataFrame:
    """NDCG@10 of cold items, a row an encoder, a column a use of its vectors, the mean over ``seeds``
    (default: all that the encoder has), and how many there are.
    """
    found = parts(records, task)
    rows: dict[str, dict[str, float]] = {}
    for name in dict.fromkeys(name for name, _ in found):
        own = [m["ndcg"] for (n, seed), m in found.items() if n == name and (seeds is None or seed in seeds)]
        if own:
            rows[name] = {use: float(np.mean([m[use] for m in own])) for use in own[0]}
            rows[name]["draws"] = len(own)
    return pd.DataFrame(rows).T


def user_values(records: Records, task: str, name: str, use: str, seeds: Sequence[int]) -> Evaluation:
    """NDCG of every user, the mean over the seeds in which the user has a test item."""
    found = parts(records, task)
    own = [found[name, seed] for seed in seeds]
    each = [
        Evaluation.without_lists(10, np.array(m["users"]), {"ndcg": np.array(m["per_user"][use])})
        for m in own
    ]
    return evaluation.average(each)


def common_seeds(records: Records, task: str, *names: str) -> list[int]:
    """The seeds that all these encoders have in the record."""
    found = parts(records, task)
    return sorted(set.intersection(*({seed for n, seed in found if n == name} for name in names)))


def paired(records: Records, task: str = "cold", uses: Sequence[str] = USES) -> pd.DataFrame:
    """Every trained encoder against the frozen one in the same use, paired over the users of these draws: the
    mean difference of NDCG, its 95% interval, Wilcoxon's p after Holm for all rows, and the difference in
    each draw.
    """
    found, rows = parts(records, task), []
    for name in dict.fromkeys(name for name, _ in found):
        seeds = common_seeds(records, task, FROZEN, name)
        shared = [u for u in uses if seeds and u in found[name, seeds[0]]["per_user"]]
        for use in shared if name != FROZEN else ():
            own, base = (user_values(records, task, n, use, seeds) for n in (name, FROZEN))
            test = evaluation.compare(own, base)
            before, after = (_mean(found, n, use, seeds) for n in (FROZEN, name))
            rows.append({"encoder": name, "use": use, "draws": len(seeds), "frozen": before, "trained": after,
                         "gain": test.difference, "low": test.low, "high": test.high, "p": test.p_value,
                         "by draw": gains(found, name, use, use, seeds)})  # fmt: skip
    columns = ["encoder", "use", "draws", "frozen", "trained", "gain", "low", "high", "p", "by draw"]
    table = pd.DataFrame(rows, columns=columns)
    table["Holm p"] = [evaluation.p_text(p) for p in evaluation.holm(table.pop("p"))] if len(table) else []
    return table


def gains(
    found: Mapping[tuple[str, int], Any], name: str, use: str, frozen_use: str, seeds: Sequence[int]
) -> list[float]:
    """What training gained in each draw: mean NDCG of ``name`` less that of the frozen encoder."""
    return [found[name, s]["ndcg"][use] - found[FROZEN, s]["ndcg"][frozen_use] for s in seeds]


def draws_interval(values: Sequence[float]) -> tuple[float, float]:
    """The 95% interval of the mean over draws by Student's t: what a new draw of cold items may bring.

    >>> draws_interval([0.01, 0.02, 0.03])
    (-0.004841377117503..., 0.044841377117503...)
    """
    from scipy import stats

    mean, error = float(np.mean(values)), float(stats.sem(values))
    half = float(stats.t.ppf(0.975, len(values) - 1)) * error
    return mean - half, mean + half


def _mean(found: Mapping[tuple[str, int], Any], name: str, use: str, seeds: Sequence[int]) -> float:
    return float(np.mean([found[name, seed]["ndcg"][use] for seed in seeds]))


def cold(axes: Sequence[Axes], records: Records) -> None:
    """Left: NDCG of cold films by encoder and use. Right: what training gained over the frozen encoder."""
    table = cold_table(records)
    # Draws differ: only encoders with all of them stand beside each other.
    whole = table[table["draws"] == table["draws"].max()]
    shown = whole[[use for use in USES if use in whole]].dropna(how="all")
    plots.dots(axes[0], shown)
    axes[0].legend(loc="lower left")
    draws = f"the mean of {whole['draws'].max():.0f} draws"
    plots.finish(axes[0], cold_title(records), f"NDCG@10 among cold films, {draws}")
    found = paired(records)
    gained = found[found["use"] == "map"]
    colours = np.where(gained["low"] > 0, plots.PALETTE[0], plots.PALETTE[3])
    labels = [f"{row.encoder} ({row.draws})" for row in gained.itertuples()]
    plots.intervals(axes[1], labels, gained["gain"], gained["low"], gained["high"], colours)
    for place, values in enumerate(gained["by draw"]):
        axes[1].plot(values, [place] * len(values), "x", color="#444444", markersize=6)
    axes[1].grid(axis="y", visible=False)
    about = "NDCG@10 less the frozen encoder's map (×: a draw)"
    plots.finish(axes[1], gain_title(gained), about)


def cold_title(records: Records) -> str:
    """What training made of the encoder, as a sentence."""
    found = verdict(records)
    return (
        f"Cold films: {found.frozen:.3f} frozen ({found.frozen_use}), {found.trained:.3f} {found.name} "
        f"({found.use}); {_gained(found.by_draw)}"
    )


def _gained(by_draw: Sequence[evaluation.Comparison]) -> str:
    """On how many draws training gains, on how many it loses, by each draw's own interval over users."""
    gained, lost = sum(c.low > 0 for c in by_draw), sum(c.high < 0 for c in by_draw)
    also = f", loses on {lost}" if lost else ""
    return f"training gains on {gained} of {len(by_draw)} draws{also}"


def gain_title(gained: pd.DataFrame) -> str:
    """How many variants of training gain on every draw, as a sentence; one draw says nothing of others."""
    several = gained[gained["draws"] > 1]
    always = sum(min(values) > 0 for values in several["by draw"])
    verb = "gains" if always == 1 else "gain"
    return f"Of {len(several)} ways to train with several draws {always} {verb} over the same map on each"


def warm_table(records: Records) -> pd.DataFrame:
    """NDCG@10 over all films, a row an encoder, a column a use of its vectors."""
    found = parts(records, "warm")
    return pd.DataFrame({name: m["ndcg"] for (name, seed), m in found.items() if seed == 0}).T


def few_table(records: Records, use: str, name: str) -> pd.Series:
    """NDCG@10 against the number of interactions that are left of a history."""
    few = parts(records, "warm")[name, 0]["few"]
    return pd.Series({int(n): float(np.mean(own[use])) for n, own in few.items()})


def few(ax: Axes, records: Records) -> pd.DataFrame:
    """Users with few interactions: EASE alone, the maps of the frozen and of the trained encoders, and EASE
    with their text inside.
    """
    names = [name for name, _ in parts(records, "warm") if "few" in parts(records, "warm")[name, 0]]
    lines = {"EASE": few_table(records, "EASE", FROZEN)}
    lines |= {f"map, {name}": few_table(records, "map", name) for name in names}
    lines |= {f"EASE with {name} text inside": few_table(records, "inside EASE", name) for name in names}
    table = pd.DataFrame(lines)
    plots.lines(ax, table.index.to_list(), {name: table[name].to_list() for name in table}, "x")
    ax.set_xticks(table.index.to_list(), [str(n) for n in table.index])
    ax.minorticks_off()
    ax.legend()
    best = table.idxmax(axis=1)
    first, last = table.index[0], table.index[-1]
    if best.nunique() == 1:
        title = f"{best.iloc[0]} ranks best for users of whom {first} to {last} interactions are known"
    else:
        title = f"With {first} interaction {best.iloc[0]} ranks best, with {last} {best.iloc[-1]}"
    plots.finish(ax, title, "interactions known of the user", "NDCG@10 over all films")
    return table


def times_table(records: Records) -> pd.DataFrame:
    """A row a case: milliseconds of each phase for a text, tokens a second, the fraction of the roofline."""
    cases = parts(records, "work")["times", 0]["cases"]
    rows = {}
    for case, m in cases.items():
        rows[case] = {phase: 1000 * m["phases_s"][phase] / m["texts"] for phase in PHASES}
        rows[case] |= {"tokens per core second": m["tokens_per_s"], "of the peak": m["fraction_of_peak"]}
    return pd.DataFrame(rows).T


def _worst(memory: pd.DataFrame) -> float:
    """The largest relative error of an estimate, rounded up to whole percent."""
    return float(np.ceil(100 * (memory["ratio"] - 1).abs().max() - 1e-9)) / 100


def memory_table(records: Records) -> pd.DataFrame:
    """A row a case: MiB by part, estimated and measured, and their ratio."""
    cases = parts(records, "work")["memory", 0]["cases"]
    rows = {}
    for case, m in cases.items():
        rows[case] = {part: value / 2**20 for part, value in m["parts"].items()}
        rows[case] |= {"estimated": m["estimated"] / 2**20, "measured": m["measured"] / 2**20,
                       "ratio": m["ratio"]}  # fmt: skip
    return pd.DataFrame(rows).T


def work(axes: Sequence[Axes], records: Records) -> None:
    """Left: where a text's time goes. Right: estimated and measured memory."""
    times, memory = times_table(records), memory_table(records)
    ends = np.zeros(len(times))
    for i, phase in enumerate(PHASES):
        axes[0].barh(times.index, times[phase], left=ends, color=plots.PALETTE[i], label=phase)
        ends = ends + times[phase].to_numpy()
    axes[0].invert_yaxis()
    axes[0].legend(fontsize=8)
    share = float((times["backward"] / times[list(PHASES)].sum(axis=1)).max())
    least, most = times["of the peak"].min(), times["of the peak"].max()
    plots.finish(
        axes[0],
        f"The backward pass takes up to {share:.0%}; {least:.0%} to {most:.0%} of the peak are reached",
        "core milliseconds a text",
    )
    plots.dots(axes[1], memory[["estimated", "measured"]])
    axes[1].legend()
    worst = _worst(memory)
    plots.finish(
        axes[1], f"The estimate is within {worst:.0%} of the measured peak", "MiB added to the weights"
    )


def topics_table(records: Records) -> pd.DataFrame:
    """How well sentences of one topic are told from others (AUC), by encoder, before and after training."""
    found = parts(records, "cold")
    rows = {name: m["topics"] for (name, seed), m in found.items() if seed == 0 and "topics" in m}
    return pd.DataFrame(rows).T.rename(columns={"en": "English", "zh": "Chinese"})


def chosen(records: Records) -> str:
    """The trained encoder with the most draws and, of those, the highest validation NDCG of its map: no test
    value takes part in the choice.
    """
    found = parts(records, "cold")
    values: dict[str, list[float]] = {}
    for (name, _), m in found.items():
        if name != FROZEN and "map" in m["validation"]:
            values.setdefault(name, []).append(m["validation"]["map"])
    return max(values, key=lambda name: (len(values[name]), float(np.mean(values[name]))))


def headline(records: Records) -> dict[str, float]:
    """NDCG@10 among cold films of the chosen encoder and of the frozen one, by use, over their draws."""
    name = chosen(records)
    table = cold_table(records, common_seeds(records, "cold", FROZEN, name))
    return {
        f"{label}, {use}": float(table.loc[row, use])
        for label, row in (("trained", name), (FROZEN, FROZEN))
        for use in USES
    } | {"chosen": verdict(records).trained, "frozen, chosen": verdict(records).frozen}


def cost(records: Records) -> dict[str, float]:
    """What training the chosen encoder took: steps to its best validation, weights trained, and core
    seconds, the most of any draw of cold items (a run that was interrupted counts the time after it only).
    """
    name = chosen(records)
    own = [m for (n, _), m in parts(records, "cold").items() if n == name]
    best = [max(m["validated"], key=lambda v: v[1])[0] for m in own]
    return {
        "steps": float(np.mean(best)),
        "trained weights": float(own[0]["trained_weights"]),
        "core seconds": float(max(m["core_seconds"] for m in own)),
    }


def bullets(records: Records, losses: Mapping[str, Sequence[float]]) -> str:
    """The takeaways of notebook 07 as a Markdown list: this run's losses, then the record."""
    steps = min(len(values) for values in losses.values())
    fell = all(values[-1] < values[0] for values in losses.values())
    own = (
        f"**This run**: {steps} gradient steps {'lower' if fell else 'do not lower'} the loss on the items "
        "they see, for contrast and for distillation alike; a resumed run equals an uninterrupted one."
    )
    return "\n".join(f"* {line}" for line in [own, *takeaways(records)])


def best_use(records: Records, name: str) -> str:
    """The use of an encoder's vectors with the highest validation NDCG, the mean over its draws."""
    own = [m["validation"] for (n, _), m in parts(records, "cold").items() if n == name]
    return max(own[0], key=lambda use: float(np.mean([values[use] for values in own])))


@dataclass(frozen=True)
class Verdict:
    """The main comparison: the chosen trained encoder and the frozen one, each in the use that validation
    chose, over the draws that both have, paired over users.
    """

    name: str
    use: str
    frozen_use: str
    draws: int
    trained: float
    frozen: float
    test: evaluation.Comparison
    by_draw: list[evaluation.Comparison]


def verdict(records: Records) -> Verdict:
    """What the record says of cold items."""
    name = chosen(records)
    use, frozen_use = best_use(records, name), best_use(records, FROZEN)
    seeds = common_seeds(records, "cold", FROZEN, name)
    own = user_values(records, "cold", name, use, seeds)
    base = user_values(records, "cold", FROZEN, frozen_use, seeds)
    table = cold_table(records, seeds)
    values = partial(user_values, records, "cold")
    by_draw = [evaluation.compare(values(name, use, [s]), values(FROZEN, frozen_use, [s])) for s in seeds]
    return Verdict(
        name, use, frozen_use, len(seeds), float(table.loc[name, use]), float(table.loc[FROZEN, frozen_use]),
        evaluation.compare(own, base), by_draw,
    )  # fmt: skip


def takeaways(records: Records) -> list[str]:
    """What the record says, a sentence in Markdown each."""
    lines = [_cold_line(records)]
    warm = warm_table(records)
    trained = warm.drop(index=FROZEN) if "map" in warm else warm
    if len(trained):
        name = trained["map"].idxmax()
        lines += [_warm_line(records, warm, name), *_few_line(records, name)]
    if ("times", 0) in parts(records, "work"):
        lines.append(_work_line(records))
    books = paired(records, "cold books", ("map",))
    if len(books):
        row = books.iloc[0]
        lines.append(
            f"**Cold books** ({row['encoder']}, {row['draws']} draw): by the map {row['trained']:.3f} "
            f"trained, {row['frozen']:.3f} frozen (difference {row['low']:+.3f} to {row['high']:+.3f}, "
            f"p {row['Holm p']})."
        )
    topics = topics_table(records)
    if len(topics) > 1:
        after = topics.drop(index=FROZEN)
        told = [
            f"{of} {before:.2f} before and {after[of].min():.2f} to {after[of].max():.2f} after"
            for of, before in topics.loc[FROZEN].items()
        ]
        lines.append(f"**Forgetting**: sentences of one topic against others (AUC): {'; '.join(told)}.")
    return lines


def _cold_line(records: Records) -> str:
    found = verdict(records)
    test = found.test
    table = cold_table(records, common_seeds(records, "cold", FROZEN, found.name))
    before, after = table.loc[FROZEN, "map"], table.loc[found.name, "map"]
    over = ""
    if found.draws > 1:
        low, high = draws_interval([c.difference for c in found.by_draw])
        over = f", {low:+.3f} to {high:+.3f} over draws"
        over += "" if low > 0 or high < 0 else ", so that a new draw would gain is not shown"
    return (
        f"**Cold films** ({found.name}, {found.draws} draws; encoder and use chosen by validation): one "
        f"small encoder has an NDCG@10 of {found.trained:.3f} trained ({found.use}) and {found.frozen:.3f} "
        f"frozen ({found.frozen_use}). {_gained(found.by_draw).capitalize()} "
        f"({', '.join(f'{c.difference:+.3f}' for c in found.by_draw)}): {test.difference:+.3f} in the mean "
        f"over these draws' users (interval {test.low:.3f} to {test.high:.3f}){over}. "
        f"By the same map {after:.3f} against {before:.3f}."
    )


def _warm_line(records: Records, warm: pd.DataFrame, name: str) -> str:
    frozen, own = warm.loc[FROZEN], warm.loc[name]
    after, before = (user_values(records, "warm", n, "inside EASE", [0]) for n in (name, FROZEN))
    test = evaluation.compare(after, before)
    shown = "" if test.low > 0 or test.high < 0 else ", not shown to differ"
    return (
        f"**Warm films** ({name}): by the map text reaches {frozen['map']:.3f} frozen and "
        f"{own['map']:.3f} trained, EASE {frozen['EASE']:.3f}; inside EASE the frozen encoder gives "
        f"{frozen['inside EASE']:.3f}, the trained one {own['inside EASE']:.3f} ({test.difference:+.3f}, "
        f"interval {test.low:+.3f} to {test.high:+.3f}{shown})."
    )


def _few_line(records: Records, name: str) -> list[str]:
    """What text inside EASE does to users of whom little is known; nothing where it is not recorded."""
    if "few" not in parts(records, "warm")[FROZEN, 0]:
        return []
    alone = few_table(records, "EASE", FROZEN)
    frozen, own = (few_table(records, "inside EASE", n) / alone - 1 for n in (FROZEN, name))
    few, many = alone.index[0], alone.index[-1]
    return [
        f"**Users with few interactions**: text inside EASE, at the weight tuned on whole histories, changes "
        f"its NDCG by {frozen[few]:+.0%} (frozen) and {own[few]:+.0%} (trained) where {few} is known, and by "
        f"{frozen[many]:+.0%} and {own[many]:+.0%} where {many} are."
    ]


def _work_line(records: Records) -> str:
    times, work = times_table(records), parts(records, "work")
    case = "all layers"
    backward = times.loc[case, "backward"] / times.loc[case, list(PHASES)].sum()
    line = (
        f"**Time** ({case}): {times.loc[case, 'tokens per core second']:,.0f} tokens a core second, "
        f"{times.loc[case, 'of the peak']:.0%} of the peak of a matrix product; the backward pass takes "
        f"{backward:.0%}."
    )
    if ("memory", 0) in work:
        memory = memory_table(records)
        worst = _worst(memory)
        line += (
            f" **Memory**: the estimate is within {worst:.0%} of the measured peak in "
            f"{len(memory)} cases, from {memory['measured'].min():.0f} to {memory['measured'].max():.0f} MiB."
        )
    return line
