"""What explains where text pays: the study's gains over catalogues, one variable at a time, predictions made
before looking, and the place of another catalogue among them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys_lib.core import paths, records
from recsys_lib.experiments.catalogues.protocol import CATALOGUES, SHORT
from recsys_lib.experiments.catalogues.study import RECORD

if TYPE_CHECKING:
    import pandas as pd

PREDICTIONS = paths.TABLES / "predictions.csv"
# What may explain a gain, and whether its logarithm is used.
VARIABLES = {"words per text": True, "interactions per item": True, "rare items": False}
GAINS = ("warm", "language", "cold")


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
        rows[SHORT.get(name, name)] = row
    return pd.DataFrame(rows).T.infer_objects()


def values_of(table: pd.DataFrame, variable: str) -> np.ndarray:
    """A variable as it enters the regressions, float64 ``[catalogues]``."""
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


def regressions(table: pd.DataFrame, targets: Sequence[str] = ("warm", "language")) -> pd.DataFrame:
    """For every gain and variable: Spearman's ρ over the catalogues with its exact p, the slope, and the mean
    absolute error of leaving each catalogue out, by the line and by the mean of the others.
    """
    import pandas as pd

    rows = []
    for target in targets:
        y = table[target].to_numpy(dtype=float)
        for variable in VARIABLES:
            x = values_of(table, variable)
            by_line, by_mean = left_out_error(x, y)
            rho, p = spearman(x, y)
            row = {"gain": target, "variable": variable, "ρ": rho, "p": p, "slope": line(x, y)[1]}
            rows.append(row | {"error of the line": by_line, "error of the mean": by_mean})
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
    for variable, logged in VARIABLES.items():
        x = values_of(table, variable)
        own = np.log10(max(described[variable], 1e-9)) if logged else described[variable]
        distances += ((x - own) / max(float(x.std()), 1e-9)) ** 2
    found = table[[*VARIABLES, "warm", "language"]].assign(distance=np.sqrt(distances))
    return found.sort_values("distance", kind="stable")


def expected(table: pd.DataFrame, described: Mapping[str, float], target: str) -> tuple[float, float, str]:
    """What to expect of a gain on another catalogue: by the line over the variable that predicts left-out
    catalogues best, or by the mean where no line beats it; its left-out error; the variable ("" for none).
    """
    y = table[target].to_numpy(dtype=float)
    best = (left_out_error(np.zeros(len(y)), y)[1], "", float(y.mean()))
    for variable, logged in VARIABLES.items():
        x = values_of(table, variable)
        error = left_out_error(x, y)[0]
        if error < best[0]:
            intercept, slope = line(x, y)
            own = np.log10(max(described[variable], 1e-9)) if logged else described[variable]
            best = (error, variable, intercept + slope * float(own))
    return best[2], best[0], best[1]
