"""What holds for every deployment option: planning values that a user may replace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from recsys_lib.core.errors import InputError
from recsys_lib.cost.machines import Hardware
from recsys_lib.cost.units import fraction, positive
from recsys_lib.cost.workloads import Workload, family, known_kinds

COUNTS = ("history", "entries_kept", "encode_batch", "candidates", "shown", "answer_tokens")


@dataclass(frozen=True)
class Assumptions:
    """Planning values, for all options the same.

    max_load: fraction of its throughput at which a machine is run at the peak, at most. history: items that
    a request brings. entries_kept: per item, of ItemKNN and of EASE's columns. handling_s: one core's time
    to receive, parse and answer a request. encode_batch: texts encoded at once. candidates, shown: items
    that a reranker orders, and of the history that it is shown. answer_tokens: that it writes, if it
    writes. cpu_price, gpu_price: factors on the price lists. unmeasured_fraction: of the roofline that work
    reaches which was measured nowhere; 1 makes its price a lower bound. fractions: measured fractions of
    the roofline, by kind and family of machines ("scan on c7i").

    Raises:
        InputError: a value out of its range, or a fraction of unknown work.
    """

    max_load: float = 0.7
    history: int = 50
    entries_kept: int = 200
    handling_s: float = 0.001
    encode_batch: int = 64
    candidates: int = 20
    shown: int = 20
    answer_tokens: int = 60
    cpu_price: float = 1.0
    gpu_price: float = 1.0
    unmeasured_fraction: float = 1.0
    fractions: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        fraction("max_load", self.max_load)
        fraction("unmeasured_fraction", self.unmeasured_fraction)
        for name in (*COUNTS, "handling_s", "cpu_price", "gpu_price"):
            positive(name, getattr(self, name))
        for work, value in self.fractions.items():
            if work not in known_kinds():
                raise InputError(f"fraction of {work!r}: expected one of {', '.join(known_kinds())}")
            fraction(f"fraction of {work}", value)
        object.__setattr__(self, "fractions", MappingProxyType(dict(self.fractions)))

    def seconds(self, work: Workload, machine: Hardware, batch: int = 1) -> float:
        """The roofline bound of a batch over the fraction of it that such work reaches on such machines."""
        reached = self.fractions.get(f"{work.kind} on {family(machine)}", self.unmeasured_fraction)
        return work.bound_s(machine, batch) / reached

    def knows(self, work: Workload, machine: Hardware) -> bool:
        """Whether the fraction that such work reaches there was measured."""
        return f"{work.kind} on {family(machine)}" in self.fractions

    def where_known(self, machines: Sequence[Hardware], works: Sequence[Workload]) -> tuple[Hardware, ...]:
        """The machines on which all of the work was measured; all machines, if there is none.

        A bound beside a measurement would always win, so what is only bounded is work that nobody measured
        anywhere.
        """
        return tuple(m for m in machines if all(self.knows(w, m) for w in works)) or tuple(machines)

    def usd_per_hour(self, machine: Hardware) -> float:
        """The first offer of the machine times the price factor of its kind."""
        factor = self.cpu_price if machine.kind == "cpu" else self.gpu_price
        return machine.price.usd_per_hour * factor

    def change(self, **moved: float) -> Assumptions:
        """The same with other values."""
        return replace(self, **moved)  # type: ignore[arg-type]
