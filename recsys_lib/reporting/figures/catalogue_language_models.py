"""Tables, figure and findings of language models that rank and that are trained, over the catalogues of
notebook 13.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys_lib.evaluation import holm
from recsys_lib.experiments.catalogues.protocol import CATALOGUES, SHORT
from recsys_lib.reporting import plots
from recsys_lib.reporting.figures import llm

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

Measured = Mapping[str, Mapping[str, Any]]
STAGES = ("warm", "cold")
# A row of the figure holds each model's order alone and fused, one above the other.
OFFSETS = {"alone": -0.1, "fused": 0.1}


# ---------------------------------------------------------------- tables


def ranking_table(ranked: Measured) -> pd.DataFrame:
    """A row for each catalogue, stage and model: NDCG@10 of the first stage, of the model's order alone and
    fused with it, the weight that validation chose, both differences to the first stage with 95% intervals
    over users and Wilcoxon's p after Holm over all rows, and core seconds a list.
    """
    import pandas as pd

    rows = []
    for name, metrics in ranked.items():
        for stage in (s for s in STAGES if s in metrics):
            models = {key: own for key, own in metrics[stage].items() if key in llm.MODELS}
            for model, own in models.items():
                row = {"catalogue": SHORT.get(name, name), "items": stage, "model": llm.MODELS[model],
                       "users": len(own["users"]), "base": metrics[stage]["first stage"],
                       "first stage": own["first_stage"], "alone": own["ndcg"], "weight": own["weight"],
                       "fused": own["fused"]}  # fmt: skip
                row |= _difference(own["minus_first_stage"], "alone ")
                row |= _difference(own["fused_minus_first_stage"], "fused ")
                rows.append(row | {"core s": own["cpu_seconds_per_list"]})
    table = pd.DataFrame(rows).set_index(["catalogue", "items", "model"])
    for kind in ("alone", "fused"):
        table[f"{kind} p"] = holm(table[f"{kind} p"].to_numpy(dtype=float))
    return table


def training_table(trained: Measured) -> pd.DataFrame:
    """A row for each catalogue: NDCG@10 of cold items by the tuned map from MiniLM as it is and as trained,
    the difference with its 95% interval over users and Wilcoxon's p after Holm over the catalogues, the step
    whose weights validation kept (0: those from before training), all steps, and their core seconds;
    ``cosine``: what training changed of the NDCG of the cosine with the profile.
    """
    import pandas as pd

    rows = {}
    for name, metrics in trained.items():
        course = metrics["course"]
        row: dict[str, Any] = {"users": len(metrics["frozen"]["users"])}
        row |= {key: metrics[key]["ndcg"]["map"] for key in ("frozen", "trained")}
        row |= _difference(metrics["gains"]["map"])
        row |= {"kept": course["kept"], "steps": course["steps"], "core s": course["core_seconds"]}
        rows[SHORT.get(name, name)] = row | {"cosine": metrics["gains"]["alone"]["difference"]}
    table = pd.DataFrame.from_dict(rows, orient="index")
    table["p"] = holm(table["p"].to_numpy(dtype=float))
    return table


def _difference(test: Mapping[str, float], label: str = "") -> dict[str, float]:
    return {f"{label}{key}": test[key] for key in ("difference", "low", "high", "p")}


def sides(table: pd.DataFrame, label: str = "") -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows whose difference is decided above 0, and those below: an interval without 0, and p < 0.05."""
    sure = table[f"{label}p"] < 0.05
    return table[sure & (table[f"{label}low"] > 0)], table[sure & (table[f"{label}high"] < 0)]


# ---------------------------------------------------------------- figure


def panels(axes: Sequence[Axes], ranking: pd.DataFrame, training: pd.DataFrame) -> None:
    """Differences of NDCG@10 by catalogue: to the first stage of all items and of cold items, by model, alone
    (open) and fused (filled); and of the trained encoder's map to that of the frozen one, in colour where it
    is decided.
    """
    for ax, stage in zip(axes, STAGES, strict=False):
        _ranking_panel(ax, ranking.xs(stage, level="items"))
        ax.set_xlabel(f"{'cold' if stage == 'cold' else 'all'} items: NDCG@10 less that of the first stage")
    axes[0].legend(loc="best", fontsize=8)
    gained, harmed = sides(training)
    colours = [plots.PALETTE[2] if name in gained.index else plots.PALETTE[3] if name in harmed.index
               else plots.GREY for name in training.index]  # fmt: skip
    plots.intervals(
        axes[2], training.index, training["difference"], training["low"], training["high"], colours
    )
    axes[2].set_xlabel("cold items: NDCG@10, MiniLM trained less frozen")


