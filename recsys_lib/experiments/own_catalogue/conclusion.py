"""Is a language model worth it for this catalogue? The answer in words.

It rests on at most four paired tests, corrected together, and on one number that the reader sets: the smallest relative gain in NDCG
that they would act on. Where the interval of a difference holds both nothing and that gain, the answer is that one cannot tell, and
about how many users would tell.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from recsys_lib import evaluation
from recsys_lib.core.errors import InputError
from recsys_lib.evaluation import Comparison
from recsys_lib.experiments.own_catalogue.compare_methods import CHANCE, CHEAP, COUNTING, LANGUAGE, Result
from recsys_lib.experiments.own_catalogue.data_check import LEAST_USERS

if TYPE_CHECKING:
    import pandas as pd

# A difference in NDCG under this never matters, whatever it is a share of.
LEAST_DIFFERENCE = 0.001
SIGNIFICANCE = 0.05


@dataclass(frozen=True)
class Answer:
    """One paired test in words. ``found`` and ``rival``: mean NDCG@``k`` of ``left`` and ``right``; p is corrected by Holm.

    decision: yes, small (a gain, but too small to matter), no (a gain that matters is ruled out), unclear, too few (users),
    nothing (neither found anything).
    """

    decision: str
    left: str
    right: str
    found: float
    rival: float
    comparison: Comparison
    p: float
    users: int
    matters: float
    k: int

    @property
    def needed(self) -> int:
        """About how many users would tell: the interval shrinks with their square root, and around the same difference it must
        come to exclude either 0 or the gain that matters. Two digits, rounded up.
        """
        c, least = self.comparison, threshold(self.rival, self.matters)
        users = self.users * ((c.high - c.low) / 2 / max(c.difference, least - c.difference)) ** 2
        digit = 10 ** max(0, math.floor(math.log10(max(1.0, users))) - 1)
        return math.ceil(users / digit) * digit

    def __str__(self) -> str:
        pair = f"{self.left} and {self.right}"
        if self.decision == "too few":
            return f"{self.users} users are too few to tell {pair} apart: expected at least {LEAST_USERS}."
        if self.decision == "nothing":
            return f"Neither {self.left} nor {self.right} found anything that {self.users} users went on to choose."
        opening = {
            "yes": f"{self.left} finds more than {self.right}",
            "small": f"{self.left} finds more than {self.right}, but less than the {self.matters:.0%} that would matter",
            "no": f"{self.left} does not find {self.matters:.0%} more than {self.right}",
            "unclear": f"Whether {self.left} finds {self.matters:.0%} more than {self.right} cannot be told from {self.users:,} users",
        }[self.decision]
        many = f"About {self.needed:,}" if self.needed > self.users else "More"
        closing = f" {many} users would tell." if self.decision == "unclear" else ""
        return f"{opening}: NDCG@{self.k} {self.found:.3f} against {self.rival:.3f}, {self._change()}.{closing}"

    def _change(self) -> str:
        c = self.comparison
        p = "p < 0.001" if self.p < 0.001 else f"p = {self.p:.3f}"
        if not self.rival:
            return f"{c.difference:+.3f} (95% interval {c.low:+.3f} to {c.high:+.3f}, {p})"
        change, low, high = (100 * value / self.rival for value in (c.difference, c.low, c.high))
        return f"{change:+.1f}% (95% interval {low:+.1f}% to {high:+.1f}%, {p})"


def threshold(rival: float, matters: float) -> float:
    """The smallest difference in NDCG that matters: the share ``matters`` of the rival's, never under ``LEAST_DIFFERENCE``."""
    return max(matters * rival, LEAST_DIFFERENCE)


def decide(found: float, rival: float, c: Comparison, p: float, users: int, matters: float) -> str:
    """What a paired difference says, see ``Answer``; ``p`` is the corrected one."""
    if users < LEAST_USERS:
        return "too few"
    if not found and not rival:
        return "nothing"
    if p < SIGNIFICANCE and c.low > 0:
        return "yes" if c.difference >= threshold(rival, matters) else "small"
    return "no" if c.high < threshold(rival, matters) else "unclear"


