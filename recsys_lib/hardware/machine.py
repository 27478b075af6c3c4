"""What this machine is, and the ceilings it was measured to have.

The ceilings are what a real kernel reaches here, not a data sheet's: a large matrix product per precision,
and memory streamed once. Williams, Waterman and Patterson, "Roofline" (2009): attainable = min(peak,
intensity x bandwidth); the two meet at the ridge point.
"""

from __future__ import annotations

import importlib.metadata
import math
import os
import platform
import re
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import psutil
from threadpoolctl import threadpool_limits

from recsys_lib.core.errors import InputError
from recsys_lib.hardware.timing import Measurement, measure, threads_in_use

PACKAGES = ("torch", "transformers", "numpy", "scipy", "pandas", "scikit-learn")
# The instructions that decide how fast a precision is on a processor.
FLAGS = (
    "avx2",
    "avx512f",
    "avx512_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_bf16",
    "amx_int8",
    "avx_vnni",
    "asimddp",
    "bf16",
    "i8mm",
)
PRECISIONS = ("float32", "bfloat16", "float16", "int8")
# A stream this many times the largest cache comes from memory, all but a part that a cache cannot hide; it
# may take this share of it.
CACHES_STREAMED, SHARE_OF_MEMORY = 2, 1 / 8
# Streams of growing size show each level of the caches. MiB.
LADDER = (1, 4, 16, 64, 256)


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
    try:
        found = subprocess.run(["sysctl", "hw.optional"], capture_output=True, text=True, timeout=5).stdout
    except (OSError, subprocess.SubprocessError):
        found = ""
    return name or platform.processor() or platform.machine(), flags_of_macos(found)


def identification(cpuinfo: str) -> str:
    """What tells processors of one name apart in Linux' ``cpuinfo``; empty where it says nothing.

    >>> identification("cpu family\t: 25\\nmodel\t\t: 33\\nmodel name\t: AMD\\nstepping\t: 2\\n")
    'family 25, model 33, stepping 2'
    >>> identification("CPU implementer\t: 0x41\\nCPU part\t: 0xd40\\nCPU variant\t: 0x1\\n")
    'implementer 0x41, variant 0x1, part 0xd40'
    """
    names = ("cpu family", "model", "stepping", "CPU implementer", "CPU variant", "CPU part", "CPU revision")
    found = {name: re.search(rf"^{name}\s*:\s*(\S+)\s*$", cpuinfo, re.M) for name in names}
    return ", ".join(f"{name.split()[-1]} {match[1]}" for name, match in found.items() if match)


def flags_of_macos(listed: str) -> list[str]:
    """The flags of ``FLAGS`` in what ``sysctl hw.optional`` prints.

    >>> flags_of_macos("hw.optional.arm.FEAT_DotProd: 1\\nhw.optional.arm.FEAT_I8MM: 0")
    ['asimddp']
    """
    names = {"FEAT_DotProd": "asimddp", "FEAT_BF16": "bf16", "FEAT_I8MM": "i8mm", "avx2_0": "avx2"}
    present = re.findall(r"^hw\.optional\.(?:arm\.)?(\w+): 1$", listed, re.M)
    return [names[name] for name in present if name in names]


def _caches() -> dict[str, str]:
    folder = Path("/sys/devices/system/cpu/cpu0/cache")
    caches = {}
    for index in sorted(folder.glob("index*")):
        kind = _read(f"{index}/type")
        caches[f"L{_read(f'{index}/level')} {kind}".strip()] = _read(f"{index}/size")
    return caches


def largest_cache_bytes() -> int:
    """Bytes of the largest processor cache the system shows, 0 where it shows none."""
    units = {"K": 2**10, "M": 2**20, "G": 2**30}
    found = [re.fullmatch(r"(\d+)([KMG])", size) for size in _caches().values()]
    return max((int(m[1]) * units[m[2]] for m in found if m), default=0)