def _ranking_panel(ax: Axes, table: pd.DataFrame) -> None:
    names = list(dict.fromkeys(table.index.get_level_values("catalogue")))
    models = list(dict.fromkeys(table.index.get_level_values("model")))
    for i, model in enumerate(models):
        own = table.xs(model, level="model")
        for kind, offset in OFFSETS.items():
            place = [names.index(name) + offset + 0.4 * (i - (len(models) - 1) / 2) for name in own.index]
            ax.hlines(place, own[f"{kind} low"], own[f"{kind} high"], color=plots.PALETTE[i], linewidth=1.2)
            face = plots.PALETTE[i] if kind == "fused" else "white"
            ax.scatter(own[f"{kind} difference"], place, s=26, marker=plots.MARKERS[i], facecolor=face,
                       edgecolor=plots.PALETTE[i], zorder=3, label=f"{model}, {kind}")  # fmt: skip
    ax.axvline(0, color=plots.GREY, linewidth=1)
    ax.set_yticks(range(len(names)), names)
    ax.invert_yaxis()


def title(ranking: pd.DataFrame, training: pd.DataFrame) -> str:
    """In how many cases ranking by a language model gained or lost, on how many catalogues training did."""
    better, worse = sides(ranking, "fused ")
    lost = sides(ranking, "alone ")[1]
    gained, harmed = sides(training)
    return (
        f"Fused with the first stage a language model's order gains in {len(better)} of {len(ranking)} cases "
        f"and loses in {len(worse)}; alone it loses in {len(lost)}.\nTraining MiniLM raises NDCG of cold "
        f"items on {len(gained)} of {len(training)} catalogues and lowers it on {len(harmed)} "
        "(all after Holm's correction)"
    )


# ---------------------------------------------------------------- findings


def ranking_sentence(ranking: pd.DataFrame) -> str:
    """Where a language model's order gained or lost, how often its weight was 0, and what a list costs."""
    better, worse = sides(ranking, "fused ")
    up, lost = sides(ranking, "alone ")
    users, seconds = ranking["users"], ranking["core s"]
    counted = f"{users.min()}" if users.min() == users.max() else f"{users.min()} to {users.max()}"
    return (
        f"**Ranking by a language model**, {counted} users a case: fused with the first stage it gains in "
        f"{_listed(better)} of {len(ranking)} cases and loses in {_listed(worse)}; alone it gains in "
        f"{_listed(up)} and loses in {len(lost)}. Validation gave it a weight of 0 in "
        f"{int((ranking['weight'] == 0).sum())}. A list takes {seconds.min():.1f} to {seconds.max():.1f} "
        f"s of one core.{_width(ranking)}{_not_run(ranking.index.get_level_values(0))}"
    )


def _listed(table: pd.DataFrame) -> str:
    """How many rows, and which."""
    names = [f"{model} on {name} ({stage} items)" for name, stage, model in table.index]
    return f"{len(table)} ({'; '.join(names)})" if names else "0"


def _width(ranking: pd.DataFrame) -> str:
    """How wide the intervals of fused lists are, where the weight is not 0."""
    moved = ranking[ranking["weight"] > 0]
    if not len(moved):
        return ""
    width, first = np.median(moved["fused high"] - moved["fused low"]), ranking["first stage"].median()
    return (
        f" So few users show only large effects: where the weight is not 0, the interval of the fused list's "
        f"difference is {width:.2f} wide in the median, beside an NDCG of {first:.2f} of the first stages."
    )


def training_sentence(training: pd.DataFrame, budget: Mapping[str, int]) -> str:
    """On which catalogues a trained encoder ranks cold items better or worse, and what training cost."""
    gained, harmed = sides(training)
    relative = training["difference"] / training["frozen"]
    kept = [str(name) for name in training.index[training["kept"] == 0]]
    seconds = training["core s"]
    declined = f"; validation kept the weights from before on {', '.join(kept)}" if kept else ""
    return (
        f"**Training MiniLM** on at most {budget['tokens']:,} tokens ({seconds.min():.0f} to "
        f"{seconds.max():.0f} s of one core) changes NDCG of cold items by the map by {relative.min():+.0%} "
        f"to {relative.max():+.0%}: better on {_names(gained)}, worse on {_names(harmed)} of {len(training)} "
        f"catalogues{declined}.{_not_run(training.index)}"
    )


def _not_run(names: Iterable[str]) -> str:
    """Which catalogues of the study the record lacks."""
    have = set(names)
    missing = [short for name in CATALOGUES if (short := SHORT.get(name, name)) not in have]
    return f" Not run on {', '.join(missing)}." if missing else ""


def _names(table: pd.DataFrame) -> str:
    return f"{len(table)} ({', '.join(map(str, table.index))})" if len(table) else "0"
