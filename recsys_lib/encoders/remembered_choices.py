"""Choices that a measurement made once on this machine, kept in the cache folder."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from recsys_lib.core.paths import cache_dir


def remembered(file: str, parts: Sequence[str], measured: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What ``measured`` gave the first time on this machine for ``parts``, from ``file`` in the cache folder;
    a damaged file is rebuilt.
    """
    from recsys_lib.core.files import write_atomically
    from recsys_lib.hardware import machine

    described = machine.describe()
    whole = [
        described["processor"],
        *described["flags"],
        str(torch.get_num_threads()),
        torch.__version__,
        *parts,
    ]
    key = hashlib.sha256("\n".join(whole).encode()).hexdigest()[:16]
    path = cache_dir() / file
    known = _known(path)
    if isinstance(known.get(key), dict):
        return known[key]
    result = measured()
    try:
        write_atomically(path, json.dumps({**_known(path), key: result}, indent=1))
    except OSError as error:
        warnings.warn(f"{file}: the measured choice is not remembered ({error.strerror})", stacklevel=3)
    return result


def _known(path: Path) -> dict[str, Any]:
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}
