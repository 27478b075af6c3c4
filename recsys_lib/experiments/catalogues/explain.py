"""What explains where text pays: the study's gains over catalogues, one variable at a time, predictions made
before looking, and the place of another catalogue among them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys_lib.core import paths, records
from recsys_lib.evaluation import holm
from recsys_lib.experiments.catalogues.catalogues_study import RECORD
from recsys_lib.experiments.catalogues.evaluated_methods import ENCODER, LANGUAGE_MAP, TFIDF_MAP
from recsys_lib.experiments.catalogues.protocol import CATALOGUES, SHORT
from recsys_lib.experiments.own_catalogue.sources import TFIDF

if TYPE_CHECKING:
    import pandas as pd

PREDICTIONS = paths.TABLES / "predictions.csv"
# What may explain a gain, and whether its logarithm is used.
VARIABLES = {
    "words per text": True,
    "interactions per item": True,
    "rare items": False,
    "cold share": False,
    "days": True,
}
# "days", from the first to the last interaction, is known of few: neither drawn nor predicted by.
EVERYWHERE = tuple(variable for variable in VARIABLES if variable != "days")
GAINS = ("warm", "language", "cold")
# How cold items are ranked by each text: by the cosine with a profile, or mapped to EASE's columns.
USES = {TFIDF: (TFIDF, TFIDF_MAP), ENCODER: (ENCODER, LANGUAGE_MAP)}


def runs(part: str, path: Path | None = None) -> dict[str, dict[str, Any]]:
    """Metrics of the record's runs of one part, by catalogue, in the order of ``protocol.CATALOGUES``."""
    found = {
        run["parameters"]["catalogue"]: run["metrics"]
        for run in records.runs_of(path or paths.MEASUREMENTS / f"{RECORD}.json")
        if run["parameters"]["part"] == part
    }
    order = [name for name in CATALOGUES if name in found] or list(found)
    return {name: found[name] for name in order}


