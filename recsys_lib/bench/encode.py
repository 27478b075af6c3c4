"""Text to vectors against peers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from recsys_lib import machine, measure, similarity
from recsys_lib.bench.rows import Row, row


def encode_rows() -> list[Row]:
    """MiniLM on film titles against sentence-transformers at its defaults; the bound counts two operations per weight."""
    from sentence_transformers import SentenceTransformer

    from recsys_lib import assets, datasets
    from recsys_lib.assets.quiet import quiet
    from recsys_lib.encoders.transformer import Transformer

    texts = datasets.load("ml-100k").item_texts()[:1024]
    with quiet():
        reference = SentenceTransformer(str(assets.locate("minilm")), device="cpu")
    theirs = reference.encode(texts, show_progress_bar=False)
    rows = []
    for precision in ("float32", "bfloat16"):
        encoder = Transformer("minilm", precision=precision, device="cpu", cache=False)
        work: dict[str, Callable] = {
            "ours": lambda e=encoder: e.encode(texts),
            "sentence-transformers": lambda: reference.encode(texts, show_progress_bar=False),
        }
        timed = measure.compare(work, min_samples=3, min_seconds=0.5)
        worst = np.diag(similarity.cosine(encoder.encode(texts), theirs)).min()
        tokens = sum(len(ids) for ids, _ in encoder.tokenize(texts))
        weights = encoder.n_parameters - encoder.model.embeddings.word_embeddings.weight.numel()
        limit = 2 * weights * tokens / machine.matmul_peak(precision, seconds=0.3).throughput
        size = f"{len(texts):,} texts, {tokens:,} tokens, {precision}"
        rows.append(row("encode", size, "sentence-transformers", timed, limit, f"worst cosine {worst:.6f}"))
    return rows
