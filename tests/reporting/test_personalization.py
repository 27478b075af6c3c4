"""Gains by group in words: what changes, in which direction, and what is not shown to."""

from recsys_lib.reporting import plots
from recsys_lib.reporting.figures import personalization


def row(groups, gain, difference, low, high, p, same=None):
    mean = [
        {"gain": 0.1, "low": 0.05, "high": 0.15, "users": 3, "relative": 1.5},
        {"gain": 0.1 + difference, "low": 0.1, "high": 0.3, "users": 4, "relative": 0.5},
    ]
    return {"groups": groups, "gain": gain, "mean": mean, "last less first": difference, "low": low,
            "high": high, "Holm p": p, "Holm p, same length": same}  # fmt: skip


GAINS = [
    row(kind, gain, *values)
    for gain in personalization.SHOWN
    for kind, values in {
        "history length": (0.12, 0.1, 0.14, 0.001),
        "mainstream": (0.02, -0.01, 0.05, 0.01, 0.02),
        "gender": (0.03, 0.01, 0.05, 0.2, 0.4),
    }.items()
]
KINDS = ("history length", "mainstream", "gender")
METRICS = {
    "gains": [*GAINS, row("gender", "EASE + MiniLM over EASE", 0.0, -0.1, 0.1, 1.0, 1.0)],
    "groups": {
        kind: {"a": {"users": 3}, "b": {"users": 4}} for kind in ("history length", "mainstream", "gender")
    },
    "text and loss": {"part": 0.01, "part low": 0.002, "part high": 0.02},
}


def test_a_change_is_named_by_its_direction_and_the_rest_is_not_shown():
    assert personalization.title(METRICS) == (
        "EASE's gain over popularity changes with history length +0.12 and mainstream up and down "
        "(last group less first),\nand is not shown to with gender"
    )
    assert personalization.differences(METRICS)["gender"] == {
        "difference": 0.03,
        "low": 0.01,
        "high": 0.05,
        "p": 0.2,
    }
    said = personalization.sentence({"ml-100k": METRICS})
    assert "among users of like history length with mainstream;" in said
    assert "+150% for the shortest histories and +50% for the longest" in said
    assert "costs +1.0% of the own NDCG (+0.2% to +2.0%) more; MiniLM's gain over EASE is not shown" in said


def test_the_table_and_the_panels_follow_the_kinds_that_are_asked():
    table = personalization.table({"articles": METRICS})
    one = table.loc[("articles", personalization.OVER_ALL, "mainstream")]
    assert (
        one["last less first"] == 0.02
        and one["Holm p"] == "0.010"
        and one[personalization.SAME_LENGTH] == "0.020"
    )
    _, axes = plots.figure(2)
    personalization.panels(axes, METRICS, ["gender", "history length"])
    drawn = [[float(dots.get_offsets()[1, 0]) for dots in ax.collections[1::2]] for ax in axes]
    assert drawn == [[0.13, 0.13], [0.22, 0.22]]
