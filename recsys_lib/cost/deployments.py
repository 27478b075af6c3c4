"""Ways to recommend, from a list of what is popular to a language model that writes the order, and the time each needs.

A way is made of works: look neighbours up, add rows of EASE's matrix, scan item vectors, encode an item, read a prompt, write an
answer. Each work is counted in operations and bytes; on a machine it takes its roofline bound divided by the *share* of the bound
that such work reached where somebody measured it. A share that nobody measured is 1, and the time is then a bound and says so.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType

from recsys_lib.core.errors import InputError
from recsys_lib.cost import sizing
from recsys_lib.cost.architectures import architecture
from recsys_lib.cost.machines import Hardware, Price, table
from recsys_lib.cost.prices import UTILIZATION, Stack, Traffic
from recsys_lib.cost.quality import UNKNOWN, Quality, recorded
from recsys_lib.cost.units import fraction, positive

# Kinds of work whose share of the bound is measured apart, on every family of machines apart: "scan on c7i", "decode on gpu".
ON_PROCESSORS = ("neighbours", "ease", "scan", "ease fit", "encode")
ON_CARDS = ("encode", "prefill", "decode")
# Readers of item texts by the name that ways use: the architecture in data/models.toml (none: look-ups) and the dimensions of its
# vectors. Counted words have one number a token; they feed EASE's map only, so no request scans them.
READERS = {
    "tfidf": ("", 1),
    "wordllama": ("", 256),
    "minilm": ("minilm", 384),
    "e5": ("e5-small", 384),
    "smollm2": ("smollm2-135m", 576),
    "qwen3-8b": ("qwen3-embedding-8b", 4096),
}
RERANKER = "llama-3-8b"
RERANK_BATCHES = (1, 8, 32)
TEXT_LENGTHS = (16, 32, 64, 128, 256, 512)
INSTRUCTION_TOKENS = 60


@dataclass(frozen=True)
class Work:
    """Operations and bytes of one piece of work, and the precision it is done in; "half" is the machine's 16-bit format."""

    operations: float
    bytes: float
    precision: str

    def bound(self, machine: Hardware) -> float:
        """Seconds it takes at least on that machine."""
        return machine.least_seconds(self.operations, self.bytes, half(machine, self.precision))


def family(machine: Hardware) -> str:
    """Machines that reach the same shares: one kind of processor in any size, or all cards.

    >>> family(table()["c7i-8xlarge"]), family(table()["l4"])
    ('c7i', 'gpu')
    """
    return machine.name.partition("-")[0] if machine.kind == "cpu" else machine.kind


@lru_cache
def works() -> tuple[str, ...]:
    """Every kind of work on every family of machines that one can rent."""
    families = {family(m): ON_PROCESSORS if m.kind == "cpu" else ON_CARDS for m in rentable()}
    return tuple(f"{kind} on {where}" for where, kinds in families.items() for kind in kinds)


def half(machine: Hardware, precision: str) -> str:
    """``precision`` itself, or for "half" the 16-bit format that the machine has a peak for."""
    if precision != "half":
        return precision
    return "bfloat16" if "bfloat16" in machine.peaks else "float16"


@dataclass(frozen=True)
class Way:
    """One way to recommend.

    kind: counting, text, both or LLM. serves: the works of one request, of neighbours, ease and scan (none: a ready list).
    readers: encoders of item texts. reranker: the decoder that orders the first candidates anew.
    seen, new: (record, keys) of its quality for items with interactions and for items without; empty where nothing is recorded.
    """

    name: str
    kind: str
    serves: tuple[str, ...] = ()
    readers: tuple[str, ...] = ()
    reranker: str = ""
    seen: tuple[str, ...] = ()
    new: tuple[str, ...] = ()

    def quality(self, protocol: str) -> tuple[Quality, Quality]:
        """For items with interactions, and for items without."""
        return _recorded(self.seen, protocol), _recorded(self.new, protocol)

    @property
    def dimensions(self) -> int:
        """Of the vectors that a request scans."""
        return sum(READERS[name][1] for name in self.readers) if "scan" in self.serves else 0


