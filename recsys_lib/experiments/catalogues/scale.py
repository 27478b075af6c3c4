"""The whole path on an invented catalogue of MovieLens-25M's shape: seconds and memory, stage by stage.

Interactions are drawn at random, so quality means nothing here; only time and memory do. Each stage records
its seconds on the clock, its seconds of processor time (which other work on the machine does not change much)
and the highest memory of the process so far.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from recsys_lib import encoders, evaluation
from recsys_lib.core import memory
from recsys_lib.data import datasets
from recsys_lib.data.datasets import Dataset
from recsys_lib.evaluation import splits
from recsys_lib.recommenders import Popularity, Recommender, TextProfile
from recsys_lib.recommenders.ease import ease_weights, largest_per_column
from recsys_lib.vectors import geometry, similarity

GIB = 2**30
# Users whose rows are made dense at once for the Gram matrix.
BLOCK = 2_048
# Whatever this machine multiplies faster: only time counts here.
PRECISION = "auto"
_WORDS = ("amber", "bridge", "cedar", "dawn", "ember", "field", "glass", "harbor", "iron", "jade")


@dataclass(frozen=True)
class Shape:
    """Sizes of the invented catalogue and of the work: MovieLens-25M's by default.

    columns: EASE is fitted on so many of the most popular items. top: weights kept of a column. sample: users
    that are evaluated.
    """

    users: int = 162_541
    items: int = 62_423
    interactions: int = 25_000_095
    columns: int = 3_000
    top: int = 200
    sample: int = 1_000


@dataclass
class Stages:
    """Stages as they are done: each a row of clock seconds, processor seconds and peak memory in GiB."""

    rows: dict[str, dict[str, float]] = field(default_factory=dict)

    def run(self, name: str, work: Callable[[], Any]) -> Any:
        """Do the work of a stage, and record it."""
        clock, processor = time.perf_counter(), time.process_time()
        done = work()
        self.rows[name] = {
            "seconds": round(time.perf_counter() - clock, 2),
            "cpu_s": round(time.process_time() - processor, 2),
            "peak_gib": round(peak_bytes() / GIB, 2),
        }
        return done


def peak_bytes() -> int:
    """The most memory this process ever held."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def invent(folder: Path, shape: Shape, seed: int = 0) -> None:
    """Write ``ratings.csv`` and ``movies.csv`` in MovieLens' form, users and items long-tailed."""
    rng = np.random.default_rng(seed)
    activity = rng.lognormal(4.2, 1.25, shape.users)
    user = np.sort(rng.choice(shape.users, shape.interactions, p=activity / activity.sum()).astype(np.int32))
    popularity = 1 / np.arange(1, shape.items + 1) ** 0.9
    item = rng.choice(shape.items, shape.interactions, p=popularity / popularity.sum()).astype(np.int32)
    columns: dict[str, np.ndarray] = {
        "userId": user + 1,
        "movieId": item + 1,
        "rating": (rng.integers(1, 11, shape.interactions, dtype=np.int8) / np.float32(2)).astype(np.float32),
        "timestamp": rng.integers(789_652_009, 1_574_327_703, shape.interactions),
    }
    _write(folder / "ratings.csv", columns)
    words = rng.integers(0, len(_WORDS), (shape.items, 4))
    titles = [" ".join(_WORDS[w] for w in row) + f" ({1950 + i % 70})" for i, row in enumerate(words)]
    genres = np.array(["Drama", "Comedy|Drama", "Action|Thriller", "Documentary"])[words[:, 0] % 4]
    pd.DataFrame({"movieId": np.arange(1, shape.items + 1), "title": titles, "genres": genres}).to_csv(
        folder / "movies.csv", index=False
    )


def _write(path: Path, columns: dict[str, np.ndarray]) -> None:
    """A CSV file; pyarrow writes it many times as fast as pandas where it is installed."""
    try:
        import pyarrow as pa
        from pyarrow import csv
    except ImportError:
        pd.DataFrame(columns).to_csv(path, index=False)
        return
    csv.write_csv(pa.table(columns), path, csv.WriteOptions(quoting_style="none"))


