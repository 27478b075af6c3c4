"""Is a language model worth it for this catalogue? The answer in words.

It rests on at most four paired tests, corrected together, and on one number that the user sets: the
smallest relative gain in NDCG that they would act on. Where the interval of a difference holds both 0 and
that gain, the answer is "unclear", with about how many users would decide it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from recsys_lib import evaluation
from recsys_lib.core.errors import InputError
from recsys_lib.evaluation import Comparison
from recsys_lib.experiments.own_catalogue.compare_methods import Result
from recsys_lib.experiments.own_catalogue.data_check import MIN_USERS
from recsys_lib.experiments.own_catalogue.sources import CHANCE, CHEAP, COLLABORATIVE, LANGUAGE

# A difference in NDCG under this never matters, whatever it is a share of.
MIN_DIFFERENCE = 0.001
SIGNIFICANCE = 0.05


@dataclass(frozen=True)
class Answer:
    """One paired test in words. ``found`` and ``baseline``: mean NDCG@``k`` of ``left`` and ``right``; p is
    corrected by Holm.

    decision: yes, small (a gain, but too small to matter), no (a gain that matters is ruled out), unclear,
    too few (users), nothing (neither found anything).
    """

    decision: str
    left: str
    right: str
    found: float
    baseline: float
    comparison: Comparison
    p: float
    users: int
    matters: float
    k: int

    @property
    def needed(self) -> int:
        """About how many users would decide it, two digits, rounded up.

        The interval shrinks with the square root of their number, and around the same difference it must
        come to exclude either 0 or the gain that matters.
        """
        c, least = self.comparison, threshold(self.baseline, self.matters)
        users = self.users * ((c.high - c.low) / 2 / max(c.difference, least - c.difference)) ** 2
        digit = 10 ** max(0, math.floor(math.log10(max(1.0, users))) - 1)
        return math.ceil(users / digit) * digit

    def __str__(self) -> str:
        pair = f"{self.left} and {self.right}"
        if self.decision == "too few":
            return f"{self.users} test users are too few to compare {pair}: expected at least {MIN_USERS}."
        if self.decision == "nothing":
            return f"Neither {self.left} nor {self.right} found anything that {self.users} users chose later."
        least = f"{self.matters:.0%}"
        opening = {
            "yes": f"{self.left} finds more than {self.right}",
            "small": f"{self.left} finds more than {self.right}, but less than the {least} that would matter",
            "no": f"{self.left} does not find {self.matters:.0%} more than {self.right}",
            "unclear": f"{self.users:,} users leave open if {self.left} finds {least} more than {self.right}",
        }[self.decision]
        many = f"About {self.needed:,}" if self.needed > self.users else "More"
        closing = f" {many} users would decide it." if self.decision == "unclear" else ""
        values = f"NDCG@{self.k} {self.found:.3f} against {self.baseline:.3f}"
        return f"{opening}: {values}, {self._change()}.{closing}"

    def _change(self) -> str:
        c = self.comparison
        p = "p < 0.001" if self.p < 0.001 else f"p = {self.p:.3f}"
        if not self.baseline:
            return f"{c.difference:+.3f} (95% interval {c.low:+.3f} to {c.high:+.3f}, {p})"
        change, low, high = (100 * value / self.baseline for value in (c.difference, c.low, c.high))
        return f"{change:+.1f}% (95% interval {low:+.1f}% to {high:+.1f}%, {p})"


def threshold(baseline: float, matters: float) -> float:
    """The smallest difference in NDCG that matters: the fraction ``matters`` of the baseline's, never under
    ``MIN_DIFFERENCE``.
    """
    return max(matters * baseline, MIN_DIFFERENCE)


def decide(found: float, baseline: float, c: Comparison, p: float, users: int, matters: float) -> str:
    """What a paired difference says, see ``Answer``; ``p`` is the corrected one."""
    if users < MIN_USERS:
        return "too few"
    if not found and not baseline:
        return "nothing"
    if p < SIGNIFICANCE and c.low > 0:
        return "yes" if c.difference >= threshold(baseline, matters) else "small"
    return "no" if c.high < threshold(baseline, matters) else "unclear"


@dataclass(frozen=True)
class Conclusion:
    """The answer: a headline, what to do, and the tests behind it.

    warm and cold (items): "model" (a language model finds more), "cheap" (text does, and cheap text as much
    as a language model), "either" (text does, and it is open whether cheap text does as much), "none" (text
    does not), "unclear", "untested". cold_fraction: of what users chose in a test by time, or None.
    """

    headline: str
    advice: list[str]
    answers: list[Answer]
    warm: str
    cold: str
    cold_fraction: float | None = None


def best(results: Mapping[str, Result], *kinds: str) -> str | None:
    """The name that did best on the validation part among these kinds: a choice that does not look at the
    test.
    """
    of_kind = [name for name, result in results.items() if result.kind in kinds]
    return max(of_kind, key=lambda name: results[name].validation) if of_kind else None


def conclude(
    warm: Mapping[str, Result],
    cold: Mapping[str, Result],
    encoder: str,
    matters: float = 0.05,
    cold_fraction: float | None = None,
) -> Conclusion:
    """Is ``encoder`` worth it? From the results on all items and on strictly cold ones, either of which may
    be empty.

    Two questions each, asked of whichever method did best on the validation part: does text find more than
    collaborative filtering (of cold items: than chance), and does the language model find more than cheap
    text? ``cold_fraction``: of the interactions in a test by time, those with items that training never
    saw.

    Raises:
        InputError: ``matters`` is not a fraction between 0 and 1.
    """
    if not 0 < matters < 1:
        raise InputError(f"matters={matters!r}: expected a fraction between 0 and 1, such as 0.05")
    of_all = _questions(warm, COLLABORATIVE)
    asked = of_all + _questions(cold, CHANCE)
    tests = [evaluation.compare(results[left].test, results[right].test) for results, left, right in asked]
    corrected = evaluation.holm([t.p_value for t in tests])
    answers = []
    for (results, left, right), test, p in zip(asked, tests, corrected, strict=True):
        a, b = results[left].test, results[right].test
        found, baseline, users = a.mean()["ndcg"], b.mean()["ndcg"], len(a.users)
        decision = decide(found, baseline, test, float(p), users, matters)
        answers.append(Answer(decision, left, right, found, baseline, test, float(p), users, matters, a.k))
    of_warm, of_cold = _state(warm, answers[: len(of_all)]), _state(cold, answers[len(of_all) :])
    headline = _headline(warm, cold, encoder, of_warm, of_cold)
    advice = _advice(warm, cold, of_warm, of_cold, cold_fraction)
    return Conclusion(headline, advice, answers, of_warm, of_cold, cold_fraction)


def takeaways(found: Conclusion, crossing: str, sample: bool = False) -> list[str]:
    """What to take from a run, one sentence or two each: the headline, the advice, ``crossing``, and every
    test.

    ``sample``: the run was on the invented sample, which is said first.
    """
    invented = "This run was on the sample, which is invented: it proves nothing about other catalogues."
    opening = [invented] if sample else []
    return [*opening, f"{found.headline}.", *found.advice, f"{crossing}.", *map(str, found.answers)]


def crossing(
    tests: Mapping[str, tuple[Comparison, float]], text: str, filtering: str, untested: Sequence[str] = ()
) -> str:
    """Where text alone finds more than collaborative filtering, in words.

    tests: by slice of the items, ``text`` less ``filtering`` and its p, corrected by Holm; untested: slices
    with too few users.
    """
    left_out = f"; not tested for {', '.join(untested)}: too few users" if untested else ""
    if not tests:
        if untested:
            return f"No slice of the items has enough users to compare text alone with {filtering}"
        return f"There is no text alone to compare with {filtering}"
    says: dict[str, list[str]] = {"more": [], "less": [], "open": []}
    for label, (c, p) in tests.items():
        decided = p < SIGNIFICANCE and not c.low <= 0 <= c.high
        says[("more" if c.difference > 0 else "less") if decided else "open"].append(label)
    parts = [
        f"{words} where an item has {', '.join(says[kind])} interactions"
        for kind, words in (("more", "more"), ("less", "less"), ("open", "neither more nor less for sure"))
        if says[kind]
    ]
    return (
        f"Text alone ({text}) finds, against {filtering}, {'; '.join(parts)} (paired tests, Holm, "
        f"p < {SIGNIFICANCE:g}{left_out})"
    )


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
    warm: Mapping[str, Result], cold: Mapping[str, Result], encoder: str, of_warm: str, of_cold: str
) -> str:
    if not best(warm, LANGUAGE) and not best(cold, LANGUAGE):
        return f"{encoder or 'A language model'} has nothing to encode here: the items have no text"
    first, second = best(warm, CHEAP), best(cold, CHEAP)
    all_items = {
        "model": "yes for the catalogue as a whole",
        "cheap": f"not for the catalogue as a whole, where {first} is as good",
        "either": f"text helps in the catalogue as a whole, and {first} may be enough",
        "none": "not for the catalogue as a whole, where collaborative filtering is enough",
        "unclear": "open for the catalogue as a whole",
        "untested": "not tested for the catalogue as a whole",
    }[of_warm]
    new = {
        "model": "yes for cold items",
        "cheap": f"not for cold items, where {second} is as good",
        "either": f"text helps for cold items, and {second} may be enough",
        "none": "not for cold items, where no text beats chance",
        "unclear": "open for cold items",
        "untested": "not tested for cold items",
    }[of_cold]
    return f"Is {encoder or 'a language model'} worth it here? {all_items[0].upper()}{all_items[1:]}; {new}"


def _advice(
    warm: Mapping[str, Result],
    cold: Mapping[str, Result],
    of_warm: str,
    of_cold: str,
    cold_fraction: float | None,
) -> list[str]:
    """What to do, one sentence each."""
    filtering, cheap, model = best(warm, COLLABORATIVE), best(warm, CHEAP), best(warm, LANGUAGE)
    first = {
        "model": f"Recommend with {model}: it finds more than any cheaper method.",
        "cheap": f"Recommend with {cheap}: the language model adds no gain that you said would matter.",
        "either": f"Start with {cheap}; test {model} again with more users: the difference is open.",
        "none": f"Recommend with {filtering}: item texts add no gain that you said would matter.",
        "unclear": f"Recommend with {filtering} for now: a gain by text is neither shown nor ruled out.",
        "untested": f"Recommend with {filtering}." if filtering else "Nothing could be evaluated.",
    }[of_warm]
    by_model, by_cheap = best(cold, LANGUAGE), best(cold, CHEAP)
    second = {
        "model": f"Rank cold items by {by_model} until they have interactions.",
        "cheap": f"Rank cold items by {by_cheap} until they have interactions.",
        "either": f"Rank cold items by {by_cheap}; whether {by_model} does better is open.",
        "none": "Show cold items to a few users at random first: text does not say who will choose them.",
        "unclear": "This data does not show whether text ranks cold items better than chance.",
        "untested": "There are too few items, or no text, to test how cold items would be ranked.",
    }[of_cold]
    if cold_fraction is None or of_cold == "untested":
        return [first, second]
    size = "rare here" if cold_fraction < 0.02 else "a large part" if cold_fraction > 0.1 else "a small part"
    return [
        first,
        second,
        f"Cold items were {cold_fraction:.1%} of what users chose in the test period: {size}.",
    ]
