"""The static site: complete, without a network, searchable;
and the explorer's page in a real browser, to the last digit.
"""

import json
import re
from html.parser import HTMLParser

import nbformat
import pytest
from browser import built_site, needs_browser, rendered
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from recsys_lib.core import paths
from recsys_lib.core.errors import InputError
from recsys_lib.data import assets
from recsys_lib.experiments import notebooks
from recsys_lib.reporting import site
from recsys_lib.reporting.site import layout

# Minutes in all: `make check` leaves them out, `make test` runs them.
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder():
    return built_site()


class Links(HTMLParser):
    """What a page loads and leads to, and the ids it has."""

    def __init__(self):
        super().__init__()
        self.found, self.ids = [], set()

    def handle_starttag(self, tag, attributes):
        self.found += [v for k, v in attributes if k in ("src", "href") and v and not v.startswith("data:")]
        self.ids |= {v for k, v in attributes if k == "id"}


def test_the_site_needs_no_network_and_its_links_lead_somewhere(folder):
    pages = {page.name: page.read_text(encoding="utf-8") for page in folder.glob("*.html")}
    # The letters of an encoded picture spell a host's name now and then.
    pages = {name: re.sub(r"base64,[A-Za-z0-9+/=\s]+", "base64,", text) for name, text in pages.items()}
    assert len(pages) == len(notebooks.numbered_notebooks()) + 5
    links = {}
    for name, text in pages.items():
        links[name] = Links()
        links[name].feed(text)
        assert not re.search(r"import\([\"']|cdnjs|jsdelivr|unpkg", text), name
        assert not re.search(r"<(script|img|link)[^>]*(src|href)=[\"']https?:", text), name
    for name, found in links.items():
        for target in found.found:
            if re.match(r"[a-z]+:", target):
                continue
            file, _, _ = target.partition("#")
            assert not file or (folder / file).exists(), f"{name} leads to {target}"


def test_every_page_of_a_notebook_has_its_navigation(folder):
    names = [p.stem for p in notebooks.numbered_notebooks()]
    for number, name in enumerate(names):
        text = (folder / f"{name}.html").read_text(encoding="utf-8")
        assert 'class="site-bar"' in text and f'href="{name}.html" aria-current="page"' in text
        assert text.count('rel="prev"') == (number > 0) and text.count('rel="next"') == (
            number < len(names) - 1
        )
        assert '<html lang="en">' in text and "viewport" in text


def test_search_finds_sections_by_their_anchors(folder):
    index = (folder / "search-index.js").read_text(encoding="utf-8")
    rows = json.loads(
        index.removeprefix("window.SEARCH_INDEX = ").rstrip().removesuffix(";").replace("<\\/", "</")
    )
    pages = {name: (folder / name).read_text(encoding="utf-8") for name in {row[0] for row in rows}}
    assert len(rows) > 60 and all(len(row) == 5 for row in rows)
    for page, anchor, _, _, _ in rows:
        assert not anchor or f'id="{anchor}"' in pages[page], f"{page}#{anchor}"
    takeaways = [row for row in rows if row[3] == "Takeaways"]
    assert len(takeaways) == len(notebooks.numbered_notebooks())
    assert not any("function(" in row[4] for row in rows), "a script was taken for text"


def test_sections_of_a_page():
    page = """<html><head><title>A &amp; B</title><style>p {}</style></head><body><nav>menu</nav>
      <h1 id="top">A &amp; B¶</h1>
      <p>first</p><p>second</p><script>var x;</script><h2 id="more">More<a>¶</a></h2>
      <details class="code"><summary>Code</summary><pre>k = 1<br></pre></details><p>where $k$ counts</p>
      <figure id="f"><figcaption>Seen</figcaption></figure></body></html>"""
    assert site.sections("p.html", page) == [
        ["p.html", "top", "A & B", "", "first second"],
        ["p.html", "more", "A & B", "More", "where counts"],
        ["p.html", "f", "A & B", "Seen", ""],
    ]


