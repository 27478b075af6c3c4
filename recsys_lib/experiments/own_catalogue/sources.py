"""What the items' texts become: vectors of labels, TF-IDF, an encoder and the user's own, by name."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from recsys_lib import encoders
from recsys_lib.core.errors import InputError
from recsys_lib.data.datasets import Dataset
from recsys_lib.experiments import study
from recsys_lib.experiments.study.item_texts import load_encoder
from recsys_lib.vectors import geometry

# What a method reads beside interactions. Chance reads nothing.
CHANCE, COLLABORATIVE, CHEAP, LANGUAGE = "chance", "collaborative filtering", "cheap text", "language model"
LABELS, TFIDF, JOINED = "labels", "TF-IDF", "labels and TF-IDF"
# Encoders that only count words or labels.
COUNTS = ("tfidf", "genres", "labels", "year")
MAX_LABELS = 2048


@dataclass(frozen=True, eq=False)
class Source:
    """Raw vectors ``[n_items, d]`` of one source of text, all 0 for an item without it, and its kind: CHEAP
    or LANGUAGE.
    """

    kind: str
    vectors: np.ndarray

    def centred(self, train: sp.csr_matrix) -> np.ndarray:
        """Minus the mean of the items that have both text and training interactions; items without text
        stay 0.
        """
        return self._mapped(train, geometry.centre)

    def whitened(self, train: sp.csr_matrix) -> np.ndarray:
        """Whitened on the items that have both text and training interactions; items without text stay 0."""
        return self._mapped(train, geometry.whiten)

    def _mapped(self, train: sp.csr_matrix, fit: Any) -> np.ndarray:
        written = np.asarray(self.vectors.any(axis=1))
        known = written & (np.asarray(train.sum(axis=0)).ravel() > 0)
        if not known.any():
            return self.vectors
        return np.where(written[:, None], fit(self.vectors[known]).apply(self.vectors), np.float32(0))


def encode_sources(
    data: Dataset,
    columns: Sequence[str],
    labels: str = "",
    encoder: str = "",
    own: Mapping[str, np.ndarray] | None = None,
) -> dict[str, Source]:
    """Every source that the items offer, by name.

    Labels (where that column is named), TF-IDF (where there are texts), both joined as notebook 05 joins
    them, the ``encoder`` (where there are texts; "" for none) and the user's ``own`` vectors by name. The
    encoder's and the own vectors also take part joined with the cheap text: a language model is never asked
    to do without the labels.

    Raises:
        InputError: ``encoder`` is one of those that only count.
    """
    if encoder in COUNTS:
        raise InputError(
            f"encoder={encoder!r}: expected a language model; labels and TF-IDF take part anyway"
        )
    texts, cheap, models = data.item_texts(tuple(columns)), {}, dict(own or {})
    if labels:
        vectors = label_vectors(data.items[labels].astype("string").fillna("").tolist())
        if vectors.any():
            cheap[LABELS] = vectors
    # An encoder gives a vector to the empty text too, near which whitening would place every item without
    # text.
    written = np.array([any(c.isalnum() for c in text) for text in texts])
    if written.any():
        cheap[TFIDF] = np.where(written[:, None], study.encode(data, "tfidf", texts), np.float32(0))
    if written.any() and encoder:
        models = {
            encoder: np.where(written[:, None], study.encode(data, encoder, texts), np.float32(0))
        } | models
    if len(cheap) == 2:
        cheap[JOINED] = study.side_by_side([cheap[TFIDF], cheap[LABELS]])
    return {name: Source(CHEAP, v) for name, v in cheap.items()} | {
        name: Source(LANGUAGE, v) for name, v in models.items()
    }


def joined_with_cheap(sources: Mapping[str, Source], name: str, train: sp.csr_matrix) -> np.ndarray | None:
    """The centred vectors of a language model beside the richest cheap text, or None where there is no
    cheap text.
    """
    cheap = next((c for c in (JOINED, TFIDF, LABELS) if c in sources), None)
    if cheap is None:
        return None
    return study.side_by_side([sources[name].centred(train), sources[cheap].vectors])


def label_vectors(labels: Sequence[str]) -> np.ndarray:
    """One component per label that at least two items have, the ``MAX_LABELS`` most frequent: float32 ``[n,
    labels]``.

    Labels are separated by ``, ; |`` or ``>``; where none of these occurs in any text and nearly all
    letters are small, as in ``python machine-learning``, by blanks.

    >>> label_vectors(["Tea > Green", "Tea;Black", "Mug"]).tolist()
    [[1.0], [1.0], [0.0]]
    """
    table: dict[str, str | int | None] = dict.fromkeys(";|>", ",")
    if not any(mark in text for text in labels for mark in ",;|>"):
        letters = [c for text in labels for c in text if c.isalpha()]
        if sum(c.islower() for c in letters) > 0.95 * len(letters):
            table[" "] = ","
    separated = [text.translate(str.maketrans(table)) for text in labels]
    counts = Counter(
        label for text in separated for label in {part.strip() for part in text.split(",")} if label
    )
    common = sorted(label for label, n in counts.most_common(MAX_LABELS) if n > 1)
    if not common:
        return np.zeros((len(labels), 1), dtype=np.float32)
    return encoders.load("genres", corpus=common).encode(separated)


def seconds_per_1000(name: str, texts: Sequence[str], max_texts: int = 128) -> float:
    """Seconds to encode 1,000 of these texts with labels, TF-IDF or an encoder, nothing cached, from up to
    ``max_texts``.

    Loading the model is not counted.
    """
    sample = list(dict.fromkeys(t for t in texts if t))[:max_texts]
    if not sample:
        return 0.0
    if name == LABELS:
        start = time.perf_counter()
        label_vectors(sample)
    elif name == TFIDF:
        start = time.perf_counter()
        encoders.load("tfidf", corpus=sample).encode(sample)
    else:
        uncached = {} if name == "wordllama" else {"precision": "float32", "cache": False}
        encoder = load_encoder(name, **uncached)
        encoder.encode(sample[:2], progress=False)  # loads the model
        start = time.perf_counter()
        encoder.encode(sample, progress=False)
    return (time.perf_counter() - start) / len(sample) * 1000
