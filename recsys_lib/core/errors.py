"""The one exception that means "the user can correct this"."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """A mistake in an argument, a file or the set-up.

    The message is a single line: what was given, what was expected, and the command that corrects it where
    there is one. The command line prints it without a traceback and exits with status 2.
    """

    def _render_traceback_(self) -> list[str]:
        """What IPython shows for it in a notebook: the line itself, since no line of code is at fault."""
        return [f"{type(self).__name__}: {self}"]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint for a message about an unknown name: the nearest known one as a question, or nothing.

    >>> did_you_mean("minlm", ["minilm", "e5"]), did_you_mean("x", ["minilm"])
    ("did you mean 'minilm'? ", '')
    """
    near = difflib.get_close_matches(name, list(known), 1)
    return f"did you mean {near[0]!r}? " if near else ""
