"""Vectors of a catalogue in files of equal numbers of rows, each encoded by whoever comes: no file depends on
another, and one that is whole is never made again.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from recsys_lib.core.errors import InputError
from recsys_lib.core.files import write_atomically
from recsys_lib.core.records import read_json
from recsys_lib.encoders import Encoder, saved
from recsys_lib.encoders.stream import BLOCK, arguments, check_begun, fingerprint, no_room, texts_from

FORMS = ("npy", "parquet")
STATE = "progress.json"


@dataclass(frozen=True)
class Shard:
    """``rows`` texts from ``place`` (``stream.texts_from``); the ``number``-th file, from 0."""

    number: int
    place: int
    rows: int


@dataclass(frozen=True)
class Done:
    """What is kept beside the file of a shard: ``truncated`` of its ``rows`` texts were cut."""

    number: int
    rows: int
    truncated: int


@dataclass(frozen=True)
class Job:
    """A catalogue to encode into ``folder``, as plain values that can be sent to another machine.

    The folder holds ``encoder/`` (its choice, by ``saved``), ``progress.json``, and per finished shard
    ``vectors-00000.npy`` (or ``.parquet``: columns ``row`` and ``vector``) with ``vectors-00000.json``.
    """

    source: str
    columns: tuple[str, ...]
    folder: str
    form: str
    texts: int
    dimension: int
    shards: tuple[Shard, ...]

    def file(self, number: int, suffix: str = "") -> Path:
        """The file of a shard; with ``suffix`` "json" the one beside it."""
        return Path(self.folder) / f"vectors-{number:05d}.{suffix or self.form}"

    def finished(self) -> dict[int, Done]:
        """The shards that are whole on disk."""
        found = {}
        for shard in self.shards:
            beside = self.file(shard.number, "json")
            if beside.is_file() and self.file(shard.number).is_file():
                found[shard.number] = Done(**json.loads(beside.read_text(encoding="utf-8")))
        return found


def begin(
    encoder: Encoder,
    source: str,
    folder: Path,
    columns: Sequence[str] = ("title",),
    form: str = "npy",
    rows: int = BLOCK,
) -> Job:
    """Read the source once, and make or find the folder of its shards.

    Raises:
        InputError: an unknown form, a source without texts, a folder begun with other arguments, too small a
            disk, or an encoder that cannot be saved.
    """
    if form not in FORMS:
        raise InputError(f"format {form!r} is unknown: expected one of {', '.join(FORMS)}")
    n, seen, places = fingerprint(source, tuple(columns), rows)
    if not n:
        raise InputError(f"{source}: holds no text")
    shards = tuple(Shard(i, place, min(rows, n - i * rows)) for i, place in enumerate(places))
    job = Job(source, tuple(columns), str(folder), form, n, encoder.dimension, shards)
    wanted = arguments(encoder, source, columns, n, seen) | {"format": form, "shard_rows": rows}
    folder.mkdir(parents=True, exist_ok=True)
    check_begun(folder / STATE, wanted)
    done = job.finished()
    left = n - sum(d.rows for d in done.values())
    if left * encoder.dimension * 4 > shutil.disk_usage(folder).free:
        raise no_room(folder, left, encoder.dimension)
    for part in folder.glob(".vectors-*.part"):
        part.unlink()
    saved.save(encoder, folder / "encoder")
    write_atomically(folder / STATE, json.dumps({**wanted, "done": n - left}, indent=1))
    return job


def encode_shard(encoder: Encoder, job: Job, number: int) -> Done:
    """Encode one shard and write its file, then the one beside it: a kill leaves neither or a whole file."""
    shard = job.shards[number]
    texts = [text for text, _ in islice(texts_from(job.source, job.columns, shard.place), shard.rows)]
    if len(texts) < shard.rows:
        raise InputError(f"{job.source}: has fewer texts than when the run began; expected {job.texts}")
    vectors = np.ascontiguousarray(encoder.encode(texts, progress=False), dtype=np.float32)
    cut = round(encoder.truncated(texts) * len(texts)) if hasattr(encoder, "truncated") else 0
    _write(job.file(number), job.form, vectors, number * job.shards[0].rows)
    done = Done(number, shard.rows, cut)
    write_atomically(job.file(number, "json"), json.dumps(asdict(done)))
    return done


def _write(path: Path, form: str, vectors: np.ndarray, first: int) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        if form == "npy":
            with part.open("wb") as file:
                np.save(file, vectors, allow_pickle=False)
        else:
            import pyarrow as pa
            from pyarrow import parquet

            row = pa.array(np.arange(first, first + len(vectors)))
            column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
            parquet.write_table(pa.table({"row": row, "vector": column}), part)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def finish(job: Job) -> tuple[int, int]:
    """Say in ``progress.json`` that all is there; how many texts there are, and how many were cut.

    Raises:
        InputError: a shard is missing.
    """
    done = job.finished()
    missing = [s.number for s in job.shards if s.number not in done]
    if missing:
        raise InputError(f"{job.folder}: shard {missing[0]} is missing; run the command again")
    state = Path(job.folder) / STATE
    write_atomically(state, json.dumps({**read_json(state), "done": job.texts}, indent=1))
    return job.texts, sum(d.truncated for d in done.values())


def blocks(folder: str | Path) -> Iterator[np.ndarray]:
    """The vectors of a finished folder, shard by shard, float32 ``[rows, d]``; ``npy`` is mapped, not read.

    Raises:
        InputError: no such folder, or one that is not finished.
    """
    folder = Path(folder)
    state: dict[str, Any] = read_json(folder / STATE)
    if "shard_rows" not in state or state["done"] != state["texts"]:
        raise InputError(f"{folder}: holds no finished shards; run encode --engine ray again")
    for number in range(-(-state["texts"] // state["shard_rows"])):
        path = folder / f"vectors-{number:05d}.{state['format']}"
        if state["format"] == "npy":
            yield np.load(path, mmap_mode="r", allow_pickle=False)
            continue
        from pyarrow import parquet

        column = parquet.read_table(path, columns=["vector"])["vector"].combine_chunks()
        yield column.values.to_numpy().reshape(-1, state["dimension"])


def vectors(folder: str | Path) -> np.ndarray:
    """All vectors of a finished folder, float32 ``[n, d]``, in the order of the texts.

    Raises:
        InputError: as ``blocks``.
    """
    return np.concatenate(list(blocks(folder)))
