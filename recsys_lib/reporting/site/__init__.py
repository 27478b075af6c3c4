"""The static site: every notebook as executed, all figures, the ledger of claims, the explorer, and a search
over all of it.

Nothing of it needs a network or a server: formulas and diagrams are drawn by pinned scripts, and the search
index is a script too.

Jupyter Book and Quarto were considered: both render notebooks well, but neither puts the explorer, the claims
and the glossary into one search index that works from a disk, and each is a second tool chain to install and
pin.
"""

from __future__ import annotations

import base64
import html
import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

from recsys_lib.core import paths
from recsys_lib.core.files import write_atomically
from recsys_lib.data import assets
from recsys_lib.experiments.notebooks import numbered_notebooks, read_notebook, without_widgets
from recsys_lib.reporting import claims as ledger
from recsys_lib.reporting import explorer, glossary

if TYPE_CHECKING:
    from nbconvert import HTMLExporter

FOLDER = Path(__file__).resolve().parent
TITLE = "Recommenders built on language models, and the hardware they cost"
SCRIPTS = ("mathjax", "mermaid")
SCRIPTS_HEAD = """<script>
window.MathJax = {tex: {inlineMath: [["$", "$"], ["\\\\(", "\\\\)"]], processEscapes: true}};
</script>
<script src="mermaid.js"></script>
<link rel="stylesheet" href="site.css">
<style>
.jp-InputArea-editor{overflow-x:auto!important}
:target{scroll-margin-top:4rem}
@media(max-width:46rem){
.jp-InputPrompt,.jp-OutputPrompt{display:none!important}
.jp-OutputArea-output{overflow-x:auto}
}
</style>"""
# Pages beside the notebooks, in the order of the navigation.
PAGES = {
    "explorer.html": "Explorer",
    "ledger.html": "The article's claims",
    "figures.html": "Figures",
    "glossary.html": "Glossary",
}
# The figure that answers the question of the README.
ANSWER = "16_verdict.png"


def build(folder: Path, runs: bool = False) -> str:
    """Write the site into ``folder`` and say in one line what it holds.

    Notebooks are shown as committed. With ``runs`` those that ``run`` executed to their end are shown as
    executed there, under a banner that says so.

    Raises:
        InputError: the scripts that draw formulas and diagrams were not fetched.
    """
    committed = numbered_notebooks()
    scripts = {name: assets.locate(name) / f"{name}.js" for name in SCRIPTS}
    notebooks = {
        path.stem: _executed(path) if runs else without_widgets(read_notebook(path)) for path in committed
    }
    titles = {name: _title(notebook, name) for name, notebook in notebooks.items()}
    for source in scripts.values():
        write_atomically(folder / source.name, source.read_text(encoding="utf-8"))
    for name, target in {"style.css": "site.css", "search.js": "search.js"}.items():
        write_atomically(folder / target, (FOLDER / name).read_text(encoding="utf-8"))
    pages = {
        f"{name}.html": _in_site(notebook_page(nb, name), name, titles) for name, nb in notebooks.items()
    }
    pages["index.html"] = _plain("index.html", TITLE, _home(notebooks, titles), titles)
    pages["ledger.html"] = _plain("ledger.html", PAGES["ledger.html"], ledger.table_html(), titles)
    pages["figures.html"] = _plain("figures.html", "Figures", _figures(), titles)
    pages["glossary.html"] = _plain("glossary.html", "Glossary", glossary.table_html(), titles)
    back = '<nav class="back"><a href="index.html">All notebooks</a></nav>'
    pages["explorer.html"] = explorer.page(back)
    for name, text in pages.items():
        write_atomically(folder / name, text)
    found = [
        section for name, text in pages.items() if name != "explorer.html" for section in sections(name, text)
    ]
    found.append(
        [
            "explorer.html",
            "",
            "Explorer",
            "",
            "What would it cost you? Traffic, prices, latency, energy, break-even points",
        ]
    )
    index = json.dumps(found, ensure_ascii=False, separators=(",", ":")).replace("</", "<\\/")
    write_atomically(folder / "search-index.js", f"window.SEARCH_INDEX = {index};\n")
    return (
        f"{len(committed)} notebooks rendered, {len(found)} sections searchable: open "
        f"{os.path.relpath(folder / 'index.html')}"
    )


def _executed(path: Path):
    """The last run of a notebook, with a banner, if it reached its end; else the committed one."""
    run = paths.RUNS / path.name
    if run.exists():
        notebook = read_notebook(run)
        # papermill heads a run that failed with a cell of this tag.
        if not any("papermill-error-cell-tag" in cell.metadata.get("tags", []) for cell in notebook.cells):
            return _with_banner(without_widgets(notebook))
    return without_widgets(read_notebook(path))


def _with_banner(notebook):
    """Say below the title that this is a run on this machine, not the committed notebook."""
    banner = (
        "\n\n> **This is your own run of the notebook**, not the committed one: its data, numbers and "
        "conclusions are yours."
    )
    notebook.cells[0].source += banner
    return notebook


