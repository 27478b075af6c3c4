"""All commands, and what the user sees when one fails: one line on stderr and an exit status,
never a traceback.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import typer
from typer._click.exceptions import BadOptionUsage, BadParameter, MissingParameter, NoSuchOption, UsageError

from recsys_lib.cli.arguments import PairsCommand
from recsys_lib.cli.bench import bench
from recsys_lib.cli.encode import encode
from recsys_lib.cli.fetch import fetch
from recsys_lib.cli.finetune import finetune
from recsys_lib.cli.lab import lab
from recsys_lib.cli.measure import measure
from recsys_lib.cli.probe import probe
from recsys_lib.cli.recommend import recommend
from recsys_lib.cli.report import report
from recsys_lib.cli.run import run
from recsys_lib.cli.serve import refit, serve, trial
from recsys_lib.cli.study import study
from recsys_lib.cli.sweep import sweep
from recsys_lib.core.errors import InputError, did_you_mean

PROGRAM = "python -m recsys_lib"
ABOUT = "Recommenders built on language models, and the hardware they cost."
COMMANDS: dict[str, Callable[..., int]] = {
    "fetch": fetch,
    "run": run,
    "recommend": recommend,
    "sweep": sweep,
    "study": study,
    "probe": probe,
    "measure": measure,
    "encode": encode,
    "finetune": finetune,
    "bench": bench,
    "serve": serve,
    "refit": refit,
    "trial": trial,
    "report": report,
    "lab": lab,
}
# What a shell reports of a program that Ctrl-C, or a closed pipe, ended.
INTERRUPTED, PIPE_CLOSED = 130, 141


def application() -> typer.Typer:
    """The Typer application; its help has colours and boxes on a terminal and is plain text elsewhere."""
    app = typer.Typer(
        help=ABOUT,
        add_completion=False,
        rich_markup_mode="rich" if sys.stdout.isatty() and not os.environ.get("NO_COLOR") else None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for name, command in COMMANDS.items():
        app.command(name, cls=PairsCommand)(command)
    return app


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit status.

    0: done; 1: a notebook failed; 2: a user's mistake, said in one line on stderr; 130: interrupted; 141:
    stdout was closed.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    name = arguments[0] if arguments else ""
    try:
        _check_command(name)
        status = _invoke(arguments)
        sys.stdout.flush()
        return status
    except UsageError as error:
        return _fail(name, f"{usage_message(error)}; see {_help(name)}")
    except InputError as error:
        return _fail(name, str(error))
    except BrokenPipeError:
        # What is left in the buffer has nowhere to go, and must not fail once more when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("recsys_lib"):
            raise
        missing = f"package {error.name!r} is not installed"
        return _fail(
            name, f"{missing}: run python -m pip install 'recsys_lib[notebooks]', or -r requirements.txt"
        )
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _fail(name, f"{where}{error.strerror or error}")
    except MemoryError as error:
        wanted = f" ({error})" if str(error) else ""
        return _fail(
            name, f"memory is exhausted{wanted}: give smaller parameters, or use a machine with more memory"
        )
    except KeyboardInterrupt:
        return _fail(name, "interrupted; what had finished is kept", INTERRUPTED)


def _check_command(name: str) -> None:
    """Refuse an unknown command with the nearest known one."""
    known = ", ".join(COMMANDS)
    if not name:
        raise UsageError(f"argument COMMAND is missing: expected one of {known}")
    if name not in COMMANDS and not name.startswith("-"):
        hint = did_you_mean(name, COMMANDS)
        raise UsageError(f"command {name!r} is unknown: {hint}expected one of {known}")


def _invoke(arguments: list[str]) -> int:
    command = typer.main.get_command(application())
    try:
        with command.make_context(PROGRAM, list(arguments)) as context:
            return command.invoke(context) or 0
    except typer.Exit as exit_:
        return exit_.exit_code


def usage_message(error: UsageError) -> str:
    """What is wrong with the arguments, naming the argument, as part of one line."""
    if isinstance(error, NoSuchOption):
        near = f": did you mean {sorted(error.possibilities)[0]!r}?" if error.possibilities else ""
        return f"option {error.option_name!r} is unknown{near}"
    if isinstance(error, BadOptionUsage):
        values = "two values, NAME VALUE" if error.option_name == "-p" else "another number of values"
        return f"option {error.option_name!r}: expected {values}"
    if isinstance(error, BadParameter) and error.param is not None:
        option = error.param.param_type_name == "option"
        name = "/".join(error.param.opts) if option else error.param.metavar or f"{error.param.name}".upper()
        if isinstance(error, MissingParameter):
            return f"argument {name} is missing"
        return f"argument {name}: {error.message.removeprefix('Value error, ')}"
    return (error.message[:1].lower() + error.message[1:]).rstrip(".")


def _help(name: str) -> str:
    return f"{PROGRAM} {name} --help" if name in COMMANDS else f"{PROGRAM} --help"


def _fail(name: str, message: str, status: int = 2) -> int:
    """Print one line on stderr, whatever the message holds: control characters are escaped."""
    prefix = f"recsys_lib {name}" if name in COMMANDS else "recsys_lib"
    words = " ".join(message.split())
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in words)
    print(f"{prefix}: {line}", file=sys.stderr)
    return status
