"""The study's comparison at small size, for a reader's own catalogue: sources of text, contenders, splits, results, cost."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from recsys_lib import encoders, evaluation, recommenders
from recsys_lib.core.errors import InputError
from recsys_lib.data import datasets
from recsys_lib.data.datasets import Dataset
from recsys_lib.evaluation import Evaluation, splits
from recsys_lib.evaluation.splits import Split
from recsys_lib.experiments import study
from recsys_lib.experiments.own_catalogue.reading import check_options, name_parameter
from recsys_lib.experiments.study import Method, Outcome
from recsys_lib.recommenders import Recommender, checks
from recsys_lib.vectors import geometry

if TYPE_CHECKING:
    import pandas as pd

# What a contender reads beside interactions. Chance reads nothing.
CHANCE, COUNTING, CHEAP, LANGUAGE = "chance", "counting", "cheap text", "language model"
# EASE holds matrices of items × items and takes the cube of their number: tens of seconds a fit at this many. With text inside, or
# under a map from text, it takes several times as long and is left out sooner.
MOST_ITEMS_OF_EASE, MOST_ITEMS_OF_TEXT_EASE = 15_000, 5_000
MOST_LABELS = 2048
# A split at one moment that leaves fewer users than this to test is replaced, if another leaves twice as many.
MIN_TEST_USERS = 100
MAX_LIST = 1000


# ---------------------------------------------------------------- what is compared


def read(
    interactions: Path | None,
    items: Path | None,
    sample_folder: Path,
    *,
    columns: Mapping[str, str] | None = None,
    reading: Mapping[str, str] | None = None,
    min_rating: float = 0.0,
    min_interactions: int = 1,
) -> Dataset:
    """The user's two files (see ``datasets.from_csv``, and ``reading.OPTIONS`` for ``reading``), or the sample shop, written into ``sample_folder``, if both are None.

    Of several interactions of one user with one item the first counts; those whose item is not in the table are dropped;
    ratings below ``min_rating`` are left out if that is above 0; then the ``min_interactions``-core, if that is above 1.

    Raises:
        InputError: an unknown option, one file without the other, what ``from_csv`` refuses, or nothing is left.
    """
    options = check_options(reading)
    if (interactions is None) != (items is None):
        given, missing = ("interactions", "items") if items is None else ("items", "interactions")
        raise InputError(f"{given} is given and {missing} is not: give both files, or neither for the sample")
    if interactions is None or items is None:
        interactions, items = datasets.write_sample(sample_folder)
        options = check_options(None)  # those given are about the user's files
    try:
        data = datasets.from_csv(
            interactions, items, columns=columns, duplicates="first", unknown_items="drop", **options
        )
    except InputError as error:
        raise InputError(name_parameter(str(error))) from error
    data = replace(data, notes=tuple(map(name_parameter, data.notes)))
    if min_rating > 0:
        liked = data.rating >= min_rating
        if not liked.any():
            seen = (
                "there are no ratings" if np.isnan(data.rating).all() else f"the highest is {np.nanmax(data.rating):g}"
            )
            raise InputError(f"min_rating={min_rating!r}: no interaction is rated so high; {seen}")
        data = replace(
            data,
            user=data.user[liked],
            item=data.item[liked],
            rating=data.rating[liked],
            timestamp=None if data.timestamp is None else data.timestamp[liked],
        )
    return data if min_interactions == 1 else data.k_core(min_interactions)


def check_parameters(k: int, trials: int, seeds: int, matters: float, min_rating: float, min_interactions: int) -> None:
    """Refuse parameters out of range before anything is read or computed.

    Raises:
        InputError: the first parameter out of range.
    """
    for name, value, least in (("k", k, 1), ("trials", trials, 1), ("seeds", seeds, 1),
                               ("min_interactions", min_interactions, 1)):  # fmt: skip
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise InputError(f"{name}={value!r}: expected a whole number of at least {least}")
    if not 0 < matters < 1:
        raise InputError(f"matters={matters!r}: expected a share between 0 and 1, such as 0.05")
    if not 0 <= min_rating < np.inf:
        raise InputError(f"min_rating={min_rating!r}: expected a number of at least 0")


def check_list_length(k: int, data: Dataset) -> None:
    """Refuse lists longer than the catalogue or than ``MAX_LIST``; up to 10 always pass.

    Raises:
        InputError: ``k`` is too large.
    """
    limit = min(MAX_LIST, max(10, data.n_items))
    if k > limit:
        raise InputError(f"k={k!r}: expected at most {limit:,} of the catalogue's {data.n_items:,} items")


@dataclass(frozen=True)
class Entry:
    """A contender, what it reads (one of chance, counting, cheap text, language model) and, of text, from which source."""

    contender: Method
    kind: str
    source: str = ""


def encode_sources(data: Dataset, columns: Sequence[str], labels: str, encoder: str) -> dict[str, np.ndarray]:
    """Raw item vectors ``[n_items, d]`` by source: labels (where that column is named), tf-idf and ``encoder`` (where texts are).

    Raises:
        InputError: ``encoder`` is one of those that only count.
    """
    if encoder in ("tfidf", "genres", "labels", "year"):
        raise InputError(f"encoder={encoder!r}: expected a language model; what only counts takes part anyway")
    texts, sources = data.item_texts(tuple(columns)), {}
    if labels:
        vectors = label_vectors(data.items[labels].astype("string").fillna("").tolist())
        if vectors.any():
            sources["labels"] = vectors
    if not any(any(c.isalnum() for c in t) for t in texts):
        return sources
    # An encoder gives a vector to the empty text too, near which whitening would place every item without text.
    written = np.array([any(c.isalnum() for c in t) for t in texts])
    for source, name in (("tf-idf", "tfidf"), (encoder, encoder)):
        sources[source] = np.where(written[:, None], study.encode(data, name, texts), np.float32(0))
    return sources


def whitened(raw: np.ndarray, train: sp.csr_matrix) -> np.ndarray:
    """Whitened vectors ``[n_items, d]``, fitted on items with text and training interactions; items without text stay 0."""
    written = np.asarray(raw.any(axis=1))
    if written.all():
        return study.whitened(raw, train)
    known = written & (np.asarray(train.sum(axis=0)).ravel() > 0)
    if not known.any():
        return raw
    return np.where(written[:, None], geometry.whiten(raw[known]).apply(raw), np.float32(0))


def label_vectors(labels: Sequence[str]) -> np.ndarray:
    """One component per label that at least two items have, the ``MOST_LABELS`` commonest: float32 ``[n, labels]``.

    Labels are parted by ``, ; |`` or ``>``.

    >>> label_vectors(["Tea > Green", "Tea;Black", "Mug"]).tolist()
    [[1.0], [1.0], [0.0]]
    """
    table = str.maketrans(dict.fromkeys(";|>", ","))
    parted = [text.translate(table) for text in labels]
    counts = Counter(label for text in parted for label in {part.strip() for part in text.split(",")} if label)
    common = sorted(label for label, n in counts.most_common(MOST_LABELS) if n > 1)
    if not common:
        return np.zeros((len(labels), 1), dtype=np.float32)
    return encoders.load("genres", corpus=common).encode(parted)


def _penalties(train: sp.csr_matrix) -> list[float]:
    """Values of EASE's λ around those that do well from 8 to 100 interactions per item: 1 to 40 times the items' mean.

    The Gram matrix's trace is the number of interactions, so its condition number stays below the number of items.
    """
    mean = train.nnz / max(1, np.count_nonzero(train.sum(axis=0)))
    return [float(f"{max(1.0, mean * factor):.2g}") for factor in (1.0, 2.5, 6.0, 15.0, 40.0)]


def counting_field(train: sp.csr_matrix, timed: bool = False) -> dict[str, Entry]:
    """Methods that read interactions only: popularity (and, if ``timed``, a recent one), ItemKNN, iALS, and EASE where it fits.

    Search spaces follow the number of interactions per item, which in a shop may be far below the study's.
    """
    r = recommenders
    knn: dict[str, Sequence[Any]] = {"neighbours": [20, 50, 100, 400], "shrinkage": [0.0, 10.0, 30.0]}
    ials: dict[str, Sequence[Any]] = {
        "factors": [16, 64, 128], "regularization": [10.0, 30.0, 100.0], "alpha": [3.0, 10.0, 30.0]
    }  # fmt: skip
    field = {
        "popularity": Method(r.Popularity),
        "ItemKNN": Method(r.ItemKNN, knn),
        "iALS": Method(r.IALS, ials),
    }
    if timed:
        field["recent popularity"] = Method(r.RecentPopularity, {"half_life_days": [3.0, 10.0, 30.0, 100.0]})
    if train.shape[1] <= MOST_ITEMS_OF_EASE:
        field["EASE"] = Method(r.EASE, {"regularization": _penalties(train)})
    return {name: Entry(contender, COUNTING) for name, contender in field.items()}


class _FittedOnce:
    """A recommender that is not fitted again on the very matrix it was fitted on last: the trials of a blend share its base."""

    def __init__(self, recommender: Recommender):
        self.recommender, self.reads_times = recommender, getattr(recommender, "reads_times", False)
        self.train: sp.csr_matrix | None = None

    def fit(self, train: sp.csr_matrix, times: sp.csr_matrix | None = None) -> _FittedOnce:
        if train is not self.train:
            checks.fit(self.recommender, train, times)
            self.train = train
        return self

    def scores(self, users: np.ndarray) -> np.ndarray:
        return self.recommender.scores(users)


def _blend(base: Recommender, vectors: np.ndarray) -> Method:
    text = recommenders.TextProfile(vectors)
    return Method(
        lambda weight: recommenders.ScoreBlend([base, text], [1.0, weight]), {"weight": [0.0, 0.05, 0.1, 0.2, 0.4]}
    )


def text_field(
    sources: Mapping[str, np.ndarray], encoder: str, train: sp.csr_matrix, counted: Mapping[str, Outcome]
) -> dict[str, Entry]:
    """Methods that read text: each source alone, blended into the best of the ``counted`` at its tuned point, and in EASE if it fits.

    ``sources``: raw vectors as ``encode_sources`` gives them. The language model's are whitened on the items of ``train``, and
    raw ones take part beside them. The blend's weight may be 0, so that text can only be declined, not forced.
    """
    r, field = recommenders, {}
    base = max(counted, key=lambda name: counted[name].validation)
    start, point = counting_field(train, timed=True)[base].contender, counted[base].parameters
    for source, raw in sources.items():
        kind, vectors, alone = CHEAP, raw, source
        if source == encoder:
            kind, vectors, alone = LANGUAGE, whitened(raw, train), f"{encoder}, whitened"
            field[f"{encoder}, raw"] = Entry(Method(lambda v=raw: r.TextProfile(v)), kind, source)
        field[alone] = Entry(Method(lambda v=vectors: r.TextProfile(v)), kind, source)
        field[f"best counting + {source}"] = Entry(_blend(_FittedOnce(start.make(**point)), vectors), kind, source)
        if train.shape[1] <= MOST_ITEMS_OF_TEXT_EASE:
            space = {"regularization": _penalties(train)[1:4], "weight": [0.01, 0.03, 0.1]}
            field[f"EASE + {source}"] = Entry(Method(lambda v=vectors, **p: r.TextEASE(v, **p), space), kind, source)
    return field


def cold_field(sources: Mapping[str, np.ndarray], encoder: str, train: sp.csr_matrix) -> dict[str, Entry]:
    """Methods that can place an item which nobody has had: each source of text as it is and through a map, and chance.

    The map goes from text to EASE's columns, in catalogues too large for that to interaction factors.
    """
    r, small = recommenders, train.shape[1] <= MOST_ITEMS_OF_TEXT_EASE
    noise = np.random.default_rng(0).standard_normal((train.shape[1], 64)).astype(np.float32)
    field = {"chance": Entry(Method(lambda: r.TextProfile(noise)), CHANCE)} if sources else {}
    for source, raw in sources.items():
        kind, vectors = (LANGUAGE, whitened(raw, train)) if source == encoder else (CHEAP, raw)
        field[source] = Entry(Method(lambda v=vectors: r.TextProfile(v)), kind, source)
        space: dict[str, Sequence[Any]] = {"regularization": [0.3, 1.0, 3.0, 10.0]}
        if small:
            space |= {"ease_regularization": _penalties(train)[1:4]}
            mapped = Method(lambda v=vectors, **p: r.EASEMap(v, **p), space)
        else:
            space |= {"factors": [16, 32, 64]}
            mapped = Method(lambda v=vectors, **p: r.RidgeMap(v, **p), space)
        field[f"{source}, mapped"] = Entry(mapped, kind, source)
    return field


# ---------------------------------------------------------------- how it is judged


def warm_splits(data: Dataset, by_time: bool, seeds: int) -> list[Split]:
    """The latest fifth as the test, once, if ``by_time`` and there are times; else a random fifth of all, ``seeds`` times.

    A tenth before it, or beside it, is for tuning.

    Raises:
        InputError: fewer than one seed; nobody is left to tune on or to judge.
    """
    if seeds < 1:
        raise InputError(f"seeds={seeds!r}: expected at least 1")
    timed = by_time and data.timestamp is not None
    if timed:
        parts = [_timed_split(data)]
    else:
        parts = [splits.random_split(data, 0.2, 0.1, seed, per_user=False) for seed in range(seeds)]
    for part in parts:
        tuned = study.known_users(part.validation, part.train).nnz
        if not tuned or not study.known_users(part.test, part.with_validation().train).nnz:
            mend = (
                "nobody in the latest part has a past: set by_time to False" if timed and np.bincount(data.user).max() > 1
                else "nobody has one to learn from, one to tune on and one to find: bring more data"
            )  # fmt: skip
            raise InputError(f"{data.name}: {data.n_users} users, {data.n_interactions} interactions; {mend}")
    return parts


def _timed_split(data: Dataset) -> Split:
    """The latest fifth of all, unless it leaves fewer than ``MIN_TEST_USERS`` and each user's latest fifth twice as many."""
    part = splits.temporal_split(data, 0.2, 0.1)
    n_users = count_test_users(part)
    if n_users >= MIN_TEST_USERS:
        return part
    other = splits.last_of_each_user(data, 0.2, 0.1)
    return other if count_test_users(other) >= max(1, 2 * n_users) else part


