"""The home page, which gives the answer, and the page of all figures."""

from __future__ import annotations

import base64
import html
import io
import re
from pathlib import Path
from typing import Any

from recsys_lib.core import paths
from recsys_lib.reporting import claims as ledger
from recsys_lib.reporting import plots, readme
from recsys_lib.reporting.site.rendering import with_table_roles

THUMBNAIL = (480, 300)


def home(notebooks: dict[str, Any], titles: dict[str, str]) -> str:
    """Question, answer with its figure and table, and where to go."""
    lead = (
        '<p class="lead">For my catalogue, is a language model worth its hardware, and which '
        "model, precision and machine "
        "should I run? Real models, real data, every number computed by the notebook that shows it.</p>"
    )
    counted = f'<p>The article that this began with, tested: <a href="ledger.html">{ledger.count()}</a>.</p>'
    where = f'<h2 id="where">Where to go</h2>{_cards(notebooks, titles)}'
    return f'{lead}<h2 id="answer">The answer</h2>{answer()}{counted}{where}'


def answer() -> str:
    """The README's answer: its sentences, its figure and its table."""
    from nbconvert.filters.markdown_mistune import markdown2html_mistune

    figure = paths.ROOT / "figures" / readme.FIGURE
    shown = _figure(figure, caption=False) if figure.exists() else ""
    text = f"{readme.statements()}\n\n{readme.answer()}"
    text = re.sub(r"\]\((?:\.\./)?(?:notebooks/)?(\d\d_\w+)\.ipynb\)", r"](\1.html)", text)
    return shown + with_table_roles(markdown2html_mistune(text))


def _cards(notebooks: dict[str, Any], titles: dict[str, str]) -> str:
    cards = [
        '<li class="first"><a href="explorer.html"><b>What would it cost you?</b>'
        "<small>The explorer: your traffic, your "
        "prices, every deployment option, and which of them pays.</small></a></li>"
    ]
    for name, notebook in notebooks.items():
        question = re.search(
            r"\*\*You will know at the end\*\*,? (.+?)(?:\n\n|$)", notebook.cells[0].source, re.S
        )
        words = f"<small>You will know {html.escape(_without_marks(question[1]))}</small>" if question else ""
        cards.append(
            f'<li><a href="{name}.html">{_thumbnail(name)}<b>{html.escape(titles[name])}</b>{words}</a></li>'
        )
    return f'<ul class="cards">{"".join(cards)}</ul>'


def _without_marks(text: str) -> str:
    """Markdown as plain words."""
    return re.sub(r"\[([^\]]+)\]\([^)]*\)|[*`$]", lambda m: m[1] or "", " ".join(text.split()))


def _thumbnail(name: str) -> str:
    """The first figure of a notebook, small; its card's words describe it."""
    from PIL import Image

    own = sorted((paths.ROOT / "figures").glob(f"{name[:2]}_*.png"))
    if not own:
        return ""
    with Image.open(own[0]) as image:
        small = image.convert("RGB")
    small.thumbnail(THUMBNAIL)
    buffer = io.BytesIO()
    small.quantize(64).save(buffer, "PNG", optimize=True)
    data = base64.b64encode(buffer.getvalue()).decode()
    size = f'width="{small.width}" height="{small.height}"'
    return f'<img alt="" {size} loading="lazy" src="data:image/png;base64,{data}">'


def figures(titles: dict[str, str]) -> str:
    """All figures, each under its finding and with a link to its notebook."""
    shown = []
    for path in sorted((paths.ROOT / "figures").glob("*.png")):
        name = next((n for n in titles if n[:2] == path.stem[:2]), "")
        link = f'<p class="source"><a href="{name}.html">{html.escape(titles[name])}</a></p>' if name else ""
        shown.append(_figure(path, link))
    return "".join(shown)


def _figure(path: Path, below: str = "", caption: bool = True) -> str:
    """A figure inside the page, under the title that its file holds."""
    from PIL import Image

    title = html.escape(plots.figure_title(path))
    with Image.open(path) as image:
        width, height = image.size
    data = base64.b64encode(path.read_bytes()).decode()
    said = f"<figcaption>{title}</figcaption>" if caption else ""
    return (
        f'<figure id="{path.stem}">{said}<img alt="{title}" '
        f'width="{width}" height="{height}" '
        f'loading="lazy" src="data:image/png;base64,{data}">{below}</figure>'
    )
