"""Small data sets for tests."""

import numpy as np
import pandas as pd

from recsys_lib.data.datasets import Dataset


def small(user, item, rating=None, n_items=None):
    """Interactions of the given users and items; titles are ``Title 0``,
    ``Title 1`` and so on, without times.
    """
    user, item = np.asarray(user, np.int32), np.asarray(item, np.int32)
    n_items = n_items or (item.max() + 1 if len(item) else 1)
    rating = np.full(len(user), np.nan, np.float32) if rating is None else np.asarray(rating, np.float32)
    items = pd.DataFrame(
        {"id": [f"i{i}" for i in range(n_items)], "title": [f"Title {i}" for i in range(n_items)]}
    )
    users = pd.DataFrame({"id": [f"u{u}" for u in range(user.max() + 1 if len(user) else 1)]})
    return Dataset("small", user, item, rating, None, items, users)
