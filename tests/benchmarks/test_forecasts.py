"""The record of the forecasts' benchmark: in the form of all records, and read back by the cost model."""

import pytest
import torch

from recsys_lib.benchmarks import forecasts
from recsys_lib.core import records
from recsys_lib.core.errors import InputError
from recsys_lib.cost import validation


def points(kind):
    yield kind, "sum", {"items": 3}, lambda: sum(range(2000)), 2.0, 8.0, "float32"


def test_the_record_has_the_form_that_the_cost_model_reads(tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    monkeypatch.setattr(forecasts, "threads_in_use", dict)
    monkeypatch.setattr(
        forecasts, "ceilings", lambda: {"operations_per_s": {"float32": 1e9}, "read_bytes_per_s": 1e9}
    )
    for group, kind in (("lookups", "lookup"), ("scans", "scan")):
        monkeypatch.setattr(forecasts, group, lambda kind=kind: points(kind))
    for group in ("encodings", "fits"):
        monkeypatch.setattr(forecasts, group, lambda: iter(()))
    file = tmp_path / f"{validation.FRESH}.json"
    table = forecasts.run(file)
    content = records.read(file)
    assert content["schema"] == records.SCHEMA and content["bench"] == "forecasts"
    assert [row["kind"] for row in content["rows"]] == ["lookup", "scan"]
    for row in content["rows"]:
        assert 2 <= len(row["samples"]) <= forecasts.SAMPLES and row["what"] in table
    monkeypatch.setattr(validation, "reference_fractions", lambda folder: {"scan": 0.5})
    # Looked-up entries are the reference of their kind; the scan is bound by its 8 bytes at 1 GB/s.
    (check,) = validation.fresh_checks(tmp_path)
    assert check.name == "scan: sum, items 3" and check.forecast == pytest.approx(16e-9)
    assert check.measured == min(content["rows"][1]["samples"])


def test_more_than_one_thread_is_refused(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    with pytest.raises(InputError, match="expected one thread"):
        forecasts.run()
