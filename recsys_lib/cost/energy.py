"""Energy of a piece of work: measured where the machine tells, else a stated model with its range.

* A GPU: NVML's total energy counter (Volta and later), if ``pynvml`` is installed.
* A processor: RAPL's package counters under ``/sys/class/powercap``, if this process may read them (often
  only root).
* Else a model: the rated power times a fraction that grows linearly from idle to full load (Fan, Weber and
  Barroso, "Power provisioning for a warehouse-sized computer", 2007). It is marked as a model and carries a
  range.
"""

from __future__ import annotations

import importlib
import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from recsys_lib.core.errors import InputError
from recsys_lib.cost.units import Quantity, fraction, positive
from recsys_lib.hardware.timing import synchronize

POWERCAP = Path("/sys/class/powercap")
# Share of the rated power drawn when idle. Servers of 2007 drew half or more, today's processors and GPUs a
# fifth to two fifths; the range of the model covers all of it.
IDLE_SHARE = 0.3


@dataclass(frozen=True)
class Energy:
    """Joules over ``seconds``; ``method`` is nvml, rapl or model, and the range is as wide as the method is
    uncertain.
    """

    joules: float
    low_joules: float
    high_joules: float
    seconds: float
    method: str

    @property
    def is_measured(self) -> bool:
        return self.method != "model"

    @property
    def watts(self) -> float:
        return self.joules / self.seconds

    def quantity(self) -> Quantity:
        """As a quantity in J with its method and range."""
        inputs = {
            "method": self.method,
            "low_joules": self.low_joules,
            "high_joules": self.high_joules,
            "seconds": self.seconds,
        }
        return Quantity(self.joules, "J", inputs, "measured" if self.is_measured else "model")


def model_watts(
    power_w: float, utilization: float = 1.0, idle_share: float = IDLE_SHARE
) -> tuple[float, float, float]:
    """Watts drawn at ``utilization`` (0 to 1) of a machine rated ``power_w``: expected, lowest, highest.

    Expected ``P (i + (1 - i) u)``. Lowest: power in proportion to work, ``P u``. Highest: the rating
    whatever the work.

    >>> [round(watts) for watts in model_watts(100.0, 0.5)]
    [65, 50, 100]
    """
    positive("power_w", power_w)
    if not (0 <= utilization <= 1 and 0 <= idle_share <= 1):
        raise InputError(f"utilization={utilization}, idle_share={idle_share}: expected shares from 0 to 1")
    return power_w * (idle_share + (1 - idle_share) * utilization), power_w * utilization, power_w


def model_energy(seconds: float, power_w: float, utilization: float = 1.0) -> Energy:
    """The model's energy for ``seconds`` at ``utilization``."""
    positive("seconds", seconds)
    fraction("utilization", utilization)
    expected, low, high = (watts * seconds for watts in model_watts(power_w, utilization))
    return Energy(expected, low, high, seconds, "model")


def rapl_packages(root: Path = POWERCAP) -> list[Path]:
    """The processor packages whose energy counter this process can read; parts of a package are not listed
    twice.
    """
    found = []
    for zone in sorted(root.glob("intel-rapl:*")):
        with suppress(OSError, ValueError):
            name = (zone / "name").read_text().strip()
            if re.fullmatch(r"intel-rapl:\d+", zone.name) and name.startswith("package"):
                int((zone / "energy_uj").read_text())
                found.append(zone)
    return found


def _rapl_joules(before: list[int], after: list[int], ranges: list[int]) -> float:
    """Joules between two readings of the counters in microjoules; each wraps at its range."""
    return sum((b - a) % (r + 1) for a, b, r in zip(before, after, ranges, strict=True)) / 1e6


def _read(zones: list[Path], file: str) -> list[int]:
    return [int((zone / file).read_text()) for zone in zones]


def _nvml_devices() -> tuple[list, Callable[[object], int]] | None:
    """The GPUs and a reader of millijoules since the driver was loaded; None without pynvml or a GPU that
    counts.
    """
    try:
        nvml = importlib.import_module("pynvml")
        nvml.nvmlInit()
        devices = [nvml.nvmlDeviceGetHandleByIndex(n) for n in range(nvml.nvmlDeviceGetCount())]
        for device in devices:
            nvml.nvmlDeviceGetTotalEnergyConsumption(device)
    except ImportError:
        return None
    except Exception as error:
        # NVML's own error class is known only where pynvml is; anything else is a mistake of ours.
        if type(error).__name__.startswith("NVML"):
            return None
        raise
    return (devices, nvml.nvmlDeviceGetTotalEnergyConsumption) if devices else None


def measure_energy(
    function: Callable[[], object],
    power_w: float,
    utilization: float = 1.0,
    device: str = "cpu",
    root: Path = POWERCAP,
) -> Energy:
    """Run ``function`` once and return its energy: of the GPUs (``device="cuda"``) or of the processor
    packages.

    Counters see the whole package or card, other work and idling included; let the work last a second or
    more, since they are refreshed only every few milliseconds. Where none is readable, the model with
    ``power_w`` and ``utilization``.
    """
    if device not in ("cpu", "cuda"):
        raise InputError(f"device={device!r}: expected cpu or cuda")
    gpus = _nvml_devices() if device == "cuda" else None
    zones = rapl_packages(root) if device == "cpu" else []
    synchronize()
    before_gpu = [gpus[1](d) for d in gpus[0]] if gpus else []
    before = _read(zones, "energy_uj")
    start = time.perf_counter()
    function()
    synchronize()
    seconds = time.perf_counter() - start
    if gpus:
        joules = sum(gpus[1](d) - b for d, b in zip(gpus[0], before_gpu, strict=True)) / 1e3
        return Energy(joules, joules, joules, seconds, "nvml")
    if zones:
        joules = _rapl_joules(before, _read(zones, "energy_uj"), _read(zones, "max_energy_range_uj"))
        return Energy(joules, joules, joules, seconds, "rapl")
    return model_energy(seconds, power_w, utilization)
