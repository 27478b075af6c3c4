"""What is learned from and what is evaluated on: data set, split and seed under one name."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from recsys_lib.core.errors import InputError
from recsys_lib.data import datasets
from recsys_lib.data.datasets import Dataset
from recsys_lib.evaluation import splits
from recsys_lib.evaluation.splits import Split

PROTOCOLS = ("ml-100k random", "ml-100k temporal", "ml-100k leave-one-out", "book-crossing random")
VALIDATION = 0.1


@lru_cache
def dataset_of(protocol: str) -> Dataset:
    """MovieLens-100K whole; of Book-Crossing the part in which users have at least 8 books and books 20
    users.

    6,406 users, 5,330 books, 260,913 interactions: as near as thresholds come to the 6,273 / 5,335 / 253,057
    of Sheng et al. (AlphaRec, 2024), who name none.
    """
    if protocol not in PROTOCOLS:
        raise InputError(f"protocol={protocol!r}: expected one of {', '.join(PROTOCOLS)}")
    name = protocol.split()[0]
    return datasets.load("ml-100k") if name == "ml-100k" else datasets.load(name).k_core(8, 20)


def split_of(protocol: str, seed: int = 0) -> Split:
    """The split of one seed, a validation tenth cut from what precedes the test part.

    Random: 80/20 over all ratings (MovieLens, as the publications of the reproduction check do) or within
    each user (Book-Crossing). Temporal: the latest fifth is the test; seed s leaves out the last s tenths of
    all interactions, so that five seeds are five moments. Leave-one-out knows no seed.
    """
    data = dataset_of(protocol)
    kind = protocol.split()[1]
    if kind == "temporal":
        if not 0 <= seed < 8:
            raise InputError(f"seed={seed!r}: the temporal protocol has moments 0 to 7")
        assert data.timestamp is not None
        rows = np.sort(
            np.argsort(data.timestamp, kind="stable")[: round(data.n_interactions * (1 - 0.1 * seed))]
        )
        # The same users and items, in the same places, as the vectors have; only the interactions are fewer.
        return splits.temporal_split(data.of_interactions(rows), 0.2, VALIDATION)
    if kind == "leave-one-out":
        return splits.leave_one_out(data, validation=True)
    return splits.random_split(data, 0.2, VALIDATION, seed, per_user=data.name != "ml-100k")
