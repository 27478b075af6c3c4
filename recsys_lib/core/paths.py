"""Where things lie: the repository, its tables, and the cache of models, data and vectors."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
TABLES = ROOT / "data"
MEASUREMENTS = TABLES / "measurements"
NOTEBOOKS = ROOT / "notebooks"
RUNS = ROOT / "runs"


def cache_dir() -> Path:
    """``$RECSYS_CACHE``, or ``data/cache`` in the repository."""
    return Path(os.environ.get("RECSYS_CACHE") or TABLES / "cache")
