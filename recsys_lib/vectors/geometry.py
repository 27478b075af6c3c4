"""The shape of a cloud of vectors, and maps that change it: centring, dropping top components, whitening.

Maps are fitted on training items only and then applied to any vectors; all are affine,
``(v - mean) @ matrix``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recsys_lib.core import memory, storage
from recsys_lib.core.errors import InputError
from recsys_lib.vectors import similarity

# Rows that are mapped at once: bounds the memory of their float64 copy.
BLOCK_ROWS = 8192
# Products are computed in a multiple of so many rows.
GROUP_ROWS = 64
KIND = "geometry"
GEOMETRIES = ("raw", "centred", "top-removed", "zca", "pca")


# ---------------------------------------------------------------- what shape is it


def random_pair_cosines(v: np.ndarray, n_pairs: int = 20_000, seed: int = 0) -> np.ndarray:
    """Cosines of ``n_pairs`` random pairs of different rows of ``v [n, d]``: what a cosine is by chance.

    Raises:
        InputError: fewer than two rows.
    """
    if len(v) < 2:
        raise InputError(f"v has {len(v)} rows: random pairs need at least 2")
    if not isinstance(n_pairs, int | np.integer) or n_pairs < 1:
        raise InputError(f"n_pairs={n_pairs!r}: expected at least 1")
    rng = np.random.default_rng(seed)
    left = rng.integers(0, len(v), n_pairs)
    right = (left + rng.integers(1, len(v), n_pairs)) % len(v)
    unit = similarity.normalize(v)
    return np.clip(np.einsum("ij,ij->i", unit[left], unit[right]), -1, 1)


def _spectrum(v: np.ndarray) -> np.ndarray:
    """Eigenvalues of the covariance of ``v [n, d]``, largest first, none negative."""
    v = _fit_input(v, "v")
    centred = v - v.mean(axis=0)
    return np.linalg.svd(centred, compute_uv=False) ** 2 / max(1, len(v))


def effective_rank(v: np.ndarray) -> float:
    """``exp(entropy)`` of the normalized covariance eigenvalues: how many directions the cloud really uses, 1
    to d.

    Roy and Vetterli, "The effective rank" (2007), applied to the covariance. 0 for a cloud that is a single
    point.
    """
    eigenvalues = _spectrum(v)
    if eigenvalues.sum() <= 0:
        return 0.0
    p = eigenvalues[eigenvalues > 0] / eigenvalues.sum()
    return float(np.exp(-(p * np.log(p)).sum()))


def participation_ratio(v: np.ndarray) -> float:
    """``(Σλ)² / Σλ²`` of the covariance eigenvalues: as ``effective_rank``, 1 to d, but strong directions
    count more.

    0 for a cloud that is a single point.
    """
    eigenvalues = _spectrum(v)
    return float(eigenvalues.sum() ** 2 / (eigenvalues**2).sum()) if eigenvalues.sum() > 0 else 0.0


def isotropy(v: np.ndarray) -> float:
    """``min Z(c) / max Z(c)``, ``Z(c) = Σ exp(c·v)`` over unit rows v and the eigenvectors c of ``VᵀV``, 0 to
    1.

    1 for vectors that point everywhere alike (Mu and Viswanath, "All-but-the-Top", ICLR 2018, after Arora et
    al., 2016). Each eigenvector is taken with both signs, so that its arbitrary sign does not matter.
    """
    unit = similarity.normalize(_fit_input(v, "v"))
    along = unit @ np.linalg.eigh(unit.T @ unit)[1]
    sums = np.concatenate([np.exp(along).sum(axis=0), np.exp(-along).sum(axis=0)])
    return float(sums.min() / sums.max())


def hubness(v: np.ndarray, k: int = 10) -> float:
    """Skewness of how often an item is among the ``k`` nearest (cosine) of the others; 0 none, above 1 marked
    hubs.

    Radovanović, Nanopoulos and Ivanović, "Hubs in Space" (2010).
    """
    n = len(v)
    if n <= k + 1:
        raise InputError(f"v has {n} rows: hubness at k={k} needs more than {k + 1}")
    ids, _ = similarity.top_k(v, v, k, exclude=[[i] for i in range(n)])
    counts = np.bincount(ids.ravel(), minlength=n).astype(float)
    spread = counts.std()
    return float(((counts - counts.mean()) ** 3).mean() / spread**3) if spread else 0.0


@dataclass(frozen=True)
class Shape:
    """Mean and spread of random-pair cosines, effective rank,
    share of variance in the first direction, hubness.
    """

    mean_cosine: float
    cosine_spread: float
    effective_rank: float
    first_direction: float
    hubness: float


def shape(v: np.ndarray, seed: int = 0) -> Shape:
    """Everything above about one cloud."""
    cosines, eigenvalues = random_pair_cosines(v, seed=seed), _spectrum(v)
    first = float(eigenvalues[0] / eigenvalues.sum()) if eigenvalues.sum() > 0 else 0.0
    return Shape(float(cosines.mean()), float(cosines.std()), effective_rank(v), first, hubness(v))


# ---------------------------------------------------------------- maps


@dataclass(frozen=True, eq=False)
class Geometry:
    """A fitted affine map: ``apply(v) = (v - mean) @ matrix``. mean ``[d]``,
    matrix ``[d, m]`` or None for the identity.
    """

    name: str
    mean: np.ndarray
    matrix: np.ndarray | None

    def apply(self, v: np.ndarray) -> np.ndarray:
        """Map ``v [n, d]`` to float32 ``[n, m]``.

        Raises:
            InputError: another ``d`` than the map was fitted on, NaN or infinity.
        """
        v = np.asarray(v, dtype=np.float32)
        if v.ndim != 2 or v.shape[1] != len(self.mean):
            raise InputError(
                f"v has shape {v.shape}: the {self.name} map was fitted on [n, {len(self.mean)}]"
            )
        if not np.isfinite(v).all():
            row = int(np.flatnonzero(~np.isfinite(v).all(axis=1))[0])
            raise InputError(f"v row {row} holds NaN or infinity: expected finite numbers")
        centred = v - self.mean
        if self.matrix is None:
            return centred
        # Summed in float64 and in whole groups of rows, so that equal rows stay equal wherever they stand, on
        # every processor: the rows that are left over would be summed in another order.
        matrix, mapped = (
            self.matrix.astype(np.float64),
            np.empty((len(v), self.matrix.shape[1]), dtype=np.float32),
        )
        for start in range(0, len(v), BLOCK_ROWS):
            block = centred[start : start + BLOCK_ROWS]
            whole = np.zeros((-(-len(block) // GROUP_ROWS) * GROUP_ROWS, v.shape[1]))
            whole[: len(block)] = block
            mapped[start : start + BLOCK_ROWS] = (whole @ matrix)[: len(block)]
        return mapped

    def save(self, folder: str | Path) -> None:
        """Write the map to ``folder``, see ``core.storage``.

        Raises:
            InputError: a folder that cannot be written.
        """
        arrays = {"mean": self.mean} if self.matrix is None else {"mean": self.mean, "matrix": self.matrix}
        storage.save(folder, KIND, arrays, {"name": self.name})

    @staticmethod
    def load(folder: str | Path) -> Geometry:
        """What ``save`` wrote: the same map in every bit.

        Raises:
            InputError: nothing saved there, another kind, another version, or damaged files.
        """
        arrays, meta = storage.load(folder, KIND)
        return Geometry(meta["name"], arrays["mean"], arrays.get("matrix"))


def _fit_input(train_v: np.ndarray, name: str = "train_v") -> np.ndarray:
    memory.require(
        16.0 * np.size(train_v),
        f"a map fitted in float64 on vectors of shape {np.shape(train_v)}",
        "fit it on fewer rows",
    )
    v = np.asarray(train_v, dtype=np.float64)
    if v.ndim != 2 or not v.shape[0] or not v.shape[1] or not np.isfinite(v).all():
        raise InputError(
            f"{name} of shape {v.shape}: expected finite vectors [n, d] with n and d of at least 1"
        )
    return v


def centre(train_v: np.ndarray) -> Geometry:
    """Subtract the mean of the training vectors: takes away the offset that all of them share."""
    v = _fit_input(train_v)
    return Geometry("centred", v.mean(axis=0).astype(np.float32), None)


def remove_top_components(train_v: np.ndarray, n: int = 2) -> Geometry:
    """Centre and project out the ``n`` strongest directions (Mu and Viswanath,
    "All-but-the-Top", ICLR 2018).
    """
    v = _fit_input(train_v)
    if not isinstance(n, int | np.integer) or not 0 <= n < v.shape[1]:
        raise InputError(f"n={n!r}: expected from 0 to {v.shape[1] - 1} components removed")
    mean = v.mean(axis=0)
    directions = np.linalg.svd(v - mean, full_matrices=False)[2][:n]
    matrix = np.eye(v.shape[1]) - directions.T @ directions
    return Geometry("top-removed", mean.astype(np.float32), matrix.astype(np.float32))


def whiten(
    train_v: np.ndarray, kind: str = "zca", dimensions: int | None = None, shrinkage: float = 0.5
) -> Geometry:
    """Centre and give every direction the same variance.

    The covariance is shrunk towards a sphere of its mean variance, ``(1-s) C + s (tr C / d) I``, which keeps
    directions of almost no variance, mostly noise, from being blown up (Ledoit and Wolf, 2004, with ``s``
    given). ``kind="pca"`` returns coordinates along the eigenvectors, strongest first; ``"zca"`` rotates them
    back, nearest to the input. ``dimensions`` keeps only so many of the strongest (after zca the output still
    has d columns). A cloud without variance is only centred.

    Raises:
        InputError: an unknown kind, ``dimensions`` outside 1..d, ``shrinkage`` outside [0, 1].
    """
    v = _fit_input(train_v)
    d = v.shape[1]
    kept = d if dimensions is None else dimensions
    whole = isinstance(kept, int | np.integer) and 1 <= kept <= d
    if kind not in ("zca", "pca") or not whole or not 0 <= shrinkage <= 1:
        raise InputError(
            f"kind={kind!r}, dimensions={dimensions!r}, shrinkage={shrinkage!r}: expected zca or pca, 1 to "
            f"{d}, 0 to 1"
        )
    mean = v.mean(axis=0)
    eigenvalues, vectors = np.linalg.eigh(np.cov(v.T, bias=True).reshape(d, d))
    eigenvalues, vectors = np.maximum(eigenvalues[::-1], 0), _signed(vectors[:, ::-1])
    shrunk = (1 - shrinkage) * eigenvalues + shrinkage * eigenvalues.mean()
    if shrunk[0] < 1e-30:  # a single point, or as good as one: its inverse would not fit float32
        return Geometry(
            kind, mean.astype(np.float32), None if kept == d else np.eye(d, kept, dtype=np.float32)
        )
    # Without shrinkage a direction of no variance stays at zero rather than being divided by it.
    inverse = np.where(shrunk > 1e-10 * shrunk[0], 1 / np.sqrt(np.maximum(shrunk, 1e-300)), 0)
    matrix = (vectors * inverse)[:, :kept]
    if kind == "zca":
        matrix = matrix @ vectors[:, :kept].T
    return Geometry(kind, mean.astype(np.float32), matrix.astype(np.float32))


def _signed(vectors: np.ndarray) -> np.ndarray:
    """Columns turned so that the largest component of each is positive:
    an eigenvector's sign depends on the processor.
    """
    largest = np.take_along_axis(vectors, np.abs(vectors).argmax(axis=0)[None], axis=0)
    return vectors * np.where(largest < 0, -1.0, 1.0)


def fit_geometry(name: str, train_v: np.ndarray, **options) -> Geometry:
    """A map by name: raw, centred, top-removed, zca, pca; ``options`` go to the map's own function."""
    if name == "raw":
        v = _fit_input(train_v)
        return Geometry("raw", np.zeros(v.shape[1], dtype=np.float32), None)
    if name not in GEOMETRIES:
        raise InputError(f"geometry={name!r}: expected one of {', '.join(GEOMETRIES)}")
    if name == "centred":
        return centre(train_v, **options)
    if name == "top-removed":
        return remove_top_components(train_v, **options)
    return whiten(train_v, kind=name, **options)


