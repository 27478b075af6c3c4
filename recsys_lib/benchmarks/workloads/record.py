"""One record per machine, ``data/measurements/<machine>.json``: what was measured there, when, how, with
every raw sample.

    {"machine": name, "parts": {part: {"date", "method", "device", "environment", "seconds", "rows",
    "ceilings"}}}

Parts that are compared with the ceilings measure them once more when they are done: on a shared machine they
change within minutes.

``python -m recsys_lib measure [PART ...]`` makes or renews parts; each is written as soon as it is done.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from recsys_lib import cost
from recsys_lib.benchmarks.workloads import growth_exponents, language, points, training_phases
from recsys_lib.benchmarks.workloads.path import ServingPath
from recsys_lib.core import paths
from recsys_lib.core import records as record_files
from recsys_lib.core.errors import InputError
from recsys_lib.core.files import check_writable
from recsys_lib.hardware import load_patterns, machine
from recsys_lib.hardware.timing import Measurement

METHOD = "timing/1"
DIGITS = 5
# p99 within this, seconds, is what the server scenario asks for.
LIMIT_S = 0.1
# Encoders of the path on a processor: eager torch in the faster of float32 and bfloat16, and our own C in 8
# bits.
INT8 = {"backend": "native", "precision": "int8"}
STACKS: list[tuple[str, dict[str, Any]]] = [("minilm", {}), ("minilm", INT8), ("e5", INT8), ("smollm2", {})]
# Loads of the server scenario, as shares of the single stream's rate.
SHARES = (0.2, 0.4, 0.6, 0.75, 0.9)


# ---------------------------------------------------------------- the parts


def ceilings_part(device: str, seconds: float = 1.0) -> list[dict[str, Any]]:
    """Matrix products per precision, streams through each level of the caches and beyond:
    one measurement each.
    """
    return [m.to_dict() for m in machine.ceilings(device, seconds=seconds).measurements]


def serving_part(device: str, requests: int = 1024, samples: int = 24_576) -> list[dict[str, Any]]:
    """The real path with each encoder: cold start, single stream, offline, and the server at growing rates.

    ``requests`` and ``samples`` are MLPerf's minimum counts; slow encoders get fewer, and the counts are in
    the record.
    """
    rows = (
        [serve_all(ServingPath.build("wordllama"), "wordllama", requests, samples)] if device == "cpu" else []
    )
    for name, options in STACKS if device == "cpu" else [(name, {}) for name in ("minilm", "e5", "smollm2")]:
        path = ServingPath.build(name, device=device, **options)
        rows.append(serve_all(path, ", ".join([name, *options.values()]), requests, samples))
    return rows


def serve_all(
    path: ServingPath,
    name: str,
    requests: int,
    samples: int,
    limit_s: float = LIMIT_S,
    max_s: float = 10.0,
    min_requests: int = 100,
) -> dict[str, Any]:
    """All scenarios with one path; each takes about ``max_s`` seconds at most,
    with fewer requests if it must, ``min_requests`` at least.
    """
    probe = load_patterns.single_stream(path.serve, 16)
    n = max(min_requests, min(requests, int(max_s / probe.latency.p50)))
    single = load_patterns.single_stream(path.serve, n, progress=f"{name}, single stream")
    probe = load_patterns.offline(path.serve, 128, 64)
    whole = load_patterns.offline(
        path.serve, max(64, min(samples, int(max_s * probe.throughput))), 64, progress=f"{name}, offline"
    )
    servers, predicted = find_rate(path, name, single, limit_s, max_s / 2, min_requests)
    return {
        "encoder": name, "device": path.device, "precision": getattr(path.encoder, "precision", "float32"),
        "items": path.data.n_items, "candidates": path.candidates, "k": path.k, "cold_s": path.cold_s,
        "stored_bytes": path.stored_bytes(), "peak_process_bytes": path.memory().peak,
        "peak_device_bytes": path.memory().device_peak,
        "limit_s": limit_s, "predicted_rate_per_s": predicted,
        "scenarios": [r.to_dict() for r in (single, whole, *servers)],
    }  # fmt: skip


def find_rate(
    path: ServingPath,
    name: str,
    single: load_patterns.Result,
    limit_s: float,
    seconds: float,
    min_requests: int = 100,
) -> tuple[list[load_patterns.Result], float]:
    """The server at growing shares of what the single stream answers per second, up to the first that takes
    twice the limit.

    Also the highest rate that a simulated queue with the single stream's samples holds: how far service times
    alone explain the wait.
    """
    capacity = 1 / single.latency.p50
    found: list[load_patterns.Result] = []
    for share in SHARES:
        n = max(min_requests, min(1024, int(seconds * share * capacity)))
        found.append(
            load_patterns.server(
                path.serve, share * capacity, n, progress=f"{name}, {share * capacity:.0f} per second"
            )
        )
        if found[-1].latency.p99 > 2 * limit_s:
            break
    draw = load_patterns.sampled_seconds({1: single.latency.samples})
    predicted = load_patterns.highest_rate(
        lambda r: load_patterns.simulated_server(draw, r, 4000).latency.p99, limit_s, capacity
    )
    return found, predicted


def sustained_rate(row: dict[str, Any]) -> float:
    """The highest rate tried up to which p99 stayed within the row's limit at every rate;
    0 where not even the lowest did.
    """
    sustained = 0.0
    for s in row["scenarios"]:
        if s["scenario"] == "server":
            if s["latency"]["p99"] > row["limit_s"]:
                break
            sustained = s["target_per_s"]
    return sustained


def points_part(device: str) -> list[dict[str, Any]]:
    """Encode by batch and precision, scan by precision, EASE: the points under the roofline."""
    rows = points.encode_points(("minilm", "e5"), device=device)
    return rows + (points.scan_points() + points.ease_points((1000, 4000)) if device == "cpu" else [])


def language_part(device: str) -> list[dict[str, Any]]:
    """Prefill and decode of SmolLM2, and models of random weights as large as the memory holds (on a CPU up
    to 2 billion).
    """
    names = language.SIZES if device == "cuda" else language.SIZES[:5]
    return language.generation_points(device=device) + language.random_points(names, device=device)


def scaling_part(device: str) -> list[dict[str, Any]]:
    """Time and memory against items, users, tokens, batch and threads."""
    encode = [
        growth_exponents.encode("tokens", (8, 16, 32, 64, 128, 256), device=device),
        growth_exponents.encode("batch", (1, 4, 16, 64, 256), device=device),
    ]
    if device == "cuda":
        return encode
    cores = sorted({1, 2, 4, 8, 16, 32, machine.describe()["cores_logical"]})
    counts = [c for c in cores if c <= machine.describe()["cores_logical"]]
    return [
        *(growth_exponents.catalogue(scheme) for scheme in ("float32", "int8", "binary")),
        growth_exponents.ease(), growth_exponents.users(), *encode, growth_exponents.threads(counts),
    ]  # fmt: skip


def training_part(device: str) -> list[dict[str, Any]]:
    """Phases of EASE, SASRec, the text MLP and one fine-tuning step."""
    return training_phases.all_phases(device)


def energy_part(device: str) -> list[dict[str, Any]]:
    """Joules of requests answered offline: by NVML or RAPL where readable,
    else by the power model with its range.
    """
    rows = []
    for name in ("minilm", "smollm2"):
        path = ServingPath.build(name, device=device)
        n = 64 * max(1, int(4 * load_patterns.offline(path.serve, 64, 64).throughput / 64))
        rows.append(energy_of(path, name, n))
    return rows


def energy_of(path: ServingPath, name: str, n: int) -> dict[str, Any]:
    """The energy of ``n`` requests offline.

    A first run warms up and measures how busy the cores are, which the model needs.
    """
    busy, started = time.process_time(), time.perf_counter()
    load_patterns.offline(path.serve, min(n, 128), 64)
    cores = machine.describe()["cores_logical"]
    busy_share = (time.process_time() - busy) / (time.perf_counter() - started) / cores
    utilization = 1.0 if path.device == "cuda" else min(1.0, max(0.01, busy_share))
    power_w, counts = rated_power(path.device)
    used = cost.measure_energy(
        partial(load_patterns.offline, path.serve, n, 64), power_w, utilization, path.device
    )
    return energy_row(f"recommend, {name}", used, n, "requests", power_w, counts) | {
        "utilization": utilization
    }


def energy_row(
    workload: str, used: cost.Energy, n: float, unit: str, power_w: float, counts: str
) -> dict[str, Any]:
    """One workload with its joules, range, method and the rated power behind a model; JSON-ready."""
    return {
        "workload": workload, "n": n, "unit": unit, "joules": used.joules, "low_joules": used.low_joules,
        "high_joules": used.high_joules,
        "seconds": used.seconds, "method": used.method, "power_w": power_w, "power_counts": counts,
    }  # fmt: skip


def rated_power(device: str) -> tuple[float, str]:
    """Watts this machine is rated at, and what they count: the GPU's limit, or its cores' share of the
    nearest processor in the table.

    The table's rows are read by name; what this processor really draws nobody here knows, hence the model's
    range.
    """
    if device == "cuda":
        import torch

        name = torch.cuda.get_device_name()
        found = cost.card(name, torch.cuda.get_device_properties(0).total_memory)
        if found is None or not found.power_w:
            raise InputError(f"GPU {name!r} is not in data/hardware.toml: add it with its power")
        return found.power_w, f"{found.name}: {found.power_counts}"
    like, cores = ("c7i-2xlarge", 4) if "amx_bf16" in machine.describe()["flags"] else ("c7a-large", 2)
    here = machine.describe()["cores_physical"] or machine.describe()["cores_logical"]
    row = cost.hardware(like)
    return row.watts * here / cores, f"{here} cores at the watts per core of {like}: {row.power_counts}"


PARTS: dict[str, Callable[[str], list[dict[str, Any]]]] = {
    "ceilings": ceilings_part, "serving": serving_part, "points": points_part, "language": language_part,
    "scaling": scaling_part, "training": training_part, "energy": energy_part,
}  # fmt: skip


# Parts whose times are compared with the ceilings.
BOUNDED = ("points", "language")


# ---------------------------------------------------------------- the file


def machine_name(device: str = "cpu") -> str:
    """A file name for this machine: its GPU or processor, and its cores.

    >>> bool(re.fullmatch(r"[a-z0-9-]+", machine_name()))
    True
    """
    d = machine.describe()
    what = d["gpus"][0]["name"] if device == "cuda" and d["gpus"] else d["processor"]
    plain = re.sub(r"\((?:r|tm)\)|processor|cpu|@.*", " ", f"{what}".lower())
    return "-".join([*re.findall(r"[a-z0-9.]+", plain), str(d["cores_logical"]), "cores"]).replace(".", "-")


def measure_parts(
    names: Sequence[str] = (), device: str = "cpu", name: str = "", folder: Path | None = None
) -> Path:
    """Measure the parts named (default: all) on ``device`` and write them into the machine's record; returns
    its path.

    Raises:
        InputError: an unknown part, a device that is not there, a name that is no file name.
    """
    unknown = [n for n in names if n not in PARTS]
    if unknown:
        raise InputError(f"part {unknown[0]!r} is unknown: choose from {', '.join(PARTS)}")
    machine.check_device(device)
    name = name or machine_name(device)
    if not re.fullmatch(r"[\w.-]+", name):
        raise InputError(f"name={name!r}: expected letters, digits, dots and hyphens")
    path = (folder or paths.MEASUREMENTS) / f"{name}.json"
    check_writable(path)
    for part in names or PARTS:
        started = time.perf_counter()
        rows = PARTS[part](device)
        again = ceilings_part(device, 0.3) if part in BOUNDED else []
        content: Any = record_files.read(path) if path.exists() else {"machine": name, "parts": {}}
        content["parts"][part] = {
            "date": datetime.now(UTC).date().isoformat(), "method": METHOD, "device": device,
            "environment": machine.describe(), "seconds": round(time.perf_counter() - started, 1),
            "rows": rows,
            "ceilings": again,
        }  # fmt: skip
        record_files.write(path, _rounded(content), indent=None)
    return path


def _rounded(value: Any) -> Any:
    """Floats to ``DIGITS`` significant digits: a clock gives no more."""
    if isinstance(value, float):
        return value if value.is_integer() else float(f"{value:.{DIGITS}g}")
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(v) for v in value]
    return value


def records(folder: Path | None = None) -> dict[str, dict[str, Any]]:
    """Every machine's parts by its name, from ``data/measurements/``; other files there are passed over.

    Raises:
        InputError: a file that cannot be read.
    """
    found = {}
    for path in sorted((folder or paths.MEASUREMENTS).glob("*.json")):
        content = record_files.read(path)
        if isinstance(content, dict) and "machine" in content and "parts" in content:
            found[content["machine"]] = content["parts"]
    return found


def ceilings_of(parts: dict[str, Any]) -> machine.Ceilings:
    """The ceilings of a record by the fastest samples of every time they were measured: what no other
    measurement there should beat.

    Raises:
        InputError: they were not measured.
    """
    if "ceilings" not in parts:
        raise InputError("record without ceilings: run python -m recsys_lib measure ceilings")
    samples: dict[str, Measurement] = {}
    for m in [*parts["ceilings"]["rows"], *(m for part in parts.values() for m in part.get("ceilings", []))]:
        again, known = Measurement.from_dict(m), samples.get(m["name"])
        samples[m["name"]] = replace(again, samples=again.samples + (known.samples if known else ()))
    return machine.Ceilings.of(list(samples.values()), fastest=True)


def rows_of(part: str, folder: Path | None = None) -> list[dict[str, Any]]:
    """The rows of one part on every recorded machine, each with ``machine`` and ``date``."""
    return [
        {"machine": name, "date": parts[part]["date"], **row}
        for name, parts in records(folder).items()
        if part in parts
        for row in parts[part]["rows"]
    ]
