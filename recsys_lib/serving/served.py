"""What one version of the service knows at one moment: an artefact and the items that came after it.

A request takes this object once and keeps it: a swap or a new item makes another object and changes none that
a request holds.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from recsys_lib.core.errors import InputError
from recsys_lib.recommenders import EASE, BaseRecommender, EASEMap
from recsys_lib.serving import slate
from recsys_lib.serving.artefact import Artefact, Catalogue
from recsys_lib.serving.events import NewItem
from recsys_lib.serving.fitting import extended
from recsys_lib.serving.slate import Candidates, Rule, Slate
from recsys_lib.trust.explanations import weights_between
from recsys_lib.trust.explanations.sentences import Reason, sentence
from recsys_lib.vectors import similarity

if TYPE_CHECKING:
    from recsys_lib.vectors.search.updatable import UpdatableIndex

POPULAR = {"en": "Many people chose it; nothing of yours is known yet.", "zh": "很多人选过；还没有你的历史。"}
NEW = {"en": "It is new, and nothing of yours is known yet.", "zh": "这是新上架的；还没有你的历史。"}
TRIAL = {
    "en": "Few people have chosen it yet; it is shown to learn about it.",
    "zh": "选它的人还少，展示它是为了了解它。",
}
# Of scores that are kept for histories which come again.
KEPT_BYTES = 64 * 2**20
# Histories whose candidates for lists of at most so many items are kept, some kilobytes each.
KEPT_LISTS, KEPT_K = 4096, 100
# Sentences of some hundred bytes: lists of many users give the same reasons.
KEPT_REASONS = 20_000
# Items below which one product with all vectors takes less time than a search by the index, which pays about
# a millisecond whatever their number.
PLAIN_ITEMS = 20_000


@dataclass(frozen=True, eq=False)
class Query:
    """One request, its items as places in the catalogue; ``excluded`` ones are not shown either."""

    history: np.ndarray
    excluded: np.ndarray
    k: int
    label: str | None = None
    explore: bool = True


def _because(catalogue: Catalogue, items: tuple[int, ...], language: str) -> str:
    """The sentence that names ``items`` of a history as the reason."""
    return sentence(Reason(-1, items, False), catalogue.titles, language, catalogue.kind)


class Served:
    """An artefact with ``extra`` items, which the cold map has placed: they are ranked among all others.

    A new item in a history says nothing of other items until a refit; it is only not shown again. ``deleted``
    items, by id, are never shown and never found; in a history they still say what somebody likes.
    ``before``: what was served until now, whose index is kept up if the artefact is the same.
    """

    def __init__(
        self,
        artefact: Artefact,
        extra: Sequence[NewItem] = (),
        deleted: frozenset[str] = frozenset(),
        before: Served | None = None,
    ):
        self.artefact = artefact
        known = artefact.catalogue.index
        self.extra = [item for item in extra if item.id not in known]
        rows = [{"id": i.id, "title": i.title, "labels": i.labels, "text": i.text} for i in self.extra]
        self.catalogue: Catalogue = extended(artefact.catalogue, rows) if rows else artefact.catalogue
        self.n_items = len(self.catalogue.ids)
        self.counts = np.pad(artefact.counts, (0, len(rows)))
        raw = np.array([item.vector for item in self.extra], dtype=np.float32)
        mapped = artefact.geometry.apply(raw.reshape(len(rows), artefact.raw.shape[1]))
        self.columns = artefact.cold_map.place(mapped)
        self._mapped = mapped
        self.deleted = deleted
        index = self.catalogue.index
        self.gone = np.array(sorted(index[name] for name in deleted if name in index), dtype=np.int64)
        built = before is not None and before.artefact is artefact and "index" in vars(before)
        self._before = before.index if before is not None and built else None
        self._cold: dict[int, np.ndarray] = {}
        self._kept: dict[bytes, np.ndarray] = {}
        self._lists: dict[tuple[bytes, int, int] | None, Candidates] = {}
        self._said: dict[bytes, dict[tuple[int, str], str]] = {}
        self._because = lru_cache(KEPT_REASONS)(partial(_because, self.catalogue))

    @property
    def version(self) -> str:
        """The artefact's version."""
        return self.artefact.version

    @property
    def model(self) -> BaseRecommender:
        return self.artefact.recommender

    @property
    def n_available(self) -> int:
        """Items that are not deleted."""
        return self.n_items - len(self.gone)

    @cached_property
    def rows(self) -> similarity.Rows:
        """Unit text vectors of all items."""
        vectors = np.concatenate([np.asarray(self.artefact.vectors), self._mapped])
        return similarity.Rows(similarity.normalize(vectors))

    @cached_property
    def index(self) -> UpdatableIndex:
        """Exact search by cosine among the text vectors of all items that are not deleted, by places."""
        from recsys_lib.vectors.search.updatable import UpdatableIndex

        known = self.artefact.n_items
        if self._before is None:
            index = UpdatableIndex(np.arange(known), self.artefact.vectors)
        else:
            index, self._before = self._before.fork(), None
        # Items only come at the end of the catalogue, and no deletion is taken back.
        later = np.setdiff1d(np.arange(known, self.n_items), index.items()[0])
        index.insert(later, self._mapped[later - known])
        index.delete(self.gone)
        return index

    @cached_property
    def with_label(self) -> dict[str, np.ndarray]:
        """For every label which items have it, bool ``[n_items]``."""
        masks: dict[str, np.ndarray] = {}
        for place, labels in enumerate(self.catalogue.labels):
            for label in labels:
                masks.setdefault(label, np.zeros(self.n_items, dtype=bool))[place] = True
        return masks

    def places(self, ids: Sequence[str], what: str) -> np.ndarray:
        """Places of item ids, each once, in order.

        Raises:
            InputError: naming the first id that is unknown.
        """
        if not ids:
            return np.empty(0, dtype=np.int64)
        index = self.catalogue.index
        for identifier in ids:
            if identifier not in index:
                raise InputError(f"{what}: item {identifier[:60]!r} is unknown")
        return np.unique(np.array([index[identifier] for identifier in ids], dtype=np.int64))

    def cold(self, below: int) -> np.ndarray:
        """Which items have fewer than ``below`` interactions, bool ``[n_items]``."""
        if below not in self._cold:
            self._cold[below] = self.counts < below
        return self._cold[below]

    # ---------------------------------------------------------------- scores and lists

    def scores(self, histories: Sequence[np.ndarray]) -> np.ndarray:
        """Scores of all items, float32 ``[len(histories), n_items]``; of an empty history the popularity.

        A history names each item once, in order. Scores of the histories asked last are kept: a user who
        comes again without a new event costs no sum.
        """
        return np.array(self._kept_scores(histories)).reshape(len(histories), self.n_items)

    def _kept_scores(self, histories: Sequence[np.ndarray]) -> list[np.ndarray]:
        keys = [history.tobytes() for history in histories]
        missing = {key: h for key, h in zip(keys, histories, strict=True) if key not in self._kept}
        if missing:
            computed = self._computed(list(missing.values()))
            computed.flags.writeable = False
            self._kept.update(zip(missing, computed, strict=True))
        found = [self._kept[key] for key in keys]
        for _ in range(len(self._kept) - max(KEPT_BYTES // (4 * self.n_items), 1)):
            del self._kept[next(iter(self._kept))]
        return found

    def _computed(self, histories: Sequence[np.ndarray]) -> np.ndarray:
        known = [h[h < self.artefact.n_items] for h in histories]
        found = np.empty((len(known), self.n_items), dtype=np.float32)
        found[:, : self.artefact.n_items] = self._model_scores(known)
        for row, items in enumerate(known):
            if not len(items):
                found[row] = self.counts
            elif len(self.extra):
                np.add.reduce(self.columns[items], axis=0, out=found[row, self.artefact.n_items :])
        return found

    def _model_scores(self, histories: Sequence[np.ndarray]) -> np.ndarray:
        """As the recommender's ``score``; of EASE and its map a sum of rows, without the checks of input."""
        if isinstance(self.model, EASE | EASEMap) and isinstance(self.model.weights, np.ndarray):
            weights = self.model.weights
            return np.array([np.add.reduce(weights[items], axis=0) for items in histories])
        indices = np.concatenate(histories) if histories else np.empty(0, dtype=np.int64)
        starts = np.concatenate([[0], np.cumsum([len(items) for items in histories])])
        ones = np.ones(len(indices), dtype=np.float32)
        shape = (len(histories), self.artefact.n_items)
        return self.model.score(sp.csr_matrix((ones, indices, starts), shape=shape))

    def recommend(
        self, queries: Sequence[Query], rule: Rule, rng: np.random.Generator
    ) -> list[tuple[Slate, list[float]]]:
        """For every query its list and the scores of the list's items.

        Raises:
            InputError: a label that no item has.
        """
        found = self._candidates(queries, rule)
        return [
            slate.mixed_from(candidates, query.k, rule.asked(query.explore), rng)
            for query, candidates in zip(queries, found, strict=True)
        ]

    def _candidates(self, queries: Sequence[Query], rule: Rule) -> list[Candidates]:
        """Of what each query's list is made. Those of histories asked last are kept, for a query of at most
        ``KEPT_K`` items that excludes nothing.
        """
        keys = [self._key(query, rule) for query in queries]
        found = {place: self._lists[key] for place, key in enumerate(keys) if key in self._lists}
        missing = [place for place in range(len(queries)) if place not in found]
        scores = self._kept_scores([queries[place].history for place in missing])
        for place, own in zip(missing, scores, strict=True):
            query, key = queries[place], keys[place]
            k = query.k if key is None else KEPT_K
            allowed = self.allowed(query, own)
            found[place] = Candidates.of(allowed, self.cold(rule.cold_below), k, rule)
            if key is not None:
                self._lists[key] = found[place]
        for _ in range(len(self._lists) - KEPT_LISTS):
            del self._lists[next(iter(self._lists))]
        return [found[place] for place in range(len(queries))]

    @staticmethod
    def _key(query: Query, rule: Rule) -> tuple[bytes, int, int] | None:
        if query.label is not None or len(query.excluded) or query.k > KEPT_K:
            return None
        return query.history.tobytes(), rule.cold_below, rule.pool

    def allowed(self, query: Query, scores: np.ndarray) -> np.ndarray:
        """A copy of ``scores [n_items]`` with -inf at what the query may not be shown."""
        found = np.array(scores, dtype=np.float32)
        found[query.history] = -np.inf
        found[query.excluded] = -np.inf
        found[self.gone] = -np.inf
        if query.label is not None:
            found[~self._labelled(query.label)] = -np.inf
        return found

    def _labelled(self, label: str) -> np.ndarray:
        if label not in self.with_label:
            raise InputError(f"label: {label[:60]!r} is unknown")
        return self.with_label[label]

    def similar(self, vectors: np.ndarray, k: int, left_out: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The ``k`` items nearest to raw text vectors ``[1, d]``: places and cosines, fewer where there are
        not so many. Equal cosines go by the smaller place.

        ``left_out``: places not to name.
        """
        mapped = self.artefact.geometry.apply(vectors)
        if self.n_items < PLAIN_ITEMS:
            cosines = self.rows.scores(similarity.normalize(mapped))[0]
            allowed = cosines.copy()
            allowed[left_out] = allowed[self.gone] = -np.inf
            ids = slate.ranked(allowed, k)
            return ids, cosines[ids]
        ids, cosines = (found[0] for found in self.index.top_k(mapped, k, [left_out.tolist()]))
        return ids[ids >= 0], cosines[ids >= 0]

    def raw_vector(self, place: int) -> np.ndarray:
        """The text vector of an item as the encoder gave it, ``[1, d]``."""
        known = self.artefact.n_items
        return self.extra[place - known].vector[None] if place >= known else self.artefact.raw[[place]]

    # ---------------------------------------------------------------- reasons

    def reasons(self, history: np.ndarray, chosen: Slate, language: str = "en") -> list[str]:
        """One sentence for every item of a list: the two items of the history that add most to its score.

        Those of histories asked last are kept.
        """
        known = history[history < self.artefact.n_items]
        ids = chosen.ids.tolist()
        if not len(known):
            return [
                self._without_history(item, explored)[language]
                for item, explored in zip(ids, chosen.explored, strict=True)
            ]
        said = self._said.setdefault(history.tobytes(), {})
        new = [item for item in ids if (item, language) not in said]
        if new:
            keys = [(item, language) for item in new]
            said.update(zip(keys, self._sentences(known, np.array(new), language), strict=True))
            for _ in range(len(self._said) - KEPT_LISTS):
                del self._said[next(iter(self._said))]
        return [said[item, language] for item in ids]

    def _sentences(self, known: np.ndarray, targets: np.ndarray, language: str) -> list[str]:
        weights, rows = self._weights(known, targets), np.arange(len(targets))
        ranks, positive = [], []
        for _ in range(min(2, len(known))):
            first = weights.argmax(axis=1)
            ranks.append(known[first].tolist())
            positive.append((weights[rows, first] > 0).tolist())
            weights[rows, first] = -np.inf
        pairs = zip(zip(*ranks, strict=True), zip(*positive, strict=True), strict=True)
        return [self._because(tuple(itertools.compress(*pair)), language) for pair in pairs]

    def _without_history(self, item: int, explored: bool) -> dict[str, str]:
        if not self.counts[item]:
            return NEW
        return TRIAL if explored else POPULAR

    def _weights(self, items: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """What each of ``items [h]`` adds to each of ``targets [m]``, float64 ``[m, h]``."""
        known = self.artefact.n_items
        old = targets < known
        if old.all():
            return np.ascontiguousarray(weights_between(self.model, items, targets).T)
        weights = np.empty((len(targets), len(items)))
        weights[old] = weights_between(self.model, items, targets[old]).T
        weights[~old] = self.columns[np.ix_(items, targets[~old] - known)].T
        return weights
