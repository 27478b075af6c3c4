"""Tables and sentences about the reranking study follow its records, also where few are there."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from recsys_lib.reporting import bench_tables, plots
from recsys_lib.reporting.figures import llm as figures


def record(ndcg=0.3, difference=-0.1, method="yes/no", **parameters):
    usual = {"catalogue": "ml-100k", "stage": "EASE", "model": "smollm2", "method": method}
    usual["precision"] = figures.USUAL_PRECISION.get(parameters.get("model", "smollm2"), "int8")
    paired = {"difference": difference, "low": difference - 0.02, "high": difference + 0.02, "p": 0.01}
    metrics = {
        "ndcg": ndcg, "first_stage": 0.4, "ceiling": 0.7, "floor": 0.3, "minus_first_stage": paired,
        "minus_floor": paired | {"low": ndcg - 0.32, "high": ndcg - 0.28, "difference": ndcg - 0.3},
        "fused": 0.41, "weight": 0.1, "fused_minus_first_stage": paired, "users": [1, 2, 3],
        "read_tokens": 500.0, "prompt_tokens": 4000.0, "cpu_seconds_per_list": 3.6, "seconds_p99": 9.0,
    }  # fmt: skip
    return {"parameters": {**figures.USUAL, **usual, **parameters}, "metrics": metrics}


RECORDS = [
    record(), record(0.45, 0.05, model="qwen-coder-0.5b"), record(0.2, control="no history"),
    record(0.31, control="another user's history"), record(language="zh"), record(stage="cold map"),
]  # fmt: skip


def test_records_are_chosen_by_what_is_unusual_about_them():
    assert len(figures.select(RECORDS)) == 3
    assert len(figures.select(RECORDS, stage="EASE")) == 2
    assert len(figures.select(RECORDS, control=["none", "no history"], stage="EASE")) == 3


def test_costs_are_those_of_core_seconds():
    bill = figures.costs(RECORDS[:1], usd_per_core_hour=0.1, watts_per_core=5.0)
    assert bill.loc["SmolLM2, 135M, yes/no", "joules, modelled"] == pytest.approx(18)
    assert bill.loc["SmolLM2, 135M, yes/no", "USD per million lists"] == pytest.approx(100)


def test_takeaways_count_what_the_records_say():
    text = figures.takeaways(RECORDS, figures.costs(RECORDS, 0.1, 5.0))
    assert "Order improved: 1 of 3" in text and "2 are worse beyond chance" in text
    assert "Better than a random order: 1 of 3**: ml-100k, EASE: Qwen2.5-Coder, 0.5B, yes/no" in text
    assert "100 to 100 USD per million lists" in text


def test_findings_and_labels():
    table = figures.quality(figures.select(RECORDS))
    assert figures.finding(table).startswith("1 of 3 rerankers improve")
    assert figures.control_finding([]) == "Beside a random order; no control is recorded yet"
    assert figures.form_label(RECORDS[4]["parameters"]) == "SmolLM2, 135M, yes/no, language zh"


def of_users(control, users, values):
    found = record(control=control)
    return found | {"metrics": found["metrics"] | {"users": users, "per_user": {"ndcg": values}}}


def test_controls_are_compared_for_the_users_that_both_have():
    rng = np.random.default_rng(0)
    users, values = list(range(60)), rng.uniform(0.3, 0.7, 60)
    whole = of_users("none", [*range(100, 140), *users], [0.9] * 40 + values.tolist())
    same = of_users("history shuffled", users[::-1], values[::-1].tolist())
    worse = of_users("no history", users, (values - rng.uniform(0.1, 0.2, 60)).tolist())
    table = figures.control_changes([whole, same, worse])
    assert table["users"].tolist() == [60, 60]
    assert table.loc["history shuffled", "difference"] == 0 and table.loc["no history", "low"] > 0.1
    assert figures.control_finding([whole, same, worse]) == "1 of 2 controls rank worse: no history"
    assert figures.control_finding([whole, same]).startswith("None of 1 controls ranks worse")


def test_no_record_is_an_empty_table():
    assert figures.quality([]).shape == (0, len(figures.QUALITY))
    assert figures.fusion([]).shape == (0, len(figures.FUSION))


def test_figures_have_a_row_for_every_record():
    table = figures.quality(figures.select(RECORDS))
    fig, axes = plots.figure(columns=2)
    figures.between(axes[0], table)
    figures.differences(axes[1], table)
    assert [len(ax.get_yticks()) for ax in axes] == [3, 3]
    plt.close(fig)


def test_more_candidates_and_little_known_are_named_and_have_their_line():
    few = record(model="ms-marco", method="cross-encoder", known=3)
    deep = record(depth=50)
    assert figures.case_label(few["parameters"]).endswith("cross-encoder, 33M, 3 known")
    assert figures.case_label(deep["parameters"]).endswith(", best 50")
    assert figures.select([few, deep]) == [] and figures.select([few, deep], **figures.ORDERS) == [few, deep]
    text = figures.takeaways([few, deep, record()], figures.costs([record()], 0.1, 5.0))
    assert "0 of 3** combinations" in text
    assert "cross-encoder, 33M 0.300, first stage 0.400 (3 known)" in text


def test_a_list_that_was_repaired_is_no_better_than_a_random_order():
    written = record(0.45, method="written")
    written["metrics"]["repaired"] = 3
    assert figures.readable([written, record()]) == [record()]
    text = figures.takeaways([written, record()], figures.costs([record()], 0.1, 5.0))
    assert "random order: 0 of 2" in text and "SmolLM2, 135M, written had to be repaired" in text


def test_fewer_bits_stand_among_the_forms_only():
    records = [record(), record(precision="int4"), record(language="zh"), record(model="qwen-coder-0.5b")]
    records += [record(precision="int4", method="first token"), record(model="a folder", precision="int4")]
    assert figures.select(records) == [records[0], records[3], records[5]]
    varied = figures.forms(records, model=["smollm2", "qwen-coder-0.5b"])
    assert varied == [records[2], records[1]]
    assert [figures.form_label(r["parameters"]) for r in varied] == [
        "SmolLM2, 135M, yes/no, language zh", "SmolLM2, 135M, yes/no, int4"
    ]  # fmt: skip


def test_speeds_are_those_of_the_record():
    table = figures.speeds(bench_tables.recorded("rerank"))
    row = table.xs("transformers, padded", level="baseline").iloc[0]
    assert row["times as fast"] > 6 and 0 < row["fraction of the roofline"] < 1
