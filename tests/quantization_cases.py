"""Vectors and schemes that the tests of quantization share."""

import numpy as np

from recsys_lib.vectors.quantization import SCHEMES

rng = np.random.default_rng(0)
CLOUD = (rng.standard_normal((300, 21)) * np.linspace(2, 0.2, 21) + np.linspace(-1, 3, 21)).astype(np.float32)
# Schemes that learn nothing from other vectors.
OWN = ("float32", "float16", "bfloat16", "int8", "int8-offset", "int4")
SMALL = {"pq": {"bits": 1, "subspaces": 1}}
VARIANTS = [(s, SMALL.get(s, {})) for s in SCHEMES] + [
    ("int8", {"calibration": "percentile", "percentile": 90.0}),
    ("int8", {"calibration": "mse"}),
    ("int8-offset", {"calibration": "percentile"}),
    ("int8-offset", {"calibration": "mse"}),
    ("int8-dimension", {"calibration": "percentile", "percentile": 80.0}),
    ("int8-dimension", {"calibration": "mse"}),
    ("int4", {"calibration": "min-max"}),
    ("int4", {"group": 1}),
    ("binary", {"centre": False}),
    ("pca", {"dimensions": 1}),
    ("pca-int8", {"dimensions": 1}),
]
NAMES = [f"{s} {o}" if o else s for s, o in VARIANTS]


def distances(v, q):
    """Distances to the decoded vectors, in float64."""
    return np.sqrt(((np.asarray(v, dtype=np.float32).astype(np.float64) - q.dequantize()) ** 2).sum(axis=1))
