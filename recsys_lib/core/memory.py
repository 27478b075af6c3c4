"""How much memory is left, and a refusal before more than that is asked for."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator
from pathlib import Path

import psutil

from recsys_lib.core.errors import InputError

_CGROUP = Path("/sys/fs/cgroup")


def available_bytes() -> int:
    """Bytes that this process can still take without swapping:
    the machine's, or less where a container's limit is lower.
    """
    left = psutil.virtual_memory().available
    try:
        limit = (_CGROUP / "memory.max").read_text().strip()
        if limit != "max":
            used = int((_CGROUP / "memory.current").read_text())
            # Pages of files that can be dropped count as used there.
            lines = (_CGROUP / "memory.stat").read_text().splitlines()
            droppable = sum(int(line.split()[1]) for line in lines if line.startswith("inactive_file "))
            left = min(left, max(int(limit) - used + droppable, 0))
    except (OSError, ValueError, IndexError):
        pass  # not Linux, or no limit that can be read: the machine's memory counts
    return left


def gibibytes(n_bytes: float) -> str:
    """A number of bytes as people read it.

    >>> gibibytes(17_179_869_184), gibibytes(300 * 2**20)
    ('16.0 GiB', '300 MiB')
    """
    return f"{n_bytes / 2**30:,.1f} GiB" if n_bytes >= 2**30 else f"{n_bytes / 2**20:,.0f} MiB"


def require(n_bytes: float, what: str, instead: str = "") -> None:
    """Refuse work that needs more memory than there is, before it starts.

    ``what`` names the work with its size, ``instead`` what to do when it does not fit.

    Raises:
        InputError: ``n_bytes`` is more than ``available_bytes()``.
    """
    left = available_bytes()
    if n_bytes > left:
        advice = f"; {instead}" if instead else ""
        raise InputError(
            f"{what} needs {gibibytes(n_bytes)} of memory, {gibibytes(left)} are available{advice}"
        )


def return_freed() -> bool:
    """Let blocks of 64 KiB and more go back to the system when they are freed; False where this is not known.

    glibc otherwise keeps what was freed for later blocks, so that resident memory says little about what is
    in use. Holds for the rest of the process and makes allocations somewhat slower.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return False
    trim_threshold, mmap_threshold = -1, -3  # malloc.h
    return bool(mallopt(mmap_threshold, 1 << 16) and mallopt(trim_threshold, 1 << 16))


@contextlib.contextmanager
def refused_when_exhausted(what: str, instead: str = "") -> Iterator[None]:
    """Turn an allocation that fails inside, of NumPy, of torch or on a GPU, into one line.

    Raises:
        InputError: memory ran out; ``what`` and ``instead`` as for ``require``.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        exhausted = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
        if not exhausted and "can't allocate memory" not in str(error):
            raise
        advice = f"; {instead}" if instead else ""
        reason = str(error).partition("\n")[0] or "no details"
        raise InputError(f"{what} ran out of memory ({reason}){advice}") from error