def _recorded(keys: tuple[str, ...], protocol: str) -> Quality:
    return recorded(keys[0], keys[1:], protocol) if keys else UNKNOWN


def _ways() -> Iterator[Way]:
    # Counting cannot place an item that nobody has met: chance is what it has there.
    chance = ("cold-study", "strict", "chance")
    ranked = ("ranking-study", "ndcg")
    knn, ease = (*ranked, "ItemKNN"), (*ranked, "EASE")
    shown = {
        "wordllama": "static vectors",
        "minilm": "MiniLM",
        "e5": "e5",
        "smollm2": "SmolLM2",
        "qwen3-8b": "8B encoder",
    }
    cold = {name: "cold-study" if name == "minilm" else "cold-readers" for name in READERS}
    yield Way("popularity", "counting", (), seen=(*ranked, "popularity"), new=chance)
    yield Way("ItemKNN", "counting", ("neighbours",), seen=knn, new=chance)
    yield Way("EASE", "counting", ("ease",), seen=ease, new=chance)
    for name, label in shown.items():
        read = ("ranking-study", "readers", name, "zca"), (cold[name], "strict", f"cosine: {name}, whitened")
        yield Way(label, "text", ("scan",), (name,), seen=read[0], new=read[1])
    whitened = ("cold-study", "strict", "cosine: minilm, whitened")
    yield Way("ItemKNN + MiniLM", "both", ("neighbours", "scan"), ("minilm",), seen=knn, new=whitened)
    counted = ("cold-study", "strict", "EASE map: tf-idf")
    yield Way("EASE + counted words", "both", ("ease",), ("tfidf",), seen=ease, new=counted)
    for name, label in shown.items():
        mapped = (cold[name], "strict", f"EASE map: {name}")
        yield Way(f"EASE + {label}", "both", ("ease",), (name,), seen=ease, new=mapped)
    yield Way("ItemKNN + MiniLM, LLM reranks", "LLM", ("neighbours", "scan"), ("minilm",), RERANKER)
    yield Way("EASE + MiniLM, LLM reranks", "LLM", ("ease",), ("minilm",), RERANKER)


WAYS = tuple(_ways())


def way(name: str) -> Way:
    """The way of that name."""
    found = {w.name: w for w in WAYS}
    if name not in found:
        raise InputError(f"way {name!r}: expected one of {', '.join(found)}")
    return found[name]


@dataclass(frozen=True)
class Assumptions:
    """What is neither measured nor read in a table. Planning values, there to be moved (notebook 16's tornado, the explorer).

    utilization: share of held time that does work. history: items a request brings. neighbours: kept per item by ItemKNN.
    handling_s: time of one core to receive, parse and answer a request, whatever recommends. encode_batch: texts read at once.
    candidates, shown: items that the reranker orders, and of the history that it is shown. answer_tokens: that it writes.
    cpu_price, gpu_price: factors on the price lists. shares: of the bound by work; what is missing is 1, a bound.
    """

    utilization: float = UTILIZATION
    history: int = 50
    neighbours: int = 100
    handling_s: float = 0.001
    encode_batch: int = 64
    candidates: int = 20
    shown: int = 20
    answer_tokens: int = 60
    cpu_price: float = 1.0
    gpu_price: float = 1.0
    shares: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        fraction("utilization", self.utilization)
        for name in ("history", "neighbours", "handling_s", "encode_batch", "cpu_price", "gpu_price"):
            positive(name, getattr(self, name))
        for name in ("candidates", "shown", "answer_tokens"):
            positive(name, getattr(self, name))
        for work, value in self.shares.items():
            if work not in works():
                raise InputError(f"share of {work!r}: expected one of {', '.join(works())}")
            fraction(f"share of {work}", value)
        object.__setattr__(self, "shares", MappingProxyType(dict(self.shares)))

    def seconds(self, work: Work, kind: str, machine: Hardware) -> float:
        """The bound over the share that such work reaches."""
        return work.bound(machine) / self.shares.get(f"{kind} on {family(machine)}", 1.0)

    def knows(self, kind: str, machine: Hardware) -> bool:
        """Whether the share of such work there is known."""
        return f"{kind} on {family(machine)}" in self.shares

    def priced(self, machine: Hardware) -> Hardware:
        """The machine with its first offer times the price factor of its kind."""
        factor = self.cpu_price if machine.kind == "cpu" else self.gpu_price
        if factor == 1.0:
            return machine
        offer = machine.price
        price = Price(**{**vars(offer), "usd_per_hour": offer.usd_per_hour * factor})
        return Hardware(**{**vars(machine), "prices": (price,)})


