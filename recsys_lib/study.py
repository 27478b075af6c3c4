"""The ranking study: protocols, item vectors and their controls, contenders with search spaces, equal budgets."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import scipy.sparse as sp

from recsys_lib import datasets, encoders, evaluation, geometry, recommenders, similarity, splits
from recsys_lib.datasets import Dataset
from recsys_lib.errors import InputError
from recsys_lib.evaluation import Evaluation
from recsys_lib.recommenders import Recommender, checks
from recsys_lib.splits import Split

# ---------------------------------------------------------------- protocols

PROTOCOLS = ("ml-100k random", "ml-100k temporal", "ml-100k leave-one-out", "book-crossing random")
VALIDATION = 0.1


@lru_cache
def dataset_of(protocol: str) -> Dataset:
    """MovieLens-100K whole; of Book-Crossing the part in which users have at least 8 books and books 20 readers.

    6,406 users, 5,330 books, 260,913 interactions: as near as thresholds come to the 6,273 / 5,335 / 253,057 of Sheng et al.
    (AlphaRec, 2024), who name none.
    """
    if protocol not in PROTOCOLS:
        raise InputError(f"protocol={protocol!r}: want one of {', '.join(PROTOCOLS)}")
    name = protocol.split()[0]
    return datasets.load("ml-100k") if name == "ml-100k" else datasets.load(name).k_core(8, 20)


def split_of(protocol: str, seed: int = 0) -> Split:
    """The split of one seed, a validation tenth cut from what precedes the test part.

    Random: 80/20 over all ratings (MovieLens, as the publications of the gate do) or within each user (Book-Crossing). Temporal:
    the latest fifth is the test; seed s leaves out the last s tenths of all interactions, so that five seeds are five moments.
    Leave-one-out knows no seed.
    """
    data = dataset_of(protocol)
    kind = protocol.split()[1]
    if kind == "temporal":
        if not 0 <= seed < 8:
            raise InputError(f"seed={seed!r}: the temporal protocol has moments 0 to 7")
        assert data.timestamp is not None
        early = np.argsort(data.timestamp, kind="stable")[: round(data.n_interactions * (1 - 0.1 * seed))]
        return splits.temporal_split(data.select(np.sort(early)), 0.2, VALIDATION)
    if kind == "leave-one-out":
        return splits.leave_one_out(data, validation=True)
    return splits.random_split(data, 0.2, VALIDATION, seed, per_user=data.name != "ml-100k")


# ---------------------------------------------------------------- what the items say


def encode(data: Dataset, encoder: str, texts: Sequence[str] | None = None, precision: str = "float32") -> np.ndarray:
    """Raw vectors ``[n_items, d]`` of the items' texts (default: all fields) by an encoder's name.

    ``labels``: one component per genre of a film or author of a book. ``year``: bumps four years wide. ``tfidf`` is fitted on the
    catalogue's texts. ``smollm2 echo``: SmolLM2 reading the text twice. Anything else: ``encoders.load``.
    """
    texts = data.item_texts() if texts is None else list(texts)
    if encoder == "labels":
        column = "genres" if "genres" in data.items else "author"
        labels = data.items[column].astype("string").fillna("")
        if column == "author":
            labels = labels.str.replace(",", " ")
        return encoders.load("genres", corpus=labels.tolist()).encode(labels.tolist())
    if encoder == "year":
        return _year_bumps(data)
    if encoder == "tfidf":
        return encoders.load("tfidf", corpus=texts).encode(texts)
    if encoder == "wordllama":
        return encoders.load(encoder).encode(texts)
    name, _, pooling = encoder.partition(" ")
    options = {"pooling": pooling} if pooling else {}
    return encoders.load(name, precision=precision, **options).encode(texts, progress=False)


def _year_bumps(data: Dataset, width: float = 4.0) -> np.ndarray:
    """Gaussian bumps every ``width`` years; an item without a year is the zero vector."""
    years = data.items["year"].astype("Float64").to_numpy(dtype=float, na_value=np.nan)
    centres = np.arange(np.nanmin(years), np.nanmax(years) + width, width)
    bumps = np.exp(-0.5 * ((years[:, None] - centres) / width) ** 2)
    return np.nan_to_num(bumps).astype(np.float32)


def side_by_side(blocks: Sequence[np.ndarray]) -> np.ndarray:
    """Vectors ``[n, Σ d]`` whose cosines are the mean of the blocks' cosines, each block's rows having length 1."""
    return np.hstack([similarity.normalize(block) for block in blocks]) / np.float32(np.sqrt(len(blocks)))


def control_texts(data: Dataset, seed: int = 0) -> dict[str, list[str]]:
    """Item texts that take away one thing each: what remains of the quality was not owed to it.

    "title masked": an LLM may have met these very titles and what people said of them; without them it has only the other fields.
    "titles shuffled": every item under another's title. "all shuffled": another item's whole text.
    """
    fields = ("title", "author", "genres", "year")
    order = np.random.default_rng(seed).permutation(data.n_items)
    other = data.items["title"].to_numpy()[order]
    shuffled = Dataset(**{**vars(data), "items": data.items.assign(title=other)})
    whole = data.item_texts(fields)
    return {
        "all fields": whole,
        "title only": data.item_texts(("title",)),
        "year left out": data.item_texts(("title", "author", "genres")),
        "title masked": data.item_texts(("author", "genres", "year")),
        "titles shuffled": shuffled.item_texts(fields),
        "all shuffled": [whole[i] for i in order],
    }


# ---------------------------------------------------------------- contenders


@dataclass(frozen=True)
class Contender:
    """A recommender to be tuned: ``make(**parameters)``, and for each parameter the values it may take.

    reads: "interactions", "text" (places an item by its text alone) or "both".
    """

    make: Callable[..., Recommender]
    space: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    reads: str = "interactions"

    @property
    def size(self) -> int:
        """How many points the space has."""
        return math.prod(len(values) for values in self.space.values())


EASE_SPACE: dict[str, Sequence[Any]] = {"regularization": [100.0, 200.0, 300.0, 400.0, 600.0, 800.0]}
PRIOR_SPACE = {
    "regularization": [300.0, 400.0, 600.0, 800.0],
    "weight": [0.05, 0.1, 0.15],
    "sharpness": [1.0, 1.5, 2.0],
}

EASE_MAP_SPACE = {"regularization": [0.5, 1.0, 2.0, 4.0, 8.0, 16.0], "ease_regularization": [100.0, 200.0, 400.0]}


def contenders(vectors: np.ndarray, joined: np.ndarray) -> dict[str, Contender]:
    """Every contender of the study by name, but those that read times.

    ``vectors [n_items, d]`` of one encoder; ``joined [n_items, D]`` of several sources side by side.
    """
    r = recommenders
    knn_space: dict[str, Sequence[Any]] = {"neighbours": [20, 50, 100, 200, 400], "shrinkage": [0.0, 10.0, 30.0]}
    knn_space |= {"unit_users": [False, True]}
    return {
        "popularity": Contender(r.Popularity),
        "UserKNN": Contender(r.UserKNN, {"neighbours": [20, 50, 100, 200, 400], "shrinkage": [0.0, 5.0, 10.0, 30.0]}),
        "ItemKNN": Contender(r.ItemKNN, knn_space),
        "EASE": Contender(r.EASE, EASE_SPACE),
        "SLIM": Contender(r.SLIM, {"l1": [0.5, 1.0, 2.0, 4.0], "l2": [100.0, 200.0, 400.0, 800.0]}),
        "iALS": Contender(
            r.IALS, {"factors": [32, 64, 128], "regularization": [10.0, 20.0, 50.0, 100.0], "alpha": [2.0, 5.0, 10.0, 20.0]}
        ),
        "BPR": Contender(
            r.BPR,
            {
                "factors": [16, 32, 64, 128], "learning_rate": [0.02, 0.05, 0.1], "regularization": [0.003, 0.01, 0.03],
                "iterations": [50, 100, 200],
            },
        ),
        "text": Contender(lambda: r.TextProfile(vectors), {}, "text"),
        "text, nearest item": Contender(lambda: r.MaxSimilarity(vectors), {}, "text"),
        "text-kNN": Contender(lambda **p: r.TextItemKNN(vectors, **p), {"neighbours": [10, 20, 50, 100, 200]}, "text"),
        "ridge map": Contender(
            lambda **p: r.RidgeMap(vectors, **p),
            {"factors": [16, 32, 64, 128], "regularization": [0.1, 0.3, 1.0, 3.0, 10.0]}, "text",
        ),
        "EASE map": Contender(
            lambda **p: r.EASEMap(vectors, **p),
            EASE_MAP_SPACE, "text",
        ),
        "text MLP": Contender(
            lambda **p: r.TextMLP(vectors, progress=False, **p),
            {"temperature": [0.1, 0.15, 0.2], "output": [64, 128], "epochs": [8, 16]}, "text",
        ),
        "text and popularity": Contender(
            lambda **p: r.TextProfile(vectors, **p), {"popularity": [0.1, 0.2, 0.4, 0.8, 1.6]}, "both"
        ),
        "ItemKNN + joined text": Contender(
            lambda **p: r.ItemKNN(item_vectors=joined, **p), knn_space | {"text_weight": [5.0, 10.0, 20.0]}, "both"
        ),
        "EASE + text": Contender(lambda **p: r.TextEASE(vectors, **p), PRIOR_SPACE, "both"),
        "EASE + joined text": Contender(lambda **p: r.TextEASE(joined, **p), PRIOR_SPACE, "both"),
        "EASE, text blended in": Contender(
            lambda regularization, weight: r.ScoreBlend([r.EASE(regularization), r.TextProfile(vectors)], [1.0, weight]),
            EASE_SPACE | {"weight": [0.05, 0.1, 0.2, 0.3, 0.5]}, "both",
        ),
        "EASE and text, ranks fused": Contender(
            lambda regularization, constant: r.RankFusion([r.EASE(regularization), r.TextProfile(vectors)], constant),
            EASE_SPACE | {"constant": [1.0, 10.0, 60.0]}, "both",
        ),
    }  # fmt: skip


def timed_contenders(vectors: np.ndarray) -> dict[str, Contender]:
    """The contenders that read when things happened; only for protocols that keep the order of time."""
    r = recommenders
    return {
        "recent popularity": Contender(r.RecentPopularity, {"half_life_days": [3.0, 7.0, 15.0, 30.0, 60.0]}),
        "text, recent": Contender(
            lambda **p: r.TextProfile(vectors, **p), {"half_life": [3.0, 10.0, 30.0, 100.0]}, "text"
        ),
        "SASRec": Contender(
            lambda **p: r.SASRec(progress=False, **p),
            {"dimension": [32, 64], "blocks": [1, 2], "dropout": [0.2, 0.5], "epochs": [5, 10]},
        ),
    }


# ---------------------------------------------------------------- equal budgets


@dataclass(frozen=True)
class Trial:
    """One point tried: its parameters, the metric on the validation part, seconds to fit and evaluate."""

    parameters: dict[str, Any]
    value: float
    seconds: float


@dataclass(frozen=True, eq=False)
class Outcome:
    """A contender tuned on a split and judged once: its best point, that point's validation value, the fitted model, the test.

    fit_s: seconds of the last fit.
    """

    parameters: dict[str, Any]
    validation: float
    model: Recommender
    test: Evaluation
    fit_s: float = math.nan


def points(space: Mapping[str, Sequence[Any]], trials: int, seed: int = 0) -> list[dict[str, Any]]:
    """``trials`` different points of a space drawn at random, all of them if there are fewer.

    >>> len(points({"a": [1, 2, 3], "b": [0.1, 1.0]}, 4)), points({}, 4)
    (4, [{}])

    Raises:
        InputError: fewer than one trial.
    """
    if trials < 1:
        raise InputError(f"trials={trials!r}: want at least 1")
    every = [dict(zip(space, values, strict=True)) for values in itertools.product(*space.values())]
    order = np.random.default_rng(seed).permutation(len(every))
    return [every[i] for i in order[:trials]]


def tune(
    contender: Contender,
    train: sp.csr_matrix,
    validation: sp.csr_matrix,
    trials: int = 12,
    seed: int = 0,
    metric: str = "ndcg",
    k: int = 10,
    candidates: np.ndarray | None = None,
    times: sp.csr_matrix | None = None,
) -> list[Trial]:
    """Random search on a validation part (Bergstra and Bengio, JMLR 2012): all trials, best first.

    Equal budgets are what makes tuned models comparable: give every contender the same ``trials``.
    """
    done = []
    for parameters in points(contender.space, trials, seed):
        start = time.perf_counter()
        fitted = checks.fit(contender.make(**parameters), train, times)
        value = evaluation.evaluate(fitted, train, validation, k, candidates).mean()[metric]
        done.append(Trial(parameters, value, time.perf_counter() - start))
    return sorted(done, key=lambda trial: -trial.value)


def judge(contender: Contender, split: Split, trials: int = 12, seed: int = 0, k: int = 10) -> Outcome:
    """Tune on the split's validation part, fit the best point on training and validation together, look at the test once.

    Users without any training interaction are left out of both looks: nothing personal can be said to them.
    """
    train, validation = split.train, known_users(split.validation, split.train)
    best = tune(contender, train, validation, trials, seed, k=k, times=split.train_times)[0]
    whole = split.with_validation()
    start = time.perf_counter()
    model = checks.fit(contender.make(**best.parameters), whole.train, whole.train_times)
    seconds = time.perf_counter() - start
    test = known_users(whole.test, whole.train)
    return Outcome(best.parameters, best.value, model, evaluation.evaluate(model, whole.train, test, k), seconds)


def known_users(held: sp.csr_matrix, train: sp.csr_matrix) -> sp.csr_matrix:
    """The held-out interactions of those users who have a training interaction."""
    kept = sp.csr_matrix(sp.diags((np.diff(train.indptr) > 0).astype(np.float32)) @ held)
    kept.eliminate_zeros()
    return kept


def stored_bytes(model: Any) -> int:
    """Bytes of all arrays a fitted recommender holds but the histories: weights, factors, vectors, network.

    0 for one that reads the histories only, as UserKNN does.
    """
    total = 0
    for name, value in vars(model).items():
        if name in ("train", "histories"):
            continue
        if isinstance(value, np.ndarray):
            total += value.nbytes
        elif sp.issparse(value):
            total += value.data.nbytes + value.indices.nbytes + value.indptr.nbytes
        elif isinstance(value, list):
            total += sum(stored_bytes(part) for part in value if hasattr(part, "scores"))
        elif hasattr(value, "parameters"):
            total += sum(p.numel() * p.element_size() for p in value.parameters())
        elif hasattr(value, "scores"):
            total += stored_bytes(value)
    return total


# ---------------------------------------------------------------- cold items


def cold_validation(
    split: Split, fraction: float = 0.2, seed: int = 0
) -> tuple[sp.csr_matrix, sp.csr_matrix, np.ndarray]:
    """Of a cold-item split's training part, a ``fraction`` of the warm items made cold in turn, to tune on.

    Returns training and validation matrices and the ids of the items that are cold in it.
    """
    train = split.train
    warm = np.flatnonzero(np.asarray(train.sum(axis=0)).ravel())
    cold = np.sort(np.random.default_rng(seed).permutation(warm)[: max(1, round(len(warm) * fraction))])
    mask = np.zeros(train.shape[1], dtype=bool)
    mask[cold] = True
    return evaluation.restrict(train, ~mask), evaluation.restrict(train, mask), cold


def judge_cold(contender: Contender, split: Split, trials: int = 12, seed: int = 0, k: int = 10) -> Outcome:
    """As ``judge`` for strictly cold items, which are ranked among themselves."""
    train, validation, cold = cold_validation(split, seed=seed)
    best = tune(contender, train, validation, trials, seed, k=k, candidates=cold)[0]
    start = time.perf_counter()
    model = contender.make(**best.parameters).fit(split.train)
    seconds = time.perf_counter() - start
    test = known_users(split.test, split.train)
    judged = evaluation.evaluate(model, split.train, test, k, split.cold_items)
    return Outcome(best.parameters, best.value, model, judged, seconds)


def whitened(raw: np.ndarray, train: sp.csr_matrix) -> np.ndarray:
    """The study's geometry: ZCA whitening with the default shrinkage, fitted on the items that have training interactions."""
    known = np.asarray(train.sum(axis=0)).ravel() > 0
    return geometry.whiten(raw[known]).apply(raw)
