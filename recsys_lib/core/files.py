"""Files and folders that are whole or absent, checksums, and the check that a file can be written."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from recsys_lib.core.errors import InputError


def write_atomically(path: Path, text: str) -> None:
    """Write beside ``path``, then rename: nobody reads half a file, a kill leaves the old one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        beside.write_text(text, encoding="utf-8")
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def check_folder(folder: Path, mark: str) -> None:
    """Refuse to save to a folder that holds other files and not ``mark``, a file of what is saved.

    Raises:
        InputError: it does, or is a file.
    """
    if folder.is_file():
        raise InputError(f"{folder}: is a file, expected a folder")
    if folder.exists() and not (folder / mark).is_file() and any(folder.iterdir()):
        raise InputError(f"{folder}: holds other files, expected an empty folder or one with a {mark}")


@contextlib.contextmanager
def new_folder(folder: Path, mark: str) -> Iterator[Path]:
    """A folder beside ``folder`` to write into; at the end of the block it takes that one's place.

    Raises:
        InputError: the folder cannot be written, or ``check_folder`` refuses it.
    """
    check_folder(folder, mark)
    beside = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    try:
        beside.mkdir(parents=True, exist_ok=True)
        yield beside
        if folder.exists():
            old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
            os.replace(folder, old)
            shutil.rmtree(old, ignore_errors=True)
        os.replace(beside, folder)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror}); choose another folder") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_writable(path: Path) -> None:
    """Refuse a file that could not be written, before the work is done whose result it is to hold.

    Raises:
        InputError: its folder cannot be made or written to, or it is a folder itself.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); choose another place") from error
    if path.is_dir():
        raise InputError(f"{path}: is a folder, expected a file")


@contextlib.contextmanager
def held(lock: Path, refusal: str) -> Iterator[None]:
    """Hold the file ``lock``, whose folder is made if it is missing, or refuse at once.

    Raises:
        InputError: another process holds it; the message is ``refusal``.
    """
    from filelock import FileLock, Timeout

    lock.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(lock, timeout=0):
            yield
    except Timeout as error:
        raise InputError(refusal) from error