# ---------------------------------------------------------------- works, counted


def request_works(way: Way, items: float, assumed: Assumptions) -> dict[str, Work]:
    """What one request asks for by kind of work, over a catalogue of ``items``."""
    found = {}
    if "neighbours" in way.serves:
        # An id and a similarity of 4 bytes each, for every neighbour of every item of the history.
        entries = float(assumed.history * assumed.neighbours)
        found["neighbours"] = Work(entries, 8 * entries, "float32")
    if "ease" in way.serves:
        found["ease"] = Work(assumed.history * items, 4 * (assumed.history * items), "float32")
    if "scan" in way.serves:
        # One byte a value: int8 keeps the ranking (notebook 01 and the quality that notebook 08 records).
        found["scan"] = Work(2 * (items * way.dimensions), items * way.dimensions, "int8")
    return found


def refit_work(way: Way, users: float, items: float, assumed: Assumptions) -> Work:
    """Counting who chose what with what, and for EASE a Cholesky inverse (n³ operations, LAPACK's count)."""
    pairs = users * assumed.history * assumed.history if way.serves and way.kind != "text" else 0.0
    cube = items * items * items if "ease" in way.serves else 0.0
    return Work(2 * pairs + cube, 4 * pairs, "float32")


@lru_cache
def encode_work(reader: str, tokens: int, batch: int) -> Work:
    """Encoding ``batch`` texts of ``tokens``: a transformer in 16 bits, or a look-up and a mean of static vectors."""
    name, dimensions = READERS[reader]
    if not name:
        values = float(batch * tokens * dimensions)
        return Work(values, 4 * values, "float32")
    bound = sizing.encode_bound(architecture(name), _ANY, tokens, batch)
    return Work(bound.operations, bound.bytes, "half")


@lru_cache
def rerank_works(model: str, tokens: int, batch: int, shown: int, candidates: int) -> tuple[Work, Work, float]:
    """Reading ``batch`` prompts of a history and its candidates, writing one token of each answer, and the bytes all that holds."""
    prompt = prompt_tokens(tokens, shown, candidates)
    read = sizing.prefill_bound(architecture(model), _ANY, prompt, batch)
    write = sizing.decode_bound(architecture(model), _ANY, prompt, batch)
    held = sizing.memory(architecture(model), prompt, batch).total
    return Work(read.operations, read.bytes, "half"), Work(write.operations, write.bytes, "half"), held


def prompt_tokens(tokens: int, shown: int, candidates: int) -> int:
    """An instruction, the items of the history, the candidates."""
    return INSTRUCTION_TOKENS + (shown + candidates) * tokens


class _AnyMachine:
    """Counts do not depend on the machine; bounds want one."""

    def least_seconds(self, operations: float, n_bytes: float, precision: str) -> float:
        return 0.0


_ANY = _AnyMachine()


# ---------------------------------------------------------------- a way on machines


