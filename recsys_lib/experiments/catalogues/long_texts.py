"""How much of a long text an encoder should read: cut at 64 to 512 tokens, in chunks, or field by field.

Chunks take part where a tenth of the texts has a second one.

Every variant goes through the same map to EASE's columns, tuned with the same budget, on the same cold items
(a random fifth, ``DRAWS`` times). Only items with a long text take part.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from recsys_lib import encoders, evaluation, recommenders
from recsys_lib.data.datasets import Dataset
from recsys_lib.evaluation import Evaluation, tuning
from recsys_lib.evaluation.tuning import Method
from recsys_lib.experiments.catalogues import protocol
from recsys_lib.experiments.own_catalogue.chosen_methods import SharedEASE
from recsys_lib.experiments.own_catalogue.compare_methods import cold_splits
from recsys_lib.experiments.own_catalogue.sources import CHEAP, LANGUAGE, Source
from recsys_lib.experiments.study.item_texts import encode, side_by_side
from recsys_lib.experiments.study.search_spaces import EASE_MAP_SPACE

CUTS = {"body": (64, 128, 256, 512), "description": (64, 128, 256, 512)}
# Words of a chunk, which are about 220 tokens of English, and chunks of a text.
CHUNK_WORDS, CHUNKS = 160, 2
MIN_CHUNKED = 0.1
DRAWS, TRIALS, K = 2, 5, 10
BASE = "256 tokens"
# The column that holds the long text.
LONG = {"articles": "body", "citeulike-a-abstracts": "description", "stackexchange": "description"}


def measure(name: str) -> dict[str, Any]:
    """NDCG of cold items by variant, each less the text cut at 256 tokens, paired over users."""
    data = protocol.catalogue(name)
    written = (data.items[LONG[name]] != "").to_numpy()
    data = data.select(np.flatnonzero(written[data.item]))
    texts = data.item_texts(protocol.text_columns(data))
    found = evaluate(data, variants(data, LONG[name], texts))
    lengths = [len(text.split()) for text in texts]
    return {
        "items": data.n_items,
        "users": len(found[BASE].users),
        "words": {str(q): float(np.percentile(lengths, q)) for q in (10, 50, 90)},
        "variants": {name: _row(result, found[BASE]) for name, result in found.items()},
    }


def variants(data: Dataset, long: str, texts: Sequence[str]) -> dict[str, Source]:
    """Vectors of every variant by name; ``long`` is the column with the long text."""
    found = {f"{cut} tokens": Source(LANGUAGE, _encode(texts, cut)) for cut in CUTS[long]}
    short = tuple(column for column in protocol.text_columns(data) if column != long)
    heads = data.item_texts(short)
    found["title only"] = Source(LANGUAGE, _encode(heads, 256))
    if np.mean([len(pieces(text)) > 1 for text in texts]) >= MIN_CHUNKED:
        found["chunks averaged"] = Source(LANGUAGE, chunked(texts))
        bodies = _encode(data.items[long].tolist(), 128)
        found["fields apart"] = Source(LANGUAGE, side_by_side([found["title only"].vectors, bodies]))
    found["TF-IDF, whole text"] = Source(CHEAP, encode(data, "tfidf", texts))
    return found


def _encode(texts: Sequence[str], max_tokens: int) -> np.ndarray:
    encoder = encoders.load("minilm", precision="float32", max_tokens=max_tokens)
    return encoder.encode(texts, progress=False)


def pieces(text: str, words: int = CHUNK_WORDS, most: int = CHUNKS) -> list[str]:
    """The text in chunks of so many words, at most ``most``; one empty chunk of an empty text.

    >>> pieces("a b c d e", 2, 2)
    ['a b', 'c d']
    """
    parts = text.split()
    return [" ".join(parts[i : i + words]) for i in range(0, len(parts), words)][:most] or [""]


def chunked(texts: Sequence[str]) -> np.ndarray:
    """The mean of the vectors of a text's chunks, ``[n, d]``."""
    parts = [pieces(text) for text in texts]
    vectors = _encode([piece for own in parts for piece in own], 256)
    starts = np.cumsum([0, *(len(own) for own in parts)])
    return np.stack([vectors[a:b].mean(axis=0) for a, b in pairwise(starts)])


def evaluate(data: Dataset, sources: dict[str, Source], draws: int = DRAWS) -> dict[str, Evaluation]:
    """Every variant's cold ranking, a user's values averaged over the draws."""
    found: dict[str, list[Evaluation]] = {name: [] for name in sources}
    for seed, part in cold_splits(data, draws):
        shared, methods = SharedEASE(), {}
        for name, source in sources.items():
            vectors = source.centred(part.train) if source.kind == LANGUAGE else source.vectors
            make = lambda v=vectors, s=shared, **p: recommenders.EASEMap(v, columns=s, **p)  # noqa: E731
            methods[name] = Method(make, EASE_MAP_SPACE)
        task = tuning.cold_task(part, seed)
        done = tuning.compare_methods(methods, task, TRIALS, seed, K, keep_models=False)
        for name, outcome in done.items():
            found[name].append(outcome.test)
    return {name: evaluation.average(tests) for name, tests in found.items()}


def _row(result: Evaluation, base: Evaluation) -> dict[str, float]:
    test = evaluation.compare(result, base)
    return {
        "ndcg": result.mean()["ndcg"],
        "difference": test.difference,
        "low": test.low,
        "high": test.high,
        "p": test.p_value,
    }
