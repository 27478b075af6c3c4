"""What to know of a user's data before any number on it: size, texts, times, and what can be tested."""

from __future__ import annotations

import datetime
import difflib
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from recsys_lib.core.errors import InputError
from recsys_lib.data.datasets import Dataset
from recsys_lib.evaluation.splits import Split
from recsys_lib.experiments.own_catalogue.compare_methods import cold_share, count_test_users
from recsys_lib.experiments.study.item_texts import load_encoder

# Columns that say what an item is, by the end of their name: Book-Author is an author.
TEXT_COLUMNS = (
    "author", "artist", "brand", "genre", "genres", "category", "categories", "tags", "year",
    "description", "abstract", "summary", "body",
)  # fmt: skip
LABEL_COLUMNS = (
    "genre",
    "genres",
    "category",
    "categories",
    "tags",
    "department",
    "author",
    "artist",
    "brand",
)
# Fewer users than this in a test and no difference means anything; fewer interactions than FEW and an item
# is rare.
MIN_USERS, FEW = 30, 5


class Check(NamedTuple):
    """One check of the data: what was checked, what was found, and what it means."""

    what: str
    found: str
    meaning: str


def text_columns(data: Dataset, chosen: str = "") -> tuple[str, ...]:
    """Columns of the items that a text is made of: those in ``chosen`` (comma-separated), else the title
    and the usual ones.

    Raises:
        InputError: a chosen column is not there.
    """
    if chosen.strip():
        return tuple(_column(data, name.strip(), "text_columns") for name in chosen.split(","))
    usual = [c for c in data.items.columns if c not in ("id", "title") and _ends(c, TEXT_COLUMNS)]
    return ("title", *usual)


def label_column(data: Dataset, chosen: str = "") -> str:
    """The column of comma-separated labels: the ``chosen`` one, else the first usual one, else "".

    Raises:
        InputError: the chosen column is not there.
    """
    if chosen.strip():
        return _column(data, chosen.strip(), "label_column")
    return next((c for end in LABEL_COLUMNS for c in data.items.columns if _ends(c, (end,))), "")


def _ends(column: str, ends: Sequence[str]) -> bool:
    return "".join(c for c in column.lower() if c.isalnum()).endswith(tuple(ends))


def _column(data: Dataset, name: str, argument: str) -> str:
    names = {c.lower(): c for c in data.items.columns}
    if name.lower() not in names:
        near = difflib.get_close_matches(name.lower(), names, 1)
        hint = f"did you mean {names[near[0]]!r}? " if near else ""
        raise InputError(f"{argument}={name!r}: {hint}the items have {', '.join(data.items.columns)}")
    return names[name.lower()]


def check_data(data: Dataset, split: Split, columns: Sequence[str], encoder: str = "") -> list[Check]:
    """What to know before a comparison, in words.

    ``columns``: those that make the texts; ``split``: how methods are evaluated; ``encoder``: whose limit
    on the length of a text is checked, where it has one.
    """
    texts = [
        *_texts(data, columns),
        *(_truncated(data.item_texts(tuple(columns)), encoder) if encoder else []),
    ]
    return [*_interactions(data), *texts, _times(data), *_test(split)]


def _truncated(texts: Sequence[str], name: str) -> list[Check]:
    """The fraction of written texts that a transformer cuts; nothing for other encoders."""
    from recsys_lib.encoders.transformer import Transformer

    encoder = load_encoder(name)
    written = [text for text in texts if text]
    if not isinstance(encoder, Transformer) or not written:
        return []
    cut = encoder.truncated(written)
    return [
        Check(
            "texts cut",
            f"{cut:.1%} of the texts exceed the {encoder.max_tokens_read:,} tokens that {name} encodes",
            "their ends are not encoded: put what matters first" if cut > 0.05
            else "few" if cut else "every text is encoded to its end",
        )
    ]  # fmt: skip


