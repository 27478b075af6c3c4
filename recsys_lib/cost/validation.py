"""The cost model against what was measured: by others, elsewhere, and by this repository on two machines.

A forecast is the roofline bound over the fraction of it that the reference work of its kind reached. What a
fraction was taken from is not forecast; everything else is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from recsys_lib.core import records
from recsys_lib.core.errors import InputError
from recsys_lib.core.paths import MEASUREMENTS
from recsys_lib.cost import sizing
from recsys_lib.cost.architectures import architecture
from recsys_lib.cost.machines import hardware, published
from recsys_lib.cost.queueing import p99_factor
from recsys_lib.cost.recorded_fractions import kind_of, published_fractions
from recsys_lib.hardware.machine import Ceilings
from recsys_lib.hardware.timing import Measurement

XEON = "intel-xeon-2-cores"
FRESH = "forecast-check"
SERVED = "serve-bench"
# Waiting times of a server that shares its two cores with its client.
HTTP = "p99 over HTTP, shared cores"
# Kinds of recorded work, and the kind of the cost model each is an instance of.
KINDS = {
    "encode, native": "encode",
    "scan": "scan",
    "EASE fit": "fit",
    "prefill": "prefill",
    "decode": "decode",
    "encode, random weights": "prefill",
}


@dataclass(frozen=True)
class Check:
    """One forecast beside what was measured, in the same unit, and where the measurement stands."""

    name: str
    forecast: float
    measured: float
    unit: str
    source: str

    @property
    def ratio(self) -> float:
        """Forecast over measured: above 1 where the model is slower, or more expensive, than what was
        measured.
        """
        return self.forecast / self.measured

    @property
    def factor(self) -> float:
        """How far off, in either direction: at least 1."""
        return max(self.ratio, 1 / self.ratio)


def groups() -> dict[str, list[Check]]:
    """All checks by what was forecast and where it was measured."""
    return {
        "published by others": published_checks(),
        "recorded, Xeon with AMX": recorded_checks(),
        "fresh, Xeon without AMX": fresh_checks(),
        "p99, one process": waiting_checks(),
        HTTP: load_checks(),
    }


def summary(checks: Sequence[Check]) -> tuple[float, float]:
    """Median and worst factor.

    Raises:
        InputError: no check.
    """
    if not checks:
        raise InputError("summary: expected at least one check")
    factors = [check.factor for check in checks]
    return float(np.median(factors)), max(factors)


# ---------------------------------------------------------------- published by others


def published_checks() -> list[Check]:
    """Serving figures of others (``data/published.toml``, serving): seconds or dollars a unit of work,
    forecast and as published.

    Throughputs are compared as their inverses, so that a ratio above 1 always says that the model is the
    slower.
    """
    reached = published_fractions()
    forecasts = {"generate": _generating_s, "embed": _embedding_s, "fleet": _fleet_usd}
    found = []
    for row in published()["serving"]:
        forecast = forecasts[row["kind"]](row, reached)
        if row["kind"] == "fleet":
            measured, unit = float(row["value"]), row["unit"]
        else:
            measured, unit = 1e6 / row["value"], f"s/million {row['unit'].removesuffix('/s')}"
            forecast *= 1e6
        found.append(Check(row["name"], forecast, measured, unit, f"{row['source']} ({row['date']})"))
    return found


def _generating_s(row: Mapping[str, Any], reached: Mapping[str, float]) -> float:
    """Seconds a written token: the prompts of a batch read, then tokens written one after another."""
    model, machine, form = architecture(row["model"]), hardware(row["machine"]), row["precision"]
    batch, written = row["batch"], row["output"]
    read = (
        sizing.prefill_bound(model, machine, row["input"], batch, form, form).seconds
        / reached["prefill on gpu"]
    )
    middle = row["input"] + written // 2
    write = sizing.decode_bound(model, machine, middle, batch, form, form).seconds / reached["decode on gpu"]
    return (read + written * write) / (batch * written)


def _embedding_s(row: Mapping[str, Any], reached: Mapping[str, float]) -> float:
    """Seconds a token read."""
    model, machine, form = architecture(row["model"]), hardware(row["machine"]), row["precision"]
    bound = sizing.encode_bound(model, machine, row["input"], row["batch"], form, form)
    return bound.seconds / reached["prefill on gpu"] / (row["input"] * row["batch"])


def _fleet_usd(row: Mapping[str, Any], reached: Mapping[str, float]) -> float:
    """Dollars a day: tokens read outside of the cache, and tokens written by groups of cards that share the
    experts.
    """
    model, machine, form = architecture(row["model"]), hardware(row["machine"]), row["precision"]
    cards, prompt = row["cards_per_group"], row["context"]
    # Prompts are read in batches large enough that weights are read once for many tokens.
    read = sizing.prefill_bound(model, machine, prompt, row["batch"], form, form)
    read_s = read.seconds / reached["prefill on gpu"] / (prompt * row["batch"])
    group = row["batch"] * cards
    write = sizing.decode_bound(model, machine, prompt, group, form, form, machines=cards)
    write_s = write.seconds / reached["decode on gpu"] * cards / group
    return (row["input"] * read_s + row["output"] * write_s) / 3600 * row["usd_per_hour"]


# ---------------------------------------------------------------- measured by this repository


@lru_cache
def _parts(folder: Path) -> dict[str, Any]:
    return records.read(folder / f"{XEON}.json")["parts"]


def _ceilings(parts: Mapping[str, Any]) -> Ceilings:
    return Ceilings.of([Measurement.from_dict(row) for row in parts["ceilings"]["rows"]])


def _bound_s(row: Mapping[str, Any], ceilings: Ceilings) -> float:
    if row["compute"] is None:
        return row["bytes"] / ceilings.read_rate(row["bytes"])
    return ceilings.least_seconds(row["operations"], row["bytes"], row["compute"])


def reference_fractions(folder: Path = MEASUREMENTS) -> dict[str, float]:
    """Fraction of the recorded Xeon's own ceilings by kind of work: the worst of the reference rows, as in
    the cost model.
    """
    parts = _parts(folder)
    ceilings, found = _ceilings(parts), {"dense rows": 1.0}
    for row in [*parts["points"]["rows"], *parts["language"]["rows"]]:
        kind = kind_of(row)
        if kind:
            reached = _bound_s(row, ceilings) / float(np.median(row["measurement"]["samples"]))
            found[kind] = min(found.get(kind, 1.0), reached)
    return found


def recorded_checks(folder: Path = MEASUREMENTS) -> list[Check]:
    """Times recorded on the Xeon of the data sheet's kind that no fraction was taken from."""
    parts, fractions = _parts(folder), reference_fractions(folder)
    ceilings, found = _ceilings(parts), []
    for row in [*parts["points"]["rows"], *parts["language"]["rows"]]:
        kind = KINDS.get(row["workload"])
        # float32 is what the cost model never serves with, and binary codes have no products to count.
        if kind is None or kind_of(row) or row["precision"] in ("float32", "binary"):
            continue
        shape = ", ".join(
            f"{k} {v:,}" for k, v in row["shape"].items() if k not in ("dimension", "parameters")
        )
        measured = float(np.median(row["measurement"]["samples"]))
        name = f"{row['workload']}: {row['model']}, {row['precision']}, {shape}"
        found.append(Check(name, _bound_s(row, ceilings) / fractions[kind], measured, "s", XEON))
    return found


