"""From a user's vector back to the history: sparse non-negative recovery over the catalogue.

Adversary: receives the vector that is released, knows the catalogue with its vectors and how popular each
item is (the encoder and the texts are public), and how many items the history has. Baseline: the same without
the vector, who names the most popular items.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from recsys_lib.core.errors import InputError
from recsys_lib.vectors import similarity

# What the attack may weigh popularity by: 0 trusts the vector alone, the last hardly looks at it.
PENALTIES = (0.0001, 0.003, 0.01, 0.03, 0.1)
ITERATIONS = 75


def recovery_scores(
    vectors: np.ndarray,
    item_vectors: np.ndarray,
    popularity: np.ndarray,
    penalty: float | np.ndarray,
    iterations: int = ITERATIONS,
) -> np.ndarray:
    """How likely each item is part of what made each vector, float64 ``[n, n_items]``: larger is likelier.

    ``min ½ |x V - u|² + penalty Σ_i w_i x_i`` with ``x >= 0`` over unit ``item_vectors [n_items, d]``: the
    mean of a history is a non-negative combination of few items. ``w_i = -log p_i`` from the item's
    ``popularity [n_items]`` makes it the most probable history; a small penalty is plain non-negative
    recovery, a large one leaves the most popular items. Solved by accelerated projected gradients (Beck and
    Teboulle, SIAM J. Imaging Sci. 2009). Items with a weight come first; the others follow by how near they
    are to getting one. The length of a vector does not matter. ``penalty``: one for all vectors, or ``[n]``.

    Raises:
        InputError: other dimensions, NaN, a penalty that is not positive.
    """
    u, items = np.asarray(vectors, dtype=np.float64), np.asarray(item_vectors, dtype=np.float32)
    if u.ndim != 2 or items.ndim != 2 or u.shape[1] != items.shape[1] or len(popularity) != len(items):
        raise InputError(
            f"vectors {u.shape}, items {items.shape}, popularity of "
            f"{len(popularity)}: expected one dimension and "
            "one number an item"
        )
    each = np.broadcast_to(np.asarray(penalty, dtype=np.float64), len(u))
    if not np.isfinite(u).all() or not (each > 0).all() or not np.isfinite(each).all():
        raise InputError(
            f"penalty={penalty!r}: expected positive numbers, and vectors without NaN or infinity"
        )
    # Who receives one sum for many users has one problem, not many.
    problems, row = np.unique(np.column_stack([u, each]), axis=0, return_inverse=True)
    return _solved(problems[:, :-1], items, popularity, problems[:, -1:], iterations)[row.ravel()]


def _solved(
    u: np.ndarray, items: np.ndarray, popularity: np.ndarray, penalty: np.ndarray, iterations: int
) -> np.ndarray:
    """``recovery_scores`` of different problems, ``penalty [n, 1]``."""
    v = similarity.normalize(items).astype(np.float64)
    lengths = np.linalg.norm(u, axis=1, keepdims=True)
    u = u / np.where(lengths > 0, lengths, 1)
    counts = np.asarray(popularity, dtype=np.float64)
    weights = penalty * -np.log((counts + 0.5) / (counts.max() + 1))
    step = 1 / max(float(np.linalg.eigvalsh(v.T @ v)[-1]), 1e-12)
    x = z = np.zeros((len(u), len(v)))
    momentum = 1.0
    for _ in range(iterations):
        new = np.maximum(z - step * ((z @ v - u) @ v.T + weights), 0)
        following = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        z, x, momentum = new + (momentum - 1) / following * (new - x), new, following
    near = (u - x @ v) @ v.T - weights
    return np.where(x > 0, x + 1e3, near)


@dataclass(frozen=True, eq=False)
class Recovered:
    """recall ``[n]``: the fraction of each user's history that comes back. baseline ``[n]``: without the
    vector. scores ``[n, n_items]``: how likely each item is part of the history, where the attack gives them.
    """

    sizes: np.ndarray
    recall: np.ndarray
    baseline: np.ndarray
    scores: np.ndarray | None = None

    def mean(self) -> dict[str, float]:
        return {"recall": float(self.recall.mean()), "baseline": float(self.baseline.mean())}


def attack(
    vectors: np.ndarray,
    item_vectors: np.ndarray,
    histories: sp.csr_matrix,
    popularity: np.ndarray,
    penalties: Sequence[float] = PENALTIES,
    calibration: int = 8,
) -> Recovered:
    """Recover every history ``[n, n_items]`` from ``vectors [n, d]``; ``popularity [n_items]`` is public.

    The adversary chooses the penalty by the recall on the first ``calibration`` users, whose histories it
    knows (its own accounts); these are left out of the result. Items of equal vectors cannot be told apart:
    naming one of them counts for each.

    Raises:
        InputError: another number of vectors than histories, an empty history, too few users.
    """
    if len(vectors) != histories.shape[0] or len(vectors) <= calibration or calibration < 1:
        raise InputError(
            f"{len(vectors)} vectors, {histories.shape[0]} histories, "
            f"calibration={calibration!r}: expected as many, and "
            "more than the calibration takes"
        )
    sizes = np.diff(histories.indptr)
    if not sizes.all():
        raise InputError(
            f"user {int(np.argmin(sizes))} has an empty history: expected at least one item to recover"
        )
    same = np.unique(np.asarray(item_vectors, dtype=np.float32), axis=0, return_inverse=True)[1].ravel()
    first = slice(0, calibration)
    # All penalties at once: a product of matrices of forty rows takes little longer than one of eight.
    each = np.repeat(np.asarray(penalties, dtype=np.float64), calibration)
    scores = recovery_scores(
        np.tile(vectors[first], (len(penalties), 1)), item_vectors, popularity, each
    ).reshape(len(penalties), calibration, -1)
    tried = [_recall(one, histories[first], same).mean() for one in scores]
    chosen = penalties[int(np.argmax(tried))]
    rest = slice(calibration, None)
    likely = recovery_scores(vectors[rest], item_vectors, popularity, chosen)
    found = _recall(likely, histories[rest], same)
    popular = np.repeat(np.asarray(popularity, dtype=np.float64)[None], len(found), axis=0)
    return Recovered(sizes[rest], found, _recall(popular, histories[rest], same), likely)


def _recall(scores: np.ndarray, histories: sp.csr_matrix, same: np.ndarray) -> np.ndarray:
    """The fraction of each history among as many best scores, ``[n]``; ``same`` names equal items."""
    found = np.empty(len(scores))
    for row, values in enumerate(scores):
        own = histories.indices[histories.indptr[row] : histories.indptr[row + 1]]
        ranked = same[np.argsort(-values, kind="stable")]
        distinct = ranked[np.sort(np.unique(ranked, return_index=True)[1])]
        found[row] = np.isin(same[own], distinct[: len(own)]).mean()
    return found


def learned_rotation(known: np.ndarray, turned: np.ndarray) -> np.ndarray:
    """The orthogonal matrix ``[d, d]`` that brings ``known [m, d]`` nearest to ``turned [m, d]``.

    Procrustes (Schönemann, Psychometrika 1966): what an adversary computes who knows the plain and the turned
    vector of ``m`` items or users.
    """
    if known.shape != turned.shape or not len(known):
        raise InputError(
            f"known {known.shape}, turned {turned.shape}: expected pairs of vectors, at least one"
        )
    moved = known.astype(np.float64).T @ turned.astype(np.float64)
    # Fewer pairs than dimensions leave part of the rotation open: a little of the identity decides it, where
    # the singular vectors of zero would be the processor's choice.
    moved += 1e-6 * np.linalg.norm(moved) * np.eye(len(moved))
    left, _, right = np.linalg.svd(moved)
    return left @ right
