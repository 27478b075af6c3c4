"""What the items say, as vectors, and the controls that take away one thing each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp

from recsys_lib import encoders
from recsys_lib.data.datasets import Dataset
from recsys_lib.vectors import geometry, similarity


def encode(
    data: Dataset, encoder: str, texts: Sequence[str] | None = None, precision: str = "float32"
) -> np.ndarray:
    """Raw vectors ``[n_items, d]`` of the items' texts (default: all fields) by an encoder's name.

    ``labels``: one component per genre of a film or author of a book. ``year``: bumps four years wide.
    ``tfidf`` is fitted on the catalogue's texts. ``smollm2 echo``: SmolLM2 reading the text twice. Anything
    else: ``encoders.load``.
    """
    texts = data.item_texts() if texts is None else list(texts)
    if encoder == "labels":
        column = "genres" if "genres" in data.items else "author"
        labels = data.items[column].astype("string").fillna("")
        if column == "author":
            labels = labels.str.replace(",", " ")
        return encoders.load("genres", corpus=labels.tolist()).encode(labels.tolist())
    if encoder == "year":
        return _year_bumps(data)
    if encoder == "tfidf":
        return encoders.load("tfidf", corpus=texts).encode(texts)
    if encoder == "wordllama":
        return encoders.load(encoder).encode(texts)
    return load_encoder(encoder, precision=precision).encode(texts, progress=False)


def load_encoder(name: str, **options: Any) -> encoders.Encoder:
    """``encoders.load`` by a name that may end in a pooling, as in ``smollm2 echo``."""
    model, _, pooling = name.partition(" ")
    return encoders.load(model, **options, **({"pooling": pooling} if pooling else {}))


def _year_bumps(data: Dataset, width: float = 4.0) -> np.ndarray:
    """Gaussian bumps every ``width`` years; an item without a year is the zero vector."""
    years = data.items["year"].astype("Float64").to_numpy(dtype=float, na_value=np.nan)
    centres = np.arange(np.nanmin(years), np.nanmax(years) + width, width)
    bumps = np.exp(-0.5 * ((years[:, None] - centres) / width) ** 2)
    return np.nan_to_num(bumps).astype(np.float32)


def side_by_side(blocks: Sequence[np.ndarray]) -> np.ndarray:
    """Vectors ``[n, Σ d]`` whose cosines are the mean of the blocks' cosines,
    each block's rows having length 1.
    """
    return np.hstack([similarity.normalize(block) for block in blocks]) / np.float32(np.sqrt(len(blocks)))


def control_texts(data: Dataset, seed: int = 0) -> dict[str, list[str]]:
    """Item texts that take away one thing each: what remains of the quality was not owed to it.

    "title masked": an LLM may have met these very titles and what people said of them; without them it has
    only the other fields. "titles shuffled": every item under another's title. "all shuffled": another item's
    whole text.
    """
    fields = ("title", "author", "genres", "year")
    order = np.random.default_rng(seed).permutation(data.n_items)
    other = data.items["title"].to_numpy()[order]
    shuffled = Dataset(**{**vars(data), "items": data.items.assign(title=other)})
    whole = data.item_texts(fields)
    return {
        "all fields": whole,
        "title only": data.item_texts(("title",)),
        "year left out": data.item_texts(("title", "author", "genres")),
        "title masked": data.item_texts(("author", "genres", "year")),
        "titles shuffled": shuffled.item_texts(fields),
        "all shuffled": [whole[i] for i in order],
    }


def whitened(raw: np.ndarray, train: sp.csr_matrix) -> np.ndarray:
    """The study's geometry: ZCA whitening with the default shrinkage,
    fitted on the items that have training interactions.
    """
    known = np.asarray(train.sum(axis=0)).ravel() > 0
    return geometry.whiten(raw[known]).apply(raw)
