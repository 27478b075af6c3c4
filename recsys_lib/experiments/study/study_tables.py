"""Tables of the studies: paired answers, curves with intervals, search budgets, and what a record holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from recsys_lib import evaluation
from recsys_lib.evaluation import Evaluation
from recsys_lib.evaluation.protocols import PROTOCOLS
from recsys_lib.evaluation.tuning import Outcome

# Stated before any result: two methods whose NDCG differs by less than this, relative to the baseline, count
# as equal.
MARGIN = 0.01


def averaged(outcomes: Mapping[Any, Sequence[Outcome]]) -> dict[Any, Evaluation]:
    """Each method's evaluation, a user's values averaged over the splits first: the same user in five splits
    is one user.
    """
    return {name: evaluation.average([o.test for o in done]) for name, done in outcomes.items()}


def answers(
    found: Mapping[Any, Evaluation],
    questions: Mapping[str, tuple[str, str]],
    margin: float = MARGIN,
    metric: str = "ndcg",
) -> pd.DataFrame:
    """For every question, a pair of methods, the difference of the first to the second, paired over users.

    Columns: NDCG gained with its 95% bootstrap interval, Holm p of Wilcoxon's test, gained relative to the
    baseline, Holm p of the two one-sided tests that it is within ``margin``, and the answer in words: see
    ``_answer``.
    """
    tests = [evaluation.compare(found[a], found[b], metric) for a, b in questions.values()]
    same = [evaluation.equivalent(found[a], found[b], margin, metric) for a, b in questions.values()]
    p, p_same = (evaluation.holm([t.p_value for t in part]) for part in (tests, same))
    table = pd.DataFrame(
        {
            "NDCG gained": [t.difference for t in tests],
            "low": [t.low for t in tests],
            "high": [t.high for t in tests],
            "Holm p": [evaluation.p_text(v) for v in p],
            "relative": [e.relative_difference for e in same],
            "equivalence p": [evaluation.p_text(v) for v in p_same],
        },
        index=list(questions),
    )
    table["answer"] = [_answer(t, v, w, margin) for t, v, w in zip(tests, p, p_same, strict=True)]
    return table


def _answer(test: evaluation.Comparison, p: float, p_same: float, margin: float) -> str:
    """Equality first: a difference can be real and still smaller than the margin.

    The signed ranks and the interval of the mean ask different things; a difference needs both.
    """
    if p_same < 0.05:
        return f"equal within {margin:.0%}"
    if p < 0.05 and test.low * test.high > 0:
        return "better" if test.difference > 0 else "worse"
    return "not decided"


def curve_table(curves: Mapping[tuple[str, int], Sequence[Outcome]]) -> pd.DataFrame:
    """NDCG of every method at every number of interactions with its 95% bootstrap interval over users."""
    rows = {}
    for key, found in averaged(curves).items():
        low, high = np.percentile(evaluation.resampled_means(found.per_user["ndcg"], 2000), [2.5, 97.5])
        rows[key] = {"ndcg": found.mean()["ndcg"], "low": float(low), "high": float(high)}
    return pd.DataFrame(rows).T.rename_axis(["method", "kept"])


def curve_record(table: pd.DataFrame) -> dict[str, dict[str, list[float]]]:
    """``curve_table`` for a record: method → interactions → NDCG, low, high."""
    record: dict[str, dict[str, list[float]]] = {}
    for (method, kept), row in table.iterrows():
        record.setdefault(method, {})[str(kept)] = [float(v) for v in row]
    return record


def curve_of_record(record: Mapping[str, Mapping[str, Sequence[float]]]) -> pd.DataFrame:
    """``curve_table`` back from a record; one of single numbers has no intervals."""
    rows = {
        (method, int(kept)): dict(zip(("ndcg", "low", "high"), np.broadcast_to(values, 3), strict=True))
        for method, points in record.items()
        for kept, values in points.items()
    }
    return pd.DataFrame(rows).T.rename_axis(["method", "kept"])


def crossings(table: pd.DataFrame, text: str) -> dict[str, int | None]:
    """For every method the smallest number of interactions from which on its NDCG is above that of ``text``,
    or None.
    """
    values = table["ndcg"].unstack().sort_index(axis=1)
    found: dict[str, int | None] = {}
    for name in values.index.drop(text):
        above = (values.loc[name] > values.loc[text]).to_numpy()
        from_there = [int(n) for i, n in enumerate(values.columns) if above[i:].all()]
        found[str(name)] = from_there[0] if from_there else None
    return found


def crossing_text(at: int | None, kept: Sequence[int]) -> str:
    """A crossing in words.

    >>> crossing_text(8, [0, 8, 32]), crossing_text(None, [0, 8, 32])
    ('above text from 8 interactions on', 'not above text within 32 interactions')
    """
    return (
        f"not above text within {max(kept)} interactions"
        if at is None
        else f"above text from {at} interactions on"
    )


def edges_chosen(outcomes: Mapping[str, Sequence[Outcome]]) -> pd.DataFrame:
    """How often a method chose the end of a range that could be longer, a row for each such value."""
    rows = [
        {"method": name, "value": edge, "splits": sum(edge in o.edges for o in done), "of": len(done)}
        for name, done in outcomes.items()
        for edge in sorted({e for o in done for e in o.edges})
    ]
    return pd.DataFrame(rows, columns=["method", "value", "splits", "of"]).set_index("method")


def validation_curves(outcomes: Mapping[str, Sequence[Outcome]]) -> pd.DataFrame:
    """The best validation NDCG after each number of trials relative to the last, averaged over splits:
    ``[method, trial]``.
    """
    return pd.DataFrame(dict(_curves(outcomes))).T


def _curves(outcomes: Mapping[str, Sequence[Outcome]]) -> Iterator[tuple[str, pd.Series]]:
    longest = max((len(o.trials) for done in outcomes.values() for o in done), default=0)
    for name, done in outcomes.items():
        searched = [o.best_so_far for o in done if len(o.trials) > 1]
        if searched:
            padded = [np.array(s + [s[-1]] * (longest - len(s))) / max(s[-1], 1e-12) for s in searched]
            yield name, pd.Series(np.mean(padded, axis=0), index=range(1, longest + 1))


def curves_record(curves: pd.DataFrame) -> dict[str, list[float]]:
    """``validation_curves`` for a record: method → fraction of the last value after each trial."""
    return {str(name): [round(float(v), 4) for v in row] for name, row in curves.iterrows()}


def bootstrap_record(evaluations: Mapping[str, Evaluation], resamples: int = 200) -> dict[str, list[float]]:
    """Bootstrap means of NDCG for a record, to 5 digits; methods with the same users share the draws."""
    groups: dict[bytes, dict[str, Evaluation]] = {}
    for name, found in evaluations.items():
        groups.setdefault(found.users.tobytes(), {})[name] = found
    drawn: dict[str, np.ndarray] = {}
    for group in groups.values():
        drawn |= evaluation.bootstrap_means(group, resamples=resamples)
    return {name: [round(float(v), 5) for v in values] for name, values in drawn.items()}


def by_protocol(records: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """The metrics of recorded runs by their protocol, in the order of ``PROTOCOLS``."""
    ordered = sorted(records, key=lambda run: PROTOCOLS.index(run["parameters"]["protocol"]))
    return {run["parameters"]["protocol"]: run["metrics"] for run in ordered}


def renewed(records: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The recorded protocols that were tuned with nested spaces and equal scores in random order: later
    records say so.
    """
    return [protocol for protocol, metrics in records.items() if "edges" in metrics]


def recorded_gain(metrics: Mapping[str, Any]) -> pd.DataFrame:
    """What text added to its base in a recorded run, absolute and relative to the base."""
    table = pd.DataFrame(metrics["gain"])
    base = ["ItemKNN" if name.startswith("ItemKNN") else "EASE" for name in table.index]
    table["relative"] = table["NDCG gained"] / [metrics["ndcg"][name] for name in base]
    return table


def recorded_controls(metrics: Mapping[str, Any]) -> pd.DataFrame:
    """The controls of a recorded run, a row for each text."""
    table = pd.DataFrame(metrics["controls"])
    table = table if "text alone" in table.columns else table.T
    if "relative" not in table:
        table["relative"] = table["added to EASE"] / metrics["ndcg"]["EASE"]
    return table
