"""Smaller and faster language models judged by what they recommend: bits, layers, neurons, words, and where rounding hurts.

Every change is judged alike (``Judge``): the cosine of each film's vector to that of the unchanged model, and NDCG@10 of profiles made of the new vectors.
Weights keep their arithmetic here and only their values are rounded; what is really faster is timed by ``speeds``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from recsys_lib import compression, evaluation, geometry, measure, similarity
from recsys_lib.encoders import backends, native
from recsys_lib.encoders.transformer import Transformer
from recsys_lib.errors import InputError
from recsys_lib.quantization import weights
from recsys_lib.quantization.perplexity import perplexity
from recsys_lib.recommenders.text import TextProfile

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class Judge:
    """Judges vectors of the same items against ``reference [n, d]``, those of the unchanged model, and by ranking for the users of a split."""

    reference: np.ndarray
    train: sp.csr_matrix
    test: sp.csr_matrix
    geometry: str = "zca"
    k: int = 10

    def judge(self, vectors: np.ndarray) -> dict[str, float]:
        """ndcg at ``k``; neighbours: share of the ``k`` nearest of each item that stay; cosine and worst: to the reference, nan in another space."""
        mended, before = (geometry.fit_geometry(self.geometry, v).apply(v) for v in (vectors, self.reference))
        result = evaluation.evaluate(TextProfile(mended).fit(self.train), self.train, self.test, self.k).mean()
        itself = sp.identity(len(vectors), dtype=np.float32, format="csr")
        near, was = (similarity.top_k(v, v, self.k, exclude=itself)[0] for v in (mended, before))
        row = {
            "ndcg": result["ndcg"],
            "neighbours": float(compression.shared(was, near).mean()),
            "cosine": np.nan,
            "worst": np.nan,
        }
        if vectors.shape == self.reference.shape:
            cosines = np.einsum("nd,nd->n", similarity.normalize(vectors), similarity.normalize(self.reference))
            row |= {"cosine": float(cosines.mean()), "worst": float(cosines.min())}
        return row


def run_model(encoder: Transformer, model: Any, tokens: backends.Tokens, precision: str = "float32") -> np.ndarray:
    """Vectors of ``tokens`` by ``model``, a changed copy of ``encoder``'s: natively where that is possible, else over torch."""
    import torch

    if not encoder.is_decoder and not native.why_not(model.config, precision):
        return native.NativeBert(model, precision).encode(tokens, encoder.pooling, torch.get_num_threads())
    if precision != "float32":
        raise InputError(f"precision={precision!r}: a changed model runs natively only, and this machine cannot")
    changed = Transformer(encoder.name, precision="float32", device=encoder.device, cache=False)
    changed.model = model
    return changed.run_tokens([(list(ids), begin) for ids, begin in tokens])


# ---------------------------------------------------------------- bits


def rounded(
    method: str, bits: int, group: int, sums: dict[str, Tensor] | None = None
) -> Callable[[str, Tensor], Tensor]:
    """How ``weights.replaced`` should change a layer: "nearest", "nearest, symmetric" or "GPTQ", which needs the layers' ``hessians``."""

    def change(name: str, weight: Tensor) -> Tensor:
        width = group if weight.shape[1] % group == 0 else weight.shape[1]
        if method == "GPTQ":
            return weights.gptq(weight, (sums or {})[name], bits, width)
        return weights.round_to_nearest(weight, bits, width, offset=method == "nearest")

    if method not in ("nearest", "nearest, symmetric", "GPTQ"):
        raise InputError(f"method={method!r}: want nearest; nearest, symmetric; or GPTQ")
    return change