def test_formulas_diagrams_and_links_of_a_page():
    cells = [
        new_markdown_cell(
            "# A title\n$a_b$ and [next](01_cosine_similarity.ipynb), "
            "[code](../recsys_lib/site/__init__.py)\n\n```mermaid\ngraph LR\nA --> B\n```"
        ),
        new_code_cell("x = 1"),
    ]
    titles = {"99_page": "A title"}
    page = layout.notebook(site.notebook_page(new_notebook(cells=cells)), "99_page", titles)
    assert 'inlineMath: [["$", "$"]' in page and '["\\\\(", "\\\\)"]' in page
    assert '<script src="mathjax.js" defer>' in page and '<script src="mermaid.js">' in page
    assert "accTitle: Diagram: A title" in page
    assert 'href="01_cosine_similarity.html"' in page
    assert '<span title="recsys_lib/site/__init__.py in the repository">code</span>' in page
    # Scripts are loaded only where they draw something, and a price is no formula.
    bare = new_notebook(cells=[new_markdown_cell("# Bare"), new_code_cell("cost = '$5 and $6'")])
    page = layout.notebook(site.notebook_page(bare), "99_page", titles)
    assert "mathjax.js" not in page and "mermaid.js" not in page
    assert "mathjax.js" not in layout.plain("x.html", "X", "<p>$5 and $6</p>", titles)
    priced = new_output("display_data", data={"text/markdown": "about $65 a month ($5.0 a list)"})
    cells = [new_markdown_cell("# Priced"), new_code_cell("x", outputs=[priced])]
    page = layout.notebook(site.notebook_page(new_notebook(cells=cells)), "99_page", titles)
    assert "about <span>$</span>65 a month (<span>$</span>5.0 a list)" in page and "mathjax.js" not in page
    cells[0].source = "# Both\nof $10^{-5}$ and $5"
    page = layout.notebook(site.notebook_page(new_notebook(cells=cells)), "99_page", titles)
    assert "of $10^{-5}$ and <span>$</span>5" in page and "mathjax.js" in page


def test_a_notebooks_page_has_contents_folded_code_and_a_download(folder):
    page = (folder / "03_ranking.html").read_text(encoding="utf-8")
    anchors = re.findall(r'<li><a href="#([^"]+)">', page)
    assert len(anchors) > 5 and all(f'<h2 id="{anchor}">' in page for anchor in anchors)
    assert page.count('<details class="code" open>') > 10 and 'class="input"' not in page
    assert '<a href="03_ranking.ipynb" download>' in page
    saved = nbformat.read(folder / "03_ranking.ipynb", as_version=4)
    assert len(saved.cells) == len(nbformat.read(paths.NOTEBOOKS / "03_ranking.ipynb", as_version=4).cells)


def test_tables_have_roles(folder):
    for name in ("03_ranking.html", "ledger.html", "glossary.html", "index.html"):
        page = (folder / name).read_text(encoding="utf-8")
        assert "<table" in page
        assert not re.findall(r"<th(?=[ >])(?![^>]*scope)", page), name
    page = (folder / "03_ranking.html").read_text(encoding="utf-8")
    assert page.count('role="region" aria-label="Table" tabindex="0"') == page.count("<table")


def test_the_home_page_says_the_answer_and_its_pictures_lead_to_notebooks(folder):
    page = (folder / "index.html").read_text(encoding="utf-8")
    answer = page[page.index('id="answer"') : page.index('id="where"')]
    assert "<table" in answer and "<figure" in answer and "$" in answer
    assert "<strong>Cold items</strong> need content" in answer and 'href="16_cost_benefit.html"' in answer
    cards = re.findall(r'<li><a href="(\d\d_\w+)\.html">(<img)?', page[page.index('id="where"') :])
    assert len(cards) == len(notebooks.numbered_notebooks()) and sum(bool(image) for _, image in cards) > 5
    figures = (folder / "figures.html").read_text(encoding="utf-8")
    assert figures.count('<p class="source"><a href=') == figures.count("<figure")


