"""What share of a data sheet's bound real work reaches, by kind of work, from the records of machines and from what others published."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from recsys_lib.core import records
from recsys_lib.core.paths import MEASUREMENTS
from recsys_lib.cost import sizing
from recsys_lib.cost.architectures import architecture
from recsys_lib.cost.deployments import family, half
from recsys_lib.cost.machines import Hardware, hardware, published, table


def recorded_shares(folder: Path | None = None) -> dict[str, float]:
    """Shares of the bound by work and family of machines ("scan on c7i"), the worst of each in the records of ``data/measurements/``.

    A machine is held against the data sheet of its kind at its number of cores. Neighbours and rows of EASE are nothing but reads:
    they come at the speed at which memory was read. Decoding on a card is in ``data/published.toml`` (the worst row in 16 bits)
    where no record has it.
    """
    found: dict[str, float] = {}
    for path in sorted((folder or MEASUREMENTS).glob("*.json")):
        content = records.read(path)
        parts = content.get("parts", {}) if isinstance(content, dict) else {}
        for part in ("ceilings", "points", "language"):
            content = parts.get(part, {"rows": ()})
            sheet = _sheet_of(content["environment"], content["device"]) if content["rows"] else None
            for kind, reached in _reached(content["rows"], sheet) if sheet else ():
                key = f"{kind} on {family(sheet)}" if sheet else kind
                found[key] = min(found.get(key, 1.0), reached)
    return {"decode on gpu": _published_decoding(), **found}


def _reached(rows: Sequence[dict[str, Any]], sheet: Hardware) -> Iterator[tuple[str, float]]:
    """Kind of work and share for every timed row that stands for one."""
    reads = [row for row in rows if row.get("name", "").startswith("streaming read")]
    if reads:
        # The largest sample, which no cache holds.
        largest = max(reads, key=lambda row: row["work"])
        rate = largest["work"] / float(np.median(largest["samples"]))
        for kind in ("neighbours", "ease"):
            yield kind, rate / sheet.bandwidth_bytes_per_s
    for row in rows:
        kind = _kind_of(row)
        if kind:
            least = sheet.least_seconds(row["operations"], row["bytes"], half(sheet, row["compute"] or "float32"))
            yield kind, least / float(np.median(row["measurement"]["samples"]))


def _kind_of(row: dict[str, Any]) -> str:
    """The kind of work a row stands for: encoders in large batches and 16 bits, one query against int8 codes, fits; else nothing."""
    work, shape = row.get("work"), row.get("shape", {})
    if work == "encode" and row["precision"] == "bfloat16" and shape["batch"] >= 64:
        return "encode"
    if work == "scan" and row["precision"] == "int8" and shape["batch"] == 1:
        return "scan"
    if work == "EASE fit" and shape["items"] >= 2000:
        return "ease fit"
    if work in ("prefill", "decode") and row["precision"] == "bfloat16" and row["device"] != "cpu":
        return str(work)
    return ""


def _sheet_of(environment: dict[str, Any], device: str) -> Hardware | None:
    """Sheet of a recorded machine: of its card, or of its kind of processor scaled to its cores; None if there is none."""
    if device != "cpu":
        names = [g["name"].lower() for g in environment["gpus"]]
        return next((m for m in table().values() if any(m.name.split("-")[0] in n for n in names)), None)
    flags = environment["flags"]
    like = "c7i-2xlarge" if "amx_bf16" in flags else "c7a-large" if "avx512_bf16" in flags else None
    if like is None:
        return None
    sheet = hardware(like)
    scale = (environment["cores_physical"] or environment["cores_logical"]) / (sheet.cores or 1)
    peaks = {precision: peak * scale for precision, peak in sheet.peaks.items()}
    return replace(sheet, peaks=peaks, bandwidth_bytes_per_s=sheet.bandwidth_bytes_per_s * scale)


def _published_decoding() -> float:
    found = []
    for row in published()["decode"]:
        if row["precision"] == "bfloat16":
            least = sizing.decode_bound(architecture(row["model"]), hardware(row["machine"]), 1).seconds
            found.append(least * row["tokens_per_s"])
    return min(found)
