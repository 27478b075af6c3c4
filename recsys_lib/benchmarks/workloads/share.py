"""The record of a user's own machine as others may read it: ``measure --share``.

It says exactly which processor was measured, and nothing of who measured it: no host name, no user name, no
path. ``check`` refuses what does; the tests hold every committed record of a machine to it.
"""

from __future__ import annotations

import getpass
import platform
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from recsys_lib.benchmarks.workloads import record
from recsys_lib.core import paths, records
from recsys_lib.core.errors import InputError
from recsys_lib.core.files import check_writable
from recsys_lib.hardware import machine

# What an environment keeps, and what must be there for a reader to know the machine.
KEPT = (
    "processor", "identification", "architecture", "flags", "cores_logical", "cores_physical", "caches",
    "governor", "memory_bytes", "gpus", "driver", "cuda", "system", "python", "versions", "threads",
)  # fmt: skip
NEEDED = ("processor", "architecture", "flags", "cores_logical", "caches", "memory_bytes", "system")
# The same in all parts: one file is one machine.
ONE_MACHINE = ("processor", "identification", "architecture", "flags", "cores_logical")
# A path of a file system, an address of the network, one of mail.
PRIVATE = {
    "a path": re.compile(r"(?<![\w.:/])(?:~|/[\w.-]+)/[\w.-]+|\b[A-Za-z]:\\|\\\\\w"),
    "a network address": re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}\b|\b[\w.-]+@[\w-]+\.\w+"),
}
# Names that say nothing of a host or a user, though they may be theirs.
COMMON = {"root", "user", "localhost", "cpu", "linux", "admin", "runner", "ubuntu", "x86_64"}
RECORDS = "data/measurements"


def share(device: str = "cpu", name: str = "", folder: Path | None = None, out: Path | None = None) -> str:
    """Write this machine's record for others to read, and return the text of the pull request.

    It is written over the record in a checkout of the repository; without one, into the current folder, or
    into ``out``.

    Raises:
        InputError: nothing was measured yet, parts of two machines, or a record that tells too much or too
            little.
    """
    name = name or record.machine_name(device)
    source = (folder or paths.MEASUREMENTS) / f"{name}.json"
    if not source.is_file():
        raise InputError(f"{source.name}: nothing was measured yet; run python -m recsys_lib measure first")
    content = cleaned(records.read(source))
    check(content, source.name)
    measured = next(iter(content["parts"].values()))["environment"]
    if other := _different(measured, machine.describe()):
        raise InputError(
            f"{source.name}: measured on another machine than this one ({other}); run python -m recsys_lib "
            "measure --name with an own name, and share that"
        )
    target = (out or (source.parent if paths.IS_CHECKOUT or folder else Path.cwd())) / source.name
    check_writable(target)
    records.write(target, content, indent=None)
    return f"{target}\n\n{pull_request(content)}"


def cleaned(content: dict[str, Any]) -> dict[str, Any]:
    """A machine's record with those fields of its environments that are ``KEPT``, and the system's version
    without what its builder added.
    """
    parts = {}
    for part, measured in content["parts"].items():
        environment = {key: measured["environment"][key] for key in KEPT if key in measured["environment"]}
        found = re.match(r"\w+ \d+(\.\d+)?", str(environment.get("system", "")))
        parts[part] = measured | {"environment": environment | {"system": found[0] if found else "unknown"}}
    return content | {"parts": parts}


def check(content: dict[str, Any], name: str) -> None:
    """Refuse a record that tells who measured or does not tell what.

    Raises:
        InputError: none of the forms, no machine's record, an environment that lacks a field or differs
            between parts, or a text with a path, an address, this host's or this user's name.
    """
    records.check(content, name)
    if not isinstance(content, dict) or not {"machine", "parts"} <= content.keys() or not content["parts"]:
        raise InputError(f"{name}: expected the record of a machine, with at least one part")
    for part, measured in content["parts"].items():
        environment = measured["environment"]
        missing = [key for key in NEEDED if not environment.get(key)]
        if missing:
            raise InputError(f"{name}, part {part}: environment without {', '.join(missing)}")
    first_part, first = next(iter(content["parts"].items()))
    for part, measured in content["parts"].items():
        if other := _different(measured["environment"], first["environment"]):
            raise InputError(
                f"{name}: part {part} was measured on another machine than {first_part} ({other}); measure "
                "all parts under an own --name"
            )
    for where, text in _texts(content):
        if told := _tells(text):
            raise InputError(f"{name}, {where}: {text!r} holds {told}; take it out")


def _different(environment: dict[str, Any], other: dict[str, Any]) -> str:
    """The first field in which two environments are of different machines; empty for none. Older records lack
    some.
    """
    for key in ONE_MACHINE:
        here, there = environment.get(key), other.get(key)
        if here != there and None not in (here, there):
            return f"{key} {here!r}, not {there!r}"
    return ""


def _texts(value: Any, where: str = "") -> Iterator[tuple[str, str]]:
    """All texts in a JSON value, keys too, with where they stand."""
    if isinstance(value, str):
        yield where, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield where or "keys", key
            yield from _texts(inner, f"{where}.{key}".lstrip("."))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _texts(inner, f"{where}[{number}]")


def _tells(text: str) -> str:
    """What of its writer a text gives away; empty for nothing."""
    for what, pattern in PRIVATE.items():
        if pattern.search(text):
            return what
    for what, own in (("this host's name", platform.node()), ("this user's name", _user())):
        if len(own) > 2 and own.lower() not in COMMON and re.search(rf"\b{re.escape(own)}\b", text, re.I):
            return what
    return ""


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a user without a name
        return ""


# ---------------------------------------------------------------- the pull request


def pull_request(content: dict[str, Any]) -> str:
    """Title and body, with a table of what was measured, and where the file goes."""
    environment = next(iter(content["parts"].values()))["environment"]
    told = f" ({environment['identification']})" if environment.get("identification") else ""
    gpus = ", ".join(gpu["name"] for gpu in environment.get("gpus", [])) or "no GPU"
    what = f"{environment['processor']}, {environment['cores_logical']} cores"
    lines = [
        f"Title: Add the record of {what}",
        "",
        f"{environment['processor']}{told}, {environment['architecture']}, "
        f"{environment['cores_logical']} cores, {environment['memory_bytes'] / 2**30:.0f} GiB, {gpus}, "
        f"{environment['system']}. Instructions: {', '.join(environment['flags'])}.",
        "",
        "| part | measured | device | rows | seconds |",
        "|---|---|---|---:|---:|",
    ]
    for part in record.PARTS:
        measured = content["parts"].get(part)
        cells = (
            f"{measured['date']} | {measured['device']} | {len(measured['rows'])} | {measured['seconds']:.0f}"
            if measured
            else "not measured | | |"
        )
        lines.append(f"| {part} | {cells} |")
    lines += [
        "",
        "Measured by `python -m recsys_lib measure` on a machine that did nothing else; written by `measure "
        "--share`, which leaves out host name, user name and paths.",
        "",
        f"Put the file at {RECORDS}/{content['machine']}.json, run `python -m recsys_lib run --in-place 15`, "
        "and commit both.",
    ]
    return "\n".join(lines)
