"""Against peers: the same work, the same threads, in turns, in one run; every row says what the machine could do at best."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from recsys_lib import experiments, machine, measure, similarity
from recsys_lib.errors import InputError


@dataclass(frozen=True)
class Row:
    """One comparison. ``limit_s``: the least time by the measured ceilings; ``quality``: agreement with the peer's result."""

    work: str
    size: str
    ours_s: float
    peer: str
    peer_s: float
    ratio: float
    limit_s: float
    share_of_limit: float
    quality: str


def _row(work: str, size: str, peer: str, timed: dict[str, measure.Measurement], limit_s: float, quality: str) -> Row:
    ours, theirs = timed["ours"].p50, timed[peer].p50
    return Row(work, size, ours, peer, theirs, theirs / ours, limit_s, limit_s / ours, quality)


def _ceilings() -> tuple[float, float]:
    return machine.matmul_peak("float32", seconds=0.3).throughput, machine.read_bandwidth(seconds=0.3).throughput


def similarity_rows() -> list[Row]:
    """Exact cosine top-10 against faiss (exact inner product on unit vectors) and scikit-learn (scores, then a sort)."""
    import faiss
    from sklearn.metrics.pairwise import cosine_similarity

    rng = np.random.default_rng(0)
    peak, bandwidth = _ceilings()
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
                "scikit-learn": lambda q=queries, x=items: np.argsort(-cosine_similarity(q, x), axis=1)[:, :10],
            }
            timed = measure.compare(work, min_samples=5, min_seconds=0.2)
            limit = max(2 * n * n_items * 384 / peak, items.nbytes / bandwidth)
            same = (work["ours"]()[0] == work["faiss Flat"]()[1]).mean()
            size = f"{n} x {n_items:,} x 384"
            rows += [_row("exact top-10", size, p, timed, limit, f"ids equal {same:.1%}") for p in list(work)[1:]]
    return rows


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
        rows.append(_row("encode", size, "sentence-transformers", timed, limit, f"worst cosine {worst:.6f}"))
    return rows


BENCHES = {"similarity": similarity_rows, "encode": encode_rows}


def run(name: str, json_file: Path | None = None) -> str:
    """Run one bench and return its table; optionally write rows and environment as JSON.

    Raises:
        InputError: an unknown name, or a peer that is not installed.
    """
    if name not in BENCHES:
        raise InputError(f"bench {name!r} is unknown: choose from {', '.join(BENCHES)}")
    try:
        rows = BENCHES[name]()
    except ModuleNotFoundError as error:
        raise InputError(f"peer {error.name!r} is not installed: run pip install -r requirements.txt") from error
    if json_file:
        content = {"bench": name, "rows": [asdict(r) for r in rows], "environment": machine.describe()}
        experiments.write_atomically(json_file, json.dumps(content, indent=1))
    head = f"{'work':13} {'size':40} {'ours ms':>9} {'peer':22} {'peer ms':>9} {'ratio':>6} {'of limit':>8}  quality"
    lines = [
        f"{r.work:13} {r.size:40} {r.ours_s * 1e3:9.2f} {r.peer:22} {r.peer_s * 1e3:9.2f} {r.ratio:6.2f} "
        f"{r.share_of_limit:8.0%}  {r.quality}"
        for r in rows
    ]
    return "\n".join([machine.summary(), head, *lines])
