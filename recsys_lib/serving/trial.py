"""A trial: two versions answer together, and people's choices say which is better.

While a store names a version on trial, every list is drafted in turn from it and from the current version.
Each choice from such a list counts for the version that picked the item. A user is one observation of the
sign test, however many lists they saw; a list without a user stands for itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recsys_lib.serving import slate
from recsys_lib.serving.events import EventLog
from recsys_lib.serving.interleaving import Preference, decided
from recsys_lib.serving.served import Query, Served
from recsys_lib.serving.slate import Rule, Slate


class Trial:
    """Two versions that answer a request together. Places in the catalogue are those of ``running``; items
    that only the candidate knows are not shown.
    """

    def __init__(self, running: Served, candidate: Served):
        self.running, self.candidate = running, candidate
        index = candidate.catalogue.index
        self._places = np.array([index.get(name, -1) for name in running.catalogue.ids], dtype=np.int64)
        self._known = self._places >= 0

    def _moved(self, places: np.ndarray) -> np.ndarray:
        """Places of the same items in the candidate's catalogue, in order."""
        moved = self._places[places]
        return np.sort(moved[moved >= 0])

    def recommend(
        self, queries: Sequence[Query], rule: Rule, rng: np.random.Generator
    ) -> list[tuple[Slate, list[float]]]:
        """As ``Served.recommend``: for every query an interleaved list, with the running version's scores."""
        cold = self.running.cold(rule.cold_below)
        own = self.running.scores([q.history for q in queries])
        other = self.candidate.scores([self._moved(q.history) for q in queries])
        answers = []
        for query, first, second in zip(queries, own, other, strict=True):
            theirs = np.where(self._known, second[self._places], -np.inf)
            chosen = slate.interleaved(
                self.running.allowed(query, first), self.running.allowed(query, theirs), cold, query.k,
                rule.asked(query.explore), rng,
            )  # fmt: skip
            answers.append((chosen, first[chosen.ids].tolist()))
        return answers

    def reasons(self, history: np.ndarray, chosen: Slate, language: str = "en") -> list[str]:
        """One sentence for every item, by the version that picked it."""
        own = self.running.reasons(history, chosen, language)
        picked = np.flatnonzero(chosen.teams == 1) if chosen.teams is not None else np.empty(0, np.int64)
        if len(picked):
            part = Slate(
                self._places[chosen.ids[picked]], chosen.explored[picked], chosen.propensities[picked]
            )
            theirs = self.candidate.reasons(self._moved(history), part, language)
            for place, reason in zip(picked.tolist(), theirs, strict=True):
                own[place] = reason
        return own


def outcome(log: EventLog, running: str, candidate: str) -> Preference:
    """Users who chose more of what the ``running`` version picked, and of what the ``candidate`` did, from
    the lists that ``log`` kept of their trial.
    """
    credits: dict[str, list[int]] = {}
    for row in log.lists():
        shown = row["shown"]
        if (row["version"], shown.get("candidate")) != (running, candidate):
            continue
        # No user id can be the name of a list: they are told apart by their first letter.
        counts = credits.setdefault(f"u{row['user_id']}" if row["user_id"] else f"l{row['id']}", [0, 0])
        for item, team in zip(shown["ids"], shown["teams"], strict=True):
            if team >= 0 and item in row["chosen"]:
                counts[team] += 1
    return decided((first, second) for first, second in credits.values())
