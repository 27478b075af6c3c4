"""One list of warm and cold items: the model's best, and an exploration quota at its end with logged
propensities.

The rule: the last ``quota`` places of a list belong to cold items, those with fewer than ``cold_below``
interactions. The best ``pool`` cold items that are not in the first part are dealt to these places like
cards: place ``s`` gets those ranked ``s, s + quota, s + 2 quota, ...``; of its ``m`` items it draws the one
ranked ``r`` among them with the probability ``(1 / r) / (1 + 1/2 + ... + 1/m)``. Places draw from different
items, so no item occurs twice, draws are independent, and each probability is exact: the propensity that
off-policy estimates divide by.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from recsys_lib.core.errors import InputError
from recsys_lib.serving.interleaving import team_draft


@dataclass(frozen=True)
class Rule:
    """How many places of a list are for cold items, what is cold, and from how many candidates they are
    drawn.
    """

    quota: int = 1
    cold_below: int = 5
    pool: int = 20

    def __post_init__(self) -> None:
        if self.quota < 0 or self.cold_below < 1 or self.pool < max(self.quota, 1):
            raise InputError(
                f"quota={self.quota!r}, cold_below={self.cold_below!r}, pool={self.pool!r}: expected a quota "
                "of at least 0, cold_below of at least 1 and a pool of at least the quota"
            )

    def asked(self, explore: bool) -> Rule:
        """The rule of a request: without a quota where it does not want to explore."""
        return self if explore else replace(self, quota=0)


@dataclass(frozen=True, eq=False)
class Slate:
    """A list: ``ids``, best first; ``explored``: which places were drawn; ``propensities``: with which
    probability (1 where nothing was drawn); ``pools``: for each drawn place its candidates, best first.
    ``teams``: of an interleaved list which version picked each item, 0 or 1, and -1 where it was drawn.
    """

    ids: np.ndarray
    explored: np.ndarray
    propensities: np.ndarray
    pools: tuple[np.ndarray, ...] = ()
    teams: np.ndarray | None = None


@lru_cache(1024)
def draw_probabilities(m: int) -> np.ndarray:
    """Probabilities ``[m]`` of the candidates of one place, best first: proportional to one over the rank.

    >>> draw_probabilities(2).round(3).tolist()
    [0.667, 0.333]
    """
    weights = 1 / np.arange(1, m + 1)
    weights /= weights.sum()
    weights.flags.writeable = False
    return weights


@lru_cache(1024)
def _cumulative(m: int) -> np.ndarray:
    return np.cumsum(draw_probabilities(m))


class Ranked(NamedTuple):
    """Items, best first: ``ids`` and their ``scores``."""

    ids: list[int]
    scores: list[float]

    @staticmethod
    def of(scores: np.ndarray, k: int) -> Ranked:
        """At most the ``k`` best, as ``ranked`` gives them."""
        ids = ranked(scores, k)
        return Ranked(ids.tolist(), scores[ids].tolist())


class Candidates(NamedTuple):
    """What lists of a history are made of: its best items, and its best cold ones."""

    best: Ranked
    cold: Ranked

    @staticmethod
    def of(scores: np.ndarray, cold: np.ndarray, k: int, rule: Rule) -> Candidates:
        """For any list of at most ``k`` items. ``scores [n_items]``: -inf at items that may not be shown;
        ``cold``: bool ``[n_items]``.
        """
        # As many cold items as the quota is dealt from, beside those that are in the list's first part.
        places = np.flatnonzero(cold)
        some = Ranked.of(scores[places], k + rule.pool)
        return Candidates(Ranked.of(scores, k), some._replace(ids=places[some.ids].tolist()))


def mixed(scores: np.ndarray, cold: np.ndarray, k: int, rule: Rule, rng: np.random.Generator) -> Slate:
    """The list of at most ``k`` items for ``scores [n_items]``, -inf at items that may not be shown.

    ``cold``: bool ``[n_items]``. Where fewer cold items can be shown than the quota asks for, the model's
    best fill the list; where nothing else can be shown, it is shorter. Equal scores go by the smaller id.
    """
    return mixed_from(Candidates.of(scores, cold, max(k, 1), rule), k, rule, rng)[0]


def mixed_from(
    candidates: Candidates, k: int, rule: Rule, rng: np.random.Generator
) -> tuple[Slate, list[float]]:
    """As ``mixed``, from candidates for at least ``k`` items; and the scores of the list's items."""
    if k < 1:
        raise InputError(f"k={k!r}: expected at least 1")
    best, cold = candidates
    for places in range(min(rule.quota, k - 1), 0, -1):
        first = best.ids[: k - places]
        pool = _cold_pool(cold.ids, first, rule)
        if len(pool) >= places:
            drawn = _drawn(first, pool, places, rng)
            scores = [cold.scores[cold.ids.index(item)] for item in drawn.ids[len(first) :].tolist()]
            return drawn, best.scores[: len(first)] + scores
    ids = np.array(best.ids[:k], dtype=np.int64)
    return Slate(ids, np.zeros(len(ids), dtype=bool), np.ones(len(ids))), best.scores[:k]


