"""One protocol for all catalogues: how each is cut, split and read as text, and what describes it.

Every interaction counts as positive. A catalogue with times is split at one moment (the latest fifth is the
test), unless that leaves fewer than 100 users to test and each user's latest fifth twice as many; one that
knows only the order within a user is split at each user's latest fifth; the others at random, 80/20. A tenth
before, or beside, the test is for tuning. Cold items are a random fifth of the items, drawn twice, or once
where fits take longest (``Entry.draws``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from recsys_lib.data import datasets
from recsys_lib.data.datasets import Dataset
from recsys_lib.data.datasets.plain_files import PLACES
from recsys_lib.evaluation import splits
from recsys_lib.evaluation.splits import Split
from recsys_lib.experiments.own_catalogue.compare_methods import cold_share, warm_splits

# Columns of items that are read as text, where a catalogue has them; people's tags are no text of the item.
FIELDS = ("title", "author", "genres", "year", "description", "body")
# Of a text, where a language model ranks or is trained: what that costs grows with every word. A title ends
# within them, mostly.
FIRST_WORDS = 12


@dataclass(frozen=True)
class Entry:
    """A catalogue of the study. core: users, and items, keep at least so many interactions; of the articles
    because twin accounts with fewer cannot be told, of papers to leave out those without a reader, of films
    and books to keep fits short. scenario: of the article's sections 3.4 and 6. kind: what a prompt calls an
    item. seen: the prediction was made from it. draws: of cold items.
    """

    scenario: str
    kind: str
    core: tuple[int, int] = (1, 1)
    seen: bool = False
    draws: int = 2


# In the order in which they are run: those that the prediction was made from come first.
CATALOGUES = {
    "ml-100k": Entry("entertainment", "film", seen=True),
    "book-crossing": Entry("entertainment", "book", core=(30, 30), seen=True),
    "articles": Entry("content feed", "article", core=(5, 1), seen=True),
    "ml-latest-small": Entry("entertainment", "film", core=(10, 10), seen=True),
    "citeulike-a-abstracts": Entry("content feed", "paper", core=(2, 1)),
    "amazon-industrial-and-scientific": Entry("shop", "product", draws=1),
    "amazon-office-products": Entry("shop", "product", draws=1),
    "stackexchange": Entry("social feed", "question"),
}
SHORT = {
    "amazon-industrial-and-scientific": "amazon industrial",
    "amazon-office-products": "amazon office",
    "citeulike-a-abstracts": "citeulike",
    "stackexchange": "Stack Exchange",
}


def catalogue(name: str) -> Dataset:
    """A catalogue of the study, cut to its core.

    Raises:
        InputError: it is not on this machine, see ``datasets.load``.
    """
    data = datasets.load(name)
    core = CATALOGUES[name].core
    return data if core == (1, 1) else data.k_core(*core)


def text_columns(data: Dataset) -> tuple[str, ...]:
    """Which of ``FIELDS`` the items have."""
    return tuple(field for field in FIELDS if field in data.items)


def beginnings(data: Dataset) -> list[str]:
    """The first ``FIRST_WORDS`` words of every item's text."""
    return [" ".join(text.split()[:FIRST_WORDS]) for text in data.item_texts(text_columns(data))]


def warm_parts(data: Dataset) -> tuple[Dataset, list[Split]]:
    """The split for warm items, and the data set that recommenders may read times of: none where only places
    are known.
    """
    if PLACES not in data.notes:
        return data, warm_splits(data, by_time=True, seeds=1)
    part = splits.last_of_each_user(data, 0.2, 0.1)
    plain = replace(data, timestamp=None)
    return plain, [replace(part, dataset=plain)]


def describe(data: Dataset, texts: Sequence[str], part: Split) -> dict[str, Any]:
    """What may explain where text pays: sizes, words of the median text, interactions per item, items with
    fewer than five training interactions, test interactions with items that training never saw, age.
    """
    whole = part.with_validation()
    counts = np.asarray(whole.train.sum(axis=0)).ravel()
    span = None
    if data.timestamp is not None and PLACES not in data.notes:
        span = float(np.ptp(data.timestamp) / 86_400)
    return {
        "users": data.n_users,
        "items": data.n_items,
        "interactions": data.n_interactions,
        "words per text": float(np.median([len(text.split()) for text in texts])),
        "items without text": float(np.mean([not text.strip() for text in texts])),
        "interactions per item": data.n_interactions / data.n_items,
        "interactions per user": data.n_interactions / data.n_users,
        "rare items": float((counts < 5).mean()),
        "cold share": cold_share(whole),
        "days": span,
        "split": part.name,
    }
