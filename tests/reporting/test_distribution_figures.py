"""Tables and findings of the recorded study of distribution, from a record whose ratios are known."""

import pytest

from recsys_lib.cost import scaling
from recsys_lib.reporting.figures import distribution


def step(workers, processor_s):
    return {
        "workers": workers, "step_s": 1.0, "fastest_step_s": 0.9, "processor_s": processor_s,
        "sent_bytes": 90e6, "gathered_bytes": 0.0, "parameters": 22.7e6,
    }  # fmt: skip


TRAINING = {"one": step(1, 2.0), "strong": step(2, 3.0), "weak": step(2, 5.0), "batch": 64}


def encoded(titles, once):
    """A part in which a title takes 10 ms, and with Ray 11 ms; ``once``: seconds of each worker's start."""
    plain = {"seconds": 1.0, "processor_s": titles / 100}
    one, two = ({"seconds": 1.0, "processor_s": 0.011 * titles + n * once, "start_s": 8.0} for n in (1, 2))
    return {"plain": plain, "ray 1": one, "ray 2": two, "titles": titles, "shard": 100}


ENCODING = encoded(1000, 5.0), encoded(5000, 5.0)


def test_processor_time_is_compared_for_the_same_number_of_texts():
    relative = distribution.training_table(TRAINING)["processor s a text, relative"]
    assert relative.tolist() == pytest.approx([1.0, 1.5, 1.25])
    table = distribution.encoding_table(*ENCODING, titles=100_000)
    assert table["relative, 1,000"].tolist() == pytest.approx([1.0, 1.6, 2.1])
    assert table["paid once, s"].tolist() == pytest.approx([0.0, 5.0, 10.0])
    assert table["relative, 100,000 (computed)"].tolist() == pytest.approx([1.0, 1.105, 1.11])


def test_takeaways_carry_the_tables_numbers():
    networks = [scaling.ETHERNET, scaling.INFINIBAND]
    at_scale = distribution.efficiencies({"a": scaling.Job("a", 1.0, 1e9)}, networks, 1024)
    assert list(at_scale.columns)[:2] == ["25 Gbit Ethernet", "25 Gbit Ethernet, overlapped"]
    published = distribution.published_table()
    training, encoding = distribution.training_table(TRAINING), distribution.encoding_table(*ENCODING)
    said = distribution.takeaways(training, encoding, at_scale, published, 6.87)
    assert "1.50 times its processor time" in said
    assert "twice the batch 1.25 times" in said
    assert "one run, while 6.9 other processes" in said
    assert "2.1 times the processor time of the plain path" in said
    assert "says 1.10 times for 270,000" in said
    assert f"{1 / at_scale.min(axis=None):.1f} times the machine time" in said


def test_a_part_is_found_by_its_name():
    runs = [{"parameters": {"part": p}, "metrics": {"is": p}} for p in ("network", "training")]
    assert distribution.record(runs, "training") == {"is": "training"}
