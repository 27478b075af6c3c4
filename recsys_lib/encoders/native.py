"""BERT encoders through ``encoder.c``: ragged batches, three precisions, one C file compiled once per
machine.

What is fused and why stands in ``encoder.c``. Here weights are rounded and laid out, and texts are cut into
chunks for threads. Without a C compiler there is no native path, and ``why_not`` says so.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys_lib.core.errors import InputError
from recsys_lib.kernels import compiler
from recsys_lib.kernels.compiler import ENCODER_SOURCE, structure

if TYPE_CHECKING:
    from torch import Tensor

FLAGS = (
    "-O3", "-std=c11", "-fopenmp-simd", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast",
    "-shared", "-fPIC", "-pthread",
)  # fmt: skip
# As in encoder.h: precisions, instruction sets, and what encode() returns.
PRECISIONS = ("float32", "bfloat16", "int8")
INSTRUCTIONS = ("plain C", "AVX2", "AVX-512 VNNI", "AMX", "AVX-VNNI", "NEON dot product", "NEON i8mm")
# Where loops that the compiler makes use whole registers.
WIDE_ISAS = ("amx", "avx512bf16", "avx512")
UNKNOWN_ID, TOO_LONG = 2, 3
# Tokens a thread takes at once: enough to read the weights from far away rarely, few enough to share work
# evenly.
MAX_CHUNK, MIN_CHUNK = 1024, 64

# Poolings that are a weighted sum of tokens; the others need torch.
POOLINGS = ("mean", "echo", "weighted", "cls", "last", "mean_sqrt_len")

_INT, _POINTER, _DOUBLE = ctypes.c_int64, ctypes.c_void_p, ctypes.c_double
# Field by field as in encoder.h.
Linear = structure("Linear", n=_INT, k=_INT, packed=_POINTER, scale=_POINTER, shift=_POINTER, bias=_POINTER)
Layer = structure(
    "Layer", qkv=Linear, out=Linear, up=Linear, down=Linear, gain1=_POINTER, bias1=_POINTER, gain2=_POINTER,
    bias2=_POINTER,
)  # fmt: skip
Model = structure(
    "Model", precision=_INT, hidden=_INT, heads=_INT, mixed=_INT, feed=_INT, n_layers=_INT, n_words=_INT,
    n_positions=_INT, epsilon=_DOUBLE, layers=_POINTER, words=_POINTER,
    word_scale=_POINTER, word_rows=_POINTER, positions=_POINTER, gain=_POINTER, bias=_POINTER,
)  # fmt: skip
Batch = structure(
    "Batch", n_texts=_INT, n_chunks=_INT, start=_POINTER, chunk=_POINTER, ids=_POINTER, weight=_POINTER,
    vectors=_POINTER,
    next=_POINTER,
)  # fmt: skip


@lru_cache
def load() -> ctypes.CDLL | None:
    """The compiled kernel, from the cache if this source was compiled for this processor before;
    None without a compiler.
    """
    wide = ("-mprefer-vector-width=512",) if compiler.instruction_set() in WIDE_ISAS else ()
    return compiled((*compiler.isa_flags(), *wide))


def compiled(flags: tuple[str, ...]) -> ctypes.CDLL | None:
    """The kernel compiled for the processor that ``flags`` name; None without a compiler that can."""
    return compiler.compiled(ENCODER_SOURCE, (*FLAGS, *flags))


def instructions() -> str:
    """What this processor multiplies matrices with here, in words; "no compiler" where there is no kernel."""
    library = load()
    if library is None:
        return "no compiler"
    library.instructions.restype = _INT
    return INSTRUCTIONS[library.instructions()]


def why_not(config: Any, precision: str) -> str:
    """Why the native path cannot run a model of this configuration in this precision; empty if it can."""
    if config.model_type != "bert":
        return f"the native path runs BERT, not {config.model_type}"
    if getattr(config, "position_embedding_type", "absolute") != "absolute" or config.hidden_act != "gelu":
        return "the native path knows absolute positions and GELU only"
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    if head % 16 or config.hidden_size % 32 or config.intermediate_size % 32:
        return (
            f"the native path expects heads of a multiple of 16 dimensions and layers of 32, not {head} "
            f"and {config.hidden_size}"
        )
    if precision not in PRECISIONS:
        return f"the native path has {', '.join(PRECISIONS)}, not {precision}"
    return (
        ""
        if load() is not None
        else "the native path needs a C compiler (cc, or the CC environment variable)"
    )


def quantize_rows(weight: np.ndarray, pairs: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Symmetric int8 codes of every row of ``weight [n, k]`` and their steps ``[n]``:
    ``weight ≈ step * code``.

    pairs: no two neighbouring codes ``a, b = codes[:, 2i : 2i + 2]`` have ``|a| + |b| > 128``, for kernels
    that add two products in 16 bits (255 * 128 < 2^15). Their sum decides the step instead of the largest
    weight; rounding adds at most 1/2 to each.

    >>> codes, step = quantize_rows(np.array([[-2.54, 1.27]], dtype=np.float32))
    >>> codes.tolist(), round(float(step[0]), 4)
    ([[-127, 64]], 0.02)
    >>> quantize_rows(np.array([[-2.54, 1.27]], dtype=np.float32), pairs=True)[0].tolist()
    [[-85, 42]]
    """
    size = np.abs(weight)
    largest = np.add.reduceat(size, np.arange(0, weight.shape[1], 2), axis=1) if pairs else size
    step = largest.max(axis=1) / np.float32(127)
    step = np.where(step > 0, step, np.float32(1)).astype(np.float32)
    return np.rint(weight / step[:, None]).astype(np.int8), step


