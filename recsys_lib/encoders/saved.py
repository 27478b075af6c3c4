"""The choice of an encoder in a folder: what names a trained model with its options,
or all that was fitted.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from recsys_lib import encoders
from recsys_lib.core import storage
from recsys_lib.core.errors import InputError
from recsys_lib.data.assets import table
from recsys_lib.encoders.counts import Genres, Tfidf
from recsys_lib.encoders.static import StaticVectors
from recsys_lib.encoders.transformer import Transformer

KIND = "encoder"
# What is chosen of a transformer. "auto" is stored as what it meant, so that the vectors stay the same on
# another machine.
CHOICES = ("precision", "backend", "pooling", "prefix", "normalize", "max_tokens", "token_budget")


def save(encoder: encoders.Encoder, folder: str | Path) -> None:
    """Write the choice of ``encoder`` to ``folder``. The weights of a model stay where they are: its name and
    their hash are kept.

    Raises:
        InputError: an encoder that cannot be saved, or a folder that cannot be written.
    """
    arrays: dict[str, np.ndarray] = {}
    meta: dict[str, Any] = {"name": encoder.name}
    if isinstance(encoder, Tfidf):
        arrays["idf"], meta["words"] = encoder.vectorizer.idf_, encoder.words
    elif isinstance(encoder, Genres):
        meta["labels"] = encoder.labels
    elif isinstance(encoder, Transformer):
        meta["options"] = {choice: getattr(encoder, choice) for choice in CHOICES}
        meta["identity"] = encoder.options
        if not encoder.files.is_local:
            meta["options"]["revision"] = encoder.files.revision
        elif encoder.name not in table():  # what the project fetches is found again by its name
            meta["name"] = encoder.source
    elif type(encoder) is not StaticVectors:
        raise InputError(
            f"encoder {encoder.name!r} cannot be saved, expected tfidf, genres, wordllama or a transformer"
        )
    storage.save(folder, KIND, arrays, meta)


def load(folder: str | Path, device: str = "auto", cache: bool = True) -> encoders.Encoder:
    """The encoder whose choice ``save`` wrote to ``folder``; ``device`` and ``cache`` are for transformers.

    Raises:
        InputError: no saved encoder, a damaged one, or one whose model is absent or has changed since.
    """
    arrays, meta = storage.load(folder, KIND)
    name = meta["name"]
    if "words" in meta:
        return Tfidf.restore(meta["words"], arrays["idf"])
    if "labels" in meta:
        return Genres(meta["labels"])
    if "options" not in meta:
        return encoders.load(name)
    encoder = encoders.load(name, device=device, cache=cache, **meta["options"])
    changed = [key for key, value in meta["identity"].items() if encoder.options.get(key) != value]
    if changed:
        given, expected = encoder.options.get(changed[0]), meta["identity"][changed[0]]
        raise InputError(
            f"{folder}: the {changed[0]} of {name!r} is now {given!r}, expected {expected!r}; save it again"
        )
    return encoder
