"""The artefact: everything that a server needs in one versioned folder, written beside and renamed, and
checked when it is read.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from filelock import FileLock

from recsys_lib.core import storage
from recsys_lib.core.errors import InputError
from recsys_lib.core.files import held, sha256_of, write_atomically
from recsys_lib.encoders import Encoder
from recsys_lib.recommenders import BaseRecommender
from recsys_lib.recommenders import load as load_recommender
from recsys_lib.serving.cold_map import ColdMap
from recsys_lib.vectors.geometry import Geometry

FORMAT = 1
MANIFEST, CURRENT, TRIAL, VERSIONS = "artefact.json", "current", "trial", "versions"
INTERACTIONS = "interactions"
# Versions that stay beside the current one: to go back to, and for servers that still read them.
KEPT = 3
FIT_AGAIN = "fit again with python -m recsys_lib serve"


@dataclass(frozen=True, eq=False)
class Catalogue:
    """The items, in the order of the model's columns: ``ids``, ``titles`` for people, ``labels`` of each, and
    ``texts``, what the encoder reads. ``kind``: film, book or item, for the wording of reasons.
    """

    ids: tuple[str, ...]
    titles: tuple[str, ...]
    labels: tuple[tuple[str, ...], ...]
    texts: tuple[str, ...]
    kind: str = "item"

    @cached_property
    def index(self) -> dict[str, int]:
        """Place of every id."""
        return {identifier: place for place, identifier in enumerate(self.ids)}

    def to_json(self) -> dict[str, Any]:
        """As JSON types."""
        return {
            "ids": list(self.ids),
            "titles": list(self.titles),
            "labels": [list(labels) for labels in self.labels],
            "texts": list(self.texts),
            "kind": self.kind,
        }

    @staticmethod
    def from_json(content: dict[str, Any]) -> Catalogue:
        """What ``to_json`` gave."""
        labels = tuple(tuple(labels) for labels in content["labels"])
        ids, titles, texts = (tuple(content[name]) for name in ("ids", "titles", "texts"))
        return Catalogue(ids, titles, labels, texts, content["kind"])


@dataclass(frozen=True, eq=False)
class Interactions:
    """Who chose what when: parallel arrays ``[n]`` of places in ``user_ids`` and in the catalogue, and
    seconds.

    No pair occurs twice. ``user_ids`` are in order of first appearance.
    """

    user_ids: tuple[str, ...]
    user: np.ndarray
    item: np.ndarray
    time: np.ndarray

    @cached_property
    def users(self) -> dict[str, int]:
        """Place of every user's id."""
        return {identifier: place for place, identifier in enumerate(self.user_ids)}

    def matrix(self, n_items: int, rows: np.ndarray | None = None) -> sp.csr_matrix:
        """Ones, CSR float32 ``[n_users, n_items]``, of all or of the chosen ``rows`` (places or a mask)."""
        user, item = (self.user, self.item) if rows is None else (self.user[rows], self.item[rows])
        ones = np.ones(len(user), dtype=np.float32)
        return sp.csr_matrix((ones, (user, item)), shape=(len(self.user_ids), n_items))


@dataclass(frozen=True, eq=False)
class Artefact:
    """What is served: a fitted recommender, its catalogue and its interactions, with what places new items.

    The weights of the recommender and of the cold map, the interactions and the vectors are memory-mapped
    when loaded, so that workers on one machine share them. Each worker has its own catalogue of texts, what
    ``/similar`` searches (unit vectors, or 8-bit codes beside the mapped ones) and, from the first text on,
    the encoder.

    recommender: scores histories ``[n, n_items]``. raw: text vectors as the encoder gives them, float32
    ``[n_items, d]``; vectors: the same in ``geometry``. encoder_from: an encoder, or the folder from which it
    is loaded when it is first needed: that takes seconds, and most requests need none. cold_map: places items
    that come later. watermark and item_watermark: the last event and the last new item of the log that went
    into it. settings: what a refit repeats. evaluation: how the version was evaluated before it was put in
    place. version: empty until written.
    """

    catalogue: Catalogue
    interactions: Interactions
    recommender: BaseRecommender
    cold_map: ColdMap
    geometry: Geometry
    raw: np.ndarray
    vectors: np.ndarray
    encoder_from: Encoder | Path
    settings: dict[str, Any]
    watermark: int = 0
    item_watermark: int = 0
    evaluation: dict[str, Any] = field(default_factory=dict)
    version: str = ""

    @property
    def n_items(self) -> int:
        return len(self.catalogue.ids)

    @cached_property
    def encoder(self) -> Encoder:
        """What encodes new items and the texts of requests; it remembers none of them.

        Raises:
            InputError: its model is absent, or has changed since.
        """
        if not isinstance(self.encoder_from, Path):
            return self.encoder_from
        from recsys_lib.encoders import saved

        return saved.load(self.encoder_from, cache=False)

    @cached_property
    def encoder_id(self) -> str:
        """What tells the encoder from others, of an artefact that was loaded; else empty."""
        own = self.encoder_from
        return sha256_of(own / storage.META)[:16] if isinstance(own, Path) else ""

    @cached_property
    def histories(self) -> sp.csr_matrix:
        """Every user's items, CSR float32 ``[n_users, n_items]``, in order."""
        return self.interactions.matrix(self.n_items).sorted_indices()

    def history(self, row: int) -> np.ndarray:
        """The items of one user, int64, in order."""
        matrix = self.histories
        return matrix.indices[matrix.indptr[row] : matrix.indptr[row + 1]].astype(np.int64)

    @cached_property
    def counts(self) -> np.ndarray:
        """Interactions of every item, int64 ``[n_items]``."""
        return np.bincount(self.interactions.item, minlength=self.n_items)


