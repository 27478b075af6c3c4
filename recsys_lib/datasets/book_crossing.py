"""Book-Crossing, cleaned."""

from __future__ import annotations

import html
import re

import numpy as np
import pandas as pd

from recsys_lib.assets import locate
from recsys_lib.datasets.dataset import Dataset

# The crawl ended in September 2004; later years and year 0 are mistakes.
FIRST_YEAR, LAST_YEAR = 1376, 2005
_SUSPECT = re.compile("[ÃÂâ&]")


def repair_text(text: str) -> str:
    """Undo double-encoded UTF-8 and HTML entities.

    The file holds UTF-8 that was twice taken for Latin-1, after which bytes 0x80 to 0x9F became ``?``. ``Ã?Â`` is therefore
    the start of a doubly encoded letter whose last byte survived. Where that byte is lost too (``Ã?Â?``: ß, Ä, Ö, Ü and
    others alike; ``Ã?``: Ö, É and others) the letter cannot be known, and one ``?`` stands for it.

    >>> repair_text("KÃ?Â¶nig &amp; Co"), repair_text("SociologÃ\\xada"), repair_text("StraÃ?Â?e")
    ('König & Co', 'Sociología', 'Stra?e')
    """
    if not _SUSPECT.search(text):
        return text
    # Twice: some entities were escaped themselves, "&amp;#160;".
    text = html.unescape(html.unescape(text)).replace("Ã?Â?", "?")
    text = re.sub("Ã\\?Â([\xa0-\xbf])", lambda match: "Ã" + match[1], text)
    text = text.replace("Ã?", "?")
    # Any Latin-1 pair that is valid UTF-8 for one letter was that letter.
    text = re.sub("[ÃÂ][\x80-\xbf]", lambda match: match[0].encode("latin-1").decode("utf-8"), text)
    return text


def _clean(column: pd.Series) -> pd.Series:
    suspects = column.str.contains(_SUSPECT)
    column = column.where(~suspects, column[suspects].map(repair_text))
    return column.str.replace(r"\s+", " ", regex=True).str.strip()


def _read(name: str, columns: list[str], n_columns: int) -> pd.DataFrame:
    frame = pd.read_csv(
        locate("book-crossing") / name, sep=";", encoding="iso-8859-1", dtype=str, keep_default_na=False,
        escapechar="\\", usecols=range(n_columns),
    )  # fmt: skip
    frame.columns = pd.Index(columns)
    return frame


def load_book_crossing() -> Dataset:
    """Book-Crossing: ratings from 1 to 10, and implicit interactions (0 in the file, NaN here); no times.

    Kept are interactions with a book that has a row in the book file (89.7% of them), since the others have no text;
    ids are compared in upper case without blanks around. Where one user has the same book twice, the explicit rating wins.
    Source: Ziegler et al., Improving Recommendation Lists Through Topic Diversification, WWW 2005.
    """
    books = _read("BX-Books.csv", ["id", "title", "author", "year", "publisher"], 5)
    ratings = _read("BX-Book-Ratings.csv", ["user", "id", "rating"], 3)
    people = _read("BX-Users.csv", ["id", "location", "age"], 3)
    for frame in (books, ratings):
        frame["id"] = frame["id"].str.strip().str.upper()
    books = books.drop_duplicates("id").sort_values("id", ignore_index=True)
    ratings["rating"] = ratings["rating"].astype(np.float32).replace(0.0, np.nan)
    ratings = ratings[ratings["id"].isin(set(books["id"]))]
    ratings = (
        ratings.sort_values("rating", kind="stable", na_position="last").drop_duplicates(["user", "id"]).sort_index()
    )
    read = set(ratings["id"])
    books = books[books["id"].isin(read)].reset_index(drop=True)
    for column in ("title", "author", "publisher"):
        books[column] = _clean(books[column])
    year = pd.to_numeric(books["year"], errors="coerce")
    books["year"] = year.where(year.between(FIRST_YEAR, LAST_YEAR)).astype("Int64")
    people = people[people["id"].isin(set(ratings["user"]))].reset_index(drop=True)
    people["age"] = pd.to_numeric(people["age"], errors="coerce").where(lambda a: a.between(5, 100)).astype("Int64")
    people["location"] = _clean(people["location"])
    return Dataset(
        "book-crossing",
        user=pd.Index(people["id"]).get_indexer(ratings["user"]).astype(np.int32),
        item=pd.Index(books["id"]).get_indexer(ratings["id"]).astype(np.int32),
        rating=ratings["rating"].to_numpy(np.float32),
        timestamp=None,
        items=books,
        users=people,
    )
