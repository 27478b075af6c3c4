"""What is known of the items of a catalogue, each kind as a block of vectors."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from recsys_lib import encoders
from recsys_lib.core.errors import InputError
from recsys_lib.data import datasets
from recsys_lib.data.datasets import Dataset, locations
from recsys_lib.data.datasets.knowledge import AWARDS, Graph, load_knowledge, same_films
from recsys_lib.encoders import graph as graphs
from recsys_lib.encoders import images
from recsys_lib.evaluation import neighbour_agreement
from recsys_lib.experiments.study.item_texts import encode, side_by_side
from recsys_lib.vectors import fusion, geometry

POSTERS = "posters.zip"
# Kinds that an encoder makes are centred; counts are not, as in notebook 05.
CENTRED = ("text", "title", "image")
GRAPH_DIMENSIONS = 512
# Where bumps stand along standardized prices, and how wide they are, in standard deviations.
STEP = 0.5
SCALE = np.arange(-3.0, 3.0 + STEP, STEP)
# How a film finds its entity in the graph of MovieLens-100K.
BY_TITLE, DISTRIBUTED = "by title", "distributed"
LINKS = (BY_TITLE, DISTRIBUTED)


@dataclass(frozen=True, eq=False)
class Items:
    """A catalogue and its blocks by name, float32 ``[n_items, d]``, rows of zeros where an item has none."""

    data: Dataset
    blocks: Mapping[str, np.ndarray]
    notes: Sequence[str] = field(default_factory=tuple)

    def ready(self, train) -> dict[str, np.ndarray]:
        """The blocks as maps read them: centred by the items with training interactions where a model made
        them.
        """
        known = np.asarray(train.sum(axis=0)).ravel() > 0
        return {
            name: fusion.mapped(block, known, geometry.centre) if name in CENTRED else block
            for name, block in self.blocks.items()
        }


def metadata(data: Dataset) -> np.ndarray:
    """Genres, and bumps along the years."""
    return side_by_side([encode(data, "labels"), encode(data, "year")])


def tags(data: Dataset) -> np.ndarray:
    """TF-IDF of what people wrote of an item; 0 for one without tags."""
    texts = data.items["tags"].astype("string").fillna("").tolist()
    return encoders.load("tfidf", corpus=[t for t in texts if t]).encode(texts)


def tagged_films_data(min_ratings: int = 20) -> Dataset:
    """The films of ``tagged_films``."""
    data, posters = datasets.load("ml-latest-small").k_core(1, min_ratings), _posters()
    return _sub_catalogue(data, np.flatnonzero([i in posters for i in data.items["id"]]))


def price(data: Dataset) -> np.ndarray:
    """Prices, float32 ``[n_items, 2 · len(SCALE)]``: the standardized logarithm of the price, and the same
    less the mean of its category, each as Gaussian bumps along ``SCALE``.

    A kernel of unit vectors would see only the sign of a single number, hence the bumps. An item without a
    price, or with one of 0, has a row of zeros, which every method here takes for "has none". Without
    categories the second half equals the first. ``price`` may be text such as "$1,299.00"; a range is none.
    """
    written = data.items["price"].astype("string").str.replace(r"[$,\s]", "", regex=True)
    numbers = pd.to_numeric(written, errors="coerce").astype(float)
    logs = np.log(numbers.where(numbers > 0))
    labels = data.items["genres"].astype("string").fillna("") if "genres" in data.items else ""
    groups = pd.Series(labels, index=logs.index)
    within = logs - logs.groupby(groups).transform("mean")
    return side_by_side([_along_scale(logs), _along_scale(within)])


def _along_scale(values: pd.Series) -> np.ndarray:
    """Standardized values as bumps along ``SCALE``, rows of zeros for missing ones."""
    spread = float(values.std(ddof=0))
    standard = ((values - values.mean()) / (spread if spread > 0 else 1.0)).clip(SCALE[0], SCALE[-1])
    bumps = np.exp(-0.5 * ((standard.to_numpy()[:, None] - SCALE) / STEP) ** 2)
    return np.nan_to_num(bumps).astype(np.float32)


def films(encoder: str = "minilm", links: str = BY_TITLE, dimensions: int = GRAPH_DIMENSIONS) -> Items:
    """MovieLens-100K with text, knowledge graph and metadata.

    ``links``: "by title" finds each film's id in the numbering of the links by title and year, which needs
    MovieLens latest small on this machine; "distributed" takes the ids as they are, see ``load_knowledge``.
    With "by title" two more blocks: ``distributed``, the graph by the other links, and ``unawarded``, the
    graph without awards and nominations, which no new film has.

    Raises:
        InputError: other links, or no MovieLens latest small on this machine.
    """
    if links not in LINKS:
        raise InputError(f"links={links!r}: expected one of {', '.join(LINKS)}")
    data = datasets.load("ml-100k")
    blocks = {"text": encode(data, encoder), "graph": graph_block(data, links, dimensions)}
    blocks["metadata"] = metadata(data)
    if links == BY_TITLE:
        blocks["distributed"] = graph_block(data, DISTRIBUTED, dimensions)
        unawarded = film_graph(data, links).without(AWARDS)
        blocks["unawarded"] = graphs.compact(graphs.neighbour_counts(unawarded), dimensions)
    return Items(data, blocks)


def graph_block(data: Dataset, links: str, dimensions: int = GRAPH_DIMENSIONS) -> np.ndarray:
    """Shared neighbours in the graph of MovieLens-100K, by one of ``LINKS``."""
    return graphs.compact(graphs.neighbour_counts(film_graph(data, links)), dimensions)


def film_graph(data: Dataset, links: str) -> Graph:
    """The graph of MovieLens-100K, its films found by one of ``LINKS``."""
    if links == DISTRIBUTED:
        return load_knowledge(data.items["id"].tolist())
    return load_knowledge(same_films(data, datasets.load("ml-latest-small")))


def films_with_posters(encoder: str = "minilm") -> Items:
    """The films of MovieLens-100K whose poster is on this machine and that the graph knows, so that who has
    what tells nothing: as ``films``, with title and image.

    Raises:
        InputError: no posters on this machine.
    """
    whole = films(encoder)
    ids, pictured = _with_poster(whole.data)
    linked = fusion.present(whole.blocks["graph"])
    found = [i for i in pictured if linked[i]]
    data = _sub_catalogue(whole.data, np.array(found))
    chosen = [ids[int(i) - 1] for i in data.items["id"]]
    kept = data.items["id"].astype(int).to_numpy() - 1
    blocks = {name: block[kept] for name, block in whole.blocks.items()}
    return Items(data, blocks | _title_and_image(data, encoder, chosen))


def _with_poster(data: Dataset) -> tuple[list[str], list[int]]:
    """Ids of MovieLens-100K's films in the other numbering, and the places of those with a poster."""
    ids, have = same_films(data, datasets.load("ml-latest-small")), _posters()
    return ids, [i for i, other in enumerate(ids) if other in have]


