"""Communication of data-parallel training: known answers, a simulated ring, and published efficiencies."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_lib.core.errors import InputError
from recsys_lib.cost import scaling
from recsys_lib.cost.machines import hardware
from recsys_lib.cost.scaling import Job, Network


def simulated_ring(values):
    """A ring all-reduce of arrays ``[workers, n]``, message by message: sums, bytes that worker 0 sent, and
    rounds.
    """
    workers = len(values)
    parts = [np.array_split(v.astype(float), workers) for v in values]
    sent, rounds = 0, 0
    for phase in ("add", "copy"):
        for step in range(workers - 1):
            rounds += 1
            messages = []
            for rank in range(workers):
                chunk = (rank - step + (phase == "copy")) % workers
                messages.append((rank, chunk, parts[rank][chunk].copy()))
            sent += messages[0][2].nbytes
            for rank, chunk, data in messages:
                to = parts[(rank + 1) % workers]
                to[chunk] = to[chunk] + data if phase == "add" else data
    return [np.concatenate(p) for p in parts], sent, rounds


@settings(max_examples=30, deadline=None)
@given(workers=st.integers(2, 9), per_part=st.integers(1, 5))
def test_volume_and_rounds_are_those_of_a_ring(workers, per_part):
    values = np.random.default_rng(workers).integers(0, 9, (workers, workers * per_part))
    sums, sent, rounds = simulated_ring(values)
    assert all(np.array_equal(s, values.sum(axis=0)) for s in sums)
    n_bytes = values.shape[1] * 8
    assert scaling.sent_bytes(n_bytes, workers) == pytest.approx(sent)
    network = Network("", 3.0, 1e300)
    assert network.all_reduce_s(n_bytes, workers) == pytest.approx(3.0 * rounds)


def test_a_known_network_is_found_again_from_its_times():
    network, rng = Network("true", 40e-6, 2e9), np.random.default_rng(0)
    samples = [(p, n, network.all_reduce_s(n, p)) for p in (2, 4) for n in (1e3, 1e5, 1e7, 1e8)]
    found = scaling.fitted("found", samples)
    assert (found.latency_s, found.bytes_per_s) == pytest.approx((40e-6, 2e9), rel=1e-6)
    noisy = [(p, n, t * rng.uniform(0.9, 1.1)) for p, n, t in samples]
    found = scaling.fitted("found", noisy)
    assert (found.latency_s, found.bytes_per_s) == pytest.approx((40e-6, 2e9), rel=0.15)
    with pytest.raises(InputError, match="expected 2 or more"):
        scaling.fitted("", samples[:1])
    with pytest.raises(InputError, match="do not grow"):
        scaling.fitted("", [(2, 1e3, 1.0), (2, 1e6, 0.5), (2, 1e9, 0.25)])


def test_efficiencies_of_a_step_by_hand():
    job, network = Job("", 3.0, 1e9), Network("", 0.0, 1e9)
    assert job.weak_s(1, network) == 3.0
    assert job.weak_s(2, network) == pytest.approx(4.0)
    assert job.weak_efficiency(2, network) == pytest.approx(0.75)
    assert job.weak_s(2, network, overlap=1) == pytest.approx(3.0)
    assert job.strong_s(2, network) == pytest.approx(2.5)
    assert job.strong_efficiency(2, network) == pytest.approx(0.6)
    assert job.strong_s(2, network, overlap=0.5) == pytest.approx(2.0)
    assert scaling.workers_at(job, network, 0.5, [1, 2, 4, 8]) == 2
    assert scaling.workers_at(job, network, 1.1, [1, 2]) is None
    with pytest.raises(InputError, match=r"overlap=1\.5"):
        job.weak_s(2, network, 1.5)


@settings(max_examples=50, deadline=None)
@given(st.floats(1e-3, 10), st.floats(1e3, 1e12), st.integers(1, 1000), st.floats(0, 1))
def test_more_workers_never_take_less_machine_time(compute, n_bytes, workers, overlap):
    job = Job("", compute, n_bytes)
    for network in (scaling.ETHERNET, scaling.INFINIBAND):
        assert job.weak_efficiency(workers + 1, network, overlap) <= 1 + 1e-12
        assert job.strong_efficiency(workers + 1, network, overlap) <= 1 + 1e-12
        assert job.strong_efficiency(2 * workers, network) <= job.strong_efficiency(workers, network) + 1e-12


def test_published_efficiencies_lie_in_the_bracket():
    rows = scaling.against_published()
    assert len(rows) == 2
    for row in rows:
        assert row.inside, row
        assert row.with_overlap - row.without_overlap < 0.5
    # 553.6 MB there and back over 3.125 GB/s beside 64 / 154 s, and 10 µs for each of 1,022 rounds.
    sending = 2 * 511 / 512 * 553.6e6 / 3.125e9 + 1022 * 10e-6
    assert rows[1].without_overlap == pytest.approx(64 / 154 / (64 / 154 + sending), rel=1e-6)


def test_steps_and_state_of_published_models():
    card = hardware("h100-sxm")
    job = scaling.job_of("gpt-3", 2048, card, 0.4)
    assert job.gradient_bytes == pytest.approx(2 * 174.6e9, rel=0.01)
    assert job.compute_s == pytest.approx(
        6 * 174.6e9 * 2048 / (0.4 * card.operations_per_s("bfloat16")), rel=0.01
    )
    assert scaling.state_bytes("gpt-3", 64, sharded=True) * 64 == scaling.state_bytes(
        "gpt-3", 64, sharded=False
    )
    with pytest.raises(InputError, match="fraction=0"):
        scaling.job_of("gpt-3", 2048, card, 0)
