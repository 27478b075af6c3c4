"""Pictures to vectors: ``load(name).encode(paths)`` gives float32 ``[n, d]``, all 0 where a picture was left
out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from recsys_lib.core.errors import InputError
from recsys_lib.core.files import sha256_of
from recsys_lib.core.quiet import quiet
from recsys_lib.data import assets
from recsys_lib.encoders import cache as vector_cache
from recsys_lib.encoders import pictures
from recsys_lib.encoders.pictures import Skipped, Unusable, is_file

NAMES = ("efficientnet-lite0",)
BATCH = 8


@dataclass(frozen=True, eq=False)
class Encoded:
    """Vectors ``[n, d]``, 0 in the rows of pictures that were left out, and which those are."""

    vectors: np.ndarray
    skipped: Skipped

    @property
    def present(self) -> np.ndarray:
        """Which rows have a picture, bool ``[n]``."""
        return np.asarray(self.vectors.any(axis=1))

    @property
    def note(self) -> str:
        return self.skipped.note(len(self.vectors))


class Network(Protocol):
    """What differs between models: one picture to what is read, and many of these to vectors."""

    options: dict[str, Any]
    dimension: int

    def prepare(self, picture: Any) -> np.ndarray: ...

    def vectors(self, batch: np.ndarray) -> np.ndarray: ...


class ImageEncoder:
    """Pictures by their paths to vectors; a picture seen before, told by its bytes, comes from the cache."""

    def __init__(self, name: str, network: Network, cache: bool = True):
        self.name, self.network, self.cache = name, network, cache

    @property
    def options(self) -> dict[str, Any]:
        return self.network.options

    @property
    def dimension(self) -> int:
        return self.network.dimension

    def encode(self, paths: Sequence[str | Path], progress: bool = True) -> Encoded:
        """Vectors of the pictures in ``paths``, in their order; what cannot be read is counted, and its row
        is 0. A blank path is a missing picture.

        Raises:
            InputError: a single path instead of a list; Pillow is not installed.
        """
        if isinstance(paths, str | bytes | Path):
            raise InputError(f"paths={str(paths)[:40]!r}: expected a list of paths, not a single one")
        left_out: dict[str, list[int]] = {}
        found: dict[str, Path] = {}
        keys: list[str] = []
        for row, path in enumerate(paths):
            key, reason = _key(path)
            if reason:
                left_out.setdefault(reason, []).append(row)
            found.setdefault(key, Path(path))
            keys.append(key)
        readable = list(dict.fromkeys(key for key in keys if key))
        vectors, broken = self._encoded(readable, found, progress)
        for row, key in enumerate(keys):
            if key in broken:
                left_out.setdefault(broken[key], []).append(row)
        place = {key: i for i, key in enumerate(readable)}
        rows = [vectors[place[key]] if key else np.zeros(self.dimension, np.float32) for key in keys]
        out = np.stack(rows) if rows else np.empty((0, self.dimension), dtype=np.float32)
        ordered = {reason: left_out[reason] for reason in pictures.REASONS if reason in left_out}
        return Encoded(out, Skipped(ordered))

    def _encoded(
        self, keys: list[str], found: dict[str, Path], progress: bool
    ) -> tuple[np.ndarray, dict[str, str]]:
        """Vectors of the files by their keys, and the reasons of those that are no picture."""
        from tqdm import tqdm

        broken: dict[str, str] = {}
        bar = tqdm(total=len(keys), desc=self.name, unit="picture", disable=None if progress else True)

        def fresh(chunk: list[str]) -> np.ndarray:
            vectors = np.zeros((len(chunk), self.dimension), dtype=np.float32)
            for rows, batch in self._batches(chunk, found, broken):
                vectors[rows] = self.network.vectors(batch)
                bar.update(len(rows))
            return vectors

        with bar:
            if not self.cache:
                return fresh(keys), broken
            vectors = vector_cache.encode_cached(keys, self.options, self.dimension, fresh)
        # The cache knows a picture that was left out by its zeros, but not why: it is read once more.
        for i in np.flatnonzero(~vectors.any(axis=1)):
            if keys[i] not in broken:
                broken |= _reason(keys[i], found[keys[i]])
        return vectors, broken

    def _batches(
        self, keys: list[str], found: dict[str, Path], broken: dict[str, str]
    ) -> Iterator[tuple[list[int], np.ndarray]]:
        rows: list[int] = []
        prepared: list[np.ndarray] = []
        for row, key in enumerate(keys):
            try:
                prepared.append(self.network.prepare(pictures.read(found[key])))
                rows.append(row)
            except Unusable as error:
                broken[key] = error.reason
            if len(rows) == BATCH:
                yield rows, np.stack(prepared)
                rows, prepared = [], []
        if rows:
            yield rows, np.stack(prepared)


def _key(path: str | Path) -> tuple[str, str]:
    """The hash of a file's bytes, and no reason; or no hash and the reason why it was not read."""
    if not is_file(path):
        return "", "missing"
    try:
        if Path(path).stat().st_size > pictures.MAX_BYTES:
            return "", "huge"
        return sha256_of(Path(path)), ""
    except OSError:
        return "", "missing"


