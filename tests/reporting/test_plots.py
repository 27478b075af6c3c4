"""Figures carry their finding: in the picture, in the file and on the index page."""

import matplotlib as mpl
import pandas as pd
import pytest
from PIL import Image

from recsys_lib.core.errors import InputError
from recsys_lib.reporting import plots

mpl.use("agg")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("RECSYS_FIGURES", str(tmp_path / "figures"))
    yield tmp_path / "figures"
    mpl.pyplot.close("all")


def test_save_writes_the_title_into_the_file_and_the_index(folder):
    fig, (ax,) = plots.figure()
    plots.lines(ax, [1, 2, 4], {"a": [1, 2, 3], "b": [3, 2, 1]}, log="x")
    plots.finish(ax, "Fewer bits,\nsame ranking", x="bits", y="NDCG@10")
    path = plots.save(fig, "09_bits")
    with Image.open(path) as image:
        assert image.info["Title"] == "Fewer bits, same ranking"
    assert [p.name for p in folder.iterdir()] == ["09_bits.png"]
    index = plots.write_index(folder).read_text(encoding="utf-8")
    assert "## Fewer bits, same ranking" in index
    assert "(09_bits.png)" in index


def test_the_title_of_panels_is_that_of_each(folder):
    fig, axes = plots.figure(columns=3)
    for ax, title in zip(axes, ("Raw: a cone", "Centred: around zero", "Raw: a cone"), strict=True):
        plots.finish(ax, title)
    with Image.open(plots.save(fig, "panels")) as image:
        assert image.info["Title"] == "Raw: a cone; Centred: around zero"
    fig.suptitle("One for all")
    with Image.open(plots.save(fig, "panels")) as image:
        assert image.info["Title"] == "One for all"


def test_the_same_figure_is_the_same_file(folder):
    saved = []
    for _ in range(2):
        fig, (ax,) = plots.figure()
        plots.bars(ax, ["α", "b"], [0.2, 0.1], errors=[0.01, 0.02])
        plots.finish(ax, "α leads", x="recall")
        saved.append(plots.save(fig, "same").read_bytes())
    assert saved[0] == saved[1]


def test_a_figure_without_a_finding_is_refused(folder):
    fig, (ax,) = plots.figure()
    with pytest.raises(InputError, match="has no title"):
        plots.save(fig, "mute")
    with pytest.raises(InputError, match="what was found"):
        plots.finish(ax, " ")
    assert not folder.exists()


def test_bars_with_negative_and_with_no_values():
    _, (ax,) = plots.figure()
    plots.bars(ax, ["a", "b"], [-0.5, 0.25])
    assert ax.get_xlim()[0] < -0.5
    _, (ax,) = plots.figure()
    plots.bars(ax, [], [])


def test_dots_stand_in_the_order_of_the_table_one_marker_a_column(folder):
    _fig, (ax,) = plots.figure()
    plots.dots(ax, pd.DataFrame({"full": [0.4, 0.1], "sampled": [0.5, 0.3]}, index=["EASE", "text"]))
    assert [label.get_text() for label in ax.get_yticklabels()] == ["EASE", "text"]
    assert ax.yaxis_inverted()
    assert [c.get_offsets().tolist() for c in ax.collections] == [[[0.4, 0], [0.1, 1]], [[0.5, 0], [0.3, 1]]]
    assert [c.get_label() for c in ax.collections] == ["full", "sampled"]
