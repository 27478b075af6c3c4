"""What the command line shows: tables that name failures, a figure of a sweep, a site that needs no network."""

import re
from html.parser import HTMLParser

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from PIL import Image

from recsys_lib import assets, experiments, report
from recsys_lib.errors import InputError
from recsys_lib.experiments import Run


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
    assert report.sweep_summary(RUNS, ["k"], "deep.ndcg", tmp_path).splitlines()[1].split() == ["1", "0.5", "1.5"]
    for metric in ("nothing", "name", "list"):
        with pytest.raises(InputError, match=rf"metric '{metric}' is no number of the table: it has recall, deep.ndcg"):
            report.sweep_summary(RUNS, ["k"], metric, tmp_path)


def test_a_sweep_of_which_nothing_finished_or_nothing_is_measured(tmp_path):
    lines = report.sweep_summary(RUNS[1:3], ["k"], None, tmp_path).splitlines()
    assert [line.partition(" ")[0] for line in lines] == ["manifest", "FAILED", "FAILED"]
    assert report.sweep_summary([run(1)], ["k"], None, tmp_path).splitlines()[0].split() == ["k", "seconds"]


def test_a_run_without_the_metric_is_left_out_of_the_figure(tmp_path):
    runs = [RUNS[0], run(5, metrics={"other": 1.0})]
    assert "Highest" not in report.sweep_summary(runs, ["k"], "recall", tmp_path)
    assert (tmp_path / "table.png").exists()


class Links(HTMLParser):
    """What a page loads and leads to."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attributes):
        self.found += [v for k, v in attributes if k in ("src", "href") and v and not v.startswith(("#", "data:"))]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    assert re.match(r"\d+ notebooks rendered: open .*index.html", report.site(folder))
    return folder


def test_the_site_needs_no_network_and_its_links_lead_somewhere(site):
    pages = sorted(site.glob("*.html"))
    assert len(pages) == len(experiments.numbered_notebooks()) + 2
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert not re.search(r"import\([\"']|cdnjs|jsdelivr|unpkg", text), page.name
        links = Links()
        links.feed(text)
        inside = [link for link in links.found if not link.startswith("http")]
        assert [link for link in inside if not (site / link.partition("#")[0]).exists()] == [], page.name
        assert not re.search(r"<(script|img|link)[^>]*(src|href)=[\"']https?:", text), page.name


def test_formulas_diagrams_and_links_of_a_page():
    cells = [
        new_markdown_cell(
            "# A title\n$a_b$ and [next](01_cosine_similarity.ipynb)\n\n```mermaid\ngraph LR\nA --> B\n```"
        ),
        new_code_cell("x = 1"),
    ]
    page = report.notebook_page(new_notebook(cells=cells), "99_page")
    assert '"inlineMath": ' in page.replace("inlineMath:", '"inlineMath": ') and '["\\\\(", "\\\\)"]' in page
    assert '<script src="mathjax.js">' in page and '<script src="mermaid.js">' in page
    assert '<pre class="mermaid">' in page and "const mermaid = window.mermaid;" in page
    assert 'href="01_cosine_similarity.html"' in page


def test_the_site_without_its_scripts_names_the_command(tmp_path, monkeypatch):
    monkeypatch.setenv("RECSYS_CACHE", str(tmp_path / "cache"))
    with pytest.raises(InputError, match="asset 'mathjax' is not in the cache: run python -m recsys_lib fetch mathjax"):
        report.site(tmp_path / "site")
    assert not (tmp_path / "site").exists()


def test_scripts_are_what_their_makers_published():
    for name in report.SCRIPTS:
        text = (assets.locate(name) / f"{name}.js").read_text(encoding="utf-8")
        assert {"mathjax": "3.2.2", "mermaid": "11.16.0"}[name] in text


def test_an_executed_notebook_is_preferred(tmp_path, monkeypatch):
    monkeypatch.setattr(experiments, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(experiments, "NOTEBOOKS", tmp_path / "notebooks")
    for folder, title in (("notebooks", "As committed"), ("runs", "As executed")):
        (tmp_path / folder).mkdir()
        nbformat.write(new_notebook(cells=[new_markdown_cell(f"# {title} <1>")]), tmp_path / folder / "07_x.ipynb")
    report.site(tmp_path / "site")
    assert ">As executed &lt;1&gt;</a>" in (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
