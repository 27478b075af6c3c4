"""Recommenders: fit on interactions, score all items for training users or for any history, save and load.

``fit(train)`` takes a CSR matrix ``[n_users, n_items]``; ``scores(users)`` scores its rows,
``score(histories)`` anyone's; ``model.save(folder)``, and ``load(folder)`` here, keep a fitted one.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import scipy.sparse as sp

from recsys_lib.recommenders.blends import RankFusion, ScoreBlend
from recsys_lib.recommenders.cke import CKE
from recsys_lib.recommenders.ease import EASE
from recsys_lib.recommenders.factorization import BPR, IALS
from recsys_lib.recommenders.fused_maps import GatedMLP, JoinedKernelMap
from recsys_lib.recommenders.interests import Interests
from recsys_lib.recommenders.maps import EASEMap, RidgeMap
from recsys_lib.recommenders.neighbours import ItemKNN, UserKNN
from recsys_lib.recommenders.popularity import Popularity, RecentPopularity
from recsys_lib.recommenders.recommender import BaseRecommender, load
from recsys_lib.recommenders.sasrec import SASRec
from recsys_lib.recommenders.slim import SLIM
from recsys_lib.recommenders.text import MaxSimilarity, TextItemKNN, TextProfile
from recsys_lib.recommenders.text_ease import TextEASE
from recsys_lib.recommenders.text_mlp import TextMLP
from recsys_lib.recommenders.tiger import TIGER, semantic_ids
from recsys_lib.recommenders.warm_and_cold import WarmAndCold, reserve

__all__ = [
    "BPR",
    "CKE",
    "EASE",
    "IALS",
    "SLIM",
    "TIGER",
    "BaseRecommender",
    "EASEMap",
    "GatedMLP",
    "Interests",
    "ItemKNN",
    "JoinedKernelMap",
    "MaxSimilarity",
    "Popularity",
    "RankFusion",
    "RecentPopularity",
    "Recommender",
    "RidgeMap",
    "SASRec",
    "ScoreBlend",
    "TextEASE",
    "TextItemKNN",
    "TextMLP",
    "TextProfile",
    "UserKNN",
    "WarmAndCold",
    "load",
    "reserve",
    "semantic_ids",
]


class Recommender(Protocol):
    """What evaluation asks of a recommender; ``BaseRecommender`` adds ``score(histories)``, ``save`` and
    ``load``.

    ``fit`` returns the recommender itself; ``scores`` gives float32 ``[len(users), n_items]``, finite, higher
    is better, seen items included (evaluation masks them). Values of ``train`` are weights, 1 for a plain
    interaction. A user without
    history gets defined scores: see each class.
    """

    def fit(self, train: sp.csr_matrix) -> Recommender: ...

    def scores(self, users: np.ndarray) -> np.ndarray: ...
