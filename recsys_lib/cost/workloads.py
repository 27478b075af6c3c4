"""What one request, one item or one fit asks of a machine: operations and bytes, counted from shapes alone.

A workload of a batch takes its roofline bound divided by the *fraction* of that bound which such work
reached where it was measured (``recorded_fractions``). A fraction that nobody measured is 1: the time is
then a lower bound and is marked as one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from recsys_lib.cost import sizing
from recsys_lib.cost.architectures import Architecture, architecture
from recsys_lib.cost.machines import Hardware, table

if TYPE_CHECKING:
    from recsys_lib.cost.assumptions import Assumptions
    from recsys_lib.cost.deployment_options import DeploymentOption

# Kinds of workload whose fraction of the roofline is measured apart, on every family of machines apart:
# "scan on c7i".
ON_PROCESSORS = ("lookup", "dense rows", "scan", "fit", "encode", "prefill", "decode")
ON_CARDS = ("encode", "prefill", "decode")
# Encoders of item texts: the architecture in data/models.toml (none: a table of vectors or of counts) and
# the dimension of its vectors. TF-IDF feeds a map only, so no request scans its vectors.
ENCODERS = {
    "tfidf": ("", 1),
    "wordllama": ("", 256),
    "minilm": ("minilm", 384),
    "e5": ("e5-small", 384),
    "qwen3-8b": ("qwen3-embedding-8b", 4096),
}
# Rerankers: the model, and how it answers. pairs: one score for each pair of user text and candidate;
# logits: one pass over a prompt with all candidates, whose next-token logits order them; list: the order is
# written token by token.
RERANKERS = {
    "cross-encoder": ("ms-marco-minilm-l12", "pairs"),
    "135M LLM, logits": ("smollm2-135m", "logits"),
    "0.5B LLM, logits": ("qwen2.5-0.5b", "logits"),
    "8B LLM, logits": ("llama-3-8b", "logits"),
    "8B LLM, written list": ("llama-3-8b", "list"),
}
TEXT_LENGTHS = (16, 32, 64, 128, 256, 512)
# A weight of a dense matrix is served in float16: halves are assumed to lose no quality.
DENSE_BYTES = 2.0
# An instruction that all prompts share: read once and kept in the cache (prefix caching).
INSTRUCTION_TOKENS = 60


@dataclass(frozen=True)
class Workload:
    """Work that repeats: per request of a batch ``operations`` and ``request_bytes``, per batch
    ``batch_bytes`` read once.

    precision: float32, int8, or compact: 8 bits where the machine has them (integers on processors, floats
    on cards), else 16. batch_bytes_16: ``batch_bytes`` where compact means 16 bits. repeats: times in a row
    that a request needs it (tokens written).
    """

    kind: str
    operations: float
    request_bytes: float = 0.0
    batch_bytes: float = 0.0
    precision: str = "float32"
    batch_bytes_16: float = 0.0
    repeats: int = 1

    def bound_s(self, machine: Hardware, batch: int = 1) -> float:
        """Seconds that a batch takes at least on that machine."""
        fixed = self.batch_bytes
        if self.precision == "compact" and not has_8_bits(machine):
            fixed = self.batch_bytes_16
        n_bytes = fixed + batch * self.request_bytes
        return self.repeats * machine.least_seconds(
            batch * self.operations, n_bytes, format_of(machine, self.precision)
        )


def has_8_bits(machine: Hardware) -> bool:
    """Whether transformers run in 8 bits there: integers on processors, floats on cards that have them."""
    return "float8" in machine.peaks if machine.kind != "cpu" else "int8" in machine.peaks


def format_of(machine: Hardware, precision: str) -> str:
    """The number format that ``precision`` stands for on that machine.

    >>> tuple(format_of(table()[card], "compact") for card in ("l4", "a100-40", "t4"))
    ('float8', 'bfloat16', 'float16')
    """
    if precision != "compact":
        return precision
    if has_8_bits(machine):
        return "int8" if machine.kind == "cpu" else "float8"
    return "bfloat16" if "bfloat16" in machine.peaks else "float16"


def family(machine: Hardware) -> str:
    """Machines that reach the same fractions: one kind of processor in any size, or all cards.

    >>> family(table()["c7i-8xlarge"]), family(table()["l4"])
    ('c7i', 'gpu')
    """
    return machine.name.partition("-")[0] if machine.kind == "cpu" else machine.kind


def request_workloads(
    option: DeploymentOption, items: float, cold_items: float, a: Assumptions
) -> list[Workload]:
    """What one request asks of the machine that serves it, over ``items`` items of which ``cold_items`` are
    cold.
    """
    found = []
    if "lookup" in option.serves:
        # An id and a weight of 4 bytes each for every entry kept of every item of the history.
        entries = float(a.history * a.entries_kept)
        found.append(Workload("lookup", 2 * entries, 8 * entries))
    if "dense rows" in option.serves:
        found.append(Workload("dense rows", a.history * items, DENSE_BYTES * (a.history * items)))
    if "scan" in option.serves or "scan cold items" in option.serves:
        # One byte a value (notebook 08: 8 bits keep the ranking); a batch of requests reads the vectors once.
        scanned = items if "scan" in option.serves else cold_items
        values = scanned * option.dimensions
        found.append(Workload("scan", 2 * values, 0.0, values, "int8"))
    return found


def refit_workload(option: DeploymentOption, users: float, items: float, a: Assumptions) -> Workload:
    """Counting pairs of items in histories, a Cholesky inverse (n³ operations) and the solution of a kernel
    map (7/3 n³).
    """
    pairs = users * a.history * a.history if option.fits else 0.0
    cubes = (1.0 if "ease" in option.fits else 0.0) + (7 / 3 if "map" in option.fits else 0.0)
    return Workload("fit", 2 * pairs + cubes * (items * items * items), 4 * pairs)


@lru_cache
def encode_workload(encoder: str, tokens: int) -> Workload:
    """Encoding texts of ``tokens``, one request a text: a transformer, or a mean of vectors of a table."""
    name, dimensions = ENCODERS[encoder]
    if not name:
        values = float(tokens * dimensions)
        return Workload("lookup", values, 4 * values)
    model = architecture(name)
    kind = "prefill" if model.reads_with == "decoder" else "encode"
    return _reading(
        model, kind, float(sizing.encode_flops(model, tokens, skip_masked=True)), 0.0, ("output",)
    )


def _reading(
    model: Architecture, kind: str, operations: float, request_bytes: float, unread: tuple[str, ...] = ()
) -> Workload:
    """A pass that reads every weight once a batch, the rows of the embedding and the parts ``unread``
    apart.
    """
    read = [w for w in model.weights if w.part not in ("embedding", *unread)]
    values = sum(float(w.outputs * w.inputs * w.copies) for w in read)
    return Workload(kind, operations, request_bytes, values, "compact", 2 * values)


@lru_cache
def rerank_workloads(
    reranker: str, tokens: int, shown: int, candidates: int, answer: int
) -> tuple[Workload, ...]:
    """What ordering the candidates of one request takes: pairs scored, or a prompt read and, for a list, an
    answer written.
    """
    name, form = RERANKERS[reranker]
    model = architecture(name)
    if form == "pairs":
        # A pair is the candidate's text and as much text about the user.
        each = sizing.encode_flops(model, 2 * tokens, skip_masked=True)
        return (_reading(model, "encode", float(candidates * each), 0.0),)
    prompt = INSTRUCTION_TOKENS + (shown + candidates) * tokens
    read = sizing.prefill_flops(model, prompt, skip_masked=True)
    cached = sizing.prefill_flops(model, INSTRUCTION_TOKENS, skip_masked=True)
    cache_bytes = sizing.kv_cache_bytes(model, prompt)
    reading = _reading(model, "prefill", float(read - cached), cache_bytes)
    if form == "logits":
        return (reading,)
    one = float(sizing.decode_flops(model, prompt))
    values = reading.batch_bytes
    return reading, Workload("decode", one, cache_bytes, values, "compact", 2 * values, answer)


@lru_cache
def rerank_bytes(reranker: str, tokens: int, shown: int, candidates: int) -> tuple[float, float, float]:
    """Memory of a reranker: its weights in 8 and in 16 bits, and what each request of a batch adds."""
    name, form = RERANKERS[reranker]
    model = architecture(name)
    prompt = (
        2 * tokens * candidates if form == "pairs" else INSTRUCTION_TOKENS + (shown + candidates) * tokens
    )
    sequence = 2 * tokens if form == "pairs" else prompt
    each = sizing.kv_cache_bytes(model, prompt) + sizing.activation_bytes(model, sequence)
    weights = float(sizing.parameters(model))
    return weights, 2 * weights, each


def rentable(kinds: tuple[str, ...] = ("cpu", "gpu")) -> tuple[Hardware, ...]:
    """Machines with a price that were in stock when it was read. What has none cannot be decided for."""
    return tuple(
        m for m in table().values() if m.kind in kinds and m.prices and "not in stock" not in m.price.offer
    )


@lru_cache
def known_kinds() -> tuple[str, ...]:
    """Every kind of workload on every family of machines that one can rent."""
    families = {family(m): ON_PROCESSORS if m.kind == "cpu" else ON_CARDS for m in rentable()}
    return tuple(f"{kind} on {where}" for where, kinds in families.items() for kind in kinds)
