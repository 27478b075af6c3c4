"""What notebook 11 found, in sentences made of its own numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from recsys_lib.reporting.figures.privacy import dollars_title
from recsys_lib.reporting.takeaways_00_to_03 import bullets
from recsys_lib.trust.privacy import price

if TYPE_CHECKING:
    import pandas as pd

# Below this area under the curve an attack has failed.
FAILS = 0.55


def takeaways(*found: Sequence[str]) -> str:
    """All groups of findings as one list in Markdown."""
    return bullets([one for group in found for one in group])


def of_vectors(table: pd.DataFrame, items: pd.DataFrame) -> list[str]:
    """What users' vectors and updates give away. ``table``: releases and updates; ``items``: of
    ``private_curves.one_item``.
    """
    recovered, blind = table["history recovered"], "without the vector"
    lines = [
        "**A user's vector is the history.** The fraction of it that comes back is "
        f"{recovered['float32']:.2f} from float32, {recovered['int8']:.2f} from int8 and "
        f"{recovered['1 bit']:.2f} from one bit; who sees no vector names {table[blind].mean():.2f}."
        + _of_tuned(items),
        "**One item** is told to be in a history or not with an area under the curve of "
        + listed(f"{row['auc']:.2f} ({name})" for name, row in items.iterrows())
        + "; at 0.1% false alarms "
        + listed(f"{row['true positives']:.0%} ({name})" for name, row in items.iterrows())
        + " of the items are found.",
        "No release is better in attack, NDCG, bytes and dollars than these: "
        f"{', '.join(price.front(table))}.",
    ]
    if "usd" in table:
        lines.append(f"**Dollars.** {dollars_title(table)}.")
    return lines


def _of_tuned(items: pd.DataFrame) -> str:
    tuned = items["history, tuned"].dropna()
    shown = [f"{tuned[name]:.2f} from {name}" for name in ("float32", "int8", "1 bit") if name in tuned]
    return f" From vectors of the fine-tuned encoder: {listed(shown)} (recorded)." if shown else ""


def of_training(
    table: pd.DataFrame,
    tokens: pd.DataFrame,
    members: pd.DataFrame,
    curves: Mapping[str, pd.DataFrame],
    tuned: Mapping[str, float] | None,
) -> list[str]:
    """What training gives away: updates, and who was in the data.

    ``tokens``: what updates of an encoder give away. ``members``: rows models, columns auc and true
    positives. ``curves``: as ``figures.privacy.strengths``. ``tuned``: auc and true positives of the
    fine-tuned encoder, as recorded.
    """
    recovered = table["history recovered"]
    lines = [
        "**An update is the history too.** From what a device sends in one round of federated training "
        f"{recovered['update']:.0%} of its history comes back, from one bit a number "
        f"{recovered['update, 1 bit']:.0%}; the update of a whole encoder names "
        f"{tokens['words recovered'].iloc[0]:.0%} of the words and "
        f"{tokens['history recovered'].iloc[0]:.0%} of the items. Sums of 20 devices, "
        "or noise on the sum of all, leave what popularity tells anyway.",
        "**Who was in the training data** is told with an area under the curve of "
        + listed(f"{row['auc']:.2f} for {name}" for name, row in members.iterrows())
        + f"; at 0.1% false alarms {members['true positives'].max():.1%} of the members at most are found.",
    ]
    lines += [f"**Noise on {name}**: {_of_curve(curve)}" for name, curve in curves.items() if len(curve)]
    if tuned is not None:
        lines.append(
            "**An attack that fails.** Of the encoder whose last layer is fine-tuned, members are told with "
            f"an area of {tuned['auc']:.2f}, where chance is 0.5, and {tuned['true positives']:.2%} of them "
            "at 0.1% false alarms, where chance is 0.1%: a likelihood ratio on its scores finds nobody."
        )
    return lines


def _of_curve(curve: pd.DataFrame) -> str:
    """Area, NDCG and members found at each strength, the smallest ε first, and whether it shows anything."""
    rows = curve.sort_values("epsilon")
    said = listed(
        f"area {row['auc']:.2f} at NDCG@10 {row['ndcg']:.3f} ({strength}; {row['true positives']:.1%} found)"
        for strength, row in rows.iterrows()
    )
    if rows["auc"].iloc[-1] < FAILS:
        return f"{said}. The attack fails without noise too, and so says nothing of what noise protects."
    return f"{said}."


def of_persons(persons: pd.DataFrame, lists: pd.DataFrame, words: Mapping[str, float]) -> list[str]:
    """What vectors, lists and texts tell of people. ``persons``: rows features, columns attributes.
    ``lists``: rows kinds of lists, columns of ``list_attacks.priced``. ``words``: fraction by method.
    """
    told = lists.loc[[str(name) for name in lists.index if str(name).startswith("shared by")][-1]]
    plain, supported = lists.loc["EASE"], lists.loc["EASE, minimum support 10"]
    change = supported["history recovered"] - plain["history recovered"]
    return [
        f"Gender is guessed from a vector with an area of {persons.loc['float32', 'gender']:.2f}, "
        f"from one bit {persons.loc['1 bit', 'gender']:.2f}, from a list of EASE {plain['gender']:.2f}.",
        "**A list is a history in part**: "
        + listed(f"{row['history recovered']:.2f} ({name})" for name, row in lists.iterrows())
        + f" comes back, without the list {lists['without the list'].mean():.2f}. Even the list of the most "
        f"popular items tells, by what it leaves out. Minimum support changes that by {change:+.2f}; a list "
        f"that 20 users share leaves {told['history recovered']:.2f}, and gender is guessed from it with "
        f"{told['gender']:.2f}: a crowd of like people hides who, not what.",
        f"A small inverter returns {words['inverter']:.0%} of the words of a private text, its topic "
        f"{words['topic']:.0%}, the most frequent words {words['frequent']:.0%}.",
    ]


def of_guarantees(curve: pd.DataFrame, of_map: Mapping[float, float], popular: float) -> list[str]:
    """NDCG of the private map beside private EASE's ``curve`` at equal ε; ``popular``: of popularity."""
    private = {float(row["epsilon"]): float(row["ndcg"]) for _, row in curve.iterrows()}
    shared = [e for e in sorted(private) if e in of_map and np.isfinite(e)]
    pairs = listed(f"{of_map[e]:.3f} at ε = {e:g} (private EASE {private[e]:.3f})" for e in shared)
    return [
        f"At equal guarantees a private map of text has NDCG@10 {pairs}, without noise "
        f"{of_map[np.inf]:.3f} (EASE {private[np.inf]:.3f}); popularity has {popular:.3f}."
    ]


def of_deletion(n_items: int, downdate: float, fit: float) -> list[str]:
    """What deletion takes, by operations; the time that it takes is not compared."""
    return [
        f"Deleting a user from EASE takes {downdate / fit:.2%} of the operations of a new fit of {n_items:,} "
        "items, and the result is the same to within 1e-5."
    ]


def listed(parts: Iterable[str]) -> str:
    """Parts of a sentence.

    >>> listed(["a"]), listed(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    words: Sequence[str] = list(parts)
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
