"""Vectors remembered by content: the encoder's options and the text decide the key, so a second notebook pays
nothing.

One SQLite file per set of options. SQLite brings what a cache shared by several processes needs: locks, and
commits that a kill leaves either done or undone. A cache that cannot be used costs a warning and time, never
a wrong vector.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recsys_lib.core.paths import cache_dir

# Raise when a change to the library changes the vectors themselves.
METHOD = 1
CHUNK = 2048
LOOK_UP = 500


def _path(options: dict[str, Any]) -> Path:
    key = hashlib.sha256(json.dumps([METHOD, options], sort_keys=True).encode()).hexdigest()[:16]
    return cache_dir() / "vectors" / f"{options.get('model', 'model')}-{key}.sqlite".replace("/", "_")


def _connect(path: Path) -> sqlite3.Connection:
    if path.is_file() and not os.access(path.parent, os.W_OK):  # a read-only cache still knows what it knows
        return sqlite3.connect(f"{path.resolve().as_uri()}?immutable=1", uri=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, timeout=60)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute(
            "CREATE TABLE IF NOT EXISTS vectors (key BLOB PRIMARY KEY, vector BLOB) WITHOUT ROWID"
        )
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _open(path: Path) -> sqlite3.Connection | None:
    try:
        return _connect(path)
    except sqlite3.OperationalError as error:
        # Locked for a minute, a full or a read-only disk.
        warnings.warn(f"the vector cache is not usable ({error}): texts are encoded anew", stacklevel=4)
    except sqlite3.DatabaseError:
        path.unlink(missing_ok=True)  # not a database: a damaged file, made again
        return _open(path) if not path.exists() else None
    except OSError as error:
        warnings.warn(
            f"the vector cache is not writable ({error.strerror}): texts are encoded anew", stacklevel=4
        )
    return None


def encode_cached(
    texts: Sequence[str],
    options: dict[str, Any],
    dimension: int,
    encode: Callable[[list[str]], np.ndarray],
) -> np.ndarray:
    """Vectors ``[len(texts), dimension]`` float32, from the cache where known, else from ``encode`` and
    remembered.

    Equal texts are encoded once. New ones are encoded in chunks of similar length, longest first, each
    remembered as soon
    as it is done: a kill loses one chunk at most.
    """
    unique = list(dict.fromkeys(texts))
    row = {text: i for i, text in enumerate(unique)}
    vectors = np.empty((len(unique), dimension), dtype=np.float32)
    connection = _open(_path(options)) if unique else None
    known = _read(connection, unique, vectors)
    missing = sorted((t for i, t in enumerate(unique) if not known[i]), key=len, reverse=True)
    try:
        for start in range(0, len(missing), CHUNK):
            chunk = missing[start : start + CHUNK]
            fresh = encode(chunk)
            vectors[[row[t] for t in chunk]] = fresh
            connection = _write(connection, chunk, fresh)
    finally:
        if connection is not None:
            connection.close()
    return vectors[[row[t] for t in texts]] if len(unique) < len(texts) else vectors


def _key(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8")).digest()


def _read(connection: sqlite3.Connection | None, texts: list[str], vectors: np.ndarray) -> np.ndarray:
    """Fill ``vectors`` where a text is known; returns which are."""
    known = np.zeros(len(texts), dtype=bool)
    if connection is None:
        return known
    size = vectors.shape[1] * 4
    try:
        for start in range(0, len(texts), LOOK_UP):
            keys = {_key(t): start + i for i, t in enumerate(texts[start : start + LOOK_UP])}
            marks = ",".join("?" * len(keys))
            for key, blob in connection.execute(
                f"SELECT key, vector FROM vectors WHERE key IN ({marks})", list(keys)
            ):
                if len(blob) == size:
                    vectors[keys[key]] = np.frombuffer(blob, dtype="<f4")
                    known[keys[key]] = True
    except sqlite3.Error as error:
        warnings.warn(f"the vector cache could not be read ({error}): texts are encoded anew", stacklevel=4)
        known[:] = False
    return known


def _write(
    connection: sqlite3.Connection | None, texts: list[str], vectors: np.ndarray
) -> sqlite3.Connection | None:
    if connection is None:
        return None
    rows = [(_key(t), v.astype("<f4").tobytes()) for t, v in zip(texts, vectors, strict=True)]
    try:
        with connection:
            connection.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?)", rows)
        return connection
    except sqlite3.Error as error:
        warnings.warn(f"the vector cache could not be written ({error}): going on without", stacklevel=4)
        connection.close()
        return None
