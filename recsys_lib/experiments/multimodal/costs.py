"""What each kind costs: seconds of a core for an item, megabytes of the model and of a thousand vectors."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from recsys_lib import encoders
from recsys_lib.core.errors import InputError
from recsys_lib.data import assets, datasets
from recsys_lib.data.datasets import Dataset, locations
from recsys_lib.data.datasets.assemble import text_frame
from recsys_lib.encoders import images
from recsys_lib.experiments.multimodal import blocks

# As wide as the posters of the study.
PICTURE_WIDTH = 112


def sample_pictures(folder: Path, count: int, width: int = PICTURE_WIDTH, seed: int = 0) -> list[Path]:
    """Random parts of scikit-learn's two photographs (CC BY 2.0), ``width`` pixels wide and 3/2 as high, as
    JPEG files in ``folder``.
    """
    from PIL import Image
    from sklearn.datasets import load_sample_image

    rng, paths = np.random.default_rng(seed), []
    photographs = [Image.fromarray(load_sample_image(name)) for name in ("flower.jpg", "china.jpg")]
    for i in range(count):
        photograph = photographs[i % 2]
        side = int(rng.integers(140, 260))
        left = int(rng.integers(0, photograph.width - side))
        top = int(rng.integers(0, photograph.height - side * 3 // 2))
        part = photograph.crop((left, top, left + side, top + side * 3 // 2))
        paths.append(folder / f"{i:03d}.jpg")
        part.resize((width, width * 3 // 2)).save(paths[-1], quality=90)
    return paths


def measure(n_texts: int = 256, n_pictures: int = 64) -> dict[str, Any]:
    """Seconds of processor time for an item and megabytes by kind, on MovieLens-100K; nothing is cached,
    loading a model is not counted.
    """
    data = datasets.load("ml-100k")
    found = {"text": _text(data, n_texts), "image": _image(n_pictures)}
    # Counting takes as long by either links.
    found["graph"] = _timed(
        lambda: blocks.graph_block(data, blocks.DISTRIBUTED), data.n_items, 4 * blocks.GRAPH_DIMENSIONS
    )
    found["metadata"] = _block(blocks.metadata, data)
    return {"found": found | _elsewhere()}


def _elsewhere() -> dict[str, dict[str, float]]:
    """Tags, prices and categories, which MovieLens-100K lacks, where this machine has a catalogue with them.

    Only computing is measured. ``written``: tags that people wrote for an item with a tag, which is labour;
    ``taggers``: how many people wrote them.
    """
    found: dict[str, dict[str, float]] = {}
    of_shop = {"price": partial(_block, blocks.price), "categories": partial(_block, blocks.categories)}
    for load, measures in (
        (blocks.tagged_films_data, {"tags": lambda films: _block(blocks.tags, films) | tags_written()}),
        (blocks.groceries_data, of_shop),
    ):
        try:
            data = load()
            found |= {kind: measure(data) for kind, measure in measures.items()}
        except InputError as error:
            print(f"costs: {error}", flush=True)
    return found


def _block(make: Callable[[Dataset], np.ndarray], data: Dataset) -> dict[str, float]:
    """Seconds and size of a block that is counted, after it was made once."""
    width = make(data).shape[1]
    return _timed(lambda: make(data), data.n_items, 4 * width)


def tags_written(folder: Path | None = None) -> dict[str, float]:
    """Labour behind the tags of MovieLens latest small, from ``tags.csv``: tags for a film that has any,
    films with tags, and people who wrote.

    Raises:
        InputError: no such file.
    """
    path = (folder or locations.locate("ml-latest-small")) / "tags.csv"
    table = text_frame(path, ("userId", "movieId", "tag"))
    films = table["movieId"].nunique()
    return {
        "written": len(table) / films,
        "tagged": float(films),
        "taggers": float(table["userId"].nunique()),
    }


def _timed(work: Callable[[], Any], n: int, bytes_per_item: int, model_bytes: int = 0) -> dict[str, float]:
    start = time.process_time()
    work()
    return {
        "cpu_seconds_per_item": (time.process_time() - start) / n,
        "model_mb": model_bytes / 1e6,
        "mb_per_1000_items": bytes_per_item / 1e3,
    }


def _text(data: Dataset, n: int) -> dict[str, float]:
    encoder = encoders.load("minilm", precision="float32", cache=False)
    texts = data.item_texts()[:n]
    encoder.encode(texts[:2], progress=False)
    return _timed(lambda: encoder.encode(texts, progress=False), n, 4 * encoder.dimension, _weights("minilm"))


def _image(n: int) -> dict[str, float]:
    encoder = images.load(cache=False)
    with tempfile.TemporaryDirectory() as folder:
        paths = sample_pictures(Path(folder), n)
        encoder.encode(paths[:1], progress=False)
        return _timed(
            lambda: encoder.encode(paths, progress=False), n, 4 * encoder.dimension, _weights(images.NAMES[0])
        )


def _weights(name: str) -> int:
    return (assets.locate(name) / "model.safetensors").stat().st_size
