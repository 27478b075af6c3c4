"""Types and checks of arguments that several commands share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperCommand

from recsys_lib.core.errors import InputError, did_you_mean

DEVICES = ("cpu", "cuda")


class Pair(NamedTuple):
    """The two values of ``-p NAME VALUE``."""

    name: str
    value: str


class PairsCommand(TyperCommand):
    """A command whose option ``-p`` takes two values and may be repeated,
    which Typer's annotations cannot say.
    """

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        for parameter in self.params:
            if "-p" in parameter.opts:
                parameter.nargs = 2


def pair_option(about: str) -> Any:
    """The option ``-p NAME VALUE``."""
    return typer.Option("-p", metavar="NAME VALUE", parser=lambda texts: Pair(*texts), help=about)


def jobs_option(about: str) -> Any:
    """The option ``-j N``, 0 for as many as there are cores."""
    return typer.Option("-j", "--jobs", metavar="N", parser=whole_number(0), help=about)


def whole_number(minimum: int) -> Callable[[str], int]:
    """A parser of whole numbers of at least ``minimum``; its error names the text."""

    def parse(text: str | int) -> int:
        try:
            number = int(text)
        except ValueError:
            number = minimum - 1
        if number < minimum:
            raise ValueError(f"{text!r}: expected a whole number of at least {minimum}")
        return number

    return parse


ENGINES = ("local", "ray")
Engine = Annotated[str, typer.Option(metavar="NAME", help="local, or ray: the workers of a Ray cluster.")]
Workers = Annotated[
    int,
    typer.Option(
        metavar="N",
        parser=whole_number(0),
        help="With --engine ray: how many workers (default: one per core).",
    ),
]
Address = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT",
        help="With --engine ray: a cluster's head node (default: a cluster of this machine's cores).",
    ),
]


def check_engine(engine: str, workers: int, address: str | None) -> bool:
    """Whether the engine is Ray.

    Raises:
        InputError: an unknown engine, or options of Ray without it.
    """
    choose(engine, ENGINES, "engine")
    for name, given in (("--workers", workers), ("--address", address)):
        if given and engine != "ray":
            raise InputError(f"{name} {given}: is for --engine ray; add it, or leave {name} out")
    return engine == "ray"


def choose(value: str, known: Iterable[str], what: str) -> str:
    """``value`` if it is one of ``known``.

    Raises:
        InputError: it is not; a near name is suggested.
    """
    names = list(known)
    if value in names:
        return value
    hint = did_you_mean(value, names)
    raise InputError(f"{what} {value!r} is unknown: {hint}expected one of {', '.join(names)}")


def check_device(device: str) -> None:
    """Refuse an unknown device before torch is imported, and then one that this machine lacks."""
    from recsys_lib.hardware import machine

    if device != "cpu":
        machine.check_device(choose(device, DEVICES, "device"))


def fixed_parameters(pairs: Sequence[Pair]) -> dict[str, str]:
    """``-p`` options as a dict of texts.

    Raises:
        InputError: a parameter that is given twice, or a value that is no finite number.
    """
    texts: dict[str, str] = {}
    for name, text in pairs:
        if name in texts:
            raise InputError(f"-p {name} {text!r}: parameter {name!r} is given twice; expected once")
        check_finite(f"-p {name}", text)
        texts[name] = text
    return texts


def parameter_values(path: Path, texts: Mapping[str, str]) -> dict[str, Any]:
    """Texts of ``-p`` as values of the types that the defaults of the notebook ``path`` have.

    Raises:
        InputError: a parameter that the notebook does not have, or a value of another type.
    """
    from recsys_lib.experiments.parameters import parameters_of, parse_parameter

    defaults = parameters_of(path)
    return {name: parse_parameter(path.stem, defaults, name, text) for name, text in texts.items()}


def check_finite(what: str, text: str) -> None:
    """Refuse NaN and infinity: no parameter of a notebook has a use for them.

    Raises:
        InputError: ``text``, or a number in the list that it is, is not finite.
    """
    for part in text.strip("[] ").split(","):
        word = part.strip()
        try:
            finite = math.isfinite(float(word))
        except ValueError:
            continue  # no number
        if not finite:
            raise InputError(f"{what}={word!r}: expected a finite number")


def check_output_file(path: Path | None) -> None:
    """Refuse a result file that could not be written, before the work is done."""
    from recsys_lib.core.files import check_writable

    if path is not None:
        if not path.name:
            raise InputError(f"{str(path)!r}: is a folder, expected a file")
        check_writable(path)
