"""``probe``: what this machine is and reaches."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recsys_lib.cli.arguments import check_device, check_output_file


def probe(
    json: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write it as JSON with all raw samples.")
    ] = None,
    device: Annotated[
        str, typer.Option(metavar="NAME", help="Whose ceilings: cpu or cuda (default: cpu).")
    ] = "cpu",
) -> int:
    """Show what this machine is and what it was measured to reach.

    Example: python -m recsys_lib probe --json machine.json
    """
    check_device(device)
    check_output_file(json)
    from recsys_lib.reporting import tables

    print(tables.probe(json, device))
    return 0
