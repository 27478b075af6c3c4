"""Which of the study's methods take part for a user's catalogue, with the study's search spaces."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from recsys_lib import recommenders
from recsys_lib.experiments.own_catalogue.sources import (
    CHANCE,
    COLLABORATIVE,
    JOINED,
    LANGUAGE,
    Source,
    joined_with_cheap,
)
from recsys_lib.experiments.study import Method, search_spaces
from recsys_lib.recommenders import Recommender, checks
from recsys_lib.vectors import similarity

# EASE holds matrices of items × items and takes the cube of their number: about ten seconds a fit at 10,000
# on two cores.
MAX_ITEMS_OF_EASE = 15_000
# With text inside, and with kernels over texts, every point takes several times as long: left out sooner.
# Above this many items λ is tuned in factors of 4 and shared with the maps, texts are mapped by their
# ``MAX_DIMENSIONS`` strongest directions, and cold items are drawn once.
MAX_ITEMS_OF_TEXT_EASE = 5_000
MAX_DIMENSIONS = 512
# EASE is measured as it is served: every column cut to its largest weights.
SERVED_TOP = 200
# What a fitted recommender keeps for others to share.
SHARED_BYTES = 3 * 2**30
# The study's weights of text in a blend, and none: text can be declined, not forced.
WEIGHTS = [0.0, *(w for w in search_spaces.BLEND_SPACE["weight"] if w > 0)]


@dataclass(frozen=True)
class Entry:
    """A method, its kind (chance, collaborative filtering, cheap text, language model) and, of text, its
    source.
    """

    method: Method
    kind: str
    source: str = ""


def interaction_methods(n_items: int, timed: bool = False) -> dict[str, Entry]:
    """Collaborative filtering: popularity (if ``timed`` also a recent one), ItemKNN, iALS, and EASE where
    it fits.
    """
    r = recommenders
    found = {
        "popularity": Method(r.Popularity),
        "ItemKNN": Method(r.ItemKNN, search_spaces.ITEM_KNN_SPACE),
        "iALS": Method(r.IALS, search_spaces.IALS_SPACE),
    }
    if timed:
        found["recent popularity"] = Method(r.RecentPopularity, search_spaces.RECENT_POPULARITY_SPACE)
    if n_items <= MAX_ITEMS_OF_EASE:
        space = search_spaces.EASE_SPACE
        if n_items > MAX_ITEMS_OF_TEXT_EASE:
            space = {"regularization": space["regularization"][1::2]}
        found["EASE"] = Method(lambda **p: r.EASE(top=SERVED_TOP, **p), space)
    return {name: Entry(method, COLLABORATIVE) for name, method in found.items()}


def text_methods(
    sources: Mapping[str, Source], train: sp.csr_matrix, base: FittedOnce, ease_lambda: float | None = None
) -> dict[str, Entry]:
    """Methods that read text: each source alone, blended into ``base``, and inside EASE where that fits.

    ``base``: the tuned collaborative filtering that did best on the validation part, fitted once for all
    blends. ``ease_lambda``: the λ that EASE chose, which EASE with text inside shares; None where EASE does
    not fit. Both keep as many weights, and EASE without text is always among the points tried.
    """
    r, found = recommenders, {}
    strength = ease_lambda if train.shape[1] <= MAX_ITEMS_OF_TEXT_EASE else None
    ease = Method(r.EASE) if strength is None else Method(lambda: r.EASE(strength, top=SERVED_TOP))
    for name, source in sources.items():
        vectors, alone = source.vectors, name
        if source.kind == LANGUAGE:
            found[f"{name}, raw"] = Entry(Method(lambda v=vectors: r.TextProfile(v)), LANGUAGE, name)
            vectors, alone = source.whitened(train), f"{name}, whitened"
        found[alone] = Entry(Method(lambda v=vectors: r.TextProfile(v)), source.kind, name)
        text = FittedOnce(r.TextProfile(vectors))
        found[f"{COLLABORATIVE} + {name}"] = Entry(_blend(base, text), source.kind, name)
        if strength is not None:
            make = lambda v=vectors, **p: r.TextEASE(v, strength, top=SERVED_TOP, **p)  # noqa: E731
            inside = Method(make, search_spaces.PRIOR_SPACE, "both", ease, {"weight": 0.0, "sharpness": 1.0})
            found[f"EASE with {name} inside"] = Entry(inside, source.kind, name)
    return found


def _blend(base: FittedOnce, text: FittedOnce) -> Method:
    return Method(lambda weight: recommenders.ScoreBlend([base, text], [1.0, weight]), {"weight": WEIGHTS})


def cold_methods(
    sources: Mapping[str, Source], train: sp.csr_matrix, shared: SharedEASE, ease_lambda: float | None = None
) -> dict[str, Entry]:
    """Methods that can rank cold items: chance, and each source as it is and mapped to EASE's columns, as
    in notebook 05.

    A language model is mapped alone and joined with the cheap text; the richest sources also over kernels,
    where the catalogue is small enough. ``ease_lambda``: the λ that EASE chose, which larger catalogues
    take for the maps too. Where EASE does not fit, texts are mapped to interaction factors instead.
    """
    if not sources:
        return {}
    noise = np.random.default_rng(0).standard_normal((train.shape[1], 64)).astype(np.float32)
    found = {"chance": Entry(Method(lambda: recommenders.TextProfile(noise)), CHANCE)}
    for name, source in sources.items():
        model = source.kind == LANGUAGE
        profile = source.whitened(train) if model else source.vectors
        found[name] = Entry(Method(lambda v=profile: recommenders.TextProfile(v)), source.kind, name)
        mapped = source.centred(train) if model else source.vectors
        richest = name == JOINED or len(sources) == 1
        found |= _mapped(name, name, mapped, source.kind, shared, ease_lambda, kernel=richest)
        joined = joined_with_cheap(sources, name, train) if model else None
        if joined is not None:
            found |= _mapped(
                f"{name} and cheap text", name, joined, LANGUAGE, shared, ease_lambda, kernel=True
            )
    return found


def _mapped(
    label: str, source: str, vectors: np.ndarray, kind: str, shared: SharedEASE, ease_lambda: float | None,
    kernel: bool = False,
) -> dict[str, Entry]:  # fmt: skip
    """The linear map of these vectors, and the one over kernels if asked for, by name."""
    r, n_items = recommenders, len(vectors)
    if n_items > MAX_ITEMS_OF_EASE:
        ridge = Method(lambda **p: r.RidgeMap(vectors, **p), search_spaces.COLD_RIDGE_MAP_SPACE)
        return {f"{label}, mapped": Entry(ridge, kind, source)}
    space = dict(search_spaces.EASE_MAP_SPACE)
    if n_items > MAX_ITEMS_OF_TEXT_EASE:
        vectors = strongest_directions(vectors, MAX_DIMENSIONS)
        space["ease_regularization"] = space["ease_regularization"] if ease_lambda is None else [ease_lambda]
    linear = Method(lambda **p: r.EASEMap(vectors, columns=shared, **p), space)
    found = {f"{label}, mapped": Entry(linear, kind, source)}
    if kernel and n_items <= MAX_ITEMS_OF_TEXT_EASE:
        curved = Method(linear.make, search_spaces.EASE_KERNEL_SPACE, "text", linear, {"width": None})
        found[f"{label}, kernel map"] = Entry(curved, kind, source)
    return found


def strongest_directions(vectors: np.ndarray, most: int) -> np.ndarray:
    """Rows of length 1 of ``vectors [n, d]`` in their ``most`` strongest directions; unchanged where d is
    no more.

    The directions are the eigenvectors of ``VᵀV`` with the largest eigenvalues (latent semantic analysis);
    a ridge regression does not depend on their signs.
    """
    if vectors.shape[1] <= most:
        return vectors
    unit = similarity.normalize(vectors)
    directions = np.linalg.eigh((unit.T @ unit).astype(np.float64))[1][:, -most:]
    return unit @ directions.astype(np.float32)


# ---------------------------------------------------------------- fits that are shared


def fingerprint(train: sp.csr_matrix) -> bytes:
    """16 bytes, equal for matrices of equal content."""
    parts = (np.asarray(train.shape), train.indptr, train.indices, train.data)
    return hashlib.blake2b(
        b"".join(np.ascontiguousarray(p).tobytes() for p in parts), digest_size=16
    ).digest()


class SharedEASE:
    """EASE's weights by training matrix and λ, each fitted once; only those of the latest matrix are kept."""

    def __init__(self) -> None:
        self._matrix = b""
        self._weights: dict[float, np.ndarray] = {}

    def __call__(self, train: sp.csr_matrix, regularization: float) -> np.ndarray:
        key = fingerprint(train)
        if key != self._matrix:
            self._matrix, self._weights = key, {}
        if regularization not in self._weights:
            weights = recommenders.EASE(regularization).fit(train).weights
            assert isinstance(weights, np.ndarray)
            while self._weights and (len(self._weights) + 1) * weights.nbytes > SHARED_BYTES:
                self._weights.pop(next(iter(self._weights)))
            self._weights[regularization] = weights
        return self._weights[regularization]


class FittedOnce:
    """A recommender that is fitted once for a matrix and keeps the scores of users: the points of a blend
    share both.
    """

    def __init__(self, recommender: Recommender) -> None:
        self.recommender, self.reads_times = recommender, getattr(recommender, "reads_times", False)
        self._matrix = b""
        self._scores: dict[bytes, np.ndarray] = {}

    def fit(self, train: sp.csr_matrix, times: sp.csr_matrix | None = None) -> FittedOnce:
        key = fingerprint(train)
        if key != self._matrix:
            checks.fit(self.recommender, train, times)
            self._matrix, self._scores = key, {}
        return self

    def scores(self, users: np.ndarray) -> np.ndarray:
        key = np.asarray(users).tobytes()
        if key not in self._scores:
            scores = self.recommender.scores(users)
            if sum(kept.nbytes for kept in self._scores.values()) + scores.nbytes > SHARED_BYTES // 8:
                return scores
            self._scores[key] = scores
        return self._scores[key]

    def score(self, histories: sp.csr_matrix, times: sp.csr_matrix | None = None) -> np.ndarray:
        return checks.score(self.recommender, histories, times)
