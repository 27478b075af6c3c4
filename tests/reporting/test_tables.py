"""What the command line shows: tables that name failures, a figure of a sweep."""

import pytest
from PIL import Image

from recsys_lib.core.errors import InputError
from recsys_lib.experiments.runs import Run
from recsys_lib.reporting import tables as report


def run(k, status="finished", metrics=None, **more):
    return Run(f"id{k}", "03_ranking", {"k": k, "encoder": "e5"}, status, 1.5, metrics or {}, **more)


RUNS = [
    run(1, metrics={"name": "a", "recall": 0.25, "deep": {"ndcg": 0.5}, "list": [1, 2]}),
    run(2, "failed", cell=3, error="ValueError: no"),
    run(3, "failed", error="the run's process ended early: killed"),
    run(4, metrics={"name": "b", "recall": 0.5, "deep": {"ndcg": 0.25}}),
]


def test_a_run_in_one_line_and_in_the_table():
    assert report.run_line(RUNS[0]) == "03_ranking: finished in 2 s"
    assert report.run_line(RUNS[1]) == "03_ranking: FAILED at cell [3]: ValueError: no"
    table = report.run_table(RUNS[:2]).splitlines()
    assert table[1].split() == ["notebook", "seconds", "headline", "metrics"]
    assert table[2].endswith("name a, recall 0.25, deep.ndcg 0.5")
    assert table[3].endswith("failed")


def test_a_sweep_in_words(tmp_path):
    text = report.sweep_summary(RUNS, ["k"], None, tmp_path).splitlines()
    assert text[0].split() == ["k", "recall", "seconds"]  # the first metric that is a number
    assert text[-2:] == [
        "FAILED k=2, encoder=e5 at cell [3]: ValueError: no",
        "FAILED k=3, encoder=e5 at no cell: the run's process ended early: killed",
    ]
    with Image.open(tmp_path / "table.png") as image:
        assert image.width > 300
    assert report.sweep_summary(RUNS, ["k"], "deep.ndcg", tmp_path).splitlines()[1].split() == [
        "1",
        "0.5",
        "1.5",
    ]
    for metric in ("nothing", "name", "list"):
        with pytest.raises(
            InputError, match=rf"metric '{metric}' is no number of the table: it has recall, deep.ndcg"
        ):
            report.sweep_summary(RUNS, ["k"], metric, tmp_path)


def test_a_sweep_of_which_nothing_finished_or_nothing_is_measured(tmp_path):
    lines = report.sweep_summary(RUNS[1:3], ["k"], None, tmp_path).splitlines()
    assert [line.partition(" ")[0] for line in lines] == ["manifest", "FAILED", "FAILED"]
    assert report.sweep_summary([run(1)], ["k"], None, tmp_path).splitlines()[0].split() == ["k", "seconds"]


def test_a_run_without_the_metric_is_left_out_of_the_figure(tmp_path):
    runs = [RUNS[0], run(5, metrics={"other": 1.0})]
    assert "Highest" not in report.sweep_summary(runs, ["k"], "recall", tmp_path)
    assert (tmp_path / "table.png").exists()
