"""Text to vectors against peers."""

from __future__ import annotations

import sys
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
# Peers of each precision, run as ours is: longest first, in batches of so many tokens, with the same threads.
PEERS = {
    "float32": ("openvino", "compile"),
    "bfloat16": ("openvino",),
    "int8": ("openvino", "onnxruntime", "torchao"),
}
QUERY = "space opera with a strong heroine"


def encode_rows() -> list[Row]:
    """MiniLM on 4,096 book titles with their authors: our fastest backend of each precision, and a static
    distillation, against peers.

    sentence-transformers runs at its defaults (float32, 32 texts a batch); OpenVINO, onnxruntime, torchao and
    ``torch.compile`` get our tokens, sorted and batched. The bound counts two operations per weight and token
    at the measured peak of the precision; of the static table, its bytes at the measured bandwidth. Quality
    is the worst and the mean cosine to sentence-transformers.
    """
    texts = book_titles(N_TEXTS)
    reference = sentence_transformer()
    theirs = reference.encode(texts, show_progress_bar=False)
    ours: dict[str, Transformer] = {p: _ours(p) for p in PEERS}
    names = {p: [b for b in PEERS[p] if b != e.backend and _present(e, b)] for p, e in ours.items()}
    rivals = {(p, b): ours[p].with_backend(b) for p in PEERS for b in names[p]}
    static = Distilled(ours["float32"])
    work: dict[str, Callable[[], object]] = {
        DEFAULT: lambda: reference.encode(texts, show_progress_bar=False)
    }
    work |= {p: partial(e.encode, texts, progress=False) for p, e in ours.items()}
    work |= {f"{p} {b}": partial(e.encode, texts, progress=False) for (p, b), e in rivals.items()}
    timed = measure.compare(work, min_samples=3, min_seconds=0.5, warmup=0)
    timed |= measure.compare({"static": lambda: static.encode(texts)}, min_samples=5, work=len(texts))
    rows, n_tokens = [], sum(len(ids) for ids, _ in ours["float32"].tokenize(texts))
    weights = layer_weights(ours["float32"])
    for p, encoder in ours.items():
        limit = 2 * weights * n_tokens / machine.matmul_peak(p, seconds=0.5).throughput
        size = f"{len(texts):,} texts, {p}, {encoder.backend}"
        agreed = agreement(encoder.encode(texts, progress=False), theirs)
        for peer, key in [(DEFAULT, DEFAULT), *((f"{b} {p}", f"{p} {b}") for b in names[p])]:
            other = (
                theirs if key == DEFAULT else rivals[p, key.split()[1]].encode(texts[:512], progress=False)
            )
            quality = agreed + ("" if key == DEFAULT else f"; peer's {agreement(other, theirs[:512])}")
            rows.append(row("encode", size, peer, {"ours": timed[p], peer: timed[key]}, limit, quality))
    limit = n_tokens * static.table.shape[1] * 4 / machine.read_bandwidth(seconds=0.3).throughput
    size = f"{len(texts):,} texts, static table"
    both = {"ours": timed["static"], DEFAULT: timed[DEFAULT]}
    rows.append(row("encode", size, DEFAULT, both, limit, "another quality: see notebook 09"))
    return rows + latency_rows(ours, reference, weights)


def latency_rows(ours: dict[str, Transformer], reference, weights: int) -> list[Row]:
    """One short query at a time, tokenization included: medians, with the 99th percentiles in ``quality``.
    The bound reads each weight once.

    One after the other, not in turns: in turns a query pays for the threads that the library before it left
    spinning.
    """
    work: dict[str, Callable[[], object]] = {
        p: partial(e.encode, [QUERY], progress=False) for p, e in ours.items()
    }
    work[DEFAULT] = lambda: reference.encode([QUERY], show_progress_bar=False)
    for precision in ("float32", "int8"):
        if _present(ours[precision], "onnxruntime"):
            rival = ours[precision].with_backend("onnxruntime")
            work[f"onnxruntime {precision}"] = partial(rival.encode, [QUERY], progress=False)
    timed = {
        name: measure.measure(call, name, min_samples=200, min_seconds=1.0, warmup=20)
        for name, call in work.items()
    }
    rows, bandwidth = [], machine.read_bandwidth(seconds=0.3).throughput
    size = len(ours["float32"].tokenize([QUERY])[0][0])
    for p, n_bytes in {"float32": 4, "bfloat16": 2, "int8": 1}.items():
        for peer in (name for name in work if name == DEFAULT or name == f"onnxruntime {p}"):
            p99 = f"p99 {timed[p].p99 * 1e3:.2f} ms, peer's {timed[peer].p99 * 1e3:.2f} ms"
            both = {"ours": timed[p], peer: timed[peer]}
            what, limit = f"{size} tokens, {p}, {ours[p].backend}", weights * n_bytes / bandwidth
            rows.append(row("one query", what, peer, both, limit, p99))
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
    """Whether the peer is here; an absent one is named in one line."""
    reason = backends.why_not(encoder, backend)
    if reason:
        print(f"bench encode: without {backend}: {reason}", file=sys.stderr)
    return not reason
