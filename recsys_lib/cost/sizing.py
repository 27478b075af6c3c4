"""Parameters, bytes, operations and lower bounds on time, from an architecture and a data sheet.

Operations are counted as the field does and as ``torch.utils.flop_counter`` does: two per multiply-add of
every matrix product; softmax, norms and activation functions are left out. Bounds are the roofline's
(Williams et al., 2009): no run is faster than its operations at the peak, nor than its least traffic at the
full bandwidth. Pope et al., "Efficiently Scaling Transformer Inference" (2022) gives the same terms.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Protocol

from recsys_lib.core.errors import InputError
from recsys_lib.cost.architectures import NEVER_MULTIPLY, Architecture, Attention, Weight
from recsys_lib.cost.units import fraction


@dataclass(frozen=True)
class Format:
    """How a matrix is stored: bits per value, and ``group_bits`` of scales for every ``group`` values of a
    row.

    group 0: a whole row shares them.
    """

    bits: int
    group: int = 0
    group_bits: int = 0

    def matrix_bytes(self, rows: int, columns: int) -> float:
        """Bytes of one matrix; a last group that is not full still has its scales."""
        groups = math.ceil(columns / self.group) if self.group else 1
        return (rows * columns * self.bits + rows * groups * self.group_bits) / 8


FORMATS = {
    "float32": Format(32),
    "bfloat16": Format(16),
    "float16": Format(16),
    "float8": Format(8, 0, 32),
    "int8": Format(8, 0, 32),
    # 16 bits of scale and 16 of zero point per group, as torchao's weight-only kernel stores it.
    "int4": Format(4, 128, 32),
    # llama.cpp's blocks: a 16-bit scale, in Q4_1 a minimum as well.
    "q8_0": Format(8, 32, 16),
    "q4_0": Format(4, 32, 16),
    "q4_1": Format(4, 32, 32),
    # Open Compute Project microscaling: an 8-bit exponent per 32 values.
    "mxfp4": Format(4, 32, 8),
}
# What quantizers leave in 16 bits unless told otherwise.
KEPT = ("embedding", "output", "router")


def storage(precision: str, group: int | None = None) -> Format:
    """The format of that name, with another group size if given."""
    if precision not in FORMATS:
        raise InputError(f"precision={precision!r}: expected one of {', '.join(FORMATS)}")
    if group is None:
        return FORMATS[precision]
    if group < 1 or not FORMATS[precision].group_bits:
        raise InputError(
            f"group={group} with {precision}: expected a group of at least 1, and a format that has scales"
        )
    return replace(FORMATS[precision], group=group)


def parameters(model: Architecture) -> int:
    """All parameters, each counted once."""
    return sum(w.parameters for w in model.weights)


def active_parameters(model: Architecture, embedding: bool = False) -> int:
    """Parameters one token goes through: experts not chosen left out, and the embedding table unless asked
    for.
    """
    return sum(
        w.outputs * w.inputs * w.copies_used
        for w in model.weights
        if (embedding or w.part != "embedding") and not (embedding and w.tied)
    )


def _bytes_of(
    weight: Weight, copies: float, precision: str, group: int | None, kept: tuple[str, ...]
) -> float:
    wide = "float32" if precision == "float32" else "bfloat16"
    small = weight.part != "vector" and weight.part not in kept
    form = storage(precision, group) if small else FORMATS[wide]
    return copies * form.matrix_bytes(weight.outputs, weight.inputs)


def weight_bytes(
    model: Architecture, precision: str = "bfloat16", group: int | None = None, kept: tuple[str, ...] = KEPT
) -> float:
    """Bytes of all weights. Vectors, and the parts in ``kept``, stay in 16 bits (32 with float32)."""
    storage(precision, group)
    return sum(_bytes_of(w, w.copies, precision, group, kept) for w in model.weights if not w.tied)


def kv_cache_bytes(model: Architecture, tokens: int, batch: int = 1, precision: str = "bfloat16") -> float:
    """Bytes of cached keys and values for ``batch`` sequences of ``tokens``; layers with a window keep no
    more than it.

    Grouped queries and latent attention cache less, and this counts what they cache. 0 for an encoder.
    """
    _sizes(tokens, batch)
    values = sum(a.layers * a.cached * _seen(a, tokens) for a in model.attention if a.stack != "cross")
    return batch * values * storage(precision).bits / 8


def _seen(attention: Attention, tokens: int) -> int:
    return tokens if attention.window is None else min(tokens, attention.window)


def _sizes(*counts: int) -> None:
    if any(count < 1 for count in counts):
        raise InputError(f"sizes {', '.join(map(str, counts))}: expected at least 1 token and 1 sequence")


def activation_bytes(
    model: Architecture, tokens: int, batch: int = 1, precision: str = "bfloat16", fused: bool = True
) -> float:
    """Peak bytes of activations in one pass over ``batch`` sequences of ``tokens``, weights and cache apart.

    What transformers' own code holds at the widest point of a layer: the residual stream, its copies and
    the inner width of the feed-forward part. ``fused`` attention (flash, memory-efficient) never forms the
    scores; without it two copies of ``[heads, tokens, tokens]`` live inside attention, and one until the
    layer ends. Compiled engines need less.
    """
    _sizes(tokens, batch)
    reading = next(a for a in model.attention if a.stack == model.reads_with)
    scores = 0 if fused else reading.heads * tokens
    width = max(model.activation_width + scores, model.attention_width + 2 * scores)
    return batch * tokens * width * storage(precision).bits / 8


def _products(weights: list[Weight]) -> int:
    """Operations to take one token through these matrices."""
    return sum(2 * w.outputs * w.inputs * w.copies_used for w in weights if w.part not in NEVER_MULTIPLY)


def _pairs(attention: Attention, tokens: int, skip_masked: bool) -> int:
    """Query-key pairs in one head for a sequence of ``tokens``: the square, or only what a causal mask and
    window keep.
    """
    if not skip_masked or not attention.causal:
        return tokens * tokens
    seen = _seen(attention, tokens)
    return seen * (seen + 1) // 2 + (tokens - seen) * seen


def encode_flops(model: Architecture, tokens: int, batch: int = 1, skip_masked: bool = False) -> int:
    """Operations to read ``batch`` sequences of ``tokens`` and return their hidden states, pooler included.

    An encoder-decoder runs its encoder. ``skip_masked`` leaves out the pairs that a causal mask or a window
    hides, as flash kernels do; plain kernels compute the whole square.

    >>> from recsys_lib.cost.architectures import architecture
    >>> round(encode_flops(architecture("minilm"), 16) / 1e9, 2)
    0.34
    """
    _sizes(tokens, batch)
    stack = model.reads_with
    own = [w for w in model.weights if w.stack == stack and w.part != "output"]
    each = _products([w for w in own if w.part != "pooler"])
    pooled = _products([w for w in own if w.part == "pooler"])
    pairs = sum(
        2 * a.layers * a.heads * (a.key_dim + a.value_dim) * _pairs(a, tokens, skip_masked)
        for a in model.attention
        if a.stack == stack
    )
    return batch * (tokens * each + pooled + pairs)


def prefill_flops(model: Architecture, tokens: int, batch: int = 1, skip_masked: bool = False) -> int:
    """Operations to read a prompt, fill the cache and predict its first token.

    For an encoder-decoder: the encoder, the keys and values its tokens give the decoder, and one decoder
    step.
    """
    _generates(model)
    cross = _products([w for w in model.weights if w.stack == "cross"])
    read = encode_flops(model, tokens, batch, skip_masked) + batch * tokens * cross
    if model.reads_with == "encoder":
        return read + decode_flops(model, 1, batch, source=tokens)
    return read + batch * _products([w for w in model.weights if w.part == "output"])


def decode_flops(model: Architecture, context: int, batch: int = 1, source: int = 0) -> int:
    """Operations to generate one token in each of ``batch`` sequences that then hold ``context`` tokens.

    source: tokens the encoder read, for an encoder-decoder.
    """
    _generates(model)
    _sizes(context, batch)
    one = _products([w for w in model.weights if w.stack == "decoder"])
    for a in model.attention:
        if a.stack == "decoder":
            one += 2 * a.layers * a.heads * a.decode_dim * _seen(a, context)
        elif a.stack == "cross":
            one += 2 * a.layers * a.heads * a.decode_dim * source
    return batch * one


def _generates(model: Architecture) -> None:
    if not model.generates:
        raise InputError(f"{model.name} is an encoder: it has no output matrix and generates nothing")


@dataclass(frozen=True)
class Memory:
    """Bytes a run holds: weights, cache, activations."""

    weights: float
    cache: float
    activations: float

    @property
    def total(self) -> float:
        return self.weights + self.cache + self.activations


def memory(
    model: Architecture,
    tokens: int,
    batch: int = 1,
    precision: str = "bfloat16",
    compute: str = "bfloat16",
    group: int | None = None,
    kept: tuple[str, ...] = KEPT,
) -> Memory:
    """Bytes to serve ``batch`` sequences of ``tokens`` with weights in ``precision`` and the rest in
    ``compute``.
    """
    return Memory(
        weight_bytes(model, precision, group, kept),
        kv_cache_bytes(model, tokens, batch, compute),
        activation_bytes(model, tokens, batch, compute),
    )


def machines_needed(total_bytes: float, memory_bytes: float, usable: float = 0.9) -> int:
    """Machines (GPUs) whose memory together holds ``total_bytes``; the share not ``usable`` is the runtime's.

    >>> machines_needed(141e9, 80e9)
    2
    """
    fraction("usable", usable)
    if not (total_bytes > 0 and memory_bytes > 0):
        raise InputError(f"total_bytes={total_bytes}, memory_bytes={memory_bytes}: expected both above 0")
    return math.ceil(total_bytes / (memory_bytes * usable))


class Roofline(Protocol):
    """Anything that bounds time: ``cost.Hardware`` by data sheet, ``machine.Ceilings`` by measurement."""

    def least_seconds(self, operations: float, n_bytes: float, precision: str) -> float: ...


@dataclass(frozen=True)
class Bound:
    """A lower bound on the time of one pass, with what it counts; ``limited_by`` is compute or memory."""

    seconds: float
    operations: float
    bytes: float
    limited_by: str


def _bound(roofline: Roofline, operations: float, n_bytes: float, compute: str, machines: int) -> Bound:
    if machines < 1:
        raise InputError(f"machines={machines}: expected at least 1")
    # Ideal scaling: work and traffic split evenly and nothing is said over the wire. Real machines are
    # slower.
    operations_each, bytes_each = operations / machines, n_bytes / machines
    arithmetic = roofline.least_seconds(operations_each, 0.0, compute)
    seconds = roofline.least_seconds(operations_each, bytes_each, compute)
    return Bound(seconds, operations, n_bytes, "compute" if arithmetic >= seconds else "memory")


def read_bytes(
    model: Architecture,
    tokens: int,
    precision: str = "bfloat16",
    group: int | None = None,
    kept: tuple[str, ...] = KEPT,
    stack: str = "",
) -> float:
    """Bytes of weights that a pass over ``tokens`` tokens in all must read, each matrix once.

    Of the embedding only the rows looked up. Of experts, the number that tokens routed evenly and
    independently are expected to touch, ``E (1 - (1 - k/E)^tokens)``: exactly k for one token, and nearly
    all for many. stack: only this stack and what it needs ("encoder" leaves the decoder unread).
    """
    _sizes(tokens)
    total = 0.0
    for w in model.weights:
        if stack and w.stack not in (stack, "shared"):
            continue
        if w.part == "embedding":
            rows = replace(w, outputs=min(w.outputs, tokens))
            total += _bytes_of(rows, w.copies, precision, group, kept)
        else:
            copies = (
                w.copies * (1 - (1 - w.copies_used / w.copies) ** tokens) if w.part == "experts" else w.copies
            )
            total += _bytes_of(w, copies, precision, group, kept)
    return total


def encode_bound(
    model: Architecture,
    roofline: Roofline,
    tokens: int,
    batch: int = 1,
    precision: str = "bfloat16",
    compute: str = "bfloat16",
    machines: int = 1,
    **stored,
) -> Bound:
    """The least time to encode ``batch`` sequences of ``tokens``: weights read once, masked pairs skipped.

    ``stored``: ``group`` and ``kept`` as in ``weight_bytes``.
    """
    operations = encode_flops(model, tokens, batch, skip_masked=True)
    kept_whole = replace(model, weights=tuple(w for w in model.weights if w.part != "output"))
    n_bytes = read_bytes(kept_whole, tokens * batch, precision, stack=model.reads_with, **stored)
    return _bound(roofline, operations, n_bytes, compute, machines)


def prefill_bound(
    model: Architecture,
    roofline: Roofline,
    tokens: int,
    batch: int = 1,
    precision: str = "bfloat16",
    compute: str = "bfloat16",
    machines: int = 1,
    **stored,
) -> Bound:
    """The least time from prompt to first token: weights read once, the cache written once."""
    operations = prefill_flops(model, tokens, batch, skip_masked=True)
    n_bytes = read_bytes(model, tokens * batch, precision, **stored) + kv_cache_bytes(
        model, tokens, batch, compute
    )
    return _bound(roofline, operations, n_bytes, compute, machines)


def decode_bound(
    model: Architecture,
    roofline: Roofline,
    context: int,
    batch: int = 1,
    precision: str = "bfloat16",
    compute: str = "bfloat16",
    machines: int = 1,
    source: int = 0,
    **stored,
) -> Bound:
    """The least time per generated token: weights read once for the batch, every sequence's cache read
    once.
    """
    operations = decode_flops(model, context, batch, source)
    stack = "decoder" if model.reads_with == "encoder" else ""
    n_bytes = read_bytes(model, batch, precision, stack=stack, **stored)
    n_bytes += kv_cache_bytes(model, context, batch, compute)
    cross = sum(a.layers * a.cached * source for a in model.attention if a.stack == "cross")
    return _bound(
        roofline, operations, n_bytes + batch * cross * storage(compute).bits / 8, compute, machines
    )
