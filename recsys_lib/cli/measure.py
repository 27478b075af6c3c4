"""``measure``: the workloads of notebooks 09, 15 and 16, timed on this machine."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from recsys_lib.cli.arguments import check_device, choose
from recsys_lib.core.errors import InputError


def measure(
    parts: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PART",
            help="ceilings, serving, points, language, scaling, training, energy (default: all).",
        ),
    ] = None,
    device: Annotated[str, typer.Option(metavar="NAME", help="cpu or cuda (default: cpu).")] = "cpu",
    name: Annotated[
        str, typer.Option(metavar="NAME", help="The machine's name (default: made of its processor or GPU).")
    ] = "",
    share: Annotated[
        bool,
        typer.Option(
            "--share", help="Contribute this machine's record: without parts, what was measured before."
        ),
    ] = False,
) -> int:
    """Time the workloads of the notebooks on this machine, into data/measurements/.

    --share writes the record without host name, user name and paths, and prints the text of a pull request.

    Example: python -m recsys_lib measure ceilings serving
    """
    if name and not re.fullmatch(r"[\w.-]+", name):
        raise InputError(f"--name {name!r}: expected letters, digits, dots and hyphens")
    check_device(device)
    from recsys_lib.benchmarks.workloads import record
    from recsys_lib.benchmarks.workloads import share as sharing

    chosen = [choose(part, record.PARTS, "part") for part in parts or ()]
    if share and not chosen:
        print(sharing.share(device, name))
        return 0
    path = record.measure_parts(chosen, device, name)
    for part, content in record.records()[path.stem].items():
        print(f"{part:9} {content['date']}  {content['seconds']:6.0f} s  {len(content['rows'])} rows")
    if share:
        print(f"\n{sharing.share(device, name)}")
    return 0
