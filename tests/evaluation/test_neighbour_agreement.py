"""What neighbours share: known answers, a naive loop, and refusals."""

import numpy as np
import pytest

from recsys_lib.core.errors import InputError
from recsys_lib.evaluation import neighbour_agreement

LABELS = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 1], [0, 0, 1], [0, 0, 0]])


def test_known_indices():
    shared = neighbour_agreement.jaccard(LABELS)
    assert shared[0].tolist() == [1.0, 0.5, 0.0, 0.0, 0.0]
    assert shared[2, 3] == 1 and shared[4, 4] == 0 and (shared == shared.T).all()


def test_chance_is_the_mean_over_other_rows():
    assert neighbour_agreement.chance(LABELS) == pytest.approx((0.5 + 1.0) / 10)


def test_the_nearest_rows_labels_count():
    vectors = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9], [-1.0, -1.0]])
    assert neighbour_agreement.label_overlap(vectors, LABELS, k=1)[:4].tolist() == [0.5, 0.5, 1.0, 1.0]


def test_a_naive_loop_agrees():
    rng = np.random.default_rng(0)
    vectors, labels = rng.standard_normal((40, 8)), rng.random((40, 5)) < 0.4
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    for row, found in enumerate(neighbour_agreement.label_overlap(vectors, labels, k=3)):
        order = [i for i in np.argsort(-(unit @ unit[row])) if i != row][:3]
        own = set(np.flatnonzero(labels[row]))
        shared = [
            len(own & set(np.flatnonzero(labels[i]))) / max(len(own | set(np.flatnonzero(labels[i]))), 1)
            for i in order
        ]
        assert found == pytest.approx(np.mean(shared))


@pytest.mark.parametrize(("rows", "k"), [(4, 1), (5, 5)])
def test_a_wrong_number_of_rows_is_named(rows, k):
    with pytest.raises(InputError, match="expected as many, and more than k"):
        neighbour_agreement.label_overlap(np.ones((rows, 2)), LABELS, k)
