"""The one form in which interactions and their items travel."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from recsys_lib.core.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

# Columns that one data set has and another lacks; any other name must be a column.
USUAL_FIELDS = ("title", "author", "year", "genres", "publisher")


@dataclass(frozen=True, eq=False)
class Dataset:
    """Interactions as parallel arrays over dense indices, with the tables those indices point into.

    user, item: ``[n]`` int32, rows of ``users`` and ``items``. rating: ``[n]`` float32, NaN where the
    interaction is implicit (seen, not rated). timestamp: ``[n]`` int64 seconds, or None where the data set
    has no times. No pair of
    user and item occurs twice. items: columns ``id``, ``title`` and what else is known (``genres`` joined by
    ", ", ``year``, ``author``, ``publisher``); missing text is the empty string, a missing year is ``<NA>``.
    users: column ``id`` and others.
    n_dropped: interactions that were left out when the data set was read, because nothing is known of their
    item; n_merged: those left out because the same user and item had one already. notes: sentences that a
    report on the data should open with, such as ids that were normalized when read.
    """

    name: str
    user: np.ndarray
    item: np.ndarray
    rating: np.ndarray
    timestamp: np.ndarray | None
    items: pd.DataFrame
    users: pd.DataFrame
    n_dropped: int = 0
    n_merged: int = 0
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return (
            f"<Dataset {self.name!r}: {self.n_users:,} users, {self.n_items:,} items, "
            f"{self.n_interactions:,} interactions>"
        )

    @property
    def n_users(self) -> int:
        return len(self.users)

    @property
    def n_items(self) -> int:
        return len(self.items)

    @property
    def n_interactions(self) -> int:
        return len(self.user)

    def matrix(self, rows: np.ndarray | None = None, min_rating: float | None = None) -> sp.csr_matrix:
        """Interactions as ones, CSR float32 ``[n_users, n_items]``; ``rows`` (places or a mask) picks some of
        the ``n``.

        With ``min_rating`` only explicit ratings of at least that much count; without, every interaction
        does.
        """
        rows = np.arange(self.n_interactions) if rows is None else _places(rows)
        if min_rating is not None:
            rows = rows[self.rating[rows] >= min_rating]  # NaN, the implicit ones, compare as false
        ones = np.ones(len(rows), dtype=np.float32)
        return sp.csr_matrix((ones, (self.user[rows], self.item[rows])), shape=(self.n_users, self.n_items))

    def times(self, rows: np.ndarray | None = None) -> sp.csr_matrix | None:
        """When each interaction was, CSR float64 of the pattern of ``matrix(rows)``: seconds since the
        earliest of all, plus 1.

        Never 0, which a sparse matrix would lose. None where the data set has no times.
        """
        if self.timestamp is None:
            return None
        rows = np.arange(self.n_interactions) if rows is None else _places(rows)
        seconds = (self.timestamp[rows] - self.timestamp.min() + 1).astype(np.float64)
        return sp.csr_matrix(
            (seconds, (self.user[rows], self.item[rows])), shape=(self.n_users, self.n_items)
        )

    def of_interactions(self, rows: np.ndarray) -> Dataset:
        """All users and items, in their places, with these interactions only (places or a mask ``[n]``)."""
        rows = _places(rows)
        return replace(
            self,
            user=self.user[rows],
            item=self.item[rows],
            rating=self.rating[rows],
            timestamp=None if self.timestamp is None else self.timestamp[rows],
        )

    def select(self, rows: np.ndarray) -> Dataset:
        """As ``of_interactions``, but users and items left without any go, and indices become dense again."""
        part = self.of_interactions(rows)
        users, user = np.unique(part.user, return_inverse=True)
        items, item = np.unique(part.item, return_inverse=True)
        return replace(
            part,
            user=user.astype(np.int32),
            item=item.astype(np.int32),
            items=self.items.iloc[items].reset_index(drop=True),
            users=self.users.iloc[users].reset_index(drop=True),
        )

    def k_core(self, k: int, k_items: int | None = None) -> Dataset:
        """The largest part in which every user has at least ``k`` interactions and every item ``k_items``
        (default ``k``).

        Iterated to a fixed point.

        Raises:
            InputError: a threshold below 1 or no whole number, or nothing is left.
        """
        least = (k, k if k_items is None else k_items)
        if not all(isinstance(n, int | np.integer) and n >= 1 for n in least):
            raise InputError(f"k={k!r}, k_items={k_items!r}: a k-core needs whole numbers of at least 1")
        rows = np.arange(self.n_interactions)
        while len(rows):
            per_user = np.bincount(self.user[rows], minlength=self.n_users)
            per_item = np.bincount(self.item[rows], minlength=self.n_items)
            keep = (per_user[self.user[rows]] >= least[0]) & (per_item[self.item[rows]] >= least[1])
            if keep.all():
                return self.select(rows)
            rows = rows[keep]
        raise InputError(
            f"k={least[0]}, k_items={least[1]}: no user and item of {self.name!r} keep so many interactions"
        )

    def item_texts(self, fields: tuple[str, ...] = ("title", "author", "genres", "year")) -> list[str]:
        """One short text per item from the chosen columns, title, author and year first whatever the order of
        ``fields``.

        ``The Usual Suspects (1995). Crime, Thriller`` for a film, ``Emma by Jane Austen (1997)`` for a book.
        Missing values leave nothing behind; an item without any of the fields has the empty text. Usual
        columns that a data set lacks (genres of books) are passed over if it has at least one of ``fields``.

        Raises:
            InputError: the item table has none of the fields, or one is neither a column nor a usual one (a
                misspelling).
        """
        known = [f for f in fields if f in self.items.columns]
        strange = [f for f in fields if f not in self.items.columns and f not in USUAL_FIELDS]
        if strange or not known:
            wrong = f"field {strange[0]!r}" if strange else f"fields {tuple(fields)!r}"
            raise InputError(f"{wrong}: the items of {self.name!r} have {', '.join(self.items.columns)}")
        columns = {f: self.items[f].astype("string").fillna("").tolist() for f in known}
        return [
            _sentence(dict(zip(columns, values, strict=True)))
            for values in zip(*columns.values(), strict=True)
        ]


def _places(rows: np.ndarray) -> np.ndarray:
    """Places of interactions from places or a mask."""
    rows = np.asarray(rows)
    return np.flatnonzero(rows) if rows.dtype == bool else rows.astype(np.int64)


def _sentence(value: dict[str, str]) -> str:
    """Title by author (year). Then the rest, each its own sentence."""
    head = value.get("title", "")
    if value.get("author"):
        head = f"{head} by {value['author']}" if head else value["author"]
    if value.get("year"):
        head = f"{head} ({value['year']})" if head else value["year"]
    rest = [text for field, text in value.items() if field not in ("title", "author", "year") and text]
    parts = [part for part in (head, *rest) if part]
    # "Mars Attacks! Comedy": a part that ends its own sentence gets no second full stop.
    return " ".join(
        [part if part.endswith((".", "!", "?", "…")) else f"{part}." for part in parts[:-1]] + parts[-1:]
    )