def measure(shape: Shape | None = None, limit_gib: float = 12.0) -> dict[str, Any]:
    """Stages of the whole path, and how many of the sampled users EASE served.

    Raises:
        InputError: less memory is left than ``limit_gib``.
    """
    shape = shape or Shape()
    needed = limit_gib * GIB * min(1.0, shape.interactions / Shape.interactions)
    memory.require(needed, f"the path over {shape.interactions:,} interactions")
    with tempfile.TemporaryDirectory() as temporary:
        folder, stages = Path(temporary), Stages()
        stages.run("invent and write", lambda: invent(folder, shape))
        megabytes = (folder / "ratings.csv").stat().st_size / 1e6
        data = stages.run("read the CSV files", lambda: datasets.load("ml-25m", folder))
    found = _path(data, shape, stages)
    sizes = {"users": data.n_users, "items": data.n_items, "interactions": data.n_interactions}
    return {"stages": stages.rows, "sizes": sizes | {"megabytes": megabytes}, "shape": vars(shape)} | found


def _path(data: Dataset, shape: Shape, stages: Stages) -> dict[str, Any]:
    """Split, encode, fit, search and evaluate."""
    split = stages.run("split", lambda: splits.random_split(data, 0.1, 0.0, 0, per_user=False))
    train, test = stages.run("matrices", lambda: (split.train, split.test))
    texts = data.item_texts()
    vectors = stages.run("encode, static table", lambda: encoders.load("wordllama").encode(texts))
    read = stages.run("encode, MiniLM", lambda: _minilm(texts))
    chosen = np.argsort(-np.bincount(data.item[split.train_rows], minlength=data.n_items), kind="stable")
    chosen = np.sort(chosen[: shape.columns])
    part = train[:, chosen]
    gram = stages.run("Gram matrix", lambda: gram_in_blocks(part))
    weights = stages.run("EASE", lambda: largest_per_column(ease_weights(gram, 500.0), shape.top))
    profile = TextProfile(geometry.whiten(vectors).apply(vectors)).fit(train)
    users = np.flatnonzero(np.diff(test.indptr))
    users = np.sort(np.random.default_rng(0).permutation(users)[: shape.sample])
    queries = profile.profiles(users)
    stages.run("search, exact top 10", lambda: similarity.top_k(queries, profile.item_vectors, 10))
    held = _rows_only(test, users)
    models: dict[str, Recommender] = {
        "popularity": Popularity().fit(train),
        "EASE": Columns(weights, part, chosen, data.n_items),
    }
    evaluated = {
        name: stages.run(f"evaluate, {name}", partial(evaluation.evaluate, model, train, held, 10))
        for name, model in models.items()
    }
    return {
        "evaluated users": len(users),
        "texts encoded by MiniLM": len(read),
        "precision": PRECISION,
        "ndcg": {name: result.mean()["ndcg"] for name, result in evaluated.items()},
    }


def _minilm(texts: list[str]) -> np.ndarray:
    encoder = encoders.load("minilm", precision=PRECISION, cache=False)
    return encoder.encode(texts, progress=False)


def _rows_only(matrix: sp.csr_matrix, users: np.ndarray) -> sp.csr_matrix:
    """The matrix with the entries of these users alone."""
    kept = np.zeros(matrix.shape[0], dtype=np.float32)
    kept[users] = 1
    part = sp.csr_matrix(sp.diags(kept) @ matrix)
    part.eliminate_zeros()
    return part


def gram_in_blocks(train: sp.csr_matrix, block: int = BLOCK) -> np.ndarray:
    """``XᵀX`` of a sparse matrix of ones, float32 ``[n, n]``, from dense blocks of users."""
    gram = np.zeros((train.shape[1],) * 2, dtype=np.float32)
    for start in range(0, train.shape[0], block):
        rows = train[start : start + block].toarray()
        gram += rows.T @ rows
    return gram


@dataclass(frozen=True, eq=False)
class Columns:
    """EASE on some columns of a catalogue; all other items score below every one of them.

    weights: CSR ``[c, c]`` of the ``chosen`` items ``[c]``; train: the users' interactions with them.
    """

    weights: sp.csr_matrix
    train: sp.csr_matrix
    chosen: np.ndarray
    n_items: int

    def fit(self, train: sp.csr_matrix) -> Columns:
        """Nothing: the weights are fitted."""
        return self

    def scores(self, users: np.ndarray) -> np.ndarray:
        """``[len(users), n_items]``."""
        found = (self.train[users] @ self.weights).toarray()
        scores = np.full((len(found), self.n_items), found.min() - 1, dtype=np.float32)
        scores[:, self.chosen] = found
        return scores
