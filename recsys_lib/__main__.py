"""The command line: ``python -m recsys_lib``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import NoReturn

from recsys_lib.core.errors import InputError


class _Parser(argparse.ArgumentParser):
    """Says a mistake in one line, as the commands do, and leaves the usage to ``--help``."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog.removeprefix('python -m ')}: {message}; see {self.prog} --help\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m recsys_lib",
        description="Recommenders built on language models, and the hardware they cost.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    fetch = commands.add_parser("fetch", help="download, verify and unpack models and data sets")
    fetch.add_argument("names", nargs="*", metavar="NAME", help="assets of data/assets.toml (default: all)")
    run = commands.add_parser("run", help="execute notebooks with papermill into runs/")
    run.add_argument("notebooks", nargs="*", metavar="NOTEBOOK", help="path, name or number (default: all)")
    run.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="set a parameter")
    run.add_argument("--in-place", action="store_true", help="execute the committed notebooks and keep their outputs")
    sweep = commands.add_parser("sweep", help="run one notebook over a grid of parameters")
    sweep.add_argument("notebook", metavar="NOTEBOOK")
    sweep.add_argument("-g", action="append", default=[], metavar="NAME=V1,V2", help="an axis of the grid")
    sweep.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="a fixed parameter")
    sweep.add_argument("-j", "--jobs", type=int, default=0, help="runs at once (default: one per core)")
    sweep.add_argument("--metric", help="the metric the figure shows (default: the first)")
    sweep.add_argument("--folder", type=Path, help="where runs go (default: runs/sweep-NOTEBOOK)")
    sweep.add_argument(
        "--record",
        type=Path,
        metavar="FILE",
        help="also gather the finished runs' records in one JSON file; it keeps those of other values of -g",
    )
    probe = commands.add_parser("probe", help="this machine: what it is and what it was measured to reach")
    probe.add_argument("--json", type=Path, metavar="FILE", help="also write it with all raw samples")
    probe.add_argument("--device", default="cpu", help="whose ceilings: cpu or cuda (default: cpu)")
    measured = commands.add_parser("measure", help="time the work of these notebooks here, into data/measurements/")
    measured.add_argument(
        "parts", nargs="*", metavar="PART",
        help="ceilings, serving, points, language, scaling, training, energy (default: all)",
    )  # fmt: skip
    measured.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    measured.add_argument("--name", default="", help="the machine's name (default: made of its processor or GPU)")
    encode = commands.add_parser(
        "encode", help="encode a catalogue of any size to disk; killed, it goes on where it was"
    )
    encode.add_argument(
        "source", metavar="SOURCE", help="a data set, a CSV file, or a text file with one text per line"
    )
    encode.add_argument("folder", type=Path, metavar="FOLDER", help="where vectors.npy goes")
    encode.add_argument(
        "--column", action="append", metavar="NAME", help="a CSV column to read, repeatable (default: title)"
    )
    encode.add_argument("--encoder", default="minilm", metavar="NAME", help="default: minilm")
    encode.add_argument("--precision", default="auto", help="float32, bfloat16, int8, ... (default: auto)")
    encode.add_argument(
        "--backend", default="auto", help="native, torch, openvino, ... (default: auto, the fastest here)"
    )
    bench = commands.add_parser("bench", help="time this library against its peers, in turns, in one run")
    bench.add_argument("name", metavar="NAME", help="similarity, encode, recommend or search")
    bench.add_argument("--json", type=Path, metavar="FILE", help="also write the rows and the environment")
    bench.add_argument("--parts", metavar="LIST", help="search only: some of its parts, which replace theirs in FILE")
    report = commands.add_parser("report", help="render executed notebooks as a static site")
    report.add_argument("--folder", type=Path, help="where the pages go (default: site/)")
    commands.add_parser("lab", help="open JupyterLab in notebooks/")
    return parser


def _fetch(args: argparse.Namespace) -> int:
    from recsys_lib.data import assets

    for name, folder in assets.fetch(args.names).items():
        size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
        print(f"{name:16} {size / 1e6:8.1f} MB  ready")
    return 0


