"""Book-Crossing, cleaned."""

from __future__ import annotations

import html
import re

import numpy as np
import pandas as pd

from recsys_lib.data.assets import locate
from recsys_lib.data.datasets.dataset import Dataset

# The crawl ended in September 2004; later years and year 0 are mistakes.
FIRST_YEAR, LAST_YEAR = 1376, 2005
_SUSPECT = re.compile("[ÃÂ&]")
_LOST = "\ufffd"  # stands for a letter whose last byte is gone, while the others are repaired
_MISSING = {"Not Applicable (Na )", "n/a", "N/A"}
# Every letter that can be lost is a capital or ß (U+00C0 to U+00DF), and a capital does not stand inside a
# word: after a vowel and before a small letter it was ß. At the end of a word only after these vowels; French
# has "toi?", "chose?".
_SHARP_S = re.compile(f"(?<=[aeiouäöü]){_LOST}(?=[a-zäöü])|(?<=[aouäöü]){_LOST}(?!\\w)|(?<=ei){_LOST}(?!\\w)")


def repair_text(text: str) -> str:
    """Undo double-encoded UTF-8 and HTML entities.

    The file holds UTF-8 that was twice taken for Latin-1, after which bytes 0x80 to 0x9F became ``?``.
    ``Ã?Â`` is therefore the start of a doubly encoded letter whose last byte survived. Where that byte is
    lost too (``Ã?Â?``, or ``Ã?`` when encoded once), the letter was ß or a capital from À to Þ: ß is known by
    its place in the word, the capitals (Ä, Ö, Ü, É ...) are not, and one ``?`` stands for each (194 of the
    589 letters lost in titles). So does it for a lone ``Â?``; a run of them was blank space.

    >>> [repair_text(text) for text in ("KÃ?Â¶nig &amp; Co", "SociologÃ\\xada", "StraÃ?Â?e", "Ã?Â?ber")]
    ['König & Co', 'Sociología', 'Straße', '?ber']
    """
    if not _SUSPECT.search(text):
        return text
    # Twice: some entities were escaped themselves, "&amp;#160;".
    text = html.unescape(html.unescape(text)).replace("Ã?Â?", _LOST)
    text = re.sub("Ã\\?Â([\xa0-\xbf])", r"Ã\1", text).replace("Ã?", _LOST)
    # Any Latin-1 pair that is valid UTF-8 for one letter was that letter.
    text = re.sub("[ÃÂ][\x80-\xbf]", lambda match: match[0].encode("latin-1").decode("utf-8"), text)
    text = _SHARP_S.sub("ß", text).replace("âÂ?Â?", "’")
    return re.sub(r"(Â\?){2,}", " ", text).replace("Â?", "?").replace(_LOST, "?")


def _clean(column: pd.Series) -> list[str]:
    """Repaired, single blanks, and the empty text for what only says that nothing is known."""
    texts = (" ".join(repair_text(text).split()) for text in column)
    return ["" if text in _MISSING else text for text in texts]


def _read(name: str, columns: dict[str, type]) -> pd.DataFrame:
    """The first columns of a file, under these names and types."""
    return pd.read_csv(
        locate("book-crossing") / name, sep=";", encoding="iso-8859-1", header=0, names=list(columns),
        dtype=columns,
        keep_default_na=False, escapechar="\\", usecols=range(len(columns)),
    )  # fmt: skip


def _ratings(books: pd.Index) -> pd.DataFrame:
    """Ratings as read, ``item`` being the place of the book in ``books``, or -1."""
    ratings = _read("BX-Book-Ratings.csv", {"user": int, "item": str, "rating": np.float32})
    # A third as many ids as rows: compare each once.
    codes, ids = pd.factorize(ratings["item"])
    ratings["item"] = books.get_indexer(pd.Series(ids).str.strip().str.upper())[codes]
    return ratings.assign(rating=ratings["rating"].replace(0.0, np.nan))


def load_book_crossing() -> Dataset:
    """Book-Crossing: ratings from 1 to 10, and implicit interactions (0 in the file, NaN here); no times.

    Kept are the 1,031,178 interactions with a book that has a row in the book file (89.7%), since the others
    have no text; ``n_dropped`` is the number of the others. ISBNs are compared in upper case without blanks
    around, which makes one book of 315 pairs. Where one user has the same book twice, the explicit rating
    wins (the raw file has no such rows). Years before 1376 and after 2005 are missing, and so are ages below
    5 and above 100.
    Source: Ziegler et al., Improving Recommendation Lists Through Topic Diversification, WWW 2005.
    """
    books = _read("BX-Books.csv", {"id": str, "title": str, "author": str, "year": str, "publisher": str})
    books["id"] = books["id"].str.strip().str.upper()
    books = books.drop_duplicates("id").sort_values("id", ignore_index=True)
    ratings = _ratings(pd.Index(books["id"]))
    known = ratings["item"] >= 0
    kept = ratings[known].sort_values("rating", kind="stable", na_position="last")
    kept = kept.drop_duplicates(["user", "item"]).sort_index()
    read, item = np.unique(kept["item"], return_inverse=True)
    books = books.iloc[read].reset_index(drop=True)
    for column in ("title", "author", "publisher"):
        books[column] = _clean(books[column])
    year = pd.to_numeric(books["year"], errors="coerce")
    books["year"] = year.where(year.between(FIRST_YEAR, LAST_YEAR)).astype("Int64")
    people = _read("BX-Users.csv", {"id": int, "location": str, "age": str})
    people = people[people["id"].isin(kept["user"])].reset_index(drop=True)
    user = pd.Index(people["id"]).get_indexer(kept["user"])
    people["id"] = people["id"].astype(str)
    people["age"] = (
        pd.to_numeric(people["age"], errors="coerce").where(lambda a: a.between(5, 100)).astype("Int64")
    )
    people["location"] = _clean(people["location"])
    return Dataset(
        "book-crossing",
        user=user.astype(np.int32),
        item=item.astype(np.int32),
        rating=kept["rating"].to_numpy(np.float32),
        timestamp=None,
        items=books,
        users=people,
        n_dropped=int((~known).sum()),
    )
