"""Timing and memory, measured so that the figures can be trusted.

Protocol (``METHOD``): the first call is kept apart as the cold one; further calls warm up; then calls are
repeated until there are enough samples *and* enough seconds; every raw sample is kept. Quote the median and a
percentile, never a mean of a few calls. Methods are timed interleaved (A B A B ...): a machine whose speed
drifts is fair to both.
"""

from __future__ import annotations

import gc
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from recsys_lib.core.errors import InputError

METHOD = "measure/1"


@dataclass(frozen=True)
class Measurement:
    """Raw samples of one repeated piece of work.

    name: what was done. samples: warm samples in ``unit``. first: the cold first call, in ``unit``.
    amount: how much one call does, in ``amount_unit`` (texts, queries, floating-point operations ...).
    """

    name: str
    samples: tuple[float, ...]
    first: float
    unit: str = "s"
    amount: float = 1.0
    amount_unit: str = "calls"
    method: str = METHOD

    def percentile(self, q: float) -> float:
        """The ``q``-th percentile (0 to 100) of the warm samples;
        in the tail an observed sample, never a blend.
        """
        if not 0 <= q <= 100:
            raise InputError(f"q={q!r}: a percentile lies between 0 and 100")
        return float(np.percentile(self.samples, q, method="higher" if q > 50 else "linear"))

    @property
    def p50(self) -> float:
        return self.percentile(50)

    @property
    def p90(self) -> float:
        return self.percentile(90)

    @property
    def p99(self) -> float:
        return self.percentile(99)

    @property
    def spread(self) -> float:
        """Interquartile range over the median: how noisy the machine was (0 is silent)."""
        return (self.percentile(75) - self.percentile(25)) / self.p50 if self.p50 else 0.0

    @property
    def throughput(self) -> float:
        """``amount_unit`` per second at the median."""
        if self.unit != "s":
            raise InputError(f"throughput needs samples in s, {self.name!r} has {self.unit}")
        return self.amount / self.p50

    def to_dict(self) -> dict:
        """Everything, JSON-ready, with the percentiles beside the raw samples."""
        return {
            **asdict(self),
            "samples": list(self.samples),
            "p50": self.p50,
            "p90": self.p90,
            "p99": self.p99,
        }

    @staticmethod
    def from_dict(content: Mapping[str, Any]) -> Measurement:
        """What ``to_dict`` wrote."""
        names = ("name", "samples", "first", "unit", "amount", "amount_unit", "method")
        return Measurement(**{name: content[name] for name in names} | {"samples": tuple(content["samples"])})


def synchronize() -> None:
    """Wait until a GPU has finished what it was asked to do; nothing where torch or CUDA is not in use."""
    torch = _torch_with_cuda()
    if torch is not None:
        torch.cuda.synchronize()


def _torch_with_cuda() -> Any:
    """torch if it is already imported and has a GPU; importing it only to ask would cost seconds."""
    torch = sys.modules.get("torch")
    return torch if torch is not None and torch.cuda.is_available() else None


