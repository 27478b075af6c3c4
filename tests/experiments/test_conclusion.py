"""Every branch of the answer, from differences that are known."""

import numpy as np
import pytest

from recsys_lib import evaluation
from recsys_lib.core.errors import InputError
from recsys_lib.evaluation import Comparison, Evaluation
from recsys_lib.experiments.own_catalogue import conclusion
from recsys_lib.experiments.own_catalogue.compare_methods import Result
from recsys_lib.experiments.own_catalogue.sources import CHANCE, CHEAP, COLLABORATIVE, LANGUAGE

rng = np.random.default_rng(0)


def result(kind, values, validation=None):
    """A result whose users have these NDCG values, and on the validation part their mean unless given."""
    values = np.asarray(values, dtype=float)
    test = Evaluation(
        10, np.arange(len(values)), {"ndcg": values}, np.empty((len(values), 0), dtype=np.int64)
    )
    mean = float(values.mean()) if validation is None else validation
    return Result(kind, mean, test)


def around(mean, n=400, spread=0.02, seed=0):
    return mean + spread * np.random.default_rng(seed).standard_normal(n)


def field(filtering, cheap, language, **options):
    """Overall results with these means; None leaves a kind out."""
    kinds = {
        "EASE": (COLLABORATIVE, filtering),
        "EASE + tf-idf": (CHEAP, cheap),
        "EASE + minilm": (LANGUAGE, language),
    }
    return {
        n: result(kind, around(mean, seed=i, **options))
        for i, (n, (kind, mean)) in enumerate(kinds.items())
        if mean is not None
    }


def cold(chance, cheap, language, **options):
    kinds = {"chance": (CHANCE, chance), "tf-idf": (CHEAP, cheap), "minilm": (LANGUAGE, language)}
    return {
        n: result(kind, around(mean, seed=i, **options))
        for i, (n, (kind, mean)) in enumerate(kinds.items())
        if mean is not None
    }


# ---------------------------------------------------------------- one test


@pytest.mark.parametrize(
    ("difference", "low", "high", "p", "decision"),
    [
        (0.02, 0.012, 0.028, 0.001, "yes"),
        (0.02, 0.012, 0.028, 0.2, "unclear"),  # other tests weaken it
        (0.02, -0.001, 0.041, 0.001, "unclear"),  # the two tests disagree
        (0.005, 0.001, 0.009, 0.001, "small"),
        (0.009, 0.004, 0.014, 0.001, "small"),  # may be as large as matters, but the mean is not
        (0.0, -0.004, 0.004, 1.0, "no"),
        (-0.05, -0.06, -0.04, 1e-9, "no"),
        (0.0, -0.02, 0.02, 1.0, "unclear"),
        (0.0101, 0.002, 0.018, 0.04, "yes"),  # just what matters: 5% of 0.2
    ],
)
def test_decisions(difference, low, high, p, decision):
    c = Comparison("ndcg", difference, low, high, p)
    assert conclusion.decide(0.2 + difference, 0.2, c, p, 100, 0.05) == decision
    assert conclusion.decide(0.2 + difference, 0.2, c, p, 29, 0.05) == "too few"


def test_decisions_without_a_hit():
    flat = Comparison("ndcg", 0.0, 0.0, 0.0, 1.0)
    assert conclusion.decide(0.0, 0.0, flat, 1.0, 100, 0.05) == "nothing"
    assert conclusion.decide(0.2, 0.2, flat, 1.0, 100, 0.05) == "no"  # everything identical
    gain = Comparison("ndcg", 0.1, 0.05, 0.15, 0.001)
    assert (
        conclusion.decide(0.1, 0.0, gain, 0.001, 100, 0.05) == "yes"
    )  # against a baseline that found nothing


def test_a_fraction_of_almost_nothing_is_not_a_gain_that_matters():
    assert conclusion.threshold(0.2, 0.05) == pytest.approx(0.01)
    assert conclusion.threshold(0.0, 0.05) == conclusion.threshold(0.01, 0.05) == 0.001


def answer(decision="unclear", low=-0.02, high=0.04, baseline=0.2, users=100, difference=0.01):
    c = Comparison("ndcg", difference, low, high, 0.3)
    return conclusion.Answer(decision, "A", "B", baseline + difference, baseline, c, 0.3, users, 0.05, 10)


