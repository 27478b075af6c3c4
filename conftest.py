"""Notebook outputs are compared as text in which numbers may differ by rounding, and by nothing more.

Floating-point sums differ in their last bits between processors and thread counts, so an exact comparison of
printed numbers fails on the next machine, while switching comparison off tests nothing. Here words must be
equal, whole numbers must be equal, and decimal fractions may differ by ``RELATIVE`` or by one unit of their
last printed digit, whichever is more, but never by more than a tenth of the expected value.
"""

import os
import re
import shutil
import tempfile
from pathlib import Path

import pytest

RELATIVE = 1e-4
NUMBER = re.compile(r"(?<![\w.])[-+−]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?", re.IGNORECASE)


def same_number(expected: str, found: str) -> bool:
    """Whether two printed numbers agree; whole numbers only if equal."""
    if expected == found:
        return True
    if not ("." in expected or "e" in expected.lower()) or not ("." in found or "e" in found.lower()):
        return False
    a, b = (float(text.replace(",", "").replace("−", "-")) for text in (expected, found))
    mantissa, _, exponent = expected.lower().partition("e")
    last_digit = 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))
    # A whole unit: 0.12499 is printed as 0.12 here, 0.12501 as 0.13 there.
    return abs(a - b) <= min(max(RELATIVE * abs(a), 1.001 * last_digit), 0.1 * abs(a))


def same_text(expected: str, found: str) -> bool:
    """Whether two outputs say the same: equal words and white space between numbers that agree."""
    if NUMBER.sub("#", expected) != NUMBER.sub("#", found):
        return False
    pairs = zip(NUMBER.findall(expected), NUMBER.findall(found), strict=True)
    return all(same_number(a, b) for a, b in pairs)


class NumericText(str):
    """Text that equals another when ``same_text`` says so; nbval compares the reference with ``!=``."""

    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and same_text(str(self), str(other))

    def __ne__(self, other: object) -> bool:
        return not self == other


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


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """A cache folder of the test's own that still finds the fetched assets."""
    from recsys_lib.data import assets

    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "assets").symlink_to(assets.cache_dir() / "assets")
    monkeypatch.setenv("RECSYS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"
