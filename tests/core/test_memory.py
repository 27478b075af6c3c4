"""The memory guard names what is needed and what there is."""

import pytest

from recsys_lib.core import memory
from recsys_lib.core.errors import InputError


def test_what_fits_passes_and_what_does_not_is_one_line(monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda: 3 * 2**30)
    memory.require(3 * 2**30, "EASE of 1,000 items")
    with pytest.raises(InputError) as caught:
        memory.require(7.5 * 2**30, "EASE of 31,000 items", "use ItemKNN")
    expected = "EASE of 31,000 items needs 7.5 GiB of memory, 3.0 GiB are available; use ItemKNN"
    assert str(caught.value) == expected


def test_a_container_limit_counts(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    unlimited = memory.available_bytes()
    assert unlimited > 0
    (tmp_path / "memory.current").write_text("900\n")
    (tmp_path / "memory.stat").write_text("anon 500\ninactive_file 300\n")
    (tmp_path / "memory.max").write_text("1000\n")
    assert memory.available_bytes() == 400
    (tmp_path / "memory.max").write_text("800\n")
    assert memory.available_bytes() == 200
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.available_bytes() > 2**20
    (tmp_path / "memory.max").write_text("")
    assert memory.available_bytes() > 2**20
