"""Which of two versions do people choose from: team-draft interleaving, and its test.

Both versions' lists become one: round by round a coin says which team picks first, and each picks its best
item that is not yet in the list. A choice counts for the team that picked the item. Over lists, the version
with more choices wins; a sign test says whether that could be chance. Radlinski, Kurup and Joachims, "How
Does Clickthrough Data Reflect Retrieval Quality?", CIKM 2008.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from recsys_lib.core.errors import InputError


@dataclass(frozen=True, eq=False)
class Interleaved:
    """One list of ``ids [k]`` and who picked each item: ``teams [k]``, 0 for the first version, 1 for the
    second.
    """

    ids: np.ndarray
    teams: np.ndarray


def team_draft(first: Sequence[int], second: Sequence[int], k: int, rng: np.random.Generator) -> Interleaved:
    """At most ``k`` items of two ranked lists; shorter where both have no more.

    >>> team_draft([1, 2, 3], [1, 4, 5], 4, np.random.default_rng(0)).ids.tolist()
    [1, 2, 4, 3]

    Raises:
        InputError: ``k`` below 1, or a list that names an item twice.
    """
    if k < 1 or any(len(set(ids)) < len(ids) for ids in (first, second)):
        raise InputError(f"k={k!r}: expected at least 1, and lists that name each item once")
    lists = [int(i) for i in first], [int(i) for i in second]
    ids: list[int] = []
    teams: list[int] = []
    taken: set[int] = set()
    while len(ids) < k:
        before = len(ids)
        begins = int(rng.integers(2))
        for team in (begins, 1 - begins):
            item = next((item for item in lists[team] if item not in taken), None)
            if item is not None and len(ids) < k:
                ids.append(item)
                teams.append(team)
                taken.add(item)
        if len(ids) == before:
            break
    return Interleaved(np.array(ids, dtype=np.int64), np.array(teams, dtype=np.int64))


@dataclass(frozen=True)
class Preference:
    """Lists that each version won, ties, and the two-sided p-value of the sign test over the others."""

    first: int
    second: int
    ties: int
    p_value: float

    @property
    def fraction_second(self) -> float:
        """Of the lists that have a winner, the fraction that the second version won; 0.5 if none has."""
        decided = self.first + self.second
        return self.second / decided if decided else 0.5


def preference(sessions: Iterable[tuple[Interleaved, Iterable[int]]]) -> Preference:
    """Over lists and the items chosen from each: which version wins more, and could it be chance?

    A list is one observation, however many items were chosen from it; lists should be of different people, or
    few of each, for the test to mean what it says.
    """

    def credits(shown: Interleaved, chosen: Iterable[int]) -> tuple[int, int]:
        hit = np.isin(shown.ids, list(chosen))
        return int((hit & (shown.teams == 0)).sum()), int((hit & (shown.teams == 1)).sum())

    return decided(credits(shown, chosen) for shown, chosen in sessions)


def decided(credits: Iterable[tuple[int, int]]) -> Preference:
    """The sign test over pairs: how many of the chosen items the first version picked, and the second."""
    from scipy import stats

    wins = [0, 0, 0]
    for first, second in credits:
        wins[0 if first > second else 1 if second > first else 2] += 1
    decided = wins[0] + wins[1]
    p = float(stats.binomtest(wins[1], decided).pvalue) if decided else 1.0
    return Preference(wins[0], wins[1], wins[2], p)
