"""``recommend``: a user's own catalogue in one line: files in, verdict and dollars out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from recsys_lib.cli.arguments import Pair, fixed_parameters, pair_option, parameter_values
from recsys_lib.core.errors import InputError

NOTEBOOK = "90"


def _file(about: str) -> Any:
    return typer.Option(metavar="FILE", help=about)


def _number(about: str) -> Any:
    return typer.Option(metavar="N", help=about)


def recommend(
    interactions: Annotated[Path | None, _file("CSV: user, item; rating and timestamp if known.")] = None,
    items: Annotated[Path | None, _file("CSV: id, title, anything else; image: paths of pictures.")] = None,
    vectors: Annotated[Path | None, _file("Your own vectors, .npy, a row per row of the items file.")] = None,
    requests_per_s: Annotated[float | None, _number("Lists a second at the peak (default: 10).")] = None,
    latency_ms: Annotated[float | None, _number("Limit of the 99th percentile (default: 100).")] = None,
    new_items_per_day: Annotated[float | None, _number("Default: as many as the data shows.")] = None,
    usd_per_point: Annotated[
        float | None, _number("Dollars that 0.01 NDCG is worth per million lists (default: 10).")
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="wordllama, minilm, e5, smollm2 or a folder (default: minilm)."),
    ] = None,
    output: Annotated[Path, typer.Option(metavar="FOLDER", help="Where the report goes.")] = Path(
        "runs/recommend"
    ),
    pairs: Annotated[
        list[Pair] | None, pair_option("Set another parameter of notebook 90; repeatable.")
    ] = None,
) -> int:
    """Find which recommender to serve for your catalogue and traffic, for how many dollars, and why.

    Runs notebook 90 on your files (without files: on an invented sample) and writes its report as one
    HTML page.

    Example: python -m recsys_lib recommend --interactions sales.csv --items products.csv --requests-per-s 50
    """
    from recsys_lib.core.files import check_writable
    from recsys_lib.experiments import notebooks
    from recsys_lib.experiments.own_catalogue import pricing

    numbers = {
        "requests_per_s": requests_per_s, "latency_ms": latency_ms, "new_items_per_day": new_items_per_day,
        "usd_per_point": usd_per_point,
    }  # fmt: skip
    traffic = {name: value for name, value in numbers.items() if value is not None}
    pricing.read_traffic(traffic)
    files = {"interactions": interactions, "items": items, "vectors": vectors}
    parameters: dict[str, Any] = {
        name: _existing(name, path) for name, path in files.items() if path is not None
    }
    parameters |= {"traffic": traffic} if traffic else {}
    parameters |= {"encoder": encoder} if encoder is not None else {}
    path = notebooks.find_notebook(NOTEBOOK)
    parameters |= _others(path, fixed_parameters(pairs or ()), parameters)
    check_writable(output / "report.html")
    return _run(path, parameters, output)


def _existing(name: str, path: Path) -> str:
    """The file as an absolute path: the notebook runs elsewhere."""
    if not path.expanduser().is_file():
        raise InputError(f"--{name} {path}: no such file")
    return str(path.expanduser().resolve())


def _others(path: Path, texts: dict[str, str], given: dict[str, Any]) -> dict[str, Any]:
    twice = next((name for name in texts if name in given), None)
    if twice:
        raise InputError(f"-p {twice}: parameter {twice!r} is given twice; expected once")
    return parameter_values(path, texts)


def _run(path: Path, parameters: dict[str, Any], output: Path) -> int:
    from recsys_lib.experiments.runs import execute
    from recsys_lib.reporting import catalogues

    folder = output.resolve()
    run = execute(path, parameters, folder / path.name, progress=sys.stderr.isatty())
    if run.status == "failed":
        if run.error.startswith("InputError: "):
            raise InputError(run.error.removeprefix("InputError: "))
        print(f"{path.stem} failed in cell [{run.cell}]: {run.error}", file=sys.stderr)
        return 1
    report = folder / "report.html"
    catalogues.write_report(folder / path.name, report)
    found = run.metrics
    print(f"{found['verdict']}.\n\n{found['sentence']}\n")
    print(
        "What would change it:",
        *(f"  * {change}" for change in found["changes"] or ["nothing near"]),
        sep="\n",
    )
    print("What was left out:", *(f"  * {note}" for note in found["notes"] or ["nothing"]), sep="\n")
    print(f"\nThe report: {report}")
    return 0