def interleaved(
    running: np.ndarray, candidate: np.ndarray, cold: np.ndarray, k: int, rule: Rule,
    rng: np.random.Generator,
) -> Slate:  # fmt: skip
    """As ``mixed``, but the items before the quota are drafted in turn from the ``running`` and the
    ``candidate`` scores ``[n_items]``; the quota is drawn by the running ones.
    """
    if k < 1:
        raise InputError(f"k={k!r}: expected at least 1")
    whole = team_draft(ranked(running, k).tolist(), ranked(candidate, k).tolist(), k, rng)
    own_cold = ranked(np.where(cold, running, -np.inf), k + rule.pool).tolist()
    for places in range(min(rule.quota, k - 1), 0, -1):
        first = whole.ids[: k - places].tolist()
        pool = _cold_pool(own_cold, first, rule)
        if len(pool) >= places:
            teams = np.concatenate([whole.teams[: k - places], np.full(places, -1)])
            return replace(_drawn(first, pool, places, rng), teams=teams)
    n = len(whole.ids)
    return Slate(whole.ids, np.zeros(n, dtype=bool), np.ones(n), (), whole.teams)


def _cold_pool(cold: Sequence[int], shown: Sequence[int], rule: Rule) -> list[int]:
    """The best cold items that are not ``shown``."""
    taken = set(shown)
    return list(itertools.islice((item for item in cold if item not in taken), rule.pool))


def _drawn(first: list[int], pool: list[int], places: int, rng: np.random.Generator) -> Slate:
    """``first`` and one item of ``pool`` for each of the ``places``."""
    pools = [pool[s::places] for s in range(places)]
    ids, propensities = first.copy(), [1.0] * len(first)
    for candidates in pools:
        p = draw_probabilities(len(candidates))
        place = min(int(np.searchsorted(_cumulative(len(p)), rng.random(), side="right")), len(p) - 1)
        ids.append(candidates[place])
        propensities.append(float(p[place]))
    explored = np.arange(len(ids)) >= len(first)
    return Slate(
        np.array(ids, dtype=np.int64), explored, np.array(propensities),
        tuple(np.array(candidates, dtype=np.int64) for candidates in pools),
    )  # fmt: skip


def ranked(scores: np.ndarray, k: int) -> np.ndarray:
    """At most ``k`` ids with a score above -inf, best first, equal scores by the smaller id."""
    order = -scores
    # The value at a place is the same on every processor, unlike the order that a partition leaves.
    cut = np.partition(order, k - 1)[k - 1] if k < len(order) else np.inf
    candidates = np.flatnonzero(order <= cut if cut < np.inf else order < np.inf)
    return candidates[np.argsort(order[candidates], kind="stable")][:k]