def encoder_bits(
    encoder: Transformer,
    texts: Sequence[str],
    judge: Judge,
    bits: Iterable[int],
    group: int,
    methods: Sequence[str],
    calibration: int = 128,
) -> pd.DataFrame:
    """Quality of ``encoder`` with its layers' weights in fewer bits: one row per method and number of bits."""
    import pandas as pd

    model, tokens = deepcopy(encoder.model), encoder.tokenize(list(texts))
    sums = (
        weights.hessians(model, lambda: _through(encoder, model, tokens[:calibration])) if "GPTQ" in methods else None
    )
    rows = [
        {"method": "float32", "bits": 32, "bits per weight": 32.0, **judge.judge(run_model(encoder, model, tokens))}
    ]
    for method in methods:
        for n in bits:
            with weights.replaced(model, rounded(method, n, group, sums)):
                found = judge.judge(run_model(encoder, model, tokens))
            size = weights.bits_per_weight(n, group, method != "nearest, symmetric")
            rows.append({"method": method, "bits": n, "bits per weight": size, **found})
    return pd.DataFrame(rows)


def decoder_bits(
    model: Any, encoder: Transformer, texts: Sequence[str], judge: Judge, ids: np.ndarray, bits: Iterable[int], group: int,
    methods: Sequence[str], calibration: np.ndarray | None = None,
) -> pd.DataFrame:  # fmt: skip
    """Perplexity on ``ids [windows, length]`` and the quality of mean-pooled vectors of a causal language model in fewer bits.

    model: with its head; its body takes the place of ``encoder``'s. calibration: windows for GPTQ, other ones than ``ids``.
    """
    import pandas as pd
    import torch

    tokens = encoder.tokenize(list(texts))
    sums = None
    if "GPTQ" in methods:
        if calibration is None:
            raise InputError("methods: GPTQ needs calibration windows")
        with torch.inference_mode():
            sums = weights.hessians(model, lambda: model(input_ids=torch.from_numpy(calibration), use_cache=False))
    rows = []
    for method, n in [("as it came", 0), *((m, n) for m in methods for n in bits)]:
        change = rounded(method, n, group, sums) if n else lambda name, weight: weight
        with weights.replaced(model, change):
            found = {"perplexity": perplexity(model, ids), **judge.judge(run_model(encoder, model.model, tokens))}
        size = weights.bits_per_weight(n, group, method != "nearest, symmetric") if n else 32.0
        rows.append({"method": method, "bits": n or 32, "bits per weight": size, **found})
    return pd.DataFrame(rows)


def _through(encoder: Transformer, model: Any, tokens: backends.Tokens) -> None:
    """Runs torch once over a batch, so that hooks hear it."""
    import torch

    ids, mask, _ = (torch.from_numpy(a) for a in backends.padded(encoder, tokens))
    with torch.inference_mode():
        model(input_ids=ids, attention_mask=mask)


# ---------------------------------------------------------------- where it hurts


def sensitivity(encoder: Transformer, texts: Sequence[str], bits: int, group: int) -> pd.DataFrame:
    """1 - mean cosine when a single linear layer is rounded to ``bits``: a row per transformer layer, a column per place in it."""
    import pandas as pd

    model, tokens = deepcopy(encoder.model), encoder.tokenize(list(texts))
    before = similarity.normalize(run_model(encoder, model, tokens))
    lost: dict[str, dict[int, float]] = {}
    for name in weights.linears(model):
        with weights.replaced(model, rounded("nearest", bits, group), [name]):
            after = similarity.normalize(run_model(encoder, model, tokens))
        layer, place = name.split("layer.")[1].split(".", 1)
        lost.setdefault(PLACES.get(place, place), {})[int(layer)] = 1 - float(
            np.einsum("nd,nd->n", before, after).mean()
        )
    return pd.DataFrame(lost)


PLACES = {
    "attention.self.query": "query", "attention.self.key": "key", "attention.self.value": "value", "attention.output.dense": "out",
    "intermediate.dense": "up", "output.dense": "down",
}  # fmt: skip


def activations(encoder: Transformer, texts: Sequence[str]) -> dict[str, np.ndarray]:
    """Largest absolute input of every channel of every linear layer over ``texts``, ``[in]`` each."""
    model = encoder.model
    largest: dict[str, np.ndarray] = {}

    def listen(name: str) -> Callable:
        def hook(module: Any, inputs: tuple) -> None:
            most = inputs[0].abs().flatten(0, -2).amax(0).numpy()
            largest[name] = np.maximum(largest.get(name, 0), most)

        return hook

    handles = [layer.register_forward_pre_hook(listen(name)) for name, layer in weights.linears(model).items()]
    try:
        _through(encoder, model, encoder.tokenize(list(texts)))
    finally:
        for handle in handles:
            handle.remove()
    return largest


