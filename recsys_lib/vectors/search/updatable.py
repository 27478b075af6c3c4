"""Exact top-k over items that come and go while they are searched.

The items lie in two parts: an ``Index`` that is built rarely, and the rows that came since, which are scanned
as they are. What was deleted or replaced is left out by its place. A search takes one state of all three and
keeps it to its end, so that it sees every update whole or not at all, and no search waits for an update.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from recsys_lib.core.errors import InputError
from recsys_lib.vectors import checked_vectors, similarity
from recsys_lib.vectors.quantization import quantize
from recsys_lib.vectors.search.index import Index

# Rows that were added or removed, as a fraction of the index's own, beyond which it is built anew.
COMPACT_AT = 0.1


def merge_top_k(parts: Sequence[tuple[np.ndarray, np.ndarray]], k: int) -> tuple[np.ndarray, np.ndarray]:
    """The best ``k`` of several top-k lists over disjoint items: ids and scores ``[n, k]``, best first.

    Equal scores are ordered by the smaller id, as in ``similarity.top_k``; ids of -1 stand for nothing. If
    each part is the exact top ``k`` of its items, the result is the exact top ``k`` of all.

    >>> one, other = (np.array([[4, 1]]), np.array([[.9, .2]])), (np.array([[0, 7]]), np.array([[.9, .1]]))
    >>> merge_top_k([one, other], 3)
    (array([[0, 4, 1]]), array([[0.9, 0.9, 0.2]]))
    """
    ids = np.concatenate([part[0] for part in parts], axis=1)
    scores = np.concatenate([part[1] for part in parts], axis=1)
    scores = np.where(ids < 0, -np.inf, scores).astype(scores.dtype, copy=False)
    if len(parts) > 1:  # one is in order
        last = np.where(ids < 0, np.iinfo(np.int64).max, ids)
        order = np.lexsort((last, -scores), axis=1)
        ids, scores = np.take_along_axis(ids, order, axis=1), np.take_along_axis(scores, order, axis=1)
    pad = ((0, 0), (0, max(0, k - ids.shape[1])))
    return (
        np.pad(ids[:, :k], pad, constant_values=-1),
        np.pad(scores[:, :k], pad, constant_values=-np.inf),
    )


@dataclass(frozen=True, eq=False)
class _State:
    """One moment: rows of the index and beside it, each by increasing id, and places of the index that no
    longer count.
    """

    index: Index | None
    index_ids: np.ndarray
    removed: np.ndarray
    rows: np.ndarray
    ids: np.ndarray


class UpdatableIndex:
    """Items by id, searched exactly by cosine or dot product, with inserts and deletes at any time.

    ids: ``[n]`` distinct whole numbers of at least 0; rows: ``[n, d]`` float32. Searches may run in any
    number of threads; updates wait for each other.
    """

    def __init__(self, ids: np.ndarray, rows: np.ndarray, metric: str = "cosine", scheme: str = "int8"):
        self.metric, self.scheme = metric, scheme
        self._updating = threading.Lock()
        ids, rows = _checked(ids, rows)
        self.dimension = rows.shape[1]
        self._state = self._built(ids, rows)

    def __len__(self) -> int:
        state = self._state
        return len(state.index_ids) - len(state.removed) + len(state.ids)

    def top_k(
        self, queries: np.ndarray, k: int, exclude: Sequence[Sequence[int]] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The ``k`` best items of every query ``[n, d]``: ids and scores ``[n, k]``, as
        ``similarity.top_k`` over the items of this moment, by increasing id, gives them.

        ``exclude``: one sequence of ids per query; unknown ones are no mistake. Where fewer than ``k`` items
        remain, the rest is id -1 with score -inf.

        Raises:
            InputError: as ``similarity.top_k``, except that ``k`` may exceed the number of items.
        """
        if not isinstance(k, int | np.integer) or isinstance(k, bool) or k < 1:
            raise InputError(f"k={k!r}: expected a whole number of at least 1")
        queries = checked_vectors.vectors("queries", queries)
        if queries.shape[1] != self.dimension:
            raise InputError(f"queries have {queries.shape[1]} numbers, items {self.dimension}")
        lists = [np.empty(0, np.int64)] * len(queries) if exclude is None else _lists(exclude, len(queries))
        state = self._state
        parts = []
        if state.index is not None:
            left_out = [_union(_places(state.index_ids, own), state.removed) for own in lists]
            some = left_out if any(map(len, left_out)) else None
            found = state.index.exact_top_k(queries, min(k, len(state.index_ids)), some)
            parts.append((_ids_at(state.index_ids, found.ids), found.scores))
        if len(state.ids):
            left_out = [_places(state.ids, own) for own in lists]
            near = similarity.top_k(queries, state.rows, min(k, len(state.ids)), left_out, self.metric)
            parts.append((_ids_at(state.ids, near[0]), near[1]))
        if not parts:
            return np.full((len(queries), k), -1), np.full((len(queries), k), -np.inf, np.float32)
        return merge_top_k(parts, int(k))

    def insert(self, ids: np.ndarray, rows: np.ndarray) -> None:
        """Add items, or replace the rows of those that are there.

        Raises:
            InputError: ids that are no distinct whole numbers of at least 0, rows of another width, NaN.
        """
        ids, rows = _checked(ids, rows)
        if rows.shape[1] != self.dimension:
            raise InputError(f"rows have {rows.shape[1]} numbers: expected {self.dimension}")
        with self._updating:
            state = self._without(ids)
            order = np.argsort(together := np.concatenate([state.ids, ids]), kind="stable")
            added = np.concatenate([state.rows, rows])[order]
            self._state = self._compact(replace(state, ids=together[order], rows=added))

    def delete(self, ids: np.ndarray) -> None:
        """Take items out; unknown ids are no mistake."""
        with self._updating:
            self._state = self._compact(self._without(np.asarray(ids, np.int64)))

    def fork(self) -> UpdatableIndex:
        """Another index with the items of this moment, which shares what is built; updates of one do not
        reach the other.
        """
        other = copy.copy(self)
        other._updating = threading.Lock()
        return other

    def items(self) -> tuple[np.ndarray, np.ndarray]:
        """Ids ``[n]``, increasing, and float32 rows ``[n, d]`` of this moment."""
        return _all(self._state)

    def _without(self, ids: np.ndarray) -> _State:
        state = self._state
        kept = ~np.isin(state.ids, ids)
        removed = np.union1d(state.removed, _places(state.index_ids, ids))
        return replace(state, removed=removed, ids=state.ids[kept], rows=state.rows[kept])

    def _compact(self, state: _State) -> _State:
        if len(state.ids) + len(state.removed) <= COMPACT_AT * len(state.index_ids):
            return state
        return self._built(*_all(state))

    def _built(self, ids: np.ndarray, rows: np.ndarray) -> _State:
        if not (np.diff(ids) > 0).all():  # rows in order may be a memory map, which stays one
            order = np.argsort(ids)
            ids, rows = ids[order], np.ascontiguousarray(rows[order])
        index = Index.build(quantize(rows, self.scheme), rows, self.metric) if len(ids) else None
        nothing = np.empty(0, np.int64)
        return _State(index, ids, nothing, np.empty((0, rows.shape[1]), np.float32), nothing)


