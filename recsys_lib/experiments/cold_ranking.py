"""Compression evaluated where text pays: NDCG of cold items, which a map from text to EASE's columns ranks.

The map is tuned once, for the vectors of the unchanged encoder. Every other set of vectors of the same items
(quantized, or of a changed encoder) takes its place with the same parameters, on the same draws of cold items
and for the same users, and is compared with it by two tests of one margin stated beforehand (``MARGIN``): is
it as good within the margin, and is it worse?
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys_lib import evaluation
from recsys_lib.core.errors import InputError
from recsys_lib.data.datasets import Dataset
from recsys_lib.evaluation import Evaluation, splits, tuning
from recsys_lib.evaluation.splits import Split
from recsys_lib.recommenders import EASE, EASEMap
from recsys_lib.vectors import geometry, quantization, similarity

if TYPE_CHECKING:
    import pandas as pd

# Relative to the NDCG of the unchanged vectors; stated before any result was seen.
MARGIN = 0.01
# Points of each map; the same for every set of vectors that is compared.
SPACES: dict[str, dict[str, list[float]]] = {
    "kernel": {
        "regularization": [0.3, 1.0, 2.0],
        "ease_regularization": [50.0, 150.0],
        "width": [0.5, 0.7, 1.0],
    },
    "linear": {
        "regularization": [0.5, 1.0, 2.0, 4.0, 8.0, 16.0],
        "ease_regularization": [50.0, 100.0, 200.0, 400.0],
    },
}
ITEM_FRACTION = 0.2


@dataclass(frozen=True, eq=False)
class ColdRanking:
    """Draws of cold items, and for each the parameters of the map that ranks them; made by ``tune``.

    draws: splits whose cold items have no training interaction. parameters: of ``EASEMap``, one for each
    draw. k: length of the lists.
    """

    draws: tuple[Split, ...]
    parameters: tuple[dict[str, Any], ...]
    k: int = 10
    _columns: dict[int, np.ndarray] = field(default_factory=dict, repr=False)

    def evaluate(
        self, vectors: np.ndarray, scheme: str = "float32", options: Mapping[str, Any] | None = None
    ) -> Evaluation:
        """What the map ranks from ``vectors [n_items, d]`` that are stored by ``scheme``: each user's mean
        over the draws.

        Vectors are centred by the warm items, scaled to length 1,
        quantized by what ``scheme`` learns from the warm items,
        and decoded. The map is fitted on the decoded vectors.
        """
        results = []
        for place, split in enumerate(self.draws):
            unit, warm = centred(vectors, split)
            stored = quantization.calibrate(unit[warm], scheme, **(options or {})).quantize(unit).dequantize()
            model = EASEMap(stored, columns=self._ease(place), **self.parameters[place]).fit(split.train)
            test = tuning.known_users(split.test, split.train)
            results.append(evaluation.evaluate(model, split.train, test, self.k, split.cold_items))
        return evaluation.average(results)

    def _ease(self, place: int) -> np.ndarray:
        """EASE's columns of one draw, fitted once for all vectors."""
        if place not in self._columns:
            model = EASE(self.parameters[place]["ease_regularization"]).fit(self.draws[place].train)
            self._columns[place] = np.asarray(model.weights)
        return self._columns[place]


