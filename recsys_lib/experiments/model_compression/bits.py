"""Quality of an encoder and of a decoder whose weights take fewer bits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys_lib.core.errors import InputError
from recsys_lib.encoders import backends
from recsys_lib.encoders.transformer import Transformer
from recsys_lib.experiments.model_compression.evaluate import VectorEvaluator, run_model
from recsys_lib.llm import weights
from recsys_lib.llm.perplexity import film_summaries, language_model, perplexity, windows
from recsys_lib.vectors.geometry import random_pair_cosines

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from recsys_lib.data.datasets import Dataset
    from recsys_lib.evaluation import splits


METHODS = ("nearest", "nearest, symmetric", "nearest, per channel", "GPTQ")


def rounded(
    method: str, bits: int, group: int, sums: dict[str, Tensor] | None = None
) -> Callable[[str, Tensor], Tensor]:
    """How ``weights.replaced`` should change a layer; "GPTQ" needs the layers' ``hessians``,
    "per channel" has one group per output.
    """
    if method not in METHODS:
        raise InputError(f"method={method!r}: expected one of {'; '.join(METHODS)}")

    def change(name: str, weight: Tensor) -> Tensor:
        width = _width(weight, method, group)
        if method == "GPTQ":
            return weights.gptq(weight, (sums or {})[name], bits, width)
        return weights.round_to_nearest(weight, bits, width, offset=method != "nearest, symmetric")

    return change


def _width(weight: Tensor, method: str, group: int) -> int:
    """Inputs of a group: all of an output where ``group`` does not divide them, or each output is one
    group.
    """
    n = weight.shape[1]
    return n if method == "nearest, per channel" or n % group else group


def _size(model: Any, method: str, bits: int, group: int) -> float:
    """Bits per weight of ``model``'s linear layers, steps and minima included."""
    layers = [layer.weight for layer in weights.linears(model).values()]
    total = sum(
        w.numel() * weights.bits_per_weight(bits, _width(w, method, group), method != "nearest, symmetric")
        for w in layers
    )
    return total / sum(w.numel() for w in layers)


def encoder_bits(
    encoder: Transformer,
    texts: Sequence[str],
    evaluator: VectorEvaluator,
    bits: Iterable[int],
    group: int,
    methods: Sequence[str],
    calibration: int = 128,
) -> pd.DataFrame:
    """Quality of ``encoder`` with its layers' weights in fewer bits: one row per method and number of bits.

    evaluator: its reference are the vectors of ``encoder``.
    """
    import pandas as pd

    model, tokens = deepcopy(encoder.model), encoder.tokenize(list(texts))
    sums = input_products(encoder, texts[:calibration]) if "GPTQ" in methods else None
    rows = [
        {"method": "float32", "bits": 32, "bits per weight": 32.0, **evaluator.evaluate(evaluator.reference)}
    ]
    for method in methods:
        for n in bits:
            with weights.replaced(model, rounded(method, n, group, sums)):
                found = evaluator.evaluate(run_model(encoder, model, tokens))
            rows.append(
                {"method": method, "bits": n, "bits per weight": _size(model, method, n, group), **found}
            )
    return pd.DataFrame(rows)


def decoder_bits(
    model: Any, encoder: Transformer, texts: Sequence[str], evaluator: VectorEvaluator, ids: np.ndarray,
    bits: Iterable[int], group: int,
    methods: Sequence[str], calibration: np.ndarray | None = None,
) -> pd.DataFrame:  # fmt: skip
    """Perplexity on ``ids [windows, length]`` and the quality of mean-pooled vectors of a causal language
    model in fewer bits.

    model: with its head; its body takes the place of ``encoder``'s. evaluator: its reference are the
    vectors of ``model`` as it came. calibration: windows for GPTQ, other ones than ``ids``.
    """
    import pandas as pd
    import torch

    tokens = encoder.tokenize(list(texts))
    sums = None
    if "GPTQ" in methods:
        if calibration is None:
            raise InputError("methods: GPTQ needs calibration windows")
        with torch.inference_mode():
            sums = weights.hessians(
                model, lambda: model(input_ids=torch.from_numpy(calibration), use_cache=False)
            )
    rows = [
        {
            "method": "as it came",
            "bits": 32,
            "bits per weight": 32.0,
            "perplexity": perplexity(model, ids),
            **evaluator.evaluate(evaluator.reference),
        }
    ]
    for method in methods:
        for n in bits:
            with weights.replaced(model, rounded(method, n, group, sums)):
                found = {
                    "perplexity": perplexity(model, ids),
                    **evaluator.evaluate(run_model(encoder, model.model, tokens)),
                }
            rows.append(
                {"method": method, "bits": n, "bits per weight": _size(model, method, n, group), **found}
            )
    return pd.DataFrame(rows)


def decoder_bits_on_films(
    name: str,
    films: Dataset,
    split: splits.Split,
    n_films: int,
    n_tokens: int,
    bits: Iterable[int],
    group: int,
    methods: Sequence[str],
    seed: int = 0,
) -> pd.DataFrame:
    """``decoder_bits`` of the language model ``name``: perplexity on ``n_tokens`` of film plots, and how the
    vectors of ``n_films`` titles chosen at random rank these films for the users of ``split``.

    Vectors are centred: there are fewer films than dimensions, too few for whitening. ``attrs``: the mean
    cosine of two titles at random and the size of the vocabulary.
    """
    model, tokenizer = language_model(name)
    encoder = Transformer(name, precision="float32", device="cpu")
    chosen = np.sort(np.random.default_rng(seed).choice(films.n_items, n_films, replace=False))
    titles = films.item_texts(("title", "year"))
    texts = [titles[i] for i in chosen]
    vectors = encoder.encode(texts, progress=False)
    evaluator = VectorEvaluator(vectors, split.train[:, chosen], split.test[:, chosen], geometry="centred")
    ids, calibration = plot_windows(tokenizer, n_tokens)
    table = decoder_bits(model, encoder, texts, evaluator, ids, bits, group, methods, calibration)
    cosine = float(random_pair_cosines(vectors).mean())
    table.attrs |= {"random cosine": cosine, "vocabulary": model.config.vocab_size}
    return table


def plot_windows(tokenizer: Any, n_tokens: int, length: int = 512) -> tuple[np.ndarray, np.ndarray]:
    """Windows ``[n, length]`` of film plots: ``n_tokens`` for perplexity, and 4,096 of other films to
    calibrate GPTQ on.
    """
    plots = film_summaries()
    return windows(tokenizer, plots, n_tokens, length), windows(tokenizer, plots[500:], 4096, length)


def input_products(encoder: Transformer, texts: Sequence[str]) -> dict[str, Tensor]:
    """``weights.hessians`` of the encoder over ``texts``."""
    return weights.hessians(encoder.model, lambda: through(encoder.model, encoder.tokenize(list(texts))))


def through(model: Any, tokens: backends.Tokens) -> None:
    """Runs torch over texts of one length at a time, so that hooks hear every token and nothing that only
    fills up.
    """
    import torch

    by_length: dict[int, list] = {}
    for ids, _ in tokens:
        by_length.setdefault(len(ids), []).append(list(ids))
    with torch.inference_mode():
        for rows in by_length.values():
            model(input_ids=torch.tensor(rows))
