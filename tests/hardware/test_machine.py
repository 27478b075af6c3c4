"""The machine is described in plain JSON and its ceilings are physical."""

import json

import pytest

from recsys_lib.core.errors import InputError
from recsys_lib.hardware import machine


def test_description_is_json_and_complete():
    d = json.loads(json.dumps(machine.describe()))
    assert d["cores_logical"] >= 1
    assert d["memory_bytes"] > 2**28
    assert d["processor"]
    assert d["versions"]["torch"] != "not installed"
    assert d["threads"]["torch"] >= 1


def test_a_missing_package_is_said_not_raised():
    assert machine._version("no-such-package-anywhere") == "not installed"


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
def test_matmul_counts_two_operations_per_multiply_add(precision):
    m = machine.matmul_peak(precision, n=128, seconds=0.01)
    assert m.amount == 2 * 128**3
    assert m.throughput > 0


def test_int8_product_is_the_integer_product():
    import torch

    a, b = machine._operands("int8", 64, "cpu")
    assert torch.equal(torch._int_mm(a, b), a.int() @ b.int())


def test_small_codes_never_saturate_and_large_ones_are_found_out():
    import torch

    large, small = (torch.full((32, 64), code, dtype=torch.int8) for code in (127, 64))
    right = (torch._int_mm(large, large.t()) == 64 * 127 * 127).all()
    assert machine.int8_products_saturate() is not bool(right)
    assert (torch._int_mm(-large, small.t()) == -64 * 127 * 64).all()


def test_unknown_precision_is_refused():
    with pytest.raises(InputError, match="'fp8'"):
        machine.matmul_peak("fp8")


def test_copy_counts_bytes_read_and_written():
    m = machine.copy_bandwidth(megabytes=4, seconds=0.01)
    assert m.amount == 2 * 4 * 2**20
    assert machine.read_bandwidth(megabytes=4, seconds=0.01).amount == 4 * 2**20


def test_roofline_takes_the_slower_of_arithmetic_and_memory():
    c = machine.Ceilings({"float32": 100.0}, 10.0, 10.0, ())
    assert c.ridge_point("float32") == 10.0
    assert c.least_seconds(1000.0, 1.0, "float32") == 10.0
    assert c.least_seconds(1.0, 1000.0, "float32") == 100.0


def test_a_stream_is_larger_than_the_caches_or_an_eighth_of_memory(monkeypatch):
    monkeypatch.setattr(machine, "_caches", lambda: {"L2 Unified": "2048K", "L3 Unified": "480M"})
    assert machine.largest_cache_bytes() == 480 * 2**20
    monkeypatch.setattr(machine.psutil, "virtual_memory", lambda: type("M", (), {"total": 64 * 2**30}))
    assert machine.stream_megabytes() == 960
    monkeypatch.setattr(machine.psutil, "virtual_memory", lambda: type("M", (), {"total": 4 * 2**30}))
    assert machine.stream_megabytes() == 512
    monkeypatch.setattr(machine, "_caches", lambda: {})
    assert machine.largest_cache_bytes() == 0 and machine.stream_megabytes() == 512


def test_ceilings_of_measurements_take_medians_or_the_fastest():
    def of(name, amount):
        return machine.Measurement(name, (1.0, 2.0, 4.0), 9.0, amount=amount)

    measured = [
        of("matmul int8 64", 8.0),
        of("streaming read 1 MiB", 2.0**20),
        of("streaming read 4 MiB", 2.0**21),
    ]
    measured.append(of("streaming copy 4 MiB", 2.0**22))
    middle, best = machine.Ceilings.of(measured), machine.Ceilings.of(measured, fastest=True)
    assert middle.operations_per_s == {"int8": 4.0} and best.operations_per_s == {"int8": 8.0}
    assert middle.read_bytes_per_s == 2.0**20 and best.copy_bytes_per_s == 2.0**22


def test_what_a_cache_may_hold_is_bounded_by_that_caches_rate():
    c = machine.Ceilings({"float32": 1.0}, 10.0, 10.0, (), {100: 50.0, 1000: 20.0, 10_000: 10.0})
    assert [c.read_rate(n) for n in (99, 100, 999, 1000, 50_000)] == [float("inf"), 50.0, 50.0, 20.0, 10.0]
    assert c.least_seconds(0.0, 2000.0, "float32") == 100.0
    assert c.least_seconds(0.0, 50.0, "float32") == 0.0
