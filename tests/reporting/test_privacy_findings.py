"""Sentences of notebook 11 say the numbers that they are given."""

import numpy as np
import pandas as pd

from recsys_lib.reporting import privacy_findings

NAMES = ["float32", "int8", "1 bit", "update", "update, 1 bit"]
TABLE = pd.DataFrame(
    {"history recovered": [0.97, 0.96, 0.68, 0.99, 0.78], "without the vector": 0.27, "ndcg": 0.14,
     "bytes": [1536.0, 388.0, 54.0, 3076.0, 96.0], "epsilon": np.inf, "usd": [20.0, 15.0, 15.0, 9.0, 9.0]},
    index=NAMES,
)  # fmt: skip
ITEMS = pd.DataFrame(
    {"auc": [0.99, 0.93, 0.84], "true positives": [0.81, 0.21, 0.01], "history, tuned": [0.95, 0.6, np.nan]},
    index=["float32", "1 bit", "without the vector"],
)
CURVE = pd.DataFrame(
    {"epsilon": [np.inf, 10.0], "auc": [1.0, 0.59], "true positives": [0.99, 0.001], "ndcg": [0.44, 0.21]},
    index=["no noise", "ε = 10"],
)


def test_vectors():
    said = " ".join(privacy_findings.of_vectors(TABLE, ITEMS))
    assert "0.97 from float32, 0.96 from int8 and 0.68 from one bit" in said
    assert "fine-tuned encoder: 0.95 from float32 and 0.60 from 1 bit" in said
    assert "81% (float32), 21% (1 bit) and 1% (without the vector)" in said and "**Dollars.**" in said
    plain = privacy_findings.of_vectors(TABLE.drop(columns="usd"), ITEMS.assign(**{"history, tuned": np.nan}))
    assert len(plain) == 3 and "fine-tuned" not in plain[0]


def test_training():
    tokens = pd.DataFrame({"words recovered": [1.0], "history recovered": [0.91]})
    members = pd.DataFrame({"auc": [1.0], "true positives": [0.997]}, index=["EASE"])
    tuned = {"auc": 0.4945, "true positives": 0.0008}
    curves = {"EASE": CURVE, "unrecorded": CURVE[:0]}
    said = privacy_findings.of_training(TABLE, tokens, members, curves, tuned)
    assert "0.59 at NDCG@10 0.210 (ε = 10; 0.1% found)" in said[2] and len(said) == 4
    assert "fails without noise too" not in said[2]
    failed = privacy_findings.of_training(TABLE, tokens, members, {"it": CURVE.assign(auc=0.5)}, None)
    assert failed[2].endswith("says nothing of what noise protects.")
    assert "area of 0.49, where chance is 0.5, and 0.08% of them" in said[3]
    assert len(privacy_findings.of_training(TABLE, tokens, members, curves, None)) == 3


def test_persons_guarantees_and_deletion():
    persons = pd.DataFrame({"gender": [0.76, 0.72]}, index=["float32", "1 bit"])
    lists = pd.DataFrame(
        {"history recovered": [0.41, 0.4, 0.38], "without the list": 0.28, "gender": [0.6, 0.61, 0.66]},
        index=["EASE", "EASE, minimum support 10", "shared by 20"],
    )
    words = {"inverter": 0.24, "topic": 0.17, "frequent": 0.13}
    said = " ".join(privacy_findings.of_persons(persons, lists, words))
    assert "Minimum support changes that by -0.01" in said and "leaves 0.38, and gender" in said
    (one,) = privacy_findings.of_guarantees(CURVE, {10.0: 0.25, np.inf: 0.34}, 0.2)
    assert (
        "0.250 at ε = 10 (private EASE 0.210), without noise 0.340 (EASE 0.440); popularity has 0.200" in one
    )
    assert (
        "0.10% of the operations of a new fit of 1,682" in privacy_findings.of_deletion(1682, 1.0, 1000.0)[0]
    )
    assert privacy_findings.takeaways(["a"], ["b", "c"]).count("* ") == 3