def posters_used() -> dict[str, int]:
    """How many films of MovieLens-100K have a poster here (which lists some films twice), how many different
    posters these are, and how many of the films the graph links, which ``films_with_posters`` takes.

    Raises:
        InputError: no posters on this machine.
    """
    data = datasets.load("ml-100k")
    ids, pictured = _with_poster(data)
    linked = fusion.present(graph_block(data, BY_TITLE))
    return {
        "with a poster": len(pictured),
        "posters": len({ids[i] for i in pictured}),
        "with a poster and an entity": int(linked[pictured].sum()),
    }


def tagged_films(encoder: str = "minilm", min_ratings: int = 20) -> Items:
    """MovieLens latest small, films with ``min_ratings`` and a poster: text, tags, metadata, title and image.

    Raises:
        InputError: the data or the posters are not on this machine.
    """
    data = tagged_films_data(min_ratings)
    blocks = {
        "text": encode(data, encoder, data.item_texts(("title", "genres", "year"))),
        "tags": tags(data),
        "metadata": metadata(data),
    }
    return Items(data, blocks | _title_and_image(data, encoder, data.items["id"].tolist()))


def groceries(encoder: str = "minilm", min_households: int = 100) -> Items:
    """The Complete Journey, products that ``min_households`` bought: text (type, size, brand, category and
    department), categories (the last three as labels) and price.

    Raises:
        InputError: the data are not on this machine.
    """
    data = groceries_data(min_households)
    blocks = {"text": encode(data, encoder), "categories": categories(data), "price": price(data)}
    return Items(data, blocks)


def groceries_data(min_households: int = 100) -> Dataset:
    """The products of ``groceries``."""
    return datasets.load("complete-journey").k_core(5, min_households)


def categories(data: Dataset) -> np.ndarray:
    """Category and department, and whose brand it is, as labels."""
    return side_by_side([encode(data, "labels"), _labels(data, "author")])


def office_products(encoder: str = "minilm", min_purchases: int = 5) -> Items:
    """Amazon's office products with ``min_purchases``: text and brand; their files have no price and no
    category.

    Raises:
        InputError: the data are not on this machine.
    """
    data = datasets.load("amazon-office-products").k_core(1, min_purchases)
    text = encode(data, encoder, data.item_texts(("title", "author", "description")))
    return Items(data, {"text": text, "brand": _labels(data, "author")})


def _labels(data: Dataset, column: str) -> np.ndarray:
    labels = data.items[column].astype("string").fillna("").str.replace(",", " ").tolist()
    return encoders.load("genres", corpus=labels).encode(labels)


def _sub_catalogue(data: Dataset, items: np.ndarray) -> Dataset:
    return data.select(np.isin(data.item, items))


def _title_and_image(data: Dataset, encoder: str, ids: Sequence[str]) -> dict[str, np.ndarray]:
    return {"title": encode(data, encoder, data.item_texts(("title",))), "image": _images(ids)}


def _archive() -> Path:
    path = locations.locate("ml-latest-small") / POSTERS
    if not path.is_file():
        raise InputError(f"{path.name}: not on this machine; pictures of films are not part of any data set")
    return path


def _posters() -> set[str]:
    """Ids of the films whose poster is in the archive."""
    with zipfile.ZipFile(_archive()) as archive:
        return {Path(name).stem for name in archive.namelist()}


def _images(ids: Sequence[str]) -> np.ndarray:
    """Vectors of the posters; neither they nor the pictures are kept."""
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(_archive()) as archive:
        names = [f"{i}.jpg" for i in ids]
        archive.extractall(folder, names)
        found = images.load(cache=False).encode([Path(folder) / name for name in names], progress=False)
    if found.note:
        print(found.note, flush=True)
    return found.vectors


def genres_shared(data: Dataset, links: str, k: int = 10) -> dict[str, float]:
    """How many genres linked films share with their nearest films in the graph, and with random ones (Jaccard
    index). No user is needed to see that links are wrong.
    """
    vectors = graph_block(data, links)
    linked = vectors.any(axis=1)
    genres = encode(data, "labels")[linked]
    nearest = float(neighbour_agreement.label_overlap(vectors[linked], genres, k).mean())
    return {
        "films linked": float(linked.sum()),
        "nearest": nearest,
        "random": neighbour_agreement.chance(genres),
    }