def tune(
    data: Dataset, vectors: np.ndarray, kind: str = "kernel", draws: int = 1, trials: int = 18, k: int = 10
) -> ColdRanking:
    """The map of ``vectors [n_items, d]``, tuned for each of ``draws`` random fifths of cold items on warm
    items made cold in turn.

    Args:
        kind: "kernel" (Gaussian kernels of unit vectors) or "linear", see ``EASEMap``.
        trials: points of the search space, the same for every draw.

    Raises:
        InputError: an unknown kind; fewer than one draw or trial.
    """
    if kind not in SPACES:
        raise InputError(f"kind={kind!r}: expected one of {', '.join(SPACES)}")
    if draws < 1:
        raise InputError(f"draws={draws!r}: expected at least 1")
    parts = tuple(splits.cold_item_split(data, ITEM_FRACTION, seed) for seed in range(draws))
    chosen = []
    for seed, split in enumerate(parts):
        train, validation, cold = tuning.cold_validation(split, seed=seed)
        unit, _ = centred(vectors, split)
        ease: dict[float, np.ndarray] = {}  # the points share their EASE, which takes most of the time

        def make(unit=unit, train=train, ease=ease, **point: Any) -> EASEMap:
            strength = point["ease_regularization"]
            if strength not in ease:
                ease[strength] = np.asarray(EASE(strength).fit(train).weights)
            return EASEMap(unit, columns=ease[strength], **point)

        method = tuning.Method(make, SPACES[kind])
        chosen.append(
            tuning.tune(method, train, validation, trials, seed, k=k, candidates=cold)[0].parameters
        )
    return ColdRanking(parts, tuple(chosen), k)


def centred(vectors: np.ndarray, split: Split) -> tuple[np.ndarray, np.ndarray]:
    """Vectors less the mean of the warm items, scaled to length 1, ``[n_items, d]``; and which items are
    warm, ``[n_items]``.
    """
    warm = np.asarray(split.train.sum(axis=0)).ravel() > 0
    return similarity.normalize(geometry.centre(vectors[warm]).apply(vectors)), warm


def compare(found: Mapping[str, Evaluation], reference: Evaluation, margin: float = MARGIN) -> pd.DataFrame:
    """One row for each of ``found``, against ``reference`` for the same users: ``against``, then
    ``corrected``.
    """
    import pandas as pd

    return corrected(
        pd.DataFrame({name: against(r, reference, margin) for name, r in found.items()}).T, margin
    )


def against(result: Evaluation, reference: Evaluation, margin: float = MARGIN) -> dict[str, float]:
    """``result`` against ``reference`` for the same users, before any correction for several rows.

    cold_ndcg; change: relative to the reference; cold_low, cold_high: 95% of the paired difference;
    p_equivalent: of the two one-sided tests of ``margin``; p_different: Wilcoxon's. Results equal user by
    user are within any margin.
    """
    same = np.array_equal(result.per_user["ndcg"], reference.per_user["ndcg"])
    tested = evaluation.equivalent(result, reference, margin)
    difference = evaluation.compare(result, reference, "ndcg", resamples=2000)
    return {
        "cold_ndcg": result.mean()["ndcg"], "change": tested.relative_difference, "cold_low": difference.low,
        "cold_high": difference.high, "p_equivalent": 0.0 if same else tested.p_value,
        "p_different": 1.0 if same else difference.p_value,
    }  # fmt: skip


def corrected(table: pd.DataFrame, margin: float = MARGIN) -> pd.DataFrame:
    """Rows of ``against`` with both p-values Holm-corrected over the rows, and a conclusion.

    "within 1%" (the margin) where the two one-sided tests say so; else "worse" or "better" where the
    difference is significant; else "not decided".
    """
    table = table.copy()
    for column in ("p_equivalent", "p_different"):
        table[column] = evaluation.holm(table[column].astype(float).tolist())
    table["conclusion"] = [_conclusion(row, margin) for _, row in table.iterrows()]
    return table


def _conclusion(row: pd.Series, margin: float, alpha: float = 0.05) -> str:
    if row["p_equivalent"] < alpha:
        return f"within {margin:.0%}"
    if row["p_different"] < alpha:
        return "worse" if row["change"] < 0 else "better"
    return "not decided"


def equivalent_rows(table: pd.DataFrame) -> Sequence[str]:
    """Names of the rows of ``compare`` that the tests found as good as the reference within the margin."""
    return [str(name) for name, row in table.iterrows() if str(row["conclusion"]).startswith("within")]
