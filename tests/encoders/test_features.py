"""Numbers of items as vectors: order and ties are kept, scale does not matter, gaps stay empty."""

import numpy as np
import pytest

from recsys_lib.core.errors import InputError
from recsys_lib.encoders.features import numbers


def test_near_numbers_have_near_vectors_and_scale_does_not_matter():
    prices = np.array([1.0, 2.0, 4.0, 8.0, 5000.0, np.nan, 4.0])
    v = numbers(prices, 5)
    np.testing.assert_array_equal(v, numbers(np.log(prices) * 3 + 1, 5))
    np.testing.assert_array_equal(v[2], v[6])
    assert not v[5].any() and v[[0, 1, 2, 3, 4, 6]].any(axis=1).all()
    distances = np.linalg.norm(v[[1, 2, 3, 4]] - v[0], axis=1)
    assert (distances[0] < distances[1:]).all() and (distances[1] < distances[2:]).all()


@pytest.mark.parametrize("values", [[], [np.nan, np.nan]])
def test_nothing_known_is_nothing_said(values):
    assert numbers(values).shape == (len(values), 8) and not numbers(values).any()


@pytest.mark.parametrize(("values", "centres"), [([[1.0]], 8), ([np.inf], 8), ([1.0], 1)])
def test_other_input_is_refused(values, centres):
    with pytest.raises(InputError):
        numbers(values, centres)
