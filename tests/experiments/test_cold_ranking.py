"""Cold items ranked from compressed vectors: the reference is EASEMap itself, and the conclusions follow the
two tests.
"""

import numpy as np
import pytest

from recsys_lib import evaluation
from recsys_lib.core.errors import InputError
from recsys_lib.data.datasets import Dataset
from recsys_lib.evaluation import Evaluation, tuning
from recsys_lib.experiments import cold_ranking
from recsys_lib.recommenders import EASEMap
from recsys_lib.vectors import similarity
from tests.toys import small


def catalogue(n_users: int = 60, n_items: int = 80, d: int = 16, seed: int = 0) -> tuple[Dataset, np.ndarray]:
    """Users like the items nearest to a direction of their own; vectors have a common offset."""
    rng = np.random.default_rng(seed)
    items = rng.standard_normal((n_items, d)).astype(np.float32)
    liked = similarity.top_k(rng.standard_normal((n_users, d)).astype(np.float32), items, 15)[0]
    user = np.repeat(np.arange(n_users), 15)
    return small(user, liked.ravel(), n_items=n_items), items + 1


DATA, VECTORS = catalogue()


@pytest.fixture(scope="module")
def ranking():
    return cold_ranking.tune(DATA, VECTORS, "kernel", draws=2, trials=3)


def test_unchanged_vectors_rank_as_the_map_itself(ranking):
    found = ranking.evaluate(VECTORS)
    by_hand = []
    for split, parameters in zip(ranking.draws, ranking.parameters, strict=True):
        unit, warm = cold_ranking.centred(VECTORS, split)
        assert not warm[split.cold_items].any()
        model = EASEMap(unit, **parameters).fit(split.train)
        test = tuning.known_users(split.test, split.train)
        by_hand.append(evaluation.evaluate(model, split.train, test, 10, split.cold_items))
    np.testing.assert_allclose(
        found.per_user["ndcg"], evaluation.average(by_hand).per_user["ndcg"], atol=1e-9
    )


def test_fewer_bits_rank_worse_than_many(ranking):
    reference = ranking.evaluate(VECTORS)
    found = {name: ranking.evaluate(VECTORS, name) for name in ("float16", "int8", "binary")}
    found["shuffled"] = ranking.evaluate(VECTORS[np.random.default_rng(0).permutation(len(VECTORS))])
    table = cold_ranking.compare(found, reference)
    assert abs(table.loc["float16", "change"]) <= abs(table.loc["binary", "change"])
    assert table.loc["shuffled", "conclusion"] == "worse"
    assert "float16" in cold_ranking.equivalent_rows(table)


def outcome(ndcg: np.ndarray) -> Evaluation:
    return Evaluation(10, np.arange(len(ndcg)), {"ndcg": ndcg}, np.empty((len(ndcg), 0), dtype=np.int64))


@pytest.mark.parametrize(
    ("shift", "noise", "conclusion"),
    [(0.0, 0.0, "within 1%"), (-0.001, 0.002, "within 1%"), (-0.05, 0.01, "worse"), (0.05, 0.01, "better"),
    (0.0, 0.3, "not decided")],
)  # fmt: skip
def test_the_conclusion_follows_margin_and_noise(shift, noise, conclusion):
    rng = np.random.default_rng(1)
    base = rng.uniform(0.2, 0.6, 300)
    moved = base + shift + noise * rng.standard_normal(300)
    table = cold_ranking.compare({"a": outcome(moved)}, outcome(base))
    assert table.loc["a", "conclusion"] == conclusion
    assert table.loc["a", "change"] == pytest.approx(moved.mean() / base.mean() - 1)


def test_several_rows_are_corrected_together():
    """One row alone is decided; among many like it none is, since each is one chance more."""
    rng = np.random.default_rng(3)
    base = rng.uniform(0.2, 0.6, 200)
    moved = {str(i): outcome(base + 0.018 * rng.standard_normal(200)) for i in range(6)}
    alone = [evaluation.equivalent(o, outcome(base), cold_ranking.MARGIN).p_value for o in moved.values()]
    together = cold_ranking.compare(moved, outcome(base))["p_equivalent"].to_numpy(dtype=float)
    assert (together >= np.array(alone)).all() and together.min() > min(alone)


def test_a_misspelled_kind_and_no_draw_are_named():
    with pytest.raises(InputError, match=r"kind='cubic': expected one of kernel, linear"):
        cold_ranking.tune(DATA, VECTORS, "cubic")
    with pytest.raises(InputError, match="draws=0: expected at least 1"):
        cold_ranking.tune(DATA, VECTORS, draws=0)


def test_columns_fitted_before_give_the_same_map_and_others_are_refused(ranking):
    split = ranking.draws[0]
    unit, _ = cold_ranking.centred(VECTORS, split)
    columns = ranking._ease(0)
    strength = ranking.parameters[0]["ease_regularization"]
    shared, own = (EASEMap(unit, 1.0, strength, columns=c).fit(split.train).weights for c in (columns, None))
    np.testing.assert_array_equal(shared, own)
    with pytest.raises(InputError, match=r"columns of shape \(3, 3\): expected \(80, 80\)"):
        EASEMap(unit, columns=np.zeros((3, 3), np.float32)).fit(split.train)
