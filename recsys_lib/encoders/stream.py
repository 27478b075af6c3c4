"""Catalogues larger than memory: texts are read, encoded and written to disk block by block,
and a killed run goes on where it was.
"""

from __future__ import annotations

import csv
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from recsys_lib.core.errors import InputError
from recsys_lib.core.files import write_atomically
from recsys_lib.encoders import Encoder

# Rows encoded, written and recorded together: what a kill loses at most.
BLOCK = 8192


def texts_of(source: str, columns: tuple[str, ...] = ("title",)) -> Iterator[str]:
    """Texts of ``source``, one at a time: a data set's item texts by its name, rows of a CSV file
    (``columns`` joined by ", "), or a file's lines.

    Raises:
        InputError: neither a data set nor a file, a column that the file lacks, or a file that is not UTF-8.
    """
    from recsys_lib.data import datasets
    from recsys_lib.data.datasets import csv_table  # noqa: F401  (it lifts the csv module's limit on a field's length)

    if source in datasets.NAMES:
        yield from datasets.load(source).item_texts(("title", "author", "genres", "year"))
        return
    path = Path(source)
    if not path.is_file():
        raise InputError(f"{source}: expected a file, or a data set ({', '.join(datasets.NAMES)})")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            if path.suffix.lower() != ".csv":
                yield from (line.rstrip("\r\n") for line in file)
                return
            rows = csv.DictReader(file)
            absent = [c for c in columns if c not in (rows.fieldnames or [])]
            if absent:
                raise InputError(
                    f"{source}: no column {absent[0]!r}; it has {', '.join(rows.fieldnames or ['none'])}"
                )
            yield from (", ".join(row[c] for c in columns if row[c]) for row in rows)
    except UnicodeDecodeError as error:
        raise InputError(f"{source}: not UTF-8 at byte {error.start}") from error
    except csv.Error as error:
        raise InputError(f"{source}: not readable as CSV after line {rows.line_num} ({error})") from error


def encode_to_disk(
    encoder: Encoder, source: str, folder: Path, columns: tuple[str, ...] = ("title",), progress: bool = True
) -> Path:
    """Vectors of all texts of ``source`` as ``folder/vectors.npy``, float32 ``[n, d]``, to be opened with
    ``np.load(..., mmap_mode="r")``.

    A block is on the disk before ``progress.json`` counts it, so a run that is killed at any moment and
    started again with the same arguments leaves the same file as one that was not. Nothing of the size of the
    catalogue is held in memory.

    Raises:
        InputError: a folder begun with other arguments, a source without texts, or a disk without room for
            the vectors.
    """
    from tqdm import tqdm

    n, seen = _fingerprint(source, columns)
    if not n:
        raise InputError(f"{source}: holds no text")
    wanted = {
        "source": source,
        "columns": list(columns),
        "texts": n,
        "sha256": seen,
        "encoder": encoder.options,
        "dimension": encoder.dimension,
    }
    folder.mkdir(parents=True, exist_ok=True)
    state, part, whole = folder / "progress.json", folder / "vectors.part.npy", folder / "vectors.npy"
    done = _done(state, wanted)
    if done == n and whole.is_file():
        return whole
    if not done or not part.is_file():
        done = 0
        _reserve(part, n, encoder.dimension)
    texts = islice(texts_of(source, columns), done, None)
    with tqdm(
        total=n, initial=done, unit="text", desc=encoder.name, disable=None if progress else True
    ) as bar:
        while block := list(islice(texts, BLOCK)):
            vectors = np.lib.format.open_memmap(part, mode="r+")
            vectors[done : done + len(block)] = encoder.encode(block, progress=False)
            vectors.flush()
            del vectors
            done += len(block)
            write_atomically(state, json.dumps({**wanted, "done": done}, indent=1))
            bar.update(len(block))
    os.replace(part, whole)
    return whole


def truncated_texts(encoder: Encoder, source: str, columns: tuple[str, ...] = ("title",)) -> tuple[int, int]:
    """How many texts ``source`` has, and how many of them are longer than the encoder reads and were cut.

    An encoder that reads every word, such as a static table, cuts none.
    """
    n = cut = 0
    texts = texts_of(source, columns)
    while block := list(islice(texts, BLOCK)):
        n += len(block)
        if hasattr(encoder, "truncated"):
            cut += round(encoder.truncated(block) * len(block))
    return n, cut


def _reserve(part: Path, n: int, dimension: int) -> None:
    """A file of zeros whose blocks the disk has really set aside: writing to a memory map on a full disk
    kills the process.

    Raises:
        InputError: the disk has too little free space.
    """
    needed = n * dimension * 4 + 128
    try:
        np.lib.format.open_memmap(part, mode="w+", dtype=np.float32, shape=(n, dimension)).flush()
        if hasattr(os, "posix_fallocate"):
            with part.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, part.stat().st_size)
        elif shutil.disk_usage(part.parent).free < needed:  # macOS has no call for it
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as error:
        part.unlink(missing_ok=True)
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        free = shutil.disk_usage(part.parent).free
        raise InputError(
            f"{part.parent}: {n} vectors of {dimension} numbers need {needed:,} bytes, {free:,} are free; "
            "choose a folder on a larger disk"
        ) from error


def _fingerprint(source: str, columns: tuple[str, ...]) -> tuple[int, str]:
    """How many texts there are, and a hash of them all: a resumed run must go on with the same."""
    digest, n = hashlib.sha256(), 0
    for text in texts_of(source, columns):
        digest.update(text.encode("utf-8", "replace") + b"\0")
        n += 1
    return n, digest.hexdigest()


def _done(state: Path, wanted: dict[str, Any]) -> int:
    """Rows that an earlier run with the same arguments has written."""
    if not state.is_file():
        return 0
    try:
        known = json.loads(state.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{state}: not readable as JSON; remove the folder to begin anew") from error
    plain = json.loads(json.dumps(wanted))
    other = next((name for name, value in plain.items() if known.get(name) != value), None)
    if other:
        raise InputError(
            f"{state}: begun with another {other}, {known.get(other)!r}; choose another folder or remove "
            f"this one"
        )
    return int(known["done"])
