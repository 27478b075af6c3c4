"""What a decision rests on and nobody knows exactly, drawn many times: qualities, prices, utilization and
speed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from recsys_lib.core.errors import InputError
from recsys_lib.cost.assumptions import Assumptions
from recsys_lib.cost.deployment_options import OPTIONS, DeploymentOption
from recsys_lib.cost.deployments import Deployment, deployments
from recsys_lib.cost.services import Service

# Factors drawn evenly on a logarithmic scale. Prices: from a year's commitment to the most expensive offer
# of data/hardware.toml. Load: machines run at 50 to 85% of their throughput at the peak. Mean rate: 30 to
# 80% of the peak. Speed: all measured fractions of the roofline, within the factor by which the forecasts
# of ``validation`` miss.
RANGES: dict[str, tuple[float, float]] = {
    "cpu_price": (0.6, 1.25),
    "gpu_price": (0.45, 1.75),
    "max_load": (0.5 / 0.7, 0.85 / 0.7),
    "mean_to_peak": (0.6, 1.6),
    "speed": (0.5, 1.5),
}


@dataclass(frozen=True)
class MethodQuality:
    """How well a method ranks, and which deployment option serves it.

    deployment: name of an option of ``cost.OPTIONS``. warm, cold: NDCG@10 where items have interactions and
    among items without; None where not measured. warm_samples, cold_samples: bootstrap samples of the same,
    one value a draw of users and splits; draw i of every method is the same draw, so that differences are
    paired. Empty: the value is taken as exact.
    """

    deployment: str
    warm: float | None = None
    cold: float | None = None
    warm_samples: np.ndarray | Sequence[float] = ()
    cold_samples: np.ndarray | Sequence[float] = ()

    def __post_init__(self) -> None:
        for name in ("warm", "cold"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise InputError(
                    f"{self.deployment}: {name}={value!r}: expected an NDCG from 0 to 1, or None"
                )
            samples = np.asarray(getattr(self, f"{name}_samples"), dtype=np.float64)
            if samples.ndim != 1 or not np.isfinite(samples).all():
                raise InputError(f"{self.deployment}: {name}_samples: expected a list of finite numbers")
            object.__setattr__(self, f"{name}_samples", samples)


@dataclass(frozen=True)
class Draws:
    """What came out of ``n`` draws for ``m`` methods: dollars a month, qualities (NaN: not measured),
    whether each can serve, all ``[n, m]``, and the millions of lists a month ``[n]``. Row 0 is the base
    case: every value as given; ``deployments`` are its cheapest, ``[m]``.
    """

    names: tuple[str, ...]
    usd: np.ndarray
    warm: np.ndarray
    cold: np.ndarray
    able: np.ndarray
    millions: np.ndarray
    deployments: tuple[Deployment, ...]

    def quality(self, cold_share: float) -> np.ndarray:
        """NDCG@10 over all requests ``[n, m]``, of which ``cold_share`` concern cold items; NaN where a
        part is not measured.

        The two NDCG are of two protocols; their mean over requests weighs a list of cold items as a list of
        its own.
        """
        warm = self.warm * (1 - cold_share) if cold_share < 1 else 0.0
        cold = self.cold * cold_share if cold_share > 0 else 0.0
        return np.asarray(warm + cold)

    def net_usd(self, cold_share: float, usd_per_point: float) -> np.ndarray:
        """Dollars a month that quality earns less what it costs, ``[n, m]``; -inf where it cannot serve or
        was not measured.

        One hundredth of NDCG@10 earns ``usd_per_point`` per million lists.
        """
        net = 100 * self.quality(cold_share) * usd_per_point * self.millions[:, None] - self.usd
        return np.where(self.able & np.isfinite(net), net, -np.inf)


def options_of(methods: Mapping[str, MethodQuality]) -> list[DeploymentOption]:
    """The option that serves each method.

    Raises:
        InputError: no method, or a deployment that does not exist.
    """
    by_name = {one.name: one for one in OPTIONS}
    if not methods:
        raise InputError("no method: expected at least one with its measured quality")
    for name, quality in methods.items():
        if quality.deployment not in by_name:
            raise InputError(
                f"method {name!r}: deployment={quality.deployment!r}: expected one of {', '.join(by_name)}"
            )
    return [by_name[quality.deployment] for quality in methods.values()]


def draw(
    methods: Mapping[str, MethodQuality], service: Service, a: Assumptions, n: int = 200, seed: int = 0
) -> Draws:
    """``n`` draws of everything uncertain, the first the base case; qualities of all methods from the same
    resampled users.
    """
    chosen, rng = options_of(methods), np.random.default_rng(seed)
    measured = [q.warm is not None or q.cold is not None for q in methods.values()]
    # What was not measured can never be best: it is placed in the base case only.
    distinct = list(dict.fromkeys(one for one, known in zip(chosen, measured, strict=True) if known))
    usd, able = np.full((n, len(chosen)), np.nan), np.zeros((n, len(chosen)), dtype=bool)
    millions = np.empty(n)
    base: tuple[Deployment, ...] = ()
    for i in range(n):
        there, assumed = (service, a) if i == 0 else moved(service, a, _factors(rng))
        placed_once = list(dict.fromkeys(chosen)) if i == 0 else distinct
        found = dict(zip(placed_once, deployments(there, assumed, placed_once), strict=True))
        for j, one in enumerate(chosen):
            if one in found:
                usd[i, j], able[i, j] = found[one].usd_per_month, not found[one].problem
        millions[i] = there.lists_per_month / 1e6
        if i == 0:
            base = tuple(found[one] for one in chosen)
    picks = rng.random(n)
    warm, cold = (
        np.stack(
            [_sampled(getattr(q, name), getattr(q, f"{name}_samples"), picks) for q in methods.values()],
            axis=1,
        )
        for name in ("warm", "cold")
    )
    return Draws(tuple(methods), usd, warm, cold, able, millions, base)


def _factors(rng: np.random.Generator) -> dict[str, float]:
    return {
        name: float(np.exp(rng.uniform(np.log(low), np.log(high)))) for name, (low, high) in RANGES.items()
    }


def moved(service: Service, a: Assumptions, factors: Mapping[str, float]) -> tuple[Service, Assumptions]:
    """The service and the assumptions with some values multiplied: those of ``RANGES``, and any number of
    the service.
    """
    own = {"cpu_price", "gpu_price", "max_load"}
    fractions = {work: min(1.0, value * factors.get("speed", 1.0)) for work, value in a.fractions.items()}
    changed = a.change(
        **{name: min(value * getattr(a, name), 0.9 if name == "max_load" else np.inf)
           for name, value in factors.items() if name in own}
    )  # fmt: skip
    fields = {
        name: value * getattr(service, name)
        for name, value in factors.items()
        if name not in own and name != "speed"
    }
    for name in ("mean_to_peak", "cold_requests"):
        if name in fields:
            fields[name] = min(1.0, fields[name])
    return service.change(**fields), Assumptions(**{**vars(changed), "fractions": fractions})


def _sampled(value: float | None, samples: np.ndarray, picks: np.ndarray) -> np.ndarray:
    """One quality per draw: the value itself in the base case, then a bootstrap sample each."""
    if value is None:
        return np.full(len(picks), np.nan)
    if not len(samples):
        return np.full(len(picks), value)
    drawn = samples[(picks * len(samples)).astype(int)]
    drawn[0] = value
    return drawn