# ---------------------------------------------------------------- what is a cosine worth


@dataclass(frozen=True, eq=False)
class Calibration:
    """Random-pair cosines, sorted: turns a raw cosine into how unusual it is."""

    sample: np.ndarray

    @staticmethod
    def fit(v: np.ndarray, n_pairs: int = 100_000, seed: int = 0) -> Calibration:
        """From random pairs of ``v [n, d]``."""
        return Calibration(np.sort(random_pair_cosines(v, n_pairs, seed)))

    def percentile(self, cosine: np.ndarray | float) -> np.ndarray:
        """Percent of random pairs with a smaller cosine (ties count half): 50 is ordinary. 0 and 100 at the
        ends.

        Raises:
            InputError: a cosine that is NaN, which would sort above all.
        """
        if np.isnan(cosine).any():
            raise InputError("cosine holds NaN: expected numbers")
        below = np.searchsorted(self.sample, cosine, side="left") + np.searchsorted(
            self.sample, cosine, side="right"
        )
        return 50.0 * below / len(self.sample)

    def z_score(self, cosine: np.ndarray | float) -> np.ndarray:
        """Standard deviations above the mean of random pairs; 0 where they have no spread."""
        spread = self.sample.std()
        return (
            (np.asarray(cosine) - self.sample.mean()) / spread
            if spread
            else np.zeros_like(np.asarray(cosine, float))
        )