def _run(args: argparse.Namespace) -> int:
    from recsys_lib.core import paths
    from recsys_lib.core.files import check_writable
    from recsys_lib.experiments import notebooks
    from recsys_lib.experiments.runs import execute, execute_in_place
    from recsys_lib.reporting import plots, readme
    from recsys_lib.reporting import tables as report

    chosen = [notebooks.find_notebook(n) for n in args.notebooks] or notebooks.numbered_notebooks()
    if args.in_place:
        if args.p:
            raise InputError("--in-place runs with the committed parameters: leave out -p")
        for path in chosen:
            print(f"{path.stem:28} {execute_in_place(path):7.1f} s", flush=True)
        plots.write_index()
        readme.write()
        return 0
    pairs = [(path, _parameters(path, args.p)) for path in chosen]
    check_writable(paths.RUNS / "run")
    runs = []
    for path, parameters in pairs:
        runs.append(execute(path, parameters, paths.RUNS / path.name, progress=sys.stderr.isatty()))
        print(report.run_line(runs[-1]), flush=True)
    print(report.run_table(runs))
    return 1 if any(run.status == "failed" for run in runs) else 0


def _parameters(path: Path, pairs: list[list[str]]) -> dict:
    from recsys_lib.experiments.parameters import parameters_of, parse_parameter

    defaults = parameters_of(path)
    return {name: parse_parameter(path.stem, defaults, name, text) for name, text in pairs}


def _sweep(args: argparse.Namespace) -> int:
    from recsys_lib.core import paths
    from recsys_lib.core.files import check_writable
    from recsys_lib.experiments import notebooks, sweeps
    from recsys_lib.experiments.parameters import grid_of
    from recsys_lib.reporting import tables as report

    path = notebooks.find_notebook(args.notebook)
    points = grid_of(path, args.g, dict(args.p))
    # Notebooks run in their own folder: a relative one would name another there.
    folder = (args.folder or paths.RUNS / f"sweep-{path.stem}").resolve()
    if args.record:
        check_writable(args.record)
    runs = sweeps.sweep(path, points, folder, args.jobs)
    axes = [axis.partition("=")[0] for axis in args.g]
    if args.record:
        sweeps.gather(folder, runs, args.record, axes)
    print(report.sweep_summary(runs, axes, args.metric, folder))
    return 1 if any(run.status == "failed" for run in runs) else 0


def _probe(args: argparse.Namespace) -> int:
    from recsys_lib.core.files import check_writable
    from recsys_lib.hardware import machine
    from recsys_lib.reporting import tables as report

    if args.json:
        check_writable(args.json)
    machine.check_device(args.device)
    print(report.probe(args.json, args.device))
    return 0


def _measure(args: argparse.Namespace) -> int:
    from recsys_lib.benchmarks.workloads import record

    path = record.measure_parts(args.parts, args.device, args.name)
    for part, content in record.records()[path.stem].items():
        print(f"{part:9} {content['date']}  {content['seconds']:6.0f} s  {len(content['rows'])} rows")
    return 0


def _encode(args: argparse.Namespace) -> int:
    from recsys_lib import encoders
    from recsys_lib.encoders.stream import encode_to_disk

    options = (
        {} if args.encoder == "wordllama" else {"precision": args.precision, "backend": args.backend, "cache": False}
    )
    encoder = encoders.load(args.encoder, **options)
    print(encode_to_disk(encoder, args.source, args.folder, tuple(args.column or ("title",))))
    return 0


def _bench(args: argparse.Namespace) -> int:
    from recsys_lib.benchmarks import baselines as bench
    from recsys_lib.core.files import check_writable

    if args.json:
        check_writable(args.json)
    print(bench.run(args.name, args.json, args.parts.split(",") if args.parts else ()))
    return 0


def _report(args: argparse.Namespace) -> int:
    from recsys_lib.core import paths
    from recsys_lib.core.files import check_writable
    from recsys_lib.reporting import site

    folder = args.folder or paths.ROOT / "site"
    check_writable(folder / "index.html")
    print(site.build(folder))
    return 0


def _lab(args: argparse.Namespace) -> int:
    from recsys_lib.experiments import notebooks

    return notebooks.open_lab()


def main(arguments: list[str] | None = None) -> int:
    """Run one command; a user's mistake is one line on stderr and status 2, Ctrl-C is status 130."""
    args = _parser().parse_args(arguments)
    commands = {
        "fetch": _fetch, "run": _run, "sweep": _sweep, "probe": _probe, "measure": _measure,
        "bench": _bench, "encode": _encode, "report": _report, "lab": _lab,
    }  # fmt: skip
    try:
        return commands[args.command](args)
    except InputError as error:
        print(f"recsys_lib {args.command}: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"recsys_lib {args.command}: {where}{error.strerror or error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"recsys_lib {args.command}: interrupted; what had finished is kept", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
