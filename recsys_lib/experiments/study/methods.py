"""Who takes part, with published search spaces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp

from recsys_lib import recommenders
from recsys_lib.evaluation.tuning import Contender
from recsys_lib.experiments.study.item_texts import side_by_side, whitened
from recsys_lib.vectors import geometry

EASE_SPACE: dict[str, Sequence[Any]] = {"regularization": [100.0, 200.0, 300.0, 400.0, 600.0, 800.0]}
# Coarse enough for few trials to cover, wide enough for catalogues of few and of many interactions an item.
PRIOR_SPACE = {"regularization": [100.0, 200.0, 400.0, 800.0], "weight": [0.03, 0.1, 0.2], "sharpness": [1.0, 2.0]}

EASE_MAP_SPACE: dict[str, Sequence[Any]] = {
    "regularization": [0.5, 1.0, 2.0, 4.0, 8.0, 16.0],
    "ease_regularization": [50.0, 100.0, 200.0, 400.0],
}
EASE_KERNEL_SPACE: dict[str, Sequence[Any]] = {
    "regularization": [0.3, 1.0, 2.0], "ease_regularization": [50.0, 150.0], "width": [0.5, 0.7, 1.0]
}  # fmt: skip


def contenders(vectors: np.ndarray, joined: np.ndarray) -> dict[str, Contender]:
    """Every contender of the study by name, but those that read times.

    ``vectors [n_items, d]`` of one encoder; ``joined [n_items, D]`` of several sources side by side.
    """
    r = recommenders
    knn_space: dict[str, Sequence[Any]] = {"neighbours": [20, 50, 100, 200, 400], "shrinkage": [0.0, 10.0, 30.0]}
    knn_space |= {"unit_users": [False, True]}
    return {
        "popularity": Contender(r.Popularity),
        "UserKNN": Contender(r.UserKNN, {"neighbours": [20, 50, 100, 200, 400], "shrinkage": [0.0, 5.0, 10.0, 30.0]}),
        "ItemKNN": Contender(r.ItemKNN, knn_space),
        "EASE": Contender(r.EASE, EASE_SPACE),
        "SLIM": Contender(r.SLIM, {"l1": [0.5, 1.0, 2.0, 4.0], "l2": [100.0, 200.0, 400.0, 800.0]}),
        "iALS": Contender(
            r.IALS, {"factors": [32, 64, 128], "regularization": [10.0, 20.0, 50.0, 100.0], "alpha": [2.0, 5.0, 10.0, 20.0]}
        ),
        "BPR": Contender(
            r.BPR,
            {
                "factors": [16, 32, 64, 128], "learning_rate": [0.002, 0.005, 0.01], "regularization": [0.003, 0.01, 0.03],
                "iterations": [50, 100, 200],
            },
        ),
        "text": Contender(lambda: r.TextProfile(vectors), {}, "text"),
        "text, nearest item": Contender(lambda: r.MaxSimilarity(vectors), {}, "text"),
        "text-kNN": Contender(lambda **p: r.TextItemKNN(vectors, **p), {"neighbours": [10, 20, 50, 100, 200]}, "text"),
        "ridge map": Contender(
            lambda **p: r.RidgeMap(vectors, **p),
            {"factors": [16, 32, 64, 128], "regularization": [0.1, 0.3, 1.0, 3.0, 10.0]}, "text",
        ),
        "EASE map": Contender(
            lambda **p: r.EASEMap(vectors, **p),
            EASE_MAP_SPACE, "text",
        ),
        "text MLP": Contender(
            lambda **p: r.TextMLP(vectors, progress=False, **p),
            {"temperature": [0.1, 0.15, 0.2], "output": [64, 128], "epochs": [16, 32]}, "text",
        ),
        "text and popularity": Contender(
            lambda **p: r.TextProfile(vectors, **p), {"popularity": [0.1, 0.2, 0.4, 0.8, 1.6]}, "both"
        ),
        "ItemKNN + joined text": Contender(
            lambda **p: r.ItemKNN(item_vectors=joined, **p), knn_space | {"text_weight": [5.0, 10.0, 20.0]}, "both"
        ),
        "EASE + text": Contender(lambda **p: r.TextEASE(vectors, **p), PRIOR_SPACE, "both"),
        "EASE + joined text": Contender(lambda **p: r.TextEASE(joined, **p), PRIOR_SPACE, "both"),
        "EASE, text blended in": Contender(
            lambda regularization, weight: r.ScoreBlend([r.EASE(regularization), r.TextProfile(vectors)], [1.0, weight]),
            EASE_SPACE | {"weight": [0.05, 0.1, 0.2, 0.3, 0.5]}, "both",
        ),
        "EASE and text, ranks fused": Contender(
            lambda regularization, constant: r.RankFusion([r.EASE(regularization), r.TextProfile(vectors)], constant),
            EASE_SPACE | {"constant": [1.0, 10.0, 60.0]}, "both",
        ),
    }  # fmt: skip


def timed_contenders(vectors: np.ndarray) -> dict[str, Contender]:
    """The contenders that read when things happened; only for protocols that keep the order of time."""
    r = recommenders
    return {
        "recent popularity": Contender(r.RecentPopularity, {"half_life_days": [3.0, 7.0, 15.0, 30.0, 60.0]}),
        "text, recent": Contender(
            lambda **p: r.TextProfile(vectors, **p), {"half_life": [3.0, 10.0, 30.0, 100.0]}, "text"
        ),
        "SASRec": Contender(
            lambda **p: r.SASRec(progress=False, **p),
            {"dimension": [32, 64], "dropout": [0.2, 0.5], "epochs": [3, 10, 40]},
        ),
    }


def cold_contenders(raw: Mapping[str, np.ndarray], train: sp.csr_matrix, encoder: str) -> dict[str, Contender]:
    """Who can rank items that nobody has seen: by text alone, or by a map that other items' interactions taught.

    ``raw`` (name → ``[n_items, d]``) holds ``encoder``, ``tfidf``, ``labels``, ``year`` and other sources of text. Geometry is fitted on the
    items with training interactions. "metadata" is labels and year, "all models" every source but tf-idf and these two.
    """
    r, known = recommenders, np.asarray(train.sum(axis=0)).ravel() > 0
    centred = {name: geometry.centre(v[known]).apply(v) for name, v in raw.items() if name not in ("labels", "year")}
    metadata = side_by_side([raw["labels"], raw["year"]])
    models = side_by_side([v for name, v in centred.items() if name != "tfidf"])
    mapped = {
        "metadata": metadata, "tf-idf": centred["tfidf"], "tf-idf and metadata": side_by_side([centred["tfidf"], metadata]),
        encoder: centred[encoder], "all models": models, "all models and metadata": side_by_side([models, metadata]),
    }  # fmt: skip
    chance = np.random.default_rng(0).standard_normal((len(metadata), 16)).astype(np.float32)
    profiles = {
        "chance": chance, f"cosine: {encoder}, raw": raw[encoder], f"cosine: {encoder}, centred": centred[encoder],
        f"cosine: {encoder}, whitened": whitened(raw[encoder], train), "cosine: tf-idf": centred["tfidf"], "cosine: all models": models,
    }  # fmt: skip
    found = {name: Contender(lambda v=v: r.TextProfile(v), {}, "text") for name, v in profiles.items()}
    ridge_space: dict[str, Sequence[Any]] = {"factors": [8, 16, 32, 64], "regularization": [0.3, 1.0, 3.0, 10.0]}
    found[f"ridge map: {encoder}"] = Contender(lambda **p: r.RidgeMap(centred[encoder], **p), ridge_space, "text")
    for name, v in mapped.items():
        found[f"EASE map: {name}"] = Contender(lambda v=v, **p: r.EASEMap(v, **p), EASE_MAP_SPACE, "text")
    for name in ("tf-idf and metadata", "all models", "all models and metadata"):
        curved = Contender(lambda v=mapped[name], **p: r.EASEMap(v, **p), EASE_KERNEL_SPACE, "text")
        found[f"EASE kernel map: {name}"] = curved
    found["EASE + text: all models"] = Contender(lambda **p: r.TextEASE(models, **p), PRIOR_SPACE, "both")
    return found