# ---------------------------------------------------------------- writing


def write(artefact: Artefact, store: Path) -> str:
    """Write the artefact as a new version into the folder ``store`` and return the version; ``current``
    stays.

    All files are written and flushed beside, then the folder is renamed: a version is whole or absent.

    Raises:
        InputError: a folder that cannot be written, or a part that cannot be saved.
    """
    beside = store / VERSIONS / f".{uuid.uuid4().hex}.part"
    try:
        with _writing(store):
            beside.mkdir(parents=True)
            _write_parts(artefact, beside)
            manifest = _manifest(artefact, beside)
            version = manifest["version"]
            text = json.dumps(manifest, ensure_ascii=False, indent=1) + "\n"
            write_atomically(beside / MANIFEST, text)
            _flush(beside)
            os.replace(beside, store / VERSIONS / version)
            _flush_folder(store / VERSIONS)
    except OSError as error:
        raise InputError(f"{store}: cannot be written ({error.strerror or error}); choose another") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return version


@contextlib.contextmanager
def _writing(store: Path) -> Iterator[None]:
    """One writer at a time; what a killed one left beside is removed."""
    (store / VERSIONS).mkdir(parents=True, exist_ok=True)
    with FileLock(store / ".lock"):
        for left in (store / VERSIONS).glob(".*.part"):
            shutil.rmtree(left, ignore_errors=True)
        yield


def _write_parts(artefact: Artefact, folder: Path) -> None:
    from recsys_lib.encoders import saved

    artefact.recommender.save(folder / "recommender")
    artefact.cold_map.save(folder / "cold_map")
    artefact.geometry.save(folder / "geometry")
    if isinstance(artefact.encoder_from, Path):
        shutil.copytree(artefact.encoder_from, folder / "encoder")
    else:
        saved.save(artefact.encoder_from, folder / "encoder")
    own = artefact.interactions
    arrays = {"user": own.user, "item": own.item, "time": own.time}
    storage.save(folder / INTERACTIONS, INTERACTIONS, arrays, {"user_ids": list(own.user_ids)})
    np.save(folder / "raw.npy", np.asarray(artefact.raw, dtype="<f4"))
    np.save(folder / "vectors.npy", np.asarray(artefact.vectors, dtype="<f4"))
    text = json.dumps(artefact.catalogue.to_json(), ensure_ascii=False)
    (folder / "catalogue.json").write_text(text, encoding="utf-8")


def _files_of(folder: Path) -> list[Path]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path for path in found if path.name not in (MANIFEST, ".lock"))


def _manifest(artefact: Artefact, folder: Path) -> dict[str, Any]:
    sums = {path.relative_to(folder).as_posix(): sha256_of(path) for path in _files_of(folder)}
    now = datetime.datetime.now(datetime.UTC)
    content: dict[str, Any] = {
        "format": FORMAT,
        "created": now.isoformat(timespec="seconds"),
        "settings": artefact.settings,
        "watermark": artefact.watermark,
        "item_watermark": artefact.item_watermark,
        "evaluation": artefact.evaluation,
        "sha256": sums,
    }
    return {"version": f"{now:%Y%m%dT%H%M%S.%f}-{_digest(content)}", **content}


def _digest(content: dict[str, Any]) -> str:
    """What the name of a version ends in: it makes the manifest check itself."""
    own = {key: value for key, value in content.items() if key != "version"}
    return hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()[:12]


def _flush(folder: Path) -> None:
    for path in [*_files_of(folder), folder / MANIFEST]:
        with path.open("rb") as file:
            os.fsync(file.fileno())
    _flush_folder(folder)


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# ---------------------------------------------------------------- reading


