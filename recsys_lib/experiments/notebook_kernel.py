"""The kernel that runs notebooks: always this Python, whatever kernels and folders the machine's Jupyter
set-up names.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from recsys_lib.core import paths


def kernel_variables(folder: Path) -> dict[str, str]:
    """Environment variables under which ``python3`` is this Python and nothing is written to the home folder.

    The kernel's specification and all that Jupyter and IPython write go into ``folder``, which must be
    writable; the font cache of matplotlib, which is slow to make, into the cache folder where that can be
    written.
    """
    spec = folder / "kernels" / "python3"
    spec.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    content = {"argv": command, "display_name": "Python 3", "language": "python"}
    (spec / "kernel.json").write_text(json.dumps(content), encoding="utf-8")
    others = os.environ.get("JUPYTER_PATH", "")
    return {
        "JUPYTER_PATH": os.pathsep.join(part for part in (str(folder), others) if part),
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "IPYTHONDIR": str(folder / "ipython"),
        "MPLCONFIGDIR": os.environ.get("MPLCONFIGDIR") or str(_font_folder(folder)),
    }


def _font_folder(fallback: Path) -> Path:
    folder = paths.cache_dir() / "matplotlib"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return fallback
    return folder if os.access(folder, os.W_OK) else fallback


@contextmanager
def kernel_environment(**variables: str) -> Iterator[None]:
    """``kernel_variables`` in a temporary folder, and ``variables``,
    in ``os.environ`` for the time of a run.
    """
    before = dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="recsys-kernel-", ignore_cleanup_errors=True) as folder:
        os.environ.update(kernel_variables(Path(folder)) | variables)
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)
