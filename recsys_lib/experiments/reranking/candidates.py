"""What is reranked: the best candidates of a first stage for some users, their histories, and what they chose
in the test."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import scipy.sparse as sp

from recsys_lib import encoders, evaluation, recommenders
from recsys_lib.core.errors import InputError
from recsys_lib.data.datasets import Dataset, plain_files
from recsys_lib.evaluation import splits
from recsys_lib.evaluation.protocols import VALIDATION, dataset_of, split_of
from recsys_lib.evaluation.splits import Split
from recsys_lib.evaluation.tuning import Method, cold_validation, known_users, tune
from recsys_lib.experiments.study.search_spaces import Space
from recsys_lib.llm.prompts import rated
from recsys_lib.llm.rerank import Lists
from recsys_lib.recommenders import checks
from recsys_lib.vectors import geometry, similarity

STAGES = ("EASE", "ItemKNN", "cold map")
CATALOGUES = ("ml-100k", "book-crossing", "citeulike")
# Spaces of the first stages, apart from those of other studies: recorded cases must keep their candidates.
TRIALS = 6
EASE_SPACE: Space = {"regularization": [100.0, 200.0, 300.0, 400.0, 600.0, 800.0]}
ITEM_KNN_SPACE: Space = {
    "neighbours": [20, 50, 100, 200, 400],
    "shrinkage": [0.0, 10.0, 30.0],
    "unit_users": [False, True],
}
EASE_MAP_SPACE: Space = {
    "regularization": [0.5, 1.0, 2.0, 4.0, 8.0, 16.0],
    "ease_regularization": [50.0, 100.0, 200.0, 400.0],
}


@dataclass(frozen=True, eq=False)
class Catalogue:
    """Interactions with what a prompt says about items: ``kind`` of ``prompts.KINDS``, one text and one title
    an item."""

    name: str
    kind: str
    data: Dataset
    texts: list[str]
    titles: list[str]

    def ratings(self) -> sp.csr_matrix:
        """Ratings ``[n_users, n_items]``, 0 where there is none."""
        known = np.nan_to_num(self.data.rating.astype(np.float32))
        return sp.csr_matrix(
            (known, (self.data.user, self.data.item)), shape=(self.data.n_users, self.data.n_items)
        )


@dataclass(frozen=True, eq=False)
class Candidates:
    """A first stage's lists: ``users [n]``, item ``ids [n, k]`` and ``scores [n, k]`` best first, test items
    as CSR ``[n, n_items]``.

    ``histories``: item ids of each user's training interactions, the most recent first.
    """

    users: np.ndarray
    ids: np.ndarray
    scores: np.ndarray
    relevant: sp.csr_matrix
    histories: list[np.ndarray] = field(default_factory=list)

    def first(self, n: int) -> Candidates:
        """The lists of the first ``n`` users."""
        return Candidates(
            self.users[:n], self.ids[:n], self.scores[:n], self.relevant[:n], self.histories[:n]
        )

    def lists(
        self,
        texts: Sequence[str],
        max_history: int,
        ratings: sp.csr_matrix | None = None,
        language: str = "en",
    ) -> Lists:
        """As texts, for a reranker; with ``ratings [n_users, n_items]`` the history says how each item was
        rated."""
        histories = [[texts[i] for i in h[:max_history]] for h in self.histories]
        if ratings is not None:
            given = [ratings[u, h[:max_history]] for u, h in zip(self.users, self.histories, strict=True)]
            histories = [
                rated(h, np.asarray(g.todense()).ravel().tolist(), language) if h else h
                for h, g in zip(histories, given, strict=True)
            ]
        return Lists(histories, [[texts[i] for i in row if i >= 0] for row in self.ids])


def catalogue(name: str, folder: str | Path | None = None) -> Catalogue:
    """A catalogue by name; ``citeulike`` is read from a ``folder`` with interactions.csv and items.csv
    (title, abstract).

    Raises:
        InputError: an unknown name, or citeulike without its folder.
    """
    if name not in CATALOGUES:
        raise InputError(f"catalogue={name!r}: expected one of {', '.join(CATALOGUES)}")
    if name == "citeulike":
        if folder is None:
            raise InputError(
                "catalogue='citeulike': expected the folder that holds its interactions.csv and items.csv"
            )
        data = plain_files.load_plain(plain_files.SHIFTED, Path(folder))
        texts = data.item_texts(("title", "description"))
        return Catalogue(name, "paper", data, texts, data.item_texts(("title",)))
    data = dataset_of(f"{name} random")
    kind, fields = ("film", ("title", "year")) if name == "ml-100k" else ("book", ("title", "author"))
    return Catalogue(name, kind, data, data.item_texts(fields), data.item_texts(("title",)))


def warm_split(source: Catalogue, seed: int) -> Split:
    """The random split of the study's protocol; of a folder's catalogue a fifth of each user's
    interactions."""
    if source.name == "citeulike":
        return splits.random_split(source.data, 0.2, VALIDATION, seed)
    return split_of(f"{source.name} random", seed)


def first_stage(
    source: Catalogue, stage: str, n_users: int, n_validation: int, seed: int = 0, k: int = 20,
    known: int = 0,
) -> tuple[Candidates, Candidates]:  # fmt: skip
    """The best ``k`` candidates of a tuned first stage for random users: on the validation part, then on the
    test.

    The users of the validation lists are others than those of the test lists where there are enough. A
    smaller ``n_users`` gives the first of the same users. ``known``: how many interactions of each history,
    the most recent, the first stage and the reranker know; 0: all.

    Raises:
        InputError: an unknown stage.
    """
    if stage not in STAGES:
        raise InputError(f"stage={stage!r}: expected one of {', '.join(STAGES)}")
    if stage == "cold map":
        return _cold(source, n_users, n_validation, seed, k, known)
    make, space = (
        (recommenders.EASE, EASE_SPACE) if stage == "EASE" else (recommenders.ItemKNN, ITEM_KNN_SPACE)
    )
    split = warm_split(source, seed)
    held = known_users(split.validation, split.train)
    best = tune(Method(make, space), split.train, held, TRIALS, seed)[0].parameters
    return warm_lists(lambda: make(**best), split, n_users, n_validation, seed, k, known)


def warm_lists(
    make: Callable[[], recommenders.Recommender], split: Split, n_users: int, n_validation: int,
    seed: int = 0, k: int = 20, known: int = 0,
) -> tuple[Candidates, Candidates]:  # fmt: skip
    """As ``first_stage``, for a recommender that ``make`` makes at its tuned point, of all items."""
    held, whole = known_users(split.validation, split.train), split.with_validation()
    test_users, validation_users = _draw(split.test, whole.train, held, n_users, n_validation, seed)
    before = checks.fit(make(), split.train, split.train_times)
    validation = _lists(before, split, held, validation_users, k, None, seed, known)
    after = checks.fit(make(), whole.train, whole.train_times)
    return validation, _lists(after, whole, whole.test, test_users, k, None, seed, known)


def _cold(
    source: Catalogue, n_users: int, n_validation: int, seed: int, k: int, known: int
) -> tuple[Candidates, Candidates]:
    """Items without interactions, ranked among themselves by the map from text to EASE's columns."""
    split = splits.cold_item_split(source.data, 0.2, seed)
    raw = encoders.load("minilm", precision="float32").encode(source.data.item_texts(), progress=False)
    warm = np.asarray(split.train.sum(axis=0)).ravel() > 0
    vectors = geometry.centre(raw[warm]).apply(raw)
    train, held, cold = cold_validation(split, seed=seed)
    method = Method(lambda **p: recommenders.EASEMap(vectors, **p), EASE_MAP_SPACE)
    best = tune(method, train, held, TRIALS, seed, candidates=cold)[0].parameters
    return cold_lists(lambda: method.make(**best), split, n_users, n_validation, seed, k, known)


