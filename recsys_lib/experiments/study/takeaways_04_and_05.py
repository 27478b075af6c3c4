"""The takeaways of notebooks 04 and 05, whose numbers follow the parameters and the records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from recsys_lib.cost.units import two_digits
from recsys_lib.experiments.study.study_tables import MARGIN, recorded_controls, recorded_gain


def warm(
    encoders: pd.DataFrame, ndcg: pd.Series, gain: pd.DataFrame, controls: pd.DataFrame,
    closed: Mapping[str, float], records: Mapping[str, Mapping[str, Any]],
) -> list[str]:  # fmt: skip
    """What notebook 04 found in this run, then what its records say."""
    chosen = {str(name): float(row[row["chosen"]]) for name, row in encoders.iterrows()}
    ordered = sorted(chosen, key=lambda name: -chosen[name])
    found = [
        f"Encoders alone, geometry chosen on the validation part: {_list(chosen, ordered)}.",
        f"The best method is {ndcg.index[0]} with an NDCG of {ndcg.iloc[0]:.3f}.",
    ]
    if closed:
        name, share = next(iter(closed.items()))
        found.append(
            f"Of the methods that read text alone, {name} closes {share:.0%} of the gap to interactions."
        )
    for name, row in gain.iterrows():
        found.append(f"{name}: {100 * row['relative']:+.1f}% of NDCG against its base, {row['answer']}.")
    added = 100 * controls["relative"]
    found.append(
        f"Right texts add {added['all fields']:+.1f}% to EASE, "
        f"texts of other items {added['all shuffled']:+.1f}%, "
        f"texts without titles {added['title masked']:+.1f}%."
    )
    return found + [_recorded_warm(protocol, metrics) for protocol, metrics in records.items()]


def _recorded_warm(protocol: str, metrics: Mapping[str, Any]) -> str:
    values = pd.Series(metrics["ndcg"]).sort_values(ascending=False)
    text = f"Recorded, {protocol}: {values.index[0]} leads with {values.iloc[0]:.3f}"
    text += f", EASE has {values['EASE']:.3f}"
    gain = recorded_gain(metrics)
    if "EASE + joined text" in gain.index:
        text += f"; joined text changes EASE by {100 * gain.loc['EASE + joined text', 'relative']:+.1f}%"
    alone = recorded_controls(metrics)["text alone"]
    return (
        text
        + f"; without titles text alone has {alone['title masked'] / alone['all fields']:.0%} of its NDCG."
    )


def cold(
    ndcg: pd.Series, encoder: str, text_map: str, answers: pd.DataFrame, crossing: Mapping[str, int | None],
    kept: Sequence[int], arrived: pd.DataFrame, by_time: pd.DataFrame,
) -> list[str]:  # fmt: skip
    """What notebook 05 found in this run."""
    raw = ndcg[f"cosine: {encoder}, raw"]
    found = [
        f"Among cold items the {text_map} reaches an NDCG of {ndcg[text_map]:.3f}, the raw cosine {raw:.3f}, "
        f"chance {ndcg['chance']:.3f}, EASE {ndcg['EASE']:.3f}, ItemKNN {ndcg['ItemKNN']:.3f}."
    ]
    for question, row in answers.iterrows():
        gained, low, high = (_signed(row[name]) for name in ("NDCG gained", "low", "high"))
        found.append(f"{question}: {gained} ({low} to {high}), {row['answer']}.")
    points = [
        f"{n}: {'not within ' + str(max(kept)) if at is None else f'from {at}'}" for n, at in crossing.items()
    ]
    found.append(
        f"Interactions from which on a method ranks better than the map from text: {'; '.join(points)}."
    )
    for name, table in {"items hidden at random": arrived, "items in order of time": by_time}.items():
        if len(table):
            found.append(_reserved(name, table))
    return found


def _signed(value: float) -> str:
    """A difference in two significant digits.

    >>> _signed(0.00553), _signed(-0.0038)
    ('+0.0055', '-0.0038')
    """
    return f"{'+' if value >= 0 else ''}{two_digits(value)}"


def _reserved(name: str, table: pd.DataFrame) -> str:
    parts = [
        f"{row.removeprefix('warm and cold, ')}: {100 * values['change']:+.1f}% of NDCG, "
        f"{values['cold places']:.1%} of the places, "
        f"{values['cold recall']:.1%} of the cold interactions found"
        for row, values in table.drop(index="EASE").iterrows()
    ]
    return f"One list for warm and cold items, {name}, against EASE alone: {'; '.join(parts)}."


def recorded_cold(records: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What the records of notebook 05 say, one sentence each."""
    found = []
    for protocol, metrics in records.items():
        values = pd.Series(metrics["strict"]).sort_values(ascending=False)
        best = next(name for name in values.index if "map" in name)
        text = f"Recorded, {protocol.split()[0]}: {best} {values[best]:.3f}"
        for name in ("EASE map: all models and metadata", "EASE map: tf-idf and metadata", "chance"):
            text += f", {name} {values[name]:.3f}"
        if "draws" in metrics:
            spread = np.std(metrics["draws"][best], ddof=1)
            text += f"; standard deviation over {len(metrics['draws'][best])} draws {spread:.3f}"
        found.append(text + ".")
    return found


def bullets(sentences: Sequence[str]) -> str:
    """A Markdown list; the margin is named once.

    >>> bullets(["One."])
    '* One.\\n\\nEqual means: within 1% of the NDCG of the baseline, by two one-sided tests.'
    """
    return "\n".join(f"* {s}" for s in sentences) + (
        f"\n\nEqual means: within {MARGIN:.0%} of the NDCG of the baseline, by two one-sided tests."
    )


def _list(values: Mapping[str, float], order: Sequence[str]) -> str:
    return ", ".join(f"{name} {values[name]:.3f}" for name in order)
