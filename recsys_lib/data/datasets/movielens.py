"""MovieLens-100K, cleaned."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from recsys_lib.data.assets import locate
from recsys_lib.data.datasets.dataset import Dataset

# Articles that the file moves behind a title, in the languages of its films.
_ARTICLES = "The|A|An|La|Le|Les|L'|Il|El|Los|Las|Lo|Gli|I|Der|Die|Das|Det|Den|De|O|Os"
_TRAILING = re.compile(rf"^(?P<title>.+), (?P<article>{_ARTICLES})$")
_ALTERNATIVE = re.compile(r"^(?P<title>.+?) \((?P<alternative>.+)\)$")


def restore_article(title: str) -> str:
    """Put a trailing article back, also inside and before an alternative title.

    >>> restore_article("Usual Suspects, The")
    'The Usual Suspects'
    >>> restore_article("Double vie de Véronique, La (Double Life of Veronique, The)")
    'La Double vie de Véronique (The Double Life of Veronique)'
    """
    both = _ALTERNATIVE.match(title)
    if both:
        return f"{restore_article(both['title'])} ({restore_article(both['alternative'])})"
    match = _TRAILING.match(title)
    if not match:
        return title
    space = "" if match["article"].endswith("'") else " "
    return f"{match['article']}{space}{match['title']}"


def load_movielens() -> Dataset:
    """MovieLens-100K: 943 users, 1,682 films, 100,000 ratings from 1 to 5 with times.

    Cleaned: trailing articles; film 267, which the file calls ``unkonwn``, is ``unknown``; film 1412 has its
    year inside its title. 22 titles occur under several ids, which stay apart:
    ``items.duplicated("title", keep=False)`` shows them, and with ``["title", "year"]`` those that are the
    same film rather than a remake.
    Source: Harper and Konstan, The MovieLens Datasets, ACM TiiS 2015.
    """
    folder = locate("ml-100k")
    ratings = pd.read_csv(
        folder / "ml-100k.inter", sep="\t", names=["user", "item", "rating", "time"], header=0
    )
    items = pd.read_csv(folder / "ml-100k.item", sep="\t", dtype=str, keep_default_na=False, encoding="utf-8")
    users = pd.read_csv(folder / "ml-100k.user", sep="\t", dtype={"age:token": int}, keep_default_na=False)
    items.columns = pd.Index(["id", "title", "year", "genres"])
    users.columns = pd.Index(["id", "age", "gender", "occupation", "zip_code"])
    items, users = items.sort_values("id", key=lambda s: s.astype(int)), users.sort_values("id")
    inside = items["title"].str.extract(r"^(?P<title>.+) \((?P<year>\d{4})\)$")
    items["title"] = inside["title"].fillna(items["title"]).replace("unkonwn", "unknown").map(restore_article)
    items["year"] = pd.to_numeric(
        items["year"].where(inside["year"].isna(), inside["year"]), errors="coerce"
    ).astype("Int64")
    items["genres"] = items["genres"].str.split().str.join(", ").replace("unknown", "")
    users["id"] = users["id"].astype(str)
    return Dataset(
        "ml-100k",
        user=(ratings["user"].to_numpy() - 1).astype(np.int32),
        item=(ratings["item"].to_numpy() - 1).astype(np.int32),
        rating=ratings["rating"].to_numpy(np.float32),
        timestamp=ratings["time"].to_numpy(np.int64),
        items=items.reset_index(drop=True),
        users=users.reset_index(drop=True),
    )
