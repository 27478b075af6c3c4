"""Tables, figures and sentences of language models trained to rank: yes-no answers by number of examples, and
students of EASE; from the record of the study of training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from recsys_lib import evaluation
from recsys_lib.evaluation import Evaluation, auc_interval
from recsys_lib.reporting import plots
from recsys_lib.reporting.figures.training import Records, parts

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DECODER, REGRESSION = "decoder", "logistic regression on EASE"
SCORES = {DECODER: "decoder_scores", REGRESSION: "logistic_scores"}


def _answers(records: Records) -> dict[int, Mapping[str, Any]]:
    return {m["n"]: m for m in sorted(parts(records, "yes-no").values(), key=lambda m: m["n"])}


def answers_table(records: Records) -> pd.DataFrame:
    """By number of training examples: AUC of the decoder and of logistic regression on EASE's scores, each
    with its 95% interval, the decoder's less the regression's, and the NDCG@10 of EASE's lists as each
    reorders them.
    """
    rows = {}
    for n, m in _answers(records).items():
        liked = np.asarray(m["liked"], bool)
        row: dict[str, float] = {}
        for name in (DECODER, REGRESSION):
            if SCORES[name] in m:
                value, low, high = auc_interval(liked, m[SCORES[name]])
                row |= {f"AUC, {name}": value, f"low, {name}": low, f"high, {name}": high}
                row[f"NDCG, {name}"] = m["reranked"][name]["ndcg"]
        if SCORES[REGRESSION] in m:
            both = auc_interval(liked, m[SCORES[DECODER]], m[SCORES[REGRESSION]])
            row |= dict(zip(("decoder less regression", "low", "high"), both, strict=True))
        rows[n] = row
    return pd.DataFrame(rows).T.rename_axis("examples")


def rates(records: Records) -> pd.Series:
    """AUC on validation interactions by the learning rate that was tried."""
    found = {m["rate"]: m["auc"] for m in parts(records, "yes-no rate").values()}
    return pd.Series(found, name="validation AUC", dtype=float).sort_index().rename_axis("rate")


def answers(axes: Sequence[Axes], records: Records) -> None:
    """Left: AUC by examples. Right: NDCG of EASE's lists, reordered, by examples."""
    table, found = answers_table(records), _answers(records)
    trained = table[table.index > 0]
    for i, name in enumerate((DECODER, REGRESSION)):
        colour, x = plots.PALETTE[i], trained.index.to_numpy(float)
        axes[0].plot(x, trained[f"AUC, {name}"], "o-", color=colour, label=name)
        axes[0].fill_between(x, trained[f"low, {name}"], trained[f"high, {name}"], color=colour, alpha=0.15)
        axes[1].plot(x, trained[f"NDCG, {name}"], "o-", color=colour, label=name)
    untrained = table[f"AUC, {DECODER}"].get(0)
    if untrained is not None:
        axes[0].axhline(untrained, color="#888888", linestyle=":", label=f"{DECODER}, untrained")
    first = next(iter(found.values()))["reranked"][DECODER]
    axes[1].axhline(first["first_stage"], color="#444444", linestyle="--", label="EASE's own order")
    axes[1].axhline(first["floor"], color="#888888", linestyle=":", label="a random order")
    for ax in axes:
        ax.set_xscale("log")
        ax.set_xticks(trained.index.to_list(), [f"{n:,}" for n in trained.index])
        ax.minorticks_off()
    axes[0].legend(loc="center left")
    axes[1].legend(loc="center right", bbox_to_anchor=(1.0, 0.8))  # below EASE's line, which no other reaches
    plots.finish(axes[0], answers_title(table), "training examples", "AUC on test interactions")
    plots.finish(axes[1], reordered_title(records), "training examples", "NDCG@10 of EASE's 20 best")


def crossover(table: pd.DataFrame) -> int | None:
    """The fewest examples after which the decoder's AUC is above the regression's, as its interval says."""
    better = table.index[table["low"] > 0]
    return int(better[0]) if len(better) else None


