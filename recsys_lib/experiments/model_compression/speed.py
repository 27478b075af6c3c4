"""What is really faster, and smaller: paths over lengths and batches, instruction sets,
models with fewer parts, memory.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys_lib.core.errors import InputError
from recsys_lib.encoders import backends, native
from recsys_lib.encoders.distilled import Distilled
from recsys_lib.encoders.transformer import Transformer
from recsys_lib.experiments.model_compression.evaluate import VectorEvaluator, native_refuses, over_torch
from recsys_lib.experiments.model_compression.parts import SHARES, Part, n_bytes
from recsys_lib.experiments.notebook_record import rows as json_rows
from recsys_lib.hardware import timing

if TYPE_CHECKING:
    import pandas as pd


def speeds(
    encoders: dict[str, Transformer],
    lengths: Sequence[int],
    batches: Sequence[int],
    seconds: float = 0.05,
    seed: int = 0,
) -> pd.DataFrame:
    """Tokens per second of each of ``encoders`` on ``batch`` texts of exactly ``length`` tokens: one row per
    encoder, length and batch.

    One encoder after the other, not interleaved: interleaved, a short call pays for the threads that the
    library before it left spinning.
    """
    import pandas as pd

    rng, rows = np.random.default_rng(seed), []
    for length in lengths if encoders else ():
        for batch in batches:
            tokens = [(rng.integers(1000, 20000, length).tolist(), 0) for _ in range(batch)]
            for name, encoder in encoders.items():
                timed = timing.measure(
                    partial(encoder.run_tokens, tokens),
                    min_samples=5,
                    min_seconds=seconds,
                    warmup=2,
                    amount=length * batch,
                    amount_unit="tokens",
                )
                row = {
                    "path": name,
                    "length": length,
                    "batch": batch,
                    "tokens per s": timed.throughput,
                    "s": timed.p50,
                }
                rows.append(row)
    return pd.DataFrame(rows)


@dataclass(frozen=True, eq=False)
class TimedPaths:
    """Paths of one encoder, compared: summary (a row a path), quality, speed (rows of ``speeds``), memory
    (``footprint``).
    """

    summary: pd.DataFrame
    quality: pd.DataFrame
    speed: pd.DataFrame
    memory: dict[str, dict[str, float]]
    processors: pd.DataFrame

    def metrics(self) -> dict[str, Any]:
        """All of it as a record holds it."""
        return {
            "paths": json_rows(self.quality), "speed": json_rows(self.speed), "memory": self.memory,
            "processors": json_rows(self.processors),
        }  # fmt: skip


def timed_paths(
    encoder: Transformer,
    paths: Sequence[str],
    tokens: backends.Tokens,
    evaluator: VectorEvaluator,
    shapes: Mapping[str, Sequence[int]],
    weighed: Sequence[str] = (),
    seed: int = 0,
) -> TimedPaths:
    """Each of ``paths`` ("backend precision") of ``encoder``: quality on ``tokens``, and speed over lengths
    and batches.

    Paths that cannot run here are named on one line and left out. shapes: tokens of a text and texts at once.
    weighed: paths whose memory is measured, each in a process of its own. evaluator: its reference are the
    vectors of ``encoder``, which stand for "torch float32". Without paths nothing is timed, instruction sets
    neither.
    """
    import pandas as pd

    found: dict[str, Transformer] = {}
    for path in paths:
        backend, precision = path.split()
        candidate = Transformer(encoder.name, precision=precision, backend="torch", device="cpu", cache=False)
        reason = backends.why_not(candidate, backend)
        if reason:
            print(f"without {path}: {reason}")
        else:
            found[path] = candidate if backend == "torch" else candidate.with_backend(backend)
    ready = [(list(ids), begin) for ids, begin in tokens]
    vectors = {
        path: evaluator.reference if path == "torch float32" else e.run_tokens(ready)
        for path, e in found.items()
    }
    quality = pd.DataFrame({path: evaluator.evaluate(v) for path, v in vectors.items()}).T
    speed = speeds(found, shapes["tokens"], shapes["texts"], seed=seed)
    memory = {path: footprint(encoder.name, *path.split()) for path in weighed if path in found}
    processors = instruction_speeds(encoder, tokens[:16], 0.1) if found else pd.DataFrame()
    summary = quality[["cosine", "ndcg"]].astype(float) if found else pd.DataFrame(columns=["cosine", "ndcg"])
    if found:
        at = speed.set_index(["length", "batch", "path"])
        full, one = ((shapes["tokens"][i], shapes["texts"][i]) for i in (-1, 0))
        summary = summary.assign(
            **{"tokens per s": at.loc[full]["tokens per s"], "ms, one text": 1e3 * at.loc[one]["s"]}
        )
    return TimedPaths(summary, quality, speed, memory, processors)


# Instruction sets with the year they came, as the compiler names a processor that has them, and the flag of a
# machine that runs them.
PROCESSORS: dict[str, tuple[tuple[str, ...], str, tuple[str, ...]]] = {
    "AVX2 (2013)": (("-march=x86-64-v3",), "avx2", ("float32", "int8")),
    "AVX-512 VNNI (2019)": (
        ("-march=cascadelake", "-mprefer-vector-width=512"),
        "avx512_vnni",
        ("float32", "int8"),
    ),
    "AVX-512 BF16 (2020)": (
        ("-march=cooperlake", "-mprefer-vector-width=512"),
        "avx512_bf16",
        native.PRECISIONS,
    ),
}


def instruction_speeds(encoder: Transformer, tokens: backends.Tokens, seconds: float = 0.2) -> pd.DataFrame:
    """Texts per second of the native path made for older instruction sets and for this processor, in each
    precision that it has instructions for, on this machine.

    An older processor has another clock and other caches: rows compare precisions, not machines. Empty
    without a C compiler.
    """
    import pandas as pd
    import torch

    from recsys_lib.hardware import machine

    flags, threads = machine.describe()["flags"], torch.get_num_threads()
    libraries = {
        name: (native.compiled(options), False, kinds)
        for name, (options, flag, kinds) in PROCESSORS.items()
        if flag in flags
    }
    libraries["this processor"] = (native.load(), True, native.PRECISIONS)
    rows: dict[str, dict[str, float]] = {}
    for name, (library, amx, kinds) in libraries.items():
        for precision in kinds if library else ():
            model = native.NativeBert(encoder.model, precision, library=library, amx=amx)
            timed = timing.measure(
                partial(model.encode, tokens, encoder.pooling, threads),
                min_samples=2,
                min_seconds=seconds,
                warmup=0,
                amount=len(tokens),
            )
            rows.setdefault(name, {})[precision] = timed.throughput
    return pd.DataFrame(rows).T


def parts_speed(
    encoder: Transformer,
    texts: Sequence[str],
    parts: Mapping[str, Part],
    seconds: float = 0.2,
    tables: Mapping[str, Distilled] | None = None,
) -> dict[str, float]:
    """Texts per second, from text to vector, of models with fewer parts on the native path, and of static
    ``tables``.

    Without a C compiler models run in eager torch. Tables are timed apart, on more texts: they are a hundred
    times as fast.
    """
    import torch

    def run(model: Any, precision: str, renumber: Callable[[backends.Tokens], Any]) -> Callable[[], object]:
        if native_refuses(encoder, model, precision):
            changed = over_torch(encoder, model)
            return lambda: changed.run_tokens(renumber(encoder.tokenize(list(texts))))
        ready, threads = native.NativeBert(model, precision), torch.get_num_threads()

        def encode() -> np.ndarray:
            tokens = renumber(encoder.tokenize(list(texts)))
            return encoder.after_pooling(ready.encode(tokens, encoder.pooling, threads))

        return encode

    work = {name: run(*part) for name, part in parts.items()}
    timed = timing.compare(work, min_samples=2, min_seconds=seconds, warmup=0, amount=len(texts))
    if tables:
        many = list(texts) * 16
        look_up: dict[str, Callable[[], object]] = {
            name: partial(t.encode, many) for name, t in tables.items()
        }
        timed |= timing.compare(look_up, min_samples=3, min_seconds=seconds, amount=len(many))
    return {name: m.throughput for name, m in timed.items()}


def timed_parts(
    encoder: Transformer,
    texts: Sequence[str],
    pruned: pd.DataFrame,
    parts: Mapping[str, Part],
    tables: Mapping[str, Distilled],
    quality: pd.DataFrame,
) -> pd.DataFrame:
    """Rows of ``parts_quality`` with "texts per s" of ``parts_speed``, and below them the whole model in
    bfloat16 and int8 where this processor computes them natively.

    quality: ``TimedPaths.quality``, from which these two take theirs.
    """
    import pandas as pd

    every, below = dict(parts), {}
    for precision in ("bfloat16", "int8"):
        if native_refuses(encoder, encoder.model, precision):
            continue
        name, path = f"whole, {precision}", f"native {precision}"
        every[name] = (encoder.model, precision, list)
        row = dict(quality.loc[path]) if path in quality.index else {}
        below[name] = {**row, "MB": n_bytes(encoder.model) / 1e6 / SHARES[precision]}
    table = pd.concat([pruned, pd.DataFrame(below).T])
    table["texts per s"] = pd.Series(parts_speed(encoder, texts, every, tables=tables))
    return table


def footprint(name: str, backend: str, precision: str) -> dict[str, float]:
    """Megabytes of a path: its files, what stays in memory once it has encoded a text, and the most that
    loading took; seconds to the first vector.

    Measured in a process of its own, beyond what the libraries take before a model is loaded. A path that
    keeps a converted model is asked twice, so that converting is not counted.
    """
    command = [
        sys.executable,
        "-m",
        __name__,
        json.dumps({"name": name, "backend": backend, "precision": precision}),
    ]
    for _ in range(2 if backend in backends.KEPT else 1):
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode:
            raise InputError(
                f"footprint of {backend} {precision}: "
                f"{(done.stderr.strip().splitlines() or ['it failed'])[-1]}"
            )
    return json.loads(done.stdout.strip().splitlines()[-1])


def _own_footprint(name: str, backend: str, precision: str) -> dict[str, float]:
    """What ``footprint`` reports, of this process."""
    import ctypes
    import gc
    import time
    from importlib import import_module
    from pathlib import Path

    import psutil
    import torch  # noqa: F401
    from transformers import AutoConfig, AutoModel, AutoTokenizer, BertModel  # noqa: F401

    for package in backends.PACKAGES.get(backend, ()):
        import_module(package)
    encoder = Transformer(name, precision=precision, backend=backend, device="cpu", cache=False)
    encoder.tokenize(["a text"])
    started = time.perf_counter()
    use = timing.peak_memory(lambda: encoder.encode(["a text"], progress=False))
    files = backends.converted(encoder) or sorted(Path(encoder.source).glob("*.safetensors"))
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)  # what was freed goes back to the system
    resident = psutil.Process().memory_info().rss - use.before
    return {"disk_MB": sum(p.stat().st_size for p in files) / 1e6, "resident_MB": resident / 1e6,
        "peak_MB": use.added / 1e6,
            "load_s": time.perf_counter() - started}  # fmt: skip


if __name__ == "__main__":
    print(json.dumps(_own_footprint(**json.loads(sys.argv[1]))))
