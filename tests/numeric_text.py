"""Notebook outputs are compared as text in which numbers may differ by rounding, and by nothing more.

Floating-point sums differ in their last bits between processors and thread counts, so an exact comparison of
printed numbers fails on the next machine, while switching comparison off tests nothing. Here words must be
equal, whole numbers must be equal, and decimal fractions may differ by ``RELATIVE`` or by one unit of their
last printed digit, whichever is more, but never by more than a tenth of the expected value.
"""

import re

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
