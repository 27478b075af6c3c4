"""Interactions with an item table that has text: two public data sets, cleaned,
and a user's own CSV files.
"""

from recsys_lib.core.errors import InputError
from recsys_lib.data.datasets.book_crossing import load_book_crossing
from recsys_lib.data.datasets.csv_files import from_csv
from recsys_lib.data.datasets.dataset import Dataset
from recsys_lib.data.datasets.movielens import load_movielens
from recsys_lib.data.datasets.sample import write_sample

__all__ = ["NAMES", "Dataset", "from_csv", "load", "write_sample"]

NAMES = ("ml-100k", "book-crossing")


def load(name: str) -> Dataset:
    """A public data set by name, from the cache.

    Raises:
        InputError: another name, or the asset was not fetched.
    """
    if name == "ml-100k":
        return load_movielens()
    if name == "book-crossing":
        return load_book_crossing()
    raise InputError(
        f"data set {name!r} is unknown: choose from {', '.join(NAMES)}, or use from_csv for your own"
    )
