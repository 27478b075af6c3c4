"""Vectors as another processor makes them: off by some ten-millionths of their length.

Python imports this module when it starts, if its folder is on PYTHONPATH; `.ci/perturbed` puts it there.
RECSYS_PERTURB holds the seed of the noise.
"""

import importlib.abc
import importlib.machinery
import os
import sys
from typing import Any

# MiniLM's and e5's vectors of 300 films differ by 7e-7 and 8e-7 of their length between AVX-512 and AVX2.
NOISE = 1e-6
TARGET = "recsys_lib.encoders.cache"


def perturbed(encode_cached: Any) -> Any:
    import numpy as np

    def encode(*arguments: Any, **named: Any) -> Any:
        vectors = encode_cached(*arguments, **named)
        noise = np.random.default_rng(int(os.environ["RECSYS_PERTURB"])).standard_normal(vectors.shape)
        size = NOISE * np.linalg.norm(vectors, axis=1, keepdims=True) / max(vectors.shape[1], 1) ** 0.5
        return (vectors + size * noise).astype(vectors.dtype)

    return encode


class Finder(importlib.abc.MetaPathFinder):
    """Finds one module, and replaces its ``encode_cached`` after the module has run."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        if name != TARGET:
            return None
        found = importlib.machinery.PathFinder.find_spec(name, path)
        if found is None or found.loader is None:
            return None
        execute = found.loader.exec_module

        def execute_and_perturb(module: Any) -> None:
            execute(module)
            module.encode_cached = perturbed(module.encode_cached)

        found.loader.exec_module = execute_and_perturb  # type: ignore[method-assign]
        return found


if "RECSYS_PERTURB" in os.environ:
    sys.meta_path.insert(0, Finder())