def cold_lists(
    make: Callable[[], recommenders.Recommender], split: Split, n_users: int, n_validation: int,
    seed: int = 0, k: int = 20, known: int = 0,
) -> tuple[Candidates, Candidates]:  # fmt: skip
    """As ``warm_lists``, of the split's cold items; on the validation part of warm items made cold in turn,
    as ``tuning.cold_task`` makes them with the same ``seed``.
    """
    train, held, cold = cold_validation(split, seed=seed)
    test_users, validation_users = _draw(
        split.test, split.train, known_users(held, train), n_users, n_validation, seed
    )
    items = split.dataset.item[split.train_rows]
    inner = replace(split, train_rows=split.train_rows[~np.isin(items, cold)])
    validation = _lists(make().fit(train), inner, held, validation_users, k, cold, seed, known)
    after = make().fit(split.train)
    return validation, _lists(after, split, split.test, test_users, k, split.cold_items, seed, known)


def _draw(
    test: sp.csr_matrix, train: sp.csr_matrix, held: sp.csr_matrix, n_users: int, n_validation: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Users with something to find in a random order: the first for the test, the last for the validation
    lists."""
    order = np.random.default_rng([seed, 6]).permutation(train.shape[0])
    for_test = order[(np.diff(known_users(test, train).indptr) > 0)[order]][:n_users]
    reversed_order = order[::-1]
    return for_test, reversed_order[(np.diff(held.indptr) > 0)[reversed_order]][:n_validation]


def _lists(
    fitted: recommenders.Recommender, split: Split, relevant: sp.csr_matrix, users: np.ndarray, k: int,
    candidates: np.ndarray | None, seed: int, known: int = 0,
) -> Candidates:  # fmt: skip
    train, histories = split.train, histories_of(split, users, seed)
    if known:
        histories = [history[:known] for history in histories]
        scores = np.array(checks.score(fitted, checks.as_matrix(histories, train.shape[1])))
        # All that was seen stays out, not only what is known: a test item is none of it.
        scores[train[users].nonzero()] = -np.inf
        if candidates is not None:
            scores[:, np.setdiff1d(np.arange(train.shape[1]), candidates)] = -np.inf
        ids = similarity.rank_scores(scores, k)[0]
    else:
        ids = evaluation.recommend(fitted, train, users, k, candidates)
        scores = np.asarray(fitted.scores(users))
    return Candidates(
        users, ids, np.take_along_axis(scores, np.maximum(ids, 0), axis=1), relevant[users], histories
    )


def histories_of(split: Split, users: np.ndarray, seed: int) -> list[np.ndarray]:
    """Training items of each user, the most recent first; in random order where the data set has no times."""
    train, times = split.train, split.train_times
    found = []
    for user in users:
        items = train.indices[train.indptr[user] : train.indptr[user + 1]]
        if times is None:
            found.append(np.random.default_rng([seed, int(user)]).permutation(items))
        else:
            row = times[user]
            found.append(row.indices[np.lexsort((row.indices, -row.data))])
    return found


# ---------------------------------------------------------------- controls


def masked_titles(source: Catalogue) -> list[str]:
    """Texts without titles: year and genres of a film, author of a book, the abstract of a paper."""
    fields = {"film": ("year", "genres"), "book": ("author", "year"), "paper": ("abstract",)}[source.kind]
    return source.data.item_texts(fields)


def ids_for_titles(source: Catalogue) -> list[str]:
    """Texts that say only which item it is, by a number."""
    return [f"{source.kind} {i}" for i in range(source.data.n_items)]


def shuffled_histories(found: Candidates, seed: int = 0) -> Candidates:
    """The same histories, each in random order."""
    rng = np.random.default_rng(seed)
    return replace(found, histories=[rng.permutation(h) for h in found.histories])


def others_histories(found: Candidates) -> Candidates:
    """Every user with the history of the user before."""
    return replace(found, histories=[*found.histories[-1:], *found.histories[:-1]])


CONTROLS: dict[str, Callable[[Catalogue, Candidates], tuple[list[str], Candidates]]] = {
    "none": lambda source, found: (source.texts, found),
    "ratings shown": lambda source, found: (source.texts, found),
    "titles masked": lambda source, found: (masked_titles(source), found),
    "ids for titles": lambda source, found: (ids_for_titles(source), found),
    "history shuffled": lambda source, found: (source.texts, shuffled_histories(found)),
    "another user's history": lambda source, found: (source.texts, others_histories(found)),
    "no history": lambda source, found: (
        source.texts,
        replace(found, histories=[h[:0] for h in found.histories]),
    ),
}
