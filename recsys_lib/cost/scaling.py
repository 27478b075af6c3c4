"""Training by many workers: what goes over the network, how long that takes, and what is left of each worker.

Data parallelism: every worker has the whole model, computes the gradients of its part of the batch, and all
add them up. A ring all-reduce of ``n`` bytes by ``p`` workers takes ``2 (p - 1)`` rounds of ``n / p`` bytes,
so with a latency ``α`` of a round and a bandwidth of ``1 / β`` (Thakur, Rabenseifner and Gropp, "Optimization
of Collective Communication Operations in MPICH", IJHPCA 2005, section 4.5)

    t(n, p) = 2 (p - 1) α + 2 (p - 1) / p · n β
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from recsys_lib.core.errors import InputError
from recsys_lib.cost import sizing
from recsys_lib.cost.architectures import architecture
from recsys_lib.cost.machines import Hardware, published

# The part of the computation during which gradients can be sent: the backward pass, two of three products.
BACKWARD = 2 / 3
# Bytes of a parameter in training with AdamW and 16-bit products: weight and gradient in 16 bits, weight and
# two moments in 32 (Rajbhandari et al., "ZeRO", SC 2020, section 3.1).
STATE_BYTES = 16
FLOPS_PER_PARAMETER = 6  # of a token: two of the forward pass, four of the backward pass


@dataclass(frozen=True)
class Network:
    """latency_s: α, of one round. bytes_per_s: 1/β, of each worker's link in one direction."""

    name: str
    latency_s: float
    bytes_per_s: float

    def all_reduce_s(self, n_bytes: float, workers: int) -> float:
        """Seconds to add up ``n_bytes`` of every worker, each of which then has the sum.

        >>> Network("1 GB/s", 0.001, 1e9).all_reduce_s(1e9, 2)
        1.002
        """
        _check(n_bytes, workers)
        return 2 * (workers - 1) * self.latency_s + sent_bytes(n_bytes, workers) / self.bytes_per_s


# Latencies of a round are assumed: 50 µs through TCP, 10 µs through remote memory access.
ETHERNET = Network("25 Gbit Ethernet", 50e-6, 25e9 / 8)
INFINIBAND = Network("400 Gbit InfiniBand", 10e-6, 400e9 / 8)


def sent_bytes(n_bytes: float, workers: int) -> float:
    """What each worker sends in a ring all-reduce of ``n_bytes``; it receives as much.

    >>> [sent_bytes(100, p) for p in (1, 2, 4)]
    [0.0, 100.0, 150.0]
    """
    _check(n_bytes, workers)
    return 2 * (workers - 1) / workers * n_bytes


def fitted(name: str, samples: Iterable[tuple[int, float, float]]) -> Network:
    """The network whose α and β explain all-reduce times best: ``(workers, bytes, seconds)`` each.

    Least squares of the relative errors, neither constant below 0, so that small messages count as much as
    large ones.

    Raises:
        InputError: fewer than two samples, or none that tells the bandwidth.
    """
    rows = np.array([s for s in samples if s[0] > 1], float).reshape(-1, 3)
    if len(rows) < 2 or not (rows[:, 2] > 0).all():
        raise InputError(f"{len(rows)} all-reduce times of at least 2 workers: expected 2 or more, above 0 s")
    workers, n_bytes, seconds = rows.T
    terms = np.stack([2 * (workers - 1), 2 * (workers - 1) / workers * n_bytes], axis=1)
    (latency, inverse), _ = nnls(terms / seconds[:, None], np.ones(len(rows)))
    if inverse <= 0:
        raise InputError("all-reduce times do not grow with the bytes: expected larger messages among them")
    return Network(name, float(latency), float(1 / inverse))


