"""Encoders that only count: the baselines a language model has to beat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from recsys_lib import encoders
from recsys_lib.core import memory
from recsys_lib.core.errors import InputError

# A dense [n, words] matrix is only for small catalogues; the commonest words carry most of the weight.
MOST_WORDS = 2048


@dataclass(eq=False)
class Tfidf:
    """Sublinear tf-idf of words and pairs of neighbouring words (scikit-learn),
    float32 ``[n, words]`` of length 1 or 0.
    """

    vectorizer: Any
    name: str = "tfidf"
    options: dict[str, Any] = field(default_factory=lambda: {"most_words": MOST_WORDS})

    @staticmethod
    def fit(corpus: Sequence[str]) -> Tfidf:
        """Learn vocabulary and document frequencies from ``corpus``.

        Raises:
            InputError: no text has a word.
        """
        vectorizer = _vectorizer()
        corpus = encoders.check_texts(corpus)
        try:
            vectorizer.fit(corpus)
        except ValueError as error:
            raise InputError(f"corpus of {len(corpus)} texts: {error}") from error
        return Tfidf(vectorizer)

    @staticmethod
    def restore(words: Sequence[str], idf: np.ndarray) -> Tfidf:
        """What was fitted before: ``words`` in the order of the components,
        and their inverse document frequencies.
        """
        vectorizer = _vectorizer({word: i for i, word in enumerate(words)})
        vectorizer.idf_ = idf
        return Tfidf(vectorizer)

    @property
    def words(self) -> list[str]:
        """Words and pairs of words, in the order of the components."""
        return self.vectorizer.get_feature_names_out().tolist()

    @property
    def dimension(self) -> int:
        return len(self.vectorizer.vocabulary_)

    def encode(self, texts: Sequence[str], progress: bool = True) -> np.ndarray:
        texts = encoders.check_texts(texts)
        if not texts:
            return np.empty((0, self.dimension), dtype=np.float32)
        _require_dense(len(texts), self.dimension, self.name)
        return self.vectorizer.transform(texts).toarray()


def _require_dense(n: int, dimension: int, name: str) -> None:
    """Refuse dense vectors ``[n, dimension]`` in float32 that do not fit."""
    what = f"{n:,} {name} vectors of {dimension:,} numbers"
    memory.require(4.0 * n * dimension, what, "encode fewer texts, or use a model's encoder")


def _vectorizer(vocabulary: dict[str, int] | None = None) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(
        sublinear_tf=True,
        ngram_range=(1, 2),
        max_features=MOST_WORDS,
        token_pattern=r"(?u)\b\w+\b",
        dtype=np.float32,
        vocabulary=vocabulary,
    )


@dataclass(eq=False)
class Genres:
    """One component per comma-separated label of the corpus: 1 where a text has it.

    Unknown labels are passed over.
    """

    labels: list[str]
    name: str = "genres"
    options: dict[str, Any] = field(default_factory=dict)

    @staticmethod
    def fit(corpus: Sequence[str]) -> Genres:
        """Collect the labels.

        >>> Genres.fit(["Crime, Drama", "", "Drama"]).encode(["Drama, Musical"])
        array([[0., 1.]], dtype=float32)
        """
        corpus = encoders.check_texts(corpus)
        labels = sorted({label for text in corpus for label in _labels(text)})
        if not labels:
            raise InputError(f"corpus of {len(corpus)} texts holds no label")
        return Genres(labels)

    @property
    def dimension(self) -> int:
        return len(self.labels)

    def encode(self, texts: Sequence[str], progress: bool = True) -> np.ndarray:
        place = {label: i for i, label in enumerate(self.labels)}
        texts = encoders.check_texts(texts)
        _require_dense(len(texts), self.dimension, self.name)
        vectors = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for row, text in enumerate(texts):
            vectors[row, [place[label] for label in _labels(text) if label in place]] = 1
        return vectors


def _labels(text: str) -> list[str]:
    return [label for label in (part.strip() for part in text.split(",")) if label]