def _title(notebook, name: str) -> str:
    heading = re.search(r"^# (.+)$", notebook.cells[0].source, re.M)
    return heading[1] if heading else name


# ---------------------------------------------------------------- pages


# What the Markdown of a notebook may become; everything else, scripts above all, is shown as text.
TAGS = {
    "a", "blockquote", "br", "code", "dd", "del", "details", "div", "dl", "dt", "em", "h1", "h2", "h3", "h4",
    "h5", "h6", "hr", "img",
    "kbd", "li", "ol", "p", "pre", "s", "small", "span", "strong", "sub", "summary", "sup", "table", "tbody",
    "td", "th", "thead", "tr", "ul",
}  # fmt: skip
ATTRIBUTES = {
    "*": ["class", "id", "align", "aria-hidden", "title"],
    "a": ["href"],
    "img": ["src", "alt", "width", "height"],
}


def exporter_class() -> type[HTMLExporter]:
    """nbconvert's exporter, whose Markdown keeps only harmless tags."""
    import bleach
    from bleach.css_sanitizer import CSSSanitizer
    from jinja2 import pass_context
    from nbconvert import HTMLExporter

    cleaner = bleach.Cleaner(
        tags=TAGS,
        attributes=ATTRIBUTES | {"*": [*ATTRIBUTES["*"], "style"]},
        protocols={*bleach.ALLOWED_PROTOCOLS, "data"},
        css_sanitizer=CSSSanitizer(),
    )

    class Exporter(HTMLExporter):
        @pass_context
        def markdown2html(self, context, source):
            return cleaner.clean(super().markdown2html(context, source))

    return Exporter


def notebook_page(notebook, name: str) -> str:
    """A notebook as an HTML page beside ``mathjax.js`` and ``mermaid.js``;
    links to notebooks lead to their pages.
    """
    exporter = exporter_class()(
        mathjax_url="mathjax.js", mermaid_js_url="mermaid.js", mermaid_layout_elk_js_url=""
    )
    page, _ = exporter.from_notebook_node(notebook, resources={"metadata": {"name": name}})
    page = re.sub(r'href="(\d\d_\w+)\.ipynb', r'href="\1.html', page)
    # What lies elsewhere in the repository is named, not linked: the site may be read without it.
    page = re.sub(r'<a href="\.\./([^"]+)">(.*?)</a>', r'<span title="\1 in the repository">\2</span>', page)
    # The template imports mermaid as a module, which browsers refuse to pages read from a disk; and it loads
    # require.js for widgets, of which there are none.
    page = page.replace('(await import("mermaid.js")).default', "window.mermaid")
    page = page.replace(f'<script src="{exporter.require_js_url}"></script>', SCRIPTS_HEAD)
    return _with_descriptions(page, notebook)


def _with_descriptions(page: str, notebook) -> str:
    """The page with the title of each figure, as its file in ``figures/`` holds it,
    for readers who do not see the figure.
    """
    titles = []
    for cell in (c for c in notebook.cells if c.cell_type == "code"):
        saved = re.search(r"plots\.save\(\w+, \"(\w+)\"\)", cell.source)
        path = paths.ROOT / "figures" / f"{saved[1]}.png" if saved else None
        title = _figure_title(path) if path and path.exists() else "A figure"
        titles += [title for output in cell.outputs if "image/png" in output.get("data", {})]
    following = iter(titles)
    return re.sub(
        'alt="No description has been provided for this image"',
        lambda _: f'alt="{html.escape(next(following, "A figure"))}"',
        page,
    )


def _figure_title(path: Path) -> str:
    from PIL import Image

    with Image.open(path) as image:
        return str(image.info.get("Title", path.stem))


def _in_site(page: str, name: str, titles: dict[str, str]) -> str:
    """The notebook's page with the navigation above it and its neighbours below."""
    names = list(titles)
    at = names.index(name)
    before = (
        f'<a href="{names[at - 1]}.html" rel="prev">← {html.escape(titles[names[at - 1]])}</a>'
        if at
        else "<span></span>"
    )
    last = at + 1 == len(names)
    after = (
        ""
        if last
        else f'<a href="{names[at + 1]}.html" rel="next">{html.escape(titles[names[at + 1]])} →</a>'
    )
    page = re.sub(r"(<body[^>]*>)", lambda m: m[1] + _bar(f"{name}.html", titles), page, count=1)
    page = page.replace("<main>", '<main id="content">', 1)
    page = re.sub(r"<title>.*?</title>", f"<title>{html.escape(titles[name])}</title>", page, count=1)
    foot = f'<nav class="site-foot" aria-label="Next and previous notebook">{before}{after}</nav>'
    return page.replace("</body>", f'{foot}<script src="search.js"></script></body>', 1)


