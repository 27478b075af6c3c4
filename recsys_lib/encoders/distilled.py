"""Static distillation: what a transformer says of every token on its own, once, and then a table to look up.

As in model2vec (Tulkens and van Dongen, 2024): each token of the vocabulary is encoded as a text of its own,
the output vectors are reduced by principal components, and frequent tokens are weighted down. A text's vector
is the mean of its tokens': no layer runs any more, and no token knows its neighbours.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from recsys_lib.core.errors import InputError
from recsys_lib.encoders.cache import encode_cached
from recsys_lib.encoders.static import StaticVectors
from recsys_lib.encoders.transformer import Transformer

WEIGHTINGS = ("sif", "zipf", "none")
# Arora, Liang and Ma, "A simple but tough-to-beat baseline for sentence embeddings" (2017): a / (a + p).
SIF = 1e-3


class Distilled(StaticVectors):
    """The token vectors of ``encoder``, each encoded alone, in ``dimensions`` principal components, weighted
    by how rare the token is.

    weighting: "sif" takes frequencies from ``corpus``, the texts to be encoded later; "zipf" takes a token's
    place in the vocabulary for its rank of frequency, as the vocabularies of language models are ordered;
    "none" weighs all alike.
    """

    def __init__(
        self, encoder: Transformer, dimensions: int = 256, weighting: str = "zipf", corpus: Sequence[str] = ()
    ):
        if weighting not in WEIGHTINGS:
            raise InputError(f"weighting={weighting!r}: expected one of {', '.join(WEIGHTINGS)}")
        if weighting == "sif" and not corpus:
            raise InputError("weighting='sif' counts tokens of texts: pass corpus=...")
        if not 1 <= dimensions <= encoder.dimension:
            raise InputError(
                f"dimensions={dimensions}: expected 1 to {encoder.dimension}, the dimension of "
                f"{encoder.name!r}"
            )
        self.name = f"{encoder.name}-static"
        self._tokenizer = encoder.plain_tokenizer()
        self.table = principal(token_outputs(encoder), dimensions) * self._weights(weighting, corpus)[:, None]
        self.options: dict[str, Any] = {
            "model": self.name,
            "dimensions": dimensions,
            "weighting": weighting,
            "of": encoder.options,
        }

    def _weights(self, weighting: str, corpus: Sequence[str]) -> np.ndarray:
        """One weight per token, float32 ``[vocabulary]``."""
        n = self._tokenizer.get_vocab_size()
        if weighting == "none":
            return np.ones(n, dtype=np.float32)
        if weighting == "zipf":
            return np.log(2 + np.arange(n, dtype=np.float32))
        encodings = self._tokenizer.encode_batch_fast(list(corpus), add_special_tokens=False)
        counted = Counter(i for encoding in encodings for i in encoding.ids)
        share = np.array([counted[i] for i in range(n)], dtype=np.float64) / max(1, counted.total())
        return (SIF / (SIF + share)).astype(np.float32)


@lru_cache(maxsize=1)
def token_outputs(encoder: Transformer) -> np.ndarray:
    """The vector of every token of the vocabulary as a text of its own,
    between the tokens that begin and end a text, ``[vocabulary, d]``.
    """
    tokenizer = encoder.tokenizer
    before, after = _around(encoder)
    n = encoder.plain_tokenizer().get_vocab_size()
    unused = set(tokenizer.all_special_ids)

    def run(numbers: Sequence[str]) -> np.ndarray:
        return encoder.run_tokens([([*before, int(i), *after], 0) for i in numbers])

    numbers = [str(i) for i in range(n)]
    options = {**encoder.options, "texts": "token numbers"}
    vectors = encode_cached(numbers, options, encoder.dimension, run) if encoder.cache else run(numbers)
    vectors[list(unused)] = 0
    return vectors


def _around(encoder: Transformer) -> tuple[list[int], list[int]]:
    """Tokens that the encoder's tokenizer puts before and after a text."""
    whole = encoder.tokenizer("a")["input_ids"]
    inner = encoder.tokenizer("a", add_special_tokens=False)["input_ids"]
    begin = next(i for i in range(len(whole)) if whole[i : i + len(inner)] == inner)
    return whole[:begin], whole[begin + len(inner) :]


def principal(vectors: np.ndarray, dimensions: int) -> np.ndarray:
    """Coordinates of centred ``vectors [n, d]`` along their first ``dimensions`` principal axes, float32."""
    centred = vectors - vectors.mean(axis=0)
    _, axes = np.linalg.eigh(centred.T.astype(np.float64) @ centred)
    return (centred @ axes[:, ::-1][:, :dimensions].astype(np.float32)).astype(np.float32)
