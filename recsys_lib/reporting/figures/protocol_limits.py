"""What the one protocol of notebook 13 leaves open: edges of search spaces that methods chose, and the roles
of language models that other notebooks measured by other protocols.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from recsys_lib import evaluation
from recsys_lib.experiments.catalogues.protocol import SHORT
from recsys_lib.reporting.figures import llm, training

if TYPE_CHECKING:
    import pandas as pd

Measured = Mapping[str, Mapping[str, Any]]
# How the records of notebooks 06 and 07 name catalogues of this study.
FILMS = "ml-100k"
RANKING, TRAINING = "LLM ranking (06)", "training (07)"


# ---------------------------------------------------------------- edges of search spaces


def edges_table(measured: Measured, wider: Measured) -> pd.DataFrame:
    """A row for each catalogue: the edges that methods chose in the usual spaces, those they chose in the
    wider ones (where these were run), and text's gain on warm items in both, in percent.
    """
    import pandas as pd

    rows = {}
    for name, metrics in measured.items():
        row = {"edges": _listed_edges(metrics["edges"])} | _gain(metrics["gains"]["warm"], "gain, %")
        if name in wider:
            row["edges, wider"] = _listed_edges(wider[name]["edges"])
            row |= _gain(wider[name]["gain"], "wider gain, %")
        rows[SHORT.get(name, name)] = row
    return pd.DataFrame.from_dict(rows, orient="index").astype(object).fillna("")


def _gain(gain: Mapping[str, Any], label: str) -> dict[str, str]:
    low, middle, high = (100 * gain[key] for key in ("relative low", "relative", "relative high"))
    return {label: f"{middle:+.1f} ({low:+.1f} to {high:+.1f})"}


def _listed_edges(edges: Mapping[str, Sequence[str]]) -> str:
    return "; ".join(f"{method}: {', '.join(chosen)}" for method, chosen in edges.items()) or "none"


def edge_counts(measured: Measured) -> Counter[str]:
    """On how many catalogues each method chose an edge of its space."""
    return Counter(method for metrics in measured.values() for method in metrics["edges"])


def edges_sentence(measured: Measured, wider: Measured) -> str:
    """How often edges were chosen, and whether the sign of any warm gain changed in the wider spaces."""
    before, after = edge_counts({n: measured[n] for n in wider}), edge_counts(wider)
    counted = edge_counts(measured)
    listed = ", ".join(f"{method} on {n}" for method, n in counted.most_common())
    said = f"**Edges of search spaces** were chosen by {listed} of {len(measured)} catalogues"
    if not wider:
        return f"{said}."
    usual = {name: measured[name]["gains"]["warm"] for name in wider}
    names = [SHORT.get(name, name) for name in wider]
    changed = [
        f"{SHORT.get(n, n)} ({_gain(usual[n], '')['']}%, wider {_gain(wider[n]['gain'], '')['']}%)"
        for n in wider
        if _side(usual[n]) != _side(wider[n]["gain"])
    ]
    moved = max(abs(wider[n]["gain"]["relative"] - usual[n]["relative"]) for n in wider)
    verdict = f"text's gain is decided otherwise on {', '.join(changed)}"
    return (
        f"{said}. In wider spaces with twice the points, run on {', '.join(names)}, ItemKNN does so on "
        f"{after['ItemKNN']} (before: {before['ItemKNN']}); gains move by up to {100 * moved:.0f} points and "
        f"{verdict if changed else 'no gain is decided otherwise'}."
    )


def _side(gain: Mapping[str, Any]) -> int:
    """1 for an interval above 0, -1 for one below, 0 for one that holds it."""
    return int(gain["relative low"] > 0) - int(gain["relative high"] < 0)


# ---------------------------------------------------------------- roles of language models elsewhere


def roles(reranked: Sequence[dict[str, Any]], trained: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """What ranking and training of language models gained where notebooks 06 and 07 measured it: a row for
    each role and catalogue with NDCG@10 before and after, the paired difference, its 95% interval and p.

    *Ranking*: EASE's candidates, and EASE's list fused with the reranker's by a weight that validation chose;
    of several rerankers the one that gains most on its test users, which favours it; its p is Holm-corrected
    over all recorded. *Training*: MiniLM trained on the catalogue against itself as it is, by the same map
    (cold) and inside EASE (warm).
    """
    import pandas as pd

    rows = [*_ranking(reranked), *_training(trained)]
    return pd.DataFrame(rows).set_index(["role", "catalogue"])


def _ranking(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    corrected = llm.fusion(llm.select(records))["p"]
    names = dict.fromkeys(record["parameters"]["catalogue"] for record in records)
    for name in names:
        usual = [r for r in llm.select(records, catalogue=name, stage="EASE") if "fused" in r["metrics"]]
        for record in usual:
            metrics, test = record["metrics"], record["metrics"]["fused_minus_first_stage"]
            row = _row(RANKING, name, llm.label(record["parameters"]), len(metrics["users"]),
                       metrics["first_stage"], metrics["fused"],
                       {**test, "p": corrected[llm.case_label(record["parameters"])]})  # fmt: skip
            if name not in found or row["difference"] > found[name]["difference"]:
                found[name] = row
    return list(found.values())


def _training(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    rows = []
    for task, use in (("cold", "map"), ("warm", "inside EASE")):
        parts = training.parts(records, task)
        best: dict[str, Any] = {}
        for name in dict.fromkeys(name for name, _ in parts):
            seeds = training.common_seeds(records, task, training.FROZEN, name)
            if name == training.FROZEN or not seeds or use not in parts[name, seeds[0]]["per_user"]:
                continue
            after, before = (
                training.user_values(records, task, n, use, seeds) for n in (name, training.FROZEN)
            )
            test = evaluation.compare(after, before)
            row = _row(TRAINING, FILMS, f"{name}, {task} items", len(after.users), before.mean()["ndcg"],
                       after.mean()["ndcg"], {**vars(test), "p": test.p_value})  # fmt: skip
            if not best or row["difference"] > best["difference"]:
                best = row
        rows += [best] if best else []
    return rows


def _row(
    role: str, catalogue: str, method: str, users: int, before: float, after: float, test: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "role": role, "catalogue": catalogue, "best": method, "users": users, "before": before,
        "after": after, "difference": test["difference"], "low": test["low"], "high": test["high"],
        "p": test["p"],
    }  # fmt: skip


def roles_sentence(table: pd.DataFrame, n_catalogues: int) -> str:
    """On how many of the study's catalogues notebooks 06 and 07 ranked with language models and trained them,
    and what was decided.
    """
    parts = []
    for role, own in table.groupby(level=0, sort=False):
        names = list(dict.fromkeys(own.index.get_level_values(1)))
        parts.append(
            f"{role} was measured on {len(names)} of {n_catalogues} ({', '.join(names)}), with a gain above "
            f"0 in {len(llm.helped(own))} of {len(own)} rows, {own['difference'].min():+.3f} to "
            f"{own['difference'].max():+.3f} NDCG"
        )
    return f"**By other splits**, with more users, larger models and longer training: {'; '.join(parts)}."
