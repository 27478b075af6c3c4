"""Against baselines: the same work, the same threads, interleaved, in one run; every row says what the
machine could do at best.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from recsys_lib.benchmarks.baselines.bench_encode import encode_rows
from recsys_lib.benchmarks.baselines.bench_recommend import recommend_rows
from recsys_lib.benchmarks.baselines.bench_rerank import rerank_rows
from recsys_lib.benchmarks.baselines.bench_search import check_parts, search_rows
from recsys_lib.benchmarks.baselines.bench_similarity import similarity_rows
from recsys_lib.benchmarks.baselines.rows import Row, with_best
from recsys_lib.core import records
from recsys_lib.core.errors import InputError
from recsys_lib.hardware import machine
from recsys_lib.vectors.search import kernel

# What holds this library, torch, oneDNN (torch's, and OpenVINO's as far as it reads it), OpenBLAS, faiss
# and MKL (with which torch multiplies float32) to an instruction set; `.ci/avx2` sets the same. onnxruntime
# and implicit know no such setting: they use what the processor has, or what they were compiled for.
HOLDING = (
    "RECSYS_ISA", "ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "OPENBLAS_CORETYPE", "FAISS_SIMD_LEVEL",
    "MKL_ENABLE_INSTRUCTIONS",
)  # fmt: skip
BENCHES: dict[str, Any] = {
    "similarity": similarity_rows, "encode": encode_rows, "recommend": recommend_rows, "search": search_rows,
    "rerank": rerank_rows,
}  # fmt: skip


def run(name: str, json_file: Path | None = None, parts: Sequence[str] = ()) -> str:
    """Run one bench and return its table; optionally write rows and environment as JSON.

    Rows that ``json_file`` holds of other instruction sets and processors stay: ``runs`` has an entry for
    each, which ``instructions`` of a row names; it says when each ran, and what held it and its baselines
    (``HOLDING``). ``parts`` of ``search`` replace what ``json_file`` holds of them and leave its others.

    Raises:
        InputError: an unknown name, parts of a bench that has none, or a baseline that is not installed.
    """
    if name not in BENCHES:
        raise InputError(f"bench {name!r} is unknown: choose from {', '.join(BENCHES)}")
    if parts and name != "search":
        raise InputError(f"bench {name!r} has no parts: only search has")
    try:
        rows = (
            _search_parts(json_file, parts) if name == "search" else _whole(name, json_file, BENCHES[name]())
        )
    except ModuleNotFoundError as error:
        raise InputError(
            f"baseline {error.name!r} is not installed: run pip install -r requirements.txt"
        ) from error
    return "\n".join([machine.summary(), *table(rows)])


def table(rows: Sequence[Row]) -> list[str]:
    """The rows as lines of text under a head; the best baseline of each workload and size carries a star."""
    head = (
        f"{'work':13} {'size':40} {'ours ms':>9} {'baseline (* best)':24} {'its ms':>9} {'ratio':>6} "
        f"{'of limit':>8}  quality"
    )
    lines = []
    for r in with_best(rows):
        name = f"{r.baseline}{' *' if r.best else ''}"
        lines.append(
            f"{r.workload:13} {r.size:40} {r.ours_s * 1e3:9.2f} {name:24} {r.baseline_s * 1e3:9.2f} "
            f"{r.ratio:6.2f} {r.fraction_of_limit:8.0%}  {r.quality}"
        )
    return [head, *lines]


def _whole(name: str, json_file: Path | None, found: list[Row]) -> list[Row]:
    """The rows of a bench without parts, in the place of those that ran here before."""
    if json_file:
        rows, runs = _kept(json_file)
        described = machine.describe()
        run = _run_of(runs, described)
        rows = [r for r in rows if r["instructions"] != run]
        rows += [{"instructions": run, **asdict(r)} for r in with_best(found)]
        here = {run: _conditions(described, date=f"{datetime.date.today()}")}
        _write(json_file, name, rows, runs | here, described)
    return found


def _kept(json_file: Path | None) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Rows and runs that a file holds."""
    return by_instructions(records.read(json_file) if json_file and json_file.is_file() else {})


def by_instructions(content: dict[str, Any]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Rows of a record, each with its ``instructions``, and its runs by the same names.

    Rows that do not say with which instructions they ran were recorded before rows were kept apart: with
    the best that their processor has.
    """
    rows, runs = content.get("rows", []), content.get("runs", {})
    if rows and "instructions" not in rows[0]:
        run = instructions_of(content["environment"]["flags"])
        runs = {run: {key: content[key] for key in ("date", "held", "load", "environment") if key in content}}
        rows = [{"instructions": run, **row} for row in rows]
    return rows, runs


def instructions_of(flags: Sequence[str]) -> str:
    """What the search kernel multiplies with on a processor of these flags (``kernel.INSTRUCTIONS``).

    >>> instructions_of(["avx2", "avx512_vnni"])
    'AVX-512 VNNI'
    """
    named = {"amx_int8": "AMX", "avx512_vnni": "AVX-512 VNNI", "avx_vnni": "AVX-VNNI", "avx2": "AVX2",
             "asimddp": "NEON"}  # fmt: skip
    return next((name for flag, name in named.items() if flag in flags), "portable")


def _conditions(described: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Under which rows are measured here: what holds the libraries, the load, and the machine."""
    held = {name: os.environ[name] for name in HOLDING if name in os.environ}
    return {**more, "held": held, "load": machine.load(), "environment": described}


def _write(
    json_file: Path, name: str, rows: list[dict[str, Any]], runs: dict[str, Any], described: dict[str, Any]
) -> None:
    content = {"bench": name, "date": f"{datetime.date.today()}", "runs": runs, "rows": rows}
    records.write(json_file, {**content, "environment": described})


def _search_parts(json_file: Path | None, parts: Sequence[str]) -> list[Row]:
    """Rows of the parts; written after each, so that a run that is ended early leaves what it measured."""
    check_parts(parts)
    rows, runs = _kept(json_file)
    described = machine.describe()
    run = _run_of(runs, described)
    if not parts:
        rows, runs = [r for r in rows if r.get("instructions") != run], {n: runs[n] for n in runs if n != run}
    measured: list[Row] = []
    ran: dict[str, str] = dict(runs.get(run, {}).get("parts", {}))
    fresh: set[str] = set()
    for part, found in search_rows(parts):
        measured += found
        if part not in fresh:
            rows = [r for r in rows if (r.get("instructions"), r.get("part")) != (run, part)]
        fresh.add(part)
        ran[part] = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        rows = [*rows, *({"instructions": run, "part": part, **asdict(r)} for r in with_best(found))]
        runs = runs | {run: _conditions(described, parts=ran)}
        if json_file:
            _write(json_file, "search", rows, runs, described)
    return measured


def _run_of(runs: dict[str, Any], described: dict[str, Any]) -> str:
    """The name of the rows that are measured here: the instructions; where another processor has rows of them
    already, the processor too; and where that is another kind of the same name, its identification.
    """
    processor, kind = described["processor"], described.get("identification")
    first = kernel.instructions()
    names = (first, f"{first}, {processor}", f"{first}, {processor} ({kind})")

    def free(name: str) -> bool:
        there = runs.get(name, {}).get("environment", described)
        return there["processor"] == processor and there.get("identification", kind) == kind

    return next((name for name in names if free(name)), names[-1])