def answers_title(table: pd.DataFrame) -> str:
    at, last = crossover(table), table.iloc[-1]
    if at is not None:
        return f"From {at:,} examples on the decoder beats the regression"
    decided = "stays behind" if last["high"] < 0 else "is not told from"
    return (
        f"With {table.index[-1]:,} examples the decoder's {last[f'AUC, {DECODER}']:.2f} {decided} "
        f"the regression's {last[f'AUC, {REGRESSION}']:.2f}"
    )


def reordered_title(records: Records) -> str:
    own = [m["reranked"][DECODER] for m in _answers(records).values()]
    gains = sum(m["minus_first_stage"]["low"] > 0 for m in own)
    worse = sum(m["minus_first_stage"]["high"] < 0 for m in own)
    return f"The decoder's order is better than EASE's in {gains} of {len(own)} cases, worse in {worse}"


def students_table(records: Records) -> pd.DataFrame:
    """Students of EASE on the cold map's lists of cold films, a row a student: NDCG@10 of a random order, of
    the student before and after its lessons, of the map, and of the two fused; what the lessons gained, the
    student less the map, and the two fused less the map, with 95% intervals over the draw's users; lists and
    core seconds of the lessons.
    """
    rows = []
    for (name, seed), m in sorted(parts(records, "student").items(), key=lambda part: part[0]):
        after, before = m["cold"], m["cold before"]
        gain = evaluation.compare(_of_users(after), _of_users(before))
        alone, fused = after["minus_first_stage"], after["fused_minus_first_stage"]
        rows.append({
            "student": name, "draw": seed, "random": after["floor"], "before": before["ndcg"],
            "after": after["ndcg"], "gained": gain.difference, "gained, low": gain.low,
            "gained, high": gain.high, "map": after["first_stage"], "less map": alone["difference"],
            "less map, low": alone["low"], "less map, high": alone["high"],
            "fused": after["fused"], "fusing": fused["difference"],
            "fusing, low": fused["low"], "fusing, high": fused["high"], "rate": m["rate"],
            "lists": m["lists"], "core seconds": m["core_seconds"],
        })  # fmt: skip
    return pd.DataFrame(rows)


def _of_users(metrics: Mapping[str, Any]) -> Evaluation:
    """NDCG@10 of the users of recorded lists."""
    ndcg = np.array(metrics["per_user"]["ndcg"])
    return Evaluation.without_lists(10, np.array(metrics["users"]), {"ndcg": ndcg})


def takeaways(records: Records) -> list[str]:
    """What the record says of both, a sentence in Markdown each."""
    lines, table = [], answers_table(records)
    if len(table):
        last, n = table.iloc[-1], table.index[-1]
        at = crossover(table)
        ends = f"it passes it at {at:,}" if at is not None else "they do not cross"
        untrained = table[f"AUC, {DECODER}"].get(0)
        lines.append(
            f"**Yes or no** (SmolLM2, AUC): {untrained:.2f} untrained, {last[f'AUC, {DECODER}']:.2f} after "
            f"{n:,} examples; logistic regression on EASE's two scores {last[f'AUC, {REGRESSION}']:.2f} "
            f"(difference {last['low']:+.2f} to {last['high']:+.2f}): {ends}. {reordered_title(records)}."
        )
    students = students_table(records)
    for name, own in students.groupby("student") if len(students) else ():
        taught = int((own["gained, low"] > 0).sum())
        better, worse = (int(n.sum()) for n in (own["less map, low"] > 0, own["less map, high"] < 0))
        fusing = int((own["fusing, low"] > 0).sum())
        lines.append(
            f"**Taught by EASE** ({name}, {own['lists'].iloc[0]:,} lists, "
            f"{own['core seconds'].mean() / 60:.0f} core minutes): cold films by the student "
            f"{own['after'].mean():.3f}, before its lessons {own['before'].mean():.3f}, a random order "
            f"{own['random'].mean():.3f}, the map that made the lists {own['map'].mean():.3f}; lessons "
            f"gain on {taught} of {len(own)} draw{'s' * (len(own) > 1)}, the student is better than the map "
            f"on {better} and worse on {worse}, fusing student and map gains on {fusing}."
        )
    return lines
