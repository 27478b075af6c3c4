"""Vectors, codes and kernels that searches are tested with."""

import ctypes
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import strategies as st

from recsys_lib.kernels import compiler
from recsys_lib.vectors import quantization, search
from recsys_lib.vectors.search import kernel

BACKENDS = ("kernel", "vectors", "portable", "torch")
SCHEMES = {
    "float32": {}, "float16": {}, "bfloat16": {}, "int8": {}, "int8-offset": {}, "int8-dimension": {},
    "int4": {}, "int4 groups": {"group": 3}, "pq": {"bits": 4, "subspaces": 3}, "binary": {}, "pca": {},
    "pca-int8": {},
}  # fmt: skip


@lru_cache
def portable_library():
    """The kernel as on a processor without wide vectors of 8-bit numbers."""
    if kernel.load() is None:
        return None
    path = Path(kernel.load()._name).with_suffix(".portable.so")
    compiler.compile_to(path, compiler.SEARCH_SOURCE, (*kernel.FLAGS, compiler.NATIVE, "-DPORTABLE"))
    return ctypes.CDLL(str(path))


def use(backend: str, patch: pytest.MonkeyPatch) -> None:
    libraries = {"portable": portable_library, "torch": lambda: None}
    library = libraries.get(backend, kernel.load)()
    if backend == "vectors":  # as on a processor without matrix units
        patch.setattr(kernel, "matrix_units", lambda: False)
    if library is None and backend != "torch":
        pytest.skip("no C compiler here")
    patch.setattr(kernel, "load", lambda: library)
    patch.setattr(kernel, "CACHED", 0)  # shorter codes of few items are read too


def quantized(vectors, scheme):
    options = dict(SCHEMES.get(scheme, {}))
    for name in set(options) & {"group", "subspaces"}:
        options[name] = min(options[name], vectors.shape[1])
    # A codebook of 16 entries is learned from at least as many vectors.
    train = np.tile(vectors, (-(-16 // len(vectors)), 1)) if scheme == "pq" else vectors
    return quantization.calibrate(train, scheme.split()[0], **options).quantize(vectors)


def same(found: search.Found, expected: tuple[np.ndarray, np.ndarray]) -> bool:
    """Equal ids, and scores equal to the last bit (-0 counts as 0)."""
    return np.array_equal(found.ids, expected[0]) and np.array_equal(found.scores, expected[1])


SHAPES = (
    "random",
    "clustered",
    "duplicated",
    "nearly equal",
    "with zeros",
    "of all lengths",
    "one direction",
)


def vectors_of(shape: str, n: int, d: int, rng: np.random.Generator) -> np.ndarray:
    v = rng.standard_normal((n, d))
    if shape == "clustered":
        v = rng.standard_normal((3, d))[rng.integers(0, 3, n)] + 1e-3 * v
    if shape == "duplicated":
        v = v[rng.integers(0, max(1, n // 3), n)]
    if shape == "nearly equal":  # a unit in the last place apart
        v = np.nextafter(
            np.tile(v[:1], (n, 1)).astype(np.float32), rng.choice([-9, 9], (n, d)).astype(np.float32)
        )
    if shape == "with zeros":
        v[rng.random(n) < 0.4] = 0
    if shape == "of all lengths":
        v *= 10.0 ** rng.uniform(-12, 12, (n, 1))
    if shape == "one direction":
        v = 1 + 1e-4 * v
    return np.asarray(v, dtype=np.float32)


@st.composite
def searches(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n, d = draw(st.integers(1, 70)), draw(st.sampled_from([1, 2, 3, 4, 5, 8, 17, 64, 67, 130]))
    items = vectors_of(draw(st.sampled_from(SHAPES)), n, d, rng)
    n_queries = draw(st.sampled_from([0, 1, 2, 3, 4, 5, 16, 17, 50]))
    queries = (
        vectors_of(draw(st.sampled_from(SHAPES)), n_queries, d, rng)
        if n_queries
        else np.empty((0, d), np.float32)
    )
    if draw(st.booleans()) and n_queries:  # queries that are items
        queries = items[rng.integers(0, n, n_queries)]
    scale = draw(st.sampled_from([1.0, 1.0, 1.0, 1e-37, 1e-20, 1e-3, 1e5]))
    k = draw(st.one_of(st.integers(1, n), st.just(n)))
    share = draw(st.sampled_from([None, 0.1, 0.9, 1.0]))
    exclude = None if share is None else [np.flatnonzero(rng.random(n) < share) for _ in range(n_queries)]
    return items * np.float32(scale), queries, k, exclude
