"""Articles of a data-science community, cleaned: a content feed with long texts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp

from recsys_lib.data.assets import locate
from recsys_lib.data.datasets.assemble import assemble, text_frame
from recsys_lib.data.datasets.dataset import Dataset

# A line that stands in so many articles belongs to their sites, not to their texts.
REPEATED = 3
# Navigation ends where the page repeats the article's title, within so many characters of its start.
HEAD = 4_000
# From so many articles on, and so large a share of both histories in common, two accounts are one person's.
TWIN_ITEMS, TWIN_SHARE = 5, 0.6
_MENU = re.compile(r"^\s*[*•☰-]")
_WORDS = re.compile(r"\w+")
# What remains of menus inside of lines that also hold text.
_REMAINS = re.compile(
    r"(?:(?:Watch\s+)?Queue\s+)*(?:__count__/__total__\s+)?Find\s+out\s+why\s+Close"
    r"|Rating is available when the video has been rented\.[^.]*\.[^.]*later\."
    r"|Loading\.\.\.|Skip (?:navigation|to (?:main )?content)|Sign (?:in|up|In|Up)\b(?: / Sign up)?"
    r"|Get started\b|(?:Blocked )?Unblock Follow(?:ing)?|Never miss a story from [^.]*\."
    r"|Click to share on \w+ \(Opens in new window\)|Share on [A-Z]\w+\+?|&copy;? ?\d{4}[^.\n]*"
)


def after_title(body: str, title: str) -> str:
    """The body from behind the last repetition of the title among its first ``HEAD`` characters: what stands
    before it is the page's navigation.

    >>> after_title("Home Sign in MAPS OF AFRICA\\nAfrica is large.", "Maps of Africa")
    '\\nAfrica is large.'
    """
    words = _WORDS.findall(re.split(r" [–|—] ", title)[0].lower())  # "Title – Site"
    if len(words) < 2:
        return body
    pattern = re.compile(r"\W+".join(map(re.escape, words)), re.IGNORECASE)
    found = [match.end() for match in pattern.finditer(body[:HEAD])]
    return body[found[-1] :] if found else body


def without_boilerplate(bodies: Sequence[str], titles: Sequence[str]) -> list[str]:
    """Bodies without navigation: what precedes the title, menu lines of fewer than six words, and lines that
    stand in at least ``REPEATED`` of the bodies. White space becomes single blanks.
    """
    lines = [after_title(body, title).splitlines() for body, title in zip(bodies, titles, strict=True)]
    counts = Counter(line for own in lines for line in {_plain(line) for line in own})
    cleaned = []
    for own in lines:
        kept = [
            line
            for line in own
            if counts[_plain(line)] < REPEATED and not (_MENU.match(line) and len(line.split()) < 7)
        ]
        cleaned.append(" ".join(_REMAINS.sub(" ", "\n".join(kept)).split()))
    return cleaned


def _plain(line: str) -> str:
    return " ".join(line.lower().split())


def twin_accounts(user: pd.Series, item: pd.Series) -> dict[str, str]:
    """Accounts that are one person's: of at least ``TWIN_ITEMS`` items each, of which most are shared.

    Two such accounts have a Jaccard similarity of at least ``TWIN_SHARE``. In this file it is two-peaked: of
    the pairs of accounts with 8 articles or more, 577 share over 70% and hardly any between 45% and 65%.
    Returns the account that stands for each that is not its own; twins of twins are one person.
    """
    pairs = pd.DataFrame({"user": user, "item": item}).drop_duplicates()
    counts = pairs["user"].value_counts()
    pairs = pairs[pairs["user"].isin(counts.index[counts >= TWIN_ITEMS])]
    row, ids = pd.factorize(pairs["user"], sort=True)
    column, _ = pd.factorize(pairs["item"])
    histories = sp.csr_matrix((np.ones(len(row), np.float32), (row, column)))
    shared = sp.coo_matrix(histories @ histories.T)
    length = np.diff(histories.indptr)
    union = length[shared.row] + length[shared.col] - shared.data
    alike = shared.data >= TWIN_SHARE * union
    graph = sp.csr_matrix((shared.data[alike], (shared.row[alike], shared.col[alike])), shape=shared.shape)
    group = sp.csgraph.connected_components(graph, directed=False)[1]
    first = pd.Series(ids).groupby(group).transform("first")
    return {one: other for one, other in zip(ids, first, strict=True) if one != other}


def load_articles(folder: Path | None = None, join_twins: bool = True) -> Dataset:
    """Reads of articles: 4,294 people, 714 articles, 21,256 pairs; no ratings and no times.

    Most active accounts come in twins that read the same: test reads of one would stand in the training of
    the other, and EASE would look half as good again. Twins are joined, see ``twin_accounts``; those with
    fewer than ``TWIN_ITEMS`` articles cannot be told, so evaluate on users with more. ``join_twins``: False
    leaves them apart, to see what that does.

    Repeated reads of one person are merged (``n_merged``), and 17 reads without a user are left out
    (``n_dropped``). Of the five ids that the table of articles repeats the first row counts. 437 of the read
    articles have a row there, with ``description`` and ``body`` (7 bodies are empty or nothing but menus); of
    the others only the title is known, as the reads give it, in small letters. 619 articles that nobody read
    are left out. Bodies are crawled pages: see ``without_boilerplate``.
    """
    folder = locate("articles") if folder is None else folder
    reads = text_frame(folder / "reads.csv", ("article_id", "title", "email"))
    table = text_frame(
        folder / "articles.csv", ("article_id", "doc_full_name", "doc_description", "doc_body")
    )
    reads["item"] = reads["article_id"].str.removesuffix(".0")
    table = table.drop_duplicates("article_id").set_index("article_id")
    items = reads.drop_duplicates("item").set_index("item")[["title"]]
    items = items.loc[sorted(items.index, key=int)]
    known = table.reindex(items.index).fillna("")
    items["title"] = known["doc_full_name"].where(known["doc_full_name"] != "", items["title"])
    items["description"] = [" ".join(text.split()) for text in known["doc_description"]]
    items["body"] = without_boilerplate(known["doc_body"], items["title"])
    named = reads[reads["email"] != ""]
    twins = twin_accounts(named["email"], named["item"]) if join_twins else {}
    events = pd.DataFrame({"user": reads["email"].replace(twins), "item": reads["item"]})
    note = f"{len(twins):,} accounts were joined with a twin that read the same articles."
    return assemble("articles", events, items.rename_axis("id").reset_index(), notes=(note,))
