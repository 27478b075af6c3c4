"""A notebook as the body of a page: harmless Markdown, foldable code, described figures and diagrams,
scrollable tables.
"""

from __future__ import annotations

import ast
import html
import re
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recsys_lib.core import paths
from recsys_lib.reporting import figures, plots

if TYPE_CHECKING:
    from nbconvert import HTMLExporter

# What the Markdown of a notebook may become; all else, scripts above all, is shown as text.
TAGS = {
    "a", "blockquote", "br", "code", "dd", "del", "details", "div", "dl", "dt", "em", "h1", "h2", "h3",
    "h4", "h5", "h6", "hr", "img", "kbd", "li", "ol", "p", "pre", "s", "small", "span", "strong", "sub",
    "summary", "sup", "table", "tbody", "td", "th", "thead", "tr", "ul",
}  # fmt: skip
ATTRIBUTES = {
    "*": ["class", "id", "align", "aria-hidden", "title", "style"],
    "a": ["href"],
    "img": ["src", "alt", "width", "height"],
}
# A code cell's input in nbconvert's "basic" template; inside its <pre> there are only <span>s.
INPUT = re.compile(
    r'<div class="input">\s*<div class="prompt input_prompt">.*?</div>\s*<div class="inner_cell">\s*'
    r'<div class="input_area">\s*(<div class="highlight[^>]*><pre>.*?</pre></div>)\s*</div>\s*</div>'
    r"\s*</div>",
    re.S,
)
# A tag, code or a formula, which stay as they are; or a dollar. As in Pandoc, a formula neither begins nor
# ends with a space, and no digit follows it: "$5 a month ($6 before)" has none.
DOLLAR = re.compile(
    r"<code.*?</code>|<pre.*?</pre>|<[^>]*>|\$\$.*?\$\$|\$(?![\s$])[^$<]*(?<!\s)\$(?!\d)|(\$)", re.S
)
PROMPT = re.compile(r'<div class="prompt (?:in|out)put_prompt">.*?</div>', re.S)


@lru_cache
def exporter_class() -> type[HTMLExporter]:
    """nbconvert's exporter, whose Markdown keeps only harmless tags."""
    import bleach
    from bleach.css_sanitizer import CSSSanitizer
    from jinja2 import pass_context
    from nbconvert import HTMLExporter

    protocols = {*bleach.ALLOWED_PROTOCOLS, "data"}
    cleaner = bleach.Cleaner(
        tags=TAGS, attributes=ATTRIBUTES, protocols=protocols, css_sanitizer=CSSSanitizer()
    )

    class Exporter(HTMLExporter):
        @pass_context
        def markdown2html(self, context, source):
            return _with_dollars(cleaner.clean(super().markdown2html(context, source)))

    return Exporter


def _with_dollars(text: str) -> str:
    """HTML in which every dollar that opens no formula stands in an element of its own, where MathJax does
    not pair it with the next one.

    >>> _with_dollars("<p>$65 a month ($5 less) for $n$ items</p>")
    '<p><span>$</span>65 a month (<span>$</span>5 less) for $n$ items</p>'
    """
    return DOLLAR.sub(lambda found: f"<span>{found[1]}</span>" if found[1] else found[0], text)


def title_of(notebook: Any, name: str) -> str:
    """The first heading of a notebook, or its name."""
    heading = re.search(r"^# (.+)$", notebook.cells[0].source, re.M)
    return heading[1] if heading else name


def notebook_page(notebook: Any) -> str:
    """A notebook as HTML for ``layout.notebook``; links to notebooks lead to their pages."""
    body, _ = exporter_class()(template_name="basic").from_notebook_node(notebook)
    body = re.sub(r'href="(\d\d_\w+)\.ipynb', r'href="\1.html', body)
    # What lies elsewhere in the repository is named, not linked: the site may be read without it.
    body = re.sub(r'<a href="\.\./([^"]+)">(.*?)</a>', r'<span title="\1 in the repository">\2</span>', body)
    body = INPUT.sub(r'<details class="code" open><summary>Code</summary>\1</details>', body)
    body = re.sub(r"<style scoped.*?</style>", "", PROMPT.sub("", body), flags=re.S)
    body = body.replace('<a class="anchor-link"', '<a class="anchor-link" aria-label="Link to this section"')
    return _with_diagram_titles(with_table_roles(_with_descriptions(body, notebook)))