@dataclass(frozen=True)
class Job:
    """A step of training by one worker: seconds of computation, and bytes of gradients to add up."""

    name: str
    compute_s: float
    gradient_bytes: float

    def weak_s(self, workers: int, network: Network, overlap: float = 0.0) -> float:
        """Seconds of a step in which each worker computes as much as one alone does."""
        return self._step(self.compute_s, workers, network, overlap)

    def strong_s(self, workers: int, network: Network, overlap: float = 0.0) -> float:
        """Seconds of a step in which the workers share what one alone computes."""
        return self._step(self.compute_s / workers, workers, network, overlap)

    def weak_efficiency(self, workers: int, network: Network, overlap: float = 0.0) -> float:
        """Of each worker's time, the part in which it computes; 1 / this is the machine time that the same
        work takes, relative to one worker.
        """
        return self.compute_s / self.weak_s(workers, network, overlap)

    def strong_efficiency(self, workers: int, network: Network, overlap: float = 0.0) -> float:
        """The same where the workers share one worker's step."""
        return self.compute_s / workers / self.strong_s(workers, network, overlap)

    def _step(self, compute_s: float, workers: int, network: Network, overlap: float) -> float:
        if not 0 <= overlap <= 1:
            raise InputError(f"overlap={overlap!r}: expected a fraction of the backward pass, 0 to 1")
        sending = network.all_reduce_s(self.gradient_bytes, workers)
        return compute_s + max(0.0, sending - overlap * BACKWARD * compute_s)


def job_of(model: str, tokens: float, machine: Hardware, fraction: float, precision: str = "bfloat16") -> Job:
    """A step over ``tokens`` tokens of a published model (``data/models.toml``) on one machine, which reaches
    ``fraction`` of its peak: ``6 N`` operations a token (Kaplan et al., "Scaling Laws for Neural Language
    Models", 2020, section 2.1), gradients in the precision of the products.

    Raises:
        InputError: an unknown model or precision, or a fraction that is not above 0 and at most 1.
    """
    if not 0 < fraction <= 1 or tokens <= 0:
        raise InputError(f"fraction={fraction!r}, tokens={tokens!r}: expected 0 to 1, and above 0")
    parameters = sizing.parameters(architecture(model))
    operations = FLOPS_PER_PARAMETER * parameters * tokens
    seconds = operations / (machine.operations_per_s(precision) * fraction)
    return Job(model, seconds, parameters * (4.0 if precision == "float32" else 2.0))


def state_bytes(model: str, workers: int, sharded: bool) -> float:
    """Bytes that each worker holds of a model in training, activations left out; ``sharded``: each holds a
    part (ZeRO, stage 3).
    """
    whole = STATE_BYTES * float(sizing.parameters(architecture(model)))
    return whole / workers if sharded else whole


@dataclass(frozen=True)
class PublishedScaling:
    """A published efficiency, and the bracket of this model: gradients sent after the backward pass, and
    during it.
    """

    model: str
    workers: int
    published: float
    without_overlap: float
    with_overlap: float
    source: str

    @property
    def inside(self) -> bool:
        """Whether the published value lies between the two."""
        return self.without_overlap <= self.published <= self.with_overlap


def against_published() -> list[PublishedScaling]:
    """The rows ``scaling`` of ``data/published.toml`` beside the model's bracket."""
    found = []
    for row in published()["scaling"]:
        job = Job(row["model"], row["batch"] / row["images_per_s"], 4.0 * row["parameters"])
        network = Network(row["network"], INFINIBAND.latency_s, row["bits_per_s"] / 8)
        low, high = (job.weak_efficiency(row["workers"], network, overlap) for overlap in (0.0, 1.0))
        found.append(PublishedScaling(row["model"], row["workers"], row["value"], low, high, row["source"]))
    return found


def workers_at(job: Job, network: Network, efficiency: float, counts: Sequence[int]) -> int | None:
    """The largest of ``counts`` workers that share one step and keep this efficiency; None for none."""
    kept = [p for p in counts if job.strong_efficiency(p, network) >= efficiency]
    return max(kept, default=None)


def _check(n_bytes: float, workers: int) -> None:
    if n_bytes < 0 or workers < 1:
        raise InputError(f"n_bytes={n_bytes!r}, workers={workers!r}: expected at least 0 and 1")