def gains(measured: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """A row for each catalogue: scenario, whether the prediction was made from it, what describes it, and the
    relative gains with their intervals (``warm``, ``warm low``, ``warm high``, ``warm p`` ...).

    ``language`` is MiniLM over TF-IDF by the same map, as it was predicted; ``chosen`` with each text used as
    the validation part prefers; ``warm over best`` is the warm method over the collaborative one that is best
    on the test. Every p is Holm-corrected over the catalogues.
    """
    import pandas as pd

    rows = {}
    for name, metrics in measured.items():
        own, described = metrics["gains"], metrics["catalogue"]
        row = {"scenario": CATALOGUES[name].scenario, "seen": CATALOGUES[name].seen}
        row |= {key: value for key, value in described.items() if isinstance(value, int | float)}
        for gain in GAINS:
            row |= {gain: own[gain]["relative"], f"{gain} p": own[gain]["Holm p"]}
            row |= {f"{gain} {end}": own[gain][f"relative {end}"] for end in ("low", "high")}
        row |= chosen_gain(metrics)
        method, best = own["warm"]["method"], best_collaborative(metrics)
        row["warm over best"] = metrics["warm"][method]["ndcg"] / metrics["warm"][best]["ndcg"] - 1
        rows[SHORT.get(name, name)] = row
    table = pd.DataFrame(rows).T.infer_objects()
    for gain in (*GAINS, "chosen"):
        table[f"{gain} p"] = holm(table[f"{gain} p"].to_numpy(dtype=float))
    return table


def use(metrics: Mapping[str, Any], text: str) -> str:
    """The method by which a text ranks cold items, cosine or map, with the higher validation NDCG."""
    return max(USES[text], key=lambda method: metrics["cold"][method]["validation"])


def chosen_gain(metrics: Mapping[str, Any]) -> dict[str, float]:
    """MiniLM over TF-IDF on cold items, each in the use that the validation part prefers: the relative gain,
    its 95% interval over the record's paired bootstrap means, and p by their standard deviation.
    """
    from scipy import stats

    a, b = use(metrics, ENCODER), use(metrics, TFIDF)
    drawn = np.subtract(metrics["bootstrap"]["cold"][a], metrics["bootstrap"]["cold"][b])
    base = metrics["cold"][b]["ndcg"]
    difference, spread = metrics["cold"][a]["ndcg"] - base, float(drawn.std())
    low, high = np.percentile(drawn, [2.5, 97.5])
    p = 2 * float(stats.norm.sf(abs(difference) / spread)) if spread > 0 else float(difference == 0)
    found = {"chosen": difference / base, "chosen low": low / base, "chosen high": high / base}
    return {name: float(value) for name, value in found.items()} | {"chosen p": p}


def collaborative(metrics: Mapping[str, Any]) -> list[str]:
    """The warm methods that read no text."""
    texts = (TFIDF, ENCODER)
    return [name for name in metrics["warm"] if not any(text in name for text in texts)]


def best_collaborative(metrics: Mapping[str, Any]) -> str:
    """The method without text with the highest NDCG on the test, which no gain may be chosen by."""
    return max(collaborative(metrics), key=lambda name: metrics["warm"][name]["ndcg"])


def values_of(table: pd.DataFrame, variable: str) -> np.ndarray:
    """A variable as it enters the regressions, float64 ``[catalogues]``, NaN where it is not known."""
    if variable not in table:
        return np.full(len(table), np.nan)
    values = table[variable].to_numpy(dtype=float)
    return np.log10(np.maximum(values, 1e-9)) if VARIABLES[variable] else values


def line(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Intercept and slope by least squares; slope 0 where ``x`` does not vary.

    >>> line(np.array([0.0, 1, 2]), np.array([1.0, 3, 5]))
    (1.0, 2.0)
    """
    spread = x - x.mean()
    slope = float(spread @ y / (spread @ spread)) if spread @ spread > 0 else 0.0
    return float(y.mean() - slope * x.mean()), slope


def left_out_error(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Mean absolute error of predicting each catalogue from the others: by the line, and by their mean."""
    by_line, by_mean = [], []
    for i in range(len(y)):
        others = np.arange(len(y)) != i
        intercept, slope = line(x[others], y[others])
        by_line.append(abs(intercept + slope * x[i] - y[i]))
        by_mean.append(abs(y[others].mean() - y[i]))
    return float(np.mean(by_line)), float(np.mean(by_mean))


def regressions(table: pd.DataFrame, targets: Sequence[str] = ("warm", "chosen")) -> pd.DataFrame:
    """For every gain and variable: of how many catalogues it is known, Spearman's ρ over these with its exact
    p, the slope, and the mean absolute error of leaving each catalogue out, by the line and by the mean of
    the others. A variable that fewer than three know is left out.
    """
    import pandas as pd

    rows = []
    for target in targets:
        y = table[target].to_numpy(dtype=float)
        for variable in VARIABLES:
            x = values_of(table, variable)
            known = np.isfinite(x)
            if known.sum() < 3:
                continue
            x, own = x[known], y[known]
            by_line, by_mean = left_out_error(x, own)
            rho, p = spearman(x, own)
            row = {"gain": target, "variable": variable, "n": len(x), "ρ": rho, "p": p}
            row |= {"slope": line(x, own)[1], "error of the line": by_line, "error of the mean": by_mean}
            rows.append(row)
    return pd.DataFrame(rows).set_index(["gain", "variable"])


def spearman(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Spearman's ρ and its two-sided p: over all orders up to 8 catalogues, else over 20,000 random ones.

    >>> spearman(np.array([1.0, 2, 3, 4]), np.array([1.0, 2, 3, 4]))
    (1.0, 0.083)
    """
    from itertools import permutations

    from scipy import stats

    a, b = stats.rankdata(x), stats.rankdata(y)
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a @ a) * (b @ b)))
    if not scale:
        return 0.0, 1.0
    rng, n = np.random.default_rng(0), len(a)
    orders = (
        np.array(list(permutations(range(n))))
        if n <= 8
        else np.array([rng.permutation(n) for _ in range(20_000)])
    )
    drawn = b[orders] @ a / scale
    rho = float(a @ b / scale)
    return round(rho, 3), round(float((np.abs(drawn) >= abs(rho) - 1e-9).mean()), 3)


# ---------------------------------------------------------------- predictions


def predictions(path: Path = PREDICTIONS) -> pd.DataFrame:
    """The predictions that were written before the held-out catalogues were run: date, catalogue, gain,
    predicted, low, high, reason.
    """
    import pandas as pd

    return pd.read_csv(path)


def scored(table: pd.DataFrame, made: pd.DataFrame) -> pd.DataFrame:
    """Every prediction beside what was measured: a hit if the measured gain lies within the predicted range,
    the error of the prediction, and that of the mean of the catalogues it was made from.
    """
    import pandas as pd

    seen = table[table["seen"].astype(bool)]
    rows = []
    for one in made.itertuples(index=False):
        name = SHORT.get(one.catalogue, one.catalogue)
        if name not in table.index:
            continue
        value, mean = float(table.loc[name, one.gain]), float(seen[one.gain].astype(float).mean())
        rows.append(
            {
                "catalogue": name,
                "gain": one.gain,
                "predicted": one.predicted,
                "low": one.low,
                "high": one.high,
                "measured": value,
                "hit": bool(one.low <= value <= one.high),
                "error": abs(one.predicted - value),
                "error of the mean": abs(mean - value),
            }
        )
    return pd.DataFrame(rows)


# ---------------------------------------------------------------- another catalogue


def place(table: pd.DataFrame, described: Mapping[str, float]) -> pd.DataFrame:
    """How far each catalogue of the study is from another one, in the variables of the regressions, each
    divided by its spread over the study; nearest first, with the gains measured there.
    """
    distances = np.zeros(len(table))
    for variable in EVERYWHERE:
        logged, x = VARIABLES[variable], values_of(table, variable)
        own = np.log10(max(described[variable], 1e-9)) if logged else described[variable]
        distances += ((x - own) / max(float(x.std()), 1e-9)) ** 2
    found = table[[*EVERYWHERE, "warm", "chosen"]].assign(distance=np.sqrt(distances))
    return found.sort_values("distance", kind="stable")


def expected(table: pd.DataFrame, described: Mapping[str, float], target: str) -> tuple[float, float, str]:
    """What to expect of a gain on another catalogue: the mean of the study's, or the line over a variable if
    it predicts left-out catalogues better than the mean does and its Spearman's p, Holm-corrected over all of
    ``regressions``, is below 0.05; the left-out error; the variable ("" for none).
    """
    y = table[target].to_numpy(dtype=float)
    best = (left_out_error(np.zeros(len(y)), y)[1], "", float(y.mean()))
    tested = regressions(table)
    tested["Holm p"] = holm(tested["p"].tolist())
    for variable in EVERYWHERE:
        logged = VARIABLES[variable]
        found = tested.loc[(target, variable)]
        if found["Holm p"] < 0.05 and found["error of the line"] < best[0]:
            intercept, slope = line(values_of(table, variable), y)
            own = np.log10(max(described[variable], 1e-9)) if logged else described[variable]
            best = (float(found["error of the line"]), variable, intercept + slope * float(own))
    return best[2], best[0], best[1]
