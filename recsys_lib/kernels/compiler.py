"""Compiles the C sources once per machine and loads them through ctypes.

Without a C compiler there is no kernel: callers use PyTorch or SciPy, with the same results and less speed. A
compiler that fails is reported once, as a warning. ``RECSYS_ISA`` holds every kernel to one instruction set,
so that results of processors can be compared on one machine.
"""

from __future__ import annotations

import atexit
import ctypes
import hashlib
import os
import platform
import re
import shlex
import shutil
import stat
import subprocess
import tempfile
import warnings
from functools import lru_cache
from pathlib import Path
from typing import Any

from recsys_lib.core.errors import InputError

# The sources, beside this file and the headers they share: one searches vectors, one runs the encoder, one
# finds the neighbours of items.
SEARCH_SOURCE, ENCODER_SOURCE, NEIGHBOURS_SOURCE = (
    Path(__file__).with_name(f"{name}.c") for name in ("search", "encoder", "neighbours")
)
ARM = platform.machine() in ("arm64", "aarch64")
NATIVE = "-mcpu=native" if ARM else "-march=native"
# The one table of instruction sets, best first: name, the compiler's flags for it, and the processor's flag
# that it needs ("" for none). "native" is the first that the processor has: a cache in a shared home then
# holds one library per instruction set, which every machine can load that has it.
_X86_ISAS: dict[str, tuple[tuple[str, ...], str]] = {
    "amx": (("-march=cooperlake", "-mamx-tile", "-mamx-int8", "-mamx-bf16"), "amx_int8"),
    "avx512bf16": (("-march=cooperlake",), "avx512_bf16"),
    "avx512": (("-march=cascadelake",), "avx512_vnni"),
    "avxvnni": (("-march=x86-64-v3", "-mavxvnni"), "avx_vnni"),
    "avx2": (("-march=x86-64-v3",), "avx2"),
    "portable": (("-march=x86-64",), ""),
}
_ARM_ISAS: dict[str, tuple[tuple[str, ...], str]] = {
    "i8mm": (("-march=armv8.2-a+dotprod+i8mm+bf16",), "i8mm"),
    "dotprod": (("-march=armv8.2-a+dotprod",), "asimddp"),
    "portable": (("-march=armv8-a",), ""),
}
_OTHER_ISAS: dict[str, tuple[tuple[str, ...], str]] = {"portable": ((NATIVE,), "")}


def structure(name: str, **fields: Any) -> type[ctypes.Structure]:
    """A C struct with these fields in this order."""
    return type(name, (ctypes.Structure,), {"_fields_": list(fields.items())})


def address(array: Any) -> int | None:
    """Where the numbers of a NumPy array lie, NULL for None; it must outlive the call that reads them."""
    # Ten times as fast as array.ctypes.data, which counts where one query is asked.
    return None if array is None else array.__array_interface__["data"][0]


def instruction_sets() -> list[str]:
    """The values of ``RECSYS_ISA`` that this processor can run: ``native``, and what the table has."""
    from recsys_lib.hardware import machine

    flags = machine.describe()["flags"]
    return ["native", *(name for name, (_, needed) in _known().items() if not needed or needed in flags)]


def _known() -> dict[str, tuple[tuple[str, ...], str]]:
    if ARM:
        return _ARM_ISAS
    return _X86_ISAS if platform.machine() in ("x86_64", "AMD64") else _OTHER_ISAS


def instruction_set() -> str:
    """The instruction set that kernels are compiled for: ``$RECSYS_ISA``, or the best of this processor.

    Raises:
        InputError: a value that is unknown, or an instruction set that this processor lacks.
    """
    chosen, runnable = os.environ.get("RECSYS_ISA") or "native", instruction_sets()
    if chosen not in runnable:
        raise InputError(f"RECSYS_ISA={chosen!r}: expected one of {', '.join(runnable)} on this processor")
    return runnable[1] if chosen == "native" else chosen


def isa_flags() -> tuple[str, ...]:
    """Compiler flags of :func:`instruction_set`."""
    return _known()[instruction_set()][0]


def command() -> list[str] | None:
    """The C compiler's path and its own arguments (``$CC``, or ``cc``); None where there is none."""
    words = shlex.split(os.environ.get("CC") or "cc")
    path = shutil.which(words[0]) if words else None
    return [path, *words[1:]] if path else None


@lru_cache
def _version(path: str) -> str:
    try:
        return subprocess.run([path, "--version"], capture_output=True, text=True, timeout=20).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