def _reason(key: str, path: Path) -> dict[str, str]:
    try:
        pictures.read(path)
    except Unusable as error:
        return {key: error.reason}
    return {}


# ---------------------------------------------------------------- models


class _EfficientNet:
    """EfficientNet-Lite0, 1,280 dimensions: what its classifier of ImageNet reads."""

    def __init__(self, name: str):
        from recsys_lib.encoders import efficientnet

        self.folder, self.module = assets.locate(name), efficientnet
        self.dimension = efficientnet.DIMENSION
        self.options: dict[str, Any] = {"model": name, "precision": "float32", "method": 1}

    @cached_property
    def network(self) -> Any:
        return self.module.EfficientNetLite0.load(self.folder)

    def prepare(self, picture: Any) -> np.ndarray:
        """The central square, 7/8 of the shorter side, as 224 x 224 pixels."""
        from PIL import Image

        size, crop = self.module.SIZE, self.module.CROP
        width, height = picture.size
        side = min(width, height) * crop
        box = ((width - side) / 2, (height - side) / 2, (width + side) / 2, (height + side) / 2)
        return self.module.pixels(np.asarray(picture.resize((size, size), Image.Resampling.BICUBIC, box)))

    def vectors(self, batch: np.ndarray) -> np.ndarray:
        import torch

        return self.network.features(torch.from_numpy(batch)).numpy()


class _Contrastive:
    """A CLIP-like model of a hub or of a folder: the vector that is compared with those of texts."""

    def __init__(self, name: str):
        from transformers import AutoImageProcessor, AutoModel

        with quiet():
            try:
                self.processor = AutoImageProcessor.from_pretrained(assets.resolve_model(name))
                self.model = AutoModel.from_pretrained(assets.resolve_model(name)).eval().float()
            except InputError:
                raise
            except Exception as error:  # transformers raises OSError, ValueError and others for one mistake
                text = " ".join(str(error).split())[:200]
                raise InputError(f"image model {name!r}: cannot be loaded ({text})") from error
        if not hasattr(self.model, "get_image_features"):
            kind = type(self.model).__name__
            raise InputError(f"image model {name!r}: {kind} reads no pictures; expected a CLIP-like model")
        self.dimension = self._probe()
        self.options: dict[str, Any] = {"model": name, "precision": "float32", "weights": self._fingerprint()}

    def _probe(self) -> int:
        from PIL import Image

        return self.vectors(self.prepare(Image.new("RGB", (8, 8)))[None]).shape[1]

    def _fingerprint(self) -> str:
        """A hash of the weights: two folders of one name are two models."""
        digest = hashlib.sha256(str(self.processor.to_dict()).encode())
        for tensor in self.model.state_dict().values():
            digest.update(tensor.contiguous().numpy().tobytes())
        return digest.hexdigest()

    def prepare(self, picture: Any) -> np.ndarray:
        """As the model's own processor does."""
        return np.asarray(self.processor(images=picture, return_tensors="np")["pixel_values"][0])

    def vectors(self, batch: np.ndarray) -> np.ndarray:
        import torch

        with torch.inference_mode():
            out = self.model.get_image_features(pixel_values=torch.from_numpy(batch))
        return getattr(out, "pooler_output", out).numpy()


def load(name: str = "efficientnet-lite0", cache: bool = True) -> ImageEncoder:
    """An image encoder by name: ``efficientnet-lite0``, or a hub id or local folder of a CLIP-like model.

    ``cache``: whether vectors are remembered on disk, by the bytes of the pictures.

    Raises:
        InputError: a model that was not fetched, is unknown, or reads no pictures.
    """
    network = _EfficientNet(name) if name in NAMES else _Contrastive(name)
    return ImageEncoder(name, network, cache)


def classify(paths: Sequence[str | Path], top: int = 5) -> np.ndarray:
    """The ``top`` classes of ImageNet (0 to 999) that EfficientNet-Lite0 sees in each picture, ``[n, top]``;
    -1 where a picture was left out.
    """
    import torch

    encoder = load()
    encoded = encoder.encode(paths, progress=False)
    logits = encoder.network.network.classify(torch.from_numpy(encoded.vectors))  # type: ignore[attr-defined]
    best = logits.topk(top, dim=1).indices.numpy()
    return np.where(encoded.present[:, None], best, -1)
