"""Hooks of pytest: how outputs of notebooks are compared, and where notebooks write meanwhile."""

import gc
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from numeric_text import NumericText

# Fixtures, no doctests: as modules of one name two of them could not be collected together.
collect_ignore_glob = ["tests/*/conftest.py"]
# The longest of all tests; and the notebook whose vectors others then find in the cache.
BEGIN_WITH = {"test_on_a_cluster.py", "02_llm_embeddings.ipynb"}


def pytest_configure(config: pytest.Config) -> None:
    """Teach nbval to compare numbers, and keep what notebooks write out of the repository."""
    from nbval.plugin import IPyNbCell

    sanitize = IPyNbCell.sanitize
    if sanitize.__name__ != "sanitize_to_numeric_text":

        def sanitize_to_numeric_text(self, text):
            text = sanitize(self, text)
            return NumericText(text) if isinstance(text, str) else text

        IPyNbCell.sanitize = sanitize_to_numeric_text
    if getattr(config.option, "nbval", False):
        from recsys_lib.experiments.notebook_kernel import kernel_variables

        folder = tempfile.mkdtemp(prefix="recsys-nbval-")
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
        os.environ.update(kernel_variables(Path(folder)))
        runs = Path(config.rootpath) / "runs" / "nbval"
        os.environ.setdefault("RECSYS_FIGURES", str(runs / "figures"))
        # Notebooks tested at the same time may share a record file: nothing reads it here.
        os.environ.setdefault("RECSYS_RECORD", str(runs / f"record-{os.getpid()}.json"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first, so that none is left for one process at the end; the order within a file stays."""
    long = {item.path for item in items if item.get_closest_marker("slow") or item.path.suffix == ".ipynb"}
    first = {path for path in long if path.name in BEGIN_WITH}
    items.sort(key=lambda item: (item.path not in first, item.path not in long))


def pytest_collection_finish() -> None:
    """What is imported by now stays: measurements collect garbage first, and need not search it again."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """A cache folder of the test's own that still finds the fetched assets."""
    from recsys_lib.data import assets

    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "assets").symlink_to(assets.cache_dir() / "assets")
    monkeypatch.setenv("RECSYS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def one_sample(monkeypatch):
    """Comparisons of times take one sample of each, where a test is about what is made of them."""
    from recsys_lib.hardware import timing

    compare, once = timing.compare, {"min_samples": 1, "min_seconds": 0.0, "warmup": 0, "settle": 0.0}
    monkeypatch.setattr(timing, "compare", lambda functions, **options: compare(functions, **options | once))
