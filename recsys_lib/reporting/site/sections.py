"""The search index: the words of a page under each of its headings, without code and formulas."""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser

SILENT = ("script", "style", "nav", "aside", "svg", "head", "button", "select", "option")
HEADINGS = ("h1", "h2", "h3", "figcaption")
VOID = ("br", "hr", "img", "input", "link", "meta", "source", "wbr", "col")


class _Sections(HTMLParser):
    """``found``: lists of anchor, heading, words."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[list[str]] = [["", "", ""]]
        self.silent: list[str] = []
        self.heading = False
        self.figure = ""

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        own = dict(attributes)
        if tag in VOID:
            return
        # Code and diagrams are not prose; once inside, every tag is counted until it closes.
        if self.silent or tag in SILENT or own.get("class") in ("code", "mermaid"):
            self.silent.append(tag)
        elif tag == "figure":
            self.figure = own.get("id") or ""
        elif tag in HEADINGS:
            self.heading = True
            self.found.append([self.figure if tag == "figcaption" else own.get("id") or "", "", ""])

    def handle_endtag(self, tag: str) -> None:
        if self.silent:
            # An unclosed <p> or <li> inside ends with its parent.
            if tag in self.silent:
                while self.silent.pop() != tag:
                    pass
        elif tag in HEADINGS:
            self.heading = False
        elif tag in ("p", "li", "td", "th", "div", "pre"):
            self.found[-1][2] += " "

    def handle_data(self, data: str) -> None:
        if not self.silent:
            self.found[-1][1 if self.heading else 2] += data


def sections(page: str, text: str) -> list[list[str]]:
    """What search finds in a page: ``[page, anchor, title of the page, heading, words]`` for every heading
    with words.
    """
    parser = _Sections()
    parser.feed(text)
    title = re.search(r"<title>(.*?)</title>", text, re.S)
    name = html.unescape(title[1]) if title else page
    rows = []
    for anchor, heading, words in parser.found:
        heading, words = (" ".join(_prose(part).split()) for part in (heading, words))
        if heading or words:
            rows.append([page, anchor, name, "" if heading == name else heading, words])
    return rows


def _prose(text: str) -> str:
    r"""Text without formulas and the marks of headings.

    >>> _prose("The score $s_{ui}$ of 5$ and $$\\frac{1}{2}$$ ¶").split()
    ['The', 'score', 'of', '5$', 'and']
    """
    text = re.sub(r"\$\$.*?\$\$", " ", text, flags=re.S)
    return re.sub(r"(?<![\w$])\$[^$\n]{1,200}?\$(?!\d)", " ", text).replace("¶", " ")
