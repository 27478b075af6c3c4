"""The table, the figure and the sentences of the study of generation."""

import pytest

from recsys_lib.reporting import plots
from recsys_lib.reporting.figures import generation


def _row(ndcg, less, low, high):
    return {"ndcg": ndcg, "recall": ndcg, "hit_rate": ndcg, "less EASE": less, "low": low, "high": high}


@pytest.fixture
def records():
    counted = dict.fromkeys(generation.COUNTED, 0.0)
    titles = {
        "found": {
            "EASE": _row(0.4, 0, 0, 0), "neighbours": _row(0.1, -0.3, -0.4, -0.2),
            "free, probability": _row(0.0, -0.4, -0.5, -0.3),
            "trie, probability": _row(0.05, -0.35, -0.4, -0.2),
        },
        "counts": {
            "free, probability": counted | {"invented per 100": 61.0}, "trie, probability": counted,
        },
    }  # fmt: skip
    ranked = {"EASE": _row(0.07, 0, 0, 0), "TIGER": _row(0.08, 0.01, 0.002, 0.02)}
    following = {"found": ranked, "parameters": {"TIGER": {"epochs": 40}}}
    return [
        {"parameters": {"part": "titles"}, "metrics": titles},
        {"parameters": {"part": "next item"}, "metrics": following},
    ]


def test_takeaways_name_inventions_and_the_order_of_methods(records):
    written, ids = generation.takeaways(records)
    assert "61 to 61 are no item" in written
    assert "0 under the trie" in written
    assert "TIGER 0.080, EASE 0.070" in ids
    assert ids.endswith("trained for 40 epochs, is above EASE (+0.010, interval +0.002 to +0.020).")


def test_a_record_without_a_part_has_fewer_sentences(records):
    assert len(generation.takeaways(records[1:])) == 1
    assert generation.takeaways([]) == []


def test_titles_of_panels_say_who_is_better(records):
    _, axes = plots.figure(columns=2, width=9, height=3)
    generation.beside_ease(axes, generation.parts(records))
    first, second = (" ".join(ax.get_title(loc="left").split()) for ax in axes)
    assert "0 better than EASE, 3 worse" in first
    assert "1 better than EASE, 0 worse" in second
