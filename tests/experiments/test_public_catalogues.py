"""The study of public catalogues: what it records and the table made of it."""

import json

import pytest

from recsys_lib.core import records
from recsys_lib.core.errors import InputError
from recsys_lib.data import datasets
from recsys_lib.experiments.own_catalogue import answer, public
from recsys_lib.reporting import catalogues


def test_a_catalogue_is_recorded_without_its_content(tmp_path, monkeypatch):
    datasets.write_sample(tmp_path / "shop", 60, 40, seed=1, sales=12)
    one = public.PublicCatalogue("interactions.csv", "items.csv", "invented")
    monkeypatch.setattr(public, "PUBLIC", {"shop": one, "absent": one})
    find = answer.find_answer
    monkeypatch.setattr(answer, "find_answer", lambda *files: find(*files, encoder="", trials=1, draws=2))
    record = tmp_path / "own-study.json"
    found = public.record_public(tmp_path, record)
    assert [one["parameters"] for one in found] == [{"catalogue": "shop", "source": "invented"}]
    assert records.runs_of(record)[0]["metrics"] == json.loads(json.dumps(found[0]["metrics"]))
    text = record.read_text(encoding="utf-8")
    assert "SKU-" not in text and "kunde-" not in text and str(tmp_path) not in text
    table = catalogues.table(records.runs_of(record))
    assert table.loc["shop", "items"] == 40 and table.loc["shop", "serve"]
    with pytest.raises(InputError, match="expected at least one of the folders shop, absent"):
        public.record_public(tmp_path / "elsewhere", record)
