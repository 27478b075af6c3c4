"""Attack success beside NDCG as noise grows, as notebook 11 shows it: membership in the training data of EASE
with noise, and of an encoder that DP-SGD trained (recorded); users' vectors in bits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from recsys_lib import evaluation
from recsys_lib.core import paths, records
from recsys_lib.experiments.federated_map import NO_NOISE, RECORD, label
from recsys_lib.recommenders import EASE, BaseRecommender
from recsys_lib.trust.privacy import membership
from recsys_lib.trust.privacy.private_ease import PrivateEASE
from recsys_lib.trust.privacy.reconstruction import Recovered
from recsys_lib.trust.privacy.releases import Release
from recsys_lib.vectors import similarity

if TYPE_CHECKING:
    import pandas as pd


def told(shadows: membership.Shadows) -> dict[str, float]:
    """Success of the likelihood ratio, and the area of the statistic itself, without shadow models."""
    attack = membership.success(membership.likelihood_ratios(shadows), shadows.member)
    alone = membership.success(shadows.statistics, shadows.member)
    return {"auc": attack.auc, "true positives": attack.true_positives, "no shadows": alone.auc}


def of_makers(
    makers: Mapping[str, Callable[[int], membership.Fits]],
    train: sp.csr_matrix,
    n_shadows: int,
    seed: int = 0,
) -> pd.DataFrame:
    """Membership in the training data of each kind of model, a row each: ``told``."""
    import pandas as pd

    shadows = {n: membership.shadow_models(make, train, n_shadows, seed) for n, make in makers.items()}
    return pd.DataFrame({name: told(one) for name, one in shadows.items()}).T


def of_private_ease(
    train: sp.csr_matrix,
    test: sp.csr_matrix,
    epsilons: Sequence[float],
    n_shadows: int,
    k: int = 10,
    seed: int = 0,
) -> pd.DataFrame:
    """Membership and NDCG@k of EASE with noise by ε, infinity for EASE itself; every model draws its own
    noise. Index: ``label``.
    """
    import pandas as pd

    rows = {}
    for epsilon in epsilons:

        def make(number: int, epsilon: float = epsilon) -> BaseRecommender:
            return EASE(400.0) if epsilon == np.inf else PrivateEASE(epsilon, seed=number)

        shadows = membership.shadow_models(make, train, n_shadows, seed)
        ranked = evaluation.evaluate(make(0).fit(train), train, test, k)
        rows[label(epsilon)] = {"epsilon": epsilon} | told(shadows) | {"ndcg": ranked.mean()["ndcg"]}
    return pd.DataFrame(rows).T


def _metrics(part: str, path: Path | None) -> dict[str, Any] | None:
    path = path or paths.MEASUREMENTS / f"{RECORD}.json"
    runs = records.runs_of(path) if path.is_file() else []
    return next((run["metrics"] for run in runs if run["parameters"]["part"] == part), None)


def tuned_encoder(path: Path | None = None) -> dict[str, float] | None:
    """The recorded attack on the encoder whose last layer is fine-tuned, by its scores: as ``told``."""
    found = _metrics("encoder", path)
    return None if found is None else found["membership"]


def of_encoder_weights(path: Path | None = None) -> pd.DataFrame:
    """The recorded attack on the weights of an encoder that DP-SGD trained: as ``of_private_ease``; empty
    without a record.
    """
    import pandas as pd

    found, rows = _metrics("encoder weights", path), {}
    for name, one in (found or {"membership": {}})["membership"].items():
        epsilon = np.inf if name == NO_NOISE else float(name.removeprefix("ε = "))
        rows[name] = {"epsilon": epsilon} | one | {"ndcg": found["ndcg"][name]}  # type: ignore[index]
    columns = ["epsilon", "auc", "true positives", "no shadows", "ndcg"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


def one_item(
    forms: Sequence[Release],
    found: Mapping[str, Recovered],
    item_vectors: np.ndarray,
    histories: sp.csr_matrix,
    popularity: np.ndarray,
    path: Path | None = None,
) -> pd.DataFrame:
    """Is this item in that history? By each form of the users' vectors, told from the reconstruction's scores
    and from the cosine alone; the last row sees popularity only.

    Also the fraction of a history that comes back from vectors of the fine-tuned encoder, as recorded
    (``history, tuned``), beside ``history``. ``forms`` and ``histories`` are of the users of ``found``.
    """
    import pandas as pd

    tuned = (_metrics("tuned vectors", path) or {}).get("tuned", {})
    seen = {form.name: (np.asarray(found[form.name].scores), form.vectors) for form in forms}
    popular = np.repeat(np.asarray(popularity, dtype=np.float64)[None], histories.shape[0], axis=0)
    blind = "without the vector"
    rows = {}
    for name, (scores, vectors) in seen.items():
        by_scores = membership.of_items(scores, histories)
        by_cosine = membership.of_items(similarity.cosine(vectors, item_vectors), histories)
        rows[name] = {"history": found[name].recall.mean(), "history, tuned": tuned.get(name, np.nan),
                      "auc": by_scores.auc, "true positives": by_scores.true_positives,
                      "auc, cosine": by_cosine.auc,
                      "true positives, cosine": by_cosine.true_positives}  # fmt: skip
    by_popularity = membership.of_items(popular, histories)
    rows[blind] = {"history": next(iter(found.values())).baseline.mean(),
                   "history, tuned": tuned.get(blind, np.nan), "auc": by_popularity.auc,
                   "true positives": by_popularity.true_positives}  # fmt: skip
    return pd.DataFrame(rows).T