@dataclass(frozen=True)
class Conclusion:
    """The answer: a headline, what to do, and the tests behind it.

    overall and new_items: "model" (a language model pays), "cheap" (text pays, and cheap text does as well), "either" (text pays, and
    nobody can tell whether cheap text does as well), "none" (text does not pay), "unclear", or "untested".
    """

    headline: str
    advice: list[str]
    answers: list[Answer]
    overall: str
    new_items: str


def best(results: Mapping[str, Result], *kinds: str) -> str | None:
    """The name that did best on the validation part among these kinds: a choice that does not look at the test."""
    of_kind = [name for name, result in results.items() if result.kind in kinds]
    return max(of_kind, key=lambda name: results[name].validation) if of_kind else None


def conclude(
    warm: Mapping[str, Result],
    cold: Mapping[str, Result],
    encoder: str,
    matters: float = 0.05,
    new_share: float | None = None,
) -> Conclusion:
    """Is ``encoder`` worth it? From the results on all items and on strictly cold ones, either of which may be empty.

    Two questions each, asked of whichever contender did best on the validation part: does text find more than counting (of cold
    items: than chance), and does the language model find more than the cheapest text? ``new_share``: how much of a test by time
    is of items that nobody had before.

    Raises:
        InputError: ``matters`` is not a share between 0 and 1.
    """
    if not 0 < matters < 1:
        raise InputError(f"matters={matters!r}: expected a share between 0 and 1, such as 0.05")
    asked = _questions(warm, COUNTING) + _questions(cold, CHANCE)
    tests = [evaluation.compare(results[left].test, results[right].test) for results, left, right in asked]
    corrected = evaluation.holm([t.p_value for t in tests])
    answers = []
    for (results, left, right), test, p in zip(asked, tests, corrected, strict=True):
        a, b = results[left].test, results[right].test
        found, rival, users = a.mean()["ndcg"], b.mean()["ndcg"], len(a.users)
        decision = decide(found, rival, test, float(p), users, matters)
        answers.append(Answer(decision, left, right, found, rival, test, float(p), users, matters, a.k))
    n_warm = len(_questions(warm, COUNTING))
    overall, new_items = _state(warm, answers[:n_warm]), _state(cold, answers[n_warm:])
    headline = _headline(warm, cold, encoder, overall, new_items)
    return Conclusion(headline, _advice(warm, cold, overall, new_items, new_share), answers, overall, new_items)


def takeaways(found: Conclusion, crossing: str, sample: bool = False) -> list[str]:
    """What to take from a run, one sentence or two each: the headline, the advice, ``crossing``, and every test with its numbers.

    ``sample``: the run was on the invented sample, which is said first.
    """
    invented = "This run was on the sample, which is invented: it proves nothing about other catalogues."
    opening = [invented] if sample else []
    return [*opening, f"{found.headline}.", *found.advice, f"{crossing}.", *map(str, found.answers)]


def crossing(slices: pd.DataFrame, text: str, counting: str) -> str:
    """Where text alone finds more than counting, in words. ``slices``: a row per slice of the items, by its label, with the number of
    ``test users`` and a column of NDCG per contender; slices with too few users do not count.
    """
    enough = slices[slices["test users"] >= LEAST_USERS]
    if text not in slices:
        return f"There is no text alone to compare with {counting}"
    if enough.empty:
        return f"No slice of the items has enough users to say where text alone beats {counting}"
    wins = [label for label, row in enough.iterrows() if row[text] > row[counting]]
    where = (
        "nowhere, however few interactions an item has" if not wins
        else "however many interactions an item has" if len(wins) == len(enough)
        else f"where an item has {', '.join(wins)} interactions, and only there"
    )  # fmt: skip
    unknown = slices.index.difference(enough.index, sort=False)
    left_out = f" (not told for {', '.join(unknown)}: too few users)" if len(unknown) else ""
    return f"Text alone ({text}) beats {counting} {where}{left_out}"