def stream_megabytes(device: str = "cpu") -> int:
    """MiB of a stream that no cache holds: twice the largest cache, 512 at least,
    an eighth of the memory at most.
    """
    if device != "cpu":
        return 2048
    most = int(psutil.virtual_memory().total * SHARE_OF_MEMORY) // 2**20
    return max(64, min(max(512, CACHES_STREAMED * largest_cache_bytes() // 2**20), most))


def _driver() -> str:
    """The version of NVIDIA's driver, which the kernel module tells."""
    found = re.search(r"Kernel Module\D*([\d.]+)", _read("/proc/driver/nvidia/version"))
    return found[1] if found else "none"


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
    """This machine and its software as plain JSON: processor, caches, memory (bytes), GPUs,
    versions, threads.
    """
    import torch

    name, flags = _processor()
    return {
        "processor": name,
        "identification": identification(_read("/proc/cpuinfo")),
        "architecture": platform.machine(),
        "flags": flags,
        "cores_logical": os.cpu_count(),
        "cores_physical": psutil.cpu_count(logical=False),
        "caches": _caches(),
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor") or "not readable",
        "memory_bytes": psutil.virtual_memory().total,
        "gpus": _gpus(),
        "driver": _driver(),
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
    return (
        f"{d['processor']}, {d['cores_logical']} cores, {memory_gib:.0f} GiB{gpu}, torch "
        f"{d['versions']['torch']}"
    )


def check_device(device: str) -> None:
    """Refuse a device that is not there.

    Raises:
        InputError: neither cpu nor cuda, or cuda without a usable GPU.
    """
    import torch

    if device not in ("cpu", "cuda"):
        raise InputError(f"device={device!r}: expected cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("device='cuda': this machine has no usable GPU; use device='cpu'")


@lru_cache(maxsize=1)
def int8_products_saturate() -> bool:
    """Whether torch's product of 8-bit integers is wrong for large codes on this processor.

    Without VNNI two products of unsigned by signed codes are added in 16 bits, which 255 * 127 * 2 exceeds.
    With one operand of at most 64 in absolute value the sum fits.
    """
    import torch

    codes = torch.full((32, 64), 127, dtype=torch.int8)
    return int(torch._int_mm(codes, codes.t())[0, 0]) != 64 * 127 * 127


def _operands(precision: str, n: int, device: str):
    import torch

    generator = torch.Generator(device="cpu").manual_seed(0)
    if precision == "int8":
        # Small enough for every processor, see ``int8_products_saturate``; the time is the same.
        pair = (torch.randint(-64, 65, (n, n), generator=generator, dtype=torch.int8) for _ in range(2))
    else:
        pair = (torch.randn(n, n, generator=generator).to(getattr(torch, precision)) for _ in range(2))
    a, b = (t.to(device) for t in pair)
    # The second operand is laid out column-major, as a linear layer's weight is.
    return a, b.t().contiguous().t()


def matmul_peak(precision: str, n: int = 2048, device: str = "cpu", seconds: float = 0.5) -> Measurement:
    """Time an ``n`` x ``n`` x ``n`` product: ``throughput`` is operations per second (2 n^3 each).

    In float32 on a CPU the faster of torch's product and NumPy's, with equal threads: on a processor of AMD
    torch's, by MKL, reached 43% of NumPy's, by OpenBLAS, and was no bound for what others reach.

    Raises:
        InputError: a precision that is none of ``PRECISIONS``.
    """
    import torch

    if precision not in PRECISIONS:
        raise InputError(f"precision={precision!r}: expected one of {', '.join(PRECISIONS)}")
    a, b = _operands(precision, n, device)
    products: list[Callable[[], object]] = [partial(torch._int_mm if precision == "int8" else torch.mm, a, b)]
    if (precision, device) == ("float32", "cpu"):
        products.append(partial(np.matmul, a.numpy(), b.numpy()))
    name, options = f"matmul {precision} {n}", {"min_seconds": seconds, "amount_unit": "operations"}
    with threadpool_limits(torch.get_num_threads(), "blas"):
        timed = [measure(product, name, amount=2.0 * n**3, **options) for product in products]
    return max(timed, key=lambda one: one.throughput)


def _block(megabytes: int, device: str):
    """So many MiB of float32 ones.

    NumPy asks Linux for huge pages, torch does not, and small ones can halve what a stream reads.
    """
    import torch

    block = torch.from_numpy(np.ones(megabytes * 2**20 // 4, dtype=np.float32))
    return block.to(device)


def read_bandwidth(megabytes: int | None = None, device: str = "cpu", seconds: float = 0.5) -> Measurement:
    """Stream ``megabytes`` (MiB) once through a sum: ``throughput`` is bytes per second read.

    By default so many that no cache holds them (``stream_megabytes``); the size is part of the measurement's
    name.
    """
    megabytes = megabytes or stream_megabytes(device)
    data = _block(megabytes, device)
    name = f"streaming read {megabytes} MiB"
    return measure(data.sum, name, min_seconds=seconds, amount=float(data.nbytes), amount_unit="bytes")


def copy_bandwidth(megabytes: int | None = None, device: str = "cpu", seconds: float = 0.5) -> Measurement:
    """Copy ``megabytes`` (MiB): ``throughput`` counts each byte read and each byte written."""
    megabytes = megabytes or stream_megabytes(device)
    source, target = _block(megabytes, device), _block(megabytes, device)
    return measure(
        lambda: target.copy_(source),
        f"streaming copy {megabytes} MiB",
        min_seconds=seconds,
        amount=2.0 * source.nbytes,
        amount_unit="bytes",
    )


@dataclass(frozen=True)
class Ceilings:
    """Measured ceilings: operations/s by precision, bytes/s read and copied; raw measurements beside them.

    read_by_size: bytes/s read from samples of so many bytes, which caches may hold.
    """

    operations_per_s: dict[str, float]
    read_bytes_per_s: float
    copy_bytes_per_s: float
    measurements: tuple[Measurement, ...]
    read_by_size: dict[int, float] = field(default_factory=dict)

    @staticmethod
    def of(measurements: Sequence[Measurement], fastest: bool = False) -> Ceilings:
        """Ceilings from what ``ceilings`` measured: medians, or with ``fastest`` the best samples,
        which bound all times.
        """
        rate = {m.name: m.amount / (min(m.samples) if fastest else m.p50) for m in measurements}
        reads = {int(m.amount): rate[m.name] for m in measurements if m.name.startswith("streaming read")}
        copies = [rate[m.name] for m in measurements if m.name.startswith("streaming copy")]
        products = {m.name.split()[1]: rate[m.name] for m in measurements if m.name.startswith("matmul")}
        return Ceilings(products, reads[max(reads)], copies[0], tuple(measurements), reads)

    def ridge_point(self, precision: str) -> float:
        """Operations per byte above which work in ``precision`` is bound by arithmetic, below by memory."""
        return self.operations_per_s[precision] / self.read_bytes_per_s

    def read_rate(self, n_bytes: float) -> float:
        """Bytes/s at which so many bytes, read again and again, can come: a cache's rate where one may hold
        them.

        That of the largest sample not above ``n_bytes``; infinite below the smallest, whose rate bounds
        nothing smaller.
        """
        if not self.read_by_size:
            return self.read_bytes_per_s
        if n_bytes < min(self.read_by_size):
            return math.inf
        step = max(size for size in self.read_by_size if size <= n_bytes)
        return max(rate for size, rate in self.read_by_size.items() if size >= step)

    def least_seconds(self, operations: float, n_bytes: float, precision: str) -> float:
        """The roofline's lower bound on time for so many operations and bytes moved."""
        return max(operations / self.operations_per_s[precision], n_bytes / self.read_rate(n_bytes))


def ceilings(device: str = "cpu", n: int = 2048, seconds: float = 0.5) -> Ceilings:
    """Measure every ceiling of ``device``; about ten seconds on a CPU.

    Measure alone: other work lowers them.

    Raises:
        InputError: neither cpu nor cuda, or cuda without a usable GPU.
    """
    check_device(device)
    # float16 products are emulated on most processors and take half a minute; they are measured on GPUs only.
    precisions = [p for p in PRECISIONS if device != "cpu" or p != "float16"]
    # A GPU needs larger products to be busy.
    products = [matmul_peak(p, n if device == "cpu" else 4 * n, device, seconds) for p in precisions]
    sizes = [size for size in LADDER if size < stream_megabytes(device)]
    steps = [read_bandwidth(size, device, seconds / 2) for size in sizes]
    whole = (read_bandwidth(None, device, seconds), copy_bandwidth(None, device, seconds))
    return Ceilings.of([*products, *steps, *whole])


def load() -> float | None:
    """Processes that wanted a core over the last five minutes, on average; None where unknown.

    Beyond the number of cores the machine was shared, and times are longer than they would be alone.
    """
    return round(os.getloadavg()[1], 1) if hasattr(os, "getloadavg") else None


def emulates(precision: str) -> bool:
    """Whether this processor multiplies ``precision`` only by converting it to float32.

    bfloat16 needs AVX512-BF16, AMX or ARM's bf16; float16 is converted on every CPU here; float32 and int8
    never are.
    """
    if precision == "bfloat16":
        return not {"avx512_bf16", "amx_bf16", "bf16"} & set(describe()["flags"])
    return precision == "float16"


@lru_cache
def bfloat16_is_faster() -> bool:
    """Whether this processor multiplies bfloat16 matrices at least 1.2 times as fast as float32 (measured,
    0.1 s).
    """
    times = {
        p: float(np.median(matmul_peak(p, n=512, seconds=0.02).samples)) for p in ("float32", "bfloat16")
    }
    return times["float32"] > 1.2 * times["bfloat16"]
