"""Fixtures of more than one file."""

import pytest

from recsys_lib import assets


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """A cache folder of the test's own that still finds the fetched assets."""
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "assets").symlink_to(assets.cache_dir() / "assets")
    monkeypatch.setenv("RECSYS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"