def with_table_roles(body: str) -> str:
    """Header cells with their scope, and every table inside a region that scrolls and can be reached by
    keys.
    """

    def marked(found: re.Match[str]) -> str:
        head, closed, rows = found[0].partition("</thead>")
        if not closed:
            head, rows = "", found[0]
        head = re.sub(r"<th(?=[ >])(?![^>]*scope)", '<th scope="col"', head)
        rows = re.sub(r"<th(?=[ >])(?![^>]*scope)", '<th scope="row"', rows)
        return f'<div class="wide" role="region" aria-label="Table" tabindex="0">{head}{closed}{rows}</div>'

    return re.sub(r"<table.*?</table>", marked, body, flags=re.S)


def _with_descriptions(body: str, notebook: Any) -> str:
    """The body with the title of each figure, as its file in ``figures/`` holds it, for readers who do not
    see the figure.
    """
    titles = []
    for cell in (c for c in notebook.cells if c.cell_type == "code"):
        title = _title_of_cell(cell.source)
        titles += [title for output in cell.outputs if "image/png" in output.get("data", {})]
    following = iter(titles)
    return re.sub(
        'alt="No description has been provided for this image"',
        lambda _: f'alt="{html.escape(next(following, "A figure"))}" loading="lazy"',
        body,
    )


def figures_of(source: str) -> list[str]:
    """Names of the figures that a cell of code saves: those in it, else those that the functions of
    ``reporting.figures`` give which it calls.

    >>> figures_of('figures.gain(table, margin, k)'), figures_of('figures.gain(all, margin, k, "04_all")')
    (['04_gain'], ['04_all'])
    """
    saved_by = _figures_of_functions()
    named = re.findall(r"\"(\d\d_\w+)\"", source)
    return named or [saved_by[name] for name in re.findall(r"(\w+)\(", source) if name in saved_by]


def _title_of_cell(source: str) -> str:
    """The title of the first figure that a cell saves."""
    for stem in figures_of(source):
        path = paths.ROOT / "figures" / f"{stem}.png"
        if path.exists():
            return plots.figure_title(path)
    return "A figure"


@lru_cache(maxsize=1)
def _figures_of_functions() -> dict[str, str]:
    """Function of ``reporting.figures`` → the name under which it saves its figure, where that is fixed.

    Raises:
        ValueError: two modules have a function of one name: a cell that calls it does not say which.
    """
    found: dict[str, str] = {}
    for path in sorted(Path(figures.__file__).parent.glob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef):
                texts = [n.value for n in ast.walk(node) if isinstance(n, ast.Constant)]
                names = [t for t in texts if isinstance(t, str) and re.fullmatch(r"\d\d_\w+", t)]
                if names and found.setdefault(node.name, names[0]) != names[0]:
                    raise ValueError(f"{node.name} saves both {found[node.name]} and {names[0]}: rename one")
    return found


def _with_diagram_titles(body: str) -> str:
    """Every mermaid diagram with a title that is read aloud: its own, or the heading above it."""

    def titled(found: re.Match[str]) -> str:
        lines = found[2].strip("\n").split("\n")
        if not any(line.strip().startswith("accTitle") for line in lines):
            heading = re.findall(r"<h[1-4][^>]*>(.*?)<a ", body[: found.start()], re.S)
            name = re.sub(r"<[^>]+>", "", heading[-1]) if heading else "this page"
            lines.insert(1, f"accTitle: Diagram: {name}")
        return found[1] + "\n".join(["", *lines, ""]) + found[3]

    return re.sub(r'(<pre class="mermaid">)(.*?)(</pre>)', titled, body, flags=re.S)
