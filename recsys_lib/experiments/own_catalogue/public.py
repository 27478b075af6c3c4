"""Public catalogues on which the answer of notebook 90 is recorded, to compare one's own with."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recsys_lib.core import paths, records
from recsys_lib.core.errors import InputError
from recsys_lib.experiments.notebook_record import entry
from recsys_lib.experiments.own_catalogue import answer


@dataclass(frozen=True)
class PublicCatalogue:
    """A folder with two files; ``source``: who published them."""

    interactions: str
    items: str
    source: str


_AMAZON = "Ni, Li and McAuley, EMNLP 2019 (Amazon Reviews 2018)"
_PLAIN = ("interactions.csv", "items.csv")
# Without citeulike with abstracts, whose files give papers the texts of others (data.datasets.plain_files).
PUBLIC = {
    "amazon-industrial-and-scientific": PublicCatalogue(*_PLAIN, _AMAZON),
    "amazon-office-products": PublicCatalogue(*_PLAIN, _AMAZON),
    "stackexchange": PublicCatalogue(*_PLAIN, "Stack Exchange data dump, CC BY-SA 3.0"),
    "ml-latest-small": PublicCatalogue("ratings.csv", "movies.csv", "GroupLens, MovieLens latest small"),
}


def record_public(folder: Path, record: Path) -> list[dict[str, Any]]:
    """Run every public catalogue that lies in ``folder``, with the default traffic, and write ``record``.

    Only names and numbers are recorded, no text and no interaction.

    Raises:
        InputError: ``folder`` holds none of the catalogues.
    """

    present = {name: one for name, one in PUBLIC.items() if (folder / name / one.interactions).is_file()}
    if not present:
        raise InputError(
            f"{folder}: expected at least one of the folders {', '.join(PUBLIC)} with its CSV files"
        )
    found = []
    for name, one in present.items():
        start = time.time()
        place = folder / name
        run = answer.find_answer(place / one.interactions, place / one.items, paths.RUNS / "sample")
        parameters = {"catalogue": name, "source": one.source}
        found.append(entry("90_your_own_data", parameters, run.metrics(), time.time() - start))
        records.write(record, found)
    return found
