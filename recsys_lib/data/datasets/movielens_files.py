"""The larger MovieLens sets: latest small, 1M, 25M and 32M, from the files that GroupLens publishes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from recsys_lib.core.errors import InputError
from recsys_lib.data.datasets.assemble import assemble, check_file, read_numbers, text_frame
from recsys_lib.data.datasets.dataset import Dataset
from recsys_lib.data.datasets.movielens import restore_article

_YEAR = re.compile(r"^(?P<title>.*?)\s*\((?P<year>\d{4})(?:[-–]\d{0,4})?\)\s*$")
_TYPES = {"userId": np.int32, "movieId": np.int32, "rating": np.float32, "timestamp": np.int64}
_OURS = {"userId": "user", "movieId": "item"}
_DAT = ("user", "item", "rating", "timestamp")
AGES = {"1": 17, "18": 21, "25": 30, "35": 40, "45": 47, "50": 53, "56": 60}
OCCUPATIONS = (
    "other", "academic/educator", "artist", "clerical/admin", "college/grad student", "customer service",
    "doctor/health care", "executive/managerial", "farmer", "homemaker", "K-12 student", "lawyer",
    "programmer", "retired", "sales/marketing", "scientist", "self-employed", "technician/engineer",
    "tradesman/craftsman", "unemployed", "writer",
)  # fmt: skip


def load_movielens_csv(name: str, folder: Path) -> Dataset:
    """Latest small, 25M or 32M: ratings from 0.5 to 5 with times, titles with year and genres, no users.

    Cleaned: the year leaves the title (``Babylon 5`` has none), trailing articles are put back,
    "(no genres listed)" is no genre, ratings without user, film, rating or time are left out. Films that
    nobody rated stay. ``tags`` joins what users wrote of a film, the most frequent first, where tags.csv lies
    beside.
    """
    ratings = read_numbers(folder / "ratings.csv", dict(_TYPES)).rename(columns=_OURS)
    ratings = ratings[ratings["rating"].notna()]
    items = _items(text_frame(folder / "movies.csv", ("movieId", "title", "genres")))
    if (folder / "tags.csv").is_file():
        items["tags"] = _tags(text_frame(folder / "tags.csv", ("movieId", "tag")), items["id"])
    return assemble(name, ratings, items)


def _items(films: pd.DataFrame) -> pd.DataFrame:
    ids = pd.to_numeric(films["movieId"], errors="coerce")
    if ids.isna().any():
        row = int(np.flatnonzero(ids.isna())[0])
        raise InputError(
            f"movies row {row + 2} column movieId: {films['movieId'].iloc[row]!r}, expected a number"
        )
    titles, years = split_titles(films["title"])
    genres = films["genres"].replace("(no genres listed)", "").str.replace("|", ", ", regex=False)
    found = pd.DataFrame({"id": ids.astype(np.int64), "title": titles, "year": years, "genres": genres})
    return found.sort_values("id", ignore_index=True)


def split_titles(titles: Sequence[str] | pd.Series) -> tuple[list[str], pd.Series]:
    """Titles without their year, articles put back, and the years (``<NA>`` where there is none).

    >>> split_titles(["American President, The (1995)", "Babylon 5"])[0]
    ['The American President', 'Babylon 5']
    """
    matches = [_YEAR.match(title.strip()) for title in titles]
    plain = [
        restore_article(match["title"] if match else title.strip())
        for match, title in zip(matches, titles, strict=True)
    ]
    return plain, pd.Series([int(m["year"]) if m else None for m in matches], dtype="Int64")


def _tags(tags: pd.DataFrame, ids: pd.Series, most: int = 20) -> list[str]:
    """The ``most`` frequent tags of every film, joined by ", ", ignoring upper and lower case."""
    tags = tags.assign(tag=tags["tag"].str.strip().str.lower(), id=pd.to_numeric(tags["movieId"]))
    counts = tags[tags["tag"] != ""].groupby(["id", "tag"]).size().rename("n").reset_index()
    counts = counts.sort_values(["id", "n", "tag"], ascending=[True, False, True])
    joined = counts.groupby("id")["tag"].apply(lambda own: ", ".join(own.iloc[:most]))
    return joined.reindex(ids).fillna("").tolist()


def load_movielens_1m(name: str, folder: Path) -> Dataset:
    """MovieLens-1M: 6,040 users with gender, age and occupation, 3,883 films, 1,000,209 ratings with times.

    The files are ISO-8859-1 with ``::`` between fields. Ages are published as groups; ``age`` is the middle
    of a group (17 under 18, 60 from 56 on). Titles as in ``load_movielens_csv``.
    """
    ratings = _dat(folder / "ratings.dat", _DAT).apply(pd.to_numeric, errors="coerce")
    ratings = ratings[ratings["rating"].notna()].astype({"user": "Int64", "item": "Int64"})
    films = _dat(folder / "movies.dat", ("movieId", "title", "genres"))
    people = _dat(folder / "users.dat", ("id", "gender", "age", "occupation", "zip_code"))
    place = pd.to_numeric(people["occupation"], errors="coerce").fillna(0).astype(int)
    people = people.assign(
        id=pd.to_numeric(people["id"]),
        age=people["age"].map(AGES).astype("Int64"),
        occupation=[OCCUPATIONS[i] if 0 <= i < len(OCCUPATIONS) else "other" for i in place],
    )
    return assemble(name, ratings, _items(films), people)


def _dat(path: Path, names: Sequence[str]) -> pd.DataFrame:
    """A file of fields between ``::``; every line has as many as there are names."""
    check_file(path)
    lines = path.read_text(encoding="iso-8859-1").splitlines()
    rows = [line.split("::") for line in lines if line.strip()]
    for number, row in enumerate(rows, 1):
        if len(row) != len(names):
            raise InputError(
                f"{path.name} row {number}: {len(row)} fields, expected {len(names)} between '::'"
            )
    return pd.DataFrame(rows, columns=list(names), dtype=str)