def _bar(current: str, titles: dict[str, str]) -> str:
    def link(page: str, text: str) -> str:
        here = ' aria-current="page"' if page == current else ""
        return f'<a href="{page}"{here}>{html.escape(text)}</a>'

    menu = "".join(f"<li>{link(f'{name}.html', title)}</li>" for name, title in titles.items())
    pages = "".join(link(page, text) for page, text in PAGES.items())
    return (
        '<a class="site-skip" href="#content">Skip to the content</a>'
        '<nav class="site-bar" aria-label="Site"><a class="home" href="index.html">Recommenders and their '
        "hardware</a>"
        f'<details><summary>Notebooks</summary><ul class="menu">{menu}</ul></details>{pages}'
        '<div class="search" role="search"><input type="search" placeholder="Search ( / )" '
        'aria-label="Search all pages" '
        'autocomplete="off" spellcheck="false"><ul class="results" aria-label="Results"></ul>'
        '<span role="status" style="position:absolute;left:-99rem"></span></div></nav>'
    )


def _plain(name: str, title: str, body: str, titles: dict[str, str]) -> str:
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)}</title><link rel="stylesheet" href="site.css"></head>
<body class="plain">{_bar(name, titles)}<main id="content"><h1>{html.escape(title)}</h1>{body}</main>
<script src="search.js"></script></body></html>
"""


def _home(notebooks: dict, titles: dict[str, str]) -> str:
    cards = [
        '<li class="first"><a href="explorer.html"><b>What would it cost you?</b><small>The explorer: your '
        "traffic, your prices, "
        "seventeen ways to recommend, and which of them pays.</small></a></li>"
    ]
    for name, notebook in notebooks.items():
        question = re.search(
            r"\*\*You will know at the end\*\*,? (.+?)(?:\n\n|$)", notebook.cells[0].source, re.S
        )
        words = f"<small>You will know {html.escape(_without_marks(question[1]))}</small>" if question else ""
        cards.append(f'<li><a href="{name}.html"><b>{html.escape(titles[name])}</b>{words}</a></li>')
    lead = (
        '<p class="lead">For my catalogue, is a language model worth its hardware, and which model, '
        "precision and machine "
        "should I run? Real models, real data, every number recomputed by the notebook that shows it.</p>"
    )
    figure = paths.ROOT / "figures" / ANSWER
    shown = _figure(figure) if figure.exists() else ""
    return f'{lead}{shown}<h2>Where to go</h2><ul class="cards">{"".join(cards)}</ul>'


def _without_marks(text: str) -> str:
    """Markdown as plain words."""
    return re.sub(r"\[([^\]]+)\]\([^)]*\)|[*`$]", lambda m: m[1] or "", " ".join(text.split()))


def _figures() -> str:
    return "".join(_figure(path) for path in sorted((paths.ROOT / "figures").glob("*.png")))


def _figure(path: Path) -> str:
    """A figure inside the page, under the title that its file holds."""
    from PIL import Image

    title = html.escape(_figure_title(path))
    with Image.open(path) as image:
        width, height = image.size
    data = base64.b64encode(path.read_bytes()).decode()
    return (
        f'<figure id="{path.stem}"><figcaption>{title}</figcaption><img alt="{title}" width="{width}" '
        f'height="{height}" '
        f'loading="lazy" src="data:image/png;base64,{data}"></figure>'
    )


# ---------------------------------------------------------------- search


class _Sections(HTMLParser):
    """The text of a page under each of its headings: ``[anchor, heading, words]``;
    scripts, styles and the navigation left out.
    """

    HEADINGS = ("h1", "h2", "h3", "figcaption")
    SILENT = ("script", "style", "nav", "svg", "head", "button")

    def __init__(self) -> None:
        super().__init__()
        self.found: list[list[str]] = [["", "", ""]]
        self.silent = 0
        self.heading = False
        self.figure = ""

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        own = dict(attributes)
        if tag in self.SILENT:
            self.silent += 1
        elif tag == "figure":
            self.figure = own.get("id") or ""
        elif tag in self.HEADINGS and not self.silent:
            self.heading = True
            self.found.append([self.figure if tag == "figcaption" else own.get("id") or "", "", ""])

    def handle_endtag(self, tag: str) -> None:
        if tag in self.SILENT and self.silent:
            self.silent -= 1
        elif tag in self.HEADINGS:
            self.heading = False
        elif tag in ("p", "li", "td", "th", "div", "pre"):
            self.found[-1][2] += " "

    def handle_data(self, data: str) -> None:
        if not self.silent:
            self.found[-1][1 if self.heading else 2] += data


def sections(page: str, text: str) -> list[list[str]]:
    """What search finds in a page: ``[page, anchor, title of the page, heading, words]`` for every heading
    with something under it.
    """
    parser = _Sections()
    parser.feed(text)
    title = re.search(r"<title>(.*?)</title>", text, re.S)
    name = html.unescape(title[1]) if title else page
    rows = []
    for anchor, heading, words in parser.found:
        heading, words = (" ".join(part.replace("¶", " ").split()) for part in (heading, words))
        if heading or words:
            rows.append([page, anchor, name, "" if heading == name else heading, words])
    return rows