def count_test_users(split: Split) -> int:
    """How many users have a test interaction and a past."""
    held = study.known_users(split.test, split.with_validation().train)
    return int((np.diff(held.indptr) > 0).sum())


def reservations(data: Dataset, split: Split, columns: Sequence[str], by_time: bool = True) -> list[str]:
    """What a report should open with, one sentence each: how ids were read, a replaced split, items without text."""
    lines = list(data.notes)
    if by_time and data.timestamp is not None and not split.name.startswith("temporal"):
        lines.append(
            f"The latest fifth of all interactions would leave {count_test_users(splits.temporal_split(data, 0.2, 0.1)):,} users "
            f"to test: the test is the last fifth of each user's history, which leaves {count_test_users(split):,}."
        )
    empty = sum(not any(c.isalnum() for c in text) for text in data.item_texts(tuple(columns)))
    if empty:
        lines.append(
            f"{empty:,} of {data.n_items:,} items ({empty / data.n_items:.0%}) have no text: "
            "text says nothing of them, so they get no score from it."
        )
    return lines


def cold_splits(data: Dataset, seeds: int) -> list[tuple[int, Split]]:
    """Of ``seeds`` random fifths of the items, made cold, those that can be tuned and judged, each with its seed."""
    parts = []
    for seed in range(seeds if data.n_items > 4 else 0):
        part = splits.cold_item_split(data, 0.2, seed)
        train, validation, _ = study.cold_validation(part, seed=seed)
        if study.known_users(validation, train).nnz and study.known_users(part.test, part.train).nnz:
            parts.append((seed, part))
    return parts


