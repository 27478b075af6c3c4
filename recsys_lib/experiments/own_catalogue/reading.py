"""How a user's two files are read: the options of ``datasets.from_csv`` that notebook 90 takes in its parameter ``reading``."""

from __future__ import annotations

import re
from collections.abc import Mapping

from recsys_lib.core.errors import InputError, did_you_mean

# Every option with its default: a separator "" is the one that each header shows.
OPTIONS = {"separator": "", "encoding": "utf-8", "quotes": "check", "match_ids": "exact"}
_ADVICE = re.compile(rf"(pass|needs) ({'|'.join(OPTIONS)})=('[^']*')")
_ALTERNATIVE = re.compile(rf"(\)) or ({'|'.join(OPTIONS)})=('[^']*')")


def check_options(reading: Mapping[str, str] | None) -> dict[str, str]:
    """The options of ``reading`` over the defaults.

    >>> check_options({"quotes": "off"})
    {'separator': '', 'encoding': 'utf-8', 'quotes': 'off', 'match_ids': 'exact'}

    Raises:
        InputError: a name that is not an option, or a value that is not a text.
    """
    given = dict(reading or {})
    for name, value in given.items():
        if name not in OPTIONS:
            hint = did_you_mean(str(name), OPTIONS)
            raise InputError(f"reading={given}: no option {name!r}; {hint}expected names among {', '.join(OPTIONS)}")
        if not isinstance(value, str):
            raise InputError(f"reading={given}: {name}={value!r}, expected a text")
    return OPTIONS | given


def name_parameter(message: str) -> str:
    """A message of ``datasets.from_csv`` with its advice in terms of the notebook's parameter.

    >>> name_parameter("pass match_ids='zeros' if they are the same items")
    "pass reading={'match_ids': 'zeros'} if they are the same items"
    """
    message = _ADVICE.sub(r"\1 reading={'\2': \3}", message)
    return _ALTERNATIVE.sub(r"\1 or reading={'\2': \3}", message)
