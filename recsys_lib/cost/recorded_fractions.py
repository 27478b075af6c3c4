"""Which fraction of a data sheet's roofline real work reaches, from the records of machines and from what
others published.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from recsys_lib.core import records
from recsys_lib.core.paths import MEASUREMENTS
from recsys_lib.cost import sizing
from recsys_lib.cost.architectures import architecture
from recsys_lib.cost.assumptions import Assumptions
from recsys_lib.cost.machines import Hardware, card, hardware, published
from recsys_lib.cost.workloads import family, format_of


def recorded_fractions(folder: Path | None = None) -> dict[str, float]:
    """Fractions of the roofline by kind of work and family of machines ("scan on c7i"), the worst of each
    in the records.

    A machine is held against the data sheet of its kind, at its number of cores. Dense rows added are
    nothing but reads: they come at the speed at which memory was read; entries of sparse histories at a
    measured fraction of it. Reading a prompt and writing tokens on cards is in ``data/published.toml`` (the
    worst row), where no record has it.
    """
    found: dict[str, float] = {}
    for path in sorted((folder or MEASUREMENTS).glob("*.json")):
        content = records.read_json(path)
        parts = content.get("parts", {}) if isinstance(content, dict) else {}
        for name in ("ceilings", "points", "language"):
            part = parts.get(name, {"rows": ()})
            sheet = sheet_of(part["environment"], part["device"]) if part["rows"] else None
            if sheet is None:
                continue
            for kind, reached in _reached(part["rows"], sheet):
                key = f"{kind} on {family(sheet)}"
                found[key] = min(found.get(key, 1.0), reached)
    return {**published_fractions(), **found}


@lru_cache
def default_assumptions() -> Assumptions:
    """The planning values of this repository with the fractions of the roofline that were measured."""
    return Assumptions(fractions=recorded_fractions())


def _reached(rows: Sequence[dict[str, Any]], sheet: Hardware) -> Iterator[tuple[str, float]]:
    """Kind of work and fraction for every timed row that stands for one."""
    reads = [row for row in rows if row.get("name", "").startswith("streaming read")]
    if reads:
        # The largest sample, which no cache holds.
        largest = max(reads, key=lambda row: row["amount"])
        rate = largest["amount"] / float(np.median(largest["samples"]))
        yield "dense rows", rate / sheet.bandwidth_bytes_per_s
        yield "lookup", lookup_fraction() * rate / sheet.bandwidth_bytes_per_s
    for row in rows:
        kind = kind_of(row)
        if kind:
            yield kind, row_bound_s(row, sheet) / float(np.median(row["measurement"]["samples"]))


def lookup_fraction(folder: Path = MEASUREMENTS) -> float:
    """Fraction of the speed of plain reads at which entries of sparse histories are looked up and added
    (``bench forecasts``).
    """
    path = folder / "forecast-check.json"
    if not path.exists():
        return 1.0
    content = records.read(path)
    rows = [row for row in content["rows"] if row["kind"] == "lookup"]
    return min(row["bytes"] / content["ceilings"]["read_bytes_per_s"] / min(row["samples"]) for row in rows)


def row_bound_s(row: dict[str, Any], sheet: Hardware) -> float:
    """The roofline's bound of a recorded row on that machine."""
    return sheet.least_seconds(row["operations"], row["bytes"], format_of(sheet, row["compute"] or "float32"))


def kind_of(row: dict[str, Any]) -> str:
    """The kind of work that a row is the reference of; empty for all others, which forecasts are held
    against.

    Encoders in the fastest form (8 bits, batches of 64), int8 codes scanned for one query and for 64, fits
    of thousands of items, prompts of hundreds of tokens, tokens written for one sequence.
    """
    workload, shape, precision = row.get("workload"), row.get("shape", {}), row.get("precision")
    if workload == "encode, native" and precision == "int8" and shape["batch"] >= 64:
        return "encode"
    if workload == "scan" and precision == "int8":
        return "scan"
    if workload == "EASE fit" and shape["items"] >= 2000:
        return "fit"
    if workload == "prefill" and precision == "bfloat16" and shape["tokens"] >= 512:
        return "prefill"
    if workload == "decode" and precision == "bfloat16" and shape["batch"] == 1:
        return "decode"
    return ""


def sheet_of(environment: dict[str, Any], device: str) -> Hardware | None:
    """Sheet of a recorded machine: of its card, or of its kind of processor scaled to its cores; None if
    there is none.
    """
    if device != "cpu":
        found = [card(g["name"], g.get("memory_bytes")) for g in environment["gpus"]]
        return next((one for one in found if one), None)
    flags = environment["flags"]
    like = "c7i-2xlarge" if "amx_bf16" in flags else "c7a-large" if "avx512_bf16" in flags else None
    if like is None:
        return None
    sheet = hardware(like)
    scale = (environment["cores_physical"] or environment["cores_logical"]) / (sheet.cores or 1)
    peaks = {precision: peak * scale for precision, peak in sheet.peaks.items()}
    return replace(sheet, peaks=peaks, bandwidth_bytes_per_s=sheet.bandwidth_bytes_per_s * scale)


def published_fractions() -> dict[str, float]:
    """Fractions that others reached on cards: prompts read (first-token times) and tokens written for one
    sequence.
    """
    prefill = []
    for row in published()["first_token"]:
        bound = sizing.prefill_bound(
            architecture(row["model"]), hardware(row["machine"]), row["tokens"], compute=row["precision"],
            precision=row["precision"],
        )  # fmt: skip
        prefill.append(bound.seconds / row["seconds"])
    decode = []
    for row in published()["decode"]:
        if row["precision"] == "bfloat16":
            bound = sizing.decode_bound(architecture(row["model"]), hardware(row["machine"]), 1)
            decode.append(bound.seconds * row["tokens_per_s"])
    return {"prefill on gpu": min(prefill), "decode on gpu": min(decode)}