def waiting_checks(folder: Path = MEASUREMENTS) -> list[Check]:
    """99th percentiles in one process, requests drawn by a Poisson process, against the queue's table."""
    return list(_p99_checks(_parts(folder)))


def load_checks(folder: Path = MEASUREMENTS) -> list[Check]:
    """99th percentiles over HTTP (notebook 10) against the same table, server and client on the same two
    cores: at the rate of the saturation, where answers are batched.
    """
    content, found = records.read(folder / f"{SERVED}.json"), []
    for row in content["rows"]:
        if row["scenario"] == "poisson":
            name = f"p99 over HTTP: {row['server']}, load {row['load']:.1f}"
            source = f"{SERVED}, {content['date']}"
            found.append(Check(name, row["forecast_p99_ms"], row["p99_ms"], "ms", source))
    return found


def _p99_checks(parts: Mapping[str, Any]) -> Iterator[Check]:
    """At the median time of one request, and the rate that arrived."""
    for row in parts["serving"]["rows"]:
        single = next(s for s in row["scenarios"] if s["scenario"] == "single stream")
        service_s = single["latency"]["p50"]
        for one in row["scenarios"]:
            load = (one["target_per_s"] or 0) * service_s
            if one["scenario"] == "server" and one["requests"] >= 1000 and 0.3 <= load <= 0.8:
                name = f"p99 of requests: {row['encoder']}, load {load:.2f}"
                yield Check(name, service_s * p99_factor(1, 0.0, load), one["latency"]["p99"], "s", XEON)


def fresh_checks(folder: Path = MEASUREMENTS) -> list[Check]:
    """Times of the cost model's own workloads on another machine (``bench forecasts``), forecast from the
    Xeon's fractions and from that machine's ceilings: neither its fractions nor its times were used.
    Entries looked up are the reference of their kind.
    """
    content = records.read(folder / f"{FRESH}.json")
    limits, fractions, found = content["ceilings"], reference_fractions(folder), []
    for row in content["rows"]:
        if row["kind"] == "lookup":
            continue
        arithmetic = row["operations"] / limits["operations_per_s"][row["compute"]]
        bound = max(arithmetic, row["bytes"] / limits["read_bytes_per_s"])
        shape = ", ".join(f"{k} {v:,}" for k, v in row["shape"].items() if k != "dimension")
        name = f"{row['kind']}: {row['what']}, {shape}"
        found.append(
            Check(
                name, bound / fractions[row["kind"]], min(row["samples"]), "s", f"{FRESH}, {content['date']}"
            )
        )
    return found
