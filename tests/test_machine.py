"""The machine is described in plain JSON and its ceilings are physical."""

import json

import pytest

from recsys_lib import machine
from recsys_lib.errors import InputError


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
    assert m.work == 2 * 128**3
    assert 1e6 < m.throughput < 1e15


def test_int8_product_is_the_integer_product():
    import torch

    a, b = machine._operands("int8", 64, "cpu")
    assert torch.equal(torch._int_mm(a, b), a.int() @ b.int())


def test_unknown_precision_is_refused():
    with pytest.raises(InputError, match="'fp8'"):
        machine.matmul_peak("fp8")


def test_copy_counts_bytes_read_and_written():
    m = machine.copy_bandwidth(megabytes=4, seconds=0.01)
    assert m.work == 2 * 4 * 2**20
    assert machine.read_bandwidth(megabytes=4, seconds=0.01).work == 4 * 2**20


def test_roofline_takes_the_slower_of_arithmetic_and_memory():
    c = machine.Ceilings({"float32": 100.0}, 10.0, 10.0, ())
    assert c.ridge_point("float32") == 10.0
    assert c.least_seconds(1000.0, 1.0, "float32") == 10.0
    assert c.least_seconds(1.0, 1000.0, "float32") == 100.0
