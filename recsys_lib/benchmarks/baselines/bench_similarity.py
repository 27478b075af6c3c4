"""Exact top-k against baselines."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from recsys_lib.benchmarks.baselines.rows import Row, ceilings, row
from recsys_lib.hardware import timing
from recsys_lib.vectors import similarity


def similarity_rows() -> list[Row]:
    """Exact cosine top-10 against faiss (exact inner product on unit vectors) and scikit-learn (scores, then
    a sort).
    """
    import faiss
    from sklearn.metrics.pairwise import cosine_similarity

    rng = np.random.default_rng(0)
    peak, bandwidth = ceilings()
    rows = []
    for n_items in (1_682, 36_000):
        items = similarity.normalize(rng.standard_normal((n_items, 384)).astype(np.float32))
        index = faiss.IndexFlatIP(384)
        index.add(items)
        for n in (1, 64, 1024):
            queries = similarity.normalize(rng.standard_normal((n, 384)).astype(np.float32))
            work: dict[str, Callable] = {
                "ours": lambda q=queries, x=items: similarity.top_k(q, x, 10, metric="dot"),
                "faiss Flat": lambda q=queries, i=index: i.search(q, 10),
                "scikit-learn": lambda q=queries, x=items: np.argsort(-cosine_similarity(q, x), axis=1)[
                    :, :10
                ],
            }
            timed = timing.compare(work, min_samples=5, min_seconds=0.2)
            limit = max(2 * n * n_items * 384 / peak, items.nbytes / bandwidth)
            same = (work["ours"]()[0] == work["faiss Flat"]()[1]).mean()
            size = f"{n} x {n_items:,} x 384"
            rows += [
                row("exact top-10", size, p, timed, limit, f"ids equal {same:.1%}") for p in list(work)[1:]
            ]
    return rows