def _checked(ids: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    rows = checked_vectors.vectors("rows", rows).astype(np.float32, copy=False)
    ids = np.asarray(ids)
    if not np.issubdtype(ids.dtype, np.integer) or ids.shape != (len(rows),):
        raise InputError(f"ids are {ids.dtype} {ids.shape}: expected one whole number a row, {len(rows)}")
    if len(ids) and (ids.min() < 0 or len(np.unique(ids)) < len(ids)):
        raise InputError("ids: expected distinct whole numbers of at least 0")
    return ids.astype(np.int64), rows


def _lists(exclude: Sequence[Sequence[int]], n: int) -> list[np.ndarray]:
    if len(exclude) != n:
        raise InputError(f"exclude has {len(exclude)} lists: expected one per query, {n}")
    return [np.asarray(list(own), np.int64) for own in exclude]


def _places(known: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Where ``ids`` stand in ``known``, which increases; increasing, and unknown ones are left out."""
    if not len(ids) or not len(known):
        return np.empty(0, np.int64)
    ids = np.unique(ids)
    at = np.minimum(np.searchsorted(known, ids), len(known) - 1)
    return at[known[at] == ids]


def _union(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of increasing numbers; mostly there are none of one kind."""
    return np.union1d(a, b) if len(a) and len(b) else a if len(a) else b


def _ids_at(known: np.ndarray, places: np.ndarray) -> np.ndarray:
    return np.where(places < 0, -1, known[np.maximum(places, 0)])


def _all(state: _State) -> tuple[np.ndarray, np.ndarray]:
    rows = state.index.certificate.rows if state.index and state.index.certificate else state.rows[:0]
    kept = np.setdiff1d(np.arange(len(state.index_ids)), state.removed)
    ids = np.concatenate([state.index_ids[kept], state.ids])
    order = np.argsort(ids)
    return ids[order], np.concatenate([rows[kept], state.rows])[order]