def test_figures_are_described_for_readers_who_do_not_see_them(folder):
    page = (folder / "05_cold_start.html").read_text(encoding="utf-8")
    alts = re.findall(r'<img[^>]*alt="([^"]*)"', page)
    assert len(alts) > 3 and not any("No description" in alt or alt == "A figure" for alt in alts)


def test_the_site_without_its_scripts_names_the_command(tmp_path, monkeypatch):
    monkeypatch.setenv("RECSYS_CACHE", str(tmp_path / "cache"))
    with pytest.raises(
        InputError, match="asset 'mathjax' is not in the cache: run python -m recsys_lib fetch mathjax"
    ):
        site.build(tmp_path / "site")
    assert not (tmp_path / "site").exists()


def test_scripts_are_what_their_makers_published():
    for name in site.SCRIPTS:
        text = (assets.locate(name) / f"{name}.js").read_text(encoding="utf-8")
        assert {"mathjax": "3.2.2", "mermaid": "11.16.0"}[name] in text


def test_runs_are_shown_only_when_asked_for_and_with_a_banner(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(paths, "NOTEBOOKS", tmp_path / "notebooks")
    data = {
        "application/vnd.jupyter.widget-view+json": {"model_id": "dead"},
        "text/html": "<p>the answer</p>",
    }
    for where, title in (("notebooks", "As committed"), ("runs", "As executed")):
        (tmp_path / where).mkdir()
        cells = [
            new_markdown_cell(f"# {title} <1>"),
            new_code_cell("x", outputs=[new_output("display_data", data=data)]),
        ]
        nbformat.write(new_notebook(cells=cells), tmp_path / where / "09_x.ipynb")
    site.build(tmp_path / "site")
    assert "<b>As committed &lt;1&gt;</b>" in (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    site.build(tmp_path / "site", runs=True)
    assert "<b>As executed &lt;1&gt;</b>" in (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    page = (tmp_path / "site" / "09_x.html").read_text(encoding="utf-8")
    assert "the answer" in page and "dead" not in page and "your own run of the notebook" in page
    failed = nbformat.read(tmp_path / "runs" / "09_x.ipynb", as_version=4)
    failed.cells.insert(
        0, new_markdown_cell("An Exception was encountered", metadata={"tags": ["papermill-error-cell-tag"]})
    )
    nbformat.write(failed, tmp_path / "runs" / "09_x.ipynb")
    site.build(tmp_path / "site", runs=True)
    assert "<b>As committed &lt;1&gt;</b>" in (tmp_path / "site" / "index.html").read_text(encoding="utf-8")


def test_scripts_in_markdown_are_shown_not_run():
    cells = [
        new_markdown_cell(
            "# T\n<script>alert(1)</script> <img src=x onerror=alert(2)> and $a < b$\n\n| a |\n|---|\n| 1 |"
        )
    ]
    body = site.notebook_page(new_notebook(cells=cells))
    assert "<script>alert" not in body and "onerror" not in body
    assert "<table" in body and "a &lt; b" in body


# --- In a real browser


@needs_browser
def test_formulas_and_diagrams_are_drawn_offline(folder, tmp_path):
    page = rendered(f"file://{folder}/01_cosine_similarity.html", tmp_path, 20_000)
    assert "mjx-container" in page or "MathJax_SVG" in page or 'class="MathJax' in page


@needs_browser
def test_search_answers_offline(folder, tmp_path):
    page = rendered(f"file://{folder}/index.html?q=popularity%20prior", tmp_path)
    results = re.search(r'<ul class="results"[^>]*>(.*?)</ul>', page, re.S)[1]
    assert results.count("<li>") >= 1 and "<mark>" in results and re.search(r'href="\d\d_\w+\.html', results)
    nothing = rendered(f"file://{folder}/figures.html?q=xylophone", tmp_path)
    assert "Nothing has all of: xylophone" in nothing
