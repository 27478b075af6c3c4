"""Articles of a data-science community: counts, twin accounts and boilerplate."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from recsys_lib.data import datasets
from recsys_lib.data.datasets import articles


@pytest.fixture(scope="module")
def feed():
    return datasets.load("articles")


def test_articles_counts(feed):
    assert (feed.n_users, feed.n_items, feed.n_interactions) == (4294, 714, 21_256)
    assert (feed.n_dropped, feed.n_merged) == (17, 45_993 - 17 - 21_256)
    assert feed.items["id"].is_unique and (feed.items["title"] != "").all() and feed.timestamp is None
    assert (feed.items["body"] != "").sum() == 430


def test_accounts_that_read_the_same_are_one_person(feed):
    reads = {"a": "123456", "b": "12345", "c": "1789", "d": "1789", "e": "12378", "f": "123457"}
    user = pd.Series([name for name, items in reads.items() for _ in items])
    item = pd.Series([i for items in reads.values() for i in items])
    # a, b and f share five of six; c and d are too short to tell; e shares three of seven with a.
    assert articles.twin_accounts(user, item) == {"b": "a", "f": "a"}
    assert "854 accounts were joined" in feed.notes[0]
    histories = feed.k_core(5, 1).matrix()
    shared = sp.triu(histories @ histories.T, k=1).tocoo()
    length = np.diff(histories.indptr)
    union = length[shared.row] + length[shared.col] - shared.data
    assert (shared.data / union).max() < articles.TWIN_SHARE


def test_boilerplate_of_pages_is_cut(feed):
    text = " ".join(feed.items["body"])
    for menu in ("Skip navigation", "video has been rented", "Find out why Close", "Loading..."):
        assert menu not in text
    bodies = ["Menu Home\nMY TITLE\nText one.\nShare this\n* Blog", *["X\nShare this\nother text"] * 2]
    cleaned = articles.without_boilerplate(bodies, ["My title", "Else here", "Else here"])
    assert cleaned == ["Text one.", "X other text", "X other text"]
