"""What every page has: head, navigation, contents, neighbours, and only the scripts that it needs."""

from __future__ import annotations

import html
import re

TITLE = "Recommenders built on language models, and the hardware they cost"
# Pages beside the notebooks, in the order of the navigation.
PAGES = {
    "explorer.html": "Explorer",
    "ledger.html": "The article's claims",
    "figures.html": "Figures",
    "glossary.html": "Glossary",
}
ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32'%3E%3Crect width='32' "
    "height='32' rx='7' "
    "fill='%230072B2'/%3E%3Cpath d='M7 24V8M7 24h18M11 20l5-7 4 4 5-8' stroke='%23fff' stroke-width='2.6' "
    "fill='none'/%3E%3C/svg%3E"
)
MATH = """<script>window.MathJax = {tex: {inlineMath: [["$", "$"], ["\\\\(", "\\\\)"]], processEscapes: true},
options: {skipHtmlTags: ["script", "noscript", "style", "textarea", "pre", "code"]}};</script>
<script src="mathjax.js" defer></script>"""
DIAGRAMS = """<script src="mermaid.js"></script>
<script>mermaid.initialize({startOnLoad: true, securityLevel: "strict",
theme: matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "neutral"});</script>"""


def plain(name: str, title: str, body: str, titles: dict[str, str]) -> str:
    """A page that is not a notebook."""
    main = f'<main id="content" class="plain"><h1>{html.escape(title)}</h1>{body}</main>'
    return _page(name, title, main, titles)


def notebook(body: str, name: str, titles: dict[str, str]) -> str:
    """A notebook's page: its contents and tools beside it, its neighbours below."""
    names = list(titles)
    at = names.index(name)
    before = _link(names[at - 1], "prev", f"← {titles[names[at - 1]]}") if at else "<span></span>"
    after = _link(names[at + 1], "next", f"{titles[names[at + 1]]} →") if at + 1 < len(names) else ""
    main = (
        f'<div class="columns">{_contents(body, name)}<main id="content" class="notebook">{body}'
        f'<nav class="site-foot" aria-label="Next and previous notebook">{before}{after}</nav></main></div>'
    )
    return _page(f"{name}.html", titles[name], main, titles)


def _link(name: str, relation: str, text: str) -> str:
    return f'<a href="{name}.html" rel="{relation}">{html.escape(text)}</a>'


def _contents(body: str, name: str) -> str:
    """Links to a notebook's sections, the button that folds its code, and the notebook's file."""
    found = re.findall(r'<h2 id="([^"]+)">(.*?)<a class="anchor-link"', body, re.S)
    links = "".join(
        f'<li><a href="#{anchor}">{re.sub("<[^>]+>", "", text)}</a></li>' for anchor, text in found
    )
    return (
        '<aside class="contents"><details open><summary>On this page</summary>'
        f'<nav aria-label="On this page"><ol>{links}</ol></nav></details><p class="tools">'
        '<button type="button" id="fold" aria-pressed="false">Hide code</button> '
        f'<a href="{name}.ipynb" download>Download the notebook</a></p></aside>'
    )


def _page(name: str, title: str, main: str, titles: dict[str, str]) -> str:
    # Formulas stand in notebooks only; elsewhere a dollar is a dollar, as it is in an element of its own.
    other = r"<pre.*?</pre>|<code.*?</code>|<span>\$</span>"
    prose = re.sub(other, "", main, flags=re.S) if 'class="notebook"' in main else ""
    needed = MATH if re.search(r"\$[^$\n]+\$|\$\$", prose) else ""
    drawn = DIAGRAMS if 'class="mermaid"' in main else ""
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><title>{html.escape(title)}</title>
<link rel="icon" href="{ICON}"><link rel="stylesheet" href="site.css">{needed}</head>
<body>{_bar(name, titles)}{main}
<script src="site.js"></script><script src="search.js"></script>{drawn}</body></html>
"""


def _bar(current: str, titles: dict[str, str]) -> str:
    def link(page: str, text: str) -> str:
        here = ' aria-current="page"' if page == current else ""
        return f'<a href="{page}"{here}>{html.escape(text)}</a>'

    menu = "".join(f"<li>{link(f'{name}.html', title)}</li>" for name, title in titles.items())
    pages = "".join(link(page, text) for page, text in PAGES.items())
    return (
        '<a class="site-skip" href="#content">Skip to the content</a>'
        '<nav class="site-bar" aria-label="Site">'
        '<a class="home" href="index.html">Recommenders and their hardware</a>'
        f'<details class="notebooks"><summary>Notebooks</summary>'
        f'<ul class="menu">{menu}</ul></details>{pages}'
        '<div class="search" role="search"><input type="search" placeholder="Search ( / )" '
        'aria-label="Search all pages" '
        'autocomplete="off" spellcheck="false"><ul class="results" aria-label="Results"></ul>'
        '<span role="status" class="unseen"></span></div></nav>'
    )
