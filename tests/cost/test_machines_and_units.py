"""Machines, prices and published figures say their source; amounts of money and energy keep their units."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_lib import cost
from recsys_lib.core.errors import InputError
from recsys_lib.cost import machines, units

# --- Machines and prices


def test_every_machine_says_where_its_figures_come_from():
    for name, row in machines.table().items():
        assert row.kind in ("cpu", "gpu", "tpu"), name
        assert row.source and row.about and row.date.year >= 2018
        assert row.obtained in ("read", "derived", "known")
        assert row.power_w is None or row.power_counts
        assert 1e9 < row.memory_bytes < 1e12 and 1e10 < row.bandwidth_bytes_per_s < 1e13
        for offer in row.prices:
            assert 0.01 < offer.usd_per_hour < 100
            assert offer.source and offer.counts and offer.offer and offer.date.year == 2026
            assert offer.obtained in ("read", "known", "derived")


def test_peaks_are_dense_and_ordered():
    for name, row in machines.table().items():
        order = [row.peaks[p] for p in ("float32", "bfloat16", "int8", "int4") if p in row.peaks]
        assert order == sorted(order), name
        assert set(row.peaks) <= {
            "float32",
            "tfloat32",
            "bfloat16",
            "float16",
            "float8",
            "int8",
            "int4",
            "float4",
        }
    # NVIDIA prints 1,979 for bfloat16 on an H100 and 312 | 624 on an A100: the dense ones are half of the
    # sparse.
    assert cost.hardware("h100-sxm").operations_per_s("bfloat16") < 1000e12
    assert cost.hardware("a100-80").operations_per_s("bfloat16") == 312e12
    assert cost.hardware("l4").operations_per_s("float16") == 121e12
    assert cost.hardware("h100-sxm").ridge_point("bfloat16") == pytest.approx(295.3, rel=0.001)


def test_processor_peaks_are_cores_times_clock_times_width():
    for name, cores in (("c7a-large", 2), ("c7a-2xlarge", 8), ("c7a-8xlarge", 32), ("c7a-24xlarge", 96)):
        for precision, per_cycle in (("float32", 32), ("bfloat16", 64), ("int8", 128)):
            assert cost.hardware(name).operations_per_s(precision) == pytest.approx(cores * 3.7e9 * per_cycle)
        assert cost.hardware(name).watts == pytest.approx(cores * 3.75)
    for name, cores in (("c7i-2xlarge", 4), ("c7i-8xlarge", 16)):
        for precision, per_cycle in (("float32", 64), ("bfloat16", 2048), ("int8", 4096)):
            assert cost.hardware(name).operations_per_s(precision) == pytest.approx(cores * 3.8e9 * per_cycle)


def test_what_the_table_lacks_is_refused():
    chip = cost.hardware("tpu-v5e")
    for attribute in ("price", "watts"):
        with pytest.raises(InputError, match="tpu-v5e has no p"):
            getattr(chip, attribute)
    with pytest.raises(InputError, match=r"t4 has no peak for 'bfloat16'.*float16"):
        cost.hardware("t4").least_seconds(1.0, 1.0, "bfloat16")
    with pytest.raises(InputError, match="'h300'"):
        cost.hardware("h300")


def test_price_range_spans_the_offers():
    low, high = cost.hardware("h100-sxm").price_range()
    assert low <= cost.hardware("h100-sxm").price.usd_per_hour <= high and low < high


# --- Units


def test_known_conversions():
    assert cost.convert(1, "kWh", "J") == 3.6e6
    assert cost.convert(1, "GiB", "B") == 2**30
    assert cost.convert(1, "W", "J/h") == 3600
    assert cost.convert(3600, "USD/h", "USD/s") == pytest.approx(1)
    assert cost.convert(1, "USD/h", "USD/month") == pytest.approx(730.5)
    assert cost.convert(1, "month", "day") == pytest.approx(30.4375)
    assert cost.convert(1, "USD/million", "cent/thousand") == pytest.approx(0.1)
    assert cost.convert(86400, "1/day", "1/s") == pytest.approx(1)


@pytest.mark.parametrize(
    ("unit", "to"), [("USD/h", "USD"), ("J", "W"), ("s", "USD"), ("B", "J"), ("1/s", "s")]
)
def test_another_dimension_is_refused(unit, to):
    with pytest.raises(InputError, match="cannot turn"):
        cost.convert(1, unit, to)


@pytest.mark.parametrize("unit", ["EUR", "USD/h/day", "", "usd", "km"])
def test_an_unknown_unit_is_refused(unit):
    with pytest.raises(InputError, match="expected one of"):
        cost.Quantity(1.0, unit)


@given(st.sampled_from(sorted(units._UNITS)), st.sampled_from(sorted(units._UNITS)), st.floats(1e-6, 1e6))
def test_conversion_there_and_back_is_the_same(one, other, value):
    if units._UNITS[one][0] != units._UNITS[other][0]:
        return
    assert cost.convert(cost.convert(value, one, other), other, one) == pytest.approx(value)


def test_quantities_add_only_alike_and_keep_their_inputs():
    one = cost.Quantity(1.0, "USD", {"items": 3, "machine": "t4"}, "measured")
    total = one + cost.Quantity(50.0, "cent", {"items": 4, "machine": "t4"}, "bound")
    assert total.value == 1.5 and total.unit == "USD"
    assert total.inputs == {"items": 3, "machine": "t4", "items (2)": 4}
    assert total.basis == "measured and bound"
    assert "items=3" in str(total) and "USD" in str(total)
    with pytest.raises(InputError, match="cannot turn J"):
        one + cost.Quantity(1.0, "J")
    with pytest.raises(InputError, match="not a number"):
        cost.Quantity(math.nan, "J")
    with pytest.raises(TypeError):
        one.inputs["items"] = 5


def test_published_rows_say_their_source():
    for kind, rows in cost.published().items():
        for row in rows:
            assert row["source"] and row["counts"] and row["obtained"] in ("read", "known"), (kind, row)
            # Published rankings and efficiencies are of other models.
            assert row.get("model") in cost.models() or kind in ("ranking", "scaling"), (kind, row)
    for name, row in cost.models().items():
        assert row["source"] and row["about"] and row["date"], name
