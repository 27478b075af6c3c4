"""``fetch``: models and data sets into the cache."""

from __future__ import annotations

from typing import Annotated

import typer

from recsys_lib.cli.options import choose


def fetch(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME", help="Assets of data/assets.toml (default: all but the optional ones)."
        ),
    ] = None,
) -> int:
    """Download, verify and unpack models and data sets.

    Example: python -m recsys_lib fetch minilm ml-100k
    """
    from recsys_lib.data import assets

    chosen = [choose(name, assets.table(), "asset") for name in names or ()]
    for name, folder in assets.fetch(chosen).items():
        size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
        print(f"{name:16} {size / 1e6:8.1f} MB  ready")
    return 0
