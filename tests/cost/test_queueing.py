"""The queue's table: against the simulator, against known queues, and between its columns."""

import numpy as np
import pytest

from recsys_lib.core.errors import InputError
from recsys_lib.cost import queueing


@pytest.mark.parametrize(("batch", "fixed", "load"), [(1, 0.0, 0.5), (8, 0.5, 0.7), (32, 1.0, 0.3)])
def test_the_file_is_what_the_simulator_finds(batch, fixed, load):
    found = queueing.simulated_p99(batch, fixed, load)
    assert queueing.p99_factor(batch, fixed, load) == pytest.approx(found, abs=6e-5)


def test_without_load_a_request_is_served_alone():
    assert queueing.simulated_p99(8, 0.25, 0.0) == pytest.approx(0.25 + 0.75 / 8)
    assert queueing.p99_factor(8, 1.0, 0.0) == 1.0


def test_one_server_of_fixed_time_agrees_with_theory():
    # M/D/1: the mean wait is load / (2 (1 - load)) service times (Pollaczek and Khinchine).
    found = queueing.simulated_server(lambda n: 1.0, 0.6, 40_000, 1, 0).latency.samples
    assert np.mean(found) == pytest.approx(1 + 0.6 / (2 * 0.4), rel=0.03)


def test_between_the_columns_the_factor_is_linear_and_grows_with_the_load():
    low, middle, high = (queueing.p99_factor(8, 0.5, load) for load in (0.2, 0.25, 0.3))
    assert middle == pytest.approx((low + high) / 2)
    assert low < middle < high
    values = [queueing.p99_factor(32, 0.1, load) for load in np.linspace(0, 0.9, 40)]
    assert values == sorted(values)


@pytest.mark.parametrize(("batch", "load"), [(2, 0.5), (1, 0.95), (1, -0.1)])
def test_what_is_not_tabulated_is_refused(batch, load):
    with pytest.raises(InputError, match="expected a batch of"):
        queueing.p99_factor(batch, 0.5, load)