def _time(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    synchronize()
    return time.perf_counter() - start


def compare(
    functions: Mapping[str, Callable[[], object]],
    *,
    min_samples: int = 7,
    min_seconds: float = 0.3,
    max_seconds: float = 60.0,
    warmup: int = 1,
    settle: float = 0.0,
    amount: float | Mapping[str, float] = 1.0,
    amount_unit: str = "calls",
) -> dict[str, Measurement]:
    """Time several methods interleaved and return one ``Measurement`` each, in the order given.

    A round calls every function that does not yet have ``min_samples`` samples and ``min_seconds`` seconds;
    rounds go on until all have, or until they have taken ``max_seconds`` in all (at least one is always
    taken). The garbage collector rests while the clock runs.

    settle: seconds of calls that are not timed before each timed one. Threads of OpenMP and OpenBLAS spin for
    up to 30 ms after a call, in which those of another library have to share their cores; after as long a
    sleep instead, the cores themselves are slow to wake.

    Raises:
        InputError: no function, or a bound that cannot be met.
    """
    if not functions:
        raise InputError("compare: no function to time")
    if min_samples < 1 or warmup < 0 or settle < 0:
        given = f"min_samples={min_samples}, warmup={warmup}, settle={settle}"
        raise InputError(f"{given}: expected at least 1, and at least 0")
    first = {name: _time(function) for name, function in functions.items()}
    for _ in range(warmup):
        for function in functions.values():
            _time(function)
    samples = _samples(functions, min_samples, min_seconds, max_seconds, settle)
    amounts = amount if isinstance(amount, Mapping) else dict.fromkeys(functions, amount)
    return {
        name: Measurement(name, tuple(samples[name]), first[name], "s", amounts[name], amount_unit)
        for name in functions
    }


def _samples(
    functions: Mapping[str, Callable[[], object]],
    min_samples: int,
    min_seconds: float,
    max_seconds: float,
    settle: float,
) -> dict[str, list[float]]:
    """Seconds of every timed call, see ``compare``."""
    samples: dict[str, list[float]] = {name: [] for name in functions}
    started, collecting = time.perf_counter(), gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        wanting = list(functions)
        while wanting:
            for name in wanting:
                spent = 0.0
                while spent < settle:
                    spent += _time(functions[name])
                samples[name].append(_time(functions[name]))
            if time.perf_counter() - started > max_seconds:
                break
            wanting = [n for n, s in samples.items() if len(s) < min_samples or math.fsum(s) < min_seconds]
    finally:
        if collecting:
            gc.enable()
    return samples


def measure(function: Callable[[], object], name: str = "call", **protocol) -> Measurement:
    """Time one function; ``protocol`` as for ``compare``.

    >>> m = measure(lambda: sum(range(1000)), "sum", min_samples=3, min_seconds=0.0)
    >>> len(m.samples) >= 3 and m.p50 <= m.p99
    True
    """
    return compare({name: function}, **protocol)[name]


def stage_seconds(
    stages: Mapping[str, Callable[[Any], Any]], value: Any, device: str = "cpu"
) -> dict[str, float]:
    """Pass ``value`` through the stages in turn and return the seconds of each, in their order.

    On a GPU by CUDA events, recorded between the stages and read after the last: the host does not wait in
    between, and a stage's time is the device's own.
    """
    import torch

    marks: list[Any] = []

    def mark() -> None:
        if device == "cpu":
            marks.append(time.perf_counter())
        else:
            marks.append(torch.cuda.Event(enable_timing=True))
            marks[-1].record()

    mark()
    for stage in stages.values():
        value = stage(value)
        mark()
    if device == "cpu":
        return {name: after - before for name, before, after in zip(stages, marks, marks[1:], strict=False)}
    torch.cuda.synchronize()
    return {name: a.elapsed_time(b) / 1e3 for name, a, b in zip(stages, marks, marks[1:], strict=False)}


@dataclass(frozen=True)
class MemoryUse:
    """Resident memory of this process around a call, in bytes;
    ``device_peak`` is the GPU's, 0 without one.
    """

    before: int
    peak: int
    device_peak: int = 0

    @property
    def added(self) -> int:
        """How far the peak rose above where it was before the call."""
        return max(0, self.peak - self.before)


def peak_memory(function: Callable[[], object]) -> MemoryUse:
    """Run ``function`` once and return how high the process's resident memory went.

    On Linux the kernel's own high-water mark is reset and read back, which misses nothing; elsewhere a thread
    samples every 2 ms. Memory freed to the allocator but not to the system stays counted in ``before``.
    """
    torch = _torch_with_cuda()
    if torch is not None:
        torch.cuda.reset_peak_memory_stats()
    gc.collect()
    process = psutil.Process()
    before = process.memory_info().rss
    if _reset_high_water_mark():
        function()
        peak = _high_water_mark()
    else:
        peak = _sampled_peak(function, process)
    return MemoryUse(before, max(peak, before), torch.cuda.max_memory_allocated() if torch is not None else 0)


def _reset_high_water_mark() -> bool:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _high_water_mark() -> int:
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def _sampled_peak(function: Callable[[], object], process: psutil.Process) -> int:
    peak, done = process.memory_info().rss, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.002):
            peak = max(peak, process.memory_info().rss)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        function()
    finally:
        done.set()
        watcher.join()
    return max(peak, process.memory_info().rss)


def threads_in_use() -> dict[str, int]:
    """Threads each numerical library would use now; a timing means little without it."""
    from threadpoolctl import threadpool_info

    pools = {f"{pool['internal_api']}": int(pool["num_threads"]) for pool in threadpool_info()}
    torch = sys.modules.get("torch")
    if torch is not None:
        pools["torch"] = torch.get_num_threads()
    return pools or {"cpu": os.cpu_count() or 1}