def test_how_many_users_would_tell():
    # Half the interval is 0.03, three times the difference of 0.01, which also matters: nine times the users.
    assert answer().needed == 900
    assert answer(users=101).needed == 910  # two digits, rounded up
    assert answer(low=0.01, high=0.01).needed == 0
    assert answer(users=123_456, low=-0.02, high=0.04).needed == 1_200_000
    assert answer(difference=0.0, low=-0.03, high=0.03).needed == 900  # to rule out 0.01
    assert answer(difference=0.005, low=-0.025, high=0.035).needed == 3_600  # half way takes longest
    assert answer(difference=-0.02, low=-0.05, high=0.01).needed == 100
    assert str(answer(low=0.001, high=0.011)).endswith(
        "). More users would decide it."
    )  # only the correction keeps it open


def test_answers_in_words():
    assert str(answer()) == (
        "100 users leave open if A finds 5% more than B: NDCG@10 0.210 against 0.200, +5.0% "
        "(95% interval -10.0% to +20.0%, p = 0.300). About 900 users would decide it."
    )
    assert "+0.5% (95% interval -10.0% to +20.0%" in str(answer(difference=0.001))
    assert str(answer("no")).startswith("A does not find 5% more than B: NDCG@10 0.210 against 0.200, +5.0%")
    assert str(answer("yes")).startswith("A finds more than B: ")
    assert str(answer("small")).startswith("A finds more than B, but less than the 5% that would matter: ")
    assert (
        str(answer("too few", users=7))
        == "7 test users are too few to compare A and B: expected at least 30."
    )
    assert str(answer("nothing")) == "Neither A nor B found anything that 100 users chose later."
    assert "+0.010 (95% interval -0.020 to +0.040, p = 0.300)" in str(
        answer(baseline=0.0)
    )  # no fraction of nothing


# ---------------------------------------------------------------- the whole


@pytest.mark.parametrize(
    ("warm", "new", "of_warm", "of_cold"),
    [
        (field(0.20, 0.21, 0.25), cold(0.1, 0.2, 0.3), "model", "model"),
        (field(0.20, 0.25, 0.25), cold(0.1, 0.3, 0.3), "cheap", "cheap"),
        (field(0.20, 0.30, 0.25), cold(0.1, 0.3, 0.2), "cheap", "cheap"),  # cheap text is better
        (field(0.20, 0.20, 0.20), cold(0.1, 0.1, 0.1), "none", "none"),
        (field(0.20, 0.20, 0.205), cold(0.1, 0.08, 0.09), "none", "none"),
        (field(0.20, 0.24, 0.25, spread=0.15), cold(0.1, 0.29, 0.3, spread=0.2), "either", "either"),
        (field(0.20, 0.20, 0.20, spread=0.5), cold(0.1, 0.1, 0.1, spread=0.5), "unclear", "unclear"),
        (
            field(0.20, 0.21, 0.25, n=20),
            cold(0.1, 0.2, 0.3, n=1),
            "unclear",
            "unclear",
        ),  # too few users, one user
        (field(0.20, None, 0.25), cold(0.1, None, 0.3), "model", "model"),  # no cheaper text to compare with
        (field(0.20, 0.25, None), cold(0.1, 0.3, None), "cheap", "cheap"),  # labels, but nothing to read
        (field(0.20, None, None), {}, "untested", "untested"),  # no text at all
        (
            field(0.00, 0.0, 0.0, spread=0),
            cold(0.0, 0.0, 0.0, spread=0),
            "unclear",
            "unclear",
        ),  # nobody found anything
        (
            field(0.00, 0.2, 0.3, spread=0.02),
            {},
            "model",
            "untested",
        ),  # all test items cold
    ],
)
def test_verdicts(warm, new, of_warm, of_cold):
    found = conclusion.conclude(warm, new, "minilm")
    assert (found.warm, found.cold) == (of_warm, of_cold)
    assert len(found.advice) == 2
    assert len(found.answers) == sum(max(0, len(results) - 1) for results in (warm, new))
    for text in (found.headline, *found.advice, *map(str, found.answers)):
        assert "\n" not in text and "None" not in text and "nan" not in text


def test_the_words_say_what_was_found():
    def words(warm, new):
        found = conclusion.conclude(warm, new, "minilm")
        return found.headline, *found.advice

    assert words(field(0.2, 0.2, 0.2), cold(0.1, 0.3, 0.3)) == (
        "Is minilm worth it here? Not for the catalogue as a whole, where collaborative filtering is enough; "
        "not for cold items, where tf-idf is as good",
        "Recommend with EASE: item texts add no gain that you said would matter.",
        "Rank cold items by tf-idf until they have interactions.",
    )
    assert words(field(0.2, 0.21, 0.25), cold(0.1, 0.2, 0.3)) == (
        "Is minilm worth it here? Yes for the catalogue as a whole; yes for cold items",
        "Recommend with EASE + minilm: it finds more than any cheaper method.",
        "Rank cold items by minilm until they have interactions.",
    )
    assert words(field(0.2, None, None), {})[0] == "minilm has nothing to encode here: the items have no text"
    assert words({}, {})[1] == "Nothing could be evaluated."


