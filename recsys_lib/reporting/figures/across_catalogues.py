"""Tables, figures and findings of the study over catalogues (notebook 13)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys_lib.evaluation import holm
from recsys_lib.experiments.catalogues import explain, long_texts
from recsys_lib.experiments.catalogues.protocol import SHORT
from recsys_lib.reporting import plots
from recsys_lib.reporting.takeaways_00_to_03 import bullets

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SCENARIO_COLOURS = {
    "entertainment": plots.PALETTE[0],
    "content feed": plots.PALETTE[1],
    "shop": plots.PALETTE[2],
    "social feed": plots.PALETTE[3],
}
_SHAPE = ["users", "items", "interactions", "words per text", "interactions per item", "rare items"]


def overview(table: pd.DataFrame) -> pd.DataFrame:
    """Sizes and texts of the study's catalogues, rounded for reading."""
    found = table[["scenario", *_SHAPE, "cold share"]].copy()
    for column in ("users", "items", "interactions", "words per text"):
        found[column] = found[column].astype(float).round().astype(int)
    for column in ("interactions per item", "rare items", "cold share"):
        found[column] = found[column].astype(float).round(2 if column != "interactions per item" else 1)
    return found


def alignment_table(measured: Mapping[str, Mapping[str, float]]) -> pd.DataFrame:
    """Mean cosine (TF-IDF) of the texts of items chosen together and of all pairs, and their ratio."""
    import pandas as pd

    rows = {}
    for name, found in measured.items():
        own = SHORT.get(name, name)
        for suffix in ("", ", as distributed"):
            if f"together{suffix}" in found:
                together, pairs = found[f"together{suffix}"], found[f"all pairs{suffix}"]
                rows[own + suffix] = {
                    "chosen together": together,
                    "all pairs": pairs,
                    "ratio": together / pairs,
                }
    return pd.DataFrame(rows).T.round({"chosen together": 3, "all pairs": 3, "ratio": 1})


