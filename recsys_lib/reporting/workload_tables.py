"""The records as tables, one row a measurement, every machine together.

What was not measured is not in them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from recsys_lib import cost
from recsys_lib.benchmarks.workloads import growth_exponents, language, points, record
from recsys_lib.hardware import machine
from recsys_lib.hardware.timing import Measurement

PRECISIONS = ("float32", "bfloat16", "int8", "int4")
# The batch that models of random weights were measured with.
BATCH, TOKENS = 8, 16


def ceilings(found: dict[str, machine.Ceilings]) -> pd.DataFrame:
    """Gop/s per precision, GB/s from memory, and ridge points of each machine."""
    rows = {}
    for name, c in found.items():
        peaks = {f"{p}, Gop/s": rate / 1e9 for p, rate in c.operations_per_s.items()}
        ridges = {f"ridge {p}, op/B": c.ridge_point(p) for p in c.operations_per_s}
        rows[name] = {
            **peaks,
            "read, GB/s": c.read_bytes_per_s / 1e9,
            "copy, GB/s": c.copy_bytes_per_s / 1e9,
            **ridges,
        }
    return pd.DataFrame(rows)


def recorded_ceilings() -> dict[str, machine.Ceilings]:
    """The ceilings of every recorded machine, by its fastest samples."""
    return {
        name: record.ceilings_of(parts) for name, parts in record.records().items() if "ceilings" in parts
    }


def scenarios(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """One row a path: percentiles of the single stream in ms, offline throughput,
    the highest rate within the limit, memory in MB.
    """
    return pd.DataFrame([_scenarios(row) for row in rows]).set_index(["machine", "encoder"])


def _scenarios(row: dict[str, Any]) -> dict[str, Any]:
    by_name = {s["scenario"]: s for s in row["scenarios"]}
    single = Measurement.from_dict(by_name["single stream"]["latency"])
    return {
        "machine": row.get("machine", "here"), "encoder": row["encoder"], "precision": row["precision"],
        "cold ms": 1e3 * single.first, "p50 ms": 1e3 * single.p50, "p90 ms": 1e3 * single.p90,
        "p99 ms": 1e3 * single.p99,
        "offline per s": by_name["offline"]["throughput_per_s"],
        "sustained per s": record.sustained_rate(row), "simulated per s": row["predicted_rate_per_s"],
        "weights MB": row["stored_bytes"]["model"] / 1e6,
        "process MB": row["peak_process_bytes"] / 1e6, "GPU MB": row["peak_device_bytes"] / 1e6,
    }  # fmt: skip


def stages(rows: list[dict[str, Any]], scenario: str = "single stream") -> pd.DataFrame:
    """Median ms of each stage of each path."""
    found = {}
    for row in rows:
        result = next(s for s in row["scenarios"] if s["scenario"] == scenario)
        found[row.get("machine", "here"), row["encoder"]] = {
            name: 1e3 * Measurement.from_dict(m).p50 for name, m in result["stages"].items()
        }
    return pd.DataFrame(found).T.rename_axis(["machine", "encoder"])


def lightly_loaded(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """The server at the lowest rate that was tried beside the single stream, one row a path: that rate as a
    fraction of the stream's, p50 of both in ms, and their ratio.
    """
    found = {}
    for row in rows:
        tried = servers(row).iloc[0]
        single = next(s for s in row["scenarios"] if s["scenario"] == "single stream")
        stream = 1e3 * Measurement.from_dict(single["latency"]).p50
        found[row.get("machine", "here"), row["encoder"]] = {
            "load": tried["rate per s"] * stream / 1e3, "server p50 ms": tried["p50 ms"],
            "stream p50 ms": stream, "ratio": tried["p50 ms"] / stream,
        }  # fmt: skip
    return pd.DataFrame(found).T.rename_axis(["machine", "encoder"])


def servers(row: dict[str, Any]) -> pd.DataFrame:
    """p50 and p99 in ms at each rate that was tried."""
    tried = [s for s in row["scenarios"] if s["scenario"] == "server"]
    return pd.DataFrame(
        {
            "rate per s": [s["target_per_s"] for s in tried],
            "requests": [s["requests"] for s in tried],
            "p50 ms": [1e3 * s["latency"]["p50"] for s in tried],
            "p99 ms": [1e3 * s["latency"]["p99"] for s in tried],
        }
    )


def operations_by_torch(cases: Sequence[tuple[str, int, int, bool]]) -> pd.DataFrame:
    """Operations of models by our formulas and by torch's counter, in GFLOP, and their ratio.

    cases: model, tokens, batch, and whether the model generates, as ``points.counted_by_torch`` takes them.
    """
    rows = []
    for name, tokens, batch, prompt in cases:
        ours, by_torch = points.counted_by_torch(name, tokens, batch, prompt)
        rows.append((name, batch, tokens, ours / 1e9, by_torch / 1e9, ours / by_torch))
    columns = ["model", "batch", "tokens", "counted, GFLOP", "by torch, GFLOP", "ratio"]
    return pd.DataFrame(rows, columns=columns).set_index("model")


def bounds(rows: list[dict[str, Any]], ceilings_of: dict[str, machine.Ceilings]) -> pd.DataFrame:
    """Each point with its intensity, its fastest and median ms, the bound,
    and the fastest time over the bound (never below 1).
    """
    table = []
    for point in rows:
        roof = ceilings_of[point["machine"]]
        bound = points.bound_s(point, roof)
        m = Measurement.from_dict(point["measurement"])
        shape = " × ".join(
            f"{n:,} {what}" for what, n in point["shape"].items() if what not in ("dimension", "parameters")
        )
        arithmetic = (
            0.0 if point["compute"] is None else point["operations"] / roof.operations_per_s[point["compute"]]
        )
        table.append({
            "machine": point["machine"], "workload": point["workload"], "model": point["model"],
            "precision": point["precision"],
            "shape": shape, "op/B": points.intensity(point), "Gop/s": point["operations"] / m.p50 / 1e9,
            "median ms": 1e3 * m.p50,
            "bound ms": 1e3 * bound, "bound by": "arithmetic" if arithmetic >= bound else "memory",
            "time / bound": min(m.samples) / bound,
        })  # fmt: skip
    return pd.DataFrame(table)


def medians(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Median ms of each point by its model."""
    return pd.DataFrame({"median ms": {p["model"]: 1e3 * p["measurement"]["p50"] for p in rows}})


