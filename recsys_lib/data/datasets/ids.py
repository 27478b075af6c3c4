"""How ids of two files are compared: a stated normalization, and near misses that are reported,
never merged silently.
"""

from __future__ import annotations

import re
import unicodedata

import pandas as pd

# Rules beyond the normalization, each merging ids that may be different; only a user can say that they are
# not.
RULES = ("exact", "zeros", "case")
_IN_WORDS = {"zeros": "removing leading zeros", "case": "ignoring upper and lower case"}
_WHOLE = re.compile(r"(\d+)\.0+")
# What a spreadsheet makes of a long number: 9780140449136 becomes 9.78014E+12, and most of its digits are
# lost.
ROUNDED = r"\d[.,]\d+[eE]\+\d{1,3}"


def normalize(text: str) -> str:
    """An id without blanks around it, in Unicode's composed form (NFC), a whole number without ``.0``.

    >>> normalize(" 12.0 "), normalize("007"), normalize("1.50")
    ('12', '007', '1.50')
    """
    text = unicodedata.normalize("NFC", text.strip())
    whole = _WHOLE.fullmatch(text)
    return whole[1] if whole else text


def apply_rule(text: str, rule: str) -> str:
    """An id under one of ``RULES``: ``zeros`` removes leading zeros, ``case`` ignores upper and lower case.

    >>> apply_rule("007", "zeros"), apply_rule("000", "zeros"), apply_rule("Abc", "case")
    ('7', '0', 'abc')
    """
    if rule == "zeros":
        return text.lstrip("0") or text[-1:]
    return text.casefold() if rule == "case" else text


def normalized(ids: pd.Series, rule: str = "exact") -> pd.Series:
    """``normalize`` and then ``rule`` for every id; each different text is looked at once."""
    table = {text: apply_rule(normalize(text), rule) for text in ids.unique()}
    return ids.map(table)


def near_misses(unknown: pd.Series, known: pd.Series) -> str:
    """One sentence on the rule under which most of the unknown ids would match; "" where none would.

    >>> near_misses(pd.Series(["007", "008", "x"]), pd.Series(["7", "8"])).partition(":")[0]
    '2 of the 3 unknown ids (67%) match after removing leading zeros'
    """
    texts = unknown.unique()
    best, most = "", 0
    for rule in RULES[1:]:
        there = {apply_rule(text, rule) for text in known}
        matches = sum(apply_rule(text, rule) in there for text in texts)
        if matches > most:
            best, most = rule, matches
    if not best:
        return ""
    return (
        f"{most:,} of the {len(texts):,} unknown ids ({most / len(texts):.0%}) match after "
        f"{_IN_WORDS[best]}: "
        f"pass match_ids={best!r} if they are the same items"
    )
