"""Text to vectors against baselines."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable
from functools import partial

import numpy as np

from recsys_lib.benchmarks.baselines.rows import Row, row
from recsys_lib.core.quiet import quiet
from recsys_lib.data import assets, datasets
from recsys_lib.encoders import backends
from recsys_lib.encoders.distilled import Distilled
from recsys_lib.encoders.transformer import Transformer
from recsys_lib.hardware import machine, measure
from recsys_lib.vectors import similarity

N_TEXTS = 4096
DEFAULT = "sentence-transformers"
# Baselines of each precision, run as ours is: longest first, in batches of so many tokens, same threads.
PEERS = {
    "float32": ("openvino", "compile"),
    "bfloat16": ("openvino",),
    "int8": ("openvino", "onnxruntime", "torchao"),
}
# Of a weight.
BYTES = {"float32": 4, "bfloat16": 2, "int8": 1}
QUERY = "space opera with a strong heroine"


def encode_rows() -> list[Row]:
    """MiniLM on 4,096 book titles with their authors: our fastest backend of each precision, and a static
    distillation, against baselines.

    Baselines of the same precision come first; sentence-transformers runs at its defaults (float32, 32 texts
    a batch); OpenVINO, onnxruntime, torchao and ``torch.compile`` get our tokens, sorted and batched.
    Precisions that this processor only emulates are left out. Everything is warmed once. The bound counts two
    operations per weight and token at the measured peak of the precision; of the static table, its bytes at
    the measured bandwidth. Quality is the minimum and the mean cosine to sentence-transformers.
    """
    texts, reference = book_titles(N_TEXTS), sentence_transformer()
    ours = {p: _ours(p) for p in PEERS if not _emulated(p)}
    names = {p: [b for b in PEERS[p] if b != e.backend and _present(e, b)] for p, e in ours.items()}
    baselines = {(p, b): ours[p].with_backend(b) for p in ours for b in names[p]}
    work: dict[str, Callable[[], object]] = {
        DEFAULT: lambda: reference.encode(texts, show_progress_bar=False)
    }
    work |= {p: partial(e.encode, texts, progress=False) for p, e in ours.items()}
    work |= {f"{p} {b}": partial(e.encode, texts, progress=False) for (p, b), e in baselines.items()}
    static = Distilled(ours["float32"])
    timed = _timed(work)
    timed |= measure.compare({"static": lambda: static.encode(texts)}, min_samples=5, work=len(texts))
    theirs = reference.encode(texts, show_progress_bar=False)
    rows, n_tokens = [], sum(len(ids) for ids, _ in ours["float32"].tokenize(texts))
    weights = layer_weights(ours["float32"])
    for p, encoder in ours.items():
        limit = 2 * weights * n_tokens / machine.matmul_peak(p, seconds=0.5).throughput
        size = f"{len(texts):,} texts, {p}, {encoder.backend}"
        agreed = agreement(encoder.encode(texts, progress=False), theirs)
        for b in names[p]:
            other = baselines[p, b].encode(texts[:512], progress=False)
            quality = f"{agreed}; baseline's {agreement(other, theirs[:512])}"
            both = {"ours": timed[p], f"{b} {p}": timed[f"{p} {b}"]}
            rows.append(row("encode", size, f"{b} {p}", both, limit, quality))
        both = {"ours": timed[p], DEFAULT: timed[DEFAULT]}
        rows.append(row("encode", size, DEFAULT, both, limit, agreed))
    limit = n_tokens * static.table.shape[1] * 4 / machine.read_bandwidth(seconds=0.3).throughput
    both = {"ours": timed["static"], DEFAULT: timed[DEFAULT]}
    size, other_quality = f"{len(texts):,} texts, static table", "another quality: see notebook 09"
    rows.append(row("encode", size, DEFAULT, both, limit, other_quality))
    return rows + latency_rows(ours, reference, weights)


def _timed(work: dict[str, Callable[[], object]]) -> dict[str, measure.Measurement]:
    """Every encoder warmed, then timed in three interleaved rounds; what it is at and how long it takes go
    to stderr.
    """
    once = {}
    for name, call in work.items():
        print(f"bench encode: warm {name} …", file=sys.stderr, end=" ", flush=True)
        start = time.perf_counter()
        with quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            call()
        once[name] = time.perf_counter() - start
        print(f"{once[name]:.1f} s", file=sys.stderr)
    # ``compare`` calls everything once more before its three rounds.
    print(f"bench encode: three rounds, at most {4 * sum(once.values()):.0f} s", file=sys.stderr)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return measure.compare(work, min_samples=3, min_seconds=0.5, warmup=0)


def _emulated(precision: str) -> bool:
    """Whether the processor only emulates the precision; said in one line."""
    if machine.emulates(precision):
        print(f"bench encode: without {precision}: this processor only emulates it", file=sys.stderr)
        return True
    return False


def latency_rows(ours: dict[str, Transformer], reference, weights: int) -> list[Row]:
    """One short query at a time, tokenization included: medians, with the 99th percentiles in ``quality``.
    The bound reads each weight once.

    One after the other, not interleaved: interleaved, a query pays for the threads that the library before it
    left spinning.
    """
    work: dict[str, Callable[[], object]] = {
        p: partial(e.encode, [QUERY], progress=False) for p, e in ours.items()
    }
    work[DEFAULT] = lambda: reference.encode([QUERY], show_progress_bar=False)
    for precision in ("float32", "int8"):
        if _present(ours[precision], "onnxruntime"):
            other = ours[precision].with_backend("onnxruntime")
            work[f"onnxruntime {precision}"] = partial(other.encode, [QUERY], progress=False)
    timed = {
        name: measure.measure(call, name, min_samples=200, min_seconds=1.0, warmup=20)
        for name, call in work.items()
    }
    rows, bandwidth = [], machine.read_bandwidth(seconds=0.3).throughput
    size = len(ours["float32"].tokenize([QUERY])[0][0])
    for p, encoder in ours.items():
        what, limit = f"{size} tokens, {p}, {encoder.backend}", weights * BYTES[p] / bandwidth
        for baseline in (name for name in (f"onnxruntime {p}", DEFAULT) if name in work):
            p99 = f"p99 {timed[p].p99 * 1e3:.2f} ms, baseline's {timed[baseline].p99 * 1e3:.2f} ms"
            both = {"ours": timed[p], baseline: timed[baseline]}
            rows.append(row("one query", what, baseline, both, limit, p99))
    return rows


def book_titles(n: int) -> list[str]:
    """``n`` titles with authors of Book-Crossing, drawn at random."""
    texts = datasets.load("book-crossing").item_texts(("title", "author"))
    return [texts[i] for i in np.random.default_rng(0).choice(len(texts), n, replace=False)]


def sentence_transformer():
    """MiniLM in sentence-transformers, on the CPU."""
    from sentence_transformers import SentenceTransformer

    with quiet():
        return SentenceTransformer(str(assets.locate("minilm")), device="cpu")


def layer_weights(encoder: Transformer) -> int:
    """Weights that every token is multiplied with: all but the tables of embeddings."""
    return sum(w.numel() for name, w in encoder.model.named_parameters() if "embeddings." not in name)


def agreement(a: np.ndarray, b: np.ndarray) -> str:
    cosines = np.einsum("nd,nd->n", similarity.normalize(a), similarity.normalize(b))
    return f"cosine worst {cosines.min():.5f}, mean {cosines.mean():.5f}"


def _ours(precision: str) -> Transformer:
    """The native path, or eager torch where there is no compiler."""
    encoder = Transformer("minilm", precision=precision, backend="torch", device="cpu", cache=False)
    return encoder.with_backend("native") if not backends.why_not(encoder, "native") else encoder


def _present(encoder: Transformer, backend: str) -> bool:
    """Whether the baseline is here; an absent one is named in one line."""
    reason = backends.why_not(encoder, backend)
    if reason:
        print(f"bench encode: without {backend}: {reason}", file=sys.stderr)
    return not reason