@dataclass(frozen=True, eq=False)
class Result:
    """A contender over all splits: its kind, mean validation value, each user's mean test metrics, last outcome, and source."""

    kind: str
    validation: float
    test: Evaluation
    last: Outcome
    source: str = ""


def gather(field: Mapping[str, Entry], outcomes: Mapping[str, Sequence[Outcome]]) -> dict[str, Result]:
    """Results by name from the outcomes of every split."""
    return {
        name: Result(
            field[name].kind,
            float(np.mean([o.validation for o in done])),
            evaluation.average([o.test for o in done]),
            done[-1],
            field[name].source,
        )
        for name, done in outcomes.items()
    }


def table(results: Mapping[str, Result]) -> pd.DataFrame:
    """One row per contender, best NDCG on top: what it reads, the validation's NDCG, and metrics of the test."""
    import pandas as pd

    columns = ["reads", "NDCG, validation", "NDCG", "recall", "hit rate"]
    rows = {}
    for name, result in results.items():
        mean = result.test.mean()
        rows[name] = [result.kind, result.validation, mean["ndcg"], mean["recall"], mean["hit_rate"]]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).sort_values(
        "NDCG", ascending=False, kind="stable"
    )


def seconds_per_1000(source: str, texts: Sequence[str], most: int = 256) -> float:
    """Seconds to encode 1,000 of these texts with nothing cached, from up to ``most`` of them; loading the model is not counted."""
    sample = list(dict.fromkeys(t for t in texts if t))[:most]
    if source == "labels":
        start = time.perf_counter()
        label_vectors(sample)
    elif source == "tf-idf":
        start = time.perf_counter()
        encoders.load("tfidf", corpus=sample).encode(sample)
    else:
        name, _, pooling = source.partition(" ")
        options: dict[str, Any] = {"pooling": pooling} if pooling else {}
        encoder = encoders.load(
            name, **({} if name == "wordllama" else options | {"precision": "float32", "cache": False})
        )
        encoder.encode(sample[:2], progress=False)  # loads the model
        start = time.perf_counter()
        encoder.encode(sample, progress=False)
    return (time.perf_counter() - start) / max(1, len(sample)) * 1000
