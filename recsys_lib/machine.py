"""What this machine is, and the ceilings it was measured to have.

The ceilings are what a real kernel reaches here, not a data sheet's: a large matrix product per precision, and
memory streamed once. Williams, Waterman and Patterson, "Roofline" (2009): attainable = min(peak, intensity x
bandwidth); the two meet at the ridge point.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import subprocess
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import psutil

from recsys_lib.errors import InputError
from recsys_lib.measure import Measurement, measure, threads_in_use

PACKAGES = ("torch", "transformers", "numpy", "scipy", "pandas", "scikit-learn")
# The instructions that decide how fast a precision is on a processor.
FLAGS = (
    "avx2",
    "avx512f",
    "avx512_vnni",
    "avx512_bf16",
    "amx_bf16",
    "amx_int8",
    "avx_vnni",
    "asimddp",
    "bf16",
    "i8mm",
)
PRECISIONS = ("float32", "bfloat16", "float16", "int8")


def _read(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace").strip()
    except OSError:
        return ""


def _processor() -> tuple[str, list[str]]:
    cpuinfo = _read("/proc/cpuinfo")
    if cpuinfo:
        names = re.findall(r"^(?:model name|Model)\s*:\s*(.+)$", cpuinfo, re.M)
        words = set(" ".join(re.findall(r"^(?:flags|Features)\s*:\s*(.+)$", cpuinfo, re.M)).split())
        return (names[0] if names else platform.machine()), [flag for flag in FLAGS if flag in words]
    try:
        name = subprocess.run(
            ["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True, timeout=5
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        name = ""
    return name or platform.processor() or platform.machine(), []


def _caches() -> dict[str, str]:
    folder = Path("/sys/devices/system/cpu/cpu0/cache")
    caches = {}
    for index in sorted(folder.glob("index*")):
        kind = _read(f"{index}/type")
        caches[f"L{_read(f'{index}/level')} {kind}".strip()] = _read(f"{index}/size")
    return caches


def _gpus() -> list[dict]:
    import torch

    if not torch.cuda.is_available():
        return []
    properties = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    return [
        {"name": p.name, "memory_bytes": p.total_memory, "compute_capability": f"{p.major}.{p.minor}"}
        for p in properties
    ]


@lru_cache
def describe() -> dict:
    """This machine and its software as plain JSON: processor, caches, memory (bytes), GPUs, versions, threads."""
    import torch

    name, flags = _processor()
    return {
        "processor": name,
        "architecture": platform.machine(),
        "flags": flags,
        "cores_logical": os.cpu_count(),
        "cores_physical": psutil.cpu_count(logical=False),
        "caches": _caches(),
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor") or "not readable",
        "memory_bytes": psutil.virtual_memory().total,
        "gpus": _gpus(),
        "cuda": torch.version.cuda or "none",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "versions": {package: _version(package) for package in PACKAGES},
        "threads": threads_in_use(),
    }


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def summary() -> str:
    """One line for a figure's caption or a notebook's head.

    >>> "cores" in summary()
    True
    """
    d = describe()
    gpu = f", {d['gpus'][0]['name']}" if d["gpus"] else ", no GPU"
    memory_gib = d["memory_bytes"] / 2**30
    return f"{d['processor']}, {d['cores_logical']} cores, {memory_gib:.0f} GiB{gpu}, torch {d['versions']['torch']}"


def _operands(precision: str, n: int, device: str):
    import torch

    generator = torch.Generator(device="cpu").manual_seed(0)
    if precision == "int8":
        pair = (torch.randint(-127, 128, (n, n), generator=generator, dtype=torch.int8) for _ in range(2))
    else:
        pair = (torch.randn(n, n, generator=generator).to(getattr(torch, precision)) for _ in range(2))
    a, b = (t.to(device) for t in pair)
    # The second operand is laid out column-major, as a linear layer's weight is.
    return a, b.t().contiguous().t()


def matmul_peak(precision: str, n: int = 2048, device: str = "cpu", seconds: float = 0.5) -> Measurement:
    """Time an ``n`` x ``n`` x ``n`` product: ``throughput`` is operations per second (2 n^3 each).

    Raises:
        InputError: a precision that is none of ``PRECISIONS``.
    """
    import torch

    if precision not in PRECISIONS:
        raise InputError(f"precision={precision!r}: want one of {', '.join(PRECISIONS)}")
    a, b = _operands(precision, n, device)
    product = torch._int_mm if precision == "int8" else torch.mm
    return measure(
        lambda: product(a, b),
        f"matmul {precision} {n}",
        min_seconds=seconds,
        work=2.0 * n**3,
        work_unit="operations",
    )


def read_bandwidth(megabytes: int = 512, device: str = "cpu", seconds: float = 0.5) -> Measurement:
    """Stream ``megabytes`` once through a sum: ``throughput`` is bytes per second read."""
    import torch

    # Larger than any last-level cache, so the bytes come from memory.
    data = torch.ones(megabytes * 2**20 // 4, dtype=torch.float32, device=device)
    return measure(data.sum, "streaming read", min_seconds=seconds, work=float(data.nbytes), work_unit="bytes")


def copy_bandwidth(megabytes: int = 512, device: str = "cpu", seconds: float = 0.5) -> Measurement:
    """Copy ``megabytes``: ``throughput`` counts each byte read and each byte written."""
    import torch

    source = torch.ones(megabytes * 2**20 // 4, dtype=torch.float32, device=device)
    target = torch.empty_like(source)
    return measure(
        lambda: target.copy_(source),
        "streaming copy",
        min_seconds=seconds,
        work=2.0 * source.nbytes,
        work_unit="bytes",
    )


@dataclass(frozen=True)
class Ceilings:
    """Measured ceilings: operations/s by precision, bytes/s read and copied; raw measurements beside them."""

    operations_per_s: dict[str, float]
    read_bytes_per_s: float
    copy_bytes_per_s: float
    measurements: tuple[Measurement, ...]

    def ridge_point(self, precision: str) -> float:
        """Operations per byte above which work in ``precision`` is bound by arithmetic, below by memory."""
        return self.operations_per_s[precision] / self.read_bytes_per_s

    def least_seconds(self, operations: float, n_bytes: float, precision: str) -> float:
        """The roofline's lower bound on time for so many operations and bytes moved."""
        return max(operations / self.operations_per_s[precision], n_bytes / self.read_bytes_per_s)


def ceilings(device: str = "cpu", n: int = 2048, seconds: float = 0.5) -> Ceilings:
    """Measure every ceiling of ``device``; about ten seconds on a CPU. Measure alone: other work lowers them."""
    # float16 products are emulated on most processors and take half a minute; they are measured on GPUs only.
    precisions = [p for p in PRECISIONS if device != "cpu" or p != "float16"]
    products = {p: matmul_peak(p, n, device, seconds) for p in precisions}
    read, copy = (
        read_bandwidth(device=device, seconds=seconds),
        copy_bandwidth(device=device, seconds=seconds),
    )
    return Ceilings(
        {p: m.throughput for p, m in products.items()},
        read.throughput,
        copy.throughput,
        (*products.values(), read, copy),
    )


@lru_cache
def bfloat16_is_faster() -> bool:
    """Whether this processor multiplies bfloat16 matrices at least 1.2 times as fast as float32 (measured, 0.1 s)."""
    times = {p: float(np.median(matmul_peak(p, n=512, seconds=0.02).samples)) for p in ("float32", "bfloat16")}
    return times["float32"] > 1.2 * times["bfloat16"]
