"""The container of quantized vectors: codes, what is needed to dequantize them,
and the bound of every one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recsys_lib.core import memory
from recsys_lib.vectors.quantization import bounds


@dataclass(frozen=True, eq=False)
class QuantizedVectors:
    """``n`` vectors of ``dimension`` components as codes; made by ``quantize``.

    codes: ``[n, width]``: float32, float16, bfloat16 as uint16, int8, or packed uint8 (int4: low half first,
    8 more than the code; binary: first component in the highest bit; pq: as faiss packs them).
    scale: what codes are multiplied with: ``[n]`` (int8, int8-offset, binary, pca-int8), ``[d]``
    (int8-dimension), ``[n, groups]`` (int4), else empty. offset: what is added: ``[n]`` (int8-offset),
    ``[d]`` (int8-dimension, binary, pca), else empty.
    codebook: shared by all vectors: pq ``[subspaces, 2^bits, components]``, pca ``[kept, d]``, else empty.
    errors: ``[n]`` float32, at least the Euclidean distance between vector and ``dequantize()``, rounding
    included.
    shared_bytes: of what does not grow with ``n``. decoder: reads codes.
    """

    scheme: str
    codes: np.ndarray
    dimension: int
    scale: np.ndarray
    offset: np.ndarray
    errors: np.ndarray
    codebook: np.ndarray
    shared_bytes: int
    decoder: Callable[[QuantizedVectors, slice | np.ndarray], np.ndarray]

    def __len__(self) -> int:
        return len(self.errors)

    def dequantize(self, rows: np.ndarray | slice | None = None) -> np.ndarray:
        """Float32 vectors ``[m, d]`` of the given ``rows`` (places, a mask or a slice), by default of all."""
        rows = slice(None) if rows is None else rows if isinstance(rows, slice) else np.asarray(rows)
        if isinstance(rows, np.ndarray) and not rows.size:
            rows = rows.astype(np.int64)
        return self.decoder(self, rows)

    @property
    def bytes_per_vector(self) -> float:
        """All that is stored to dequantize, over ``n``: codes, scales, offsets and the share of what is
        common to all.

        The bounds, 4 bytes per vector, are not in it: only exact search reads them.
        """
        return self.bytes_among(len(self))

    def bytes_among(self, n: int) -> float:
        """Bytes per vector in a collection of ``n`` such vectors:
        what is common to all is shared by so many; 0 leaves it out.
        """
        stored = (
            self.codes.nbytes
            + self.scale.nbytes
            + self.offset.nbytes
            + self.codebook.nbytes
            - self.shared_bytes
        )
        of_one = stored / len(self) if len(self) else self.codes.shape[1] * self.codes.itemsize
        return of_one + (self.shared_bytes / n if n else 0)

    def dot_errors(self, queries: np.ndarray) -> np.ndarray:
        """The bound of each product with ``queries [m, d]``, ``[m, n]``: see ``bounds.dot_errors``."""
        memory.require(
            8.0 * len(queries) * len(self), f"bounds of {len(queries):,} queries with {len(self):,} vectors"
        )
        return bounds.dot_errors(self, queries)

    def cosine_errors(self) -> np.ndarray:
        """The bound of each cosine with any query, ``[n]``: see ``bounds.cosine_errors``."""
        return bounds.cosine_errors(self)

    def save(self, folder: str | Path) -> None:
        """Write the codes and all that reads them to ``folder``, see ``core.storage``.

        Raises:
            InputError: a folder that cannot be written.
        """
        from recsys_lib.vectors.quantization import stored

        stored.save(self, folder)

    @staticmethod
    def load(folder: str | Path) -> QuantizedVectors:
        """What ``save`` wrote: the same codes, vectors and bounds.

        Raises:
            InputError: nothing saved there, another kind, another version, or damaged files.
        """
        from recsys_lib.vectors.quantization import stored

        return stored.load(folder)
