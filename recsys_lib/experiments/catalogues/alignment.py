"""Do the texts belong to the items? Items that are chosen together should have texts that are alike.

A join that is one row off costs no error and all of the text's worth; this check needs no model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from recsys_lib import encoders
from recsys_lib.data.datasets import Dataset, locations
from recsys_lib.data.datasets.plain_files import SHIFTED, load_plain
from recsys_lib.experiments.catalogues import protocol


def measure(name: str) -> dict[str, Any]:
    """``alike`` for a catalogue of the study; of ``SHIFTED`` also as its file was distributed."""
    data = protocol.catalogue(name)
    found = alike(data, data.item_texts(protocol.text_columns(data)))
    if name == SHIFTED:
        raw = load_plain("as distributed", locations.locate(name)).k_core(2, 1)
        before = alike(raw, raw.item_texts(protocol.text_columns(raw)))
        found |= {f"{key}, as distributed": value for key, value in before.items()}
    return found


def alike(data: Dataset, texts: Sequence[str]) -> dict[str, float]:
    """Mean cosine (TF-IDF) of every item's text with that of the item most often chosen with it (by the
    cosine of their users), and of all pairs; items that share no user with another are passed over.
    """
    matrix = data.matrix()
    shared = (matrix.T @ matrix).toarray()
    counts = shared.diagonal().copy()
    shared /= np.sqrt(np.maximum(np.outer(counts, counts), 1))
    np.fill_diagonal(shared, 0)
    nearest, known = shared.argmax(axis=1), shared.max(axis=1) > 0
    vectors = encoders.load("tfidf", corpus=list(texts)).encode(list(texts))
    together = (vectors[known] * vectors[nearest[known]]).sum(axis=1).mean()
    total = vectors.sum(axis=0)
    n = len(vectors)
    pairs = float(total @ total - (vectors**2).sum()) / (n * (n - 1))
    return {"together": float(together), "all pairs": pairs}