def random_weight_bounds(
    rows: list[dict[str, Any]], name: str, roof: machine.Ceilings, card: str = "h100-sxm"
) -> pd.DataFrame:
    """A batch of ``BATCH`` texts of ``TOKENS`` tokens through each model of ``language.SIZES``: the time
    measured on the processor ``name`` (NaN where it was not), its bound there and on a card's data sheet,
    in ms.
    """
    measured = {
        r["model"]: 1e3 * r["measurement"]["p50"]
        for r in rows
        if (r["machine"], r["workload"]) == (name, "encode, random weights")
    }
    found = {}
    for model in language.SIZES:
        sized = cost.architecture(model)
        here, there = (
            1e3 * cost.encode_bound(sized, peaks, TOKENS, BATCH).seconds
            for peaks in (roof, cost.hardware(card))
        )
        found[model] = {
            f"measured ms, {name}": measured.get(model), f"bound ms, {name}": here,
            f"bound ms, {card} by data sheet": there,
        }  # fmt: skip
    return pd.DataFrame(found).T.astype(float)


# ---------------------------------------------------------------- sizing


def published_parameters() -> pd.DataFrame:
    """Parameters counted from each configuration and published, in millions, with their ratio
    and the tolerance that the publisher's rounding needs.
    """
    rows = {}
    for row in cost.published()["parameters"]:
        counted = cost.parameters(cost.architecture(row["model"]))
        rows[row["model"]] = {
            "counted, M": counted / 1e6, "published, M": row["value"] / 1e6,
            "ratio": counted / row["value"], "within": row.get("within", 0.01),
        }  # fmt: skip
    return pd.DataFrame(rows).T


def published_memory() -> pd.DataFrame:
    """Bytes of checkpoints and of keys and values against published ones."""
    rows = []
    for row in cost.published()["checkpoint_bytes"]:
        ours = cost.weight_bytes(cost.architecture(row["model"]), row["precision"], kept=tuple(row["kept"]))
        rows.append((f"{row['model']}, weights in {row['precision']}", ours, row["value"]))
    for row in cost.published()["kv_cache_bytes"]:
        ours = cost.kv_cache_bytes(cost.architecture(row["model"]), row["tokens"])
        rows.append((f"{row['model']}, keys and values of {row['tokens']:,} tokens", ours, row["value"]))
    table = pd.DataFrame(rows, columns=["what", "counted bytes", "published bytes"]).set_index("what")
    return table.assign(ratio=table["counted bytes"] / table["published bytes"])


def published_decoding() -> pd.DataFrame:
    """Milliseconds per token measured by others against our bound for that machine."""
    rows = {}
    for row in cost.published()["decode"]:
        stored: dict[str, Any] = {"group": row.get("group"), "kept": ("embedding",)}
        bound = cost.decode_bound(
            cost.architecture(row["model"]),
            cost.hardware(row["machine"]),
            128,
            precision=row["precision"],
            **stored,
        )
        rows[f"{row['model']}, {row['precision']}, {row['machine']}"] = {
            "bound ms": 1e3 * bound.seconds, "published ms": 1e3 / row["tokens_per_s"],
            "time / bound": 1 / row["tokens_per_s"] / bound.seconds,
        }  # fmt: skip
    return pd.DataFrame(rows).T


