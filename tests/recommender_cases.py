"""Recommenders of every class on a catalogue whose answers are known, shared by their tests."""

import numpy as np
import pytest
import scipy.sparse as sp

from recsys_lib.core.errors import InputError
from recsys_lib.recommenders import (
    BPR,
    EASE,
    IALS,
    SLIM,
    TIGER,
    EASEMap,
    GatedMLP,
    Interests,
    ItemKNN,
    JoinedKernelMap,
    MaxSimilarity,
    Popularity,
    RankFusion,
    RecentPopularity,
    RidgeMap,
    SASRec,
    ScoreBlend,
    TextEASE,
    TextItemKNN,
    TextMLP,
    TextProfile,
    UserKNN,
    WarmAndCold,
    checks,
)

# Users 0-3 like even items, 4-7 odd ones, but each has not yet met one of them; user 8 is empty, item 8 was
# never seen.
CHECKERBOARD = np.zeros((9, 9), dtype=np.float32)
for u in range(4):
    CHECKERBOARD[u, 0:8:2] = 1
    CHECKERBOARD[u + 4, 1:8:2] = 1
    CHECKERBOARD[u, 2 * u] = CHECKERBOARD[u + 4, 2 * u + 1] = 0
PARITY = np.array([[i % 2 == 0, i % 2 == 1] for i in range(9)], dtype=np.float32)
PARITY[8] = 0

RECOMMENDERS = {
    "Popularity": lambda v=PARITY: Popularity(),
    "RecentPopularity": lambda v=PARITY: RecentPopularity(1.0),
    "ItemKNN": lambda v=PARITY: ItemKNN(neighbours=5),
    "ItemKNN, normalized": lambda v=PARITY: ItemKNN(neighbours=5, shrinkage=1, normalize=True),
    "ItemKNN, unit users": lambda v=PARITY: ItemKNN(neighbours=5, unit_users=True),
    "ItemKNN with text": lambda v=PARITY: ItemKNN(5, item_vectors=v, text_weight=0.3),
    "UserKNN": lambda v=PARITY: UserKNN(neighbours=3),
    "EASE": lambda v=PARITY: EASE(1.0),
    "EASE, pruned": lambda v=PARITY: EASE(1.0, top=3),
    "SLIM": lambda v=PARITY: SLIM(0.01, 0.5),
    "IALS": lambda v=PARITY: IALS(factors=2, regularization=0.1, iterations=30),
    "BPR": lambda v=PARITY: BPR(factors=2, iterations=300, learning_rate=0.1, regularization=0.1),
    "SASRec": lambda v=PARITY: SASRec(
        8, 1, 1, length=6, dropout=0.0, epochs=15, learning_rate=0.02, progress=False
    ),
    "TIGER": lambda v=PARITY: TIGER(
        v, 1, 3, 8, 1, 2, length=6, dropout=0.0, epochs=60, learning_rate=0.02, progress=False
    ),
    "TextProfile": lambda v=PARITY: TextProfile(v),
    "TextProfile and popularity": lambda v=PARITY: TextProfile(v, popularity=0.1),
    "TextProfile, recent": lambda v=PARITY: TextProfile(v, half_life=3.0),
    "WarmAndCold": lambda v=PARITY: WarmAndCold(EASE(1.0), EASEMap(v, 1.0, 1.0)),
    "MaxSimilarity": lambda v=PARITY: MaxSimilarity(v),
    "Interests": lambda v=PARITY: Interests(v, 2),
    "TextItemKNN": lambda v=PARITY: TextItemKNN(v, neighbours=3),
    "RidgeMap": lambda v=PARITY: RidgeMap(v, factors=2, regularization=0.01),
    "EASEMap": lambda v=PARITY: EASEMap(v, 0.1, 1.0),
    "EASEMap, warm kept": lambda v=PARITY: EASEMap(v, 0.1, 1.0, keep_warm=True),
    "EASEMap of kernels": lambda v=PARITY: EASEMap(v, 0.1, 1.0, width=0.7),
    "JoinedKernelMap": lambda v=PARITY: JoinedKernelMap([v, v[:, :1]], [1.0, 0.5], "product", 0.1, 1.0),
    "JoinedKernelMap, sum": lambda v=PARITY: JoinedKernelMap([v, v[:, :1]], [1.0, 0.5], "sum", 0.1, 1.0),
    "GatedMLP": lambda v=PARITY: GatedMLP(
        [v, v[:, :1]], hidden=8, output=4, negatives=8, epochs=40, learning_rate=0.02, progress=False
    ),
    "TextMLP": lambda v=PARITY: TextMLP(v, 8, 4, negatives=8, epochs=40, learning_rate=0.02, progress=False),
    "TextEASE": lambda v=PARITY: TextEASE(v, 1.0, 0.5),
    "TextEASE, pruned": lambda v=PARITY: TextEASE(v, 1.0, 0.5, top=4),
    "ScoreBlend": lambda v=PARITY: ScoreBlend([EASE(1.0), TextProfile(v)], [1.0, 0.5]),
    "ScoreBlend with times": lambda v=PARITY: ScoreBlend(
        [EASE(1.0), TextProfile(v, half_life=3.0)], [1.0, 0.5]
    ),
    "RankFusion": lambda v=PARITY: RankFusion([ItemKNN(5), TextProfile(v)]),
}


def times_of(matrix):
    """A time for every interaction, in an order that is not that of items."""
    times = sp.csr_matrix(matrix, dtype=np.float64, copy=True)
    times.sum_duplicates()
    times.eliminate_zeros()
    times.data = 86_400.0 * (1 + np.random.default_rng(0).permutation(times.nnz))
    return times


def fitted(name, train=CHECKERBOARD, vectors=PARITY):
    train = sp.csr_matrix(train)
    return checks.fit(RECOMMENDERS[name](vectors), train, times_of(train))


def scored(model, histories):
    histories = sp.csr_matrix(histories)
    return checks.score(model, histories, times_of(histories))


def one_line(message, call, *arguments):
    with pytest.raises(InputError, match=message) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
