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
ENCODING = {
    "plain": {"seconds": 10.0, "processor_s": 10.0},
    "ray 1": {"seconds": 11.0, "processor_s": 10.5, "start_s": 8.0},
    "ray 2": {"seconds": 6.0, "processor_s": 11.0, "start_s": 9.0},
    "titles": 1000,
    "shard": 100,
}


def test_processor_time_is_compared_for_the_same_number_of_texts():
    relative = distribution.training_table(TRAINING)["processor s a text, relative"]
    assert relative.tolist() == pytest.approx([1.0, 1.5, 1.25])
    relative = distribution.encoding_table(ENCODING)["processor s, relative"]
    assert relative.tolist() == pytest.approx([1.0, 1.05, 1.1])


def test_takeaways_carry_the_tables_numbers():
    networks = [scaling.ETHERNET, scaling.INFINIBAND]
    at_scale = distribution.efficiencies({"a": scaling.Job("a", 1.0, 1e9)}, networks, 1024)
    assert list(at_scale.columns)[:2] == ["25 Gbit Ethernet", "25 Gbit Ethernet, overlapped"]
    published = distribution.published_table()
    training, encoding = distribution.training_table(TRAINING), distribution.encoding_table(ENCODING)
    said = distribution.takeaways(training, encoding, at_scale, published)
    assert "1.50 times its processor time" in said
    assert "twice the batch 1.25 times" in said
    assert "1.10 times the processor time of the plain path" in said
    assert f"{1 / at_scale.min(axis=None):.1f} times the machine time" in said


def test_a_part_is_found_by_its_name():
    runs = [{"parameters": {"part": p}, "metrics": {"is": p}} for p in ("network", "training")]
    assert distribution.record(runs, "training") == {"is": "training"}
