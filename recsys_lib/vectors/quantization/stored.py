"""Quantized vectors on disk: arrays and scheme are written, and the decoder is found again by the scheme."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from recsys_lib.core import storage
from recsys_lib.core.errors import InputError
from recsys_lib.vectors.quantization import binary, floats, integers, pca, product
from recsys_lib.vectors.quantization.arrays import aligned
from recsys_lib.vectors.quantization.codes import QuantizedVectors

KIND = "quantized vectors"
DECODERS: dict[str, Callable[..., np.ndarray]] = {
    "float32": floats.CODERS["float32"][1],
    "float16": floats.CODERS["float16"][1],
    "bfloat16": floats.CODERS["bfloat16"][1],
    "int8": integers.from_int8,
    "int8-offset": integers.from_int8_offset,
    "int8-dimension": integers.from_dimensions,
    "int4": integers.from_int4,
    "binary": binary.from_bits,
    "pq": product.from_centroids,
    "pca": pca.from_coordinates,
    "pca-int8": pca.from_coordinates,
}


def parts(q: QuantizedVectors) -> tuple[dict[str, np.ndarray], dict[str, object]]:
    """The arrays and the JSON values that make ``q``."""
    arrays = {name: getattr(q, name) for name in ("codes", "scale", "offset", "errors", "codebook")}
    meta: dict[str, object] = {
        "scheme": q.scheme,
        "dimension": int(q.dimension),
        "shared_bytes": int(q.shared_bytes),
    }
    if isinstance(q.decoder, partial):
        meta["options"] = {name: int(value) for name, value in q.decoder.keywords.items()}
    return arrays, meta


def from_parts(arrays: dict[str, np.ndarray], meta: dict) -> QuantizedVectors:
    """What ``parts`` took apart."""
    scheme = meta["scheme"]
    if scheme not in DECODERS:
        raise InputError(f"saved codes have scheme {scheme!r}: expected one of {', '.join(DECODERS)}")
    decoder = DECODERS[scheme]
    if scheme == "pq" and arrays["codes"].ndim == 3:
        decoder = product.from_groups
    if meta.get("options"):
        decoder = partial(decoder, **meta["options"])
    # As quantizing leaves them: wide reads of the kernel then take one line of the cache each.
    codes = aligned(arrays["codes"].shape, arrays["codes"].dtype.type)
    codes[...] = arrays["codes"]
    return QuantizedVectors(
        scheme, codes, meta["dimension"], arrays["scale"], arrays["offset"], arrays["errors"],
        arrays["codebook"],
        meta["shared_bytes"], decoder,
    )  # fmt: skip


def save(q: QuantizedVectors, folder: str | Path) -> None:
    """See ``QuantizedVectors.save``."""
    storage.save(folder, KIND, *parts(q))


def load(folder: str | Path) -> QuantizedVectors:
    """See ``QuantizedVectors.load``."""
    return from_parts(*storage.load(folder, KIND))
