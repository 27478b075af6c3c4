"""What a defence costs: the front of releases, and the titles that state it."""

import numpy as np
import pandas as pd
import scipy.sparse as sp

from recsys_lib.recommenders import TextProfile
from recsys_lib.reporting.figures import privacy
from recsys_lib.trust.privacy import price, releases

TABLE = pd.DataFrame(
    {
        "history recovered": [0.9, 0.9, 0.6, 0.7],
        "without the vector": [0.2] * 4,
        "ndcg": [0.14, 0.14, 0.12, 0.11],
        "bytes": [1536.0, 388.0, 54.0, 60.0],
        "epsilon": [np.inf] * 4,
    },
    index=["float32", "int8", "1 bit", "noise, ε = 1"],
)


def test_the_front_holds_what_no_other_release_beats():
    assert price.front(TABLE) == ["int8", "1 bit"]


def test_dollars_are_part_of_the_front_where_the_table_has_them():
    assert price.front(TABLE.assign(usd=[1.0, 9.0, 9.0, 9.0])) == ["float32", "int8", "1 bit"]


def test_the_title_names_a_release_that_hides_half_of_what_the_vector_adds():
    assert "no defence hides half" in privacy.pareto_title(TABLE)
    hidden = TABLE.copy()
    hidden.loc["noise, ε = 1", "history recovered"] = 0.3
    assert "noise, ε = 1 gives 30% at NDCG@10 0.110" in privacy.pareto_title(hidden)


def test_prices_of_plain_and_noisy_vectors():
    rng = np.random.default_rng(4)
    items = rng.standard_normal((60, 24)).astype(np.float32)
    both = (rng.random((40, 60)) < 0.15).astype(np.float32)
    both[:, :2] = 1
    held = rng.random(both.shape) < 0.3
    train, test = sp.csr_matrix(both * ~held), sp.csr_matrix(both * held)
    profiles = TextProfile(items).fit(train).profiles(np.arange(40))
    users = np.flatnonzero(np.diff(train.indptr))
    found = price.price(
        [releases.plain(profiles), releases.noisy(profiles, 1.0, seed=9)], items, train, test, users
    )
    assert found.loc["float32", "history recovered"] > 0.9 > found.loc["noise, ε = 1", "history recovered"]
    assert found["bytes"].tolist() == [96.0, 96.0] and found.loc["noise, ε = 1", "epsilon"] == 1.0