def best_methods(measured: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """What ranks warm items best: the pair behind the gain, chosen by validation, with their NDCG@10 on the
    test; beside it the collaborative method that is best on the test, and the better text alone.
    """
    import pandas as pd

    rows = {}
    for name, metrics in measured.items():
        gain, warm = metrics["gains"]["warm"], metrics["warm"]
        best, alone = explain.best_collaborative(metrics), text_alone(metrics)
        rows[SHORT.get(name, name)] = {
            "collaborative": gain["base"],
            "NDCG": warm[gain["base"]]["ndcg"],
            "with text": gain["method"].replace("best", "the same"),
            "NDCG with text": warm[gain["method"]]["ndcg"],
            "best on test": best,
            "its NDCG": warm[best]["ndcg"],
            "text alone": warm[alone]["ndcg"],
        }
    return pd.DataFrame(rows).T.infer_objects()


def text_alone(metrics: Mapping[str, Any]) -> str:
    """The text whose profile ranks warm items better on the validation part."""
    return max(explain.USES, key=lambda text: metrics["warm"][text]["validation"])


def cold_methods(measured: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """NDCG@10 of cold items by chance and by each text, as cosine and mapped, and which of these two the
    validation part prefers for TF-IDF and for MiniLM.
    """
    import pandas as pd

    rows = {}
    for name, metrics in measured.items():
        row = {"chance": metrics["cold"]["chance"]["ndcg"]}
        for text, (cosine, mapped) in explain.USES.items():
            row |= {f"{text}, cosine": metrics["cold"][cosine]["ndcg"]}
            row |= {f"{text}, map": metrics["cold"][mapped]["ndcg"]}
        used = ["cosine" if explain.use(metrics, text) == text else "map" for text in explain.USES]
        rows[SHORT.get(name, name)] = row | {"preferred": ", ".join(used)}
    return pd.DataFrame(rows).T.infer_objects()


# ---------------------------------------------------------------- gains over catalogues


def gain_panels(
    axes: Sequence[Axes], table: pd.DataFrame, gain: str, own: Mapping[str, float] | None
) -> None:
    """A gain over each variable of ``explain.EVERYWHERE``, with intervals, a marker for each catalogue, which
    the legend of the figure names; ``own``: another catalogue, whose place is a dashed line.
    """
    y = 100 * table[gain].to_numpy(dtype=float)
    low, high = (100 * table[f"{gain} {end}"].to_numpy(dtype=float) for end in ("low", "high"))
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

    for ax, variable in zip(axes, explain.EVERYWHERE, strict=True):
        logged = explain.VARIABLES[variable]
        x = table[variable].to_numpy(dtype=float)
        for i in range(len(table)):
            colour = SCENARIO_COLOURS[table["scenario"].iloc[i]]
            ax.vlines(x[i], low[i], high[i], color=colour, linewidth=1.5)
            filled = colour if table["seen"].iloc[i] else "white"
            ax.scatter(
                x[i], y[i], s=46, marker=plots.MARKERS[i], facecolor=filled, edgecolor=colour, linewidth=1.6,
                zorder=3, label=table.index[i],
            )  # fmt: skip
        ax.axhline(0, color=plots.GREY, linewidth=1)
        ax.margins(x=0.08, y=0.08)
        if own is not None:
            ax.axvline(own[variable], color=plots.GREY, linestyle="--", linewidth=1)
        if logged:
            ax.set_xscale("log")
            ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            ax.xaxis.set_major_formatter(ScalarFormatter())
            ax.xaxis.set_minor_formatter(NullFormatter())


def gains_title(table: pd.DataFrame) -> str:
    """How many of the catalogues gained from text, warm and by a language model."""
    (warm, _), (better, worse) = _decided_counts(table, "warm"), _decided_counts(table, "chosen")
    return (
        f"Text raises NDCG of warm items on {warm} of {len(table)} catalogues; for cold items MiniLM beats "
        f"TF-IDF on {better} and loses on {worse}"
    )


def _decided_counts(table: pd.DataFrame, gain: str) -> tuple[int, int]:
    """On how many catalogues a gain is decided, above 0 and below: its interval lacks 0, and Holm's p over
    the catalogues is below 0.05.
    """
    sure = table[f"{gain} p"].astype(float) < 0.05
    above, below = table[f"{gain} low"].astype(float) > 0, table[f"{gain} high"].astype(float) < 0
    return int((sure & above).sum()), int((sure & below).sum())


def gains_legend(fig: Figure, table: pd.DataFrame) -> None:
    """The markers of the catalogues, below all panels."""
    handles, labels = fig.axes[0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=len(table))


def decided(table: pd.DataFrame) -> pd.DataFrame:
    """The gains in percent with their intervals, and Holm's p over the catalogues."""
    import pandas as pd

    labels = {"warm": "text, warm", "chosen": "MiniLM over TF-IDF, cold", "language": "the same map, cold"}
    found = {}
    for gain, label in labels.items():
        for column, key in (("gain, %", gain), ("low", f"{gain} low"), ("high", f"{gain} high")):
            found[label, column] = (100 * table[key].astype(float)).round(1)
        found[label, "Holm p"] = table[f"{gain} p"].astype(float).round(3)
    return pd.DataFrame(found)


def prediction_title(scored: pd.DataFrame) -> str:
    """How many predictions hit, and whether they beat the mean of the catalogues they were made from."""
    error, mean = (100 * scored[column].mean() for column in ("error", "error of the mean"))
    verb = "beat" if error < 0.8 * mean else "are hardly better than" if error < mean else "do not beat"
    return (
        f"{int(scored['hit'].sum())} of {len(scored)} predicted ranges hold the measured gain; predictions "
        f"{verb} the mean of the catalogues seen (mean error {error:.0f} points against {mean:.0f})"
    )


def predictions(ax: Axes, scored: pd.DataFrame) -> None:
    """Predicted ranges and measured gains in percent, a row for each prediction."""
    rows = range(len(scored))
    ax.hlines(rows, 100 * scored["low"], 100 * scored["high"], color=plots.PALETTE[5], linewidth=6, alpha=0.5)
    ax.scatter(100 * scored["predicted"], rows, marker="|", s=140, color=plots.PALETTE[0], label="predicted")
    ax.scatter(100 * scored["measured"], rows, s=36, color=plots.PALETTE[3], label="measured", zorder=3)
    ax.axvline(0, color=plots.GREY, linewidth=1)
    labels = (
        scored["catalogue"]
        + ", "
        + scored["gain"].map({"warm": "text, warm", "language": "MiniLM, cold, same map"})
    )
    ax.set_yticks(list(rows), labels)
    ax.invert_yaxis()
    ax.legend()


# ---------------------------------------------------------------- long texts


def long_text_table(measured: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """NDCG of cold items by how a text is read, its difference to 256 tokens with interval, and Holm's p."""
    import pandas as pd

    rows = []
    for name, metrics in measured.items():
        others = [v for v in metrics["variants"] if v != long_texts.BASE]
        adjusted = dict(zip(others, holm([metrics["variants"][v]["p"] for v in others]), strict=True))
        for variant, one in metrics["variants"].items():
            row = {"catalogue": SHORT.get(name, name), "read": variant, "NDCG": one["ndcg"]}
            row |= {key: one[key] for key in ("difference", "low", "high")}
            rows.append(row | {"Holm p": float(adjusted.get(variant, 1.0))})
    return pd.DataFrame(rows).set_index(["catalogue", "read"])


def long_texts_panels(axes: Sequence[Axes], table: pd.DataFrame) -> None:
    """The differences to 256 tokens, one panel a catalogue."""
    for ax, (_, own) in zip(axes, table.groupby(level=0, sort=False), strict=True):
        shown = own.droplevel(0).drop(index=long_texts.BASE)
        colours = [plots.PALETTE[3] if high < 0 else plots.PALETTE[0] for high in shown["high"]]
        plots.intervals(ax, shown.index, shown["difference"], shown["low"], shown["high"], colours)


def long_texts_title(table: pd.DataFrame) -> str:
    """Which reading of the texts ranks best, beside 256 tokens and the title."""
    found = []
    for name, own in table.groupby(level=0, sort=False):
        ndcg = own.droplevel(0)["NDCG"]
        best = str(ndcg.idxmax())
        found.append(
            f"{name}: best {best} ({ndcg[best]:.3f}; 256 tokens {ndcg[long_texts.BASE]:.3f}, title "
            f"{ndcg['title only']:.3f})"
        )
    return "; ".join(found)


# ---------------------------------------------------------------- people


def personal_table(measured: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """NDCG with the user's own history and with another's, by catalogue and method."""
    import pandas as pd

    rows = [
        {"catalogue": SHORT.get(name, name), "method": method} | found
        for name, metrics in measured.items()
        for method, found in metrics["personal"].items()
    ]
    return pd.DataFrame(rows).set_index(["catalogue", "method"])


def groups(
    axes: Sequence[Axes], metrics: Mapping[str, Any], kinds: Sequence[str], methods: Sequence[str]
) -> None:
    """NDCG of some methods by group of users, one panel for each kind of group, with intervals."""
    for ax, kind in zip(axes, kinds, strict=True):
        rows = metrics["groups"][kind]
        for i, method in enumerate(methods):
            place = np.arange(len(rows)) + 0.14 * (i - (len(methods) - 1) / 2)
            values = [row[method] for row in rows.values()]
            colour = plots.PALETTE[i]
            ax.hlines(place, [v["low"] for v in values], [v["high"] for v in values], color=colour)
            ax.scatter([v["ndcg"] for v in values], place, color=colour, s=22, marker=plots.MARKERS[i],
                       label=method, zorder=3)  # fmt: skip
        ax.set_yticks(range(len(rows)), [f"{label} ({row['users']})" for label, row in rows.items()])
        ax.invert_yaxis()
    axes[0].legend(loc="best", fontsize=8)


def gap_table(metrics: Mapping[str, Any]) -> pd.DataFrame:
    """The gap between the last and the first group of every kind and method, with interval and Holm's p."""
    import pandas as pd

    kept = ("between", "difference", "low", "high", "Holm p")
    rows = [
        {"groups": kind, "method": method} | {key: gap[key] for key in kept}
        for kind, own in metrics["gaps"].items()
        for method, gap in own.items()
    ]
    return pd.DataFrame(rows).set_index(["groups", "method"])


def groups_title(metrics: Mapping[str, Any], method: str = "EASE") -> str:
    """The gaps of a method between the last and the first group of each kind, where the interval decides."""
    found = []
    for kind, gap in metrics["gaps"].items():
        one = gap[method]
        found.append(
            f"{kind} {one['difference']:+.2f}" if one["low"] * one["high"] > 0 else f"{kind} undecided"
        )
    return f"{method}'s NDCG, last group less first: {', '.join(found)}"


def interests_table(measured: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """NDCG of a text profile by the number of vectors a user has, each less one vector, with Holm's p."""
    import pandas as pd

    rows = []
    for name, metrics in measured.items():
        own = metrics["interests"]
        others = [count for count in own if count != "1"]
        adjusted = dict(zip(others, holm([own[count]["p"] for count in others]), strict=True))
        for count, one in own.items():
            row = {"catalogue": SHORT.get(name, name), "vectors": count, "NDCG": one["ndcg"]}
            row |= {key: one[key] for key in ("difference", "low", "high")}
            rows.append(row | {"Holm p": float(adjusted.get(count, 1.0))})
    return pd.DataFrame(rows).set_index(["catalogue", "vectors"])


# ---------------------------------------------------------------- scale and takeaways


def scale_table(metrics: Mapping[str, Any]) -> pd.DataFrame:
    """Stages of the invented catalogue with seconds of processor time and the peak of memory so far."""
    import pandas as pd

    found = pd.DataFrame(metrics["stages"]).T
    return found.rename(
        columns={"seconds": "s on the clock", "cpu_s": "s of processor", "peak_gib": "peak, GiB"}
    )


def scale_sentence(metrics: Mapping[str, Any]) -> str:
    """How long MiniLM took for the titles it read, and the highest memory of the whole path."""
    n, stage = metrics["texts encoded by MiniLM"], metrics["stages"]["encode, MiniLM"]
    peak = max(row["peak_gib"] for row in metrics["stages"].values())
    return (
        f"MiniLM ({metrics['precision']}) read {n:,} of {metrics['sizes']['items']:,} titles in "
        f"{stage['cpu_s'] / 60:.1f} minutes of one core, {n / stage['cpu_s']:.0f} a second; the highest "
        f"memory of the whole path was {peak:.1f} GiB."
    )


def takeaways(
    measured: Mapping[str, Mapping[str, Any]], table: pd.DataFrame, scored: pd.DataFrame, long: pd.DataFrame,
    people: Mapping[str, Mapping[str, Any]], scale: Mapping[str, Any] | None,
) -> str:  # fmt: skip
    """The notebook's findings in sentences made of the record's numbers."""
    lines = [
        f"{gains_title(table)}, each text used as validation prefers. {_map_sentence(measured, table)}",
        _largest_gain(measured, table),
        f"**Predictions**: {_prediction_sentence(scored)}",
        f"**Long texts**: {long_texts_title(long)}.",
        _personal_sentence(people),
        _interest_sentence(people),
    ]
    if scale is not None:
        stages = scale["stages"]
        total, peak = (
            f([row[key] for row in stages.values()]) for f, key in ((sum, "cpu_s"), (max, "peak_gib"))
        )
        lines.append(
            f"**Scale**: {scale['sizes']['users']:,} users and {scale['sizes']['items']:,} items go through "
            f"the whole path in {total:.0f} s of one processor and {peak:.1f} GiB; reading 25 million rows "
            f"takes {stages['read the CSV files']['cpu_s']:.0f} s of it. {scale_sentence(scale)}"
        )
    return bullets(lines)


def _map_sentence(measured: Mapping[str, Mapping[str, Any]], table: pd.DataFrame) -> str:
    """What the same map for both texts would have said, and where it hurts both."""
    better, worse = _decided_counts(table, "language")
    hurt = [
        SHORT.get(name, name)
        for name, metrics in measured.items()
        if all(explain.use(metrics, text) == text for text in explain.USES)
    ]
    said = f"With the same linear map imposed on both texts it would be {better} and {worse}"
    return said + (f"; validation declines the map for both on {', '.join(hurt)}." if hurt else ".")


def _largest_gain(measured: Mapping[str, Mapping[str, Any]], table: pd.DataFrame) -> str:
    """The largest warm gain, what it is a gain over, and how text alone and the best on the test compare."""
    warm = table["warm"].astype(float)
    name = str(warm.idxmax())
    row = table.loc[name]
    metrics = next(m for key, m in measured.items() if SHORT.get(key, key) == name)
    ndcg = {method: found["ndcg"] for method, found in metrics["warm"].items()}
    base, best, alone = (
        metrics["gains"]["warm"]["base"], explain.best_collaborative(metrics), text_alone(metrics)
    )  # fmt: skip
    others = [ndcg[method] for method in explain.collaborative(metrics)]
    place = sum(value >= ndcg[base] for value in others)
    return (
        f"The warm gains lie between {warm.min():+.0%} and {warm.max():+.0%}. The largest, on {name} "
        f"({row['warm low']:+.0%} to {row['warm high']:+.0%}), is over {base} ({ndcg[base]:.3f}), which "
        f"validation chose and which is number {place} of {len(others)} without text on the test; over "
        f"{best}, the best there ({ndcg[best]:.3f}), it is {row['warm over best']:+.0%}. {alone} alone has "
        f"{ndcg[alone]:.3f}."
    )


def _prediction_sentence(scored: pd.DataFrame) -> str:
    cold = scored[scored["gain"] == "cold"]
    said = f"{prediction_title(scored[scored['gain'] != 'cold'])}."
    if len(cold):
        hits = int(cold["hit"].sum())
        said += f" Of {len(cold)} ranges for how far text passes chance on cold items, {hits} hold."
    return said


def _personal_sentence(people: Mapping[str, Mapping[str, Any]]) -> str:
    parts = []
    for name, metrics in people.items():
        lost = {
            method: 1 - found["another's"] / found["own"] for method, found in metrics["personal"].items()
        }
        text = ", ".join(f"{method} {value:.0%}" for method, value in lost.items())
        parts.append(f"{SHORT.get(name, name)}: {text}")
    return (
        f"**Personal**: with another user's history the lists lose, of their NDCG, on {'; on '.join(parts)}."
    )


def _interest_sentence(people: Mapping[str, Mapping[str, Any]]) -> str:
    parts = []
    for name, metrics in people.items():
        several = {n: row["ndcg"] for n, row in metrics["interests"].items() if n in ("2", "3", "4")}
        best = max(several, key=several.__getitem__)
        change = several[best] / metrics["interests"]["1"]["ndcg"] - 1
        parts.append(f"{change:+.0%} on {SHORT.get(name, name)} ({best} vectors)")
    text = ", ".join(parts)
    return f"**Several interests** instead of one vector change a text profile's NDCG at best by {text}."