def test_what_decides_is_the_validation_part_not_the_test():
    warm = field(0.2, 0.2, 0.2)
    warm["minilm, raw"] = result(LANGUAGE, around(0.5), validation=0.1)  # lucky on the test
    found = conclusion.conclude(warm, {}, "minilm")
    assert found.warm == "none"
    assert "minilm, raw" not in {name for a in found.answers for name in (a.left, a.right)}
    warm["minilm, raw"] = result(LANGUAGE, around(0.5), validation=0.9)
    assert conclusion.conclude(warm, {}, "minilm").warm == "model"


def test_p_values_are_corrected_together():
    warm, new = field(0.2, 0.2, 0.25), cold(0.1, 0.2, 0.3)
    found = conclusion.conclude(warm, new, "minilm")
    pairs = [(warm, "EASE + minilm", "EASE"), (warm, "EASE + minilm", "EASE + tf-idf"),
             (new, "minilm", "chance"), (new, "minilm", "tf-idf")]  # fmt: skip
    raw = [evaluation.compare(of[a].test, of[b].test).p_value for of, a, b in pairs]
    assert [a.p for a in found.answers] == pytest.approx(evaluation.holm(raw).tolist())


@pytest.mark.parametrize(
    ("share", "words"), [(0.005, "rare here"), (0.05, "small part"), (0.4, "large part")]
)
def test_the_fraction_of_cold_items_is_told(share, words):
    found = conclusion.conclude(field(0.2, 0.2, 0.2), cold(0.1, 0.3, 0.3), "minilm", cold_fraction=share)
    assert words in found.advice[-1] and f"{share:.1%}" in found.advice[-1]


def less_filtering(difference, p):
    return Comparison("ndcg", difference, difference - 0.01, difference + 0.01, p), p


@pytest.mark.parametrize(
    ("tests", "few", "words"),
    [
        (
            {
                "0": less_filtering(0.1, 0.001),
                "1–5": less_filtering(0.005, 0.2),
                "over 5": less_filtering(-0.1, 0.001),
            },
            [],
            "Text alone (minilm) finds, against EASE, more where an item has 0 interactions; less where an "
            "item has over 5 interactions; neither more nor less for sure where an item has 1–5 interactions "
            "(paired tests, Holm, p < 0.05)",
        ),
        (
            {"1–5": less_filtering(0.1, 0.06)},  # the correction keeps it open
            ["0"],
            "Text alone (minilm) finds, against EASE, neither more nor less for sure where an item has 1–5 "
            "interactions (paired tests, Holm, p < 0.05; not tested for 0: too few users)",
        ),
        (
            {"0": less_filtering(0.1, 0.01), "1–5": less_filtering(0.1, 0.01)},
            [],
            "Text alone (minilm) finds, against EASE, more where an item has 0, 1–5 interactions "
            "(paired tests, Holm, p < 0.05)",
        ),
        ({}, ["0"], "No slice of the items has enough users to compare text alone with EASE"),
        ({}, [], "There is no text alone to compare with EASE"),
    ],
)
def test_where_text_finds_more(tests, few, words):
    assert conclusion.crossing(tests, "minilm", "EASE", few) == words


@pytest.mark.parametrize("matters", [0.0, 1.0, -0.1, 5, float("nan")])
def test_what_matters_is_a_fraction(matters):
    with pytest.raises(InputError, match="expected a fraction between 0 and 1"):
        conclusion.conclude({}, {}, "minilm", matters)


def test_a_larger_threshold_turns_a_gain_into_a_small_one():
    warm = field(0.2, None, 0.22)
    assert conclusion.conclude(warm, {}, "minilm", 0.05).warm == "model"
    assert conclusion.conclude(warm, {}, "minilm", 0.3).warm == "none"


# ---------------------------------------------------------------- takeaways


def test_takeaways_are_those_of_the_run():
    warm, new = field(0.2, 0.2, 0.25), cold(0.1, 0.3, 0.3)
    found = conclusion.conclude(warm, new, "minilm")
    lines = conclusion.takeaways(found, "Text alone finds more than EASE nowhere")
    assert lines[0] == f"{found.headline}." and "Text alone finds more than EASE nowhere." in lines
    assert lines[-len(found.answers) :] == [str(answer) for answer in found.answers]
    assert "NDCG@10 0.2" in lines[-len(found.answers)] and not any("sample" in line for line in lines)
    assert "invented" in conclusion.takeaways(found, "Nowhere", sample=True)[0]
