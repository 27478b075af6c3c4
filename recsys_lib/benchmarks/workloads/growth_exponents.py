"""Time and memory against size, and the exponent with which each grows beside the expected one.

A series: what grows, the sizes, seconds and bytes at each, and ``expected``: the same numbers as the counted
work (operations, or bytes where those decide) has them. Both exponents are slopes over the largest sizes,
where constant costs no longer show.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from recsys_lib import cost, encoders
from recsys_lib.benchmarks.workloads import points
from recsys_lib.core.errors import InputError
from recsys_lib.hardware.timing import Measurement, measure, peak_memory
from recsys_lib.recommenders import EASE
from recsys_lib.vectors import quantization
from recsys_lib.vectors.search import Index

FEW: dict[str, Any] = {"min_samples": 3, "min_seconds": 0.15, "max_seconds": 6.0}


def exponent(sizes: Sequence[float], values: Sequence[float], last: int = 3) -> float:
    """The slope of log value over log size by least squares over the ``last`` largest sizes.

    >>> round(exponent([1, 10, 100, 1000], [5, 10, 1000, 100000]), 6)
    2.0

    Raises:
        InputError: fewer than two sizes, or a size or value that is not positive.
    """
    order = np.argsort(sizes)[-last:]
    x, y = np.asarray(sizes, dtype=float)[order], np.asarray(values, dtype=float)[order]
    if len(x) < 2 or not (x > 0).all() or not (y > 0).all():
        raise InputError(f"sizes {list(sizes)}, values {list(values)}: expected at least two, all above 0")
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def series(
    workload: str, against: str, sizes: Sequence[int], measurements: Sequence[Measurement],
    expected: Sequence[float], n_bytes: Sequence[float], expected_bytes: Sequence[float], device: str = "cpu",
) -> dict[str, Any]:  # fmt: skip
    """One series, JSON-ready; ``n_bytes``: measured, ``expected_bytes``:
    counted, both empty where memory is not the question.
    """
    return {
        "workload": workload, "against": against, "device": device, "sizes": list(sizes),
        "expected": [float(v) for v in expected],
        "bytes": [float(v) for v in n_bytes], "expected_bytes": [float(v) for v in expected_bytes],
        "measurements": [m.to_dict() for m in measurements],
    }  # fmt: skip


def exponents(found: dict[str, Any]) -> dict[str, float | None]:
    """Fitted and expected exponents of a series: of time, and of memory where it was measured."""
    seconds = [m["p50"] for m in found["measurements"]]
    # Small work reuses memory the process already has, and adds nothing that could be seen.
    seen = [
        (n, b, e)
        for n, b, e in zip(found["sizes"], found["bytes"], found["expected_bytes"], strict=False)
        if b > 0
    ]
    sizes, held, counted = zip(*seen, strict=True) if len(seen) > 1 else ((), (), ())
    return {
        "time": exponent(found["sizes"], seconds),
        "time expected": exponent(found["sizes"], found["expected"]),
        "memory": exponent(sizes, held) if held else None,
        "memory expected": exponent(sizes, counted) if held else None,
    }


def catalogue(
    scheme: str, sizes: Sequence[int] = (1_000, 10_000, 100_000, 1_000_000), dimension: int = 384
) -> dict[str, Any]:
    """One query's exact top 10 over catalogues of these sizes; memory: what the codes occupy."""
    timed, held, counted = [], [], []
    vectors = points.random_vectors(max(sizes), dimension)
    query = points.random_vectors(1, dimension, seed=1)
    for n in sizes:
        index = Index.build(quantization.quantize(vectors[:n], scheme))
        timed.append(_timed(partial(index.top_k, query, 10)))
        q = index.quantized
        held.append(q.codes.nbytes + q.scale.nbytes + q.offset.nbytes + q.codebook.nbytes)
        counted.append(q.bytes_among(0) * n)
    return series(f"search, {scheme}", "items", sizes, timed, [float(n) for n in sizes], held, counted)


def ease(sizes: Sequence[int] = (500, 1000, 2000, 4000, 8000), n_users: int = 2000) -> dict[str, Any]:
    """EASE fitted on catalogues of these sizes: time to the third power, memory to the second."""
    timed, held, counted = [], [], []
    for n in sizes:
        train, model = points.interactions(n_users, n), EASE(400.0)
        timed.append(_timed(partial(model.fit, train)))
        held.append(peak_memory(partial(model.fit, train)).added)
        counted.append(points.ease_operations(train))
    return series("EASE fit", "items", sizes, timed, counted, held, [4.0 * n * n for n in sizes])


def users(sizes: Sequence[int] = (1_000, 10_000, 100_000, 400_000), n_items: int = 1000) -> dict[str, Any]:
    """The Gram matrix of so many users, 50 interactions each, the part of EASE that grows with them; memory:
    their interactions.
    """
    timed, held, counted = [], [], []
    for n in sizes:
        train = points.interactions(n, n_items)
        timed.append(_timed(partial(operator.matmul, train.T, train)))
        held.append(train.data.nbytes + train.indices.nbytes + train.indptr.nbytes)
        counted.append(2.0 * float((np.diff(train.indptr).astype(float) ** 2).sum()))
    return series("Gram matrix", "users", sizes, timed, counted, held, [50.0 * n for n in sizes])


def encode(
    against: str,
    sizes: Sequence[int],
    name: str = "minilm",
    tokens: int = 16,
    batch: int = 16,
    device: str = "cpu",
    precision: str = "float32",
) -> dict[str, Any]:
    """An encoder's pass against the tokens of a text or the texts of a batch, the other held; expected:
    operations.

    Raises:
        InputError: ``against`` is neither tokens nor batch.
    """

    if against not in ("tokens", "batch"):
        raise InputError(f"against={against!r}: expected tokens or batch")
    encoder: Any = encoders.load(name, device=device, precision=precision, cache=False)
    sized = cost.architecture(points.CONFIGURATIONS[name])
    timed, counted = [], []
    for size in sizes:
        length, rows = (size, batch) if against == "tokens" else (tokens, size)
        lines = np.random.default_rng(0).integers(1000, 20_000, (rows, length)).tolist()
        timed.append(_timed(partial(encoder.run_tokens, [(line, 0) for line in lines])))
        counted.append(float(cost.encode_flops(sized, length, rows)))
    return series(f"encode, {name}", against, sizes, timed, counted, [], [], device)


def threads(counts: Sequence[int], name: str = "minilm", tokens: int = 16, batch: int = 64) -> dict[str, Any]:
    """An encoder's pass with so many threads, interleaved; expected: time falls in proportion."""

    encoder: Any = encoders.load(name, device="cpu", precision="float32", cache=False)
    lines = [(line, 0) for line in np.random.default_rng(0).integers(1000, 20_000, (batch, tokens)).tolist()]
    timed = []
    for count in counts:
        with torch_threads(count):
            timed.append(_timed(lambda: encoder.run_tokens(lines)))
    return series(f"encode, {name}", "threads", counts, timed, [1.0 / c for c in counts], [], [])


@contextmanager
def torch_threads(count: int):
    """torch with ``count`` threads, and with as many as before afterwards."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _timed(work: Callable[[], object]) -> Measurement:
    return measure(work, "scaling", **FEW)
