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
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

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
    return (text for text, _ in texts_from(source, columns))


def texts_from(
    source: str, columns: tuple[str, ...] = ("title",), place: int = 0
) -> Iterator[tuple[str, Callable[[], int]]]:
    """As ``texts_of``, from a place on: every text with a function that returns the place after it.

    A place is a number that only means something to this function; 0 is the first text. Reading starts there
    at once, whatever lies before it. Take it before the next text is read.
    """
    from recsys_lib.data import datasets
    from recsys_lib.data.datasets import csv_table  # noqa: F401  (it lifts the csv module's limit on a field's length)

    if source in datasets.NAMES:
        texts = datasets.load(source).item_texts(("title", "author", "genres", "year"))
        yield from ((text, lambda n=n: n + 1) for n, text in enumerate(texts[place:], place))
        return
    path = Path(source)
    if not path.is_file():
        raise InputError(f"{source}: expected a file, or a data set ({', '.join(datasets.NAMES)})")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield from _texts_in(file, source, columns, place)
    except UnicodeDecodeError as error:
        raise InputError(f"{source}: not UTF-8 at byte {error.start}") from error


def _texts_in(
    file: TextIO, source: str, columns: tuple[str, ...], place: int
) -> Iterator[tuple[str, Callable[[], int]]]:
    lines = iter(file.readline, "")  # not the file itself, which does not tell its place while it iterates
    if Path(source).suffix.lower() != ".csv":
        file.seek(place)
        yield from ((line.rstrip("\r\n"), file.tell) for line in lines)
        return
    rows = csv.DictReader(lines)
    try:
        absent = [c for c in columns if c not in (rows.fieldnames or [])]
        if absent:
            raise InputError(
                f"{source}: no column {absent[0]!r}; it has {', '.join(rows.fieldnames or ['none'])}"
            )
        if place:
            file.seek(place)
        yield from ((", ".join(row[c] for c in columns if row[c]), file.tell) for row in rows)
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

    n, seen, _ = fingerprint(source, columns)
    if not n:
        raise InputError(f"{source}: holds no text")
    wanted = arguments(encoder, source, columns, n, seen)
    folder.mkdir(parents=True, exist_ok=True)
    state, part, whole = folder / "progress.json", folder / "vectors.part.npy", folder / "vectors.npy"
    done = check_begun(state, wanted)
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


def arguments(
    encoder: Encoder, source: str, columns: Sequence[str], texts: int, sha256: str
) -> dict[str, Any]:
    """What a begun folder keeps of its run (``check_begun``): the source by the number and hash of its texts,
    and the encoder.
    """
    return {
        "source": source,
        "columns": list(columns),
        "texts": texts,
        "sha256": sha256,
        "encoder": encoder.options,
        "dimension": encoder.dimension,
    }


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
        raise no_room(part.parent, n, dimension) from error


def no_room(folder: Path, n: int, dimension: int) -> InputError:
    """The error that says how many bytes ``n`` vectors need, and how many are free."""
    needed, free = n * dimension * 4 + 128, shutil.disk_usage(folder).free
    return InputError(
        f"{folder}: {n} vectors of {dimension} numbers need {needed:,} bytes, {free:,} are free; "
        "choose a folder on a larger disk"
    )


def fingerprint(
    source: str, columns: tuple[str, ...] = ("title",), every: int = 0
) -> tuple[int, str, list[int]]:
    """How many texts there are; a hash of them all, since a resumed run must go on with the same; and, with
    ``every`` > 0, the places at which every so many of them begin (``texts_from``).
    """
    digest, n, places = hashlib.sha256(), 0, [0]
    for text, place in texts_from(source, columns):
        digest.update(text.encode("utf-8", "replace") + b"\0")
        n += 1
        if every and n % every == 0:
            places.append(place())
    return n, digest.hexdigest(), places[: -(-n // every)] if every else []


def check_begun(state: Path, wanted: dict[str, Any]) -> int:
    """Rows that an earlier run with the same arguments has written, as ``state`` counts them.

    Raises:
        InputError: it was begun with other arguments, or cannot be read.
    """
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
