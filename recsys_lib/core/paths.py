"""Where things lie: the repository, its tables, and the cache of models, data and vectors.

Installed from a wheel there is no repository: the tables lie inside the package, runs go below the folder in
which the command was given, and the cache is the user's.
"""

from __future__ import annotations

import os
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent
IS_CHECKOUT = (_PACKAGE.parent / "data" / "assets.toml").is_file()
ROOT = _PACKAGE.parent if IS_CHECKOUT else Path.cwd()
TABLES = ROOT / "data" if IS_CHECKOUT else _PACKAGE / "tables"
MEASUREMENTS = TABLES / "measurements"
NOTEBOOKS = ROOT / "notebooks"
RUNS = ROOT / "runs"


def cache_dir() -> Path:
    """``$RECSYS_CACHE``, else ``data/cache`` in the repository, else the user's cache folder."""
    chosen = os.environ.get("RECSYS_CACHE")
    if chosen:
        return Path(chosen)
    if IS_CHECKOUT:
        return TABLES / "cache"
    from platformdirs import user_cache_path

    return user_cache_path("recsys_lib")
