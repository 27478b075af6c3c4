"""An invented shop that the tests of the study over catalogues share."""

import numpy as np
import pandas as pd

from recsys_lib.data.datasets import Dataset


def shop(n_users=60, n_items=40, seed=0, notes=(), timed=True):
    """Two tastes that the texts name: users of a taste choose mostly its items."""
    rng = np.random.default_rng(seed)
    taste = np.arange(n_items) % 2
    user, item = [], []
    for u in range(n_users):
        weights = np.where(taste == u % 2, 10.0, 1.0)
        chosen = rng.choice(n_items, 12, replace=False, p=weights / weights.sum())
        user += [u] * 12
        item += chosen.tolist()
    words = [("red warm" if t else "blue cold") + f" thing {i}" for i, t in enumerate(taste)]
    items = pd.DataFrame({"id": [str(i) for i in range(n_items)], "title": words, "description": words})
    people_table = pd.DataFrame(
        {"id": [str(u) for u in range(n_users)], "gender": ["F", "M"] * (n_users // 2)}
    )
    times = rng.permutation(len(user)).astype(np.int64) * 86_400
    return Dataset(
        "shop", np.array(user, np.int32), np.array(item, np.int32), np.full(len(user), np.nan, np.float32),
        times if timed else None, items, people_table, notes=notes,
    )  # fmt: skip