def _lines(weight: np.ndarray, per_line: int) -> np.ndarray:
    """``weight [n, k]`` as ``[n/16, k/g, 16, g]`` with ``g = per_line`` numbers in 4 bytes,
    k filled up with zeros to 64 bytes.
    """
    n, k = weight.shape
    filled = np.zeros((n, -(-k // (16 * per_line)) * 16 * per_line), dtype=weight.dtype)
    filled[:, :k] = weight
    return np.ascontiguousarray(filled.reshape(n // 16, 16, -1, per_line).transpose(0, 2, 1, 3))


class NativeBert:
    """A ``transformers`` BERT laid out for ``encoder.c``.

    int8: weights per output channel, word vectors per row, activations per token, sums in 32 bits, the rest
    in float32. bfloat16: products of bfloat16 numbers, everything between them in float32.
    """

    def __init__(self, model: Any, precision: str, library: ctypes.CDLL | None = None, amx: bool = True):
        found = library or load()
        if found is None:
            raise RuntimeError("there is no kernel: ask load() first")
        self.library, self.amx = found, amx
        self.precision, config = precision, model.config
        self.hidden = int(config.hidden_size)
        self._kept: list[np.ndarray] = []  # what C points into
        weights = {name: tensor.detach().float() for name, tensor in model.state_dict().items()}
        self._layers = (Layer * config.num_hidden_layers)(
            *(self._layer(weights, i) for i in range(config.num_hidden_layers))
        )
        words = weights["embeddings.word_embeddings.weight"].numpy()
        positions = (
            weights["embeddings.position_embeddings.weight"]
            + weights["embeddings.token_type_embeddings.weight"][0]
        )
        mixed = len(weights["encoder.layer.0.attention.self.query.weight"])
        codes, scale = quantize_rows(words) if precision == "int8" else (None, None)
        self._model = Model(
            PRECISIONS.index(precision), self.hidden, config.num_attention_heads, mixed,
            config.intermediate_size, config.num_hidden_layers,
            len(words), len(positions), config.layer_norm_eps, ctypes.cast(self._layers, _POINTER),
            self._keep(codes), self._keep(scale),
            self._keep(None if precision == "int8" else words), self._keep(positions.numpy()),
            self._keep(weights["embeddings.LayerNorm.weight"].numpy()),
            self._keep(weights["embeddings.LayerNorm.bias"].numpy()),
        )  # fmt: skip

    @property
    def nbytes(self) -> int:
        """Bytes of all weights in memory."""
        return sum(array.nbytes for array in self._kept)

    def _keep(self, array: np.ndarray | None) -> int | None:
        if array is None:
            return None
        # A tensor read from a file keeps the whole file in memory; in int8 nothing large of it is used as it
        # is.
        self._kept.append(np.array(array, order="C", copy=True if self.precision == "int8" else None))
        return self._kept[-1].ctypes.data

    def _linear(self, weight: Tensor, bias: Tensor) -> Any:
        import torch

        scale = shift = None
        if self.precision == "int8":
            codes, scale = quantize_rows(weight.numpy(), pairs=bool(self.library.adds_pairs()))
            shift = scale * codes.sum(axis=1, dtype=np.int64).astype(np.float32)
            packed = _lines(codes, 4)
        elif self.precision == "bfloat16":
            packed = _lines(weight.to(torch.bfloat16).view(torch.int16).numpy(), 2)
        else:
            packed = _lines(weight.numpy(), 1)
        return Linear(
            *weight.shape, self._keep(packed), self._keep(scale), self._keep(shift), self._keep(bias.numpy())
        )

    def _layer(self, weights: dict[str, Tensor], i: int) -> Any:
        import torch

        def of(name: str, kind: str) -> Tensor:
            return weights[f"encoder.layer.{i}.{name}.{kind}"]

        attention = [f"attention.self.{part}" for part in ("query", "key", "value")]
        qkv = (torch.cat([of(part, kind) for part in attention]) for kind in ("weight", "bias"))
        others = ("attention.output.dense", "intermediate.dense", "output.dense")
        norms = ("attention.output.LayerNorm", "output.LayerNorm")
        return Layer(
            self._linear(*qkv),
            *(self._linear(of(name, "weight"), of(name, "bias")) for name in others),
            *(self._keep(of(name, kind).numpy()) for name in norms for kind in ("weight", "bias")),
        )

    def encode(self, tokens: Sequence[tuple[Sequence[int], int]], pooling: str, n_threads: int) -> np.ndarray:
        """Pooled vectors float32 ``[n, hidden]`` of texts given as token ids and where the pooled part
        begins.
        """
        sizes = np.array([len(ids) for ids, _ in tokens], dtype=np.int64)
        start = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        flat = np.fromiter((i for ids, _ in tokens for i in ids), dtype=np.int32, count=int(start[-1]))
        begin = np.array([at for _, at in tokens], dtype=np.int64)
        weight, chunk = token_weights(pooling, start, begin), chunks(start, n_threads)
        vectors, turn = np.empty((len(sizes), self.hidden), dtype=np.float32), np.zeros(1, dtype=np.int64)
        arrays = (start, chunk, flat, weight, vectors, turn)
        batch = Batch(len(sizes), len(chunk) - 1, *(a.ctypes.data for a in arrays))
        check(
            self.library.encode(
                ctypes.byref(self._model), ctypes.byref(batch), _INT(n_threads), _INT(self.amx)
            ),
            self._model,
            flat,
            sizes,
        )
        return vectors


def check(code: int, model: Any, ids: np.ndarray, sizes: np.ndarray) -> None:
    """What ``encode`` of encoder.c returned, as an error.

    Raises:
        InputError: a token id without a row in the model's table, or a text with more tokens than the model
            has positions.
        MemoryError: no memory for the activations.
    """
    if code == UNKNOWN_ID:
        known = model.n_words
        wrong = int(ids[(ids < 0) | (ids >= known)][0])
        raise InputError(
            f"token id {wrong}: expected 0 to {known - 1}, the rows of the model's table; does the tokenizer "
            f"belong to the model?"
        )
    if code == TOO_LONG:
        raise InputError(
            f"a text of {sizes.max()} tokens: expected at most {model.n_positions}, the positions of the "
            f"model"
        )
    if code:
        raise MemoryError("no memory for the activations")


def token_weights(pooling: str, start: np.ndarray, begin: np.ndarray) -> np.ndarray:
    """How much every token counts in its text's vector, float32 ``[tokens]``, as ``pooling.pool`` has it.

    start: ``[n + 1]`` first token of every text; begin: ``[n]`` where in its text the pooled part begins.

    >>> token_weights("weighted", np.array([0, 3, 4]), np.array([0, 0])).astype(float).round(3).tolist()
    [0.167, 0.333, 0.5, 1.0]
    """
    sizes = np.diff(start)
    place = np.arange(start[-1]) - np.repeat(start[:-1], sizes) - np.repeat(begin, sizes)
    pooled = np.repeat(sizes - begin, sizes)
    if pooling in ("mean", "echo"):
        weight = np.ones(len(place))
    elif pooling == "mean_sqrt_len":
        weight, pooled = np.ones(len(place)), np.sqrt(pooled)
    elif pooling == "weighted":
        weight = place + 1.0
        pooled = pooled * (pooled + 1) / 2
    elif pooling in ("cls", "last"):
        weight, pooled = (place == (0 if pooling == "cls" else pooled - 1)).astype(float), np.ones(len(place))
    else:
        raise ValueError(f"pooling={pooling!r}: expected one of {', '.join(POOLINGS)}")
    return np.where(place >= 0, weight / np.maximum(pooled, 1), 0).astype(np.float32)


def chunks(start: np.ndarray, n_threads: int) -> np.ndarray:
    """First text of every chunk, and the number of texts: chunks of about equal tokens, several per thread
    where there is enough.

    >>> chunks(np.array([0, 30, 60, 90, 120]), 1).tolist()
    [0, 2, 4]
    """
    max_tokens = min(MAX_CHUNK, max(MIN_CHUNK, -(-int(start[-1]) // (4 * n_threads))))
    firsts, at = [], 0
    while at < len(start) - 1:
        firsts.append(at)
        at = max(at + 1, int(np.searchsorted(start, start[at] + max_tokens, side="right")) - 1)
    return np.array([*firsts, len(start) - 1], dtype=np.int64)
