"""The methods of the study and their published search spaces: the one place for both.

Each ``*_SPACE`` maps a parameter to the values it may take; other comparisons import theirs from here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp

from recsys_lib import recommenders
from recsys_lib.evaluation.tuning import Method
from recsys_lib.experiments.study.item_texts import side_by_side, whitened
from recsys_lib.vectors import geometry

Space = dict[str, Sequence[Any]]

# Ranges reach past what was chosen on films and books; ``tuning.chosen_edges`` reports where one is still too
# short.
USER_KNN_SPACE: Space = {
    "neighbours": [10, 20, 50, 100, 200, 400],
    "shrinkage": [0.0, 5.0, 10.0, 30.0, 100.0],
}
ITEM_KNN_SPACE: Space = {
    "neighbours": [10, 20, 50, 100, 200, 400, 800],
    "shrinkage": [0.0, 10.0, 30.0, 100.0],
    "unit_users": [False, True],
}
ITEM_KNN_TEXT_SPACE: Space = {"text_weight": [1.0, 3.0, 10.0, 30.0, 100.0]}
EASE_SPACE: Space = {"regularization": [12.5, 25.0, 50.0, 100.0, 200.0, 400.0, 800.0, 1600.0]}
SLIM_SPACE: Space = {"l1": [0.25, 0.5, 1.0, 2.0, 4.0], "l2": [50.0, 100.0, 200.0, 400.0, 800.0]}
IALS_SPACE: Space = {
    "factors": [16, 32, 64, 128],
    "regularization": [5.0, 10.0, 20.0, 50.0, 100.0, 200.0],
    "alpha": [1.0, 2.0, 5.0, 10.0, 20.0],
}
BPR_SPACE: Space = {
    "factors": [8, 16, 32, 64, 128],
    "learning_rate": [0.001, 0.002, 0.005, 0.01, 0.02],
    "regularization": [0.001, 0.003, 0.01, 0.03],
    "iterations": [50, 100, 200],
}
SASREC_SPACE: Space = {"dimension": [32, 64], "dropout": [0.2, 0.5], "epochs": [3, 10, 40]}
RECENT_POPULARITY_SPACE: Space = {"half_life_days": [1.0, 3.0, 7.0, 15.0, 30.0, 60.0]}
TEXT_RECENT_SPACE: Space = {"half_life": [3.0, 10.0, 30.0, 100.0]}
TEXT_KNN_SPACE: Space = {"neighbours": [5, 10, 20, 50, 100, 200, 400, 800]}
TEXT_POPULARITY_SPACE: Space = {"popularity": [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4]}
TEXT_MLP_SPACE: Space = {"temperature": [0.1, 0.15, 0.2], "output": [64, 128], "epochs": [16, 32]}
# Beside the λ of EASE, which these share: the weight of the text, and how sharply similarity counts.
PRIOR_SPACE: Space = {"weight": [0.003, 0.01, 0.03, 0.1, 0.3, 1.0], "sharpness": [1.0, 2.0]}
BLEND_SPACE: Space = {"weight": [0.025, 0.05, 0.1, 0.2, 0.4, 0.8]}
RANK_FUSION_SPACE: Space = {"weight": [0.03, 0.1, 0.3, 1.0], "constant": [3.0, 10.0, 60.0, 200.0]}
# Where few or no interactions are known EASE's λ cannot be tuned apart from the text.
JOINT_PRIOR_SPACE: Space = {
    "regularization": [25.0, 100.0, 400.0, 1600.0],
    "weight": [0.0, 0.03, 0.1, 0.3, 1.0],
    "sharpness": [1.0, 2.0],
}
RIDGE_MAP_SPACE: Space = {
    "factors": [16, 32, 64, 128, 256],
    "regularization": [0.1, 0.3, 1.0, 3.0, 10.0, 30.0],
}
COLD_RIDGE_MAP_SPACE: Space = {
    "factors": [8, 16, 32, 64, 128],
    "regularization": [0.3, 1.0, 3.0, 10.0, 30.0, 100.0],
}
# Coarse, so that few trials cover it: a factor of 4 apart.
EASE_MAP_SPACE: Space = {
    "regularization": [0.125, 0.5, 2.0, 8.0, 32.0, 128.0],
    "ease_regularization": [25.0, 100.0, 400.0, 1600.0, 6400.0],
}
EASE_KERNEL_SPACE: Space = {"regularization": [0.1, 0.3, 1.0, 3.0], "width": [0.35, 0.5, 0.7, 1.0, 1.4]}


def warm_methods(vectors: np.ndarray, joined: np.ndarray) -> dict[str, Method]:
    """Every method of the study for warm items by name, except those that read times.

    Methods that add text to a model of interactions share its tuned parameters and may decline the text.
    "EASE + shuffled text" is their control: the joined vectors of other items.

    Args:
        vectors: item vectors ``[n_items, d]`` of one encoder.
        joined: item vectors ``[n_items, D]`` of several sources side by side.
    """
    interactions = _interaction_methods()
    return interactions | _text_methods(vectors) | _joint_methods(vectors, joined, interactions)


def _interaction_methods() -> dict[str, Method]:
    r = recommenders
    return {
        "popularity": Method(r.Popularity),
        "UserKNN": Method(r.UserKNN, USER_KNN_SPACE),
        "ItemKNN": Method(r.ItemKNN, ITEM_KNN_SPACE),
        "EASE": Method(r.EASE, EASE_SPACE),
        "SLIM": Method(r.SLIM, SLIM_SPACE),
        "iALS": Method(r.IALS, IALS_SPACE),
        "BPR": Method(r.BPR, BPR_SPACE),
    }


def _text_methods(vectors: np.ndarray) -> dict[str, Method]:
    r = recommenders
    return {
        "text": Method(lambda: r.TextProfile(vectors), {}, "text"),
        "text, nearest item": Method(lambda: r.MaxSimilarity(vectors), {}, "text"),
        "text-kNN": Method(lambda **p: r.TextItemKNN(vectors, **p), TEXT_KNN_SPACE, "text"),
        "ridge map": Method(lambda **p: r.RidgeMap(vectors, **p), RIDGE_MAP_SPACE, "text"),
        "EASE map": Method(lambda **p: r.EASEMap(vectors, **p), EASE_MAP_SPACE, "text"),
        "text MLP": Method(lambda **p: r.TextMLP(vectors, progress=False, **p), TEXT_MLP_SPACE, "text"),
    }


def text_prior(vectors: np.ndarray, ease: Method, reads: str = "both") -> Method:
    """EASE regularized towards the similarity of ``vectors``, at the tuned λ of ``ease``; without weight it
    is EASE.
    """
    make = lambda **p: recommenders.TextEASE(vectors, **p)  # noqa: E731
    return Method(make, PRIOR_SPACE, reads, ease, {"weight": 0.0, "sharpness": 1.0})


def knn_with_text(vectors: np.ndarray, knn: Method) -> Method:
    """ItemKNN with ``vectors`` below the users' rows, at the tuned point of ``knn``; without weight it is
    ItemKNN.
    """
    make = lambda **p: recommenders.ItemKNN(item_vectors=vectors, **p)  # noqa: E731
    return Method(make, ITEM_KNN_TEXT_SPACE, "both", knn, {"text_weight": 0.0})


def _joint_methods(
    vectors: np.ndarray, joined: np.ndarray, interactions: Mapping[str, Method]
) -> dict[str, Method]:
    r, ease = recommenders, interactions["EASE"]
    shuffled = joined[np.random.default_rng(0).permutation(len(joined))]

    def blend(regularization: float, weight: float) -> recommenders.Recommender:
        return r.ScoreBlend([r.EASE(regularization), r.TextProfile(vectors)], [1.0, weight])

    def fusion(regularization: float, weight: float, constant: float) -> recommenders.Recommender:
        return r.RankFusion([r.EASE(regularization), r.TextProfile(vectors)], constant, [1.0, weight])

    without = {"weight": 0.0}
    return {
        "text and popularity": Method(lambda **p: r.TextProfile(vectors, **p), TEXT_POPULARITY_SPACE, "both"),
        "ItemKNN + joined text": knn_with_text(joined, interactions["ItemKNN"]),
        "EASE + text": text_prior(vectors, ease),
        "EASE + joined text": text_prior(joined, ease),
        "EASE, text blended in": Method(blend, BLEND_SPACE, "both", ease, without),
        "EASE and text, ranks fused": Method(
            fusion, RANK_FUSION_SPACE, "both", ease, without | {"constant": 60.0}
        ),
        "EASE + shuffled text": text_prior(shuffled, ease, "control"),
    }


def timed_methods(vectors: np.ndarray) -> dict[str, Method]:
    """The methods that read the time of interactions; only for protocols that keep the order of time."""
    r = recommenders
    return {
        "recent popularity": Method(r.RecentPopularity, RECENT_POPULARITY_SPACE),
        "text, recent": Method(lambda **p: r.TextProfile(vectors, **p), TEXT_RECENT_SPACE, "text"),
        "SASRec": Method(lambda **p: r.SASRec(progress=False, **p), SASREC_SPACE),
    }


def cold_methods(raw: Mapping[str, np.ndarray], train: sp.csr_matrix, encoder: str) -> dict[str, Method]:
    """The methods that rank cold items: by text alone, or by a map fitted on the interactions of warm items.

    ``raw`` (name → ``[n_items, d]``) holds ``encoder``, ``tfidf``, ``labels``, ``year`` and other sources of
    text. Geometry is fitted on the items with training interactions. "metadata" is labels and year, "all
    models" every source except TF-IDF and these two.
    """
    r, known = recommenders, np.asarray(train.sum(axis=0)).ravel() > 0
    centred = {
        name: geometry.centre(v[known]).apply(v) for name, v in raw.items() if name not in ("labels", "year")
    }
    metadata = side_by_side([raw["labels"], raw["year"]])
    models = side_by_side([v for name, v in centred.items() if name != "tfidf"])
    mapped = {
        "metadata": metadata,
        "tf-idf": centred["tfidf"],
        "tf-idf and metadata": side_by_side([centred["tfidf"], metadata]),
        encoder: centred[encoder],
        "all models": models,
        "all models and metadata": side_by_side([models, metadata]),
    }
    profiles = {
        "chance": np.random.default_rng(0).standard_normal((len(metadata), 16)).astype(np.float32),
        f"cosine: {encoder}, raw": raw[encoder],
        f"cosine: {encoder}, centred": centred[encoder],
        f"cosine: {encoder}, whitened": whitened(raw[encoder], train),
        "cosine: tf-idf": centred["tfidf"],
        "cosine: all models": models,
    }
    found = {name: Method(lambda v=v: r.TextProfile(v), {}, "text") for name, v in profiles.items()}
    found[f"ridge map: {encoder}"] = Method(
        lambda **p: r.RidgeMap(centred[encoder], **p), COLD_RIDGE_MAP_SPACE, "text"
    )
    for name, v in mapped.items():
        found[f"EASE map: {name}"] = Method(lambda v=v, **p: r.EASEMap(v, **p), EASE_MAP_SPACE, "text")
    for name in ("tf-idf and metadata", "all models", "all models and metadata"):
        linear = found[f"EASE map: {name}"]
        found[f"EASE kernel map: {name}"] = Method(
            linear.make, EASE_KERNEL_SPACE, "text", linear, {"width": None}
        )
    found["EASE + text: all models"] = Method(lambda **p: r.TextEASE(models, **p), JOINT_PRIOR_SPACE, "both")
    return found
