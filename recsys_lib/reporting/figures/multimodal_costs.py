"""What each kind of knowledge costs beside what it adds: the table and a sentence on people's tags."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from recsys_lib.reporting.figures import multimodal

NOWHERE = "nowhere"
# Work of people behind a kind, which no measurement here prices.
LABOUR = {
    "text": "somebody writes it",
    "image": "somebody takes it",
    "graph": "others keep it",
    "metadata": "entered with the item",
    "categories": "entered with the item",
    "price": "entered with the item",
}
# An assumption, not a measurement: what it takes a person to think of a tag and to type it.
SECONDS_PER_TAG = 10.0


def gains(
    cold: Mapping[str, Mapping[str, Any]], warm: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, tuple[float, str]]]:
    """For cold and for warm items, the most that each kind is shown to add and the catalogue where it does.

    Cold: to the rest, above what a kind that says nothing may add, or of the price also to the text alone;
    warm: to EASE, above its shuffled self.
    """
    found: dict[str, dict[str, tuple[float, str]]] = {"cold": {}, "warm": {}}

    def kept(side: str, kind: str, added: float, where: str) -> None:
        if added > found[side].get(kind, (0.0, ""))[0]:
            found[side][kind] = (added, where)

    above = multimodal.by_chance(cold)[1]
    for name, metrics in cold.items():
        asked = multimodal.answers(metrics)
        for kind, row in multimodal.kinds(asked, above).iterrows():
            if row["adds"]:
                kept("cold", str(kind), float(row["added"]), name)
        beside = asked.reindex(multimodal.BESIDE_TEXT)
        if (beside["answer"] == "better").all() and float(beside["NDCG gained"].iloc[0]) > above:
            kept("cold", "price", float(beside["NDCG gained"].iloc[0]), f"{name}, to text alone")
    for name, metrics in warm.items():
        table = multimodal.warm_kinds(metrics)
        for kind in multimodal.adds_warm(table):
            kept("warm", kind, float(table.loc[kind, "NDCG gained"]), name)
    return found


def costs(
    measured: Mapping[str, Any],
    cold: Mapping[str, Mapping[str, Any]],
    warm: Mapping[str, Mapping[str, Any]] | None = None,
) -> pd.DataFrame:
    """A row for each kind: milliseconds of one core for an item, megabytes of the model and of a thousand
    vectors, the labour behind it, and for cold and warm items where it adds most, how much, and what 0.01 of
    that costs; a kind that is not shown to add anything has no such price.
    """
    gained, rows = gains(cold, warm or {}), {}
    for kind, cost in measured["found"].items():
        milliseconds = 1000 * cost["cpu_seconds_per_item"]
        size = cost["model_mb"] + cost["mb_per_1000_items"]
        row: dict[str, Any] = {
            "core ms an item": milliseconds, "model MB": cost["model_mb"],
            "vectors MB per 1,000": cost["mb_per_1000_items"], "labour, not priced": _labour(kind, cost),
        }  # fmt: skip
        for side in gained:
            added, where = gained[side].get(kind, (0.0, NOWHERE))
            per = 0.01 / added if added else np.nan
            row |= {f"{side}: adds most in": where, f"{side}: added": added}
            row |= {f"{side}: core ms per 0.01": milliseconds * per, f"{side}: MB per 0.01": size * per}
        rows[kind] = row
    return pd.DataFrame.from_dict(rows, orient="index")


def _labour(kind: str, cost: Mapping[str, float]) -> str:
    if "written" in cost:
        return f"{cost['written']:.1f} tags for a film that has any, by {cost['taggers']:.0f} people"
    return LABOUR.get(kind, "")


def tags_sentence(measured: Mapping[str, Any], cold: Mapping[str, Mapping[str, Any]]) -> str:
    """What tags cost and whether 0.01 of NDCG has a price; empty where they were not measured."""
    cost = measured["found"].get("tags", {})
    asked = {name: multimodal.answers(metrics) for name, metrics in cold.items()}
    question = f"tags{multimodal.ADDED}"
    rows = [(name, table.loc[question]) for name, table in asked.items() if question in table.index]
    if "written" not in cost or not rows:
        return ""
    name, row = max(rows, key=lambda pair: float(pair[1]["NDCG gained"]))
    minutes = cost["written"] * SECONDS_PER_TAG / 60
    said = (
        f"**People's tags** cost {1000 * cost['cpu_seconds_per_item']:.2f} ms of a core an item, and the "
        f"labour of {cost['written']:.1f} tags for each of the {cost['tagged']:,.0f} films that have any: "
        f"{minutes:.1f} minutes a film if a tag takes {SECONDS_PER_TAG:.0f} seconds, which is assumed and "
        f"not measured. For cold items they change NDCG by {row['NDCG gained']:+.3f} on {name}, at best by "
        f"{row['high']:+.3f}"
    )
    if float(row["NDCG gained"]) > multimodal.by_chance(cold)[1] and row["answer"] == "better":
        per = 0.01 / float(row["NDCG gained"])
        return f"{said}: {minutes * per:.1f} such minutes a film for 0.01."
    return f"{said}, so 0.01 has no price there, whatever an hour costs."
