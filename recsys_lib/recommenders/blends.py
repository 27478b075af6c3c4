"""Several recommenders in one ranking."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import scipy.sparse as sp

from recsys_lib.core.errors import InputError
from recsys_lib.recommenders import checks
from recsys_lib.recommenders.recommender import BaseRecommender

if TYPE_CHECKING:
    from recsys_lib.recommenders import Recommender


class _Parts(BaseRecommender):
    """What both share: fitting, scoring and saving their parts. Two scores of a part are one part's two."""

    reads_times = True
    recommenders: list[Any]

    def fit(self, train: sp.csr_matrix, times: sp.csr_matrix | None = None) -> Self:
        for recommender in self.recommenders:
            checks.fit(recommender, train, times)
        self.n_items = train.shape[1]
        return self

    def scores(self, users: np.ndarray) -> np.ndarray:
        return self._joined(lambda part: part.scores(users))

    def score(self, histories: sp.csr_matrix, times: sp.csr_matrix | None = None) -> np.ndarray:
        return self._joined(lambda part: checks.score(part, histories, times))

    def _joined(self, of_part: Callable[[Any], np.ndarray]) -> np.ndarray:
        raise NotImplementedError

    def _state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        parts = []
        arrays, own = super()._state()
        for i, part in enumerate(self.recommenders):
            if not isinstance(part, BaseRecommender):
                raise InputError(f"{type(part).__name__} cannot be saved: expected parts of this library")
            part_arrays, meta = part._state()
            arrays |= {f"{i}/{name}": array for name, array in part_arrays.items()}
            parts.append({"class": type(part).__name__, "meta": meta})
        return arrays, own | {"parts": parts}

    @classmethod
    def _from_state(
        cls, arrays: dict[str, np.ndarray], meta: dict[str, Any], where: str, device: str
    ) -> Self:
        model = super()._from_state({n: a for n, a in arrays.items() if "/" not in n}, meta, where, device)
        model.recommenders = []
        for i, part in enumerate(meta["parts"]):
            known = BaseRecommender._classes.get(part["class"])
            if known is None:
                raise InputError(f"{where}: holds a {part['class']}, expected recommenders of this library")
            prefix = f"{i}/"
            own = {name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)}
            model.recommenders.append(known._from_state(own, part["meta"], where, device))
        return model


class ScoreBlend(_Parts):
    """Weighted sum of several recommenders' scores, each row standardized first."""

    settings = ("weights",)

    def __init__(self, recommenders: Sequence[Recommender], weights: Sequence[float]):
        if len(recommenders) != len(weights) or not recommenders or any(w < 0 for w in weights):
            raise InputError(
                f"{len(recommenders)} recommenders, weights={list(weights)!r}: "
                "expected one non-negative weight for each"
            )
        self.recommenders, self.weights = list(recommenders), [float(w) for w in weights]

    def _joined(self, of_part: Callable[[Any], np.ndarray]) -> np.ndarray:
        parts = zip(self.weights, self.recommenders, strict=True)
        return np.asarray(sum(w * _standardized(of_part(r)) for w, r in parts), dtype=np.float32)


def _standardized(scores: np.ndarray) -> np.ndarray:
    """Every row to mean 0 and spread 1; a constant row to 0: only then do weights mean the same for two
    models.
    """
    centred = scores - scores.mean(axis=1, keepdims=True)
    spread = centred.std(axis=1, keepdims=True)
    return centred / np.where(spread > 0, spread, 1)


class RankFusion(_Parts):
    """Reciprocal rank fusion: the sum of ``weight / (constant + rank)`` (Cormack, Clarke and Büttcher, SIGIR
    2009).

    Uses no scores, only orders, so nothing has to be comparable. Equal scores share the better rank.
    ``weights`` are 1 for each unless given; a recommender of weight 0 has no say.
    """

    settings = ("constant", "weights")

    def __init__(
        self,
        recommenders: Sequence[Recommender],
        constant: float = 60.0,
        weights: Sequence[float] | None = None,
    ):
        if not recommenders or not constant > 0:
            raise InputError(
                f"{len(recommenders)} recommenders, constant={constant!r}: expected at least one, more than 0"
            )
        weights = [1.0] * len(recommenders) if weights is None else [float(w) for w in weights]
        if len(weights) != len(recommenders) or any(w < 0 for w in weights) or not any(weights):
            raise InputError(
                f"{len(recommenders)} recommenders, weights={weights!r}: "
                "expected one non-negative weight for each, one above 0"
            )
        self.recommenders, self.constant, self.weights = list(recommenders), constant, weights

    def _joined(self, of_part: Callable[[Any], np.ndarray]) -> np.ndarray:
        parts = zip(self.weights, self.recommenders, strict=True)
        return np.sum([w / (self.constant + _ranks(of_part(r))) for w, r in parts if w], axis=0)


def _ranks(scores: np.ndarray) -> np.ndarray:
    """1 for the highest score of each row; equal ones share the better rank. float32, over twice as fast as
    SciPy's rankdata.
    """
    import torch

    ordered, places = torch.sort(torch.from_numpy(np.ascontiguousarray(scores)), dim=1, descending=True)
    count = torch.arange(1, scores.shape[1] + 1, dtype=torch.float32)
    lower = torch.ones_like(ordered, dtype=torch.bool)
    lower[:, 1:] = ordered[:, 1:] < ordered[:, :-1]
    ranks = torch.cummax(torch.where(lower, count, 0), dim=1).values
    return torch.empty_like(ranks).scatter_(1, places, ranks).numpy()
