"""Product quantization: each part of a vector is replaced by the nearest of a few learned ones (Jégou,
Douze and Schmid, 2011).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from recsys_lib.core.errors import InputError
from recsys_lib.vectors.quantization.arrays import LARGEST, NONE, aligned, blocks, check
from recsys_lib.vectors.quantization.bounds import with_errors
from recsys_lib.vectors.quantization.codes import QuantizedVectors

# Components are brought to about 1 before distances are squared in float32; farther than this they saturate.
FARTHEST = 2.0**40
# Items whose codes `grouped` puts together, as many as there are bytes in the widest vector register.
GROUP = 64
# Rounds of k-means, and vectors per centroid that it learns from at most: 25 rounds over all of 13,231 books
# lower the squared error by 1%.
ITERATIONS, MAX_PER_CENTROID = 10, 64


@dataclass(frozen=True, eq=False)
class Product:
    """Centroids ``[subspaces, 2^bits, components]``; where ``d`` does not divide, the last part is filled up
    with zeros.

    exponent: vectors are multiplied with ``2^-exponent`` before they are compared with centroids.
    """

    dimension: int
    bits: int
    centroids: np.ndarray
    exponent: int

    def quantize(self, vectors: np.ndarray) -> QuantizedVectors:
        v = check(vectors, self.dimension)
        quantizer = _empty_quantizer(self.centroids.shape, self.bits)
        _set_centroids(quantizer, np.ldexp(self.centroids.astype(np.float64), -self.exponent))
        codes = aligned((len(v), quantizer.code_size), np.uint8)
        for block in blocks(len(v)):
            codes[block] = quantizer.compute_codes(_scaled(v[block], self.exponent, self.centroids))
        q = QuantizedVectors(
            "pq",
            codes,
            self.dimension,
            NONE,
            NONE,
            NONE,
            self.centroids,
            self.centroids.nbytes,
            from_centroids,
        )
        return with_errors(q, v)


def _scaled(v: np.ndarray, exponent: int, centroids: np.ndarray) -> np.ndarray:
    width = centroids.shape[0] * centroids.shape[2]
    scaled = np.zeros((len(v), width), dtype=np.float32)
    scaled[:, : v.shape[1]] = np.clip(np.ldexp(v.astype(np.float64), -exponent), -FARTHEST, FARTHEST)
    return scaled


def _empty_quantizer(shape: tuple[int, ...], bits: int):
    import faiss

    return faiss.ProductQuantizer(shape[0] * shape[2], shape[0], bits)


def _set_centroids(quantizer, centroids: np.ndarray) -> None:
    import faiss

    faiss.copy_array_to_vector(np.ascontiguousarray(centroids, dtype=np.float32).ravel(), quantizer.centroids)


def grouped(q: QuantizedVectors) -> QuantizedVectors:
    """The same with codes in groups."""
    return replace(q, codes=in_groups(q.codes), decoder=from_groups)


def in_groups(codes: np.ndarray) -> np.ndarray:
    """Codes ``[n, width]`` uint8 of 64 items together, ``[groups, width, 64]``: a wide vector register reads
    a part of all of them at once.
    """
    n, width = codes.shape
    groups = aligned((-(-n // GROUP), width, GROUP), np.uint8)
    whole = n // GROUP
    groups[:whole] = codes[: whole * GROUP].reshape(whole, GROUP, width).swapaxes(1, 2)
    groups[whole:, :, : n % GROUP] = codes[whole * GROUP :].T
    return groups


def from_groups(q: QuantizedVectors, rows: slice | np.ndarray) -> np.ndarray:
    ids = np.arange(len(q))[rows]
    return _decoded(q, q.codes[ids // GROUP, :, ids % GROUP])


def from_centroids(q: QuantizedVectors, rows: slice | np.ndarray) -> np.ndarray:
    return _decoded(q, q.codes[rows])


def _decoded(q: QuantizedVectors, codes: np.ndarray) -> np.ndarray:
    subspaces, size, components = q.codebook.shape
    places = unpack(codes, subspaces, size.bit_length() - 1)
    v = q.codebook[np.arange(subspaces), places]
    return np.ascontiguousarray(v.reshape(len(places), subspaces * components)[:, : q.dimension])


def unpack(codes: np.ndarray, subspaces: int, bits: int) -> np.ndarray:
    """Places of centroids, ``[n, subspaces]``, from faiss's packing:
    ``bits`` each, low bits of a byte first.
    """
    if bits == 8:
        return codes.astype(np.int64)
    stream = np.unpackbits(codes, axis=1, bitorder="little", count=subspaces * bits)
    return stream.reshape(len(codes), subspaces, bits) @ (1 << np.arange(bits))


def fit(train: np.ndarray, subspaces: int | None = None, bits: int = 8, seed: int = 0) -> Product:
    import faiss

    n, d = train.shape
    parts = max(1, d // 8) if subspaces is None else subspaces
    if not isinstance(parts, int | np.integer) or not 1 <= parts <= d:
        raise InputError(f"subspaces={subspaces!r}: expected from 1 to {d}")
    if not isinstance(bits, int | np.integer) or not 1 <= bits <= 12:
        raise InputError(f"bits={bits!r}: expected from 1 to 12")
    if n < 2**bits:
        most = max(0, n.bit_length() - 1)
        raise InputError(
            f"pq learns 2^{bits} = {2**bits} centroids: expected at least as many vectors, not {n} "
            f"(bits={most})"
        )
    shape = (int(parts), 2**bits, -(-d // parts))
    exponent = int(np.frexp(np.abs(train).max())[1])
    quantizer = _empty_quantizer(shape, bits)
    quantizer.cp.seed, quantizer.cp.min_points_per_centroid = int(seed), 1
    quantizer.cp.niter, quantizer.cp.max_points_per_centroid = ITERATIONS, MAX_PER_CENTROID
    # On one thread the centroids depend on no other, and on a busy machine many short parallel rounds take
    # far longer.
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        quantizer.train(_scaled(train, exponent, np.empty(shape, dtype=np.float32)))
    finally:
        faiss.omp_set_num_threads(threads)
    centroids = np.ldexp(
        faiss.vector_to_array(quantizer.centroids).reshape(shape).astype(np.float64), exponent
    )
    return Product(d, int(bits), np.clip(centroids, -LARGEST, LARGEST).astype(np.float32), exponent)