def load(store: Path, version: str | None = None, check: bool = True) -> Artefact:
    """The ``version`` (default: the current one) in the folder ``store``; ``check``: compare every checksum.

    Raises:
        InputError: no artefact there, another format, or a damaged file, in one line that names it.
    """
    version = current(store) if version is None else version
    folder = store / VERSIONS / version
    manifest = _read_manifest(folder)
    if check:
        for name, digest in manifest["sha256"].items():
            _check_file(folder / name, digest)
    try:
        arrays, meta = storage.load(folder / INTERACTIONS, INTERACTIONS, mapped=True)
        catalogue = json.loads((folder / "catalogue.json").read_text(encoding="utf-8"))
        return Artefact(
            catalogue=Catalogue.from_json(catalogue),
            interactions=Interactions(
                tuple(meta["user_ids"]), arrays["user"], arrays["item"], arrays["time"]
            ),
            recommender=load_recommender(folder / "recommender"),
            cold_map=ColdMap.load(folder / "cold_map"),
            geometry=Geometry.load(folder / "geometry"),
            raw=np.load(folder / "raw.npy", mmap_mode="r"),
            vectors=np.load(folder / "vectors.npy", mmap_mode="r"),
            encoder_from=folder / "encoder",
            settings=manifest["settings"],
            watermark=manifest["watermark"],
            item_watermark=manifest["item_watermark"],
            evaluation=manifest["evaluation"],
            version=version,
        )
    except InputError:
        raise
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{folder}: damaged ({error}); {FIT_AGAIN}") from error


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: no artefact ({error.strerror}); {FIT_AGAIN}") from error
    except ValueError as error:
        raise InputError(f"{path}: damaged, expected JSON; {FIT_AGAIN}") from error
    found = content.get("format") if isinstance(content, dict) else None
    if found != FORMAT:
        raise InputError(f"{path}: artefact of format {found!r}, expected {FORMAT}; {FIT_AGAIN}")
    keys = ("version", "settings", "watermark", "item_watermark", "evaluation", "sha256")
    missing = [key for key in keys if key not in content]
    if missing:
        raise InputError(f"{path}: damaged, {missing[0]!r} is missing; {FIT_AGAIN}")
    if not folder.name.endswith(f"-{_digest(content)}"):
        raise InputError(f"{path}: damaged, its checksum differs; {FIT_AGAIN}")
    return content


def _check_file(path: Path, digest: str) -> None:
    try:
        found = sha256_of(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); {FIT_AGAIN}") from error
    if found != digest:
        raise InputError(f"{path}: damaged, its checksum differs; {FIT_AGAIN}")


# ---------------------------------------------------------------- which version is served


def current(store: Path) -> str:
    """The version that ``store`` points to.

    Raises:
        InputError: no such folder, or none was put in place.
    """
    return _pointed_at(store, CURRENT)


def on_trial(store: Path) -> str | None:
    """The version whose lists are interleaved with the current one's; None where there is no trial.

    Raises:
        InputError: a damaged file.
    """
    return _pointed_at(store, TRIAL) if (store / TRIAL).exists() else None


def _pointed_at(store: Path, pointer: str) -> str:
    path = store / pointer
    try:
        version = path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise InputError(f"{store}: no artefact there ({reason}); {FIT_AGAIN}") from error
    if not version or "/" in version or version.startswith("."):
        raise InputError(f"{path}: damaged, it names {version!r}; {FIT_AGAIN}")
    return version


def put_in_place(store: Path, version: str) -> None:
    """Point ``store`` at ``version``: one rename, so that a reader sees the old version or the new one.

    A trial ends with it: it compared the version that was in place. Older versions are removed, except the
    ``KEPT`` latest. A server that still reads one keeps its files open.

    Raises:
        InputError: a version that is not there.
    """
    _point(store, CURRENT, version)
    end_trial(store)
    others = sorted(path for path in (store / VERSIONS).iterdir() if not path.name.startswith("."))
    for old in [path for path in others if path.name != version][:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)


def begin_trial(store: Path, version: str) -> None:
    """Let servers interleave the lists of ``version`` with those of the current one.

    Raises:
        InputError: a version that is not there.
    """
    _point(store, TRIAL, version)


def end_trial(store: Path) -> None:
    """End the trial, if there is one."""
    (store / TRIAL).unlink(missing_ok=True)
    _flush_folder(store)


def _point(store: Path, pointer: str, version: str) -> None:
    _read_manifest(store / VERSIONS / version)
    beside = store / f".{pointer}.{uuid.uuid4().hex}.part"
    with beside.open("w", encoding="utf-8") as file:
        file.write(f"{version}\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, store / pointer)
    _flush_folder(store)


@contextlib.contextmanager
def refitting(store: Path) -> Iterator[None]:
    """Hold the place of the one refit that may run on ``store``.

    Raises:
        InputError: another refit runs.
    """
    with held(store / ".refit.lock", f"{store}: another refit is running; wait for it"):
        yield
