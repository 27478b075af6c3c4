"""``fetch``: models and data sets into the cache."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recsys_lib.cli.arguments import choose
from recsys_lib.core.errors import InputError


def fetch(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME",
            help="Assets of data/assets.toml (default: all but the optional ones), or a published data set "
            "such as ml-25m or amazon-2023:Office_Products.",
        ),
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option("--from", metavar="FOLDER", help="Take a published data set's files from this folder."),
    ] = None,
) -> int:
    """Download, verify and unpack models and data sets.

    Published data sets come from their official addresses, or with --from out of a folder of this machine.

    Example: python -m recsys_lib fetch minilm ml-100k
    """
    from recsys_lib.data import assets
    from recsys_lib.data.datasets import locations

    families = (*locations.TABLE, *locations.FAMILIES)
    published = [name for name in names or () if name.partition(":")[0] in families]
    others = [name for name in names or () if name not in published]
    chosen = [choose(name, [*assets.table(), *locations.TABLE], "asset") for name in others]
    if source is not None and (others or not published):
        known = ", ".join(locations.NAMES)
        raise InputError(f"--from {source}: expected a published data set to take from it: {known}")
    found = {name: locations.bring(name, source) for name in published}
    if chosen or not published:
        found |= assets.fetch(chosen)
    for name, folder in found.items():
        size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
        reason = locations.published(name).unpinned if name in published else ""
        print(f"{name:16} {size / 1e6:8.1f} MB  ready" + (f", no hash compared: {reason}" if reason else ""))
    return 0
