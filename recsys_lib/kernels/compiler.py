"""C sources compiled once per machine, and called through ctypes; without a C compiler those who call do without."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import subprocess
import tempfile
from pathlib import Path
from typing import Any

# The sources, beside this file: one searches vectors, one runs the encoder.
SEARCH_SOURCE, ENCODER_SOURCE = (Path(__file__).with_name(name) for name in ("search.c", "encoder.c"))
COMPILER = os.environ.get("CC", "cc")
NATIVE = "-mcpu=native" if platform.machine() in ("arm64", "aarch64") else "-march=native"


def structure(name: str, **fields: Any) -> type[ctypes.Structure]:
    """A C struct with these fields in this order."""
    return type(name, (ctypes.Structure,), {"_fields_": list(fields.items())})


def compiled(source: Path, flags: tuple[str, ...]) -> ctypes.CDLL | None:
    """The library of ``source``, from the cache if it was compiled with these flags for this processor before; None without a compiler
    that can."""
    from recsys_lib.core.paths import cache_dir
    from recsys_lib.hardware import machine

    described = machine.describe()
    parts = [source.read_text(encoding="utf-8"), COMPILER, *flags, described["processor"], *described["flags"]]
    key = hashlib.sha256("\n".join([*parts, described["system"]]).encode()).hexdigest()[:16]
    library = cache_dir() / "kernels" / f"{source.stem}-{key}.so"
    try:
        if not library.is_file():
            compile_to(library, source, flags)
        return ctypes.CDLL(str(library))
    except (OSError, subprocess.SubprocessError):
        return None


def compile_to(library: Path, source: Path, flags: tuple[str, ...]) -> None:
    """Compile beside, then rename: a reader never loads half a file.

    Raises:
        subprocess.SubprocessError, OSError: no compiler, or one that fails.
    """
    library.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:
        made = Path(folder) / library.name
        command = [COMPILER, *flags, "-o", str(made), str(source), "-lm"]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        os.replace(made, library)
