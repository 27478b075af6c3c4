"""The Complete Journey on a small invented file of the published form: prices, categories, bad files."""

import numpy as np
import pandas as pd
import pytest

from recsys_lib.core.errors import InputError
from recsys_lib.data import datasets


def purchases():
    return pd.DataFrame({
        "household_id": [7, 7, 8, 8], "product_id": [1, 1, 2, 9], "quantity": [2, 1, 0, 1],
        "sales_value": [3.0, 2.5, 1.0, 1.0], "retail_disc": [1.0, 0.0, 0.0, 0.0],
        "coupon_match_disc": [0.0, 0.5, 0.0, 0.0],
        "transaction_timestamp": pd.to_datetime(
            ["2017-01-01 10:00", "2017-01-02 10:00:00.9", "2017-03-01", "2017-03-01"], format="ISO8601"),
    })  # fmt: skip


def products():
    return pd.DataFrame({
        "product_id": [1, 2], "manufacturer_id": [3, 4], "department": ["GROCERY", "DRUG GM"],
        "brand": ["Private", "National"], "product_category": ["BREAD, FRESH", None],
        "product_type": ["ROLLS ", None], "package_size": ["12 OZ", None],
    })  # fmt: skip


def test_groceries_have_shelf_prices_and_categories(tmp_path):
    pytest.importorskip("pyarrow")
    purchases().to_parquet(tmp_path / "transactions.parquet")
    products().to_parquet(tmp_path / "products.parquet")
    data = datasets.load("complete-journey", tmp_path)
    rows = zip(data.users["id"].iloc[data.user], data.items["id"].iloc[data.item], strict=True)
    # The household bought product 1 twice: the later purchase stays; product 9 has no row.
    assert set(rows) == {("7", "1"), ("8", "2")} and (data.n_dropped, data.n_merged) == (1, 1)
    assert data.timestamp[data.item == 0].tolist() == [1483351200]
    assert data.items["title"].tolist() == ["ROLLS 12 OZ", ""]
    assert data.items["genres"].tolist() == ["BREAD  FRESH, GROCERY", "DRUG GM"]
    assert data.items["author"].tolist() == ["Private", "National"]
    # Discounts are added back: (3 + 1) / 2 and 2.5 + 0.5; a purchase of nothing tells no price.
    assert data.items["price"].tolist()[0] == 2.5 and np.isnan(data.items["price"].tolist()[1])
    assert "calls them simulated" in data.notes[0]


def test_bad_groceries_are_refused_in_one_line(tmp_path):
    pytest.importorskip("pyarrow")
    for name in ("transactions.parquet", "products.parquet"):
        (tmp_path / name).write_text("no table")
    with pytest.raises(InputError, match=r"transactions\.parquet: not readable .* as published") as caught:
        datasets.load("complete-journey", tmp_path)
    assert "\n" not in str(caught.value)
    purchases().drop(columns="quantity").to_parquet(tmp_path / "transactions.parquet")
    with pytest.raises(InputError, match=r"transactions\.parquet: no column 'quantity'"):
        datasets.load("complete-journey", tmp_path)
