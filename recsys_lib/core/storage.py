"""Saved objects: named arrays and JSON in one folder, versioned, checksummed, whole or absent, without
pickle.

A folder holds ``meta.json`` and the one file of arrays that it names. Replacing ``meta.json`` is the single
step that makes a save valid, so a process that reads, or that is killed while it writes, leaves and sees
either the old object or the new one.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from recsys_lib.core.errors import InputError
from recsys_lib.core.files import sha256_of

FORMAT = 1
META = "meta.json"
_DTYPES = {"bool", "float16", "float32", "float64"} | {
    f"{u}int{b}" for u in ("", "u") for b in (8, 16, 32, 64)
}
# What safetensors calls them.
_NUMPY = {"BOOL": np.dtype(bool)} | {
    f"{letter}{8 * size}": np.dtype(f"<{kind}{size}" if size > 1 else f"{kind}1")
    for letter, kind, sizes in (("F", "f", (2, 4, 8)), ("I", "i", (1, 2, 4, 8)), ("U", "u", (1, 2, 4, 8)))
    for size in sizes
}
_SAVE_AGAIN = "save the object again"


def save(folder: str | Path, kind: str, arrays: dict[str, np.ndarray], meta: dict[str, Any]) -> None:
    """Write ``arrays`` (booleans and numbers of any shape) and ``meta`` (JSON values) to ``folder``,
    replacing what it held.

    Two writers wait for each other; what is on disk is always all of one save.

    Raises:
        InputError: a name, dtype or value that cannot be stored, or a folder that cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    folder = Path(folder)
    stored = {name: _storable(name, array) for name, array in arrays.items()}
    _as_json(meta)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):
            beside = folder / ".arrays.part"
            save_file(stored, beside)
            digest = sha256_of(beside)
            name = f"arrays-{digest[:16]}.safetensors"
            content = {"format": FORMAT, "kind": kind, "arrays": name, "arrays_sha256": digest, "meta": meta}
            content["sha256"] = _digest(content)
            _write(folder / f"{META}.part", json.dumps(content, ensure_ascii=False, indent=1) + "\n")
            os.replace(beside, folder / name)
            os.replace(folder / f"{META}.part", folder / META)
            for old in folder.glob("arrays-*.safetensors"):
                if old.name != name:
                    old.unlink()
    except (OSError, NotImplementedError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{folder}: cannot be written ({reason}); choose another folder") from error


def load(folder: str | Path, kind: str, mapped: bool = False) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays and the meta that ``save`` wrote to ``folder`` for an object of this ``kind``.

    ``mapped``: arrays stay in the file, mapped into memory, so that all processes which read them share one
    copy. Writing to them changes a copy of this process and never the file; a later save, which writes
    another file, leaves them as they are.

    Raises:
        InputError: no saved object there, another kind, another format version, or damaged files.
    """
    folder = Path(folder)
    content = _content(folder)
    while True:
        if content["kind"] != kind:
            raise InputError(f"{folder}: holds an object of kind {content['kind']!r}, expected {kind!r}")
        try:
            return _arrays(folder, content, mapped), content["meta"]
        except FileNotFoundError as error:
            # A writer that finished between our two reads has removed the old arrays: read what it wrote.
            missing, content = content, _content(folder)
            if content == missing:
                raise InputError(
                    f"{folder}: damaged, {content['arrays']} is missing; {_SAVE_AGAIN}"
                ) from error


def kind_of(folder: str | Path) -> str:
    """The kind of the object saved in ``folder``.

    Raises:
        InputError: no saved object there, another format version, or a damaged ``meta.json``.
    """
    return _content(Path(folder))["kind"]


def _content(folder: Path) -> dict[str, Any]:
    path = folder / META
    try:
        content = json.loads(path.read_bytes().decode("utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(f"{folder}: no saved object, expected a folder with {META}") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: damaged, expected JSON; {_SAVE_AGAIN}") from error
    version = content.get("format") if isinstance(content, dict) else None
    if version is None:
        raise InputError(f"{path}: no saved object, expected JSON with a format version")
    if version != FORMAT:
        raise InputError(f"{folder}: saved in format {version!r}, expected format {FORMAT}; {_SAVE_AGAIN}")
    digest = content.pop("sha256", None)
    if digest != _digest(content):
        raise InputError(f"{path}: damaged, its checksum differs; {_SAVE_AGAIN}")
    return content


def _arrays(folder: Path, content: dict[str, Any], mapped: bool) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    path = folder / content["arrays"]
    try:
        if sha256_of(path) != content["arrays_sha256"]:
            raise InputError(f"{path}: damaged, its checksum differs; {_SAVE_AGAIN}")
        return _mapped(path) if mapped else load_file(path)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def _mapped(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file of safetensors: 8 bytes, the header's length; a JSON header with the type, shape
    and place of each; then their bytes (https://github.com/huggingface/safetensors#format).
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    header.pop("__metadata__", None)
    whole = np.memmap(path, np.uint8, "c") if header else np.empty(0, np.uint8)
    found = {}
    for name, entry in header.items():
        begin, end = (8 + length + offset for offset in entry["data_offsets"])
        found[name] = whole[begin:end].view(_NUMPY[entry["dtype"]]).reshape(entry["shape"]).view(np.ndarray)
    return found


def _storable(name: str, array: np.ndarray) -> np.ndarray:
    array = np.asarray(array, order="C")
    if array.dtype.name not in _DTYPES:
        raise InputError(
            f"array {name!r} has dtype {array.dtype}: expected booleans or numbers of at most 64 bits"
        )
    # safetensors stores little-endian bytes in C order.
    return array.astype(array.dtype.newbyteorder("<"), copy=False)


def _as_json(value: Any) -> str:
    """Canonical JSON, refused where reading it back would give another value."""
    try:
        text = json.dumps(value, ensure_ascii=False, sort_keys=True, allow_nan=False)
        text.encode("utf-8")
        back = json.loads(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(
            f"meta: cannot be stored as JSON ({error}); expected text, numbers, lists and dicts"
        ) from error
    if back != value:
        raise InputError(
            "meta: changes when stored as JSON; expected lists instead of tuples and text as keys"
        )
    return text


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(_as_json(content).encode("utf-8")).hexdigest()


def _write(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
