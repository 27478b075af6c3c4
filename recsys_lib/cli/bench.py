"""``bench``: this library beside its baselines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recsys_lib.cli.arguments import check_output_file, choose
from recsys_lib.core.errors import InputError


def bench(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="similarity, encode, recommend, rerank, search, serve or forecasts."
        ),
    ],
    json: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write the rows and the environment.")
    ] = None,
    parts: Annotated[
        str | None,
        typer.Option(
            metavar="LIST", help="search and serve: some of their parts, which replace theirs in FILE."
        ),
    ] = None,
) -> int:
    """Time this library against baselines, interleaved, in one run; or the workloads that the cost model
    forecasts.

    Example: python -m recsys_lib bench search --json search.json
    """
    from recsys_lib.benchmarks import baselines, forecasts

    choose(name, [*baselines.BENCHES, "serve", "forecasts"], "bench")
    chosen = parts.split(",") if parts is not None else []
    if chosen and name not in ("search", "serve"):
        raise InputError(
            f"--parts {parts!r}: bench {name!r} has no parts, only search and serve have; leave it out"
        )
    check_output_file(json)
    if name == "serve":
        from recsys_lib.benchmarks import serve

        print(serve.run(json, chosen))
        return 0
    if name == "forecasts":
        print(forecasts.run(json))
        return 0
    print(baselines.run(name, json, chosen))
    return 0
