"""Text to vectors: ``load(name).encode(texts)`` gives float32 ``[n, d]``, cached by content."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np

from recsys_lib.core.errors import InputError

NAMES = ("genres", "tfidf", "wordllama", "minilm", "e5", "smollm2")


class Encoder(Protocol):
    """What every encoder has. ``options`` decide its vectors, so the cache's key is made of them."""

    name: str
    options: dict[str, Any]

    @property
    def dimension(self) -> int: ...

    def encode(self, texts: Sequence[str], progress: bool = True) -> np.ndarray: ...


def load(name: str, *, corpus: Sequence[str] | None = None, **options: Any) -> Encoder:
    """An encoder by name, or by any Hugging Face id or local folder of a transformer.

    ``tfidf`` and ``genres`` are fitted on ``corpus`` (the training items' texts). The others take, as
    options, ``precision`` ("float32", "bfloat16", or "auto": whichever this machine multiplies faster),
    ``pooling`` (one of ``pooling.POOLINGS``), ``prefix``, ``max_tokens``, ``token_budget`` (padded tokens per
    batch), ``device`` ("auto", "cpu", "cuda") and ``cache`` (on by default), ``prompt_name``, ``normalize``
    and ``revision`` (of a hub id). A sentence-transformers folder or hub id gives the vectors that
    sentence-transformers gives, unless an option overrides it; the other vectors are not normalized.

    Raises:
        InputError: an unknown name or option, a missing corpus, a model that was not fetched.
    """
    if name in ("tfidf", "genres"):
        from recsys_lib.encoders import counts

        if options:
            raise InputError(f"encoder {name!r} takes no {', '.join(options)}")
        if corpus is None:
            raise InputError(f"encoder {name!r} is fitted on texts: pass corpus=...")
        return counts.Tfidf.fit(corpus) if name == "tfidf" else counts.Genres.fit(corpus)
    if corpus is not None:
        raise InputError(f"encoder {name!r} is already trained: corpus is for tfidf and genres")
    if name == "wordllama":
        from recsys_lib.encoders.static import StaticVectors

        _check_options(name, StaticVectors, options)
        return StaticVectors(name, **options)
    from recsys_lib.encoders.transformer import Transformer

    _check_options(name, Transformer, options)
    return Transformer(name, **options)


def _check_options(name: str, kind: type, options: dict[str, Any]) -> None:
    """Name an option that does not exist; any other TypeError is a fault of the library and goes through."""
    known = [option for option in inspect.signature(kind).parameters if option != "name"]
    unknown = [option for option in options if option not in known]
    if unknown:
        has = f"its options are {', '.join(known)}" if known else "it has no options"
        raise InputError(f"encoder {name!r} takes no option {unknown[0]!r}; {has}")


def check_texts(texts: Sequence[str]) -> list[str]:
    """The texts as a list, or an InputError naming the first that is none. Lone surrogates become ``?``."""
    if isinstance(texts, str | bytes):
        raise InputError(f"texts={texts[:30]!r}: expected a list of texts, not a single one")
    if not isinstance(texts, Iterable):
        raise InputError(f"texts={texts!r}: expected a list of texts, not {type(texts).__name__}")
    checked = list(texts)
    for i, text in enumerate(checked):
        if not isinstance(text, str):
            raise InputError(f"texts[{i}]={text!r}: expected a str, not {type(text).__name__}")
    return [t if t.isascii() else t.encode("utf-8", "replace").decode("utf-8") for t in checked]