def _questions(results: Mapping[str, Result], base: str) -> list[tuple[Mapping[str, Result], str, str]]:
    """Pairs to be compared: text against the base, the language model against cheap text."""
    text, without = best(results, CHEAP, LANGUAGE), best(results, base)
    model, cheap = best(results, LANGUAGE), best(results, CHEAP)
    pairs = [(results, text, without)] if text and without else []
    return [*pairs, (results, model, cheap)] if pairs and model and cheap else pairs


def _state(results: Mapping[str, Result], answers: Sequence[Answer]) -> str:
    if not answers:
        return "untested"
    text = answers[0].decision
    if text != "yes":
        return "none" if text in ("no", "small") else "unclear"
    if len(answers) == 1:  # one kind of text only
        return "model" if best(results, LANGUAGE) else "cheap"
    return {"yes": "model", "no": "cheap", "small": "cheap"}.get(answers[1].decision, "either")


def _headline(
    warm: Mapping[str, Result], cold: Mapping[str, Result], encoder: str, overall: str, new_items: str
) -> str:
    if not best(warm, LANGUAGE) and not best(cold, LANGUAGE):
        return f"{encoder} has nothing to read here: the items have no text"
    first, second = best(warm, CHEAP), best(cold, CHEAP)
    whole = {
        "model": "it pays on the catalogue as a whole",
        "cheap": f"text pays on the whole, and all it takes is {first}",
        "either": f"text pays on the whole, and {first} may do",
        "none": "counting is enough on the whole",
        "unclear": "on the whole nobody can tell yet",
        "untested": "the whole was not tested",
    }[overall]
    new = {
        "model": "it pays for new items",
        "cheap": f"all it takes for new items is {second}",
        "either": f"text pays for new items, and {second} may do",
        "none": "it is no better than chance for new items",
        "unclear": "for new items nobody can tell yet",
        "untested": "new items were not tested",
    }[new_items]
    return f"Is {encoder} worth it here? {whole[0].upper()}{whole[1:]}; {new}"


def _advice(
    warm: Mapping[str, Result], cold: Mapping[str, Result], overall: str, new_items: str, new_share: float | None
) -> list[str]:
    """What to do, one sentence each."""
    counted, cheap, model = best(warm, COUNTING), best(warm, CHEAP), best(warm, LANGUAGE)
    lines = {
        "model": [f"Recommend with {model}: it earned its cost in this test."],
        "cheap": [f"Recommend with {cheap}: the language model adds nothing to it that you said would matter."],
        "either": [f"Start with {cheap}, and try {model} again with more users: the test cannot tell them apart."],
        "none": [f"Recommend with {counted}: reading the texts adds nothing to it that you said would matter."],
        "unclear": [
            f"Recommend with {counted} until there are more users: no gain by text is shown, and none is ruled out."
        ],
        "untested": [f"Recommend with {counted}." if counted else "Nothing could be judged."],
    }[overall]
    by_model, by_cheap = best(cold, LANGUAGE), best(cold, CHEAP)
    lines.append(
        {
            "model": f"Place new items by {by_model} until people have chosen them.",
            "cheap": f"Place new items by {by_cheap} until people have chosen them.",
            "either": f"Place new items by {by_cheap}; whether {by_model} does better is open.",
            "none": "Show new items to a few people at random first: their texts do not say who will want them.",
            "unclear": "For new items this data cannot show whether text beats chance.",
            "untested": "Too few items, or no text, to test how new items would be placed.",
        }[new_items]
    )
    if new_share is not None and new_items != "untested":
        weight = (
            "a rare case here" if new_share < 0.02 else "a large part of the business" if new_share > 0.1 else "a part"
        )
        lines.append(f"New items were {new_share:.1%} of what people chose in the test period: {weight}.")
    return lines
