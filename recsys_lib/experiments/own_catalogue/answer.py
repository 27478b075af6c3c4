"""A run on a user's catalogue from files to decision, and the answer that its report opens with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys_lib.core.errors import InputError
from recsys_lib.cost import Decision, RankedOption
from recsys_lib.cost.units import two_digits
from recsys_lib.data.datasets import Dataset
from recsys_lib.evaluation import splits
from recsys_lib.evaluation.splits import Split
from recsys_lib.experiments.own_catalogue import data_check, pricing, reading
from recsys_lib.experiments.own_catalogue.compare_methods import (
    Compared,
    cold_share,
    compare_methods,
    count_test_users,
)
from recsys_lib.experiments.own_catalogue.conclusion import Conclusion, conclude
from recsys_lib.experiments.own_catalogue.reading import Catalogue
from recsys_lib.experiments.own_catalogue.sources import Source, encode_sources

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Settings:
    """How methods are compared: see the parameters of notebook 90, which are these.

    matters: smallest relative gain in NDCG that the user would act on.
    """

    text_columns: str = ""
    label_column: str = ""
    by_time: bool = True
    seeds: int = 2
    encoder: str = "minilm"
    k: int = 10
    trials: int = 6
    matters: float = 0.05


@dataclass(frozen=True, eq=False)
class Answer:
    """Everything that the report of notebook 90 shows.

    texts: one for each item. columns, labels: the columns that they and the labels come from. notes: what
    was dropped or replaced. decision: among the systems that the tests leave; every_option: all of them,
    priced.
    """

    catalogue: Catalogue
    settings: Settings
    texts: list[str]
    columns: tuple[str, ...]
    labels: str
    sources: dict[str, Source]
    compared: Compared
    conclusion: Conclusion
    decision: Decision
    every_option: Decision
    notes: tuple[str, ...]

    @property
    def data(self) -> Dataset:
        return self.catalogue.data

    def markdown(self, sample: bool = False) -> str:
        """The answer: verdict, dollars, what would change it, what was left out. ``sample``: said first."""
        invented = [
            "*This run is on the sample, which is invented: it says nothing about other catalogues.*",
            "",
        ]
        decided = self.decision
        lines = [*(invented if sample else []), f"**{self.conclusion.headline}.**", ""]
        lines += [f"**In dollars.** {decided.sentence}", "", "**What would change it:**", ""]
        lines += [f"* {change}" for change in decided.changes] or [
            "* no number within a factor of 1,000 of today's."
        ]
        lines += ["", "**What to do:**", "", *(f"* {sentence}" for sentence in self.conclusion.advice)]
        lines += ["", "**What was left out:**", "", *(f"* {note}" for note in self.notes or ("nothing.",))]
        return with_prices("\n".join(lines))

    def metrics(self) -> dict[str, Any]:
        """What a record of the run holds: names and numbers."""
        best, data = self.decision.best, self.data
        return {
            "verdict": self.conclusion.headline,
            "warm": self.conclusion.warm,
            "cold": self.conclusion.cold,
            "users": data.n_users,
            "items": data.n_items,
            "interactions": data.n_interactions,
            "split": self.compared.split.name,
            "cold_fraction": self.conclusion.cold_fraction,
            "system": best.name if best else "",
            "usd_per_month": best.usd_per_month if best else None,
            "sentence": self.decision.sentence,
            "changes": list(self.decision.changes),
            "advice": self.conclusion.advice,
            "answers": list(map(str, self.conclusion.answers)),
            "notes": list(self.notes),
            "ndcg": {name: result.test.mean()["ndcg"] for name, result in self.compared.warm.items()},
            "ndcg_cold": {name: result.test.mean()["ndcg"] for name, result in self.compared.cold.items()},
        }


def with_prices(markdown: str) -> str:
    """Markdown in which every dollar is a price: unescaped, two in a paragraph would enclose a formula."""
    return markdown.replace("$", r"\$")


def find_answer(
    interactions: Path | None,
    items: Path | None,
    sample_folder: Path,
    *,
    files: Mapping[str, Any] | None = None,
    traffic: Mapping[str, Any] | None = None,
    draws: int = 200,
    **settings: Any,
) -> Answer:
    """Read the files, compare all methods, conclude, and price the decision for the traffic.

    ``files``: further arguments of ``reading.read``; ``traffic``: see ``pricing.Traffic``; ``draws``: of
    everything uncertain in the dollars, see ``cost.decide``; ``settings``: of ``Settings``.

    Raises:
        InputError: a wrong parameter, before anything is computed; what ``read`` and
        ``compare_methods`` refuse.
    """
    chosen, files, asked = Settings(**settings), dict(files or {}), pricing.read_traffic(traffic)
    reading.check_parameters(
        chosen.k, chosen.trials, chosen.seeds, chosen.matters,
        files.get("min_rating", 0.0), files.get("min_interactions", 1),
    )  # fmt: skip
    catalogue = reading.read(interactions, items, sample_folder, **files)
    data = catalogue.data
    reading.check_list_length(chosen.k, data)
    columns = data_check.text_columns(data, chosen.text_columns)
    labels = data_check.label_column(data, chosen.label_column)
    sources = encode_sources(data, columns, labels, chosen.encoder, catalogue.vectors)
    compared = compare_methods(
        data, sources, by_time=chosen.by_time, seeds=chosen.seeds, trials=chosen.trials, k=chosen.k
    )
    timed = compared.split.name.startswith("temporal")
    cold = cold_share(compared.split) if timed else None
    texts = data.item_texts(columns)
    service = pricing.service_of(data, texts, asked, cold)
    concluded = conclude(compared.warm, compared.cold, chosen.encoder, chosen.matters, cold)
    decision, every = pricing.decide(compared, concluded, service, chosen.encoder, asked.usd_per_point, draws)
    return Answer(
        catalogue, chosen, texts, columns, labels, sources, compared, concluded, decision, every,
        (*catalogue.notes, *replaced(data, compared.split, columns, chosen.by_time)),
    )  # fmt: skip


def replaced(data: Dataset, split: Split, columns: Sequence[str], by_time: bool = True) -> list[str]:
    """A split that was replaced, and items without text, one sentence each."""
    lines = []
    if by_time and data.timestamp is not None and split.name.startswith("random"):
        lines.append(
            "The times leave nobody to tune on or to test: the test is a random fifth of all interactions."
        )
    elif by_time and data.timestamp is not None and not split.name.startswith("temporal"):
        lines.append(
            "The test is the last fifth of each user's history, which leaves "
            f"{count_test_users(split):,} users: "
            f"the latest fifth of all interactions would leave {_temporal_users(data):,}."
        )
    unseen = np.count_nonzero(np.diff(split.test.indptr)) - count_test_users(split)
    if unseen:
        lines.append(f"Test users without an earlier interaction, who are not evaluated: {unseen:,}.")
    empty = sum(not any(c.isalnum() for c in text) for text in data.item_texts(tuple(columns)))
    if empty:
        lines.append(
            f"{empty:,} of {data.n_items:,} items ({empty / data.n_items:.0%}) have no text: "
            "text says nothing about them, so they get no score from it."
        )
    return lines


def _temporal_users(data: Dataset) -> int:
    try:
        return count_test_users(splits.temporal_split(data, 0.2, 0.1))
    except InputError:  # all at one moment
        return 0


def options_table(found: Answer) -> pd.DataFrame:
    """All systems from best to worst: dollars, latency, quality on warm and cold items, whether the tests
    leave them.
    """
    import pandas as pd

    left = {option.name: option.probability for option in found.decision.ranked}

    rows = {
        option.name: {
            "served as": option.deployment.name,
            "dollars a month": option.usd_text,
            "p99, ms": two_digits(option.p99_s * 1e3),
            "NDCG, warm": option.warm,
            "NDCG, cold": option.cold,
            "earns, dollars a month": ""
            if option.net_usd_per_month is None
            else two_digits(option.net_usd_per_month),
            "the chosen leads by, dollars a month": _lead(found, option),
            "probability of the best": left.get(option.name, "not chosen among"),
            "remark": option.problem or ("" if option.name in left else "no gain that matters"),
        }
        for option in found.every_option.ranked
    }
    return pd.DataFrame.from_dict(rows, orient="index")


def _lead(found: Answer, option: RankedOption) -> str:
    """Dollars a month, with the interval, by which the chosen system leads this one."""
    best = found.decision.best
    if best is None or best.name == option.name or option.net_usd_per_month is None:
        return ""
    by = found.every_option.lead(best, option)
    return by.cell if by else ""
