"""Forecasts against measurements, and the fractions they come from."""

import json

import pytest

from recsys_lib.core.errors import InputError
from recsys_lib.cost import measured_quality, recorded_fractions, validation
from recsys_lib.cost.deployment_options import option
from recsys_lib.cost.validation import Check
from recsys_lib.cost.workloads import known_kinds


def test_fractions_are_fractions_of_known_work():
    found = recorded_fractions.recorded_fractions()
    assert found and set(found) <= set(known_kinds()) and all(0 < value <= 1 for value in found.values())


def test_forecasts_miss_by_less_than_a_factor_of_four_but_for_waiting_over_http():
    groups = validation.groups()
    published = groups["published by others"]
    assert len(published) >= 3 and all(c.source.startswith("http") for c in published)
    assert len(groups["recorded, Xeon with AMX"]) + len(groups["fresh, Xeon without AMX"]) >= 8
    for name, checks in groups.items():
        middle, worst = validation.summary(checks)
        assert (1 <= middle < 1.5 and worst < 4) == (name != validation.HTTP)


def test_a_p99_over_http_is_checked_at_every_recorded_load(tmp_path):
    row = {"server": "a", "scenario": "poisson", "load": 0.5, "p99_ms": 6.0, "forecast_p99_ms": 2.0}
    rows = [row, row | {"scenario": "bursts"}, row | {"load": 0.7, "p99_ms": 20.0}]
    content = {"bench": "serve", "date": "2026-01-01", "environment": {}, "rows": rows}
    (tmp_path / f"{validation.SERVED}.json").write_text(json.dumps(content))
    found = validation.load_checks(tmp_path)
    assert [c.name for c in found] == ["p99 over HTTP: a, load 0.5", "p99 over HTTP: a, load 0.7"]
    assert [c.factor for c in found] == pytest.approx([3.0, 10.0])


def test_a_factor_counts_both_directions():
    checks = [Check("a", 2.0, 1.0, "s", ""), Check("b", 1.0, 4.0, "s", ""), Check("c", 1.0, 1.0, "s", "")]
    assert validation.summary(checks) == (2.0, 4.0)
    with pytest.raises(InputError, match="at least one"):
        validation.summary([])


def test_fractions_are_read_from_the_records_of_machines(tmp_path):
    environment = {"flags": ["avx512_bf16"], "cores_physical": 4, "cores_logical": 8, "gpus": []}
    # Four cores of Zen 4 have 128 GB/s by the data sheet of c7a-large, which has two.
    scan = {
        "workload": "scan",
        "precision": "int8",
        "compute": "int8",
        "device": "cpu",
        "shape": {"batch": 1},
    }
    scan |= {"operations": 1.0, "bytes": 128e9, "measurement": {"samples": [1.0, 4.0, 9.0]}}
    reads = [{"name": f"streaming read {n}", "amount": n, "samples": [n / 32e9]} for n in (1e6, 1e9)]
    part = {"environment": environment, "device": "cpu"}
    parts = {"points": {**part, "rows": [scan]}, "ceilings": {**part, "rows": reads}}
    (tmp_path / "a.json").write_text(json.dumps({"machine": "a", "parts": parts}))
    found = recorded_fractions.recorded_fractions(tmp_path)
    assert found["scan on c7a"] == pytest.approx(0.25) and found["dense rows on c7a"] == pytest.approx(0.25)
    assert 0 < found["lookup on c7a"] < found["dense rows on c7a"]
    environment["flags"] = ["neon"]
    (tmp_path / "a.json").write_text(json.dumps({"machine": "a", "parts": parts}))
    assert set(recorded_fractions.recorded_fractions(tmp_path)) == {"prefill on gpu", "decode on gpu"}


def test_quality_is_what_the_study_recorded_and_nothing_else():
    metrics = measured_quality.study()[measured_quality.PROTOCOL]
    found = measured_quality.recorded(option("EASE + MiniLM map"))
    assert found.warm == metrics["warm"]["EASE top 200"]["ndcg"]
    assert found.cold == metrics["cold"]["MiniLM map"]["ndcg"]
    assert len(found.warm_samples) == len(found.cold_samples) >= 100
    unknown = measured_quality.recorded(option("8B encoder"))
    assert unknown.warm is None and unknown.cold is None
    with pytest.raises(InputError, match="expected one of ml-100k random"):
        measured_quality.recorded(option("EASE"), "hearsay")


def test_a_declined_reranker_has_the_first_stages_quality():
    found = measured_quality.recorded(option("cross-encoder reranks"))
    first = measured_quality.recorded(option("EASE + MiniLM map"))
    case = measured_quality._rerank_case("cross-encoder reranks")
    assert case["weight"] == 0.0 and found.warm == pytest.approx(first.warm) and found.cold == first.cold
    assert found.warm_samples == pytest.approx(first.warm_samples)
    # What was recorded on films says nothing on other catalogues, and other rerankers were not recorded.
    assert measured_quality.recorded(option("8B LLM reranks, logits")).warm is None