def _interactions(data: Dataset) -> list[Check]:
    per_item = np.bincount(data.item, minlength=data.n_items)
    per_user = np.bincount(data.user, minlength=data.n_users)
    sold, density = per_item[per_item > 0], data.n_interactions / (data.n_users * data.n_items)
    least = np.median(per_user[per_user > 0])
    rare = float((sold < FEW).mean())
    everything = data.n_interactions + data.n_dropped + data.n_merged
    dropped, merged = data.n_dropped / everything, data.n_merged / everything
    never = data.n_items - len(sold)
    return [
        Check(
            "size",
            f"{data.n_users:,} users, {data.n_items:,} items, {data.n_interactions:,} interactions",
            f"{density:.2%} of all pairs are known",
        ),
        Check(
            "left out",
            f"{data.n_dropped:,} with an item not in the items file, {data.n_merged:,} duplicates of a pair",
            "more than a tenth lacks its item: check the ids" if dropped > 0.1
            else "mostly duplicates: ask whether a repeated choice means more" if merged > 0.5 else "little",
        ),
        Check(
            "histories",
            f"in the median {least:.0f} interactions per user, {np.median(sold):.0f} per item that has any",
            "short: little to learn from" if least < FEW else "long enough to learn from",
        ),
        Check(
            "rare items",
            f"{rare:.0%} of the items with interactions have fewer than {FEW}; {never:,} have none",
            "many: text can help most here" if rare > 0.5 or never > 0.2 * data.n_items
            else "few: collaborative filtering has enough interactions" if rare < 0.2 else "some",
        ),
    ]  # fmt: skip


def _texts(data: Dataset, columns: Sequence[str]) -> list[Check]:
    texts = data.item_texts(tuple(columns))
    written = [t for t in texts if t]
    empty = 1 - len(written) / len(texts)
    words = float(np.median([len(t.split()) for t in written])) if written else 0.0
    title, times = Counter(written).most_common(1)[0] if written else ("", 0)
    shared = sum(n for n in Counter(written).values() if n > 1) / len(texts)
    shown = title if len(title) <= 30 else f"{title[:29]}…"
    return [
        Check(
            "texts",
            f"{', '.join(columns)}: {words:.0f} words in the median, {empty:.1%} of the items have none",
            "no text: nothing for a language model to encode" if not written
            else "many are missing: text cannot rank those items" if empty > 0.2
            else "short: little that TF-IDF would miss" if words <= 4 else "long enough to encode",
        ),
        Check(
            "duplicate texts",
            f"{shared:.1%} of the items" + (f", most often {shown!r}, {times} times" if times > 1 else ""),
            "no encoder can tell these apart" if shared > 0.05 else "few",
        ),
    ]  # fmt: skip


def _times(data: Dataset) -> Check:
    if data.timestamp is None:
        return Check(
            "times", "none", "only a random split is possible, which is easier than predicting the future"
        )
    first, last = (
        datetime.datetime.fromtimestamp(int(t), datetime.UTC)
        for t in (data.timestamp.min(), data.timestamp.max())
    )
    days = (last - first).days
    so = (
        "all on one day: no past to learn from and no future to test"
        if days < 1
        else "the latest fifth can be the test"
    )
    return Check("times", f"{first:%Y-%m-%d} to {last:%Y-%m-%d}, {days:,} days", so)


def _test(split: Split) -> list[Check]:
    known, cold = count_test_users(split), cold_share(split.with_validation())
    asked = int(np.count_nonzero(np.diff(split.test.indptr)))
    unknown = 1 - known / max(1, asked)
    return [
        Check(
            f"test ({split.name})",
            f"{known:,} test users; {unknown:.1%} of the users in it have no history and are left out",
            f"too few: expected at least {MIN_USERS}" if known < MIN_USERS
            else "most users are new, without own lists" if unknown > 0.5 else "enough to compare methods",
        ),
        Check(
            "cold items in the test",
            f"{cold:.1%} of its interactions are with items without training interactions",
            "rare: cold items hardly decide anything here" if cold < 0.02
            else "many: how cold items are ranked matters" if cold > 0.1 else "some",
        ),
    ]  # fmt: skip