def compiled(source: Path, flags: tuple[str, ...]) -> ctypes.CDLL | None:
    """The library of ``source`` compiled with ``flags``, from the cache where it was compiled before.

    None without a compiler, and with a warning where the compiler fails. The cached file carries the checksum
    of its content in its name: a damaged one is compiled again. Folders and files that others may write to
    are not loaded from.
    """
    compiler = command()
    if compiler is None:
        if os.environ.get("CC"):
            _warn(source, f"CC={os.environ['CC']!r}: no such compiler")
        return None
    try:
        folder = _library_folder()
        stem = f"{source.stem}-{_key(source, compiler, flags)}"
        library = _cached(folder, stem) or _compile_into(folder, stem, source, flags)
        return ctypes.CDLL(str(library))
    except subprocess.CalledProcessError as error:
        _warn(source, _first_error(error.stderr))
    except (OSError, subprocess.SubprocessError) as error:
        _warn(source, str(error).splitlines()[0])
    return None


def _warn(source: Path, why: str) -> None:
    warnings.warn(f"no compiled {source.name}, a slower path is used: {why}", RuntimeWarning, 3)


def _first_error(output: bytes) -> str:
    lines = output.decode(errors="replace").splitlines()
    return next(
        (line for line in lines if re.search(r"\berror\b", line)), lines[0] if lines else "no message"
    )


def source_texts(source: Path) -> list[str]:
    """The text of ``source`` and of every header beside it: all that a compiled kernel is made of."""
    return [path.read_text(encoding="utf-8") for path in (source, *sorted(source.parent.glob("*.h")))]


def _key(source: Path, compiler: list[str], flags: tuple[str, ...]) -> str:
    """A hash of everything that decides what is compiled: sources, compiler, flags, instruction set, system;
    not which processor compiles.
    """
    parts = [*source_texts(source), *compiler, _version(compiler[0]), *flags, instruction_set()]
    parts += [platform.system(), platform.machine()]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def is_private(path: Path) -> bool:
    """Whether only this user (or root, who can do anything) can write to ``path``, which is no symbolic
    link.
    """
    if not hasattr(os, "getuid"):
        return True
    found = path.lstat()
    return found.st_uid == os.getuid() and not found.st_mode & 0o022 and not stat.S_ISLNK(found.st_mode)


def _library_folder() -> Path:
    """A folder to compile into: in the cache, or in the temporary folder where the cache is read-only or not
    private.
    """
    from recsys_lib.core.paths import cache_dir

    user = os.getuid() if hasattr(os, "getuid") else "user"
    for folder in (cache_dir() / "kernels", Path(tempfile.gettempdir()) / f"recsys-kernels-{user}"):
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not is_private(folder) and folder.lstat().st_uid == os.getuid() and not folder.is_symlink():
                folder.chmod(0o700)  # made by an earlier version, or under a umask that lets the group write
            with tempfile.TemporaryFile(dir=folder):  # raises where the folder is read-only
                if is_private(folder):
                    return folder
        except OSError:
            continue
    own = tempfile.mkdtemp(prefix="recsys-kernels-")
    atexit.register(shutil.rmtree, own, ignore_errors=True)
    return Path(own)


def _cached(folder: Path, stem: str) -> Path | None:
    """The library compiled before, if it is this user's and its content has the checksum in its name; others
    are removed.
    """
    for library in sorted(folder.glob(f"{stem}-*.so")):
        try:
            if is_private(library) and _checksum(library) == library.stem.rsplit("-", 1)[1]:
                return library
        except OSError:  # another process has just removed it
            continue
        library.unlink(missing_ok=True)
    return None


def _checksum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def _compile_into(folder: Path, stem: str, source: Path, flags: tuple[str, ...]) -> Path:
    with tempfile.TemporaryDirectory(dir=folder) as own:
        made = Path(own) / f"{stem}.so"
        compile_to(made, source, flags)
        library = folder / f"{stem}-{_checksum(made)}.so"
        os.replace(made, library)
    return library


def compile_to(library: Path, source: Path, flags: tuple[str, ...]) -> None:
    """Compile beside, then rename: no other process loads half a file.

    Raises:
        subprocess.SubprocessError, OSError: no compiler, or one that fails.
    """
    compiler = command()
    if compiler is None:
        raise FileNotFoundError("there is no C compiler (cc, or the CC environment variable)")
    library.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:
        made = Path(folder) / library.name
        arguments = [*flags, f"-I{source.parent}", "-o", str(made), str(source), "-lm"]
        subprocess.run([*compiler, *arguments], check=True, capture_output=True, timeout=300)
        made.chmod(0o700)
        os.replace(made, library)
