"""What the nearest neighbours of a vector have in common with it: a measure of vectors that needs no user."""

from __future__ import annotations

import numpy as np

from recsys_lib.core.errors import InputError
from recsys_lib.vectors import similarity


def jaccard(labels: np.ndarray) -> np.ndarray:
    """Jaccard index of every two rows' label sets, ``[n, n]``; two rows without labels share nothing.

    labels: ``[n, n_labels]``, above 0 where a row has the label.

    >>> jaccard(np.array([[1, 1, 0], [0, 1, 1]]))[0, 1].round(2)
    np.float64(0.33)
    """
    held = (np.asarray(labels) > 0).astype(np.float64)
    both = held @ held.T
    sizes = held.sum(axis=1)
    return both / np.maximum(sizes[:, None] + sizes[None, :] - both, 1)


def label_overlap(vectors: np.ndarray, labels: np.ndarray, k: int = 10) -> np.ndarray:
    """For each row, the mean Jaccard index of its labels with those of its ``k`` nearest other rows by
    cosine, ``[n]``.

    vectors: ``[n, d]``; labels: ``[n, n_labels]``. What unrelated rows reach is the mean over all other rows:
    ``chance``.

    Raises:
        InputError: another number of rows, or fewer than ``k + 1``.
    """
    if len(vectors) != len(labels) or len(vectors) <= k:
        raise InputError(
            f"{len(vectors)} vectors and {len(labels)} rows of labels: expected as many, and more than k={k}"
        )
    ids, _ = similarity.top_k(vectors, vectors, k, exclude=[[row] for row in range(len(vectors))])
    return np.take_along_axis(jaccard(labels), ids, axis=1).mean(axis=1)


def chance(labels: np.ndarray) -> float:
    """The mean Jaccard index over all pairs of different rows: what neighbours drawn at random have."""
    shared = jaccard(labels)
    return float((shared.sum() - np.trace(shared)) / (len(shared) * (len(shared) - 1)))
