"""Knowledge graphs beside interactions: facts about items as triples of head, relation and tail."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from recsys_lib.core.errors import InputError
from recsys_lib.data.assets import locate
from recsys_lib.data.datasets.dataset import Dataset

# Relations that the file of MovieLens-100K states once from each side: the second is the first turned round.
INVERSES = {
    "film.producer.film": "film.film.produced_by",
    "film.writer.film": "film.film.written_by",
    "film.director.film": "film.film.directed_by",
    "film.cinematographer.film": "film.film.cinematography",
    "film.production_company.films": "film.film.production_companies",
    "film.content_rating.film": "film.film.rating",
    "film.film_subject.films": "film.film.subjects",
    "film.film_genre.films_in_this_genre": "film.film.genre",
    "film.film.prequel": "film.film.sequel",
    "film.actor.film": "film.film.actor",
}
# What a film gets only after people have seen it.
AWARDS = ("film.film.award_nomination", "film.film.award_won")


@dataclass(frozen=True, eq=False)
class Graph:
    """Triples over numbered entities, and which of these the items of a catalogue are.

    triples: ``[n, 3]`` int64, head, relation, tail; no triple twice. entities, relations: their names.
    item_entity: ``[n_items]`` the entity of each item, -1 for one that the graph does not know. n_raw:
    triples in the file, before those stated from both sides were joined.
    """

    triples: np.ndarray
    entities: tuple[str, ...]
    relations: tuple[str, ...]
    item_entity: np.ndarray
    n_raw: int

    def __repr__(self) -> str:
        known = int((self.item_entity >= 0).sum())
        return (
            f"<Graph: {len(self.triples):,} triples, {len(self.entities):,} entities, "
            f"{len(self.relations)} relations, {known:,} of {len(self.item_entity):,} items>"
        )

    def without(self, relations: Sequence[str]) -> Graph:
        """The same graph without the triples of these relations.

        Raises:
            InputError: a relation that the graph does not have.
        """
        unknown = [name for name in relations if name not in self.relations]
        if unknown:
            raise InputError(f"relation {unknown[0]!r}: expected one of {', '.join(self.relations)}")
        gone = [self.relations.index(name) for name in relations]
        kept = self.triples[~np.isin(self.triples[:, 1], gone)]
        return Graph(kept, self.entities, self.relations, self.item_entity, self.n_raw)

    def of_items(self, items: np.ndarray) -> Graph:
        """The same graph for these items (ids or a mask) of the catalogue, in their order."""
        chosen = self.item_entity[items]
        return Graph(self.triples, self.entities, self.relations, chosen, self.n_raw)


def from_tables(triples: pd.DataFrame, links: pd.DataFrame, items: Sequence[str]) -> Graph:
    """A graph from names: ``triples`` with columns head, relation, tail; ``links`` with item, entity.

    Triples of a relation in ``INVERSES`` are turned round; then each counts once. A link of an item that
    ``items`` does not name is left out.

    Raises:
        InputError: a missing column, or an item with two entities.
    """
    for name, table, columns in (
        ("triples", triples, ("head", "relation", "tail")), ("links", links, ("item", "entity")),
    ):  # fmt: skip
        missing = [c for c in columns if c not in table.columns]
        if missing:
            raise InputError(f"{name}: no column {missing[0]!r}, found {', '.join(map(str, table.columns))}")
    twice = links["item"][links["item"].duplicated()]
    if len(twice):
        raise InputError(f"links: item {twice.iloc[0]!r} has two entities, expected one")
    turned = triples["relation"].isin(INVERSES)
    facts = pd.DataFrame(
        {
            "head": triples["head"].where(~turned, triples["tail"]),
            "relation": triples["relation"].replace(INVERSES),
            "tail": triples["tail"].where(~turned, triples["head"]),
        }
    ).drop_duplicates()
    entities = sorted({*facts["head"], *facts["tail"], *links["entity"]})
    relations = sorted(set(facts["relation"]))
    place, kind = pd.Index(entities), pd.Index(relations)
    numbered = np.column_stack(
        [
            place.get_indexer(facts["head"]),
            kind.get_indexer(facts["relation"]),
            place.get_indexer(facts["tail"]),
        ]
    )
    of_item = dict(zip(links["item"], place.get_indexer(links["entity"]), strict=True))
    item_entity = np.array([of_item.get(item, -1) for item in items], dtype=np.int64)
    ordered = numbered[np.lexsort(numbered.T[::-1])].astype(np.int64)
    return Graph(ordered, tuple(entities), tuple(relations), item_entity, len(triples))


def load_knowledge(ids: Sequence[str]) -> Graph:
    """The Freebase part that RecBole gives with MovieLens-100K: 91,631 triples of 24 relations in the file.

    ``ids``: of each item in the numbering of the links, "" where it has none. **The links are numbered as
    MovieLens 1M and later sets are, not as MovieLens-100K is**: 858 is linked to The Godfather's entity,
    which is film 127 of MovieLens-100K. With that set's own ids as ``ids``, as the files are distributed and
    read, 1,598 films are linked and all but a few to another film; ``same_films`` finds the right ids.
    Source: Zhao et al., KB4Rec, Data Intelligence 2019, in RecBole's distribution.
    """
    folder = locate("ml-100k")
    triples = pd.read_csv(folder / "ml-100k.kg", sep="\t", dtype=str, keep_default_na=False)
    triples.columns = pd.Index(["head", "relation", "tail"])
    links = pd.read_csv(folder / "ml-100k.link", sep="\t", dtype=str, keep_default_na=False)
    links.columns = pd.Index(["item", "entity"])
    return from_tables(triples, links, ids)


def same_films(films: Dataset, others: Dataset) -> list[str]:
    """For every item of ``films`` the id of the one of ``others`` with the same title and year, "" where
    there is none.
    """
    theirs = dict(zip(_keys(others), others.items["id"], strict=True))
    return [theirs.get(key, "") if key[1] else "" for key in _keys(films)]


def _keys(data: Dataset) -> list[tuple[str, str]]:
    years = data.items["year"].astype("string").fillna("").tolist()
    return [(plain_title(t), y) for t, y in zip(data.items["title"], years, strict=True)]


def plain_title(title: str) -> str:
    """Letters and digits of a title, without accents and without another title in brackets.

    >>> plain_title("La Cité des enfants perdus (The City of Lost Children)")
    'lacitedesenfantsperdus'
    """
    first = title.partition(" (")[0]
    letters = unicodedata.normalize("NFKD", first).casefold()
    return "".join(c for c in letters if c.isalnum())
