"""From a text's vector back to its words, by neighbours in a public corpus and by a small learned inverter.

Adversary: has the vectors of private texts and the encoder, and other texts of the same kind in public.
Baselines: the most frequent words of the public texts, and those of the topic that the vector falls into.
Large generative inverters return more (Morris et al., "Text Embeddings Reveal (Almost) As Much As Text",
EMNLP 2023, from 32 tokens); this is a lower bound.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp

from recsys_lib.core.errors import InputError
from recsys_lib.vectors import similarity

_WORD = re.compile(r"[a-z][a-z'-]+")


def content_words(text: str) -> set[str]:
    """Lower-case words of three letters and more that are no function words."""
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    return {w for w in _WORD.findall(text.lower()) if len(w) > 2 and w not in ENGLISH_STOP_WORDS}


class WordGuesser:
    """Guesses the words of private vectors from ``public_vectors [n, d]`` of ``public_texts``.

    Words that fewer than ``min_texts`` public texts hold cannot be guessed.

    Raises:
        InputError: another number of vectors than texts, no word that is frequent enough.
    """

    def __init__(self, public_vectors: np.ndarray, public_texts: Sequence[str], min_texts: int = 3):
        if len(public_vectors) != len(public_texts):
            raise InputError(f"{len(public_vectors)} vectors, {len(public_texts)} texts: expected as many")
        found = [content_words(text) for text in public_texts]
        counts = Counter(word for words in found for word in words)
        self.vocabulary = sorted(w for w, n in counts.items() if n >= min_texts)
        if not self.vocabulary:
            raise InputError(f"{len(public_texts)} texts: expected words that {min_texts} of them share")
        column = {word: i for i, word in enumerate(self.vocabulary)}
        pairs = [(row, column[w]) for row, words in enumerate(found) for w in words if w in column]
        rows, columns = np.array(pairs).T
        shape = (len(found), len(self.vocabulary))
        self.words = sp.csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), shape=shape)
        self.vectors = similarity.normalize(np.asarray(public_vectors, dtype=np.float32))

    def frequent(self, vectors: np.ndarray) -> np.ndarray:
        """Scores ``[n, vocabulary]`` of who sees nothing: how many public texts hold a word."""
        return np.repeat(np.asarray(self.words.sum(axis=0)), len(vectors), axis=0)

    def by_topic(self, vectors: np.ndarray, topics: int = 20, seed: int = 0) -> np.ndarray:
        """Scores of who sees the topic only: the words of the cluster of public texts that the vector is
        nearest to.
        """
        from sklearn.cluster import KMeans

        model = KMeans(topics, n_init=1, random_state=seed).fit(self.vectors.astype(np.float64))
        member = sp.csr_matrix(
            (np.ones(len(self.vectors), np.float32), (model.labels_, np.arange(len(self.vectors)))),
            shape=(topics, len(self.vectors)),
        )
        own = model.predict(similarity.normalize(np.asarray(vectors, np.float32)).astype(np.float64))
        return (member @ self.words).toarray()[own]

    def by_neighbours(self, vectors: np.ndarray, neighbours: int = 10) -> np.ndarray:
        """Scores from the words of the nearest public texts, weighted by their cosine to the fourth power."""
        ids, cosines = similarity.top_k(np.asarray(vectors, np.float32), self.vectors, neighbours)
        weights = np.maximum(cosines, 0) ** 4
        rows = np.repeat(np.arange(len(ids)), ids.shape[1])
        near = sp.csr_matrix((weights.ravel(), (rows, ids.ravel())), shape=(len(ids), len(self.vectors)))
        return (near @ self.words).toarray()

    def by_inverter(self, vectors: np.ndarray, regularization: float = 1.0) -> np.ndarray:
        """Scores of a ridge regression from vectors to words, learned on the public texts."""
        x = self.vectors.astype(np.float64)
        mean, frequency = x.mean(axis=0), np.asarray(self.words.mean(axis=0)).ravel()
        gram = (x - mean).T @ (x - mean) + regularization * np.eye(x.shape[1])
        right = (self.words.T @ (x - mean)).T - np.outer((x - mean).sum(axis=0), frequency)
        private = similarity.normalize(np.asarray(vectors, np.float32)).astype(np.float64)
        return (private - mean) @ np.linalg.solve(gram, right) + frequency

    def recovered(self, scores: np.ndarray, texts: Sequence[str]) -> np.ndarray:
        """The fraction of each text's content words among as many best guesses as it has, ``[n]``; NaN for a
        text without.

        Words that are not in the vocabulary count as not found.
        """
        if scores.shape != (len(texts), len(self.vocabulary)):
            raise InputError(f"scores {scores.shape}: expected {(len(texts), len(self.vocabulary))}")
        found = np.full(len(texts), np.nan)
        for row, text in enumerate(texts):
            words = content_words(text)
            if words:
                best = np.argsort(-scores[row], kind="stable")[: len(words)]
                found[row] = len(words & {self.vocabulary[i] for i in best}) / len(words)
        return found
