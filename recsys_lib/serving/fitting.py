"""From interactions to an artefact: encode, whiten, fit EASE and the map that places new items."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys_lib import encoders
from recsys_lib.core.errors import InputError
from recsys_lib.encoders import Encoder
from recsys_lib.recommenders import EASE, EASEMap
from recsys_lib.serving.artefact import Artefact, Catalogue, Interactions
from recsys_lib.serving.cold_map import ColdMap
from recsys_lib.serving.events import NewItem
from recsys_lib.vectors import geometry

if TYPE_CHECKING:
    # With it comes pandas, which takes longer to import than a server to start.
    from recsys_lib.data.datasets import Dataset

# What notebooks 04 and 05 chose on their validation parts for films.
DEFAULTS: dict[str, Any] = {
    "geometry": "zca",
    "ease_regularization": 400.0,
    "map_regularization": 3.0,
}
KINDS = {"ml-100k": "film", "book-crossing": "book"}


def from_dataset(
    data: Dataset, encoder: str | Encoder = "minilm", rows: np.ndarray | None = None, **settings: Any
) -> Artefact:
    """Fit an artefact on a data set, or on some ``rows`` of its interactions; not yet written.

    encoder: a name (``tfidf`` and ``genres`` are fitted on all item texts) or an encoder. settings: as
    ``DEFAULTS``. Items keep their order; users are in order of first appearance.

    Raises:
        InputError: no interaction, an unknown setting, what the encoder or the models refuse.
    """
    catalogue = catalogue_of(data)
    if isinstance(encoder, str):
        corpus = list(catalogue.texts) if encoder in ("tfidf", "genres") else None
        options = {} if encoder in ("tfidf", "genres", "wordllama") else {"precision": "float32"}
        encoder = encoders.load(encoder, corpus=corpus, **options)
    raw = encoder.encode(list(catalogue.texts), progress=False)
    return fit(catalogue, interactions_of(data, rows), encoder, raw, settings)


def catalogue_of(data: Dataset) -> Catalogue:
    """The items of a data set; labels are the parts of its column ``genres``, where it has one."""
    table = data.items
    genres = table["genres"].astype("string").fillna("").tolist() if "genres" in table.columns else []
    labels = [tuple(part.strip() for part in text.split(",") if part.strip()) for text in genres]
    return Catalogue(
        ids=tuple(table["id"].astype(str)),
        titles=tuple(table["title"].astype("string").fillna("")),
        labels=tuple(labels) if labels else ((),) * len(table),
        texts=tuple(data.item_texts()),
        kind=KINDS.get(data.name, "item"),
    )


def interactions_of(data: Dataset, rows: np.ndarray | None = None) -> Interactions:
    """The interactions of a data set, or some of them, in order of time where it is known."""
    user, item = data.user, data.item
    time = np.zeros(len(user), np.int64) if data.timestamp is None else data.timestamp
    if rows is not None:
        user, item, time = user[rows], item[rows], time[rows]
    order = np.argsort(time, kind="stable")
    user, item, time = user[order], item[order], time[order]
    first = np.unique(user, return_index=True)
    appeared = first[0][np.argsort(first[1])]
    place = np.zeros(data.n_users, dtype=np.int32)
    place[appeared] = np.arange(len(appeared), dtype=np.int32)
    ids = data.users["id"].astype(str).to_numpy()[appeared]
    return Interactions(tuple(ids.tolist()), place[user], item.astype(np.int32), time.astype(np.int64))


def fit(
    catalogue: Catalogue,
    interactions: Interactions,
    encoder: Encoder | Path,
    raw: np.ndarray,
    settings: dict[str, Any] | None = None,
    **more: Any,
) -> Artefact:
    """Fit geometry, EASE and the map of new items; ``more`` goes to the artefact (watermarks, evaluation).

    ``raw``: text vectors ``[n_items, d]``. The geometry is fitted on items with interactions. Warm items keep
    EASE's own columns, the others get the map's, so that all scores have one scale.

    Raises:
        InputError: no interaction, an unknown setting, what the models refuse.
    """
    chosen = DEFAULTS | dict(settings or {})
    unknown = [name for name in chosen if name not in DEFAULTS]
    if unknown:
        raise InputError(f"setting {unknown[0]!r} is unknown: expected one of {', '.join(DEFAULTS)}")
    if not len(interactions.user):
        raise InputError("no interaction: a recommender needs some to be fitted on")
    train = interactions.matrix(len(catalogue.ids))
    warm = np.flatnonzero(np.asarray(train.sum(axis=0)).ravel())
    shape = geometry.fit_geometry(chosen["geometry"], raw[warm])
    vectors = shape.apply(np.asarray(raw))
    columns = np.asarray(EASE(chosen["ease_regularization"]).fit(train).weights)
    model = EASEMap(
        vectors, chosen["map_regularization"], chosen["ease_regularization"], keep_warm=True, columns=columns
    ).fit(train)
    placing = ColdMap.fit(vectors, columns, warm, chosen["map_regularization"])
    return Artefact(catalogue, interactions, model, placing, shape, raw, vectors, encoder, chosen, **more)


def encoded(artefact: Artefact, items: Sequence[NewItem]) -> list[NewItem]:
    """The items with vectors of the artefact's encoder: those of another one are encoded anew."""
    others = [item for item in items if item.encoder != artefact.encoder_id]
    if not others:
        return list(items)
    vectors = artefact.encoder.encode([item.text for item in others], progress=False)
    anew = {
        item.id: replace(item, vector=vector, encoder=artefact.encoder_id)
        for item, vector in zip(others, vectors, strict=True)
    }
    return [anew.get(item.id, item) for item in items]


def extended(catalogue: Catalogue, rows: Sequence[dict[str, Any]]) -> Catalogue:
    """The catalogue with new items at its end; ``rows``: id, title, labels and text of each."""
    return Catalogue(
        catalogue.ids + tuple(row["id"] for row in rows),
        catalogue.titles + tuple(row["title"] for row in rows),
        catalogue.labels + tuple(tuple(row["labels"]) for row in rows),
        catalogue.texts + tuple(row["text"] for row in rows),
        catalogue.kind,
    )
