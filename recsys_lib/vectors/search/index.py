"""An index over quantized vectors and, where results are rescored, their float32 rows: built, asked, saved,
loaded.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from filelock import FileLock

from recsys_lib.core import storage
from recsys_lib.core.errors import InputError
from recsys_lib.core.files import sha256_of
from recsys_lib.vectors.quantization import QuantizedVectors, stored
from recsys_lib.vectors.quantization.arrays import blocks
from recsys_lib.vectors.quantization.bounds import norms
from recsys_lib.vectors.quantization.product import grouped
from recsys_lib.vectors.search import kernel
from recsys_lib.vectors.search.certificate import (
    LONGEST,
    Certificate,
    checked_rows,
    common_direction,
    weights,
)
from recsys_lib.vectors.search.forms import KINDS, Form, linear_form, sign_form
from recsys_lib.vectors.search.query import Found, Search

METRICS = ("cosine", "dot")
KIND = "index"
# Before the names of their arrays, where an index is saved with shorter codes.
FEW = "few_"


@dataclass(frozen=True, eq=False)
class Index:
    """Codes ready to be searched; made by ``Index.build``.

    weight: ``[n]`` float32, what a product with an item is scaled by so that scores of unit queries stay near
    1: its inverse length, or for dot products the inverse of ``longest``, the longest length. form: how the
    kernel scores codes, exact_form: the same with what is known of the residuals; None where torch decodes
    and multiplies. few: shorter codes of the same rows, which a search of up to ``kernel.FEW`` queries reads
    first where its codes are more than a cache holds: it waits for memory, not for products.
    """

    quantized: QuantizedVectors
    metric: str
    weight: np.ndarray
    longest: float
    certificate: Certificate | None
    form: Form | None
    exact_form: Form | None
    few: Index | None = None

    @cached_property
    def sign_form(self) -> Form | None:
        """How the kernel compares signs of queries with binary codes."""
        return None if self.form is None else sign_form(self.quantized)

    @cached_property
    def margin_of_two(self) -> np.ndarray:
        """How far the scores of a unit query by the codes and by shorter ones may lie apart, ``[n]``."""
        assert self.certificate is not None and self.few is not None and self.few.certificate is not None
        return self.certificate.margin + self.few.certificate.margin

    @staticmethod
    def build(
        quantized: QuantizedVectors,
        rows: np.ndarray | None = None,
        metric: str = "cosine",
        few: QuantizedVectors | None = None,
    ) -> Index:
        """Make codes searchable by cosine or dot product; with their float32 ``rows [n, d]`` also exactly.

        ``rows`` may be a ``np.memmap``. They are read once, in blocks: the bound of every code is checked
        against its row, so that a certificate rests on no promise. ``few``: shorter codes of the same rows,
        4 bits beside 8, which a search of up to 4 queries reads first, and then of ``quantized`` only what
        they leave; it finds the same. They take memory, and serve beyond ``kernel.CACHED`` bytes of codes.

        Raises:
            InputError: an unknown metric, rows of another shape or dtype, NaN, a row farther from its code
                than its bound, or ``few`` without rows or beside codes other than 8 bits or float32.
        """
        _check_few(few, quantized, rows)
        if metric not in METRICS:
            raise InputError(f"metric={metric!r}: expected one of {', '.join(METRICS)}")
        if rows is None:
            parts = [norms(quantized.dequantize(block)) for block in blocks(len(quantized))]
            weight, longest = weights(metric, np.concatenate(parts or [np.empty(0)]))
            quantized, form = readable(quantized, weight)
            return Index(quantized, metric, weight, longest, None, form, None)
        rows = np.asanyarray(rows)
        if rows.dtype != np.float32 or rows.shape != (len(quantized), quantized.dimension):
            expected = (len(quantized), quantized.dimension)
            raise InputError(
                f"rows are {rows.dtype} {rows.shape}: expected the float32 vectors of the codes, {expected}"
            )
        rows = rows if rows.flags.c_contiguous else np.ascontiguousarray(rows)
        direction = common_direction(rows)
        lengths, along = checked_rows(quantized, rows, direction)
        weight, longest = weights(metric, lengths)
        quantized, form = readable(quantized, weight)
        scaled = metric == "cosine" and not ((lengths > 1e-15) & (lengths < 1e15)).all()
        with np.errstate(invalid="ignore"):  # an infinite bound of a row without length
            margin = quantized.errors * (weight.astype(np.float64) * (1 + 1e-5))
        margin = np.where(lengths > 0, np.where(weight > 0, margin, np.inf), 0)
        size = 2.0 + float(margin[np.isfinite(margin)].max(initial=0)) * 2 + (form.size if form else 0)
        if not size < LONGEST:
            size, margin = 1.0, np.full(len(margin), np.inf)
        with np.errstate(over="ignore"):
            certificate = Certificate(rows, margin.astype(np.float32), direction, along, size, scaled)
        exact_form = (
            form.with_term(np.where(np.isfinite(margin), along * weight, 0), direction) if form else None
        )
        shorter = None if few is None else Index.build(few, rows, metric)
        return Index(quantized, metric, weight, longest, certificate, form, exact_form, shorter)

    def top_k(
        self,
        queries: np.ndarray,
        k: int,
        exclude: sp.csr_matrix | Sequence[Sequence[int]] | None = None,
        rescore: int = 0,
        query_bits: int = 16,
    ) -> Found:
        """The ``k`` best by the codes; with ``rescore=r`` the best ``k`` of the ``r·k`` best, by their
        float32 rows.

        Equal scores are ordered by the smaller id. Without ``rescore`` the scores are those of the codes.
        ``exclude`` as in ``similarity.top_k``. ``query_bits=1`` compares binary codes with the signs of the
        query instead of the query itself, several times faster and less well; the score is then the share of
        equal signs minus that of different ones.

        Raises:
            InputError: as ``similarity.top_k``, a negative ``rescore`` or one without rows, ``query_bits``
                other than 16, or 1 for codes that are not binary.
        """
        if not isinstance(rescore, int | np.integer) or rescore < 0:
            raise InputError(f"rescore={rescore!r}: expected how many candidates per result, or 0")
        if rescore and self.certificate is None:
            raise InputError(f"rescore={rescore} needs the float32 rows: build the index with rows")
        if query_bits != 16 and (query_bits != 1 or self.quantized.scheme != "binary"):
            raise InputError(
                f"query_bits={query_bits!r} with {self.quantized.scheme} codes: expected 16, or 1 for binary"
            )
        few = None if query_bits == 1 else self._few_for(queries)
        return Search(self, queries, k, exclude, int(rescore), False, query_bits == 1, few).run()

    def exact_top_k(
        self,
        queries: np.ndarray,
        k: int,
        exclude: sp.csr_matrix | Sequence[Sequence[int]] | None = None,
    ) -> Found:
        """What ``similarity.top_k(queries, rows, k, exclude, metric)`` returns, ids and scores, bit for bit.

        Raises:
            InputError: as ``similarity.top_k``, or an index without rows.
        """
        if self.certificate is None:
            raise InputError("exact search needs the float32 rows: build the index with rows")
        return Search(self, queries, k, exclude, 0, True, False, self._few_for(queries)).run()

    def _few_for(self, queries: np.ndarray) -> Index | None:
        """Shorter codes, where they are faster: few queries wait for memory, if the codes come from there."""
        waits = self.quantized.codes.nbytes > kernel.CACHED and np.shape(queries)[:1] <= (kernel.FEW,)
        return self.few if waits else None

    def save(self, folder: str | Path) -> None:
        """Write the index to ``folder``: codes as ``core.storage`` has them, the float32 rows as ``.npy``
        beside them.

        Rows are copied block by block, so that they may be larger than memory. What is in ``folder`` is
        always all of one save: ``meta.json``, which is replaced last, names the file of rows and its
        checksum.

        Raises:
            InputError: a folder that cannot be written.
        """
        folder = Path(folder)
        arrays, meta = stored.parts(self.quantized)
        few, few_meta = stored.parts(self.few.quantized) if self.few else ({}, None)
        arrays |= {FEW + name: array for name, array in few.items()}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with FileLock(folder / ".index.lock"):
                rows = None if self.certificate is None else _write_rows(folder, self.certificate.rows)
                meta = {"codes": meta, "few": few_meta, "metric": self.metric, "rows": rows}
                storage.save(folder, KIND, arrays, meta)
                for old in folder.glob("rows-*.npy"):
                    if rows is None or old.name != rows["file"]:
                        old.unlink()
        except (OSError, NotImplementedError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InputError(f"{folder}: cannot be written ({reason}); choose another folder") from error

    @staticmethod
    def load(folder: str | Path) -> Index:
        """What ``save`` wrote; its rows stay on disk, mapped into memory. It finds the same ids and scores.

        As in ``build``, the rows are read once and every bound is checked against them.

        Raises:
            InputError: nothing saved there, another kind, another version, or damaged files.
        """
        arrays, meta = storage.load(folder, KIND)
        while True:
            try:
                rows = None if meta["rows"] is None else _mapped_rows(Path(folder), meta["rows"])
                shorter = {n.removeprefix(FEW): a for n, a in arrays.items() if n.startswith(FEW)}
                few = stored.from_parts(shorter, meta["few"]) if meta.get("few") else None
                return Index.build(stored.from_parts(arrays, meta["codes"]), rows, meta["metric"], few)
            except FileNotFoundError as error:
                # A writer that finished between our two reads has removed the old rows: read what it wrote.
                missing, (arrays, meta) = meta, storage.load(folder, KIND)
                if meta == missing:
                    name = meta["rows"]["file"]
                    raise InputError(f"{folder}: damaged, {name} is missing; save the index again") from error


def _write_rows(folder: Path, rows: np.ndarray) -> dict[str, str]:
    """Write the rows whole or not at all; the file's name and checksum."""
    part = folder / ".rows.part"
    with part.open("wb") as file:
        np.save(file, rows, allow_pickle=False)
        file.flush()
        os.fsync(file.fileno())
    digest = sha256_of(part)
    name = f"rows-{digest[:16]}.npy"
    os.replace(part, folder / name)
    return {"file": name, "sha256": digest}


def _mapped_rows(folder: Path, entry: dict[str, str]) -> np.ndarray:
    path = folder / entry["file"]
    try:
        if sha256_of(path) != entry["sha256"]:
            raise InputError(f"{path}: damaged, its checksum differs; save the index again")
        rows = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    return rows


# ---------------------------------------------------------------- making an index


def _check_few(few: QuantizedVectors | None, quantized: QuantizedVectors, rows: np.ndarray | None) -> None:
    if few is None:
        return
    if rows is None:
        raise InputError("codes for few queries serve exact search: build the index with rows")
    if KINDS.get(quantized.scheme) not in kernel.LONGER:
        raise InputError(f"codes for few queries go with int8 or float32 ones, not with {quantized.scheme}")


def readable(quantized: QuantizedVectors, weight: np.ndarray) -> tuple[QuantizedVectors, Form | None]:
    """The codes in the order in which the kernel reads them, and how it scores them."""
    if not kernel.load():
        return quantized, None
    if quantized.scheme == "pq" and quantized.codebook.shape[1] == 16 and quantized.codes.ndim == 2:
        quantized = grouped(quantized)
    return quantized, linear_form(quantized, weight)