LADDER = (
    "one scale per matrix, one per batch", "per output channel, one per batch", "per output channel, smoothed, one per batch",
    "per output channel, per token", "per output channel, per token, with offset",
)  # fmt: skip


def int8_ladder(encoder: Transformer, texts: Sequence[str], smoothing: float = 0.5) -> pd.DataFrame:
    """Mean and worst cosine to float32 of 8-bit weights and activations under ever finer scales (``LADDER``), simulated in float32.

    Smoothing divides each input channel by ``max|x|^α / max|w|^(1-α)`` and multiplies its weights by it (Xiao et al., "SmoothQuant", 2023).
    """
    import pandas as pd
    import torch

    tokens = encoder.tokenize(list(texts))
    largest = activations(encoder, texts)
    before, rows = similarity.normalize(run_model(encoder, encoder.model, tokens)), {}
    for rung in LADDER:
        model = deepcopy(encoder.model)
        for name, layer in weights.linears(model).items():
            smooth = torch.ones(layer.in_features)
            if "smoothed" in rung:
                loud, heavy = torch.from_numpy(largest[name]), layer.weight.data.abs().amax(0)
                smooth = loud.clamp(min=1e-5) ** smoothing / heavy.clamp(min=1e-5) ** (1 - smoothing)
            weight = layer.weight.data * smooth
            scale = (weight.abs().max() if "matrix" in rung else weight.abs().amax(1, keepdim=True)) / 127
            layer.weight.data = (weight / scale).round() * scale
            layer.register_forward_pre_hook(_rounding(rung, smooth))
        changed = Transformer(encoder.name, precision="float32", device="cpu", cache=False)
        changed.model = model
        with torch.inference_mode():
            after = similarity.normalize(changed.run_tokens(tokens))
        cosines = np.einsum("nd,nd->n", before, after)
        rows[rung] = {"mean": cosines.mean(), "worst": cosines.min()}
    return pd.DataFrame(rows).T


def _rounding(rung: str, smooth: Tensor) -> Callable:
    """A hook that rounds a layer's input to 8 bits as ``rung`` says."""

    def hook(module: Any, inputs: tuple) -> tuple:
        x = inputs[0] / smooth
        over = -1 if "per token" in rung else None
        if "offset" in rung:
            low = x.amin(over, keepdim=True)
            step = (x.amax(over, keepdim=True) - low).clamp(min=1e-9) / 255
            return (((x - low) / step).round() * step + low,)
        most = x.abs().amax(over, keepdim=True) if over else x.abs().max()
        step = most.clamp(min=1e-9) / 127
        return ((x / step).round() * step,)

    return hook


# ---------------------------------------------------------------- fewer numbers


def without_layers(model: Any, kept: Sequence[int]) -> Any:
    """A copy of a BERT with only the layers ``kept``, in order."""
    import torch

    smaller = deepcopy(model)
    smaller.encoder.layer = torch.nn.ModuleList([smaller.encoder.layer[i] for i in kept])
    smaller.config.num_hidden_layers = len(kept)
    return smaller


def without_neurons(model: Any, kept: int, largest: dict[str, np.ndarray]) -> Any:
    """A copy of a BERT whose feed-forward layers keep ``kept`` of their neurons: those with the greatest output times outgoing weights.

    largest: ``activations`` of the same model.
    """
    import torch

    smaller = deepcopy(model)
    for i, layer in enumerate(smaller.encoder.layer):
        up, down = layer.intermediate.dense, layer.output.dense
        says = torch.from_numpy(largest[f"encoder.layer.{i}.output.dense"]) * down.weight.data.norm(dim=0)
        chosen = says.topk(kept).indices.sort().values
        up.weight.data, up.bias.data = up.weight.data[chosen], up.bias.data[chosen]
        down.weight.data = down.weight.data[:, chosen].contiguous()
        up.out_features = down.in_features = kept
    smaller.config.intermediate_size = kept
    return smaller


