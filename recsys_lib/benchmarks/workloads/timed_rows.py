"""One timed point of a workload as a JSON-ready row, and how it is timed.

A row: workload, model, device, precision (of weights or codes), compute (whose peak bounds it; none: only
memory does), shape, operations, bytes, and a measurement in seconds per call. Bytes are the least that must
move, each weight, code or cache entry once, so a point's intensity is the highest it can have.
"""

from __future__ import annotations

from typing import Any

from recsys_lib import cost
from recsys_lib.hardware import machine
from recsys_lib.hardware.timing import Measurement

PROTOCOL: dict[str, Any] = {"min_samples": 7, "min_seconds": 0.4, "max_seconds": 8.0}


def row(
    workload: str, model: str, device: str, precision: str, compute: str | None, shape: dict[str, int],
    operations: float, n_bytes: float, measurement: Measurement,
) -> dict[str, Any]:  # fmt: skip
    """One point, JSON-ready."""
    return {
        "workload": workload, "model": model, "device": device, "precision": precision, "compute": compute,
        "shape": shape,
        "operations": float(operations), "bytes": float(n_bytes), "measurement": measurement.to_dict(),
    }  # fmt: skip


def model_row(
    workload: str,
    model: str,
    device: str,
    precision: str,
    shape: dict[str, int],
    counted: cost.Bound,
    measurement: Measurement,
) -> dict[str, Any]:
    """One point of a model whose products are made in the precision of its weights."""
    return row(
        workload, model, device, precision, precision, shape, counted.operations, counted.bytes, measurement
    )


def counting(precision: str) -> machine.Ceilings:
    """Ceilings of one operation and one byte per second: a bound under them counts, whatever the machine."""
    return machine.Ceilings({precision: 1.0}, 1.0, 1.0, ())
