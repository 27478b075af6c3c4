"""A column of file paths in a user's items file: their pictures as one more source of vectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from recsys_lib.data.datasets import Dataset
from recsys_lib.encoders import images

COLUMN = "image"
NAME = "pictures (EfficientNet-Lite0)"


def vectors_of(data: Dataset, folder: Path) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Vectors ``[n_items, 1280]`` of the pictures that the column ``image`` names, by ``NAME``, and what to
    say of them: how many were left out and why.

    Paths are below ``folder``, that of the items file, or whole. Rows of items without a readable picture are
    0. Nothing, but the note, where no picture can be read; nothing at all where there is no such column.

    Raises:
        InputError: the image encoder was not fetched, or Pillow is not installed.
    """
    if COLUMN not in data.items.columns:
        return {}, ()
    texts = data.items[COLUMN].astype("string").fillna("").tolist()
    paths: list[str | Path] = [folder / text.strip() if text.strip() else "" for text in texts]
    named = [path for path in paths if images.is_file(path)]
    if not named:
        return {}, (
            f"The column {COLUMN} names no file on this machine: pictures take no part (expected paths below "
            f"the items file's folder).",
        )
    found = images.load().encode(paths)
    notes = (found.note,) if found.note else ()
    return ({NAME: found.vectors} if found.present.any() else {}), notes