def held_memory(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Bytes that tensors held on a machine against those counted:
    weights of random models, caches of decoding.
    """
    table = []
    for row in rows:
        held, shape = row.get("memory_bytes", {}), row["shape"]
        if "weights" in held:
            counted = cost.weight_bytes(cost.architecture(row["model"]), row["precision"], kept=())
            table.append(
                (row["machine"], f"{row['model']}, weights, {row['precision']}", counted, held["weights"])
            )
        if "cache" in held:
            sized = cost.architecture(points.CONFIGURATIONS[row["model"]])
            counted = cost.kv_cache_bytes(sized, shape["context"] - 1, shape["batch"], row["precision"])
            what = (
                f"{row['model']}, cache of {shape['batch']} × {shape['context']:,} tokens, {row['precision']}"
            )
            table.append((row["machine"], what, counted, held["cache"]))
    found = pd.DataFrame(table, columns=["machine", "what", "counted bytes", "held bytes"]).set_index(
        ["machine", "what"]
    )
    return found.assign(ratio=found["counted bytes"] / found["held bytes"])


def sizes(names: tuple[str, ...], tokens: int, machine_name: str = "h100-sxm") -> pd.DataFrame:
    """What each model takes, from its configuration alone: parameters in billions, GB, GFLOP per token,
    bounds on one accelerator's data sheet (or as many as hold it) for one sequence of ``tokens``; encoders
    have no cache and generate nothing.
    """
    card = cost.hardware(machine_name)
    rows = {}
    for name in names:
        model = cost.architecture(name)
        held = cost.memory(model, tokens)
        needed = cost.machines_needed(held.total, card.memory_bytes)
        reads = cost.prefill_bound if model.generates else cost.encode_bound
        rows[name] = {
            "parameters, B": cost.parameters(model) / 1e9,
            "active, B": cost.active_parameters(model, embedding=True) / 1e9,
            **{f"{p}, GB": cost.weight_bytes(model, p) / 1e9 for p in PRECISIONS},
            "cache, GB": held.cache / 1e9, "activations, GB": held.activations / 1e9,
            "GFLOP per token": cost.encode_flops(model, tokens) / tokens / 1e9,
            "read ms": 1e3 * reads(model, card, tokens, machines=needed).seconds,
            "next token ms": 1e3 * cost.decode_bound(model, card, tokens,
            machines=needed).seconds if model.generates else None,
            f"{machine_name} needed": needed,
        }  # fmt: skip
    return pd.DataFrame(rows).T.astype({f"{machine_name} needed": int})


# ---------------------------------------------------------------- scaling, training, energy


def exponents(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Fitted and expected exponents of every series."""
    found = [
        {
            "machine": r["machine"],
            "workload": r["workload"],
            "against": r["against"],
            "largest": max(r["sizes"]),
            **growth_exponents.exponents(r),
        }
        for r in rows
    ]
    return pd.DataFrame(found).set_index(["machine", "workload", "against"])


def beyond_memory(rows: list[dict[str, Any]], n: int = 10_000_000) -> pd.DataFrame:
    """Search among ``n`` items by model: the largest measured catalogue's time and bytes per item,
    times ``n``. Not measured.
    """
    found = {}
    for r in rows:
        if r["against"] == "items" and r["workload"].startswith("search"):
            last, each = r["measurements"][-1]["p50"] / r["sizes"][-1], r["bytes"][-1] / r["sizes"][-1]
            found[r["machine"], r["workload"]] = {
                "items": n,
                "ms per query, by model": 1e3 * last * n,
                "GB, by model": each * n / 1e9,
            }
    return pd.DataFrame(found).T.astype({"items": int})


def phases(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Milliseconds of each phase of training, and the share of the longest."""
    found = {
        (r["machine"], f"{r['model']}, {r['unit']}"): {k: 1e3 * s for k, s in r["phases_s"].items()}
        for r in rows
    }
    table = pd.DataFrame(found).T.rename_axis(["machine", "training"])
    return table.assign(total=table.sum(axis=1), longest=table.max(axis=1) / table.sum(axis=1))


def energy(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Joules per 1,000 of each workload with the range, and by which method."""
    return pd.DataFrame(
        {
            (r.get("machine", "here"), r["workload"]): {
                f"J per 1,000 {r['unit']}": 1e3 * r["joules"] / r["n"],
                "lowest": 1e3 * r["low_joules"] / r["n"],
                "highest": 1e3 * r["high_joules"] / r["n"], "per s": r["n"] / r["seconds"],
                "method": r["method"], "rated W": r["power_w"], "cores busy": r["utilization"],
            }
            for r in rows
        }
    ).T.rename_axis(["machine", "workload"])  # fmt: skip