@dataclass(frozen=True)
class Option:
    """A way on machines: one that serves, one that encodes (held only while it does), one that reranks in batches."""

    way: Way
    machine: Hardware
    batch_machine: Hardware | None = None
    rerank_machine: Hardware | None = None
    rerank_batch: int = 1

    def stacks(self, traffic: Traffic, text_tokens: int, assumed: Assumptions) -> tuple[Stack, ...]:
        """What serves and encodes, and after it what reranks, as ``prices`` charges for them.

        The latency of a request is the sum over the stacks; a request that waits for a batch to fill waits outside this count.
        """
        items, users, machine = float(traffic.items), float(traffic.users), assumed.priced(self.machine)
        work_s = 0.0
        for kind, work in request_works(self.way, items, assumed).items():
            work_s += assumed.seconds(work, kind, machine)
        item_s = item_seconds(self.way, self.batch_machine, text_tokens, assumed) if self.batch_machine else 0.0
        known = [assumed.knows(kind, machine) for kind in request_works(self.way, items, assumed)]
        known += [assumed.knows("encode", self.batch_machine)] if self.batch_machine else []
        serving = Stack(
            self.way.name,
            machine,
            request_s=assumed.handling_s + work_s,
            requests_per_s=1 / (assumed.handling_s / (machine.cores or 1) + work_s),
            item_s=item_s,
            refit_s=assumed.seconds(refit_work(self.way, users, items, assumed), "ease fit", machine),
            bytes_per_item=bytes_per_item(self.way, items, assumed),
            basis="model" if known and all(known) else "bound",
            batch_machine=assumed.priced(self.batch_machine) if self.batch_machine else None,
        )
        return (serving, self._reranking(text_tokens, assumed)) if self.rerank_machine else (serving,)

    def _reranking(self, text_tokens: int, assumed: Assumptions) -> Stack:
        assert self.rerank_machine is not None
        machine = assumed.priced(self.rerank_machine)
        read, write, held = rerank_works(
            self.way.reranker, text_tokens, self.rerank_batch, assumed.shown, assumed.candidates
        )
        batch_s = assumed.seconds(read, "prefill", machine)
        batch_s += assumed.answer_tokens * assumed.seconds(write, "decode", machine)
        known = assumed.knows("prefill", machine) and assumed.knows("decode", machine)
        return Stack(
            f"{self.way.reranker}, {self.rerank_batch} at once", machine, request_s=batch_s,
            requests_per_s=self.rerank_batch / batch_s, memory_bytes=held, basis="model" if known else "bound",
        )  # fmt: skip


def item_seconds(way: Way, machine: Hardware, text_tokens: int, assumed: Assumptions) -> float:
    """Seconds to encode one item with every reader of the way, in batches."""
    total = 0.0
    for reader in way.readers:
        work = encode_work(reader, text_tokens, assumed.encode_batch)
        total += assumed.seconds(work, "encode", machine) / assumed.encode_batch
    return total


def bytes_per_item(way: Way, items: float, assumed: Assumptions) -> float:
    """Memory that an item takes: vectors of one byte a value, neighbours of 8, and of EASE two rows of 4 bytes for every item.

    Two rows, because the matrix serves while the next one is fitted.
    """
    total = float(way.dimensions)
    if "neighbours" in way.serves:
        total += 8.0 * assumed.neighbours
    if "ease" in way.serves:
        total += 8.0 * items
    return total


def rentable(kinds: tuple[str, ...] = ("cpu", "gpu")) -> tuple[Hardware, ...]:
    """Machines with a price, in stock when it was read. What has none cannot be decided for (``Hardware.price`` refuses)."""
    return tuple(m for m in table().values() if m.kind in kinds and m.prices and "not in stock" not in m.price.offer)


def measured(machines: tuple[Hardware, ...], kind: str, assumed: Assumptions) -> tuple[Hardware, ...]:
    """Those machines on which the share of such work is known; all, if it is known on none."""
    return tuple(m for m in machines if assumed.knows(kind, m)) or machines


def options(way: Way, text_tokens: int, assumed: Assumptions) -> list[Option]:
    """Every way to house ``way``: served by processors; items encoded where that is cheapest, which depends on no traffic.

    A bound beside a measurement would always win. So, once the share of a work is known on some machines, only these are rented for
    it; and what is only bounded is what nobody measured anywhere.
    """
    batch_machine, servers = None, measured(rentable(("cpu",)), "scan", assumed)
    if way.readers:
        # Looking static vectors up needs no card.
        machines = rentable() if any(READERS[name][0] for name in way.readers) else servers
        machines = measured(machines, "encode", assumed)
        batch_machine = min(
            machines, key=lambda m: item_seconds(way, m, text_tokens, assumed) * assumed.priced(m).price.usd_per_hour
        )
    if not way.reranker:
        return [Option(way, machine, batch_machine) for machine in servers]
    cards = itertools.product(servers, rentable(("gpu",)), RERANK_BATCHES)
    return [Option(way, server, batch_machine, card, batch) for server, card, batch in cards]