def without_words(
    model: Any, kept: np.ndarray, tokens: backends.Tokens, unknown: int
) -> tuple[Any, list[tuple[list[int], int]]]:
    """A copy of a BERT whose table holds only the token ids ``kept``, and ``tokens`` numbered anew; other tokens become ``unknown``."""
    import torch

    smaller = deepcopy(model)
    ids = np.union1d(kept, [unknown])
    place = np.full(smaller.config.vocab_size, np.searchsorted(ids, unknown))
    place[ids] = np.arange(len(ids))
    table = smaller.embeddings.word_embeddings.weight.data[torch.from_numpy(ids)]
    smaller.embeddings.word_embeddings = torch.nn.Embedding(len(ids), table.shape[1], _weight=table)
    smaller.config.vocab_size = len(ids)
    return smaller, [(place[np.asarray(row)].tolist(), begin) for row, begin in tokens]


def n_bytes(model: Any) -> int:
    """Bytes of a model's parameters."""
    return sum(p.numel() * p.element_size() for p in model.parameters())


# ---------------------------------------------------------------- speed


def speeds(
    encoders: dict[str, Transformer],
    lengths: Sequence[int],
    batches: Sequence[int],
    seconds: float = 0.05,
    seed: int = 0,
) -> pd.DataFrame:
    """Tokens per second of each of ``encoders`` on ``batch`` texts of exactly ``length`` tokens: one row per encoder, length and batch."""
    import pandas as pd

    rng, rows = np.random.default_rng(seed), []
    for length in lengths:
        for batch in batches:
            tokens = [(rng.integers(1000, 20000, length).tolist(), 0) for _ in range(batch)]
            work = {name: partial(e.run_tokens, tokens) for name, e in encoders.items()}
            timed = measure.compare(
                work, min_samples=2, min_seconds=seconds, warmup=0, work=length * batch, work_unit="tokens"
            )
            rows += [
                {"path": n, "length": length, "batch": batch, "tokens per s": m.throughput, "s": m.p50}
                for n, m in timed.items()
            ]
    return pd.DataFrame(rows)


# Instruction sets with the year they came, as the compiler names a processor that has them, and the flag of a machine that runs them.
PROCESSORS: dict[str, tuple[tuple[str, ...], str, tuple[str, ...]]] = {
    "AVX2 (2013)": (("-march=x86-64-v3",), "avx2", ("float32", "int8")),
    "AVX-512 VNNI (2019)": (("-march=cascadelake", "-mprefer-vector-width=512"), "avx512_vnni", ("float32", "int8")),
    "AVX-512 BF16 (2020)": (("-march=cooperlake", "-mprefer-vector-width=512"), "avx512_bf16", native.PRECISIONS),
}


def instruction_speeds(encoder: Transformer, tokens: backends.Tokens, seconds: float = 0.2) -> pd.DataFrame:
    """Texts per second of the native path made for older instruction sets and for this processor, in each precision that
    it has instructions for, on this machine.

    An older processor has another clock and other caches: rows compare precisions, not machines. Empty without a C compiler.
    """
    import pandas as pd
    import torch

    from recsys_lib import machine

    flags, threads = machine.describe()["flags"], torch.get_num_threads()
    libraries = {
        name: (native.compiled(options), False, kinds)
        for name, (options, flag, kinds) in PROCESSORS.items()
        if flag in flags
    }
    libraries["this processor"] = (native.load(), True, native.PRECISIONS)
    rows: dict[str, dict[str, float]] = {}
    for name, (library, amx, kinds) in libraries.items():
        for precision in kinds if library else ():
            model = native.NativeBert(encoder.model, precision, library=library, amx=amx)
            timed = measure.measure(
                partial(model.encode, tokens, encoder.pooling, threads),
                min_samples=2,
                min_seconds=seconds,
                warmup=0,
                work=len(tokens),
            )
            rows.setdefault(name, {})[precision] = timed.throughput
    return pd.DataFrame(rows).T
