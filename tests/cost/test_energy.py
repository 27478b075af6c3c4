"""Energy by counters where there are any, else by a model that says so."""

import sys
import types

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_lib import cost
from recsys_lib.core.errors import InputError
from recsys_lib.cost import energy


def rapl(root, zones):
    for zone, (name, energy_uj, limit) in zones.items():
        folder = root / zone
        folder.mkdir(parents=True)
        (folder / "name").write_text(name + "\n")
        (folder / "energy_uj").write_text(f"{energy_uj}\n")
        (folder / "max_energy_range_uj").write_text(f"{limit}\n")


def test_rapl_reads_packages_once_and_survives_a_wrap(tmp_path):
    rapl(
        tmp_path,
        {
            "intel-rapl:0": ("package-0", 1_000_000, 9_999_999),
            "intel-rapl:0:0": ("core", 5, 9_999_999),
            "intel-rapl:1": ("package-1", 9_000_000, 9_999_999),
            "intel-rapl:2": ("psys", 7, 9_999_999),
        },
    )
    (tmp_path / "intel-rapl:3").mkdir()
    assert [zone.name for zone in energy.rapl_packages(tmp_path)] == ["intel-rapl:0", "intel-rapl:1"]

    def work():
        (tmp_path / "intel-rapl:0" / "energy_uj").write_text("3500000\n")
        (tmp_path / "intel-rapl:1" / "energy_uj").write_text("500000\n")  # over the top and on from zero

    used = cost.measure_energy(work, power_w=100, root=tmp_path)
    assert used.method == "rapl" and used.is_measured
    assert used.joules == pytest.approx(2.5 + 1.5) == used.low_joules == used.high_joules
    # The counter takes the values 0 to its range: from 9 of 9 to 3 are four steps.
    assert energy._rapl_joules([9], [3], [9]) == pytest.approx(4e-6)
    assert used.quantity().basis == "measured" and used.watts == pytest.approx(4.0 / used.seconds)


class NVMLError(Exception):
    pass


def nvml(readings, devices=1):
    """A stand-in for pynvml whose counters give ``readings`` in millijoules, one a call."""
    module, left = types.ModuleType("pynvml"), iter(readings)

    def read(device):
        reading = next(left)
        if isinstance(reading, Exception):
            raise reading
        return reading

    module.nvmlInit = lambda: None
    module.nvmlDeviceGetCount = lambda: devices
    module.nvmlDeviceGetHandleByIndex = lambda index: index
    module.nvmlDeviceGetTotalEnergyConsumption = read
    return module


def test_nvml_counts_millijoules_of_every_card(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", nvml([0, 0, 1000, 2000, 4000, 7000], devices=2))
    used = cost.measure_energy(lambda: None, power_w=100, device="cuda")
    assert used.method == "nvml" and used.joules == pytest.approx(3 + 5)


@pytest.mark.parametrize("module", [None, nvml([NVMLError("not supported")]), nvml([], devices=0)])
def test_without_a_counter_the_model_speaks_and_says_so(monkeypatch, module, tmp_path):
    monkeypatch.setitem(sys.modules, "pynvml", module)
    for device in ("cuda", "cpu"):
        used = cost.measure_energy(lambda: None, power_w=100, utilization=0.5, device=device, root=tmp_path)
        assert used.method == "model" and not used.is_measured and used.quantity().basis == "model"
        assert used.low_joules == pytest.approx(50 * used.seconds)
        assert used.high_joules == pytest.approx(100 * used.seconds)
        assert used.low_joules < used.joules < used.high_joules
        module = nvml([], devices=0)


def test_mistakes_of_ours_are_not_taken_for_a_missing_counter(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", nvml([RuntimeError("ours")]))
    with pytest.raises(RuntimeError, match="ours"):
        cost.measure_energy(lambda: None, power_w=100, device="cuda")


@given(st.floats(0.01, 1.0), st.floats(1.0, 1e4))
def test_the_power_model_stays_in_its_range(utilization, power_w):
    expected, low, high = energy.model_watts(power_w, utilization)
    assert low <= expected * (1 + 1e-12) and expected <= high * (1 + 1e-12)
    assert energy.model_watts(power_w, 1.0)[0] == pytest.approx(power_w)


def test_energy_refuses_a_device_or_load_it_does_not_know():
    with pytest.raises(InputError, match="device='tpu'"):
        cost.measure_energy(lambda: None, 100, device="tpu")
    with pytest.raises(InputError, match="utilization"):
        cost.model_energy(1.0, 100.0, utilization=1.5)
    with pytest.raises(InputError, match="power_w"):
        cost.model_energy(1.0, 0.0)
