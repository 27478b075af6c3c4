"""The one exception that means "the user can correct this"."""


class InputError(ValueError):
    """A mistake in an argument, a file or the set-up.

    The message is a single line: what was given, what was expected, and the command that corrects it where there is one.
    The command line prints it without a traceback and exits with status 2.
    """

    def _render_traceback_(self) -> list[str]:
        """What IPython shows for it in a notebook: the line itself, since no line of code is at fault."""
        return [f"{type(self).__name__}: {self}"]
