"""Why an item is recommended, in a user's own catalogue: one sentence, of the kind of reason that passes the
removal test there.

The kinds compete on one half of the users, and the best of them is tested on the other half: without the
items that it names the recommended item must leave the list sooner than without random ones.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys_lib import evaluation
from recsys_lib.core.errors import InputError
from recsys_lib.evaluation import Comparison
from recsys_lib.experiments.own_catalogue import chosen_methods
from recsys_lib.experiments.own_catalogue.compare_methods import Compared
from recsys_lib.experiments.own_catalogue.conclusion import best
from recsys_lib.experiments.own_catalogue.sources import COLLABORATIVE, JOINED, LABELS, TFIDF, Source
from recsys_lib.recommenders import checks
from recsys_lib.trust.explanations import contributions, faithfulness, importance
from recsys_lib.trust.explanations.sentences import Reason, checked_reasons, sentence

if TYPE_CHECKING:
    import pandas as pd

EXACT, LEFT_OUT, ALIKE, POPULAR, RANDOM = "exact", "left out", "text alike", "popular", "random"
# What a kind of reason is, in the report's words.
MEANING = {
    EXACT: "the largest summands of the score",
    LEFT_OUT: "the items without which the score falls most",
    ALIKE: "the items with the most similar texts",
    POPULAR: "the most popular items of the history",
    RANDOM: "random items of the history",
}
# Histories of these lengths are tested: shorter ones have no order, longer ones take long.
LENGTHS = (4, 60)
SIGNIFICANCE = 0.05
# A system's name is that of its method for warm items, and after this that for cold ones.
COLD = "; cold items by "


@dataclass(frozen=True, eq=False)
class Explained:
    """The method that is explained, fitted; how faithful each kind of reason is; which one was chosen.

    deletion: mean fraction of the removals for which the item stays in the list, by kind, on the users that
    choose. chosen: the kind with the smallest; "" where nothing can be tested. tested, drawn: the same of
    ``chosen`` and of random reasons on the other users, whose paired test is ``comparison``.
    """

    method: str
    model: Any
    histories: Any
    kinds: Mapping[str, faithfulness.Importance]
    users: np.ndarray
    deletion: dict[str, float]
    chosen: str = ""
    tested: float = float("nan")
    drawn: float = float("nan")
    comparison: Comparison | None = None
    note: str = ""

    @property
    def passed(self) -> bool:
        """Whether the chosen kind makes items leave sooner than random reasons do, on users that did not
        choose it.
        """
        c = self.comparison
        return c is not None and c.p_value < SIGNIFICANCE and c.high < 0

    def finding(self) -> str:
        """One sentence: which kind of reason is shown, and what the test says of it."""
        if self.comparison is None:
            return self.note
        said = f"an item stays for {self.tested:.0%} of the removals, for {self.drawn:.0%} in random order"
        if self.passed:
            return f"Reasons are {MEANING[self.chosen]} ({self.chosen}): {said}."
        return (
            f"No kind of reason passes the removal test; of the best, {self.chosen}, {said}. None is shown."
        )

    def table(self) -> pd.DataFrame:
        """Every kind of reason, the most faithful first."""
        import pandas as pd

        rows = {kind: {"names": MEANING[kind], "stays": value} for kind, value in self.deletion.items()}
        found = pd.DataFrame.from_dict(rows, orient="index", columns=["names", "stays"])
        return found.sort_values("stays", kind="stable")

    def reasons(self, user: int, k: int, shown: int = 3, most: int = 3) -> list[Reason]:
        """Reasons for the first ``shown`` items of a training user's list; empty unless the test is
        passed.
        """
        if not self.passed:
            return []
        history = self.histories[user]
        targets = evaluation.recommend(self.model, self.histories, np.array([user]), shown)[0]
        return checked_reasons(self.model, history, targets, self.kinds[self.chosen], k, most)

    def sentences(self, titles: Sequence[str], k: int, users: int = 2, shown: int = 2) -> list[str]:
        """What ``users`` of the test would read beside the first items of their lists, in English and
        Chinese.
        """
        found = []
        for user in self.users[:users].tolist():
            for reason in self.reasons(user, k, shown):
                title = str(titles[reason.target])
                found.append(f"{title}: {sentence(reason, titles, 'en', 'item')}")
                found.append(f"{title}：{sentence(reason, titles, 'zh', 'item')}")
        return found

    def seconds_per_list(self, k: int, lists: int = 8) -> float:
        """Seconds for the reasons of a list of ``k`` items, the removals of each included; NaN where none
        is shown.
        """
        users = self.users[:lists].tolist() if self.passed else []
        start = time.perf_counter()
        for user in users:
            self.reasons(user, k, shown=k)
        return (time.perf_counter() - start) / len(users) if users else float("nan")

    def metrics(self) -> dict[str, Any]:
        """What the record of a run holds."""
        return {
            "method": self.method, "chosen": self.chosen, "passed": self.passed, "deletion": self.deletion,
            "tested": self.tested, "random": self.drawn,
            "p": None if self.comparison is None else self.comparison.p_value,
        }  # fmt: skip


def explain(
    compared: Compared,
    sources: Mapping[str, Source],
    system: str,
    k: int = 10,
    n_users: int = 32,
    seed: int = 0,
) -> Explained:
    """Fit the method of a ``system`` for warm items once more, and test reasons for its first items.

    A system that ranks alike for everybody has no reasons; its place is taken by the best collaborative
    filtering that reads a history.
    """
    split, name = compared.split, _method(compared, system)
    if not name:
        return Explained("", None, split.train, {}, np.empty(0, int), {}, note="No method reads a history.")
    model = checks.fit(_made(compared, sources, name), split.train, split.train_times)
    kinds = _kinds(model, sources, split.train, seed)
    lengths = np.diff(split.train.indptr)
    able = np.flatnonzero((lengths >= LENGTHS[0]) & (lengths <= LENGTHS[1]))
    users = np.random.default_rng(seed).permutation(able)[:n_users]
    known = Explained(name, model, split.train, kinds, users, {})
    if len(users) < 12:
        few = f"{len(users)} users have {LENGTHS[0]} to {LENGTHS[1]} interactions: too few to test reasons."
        return Explained(**vars(known) | {"note": few})
    return _tested(known, k)


def _tested(known: Explained, k: int) -> Explained:
    targets = evaluation.recommend(known.model, known.histories, known.users, 1)
    half = len(known.users) // 2

    def measured(part: slice, kinds: Mapping[str, faithfulness.Importance]) -> pd.DataFrame:
        users = known.users[part]
        return faithfulness.measure(known.model, known.histories, users, targets[part], kinds, k)

    first = measured(slice(half), known.kinds).groupby("method", sort=False)["deletion"].mean()
    deletion = {str(kind): float(value) for kind, value in first.items()}
    able = [kind for kind in known.kinds if kind not in (POPULAR, RANDOM)]
    chosen = min(able, key=lambda kind: deletion[kind])
    rest = measured(slice(half, None), {kind: known.kinds[kind] for kind in (chosen, RANDOM)})
    one, other = (faithfulness.as_evaluation(rest, kind, k) for kind in (chosen, RANDOM))
    result = {
        "deletion": deletion,
        "chosen": chosen,
        "comparison": evaluation.compare(one, other, "deletion"),
    }
    result |= {"tested": one.mean()["deletion"], "drawn": other.mean()["deletion"]}
    return Explained(**vars(known) | result)


def _method(compared: Compared, system: str) -> str:
    """The name of the method that is explained; "" where none reads a history."""
    same = ("popularity", "recent popularity")
    name = system.split(COLD)[0]
    if name in compared.warm and name not in same:
        return name
    reading = {n: result for n, result in compared.warm.items() if n not in same}
    return best(reading, COLLABORATIVE) or ""


def _made(compared: Compared, sources: Mapping[str, Source], name: str) -> Any:
    """The recommender of that name at the point that was chosen on the validation part, not fitted."""
    train, chosen = compared.split.train, compared.warm
    entries = chosen_methods.interaction_methods(train.shape[1], "recent popularity" in chosen)
    if name not in entries:
        filtering = best(chosen, COLLABORATIVE) or "popularity"
        base = chosen_methods.FittedOnce(entries[filtering].method.make(**chosen[filtering].parameters))
        ease = chosen["EASE"].parameters["regularization"] if "EASE" in chosen else None
        entries = chosen_methods.text_methods(sources, train, base, ease)
    return entries[name].method.make(**chosen[name].parameters)


def _kinds(
    model: Any, sources: Mapping[str, Source], train: Any, seed: int
) -> dict[str, faithfulness.Importance]:
    """Every kind of reason that the model and the sources allow."""
    found = {LEFT_OUT: importance.left_out(model)}
    try:
        contributions(model, train[0], [0])
        found = {EXACT: importance.exact(model)}
    except InputError:
        pass  # no sum over the history
    text = next((sources[name] for name in (JOINED, TFIDF, LABELS) if name in sources), None)
    text = next(iter(sources.values()), None) if text is None else text
    if text is not None:
        found[ALIKE] = importance.alike(text.vectors)
    return found | {POPULAR: importance.popular(train), RANDOM: importance.random(seed)}
