"""What leaves the device: a user's vector as it is, in fewer bits, with noise, rotated, cut, or shared by
several users.

Each function takes unit vectors ``[n, d]`` and gives a ``Release``: the vectors as whoever receives them can
use them, the bytes of one, and the ε that is guaranteed, infinite where nothing is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recsys_lib.core.errors import InputError
from recsys_lib.trust.privacy.accountant import flip_probability, gaussian_sigma
from recsys_lib.vectors import quantization, similarity

# δ of Gaussian noise on a user's vector: below one in a hundred thousand users.
DELTA = 1e-5
# Two unit vectors are at most this far apart: any user is the neighbour of any other.
ANY_TWO_USERS = 2.0


@dataclass(frozen=True, eq=False)
class Release:
    """vectors: float32 ``[n, d]`` as received. bytes_per_vector: what is sent. epsilon: guaranteed for any
    two users.
    """

    name: str
    vectors: np.ndarray
    bytes_per_vector: float
    epsilon: float = np.inf


def plain(vectors: np.ndarray) -> Release:
    """The vectors in float32."""
    v = similarity.normalize(np.asarray(vectors, dtype=np.float32))
    return Release("float32", v, 4.0 * v.shape[1])


def quantized(vectors: np.ndarray, scheme: str) -> Release:
    """In fewer bits, by any scheme of ``vectors.quantization``; "binary" keeps signs without a mean."""
    v = similarity.normalize(np.asarray(vectors, dtype=np.float32))
    options = {"centre": False} if scheme == "binary" else {}
    codes = quantization.quantize(v, scheme, **options)
    return Release(
        "1 bit" if scheme == "binary" else scheme, codes.dequantize(), float(codes.bytes_per_vector)
    )


def noisy(vectors: np.ndarray, epsilon: float, delta: float = DELTA, seed: int = 0) -> Release:
    """With Gaussian noise, (``epsilon``, ``delta``)-private for any two users: local differential privacy.

    Unit vectors are at most 2 apart; the noise is calibrated exactly (``accountant.gaussian_sigma``).
    """
    v = similarity.normalize(np.asarray(vectors, dtype=np.float32))
    sigma = gaussian_sigma(epsilon, delta, ANY_TWO_USERS)
    noise = np.random.default_rng(seed).standard_normal(v.shape) * sigma
    return Release(f"noise, ε = {epsilon:g}", (v + noise).astype(np.float32), 4.0 * v.shape[1], epsilon)


def randomized_bits(vectors: np.ndarray, epsilon: float, seed: int = 0) -> Release:
    """Signs, each flipped with the probability that makes all ``d`` of them ``epsilon``-private together."""
    v = similarity.normalize(np.asarray(vectors, dtype=np.float32))
    flipped = np.random.default_rng(seed).random(v.shape) < flip_probability(epsilon, v.shape[1])
    signs = np.where((v >= 0) ^ flipped, 1.0, -1.0) / np.sqrt(v.shape[1])
    return Release(f"1 bit, flipped, ε = {epsilon:g}", signs.astype(np.float32), v.shape[1] / 8, epsilon)


def truncated(vectors: np.ndarray, item_vectors: np.ndarray, dimensions: int) -> Release:
    """Only the ``dimensions`` first coordinates along the principal axes of the items, which both sides know.

    Raises:
        InputError: fewer than 1 or more than ``d`` dimensions.
    """
    v = similarity.normalize(np.asarray(vectors, dtype=np.float32))
    if not 1 <= dimensions <= v.shape[1]:
        raise InputError(f"dimensions={dimensions!r}: expected 1 to {v.shape[1]}")
    items = similarity.normalize(np.asarray(item_vectors, dtype=np.float32)).astype(np.float64)
    axes = np.linalg.eigh(items.T @ items)[1][:, ::-1][:, :dimensions]
    kept = (v.astype(np.float64) @ axes) @ axes.T
    return Release(f"first {dimensions} axes", kept.astype(np.float32), 4.0 * dimensions)


def rotated(vectors: np.ndarray, seed: int = 0) -> tuple[Release, np.ndarray]:
    """Turned by a secret orthogonal matrix ``[d, d]``, which is given as well: cosines stay, coordinates do
    not.

    The server ranks with items turned alike.
    """
    v = similarity.normalize(np.asarray(vectors, dtype=np.float32))
    q, r = np.linalg.qr(np.random.default_rng(seed).standard_normal((v.shape[1], v.shape[1])))
    q = q * np.sign(np.diag(r))
    return Release("rotated", (v @ q).astype(np.float32), 4.0 * v.shape[1]), q


def shared(vectors: np.ndarray, least: int) -> Release:
    """The mean of a group of at least ``least`` users in the place of each: k-anonymous vectors, and so
    k-anonymous lists.

    Groups by halving along the principal axis of the group at its median (as Mondrian does along attributes:
    LeFevre, DeWitt and Ramakrishnan, ICDE 2006). Whoever forms the groups sees the vectors.

    Raises:
        InputError: ``least`` below 1 or above the number of users.
    """
    v = similarity.normalize(np.asarray(vectors, dtype=np.float32))
    if not 1 <= least <= len(v):
        raise InputError(f"least={least!r}: expected 1 to {len(v)}, the number of users")
    means = np.empty_like(v)
    open_groups = [np.arange(len(v))]
    while open_groups:
        group = open_groups.pop()
        if len(group) < 2 * least:
            means[group] = v[group].mean(axis=0)
            continue
        centred = (v[group] - v[group].mean(axis=0)).astype(np.float64)
        axis = np.linalg.svd(centred, full_matrices=False)[2][0]
        order = np.argsort(centred @ axis, kind="stable")
        open_groups += [group[order[: len(group) // 2]], group[order[len(group) // 2 :]]]
    return Release(f"shared by {least}", similarity.normalize(means), 4.0 * v.shape[1])
