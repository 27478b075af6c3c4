"""``report``: executed notebooks as a static site."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recsys_lib.cli.arguments import check_output_file


def report(
    folder: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Where the pages go (default: site/).")
    ] = None,
    runs: Annotated[
        bool, typer.Option("--runs", help="Show your own runs in runs/ in place of the committed notebooks.")
    ] = False,
) -> int:
    """Render the notebooks as a static site.

    Example: python -m recsys_lib report --folder site
    """
    from recsys_lib.core import paths

    folder = folder or paths.ROOT / "site"
    check_output_file(folder / "index.html")
    from recsys_lib.reporting import site

    print(site.build(folder, runs))
    return 0
