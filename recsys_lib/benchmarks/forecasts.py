"""The cost model's own workloads timed on this machine, for its forecasts to be held against.

Written to ``data/measurements/forecast-check.json`` by ``OMP_NUM_THREADS=1 python -m recsys_lib bench
forecasts --json FILE``, and read by ``cost.validation``. Samples are the processor time of one thread, not
the wall's: so other load on the machine hardly shows. The ceilings of that thread are measured with the
same clock.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from recsys_lib import cost, encoders
from recsys_lib.benchmarks.workloads import points
from recsys_lib.benchmarks.workloads.timed_rows import counting
from recsys_lib.core import records
from recsys_lib.core.errors import InputError
from recsys_lib.hardware import machine
from recsys_lib.hardware.timing import threads_in_use
from recsys_lib.recommenders import EASE, EASEMap
from recsys_lib.recommenders.ease import largest_per_column
from recsys_lib.vectors import quantization
from recsys_lib.vectors.search import Index

HISTORY, KEPT = 50, 200
SAMPLES, MAX_SECONDS = 7, 6.0
# Kind, what it is, shape, function, operations, bytes, and the precision whose peak bounds it.
Point = tuple[str, str, dict[str, int], Callable[[], object], float, float, str]


def processor_seconds(function: Callable[[], object]) -> list[float]:
    """Processor time of some calls, the first left out; at least two samples."""
    function()
    samples: list[float] = []
    while len(samples) < 2 or (len(samples) < SAMPLES and sum(samples) < MAX_SECONDS):
        started = time.process_time()
        function()
        samples.append(time.process_time() - started)
    return samples


def lookups(n: int = 5000, batch: int = 256) -> Iterator[Point]:
    """Histories times item-item weights: sparse with ``KEPT`` entries a column, and dense."""
    dense = np.random.default_rng(0).standard_normal((n, n)).astype(np.float32)
    sparse = largest_per_column(dense, KEPT)
    histories = points.interactions(batch, n, HISTORY)
    entries = float(np.diff(sparse.indptr)[histories.indices].sum())
    values, shape = float(histories.nnz) * n, {"requests": batch, "items": n}
    yield "lookup", "EASE top 200", shape, lambda: histories @ sparse, 2 * entries, 8 * entries, "float32"
    yield "dense rows", "EASE", shape, lambda: histories @ dense, values, 4 * values, "float32"


def encodings() -> Iterator[Point]:
    """Our C encoder in 8 bits; e5 has the twelve layers of 384 of the cross-encoder: twenty pairs of two
    texts of 64 tokens.
    """
    rng = np.random.default_rng(0)
    for name, batch, tokens in (("minilm", 1, 16), ("minilm", 8, 16), ("minilm", 64, 64), ("e5", 20, 128)):
        encoder: Any = encoders.load(name, precision="int8", backend="native", cache=False)
        texts = [(line, 0) for line in rng.integers(1000, 20_000, (batch, tokens)).tolist()]
        sized = cost.architecture(points.CONFIGURATIONS[name])
        counted = cost.encode_bound(sized, counting("int8"), tokens, batch, "int8", "int8")
        shape = {"batch": batch, "tokens": tokens}
        yield (
            "encode",
            name,
            shape,
            partial(encoder.run_tokens, texts),
            counted.operations,
            counted.bytes,
            "int8",
        )


def scans(n: int = 200_000, d: int = 384) -> Iterator[Point]:
    """The best ten by int8 codes, for one query and for 32 at once."""
    index = Index.build(quantization.quantize(points.random_vectors(n, d), "int8"))
    queries = points.random_vectors(32, d, seed=1)
    for batch in (1, 32):
        shape = {"batch": batch, "items": n, "dimension": d}
        yield (
            "scan",
            "int8",
            shape,
            partial(index.top_k, queries[:batch], 10),
            2.0 * batch * n * d,
            float(n * d),
            "int8",
        )


def fits() -> Iterator[Point]:
    """EASE, and EASE with a kernel map from text to its columns."""
    for n in (1000, 2000):
        train = points.interactions(2000, n)
        operations, shape = points.ease_operations(train), {"items": n, "users": 2000}
        yield "fit", "EASE", shape, partial(EASE(400.0).fit, train), operations, 4.0 * n * n, "float32"
    model = EASEMap(points.random_vectors(2000, 384), 1.0, 100.0, width=0.7)
    more = operations + 7 / 3 * 2000.0**3
    yield "fit", "EASE and kernel map", shape, partial(model.fit, train), more, 12.0 * 2000**2, "float32"


def ceilings(n: int = 1024, megabytes: int = 64) -> dict[str, Any]:
    """Operations a second by precision and bytes a second read of one thread, by the fastest sample.

    Bytes are read from a block of about the size of the codes scanned, which the same caches may hold.
    """
    import torch

    found: dict[str, float] = {}
    for precision, product in (("float32", torch.mm), ("int8", torch._int_mm)):
        kind = torch.int8 if precision == "int8" else torch.float32
        a = torch.ones(n, n).to(kind)
        found[precision] = 2.0 * n**3 / min(processor_seconds(partial(product, a, a.t().contiguous().t())))
    block = torch.ones(megabytes * 2**18)
    return {"operations_per_s": found, "read_bytes_per_s": block.nbytes / min(processor_seconds(block.sum))}


def run(json_file: Path | None = None) -> str:
    """Measure, optionally write, and return a table of the fastest times; about a minute.

    Raises:
        InputError: more than one thread: processor time would add them up.
    """
    import torch

    if torch.get_num_threads() > 1 or max(threads_in_use().values(), default=1) > 1:
        raise InputError(
            "bench forecasts: expected one thread; run it with OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1"
        )
    rows: list[dict[str, Any]] = []
    for group in (lookups, encodings, scans, fits):
        for kind, what, shape, function, operations, n_bytes, compute in group():
            row = {
                "kind": kind,
                "what": what,
                "shape": shape,
                "operations": float(operations),
                "bytes": float(n_bytes),
            }
            rows.append(row | {"compute": compute, "samples": processor_seconds(function)})
    content = {
        "bench": "forecasts",
        "date": f"{datetime.date.today()}",
        "environment": machine.describe(),
        "ceilings": ceilings(),
        "rows": rows,
    }
    if json_file:
        records.write(json_file, content)
    lines = [
        f"{r['kind']:11} {r['what']:20} {r['shape']!s:50} {min(r['samples']) * 1e3:10.3f} ms" for r in rows
    ]
    return "\n".join([machine.summary(), *lines])
