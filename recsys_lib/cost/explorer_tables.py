"""All that the cost model reads, as plain JSON types: from it ``reporting/explorer/model.js`` computes the
same numbers.
"""

from __future__ import annotations

from dataclasses import astuple, fields
from typing import Any

from recsys_lib.cost import measured_quality, queueing
from recsys_lib.cost.assumptions import Assumptions
from recsys_lib.cost.deployment_options import OPTIONS, PATTERNS, DeploymentOption
from recsys_lib.cost.deployments import LOADS
from recsys_lib.cost.energy import IDLE_SHARE
from recsys_lib.cost.fleet import USABLE
from recsys_lib.cost.machines import Hardware
from recsys_lib.cost.recorded_fractions import default_assumptions
from recsys_lib.cost.services import services
from recsys_lib.cost.units import DAYS_PER_MONTH, HOURS_PER_MONTH, convert
from recsys_lib.cost.workloads import (
    DENSE_BYTES,
    ENCODERS,
    RERANKERS,
    TEXT_LENGTHS,
    encode_workload,
    family,
    format_of,
    has_8_bits,
    known_kinds,
    rentable,
    rerank_bytes,
    rerank_workloads,
)


def tables() -> dict[str, Any]:
    """Units, machines, options, workloads by text length, qualities, the queue's table and the example
    services.
    """
    a = Assumptions()
    shown = (a.shown, a.candidates)
    return {
        "units": {
            "hour_s": convert(1, "h", "s"),
            "month_s": convert(1, "month", "s"),
            "month_h": HOURS_PER_MONTH,
            "month_days": DAYS_PER_MONTH,
        },
        "idle_share": IDLE_SHARE,
        "usable": USABLE,
        "dense_bytes": DENSE_BYTES,
        "loads": list(LOADS),
        "queue": _queue(),
        "machines": [_machine(m) for m in rentable()],
        "options": [_option(one) for one in OPTIONS],
        "patterns": list(PATTERNS),
        "text_lengths": list(TEXT_LENGTHS),
        "encoders": {name: bool(model) for name, (model, _) in ENCODERS.items()},
        "encode": {
            name: {t: list(astuple(encode_workload(name, t))) for t in TEXT_LENGTHS} for name in ENCODERS
        },
        "rerank": {
            name: {
                t: [list(astuple(w)) for w in rerank_workloads(name, t, *shown, a.answer_tokens)]
                for t in TEXT_LENGTHS
            }
            for name in RERANKERS
        },
        "rerank_bytes": {
            name: {t: list(rerank_bytes(name, t, *shown)) for t in TEXT_LENGTHS} for name in RERANKERS
        },
        "quality": {p: _qualities(p) for p in measured_quality.protocols()},
        "protocol": measured_quality.PROTOCOL,
        "assumptions": {f.name: getattr(a, f.name) for f in fields(a) if f.name != "fractions"},
        "fractions": dict(default_assumptions().fractions),
        "kinds": list(known_kinds()),
        "services": {
            name: {
                **{f.name: getattr(s, f.name) for f in fields(s) if f.name != "name"},
                "cold_requests": round(s.cold_share, 4),
            }
            for name, s in services().items()
        },
    }


def _queue() -> dict[str, Any]:
    return {
        "batches": list(queueing.BATCHES),
        "fixed": list(queueing.FIXED),
        "loads": list(queueing.LOADS),
        "p99": {str(batch): rows for batch, rows in queueing.table().items()},
    }


def _qualities(protocol: str) -> dict[str, list[float | None]]:
    found = measured_quality.recorded_methods(protocol)
    return {name: [quality.warm, quality.cold] for name, quality in found.items()}


def _machine(machine: Hardware) -> dict[str, Any]:
    offer = machine.price
    return {
        "name": machine.name,
        "about": machine.about,
        "kind": machine.kind,
        "family": family(machine),
        "cores": machine.cores or 1,
        "memory_bytes": machine.memory_bytes,
        "bandwidth": machine.bandwidth_bytes_per_s,
        "peaks": {p: machine.operations_per_s(format_of(machine, p)) for p in ("float32", "int8", "compact")},
        "has_8_bits": has_8_bits(machine),
        "watts": machine.watts,
        "usd_per_hour": offer.usd_per_hour,
        "offer": offer.offer,
        "date": offer.date.isoformat(),
    }


def _option(one: DeploymentOption) -> dict[str, Any]:
    return {
        "name": one.name,
        "kind": one.kind,
        "serves": list(one.serves),
        "encoders": list(one.encoders),
        "fits": list(one.fits),
        "reranker": one.reranker,
        "pattern": one.pattern,
        "nightly": one.nightly,
        "dimensions": one.dimensions,
    }
