"""The ranking study: contenders with their published search spaces, and a search that gives each the same budget."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.sparse as sp

from recsys_lib import evaluation, recommenders
from recsys_lib.errors import InputError
from recsys_lib.recommenders import Recommender


@dataclass(frozen=True)
class Contender:
    """A recommender to be tuned: ``make(**parameters)``, and for each parameter the values it may take."""

    make: Callable[..., Recommender]
    space: Mapping[str, Sequence[Any]] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """How many points the space has."""
        return math.prod(len(values) for values in self.space.values())


@dataclass(frozen=True)
class Trial:
    """One point tried: its parameters, the metric on the validation part, seconds to fit and evaluate."""

    parameters: dict[str, Any]
    value: float
    seconds: float


def contenders(vectors: np.ndarray) -> dict[str, Contender]:
    """Every contender of the study by name; those that read text get ``vectors [n_items, d]``."""
    r = recommenders
    ease_space = {"regularization": [100.0, 200.0, 300.0, 400.0, 600.0, 800.0]}
    return {
        "popularity": Contender(r.Popularity),
        "UserKNN": Contender(r.UserKNN, {"neighbours": [20, 50, 100, 200, 400], "shrinkage": [0.0, 5.0, 10.0, 30.0]}),
        "ItemKNN": Contender(r.ItemKNN, {"neighbours": [20, 50, 100, 200, 400], "shrinkage": [0.0, 10.0, 30.0, 100.0]}),
        "EASE": Contender(r.EASE, ease_space),
        "SLIM": Contender(r.SLIM, {"l1": [0.5, 1.0, 2.0, 4.0], "l2": [100.0, 200.0, 400.0, 800.0]}),
        "iALS": Contender(
            r.IALS, {"factors": [32, 64, 128], "regularization": [10.0, 20.0, 50.0, 100.0], "alpha": [2.0, 5.0, 10.0, 20.0]}
        ),
        "BPR": Contender(
            r.BPR,
            {
                "factors": [32, 64, 128], "learning_rate": [0.01, 0.02, 0.05], "regularization": [0.01, 0.03, 0.1],
                "iterations": [100, 300],
            },
        ),
        "text": Contender(lambda: r.TextProfile(vectors)),
        "text, nearest item": Contender(lambda: r.MaxSimilarity(vectors)),
        "text-kNN": Contender(lambda **p: r.TextItemKNN(vectors, **p), {"neighbours": [10, 20, 50, 100, 200]}),
        "ridge map": Contender(
            lambda **p: r.RidgeMap(vectors, **p),
            {"factors": [16, 32, 64, 128], "regularization": [0.1, 0.3, 1.0, 3.0, 10.0]},
        ),
        "text MLP": Contender(
            lambda **p: r.TextMLP(vectors, progress=False, **p),
            {"temperature": [0.1, 0.15, 0.2], "output": [64, 128], "epochs": [20, 40]},
        ),
        "EASE + text": Contender(
            lambda **p: r.TextEASE(vectors, **p),
            ease_space | {"weight": [3.0, 10.0, 20.0, 30.0, 50.0]},
        ),
        "EASE, text blended in": Contender(
            lambda regularization, weight: r.ScoreBlend([r.EASE(regularization), r.TextProfile(vectors)], [1.0, weight]),
            ease_space | {"weight": [0.05, 0.1, 0.2, 0.3, 0.5]},
        ),
    }  # fmt: skip


def points(space: Mapping[str, Sequence[Any]], trials: int, seed: int = 0) -> list[dict[str, Any]]:
    """``trials`` different points of a space drawn at random, all of them if there are fewer.

    >>> len(points({"a": [1, 2, 3], "b": [0.1, 1.0]}, 4)), points({}, 4)
    (4, [{}])

    Raises:
        InputError: fewer than one trial.
    """
    if trials < 1:
        raise InputError(f"trials={trials!r}: want at least 1")
    every = [dict(zip(space, values, strict=True)) for values in itertools.product(*space.values())]
    order = np.random.default_rng(seed).permutation(len(every))
    return [every[i] for i in order[:trials]]


def tune(
    contender: Contender,
    train: sp.csr_matrix,
    validation: sp.csr_matrix,
    trials: int = 12,
    seed: int = 0,
    metric: str = "ndcg",
    k: int = 10,
    candidates: np.ndarray | None = None,
) -> list[Trial]:
    """Random search on a validation part (Bergstra and Bengio, JMLR 2012): all trials, best first.

    Equal budgets are what makes tuned models comparable: give every contender the same ``trials``.
    """
    done = []
    for parameters in points(contender.space, trials, seed):
        start = time.perf_counter()
        fitted = contender.make(**parameters).fit(train)
        value = evaluation.evaluate(fitted, train, validation, k, candidates).mean()[metric]
        done.append(Trial(parameters, value, time.perf_counter() - start))
    return sorted(done, key=lambda trial: -trial.value)
