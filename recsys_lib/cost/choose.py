"""Which option to choose for one catalogue and one traffic: ranked, in dollars, with what would change the
choice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from recsys_lib.core.errors import InputError
from recsys_lib.cost.assumptions import Assumptions
from recsys_lib.cost.deployment_options import DeploymentOption
from recsys_lib.cost.deployments import Deployment
from recsys_lib.cost.leads import Lead, lead, leads_of
from recsys_lib.cost.recorded_fractions import default_assumptions
from recsys_lib.cost.services import Service
from recsys_lib.cost.turning_points import TurningPoint, nearest_turning_points, points_towards
from recsys_lib.cost.uncertainty import MethodQuality, draw
from recsys_lib.cost.units import positive, two_digits

USD_PER_POINT = 10.0
# Two options are near duplicates that serve a request by the same work, at bills and qualities that differ by
# no more than these.
DUPLICATE_BILL = 0.02
DUPLICATE_NDCG = 0.002
# Names of tied options in a sentence.
MAX_TIES = 3


@dataclass(frozen=True)
class RankedOption:
    """One method, served at its cheapest.

    usd_per_month, usd_per_million: the bill, and the bill over a million lists; where ``is_bound`` the
    least it could be. p99_s: the 99th percentile of the latency at the peak. quality: NDCG@10 over all
    requests, None where a part was not measured. net_usd_per_month: what that quality earns less the bill,
    against a quality of 0. probability: of being the best under everything uncertain. problem: why it
    cannot serve, empty if it can; nearest: what would have to change.
    """

    name: str
    deployment: Deployment
    warm: float | None
    cold: float | None
    quality: float | None
    net_usd_per_month: float | None
    probability: float

    @property
    def usd_per_month(self) -> float:
        return self.deployment.usd_per_month

    @property
    def usd_per_million(self) -> float:
        return self.deployment.usd_per_million

    @property
    def p99_s(self) -> float:
        return self.deployment.p99_s

    @property
    def is_bound(self) -> bool:
        return self.deployment.basis == "bound"

    @property
    def problem(self) -> str:
        return self.deployment.problem

    @property
    def nearest(self) -> str:
        return self.deployment.nearest

    @property
    def usd_text(self) -> str:
        """The bill with two significant digits, and ≥ where it is a lower bound."""
        return ("≥ " if self.is_bound else "") + f"${two_digits(self.usd_per_month)}"


@dataclass(frozen=True)
class Decision:
    """The options from best to worst (those that cannot serve or were not measured last), and what to say
    about them.

    regret_usd_per_month: mean loss over all draws of taking the second best that is no near duplicate of the
    best instead of it; 0 where there is none. rival: the option that cannot be told apart from the best,
    None if the best is clear. rival_probabilities: of the best and of the rival, their near duplicates
    counted with them. sentence: for a manager. changes: the three numbers that would change the choice,
    nearest first; fewer where nothing else would. leads: of the best over each measured option that can
    serve, by its name.
    """

    ranked: tuple[RankedOption, ...]
    regret_usd_per_month: float
    sentence: str
    changes: tuple[str, ...]
    turning_points: tuple[TurningPoint, ...]
    service: Service
    usd_per_point: float
    rival: RankedOption | None = None
    rival_probabilities: tuple[float, float] = (1.0, 0.0)
    leads: Mapping[str, Lead] = field(default_factory=dict, repr=False)
    methods: Mapping[str, MethodQuality] = field(default_factory=dict, repr=False)

    @property
    def tied(self) -> tuple[RankedOption, ...]:
        """The options whose difference from the best has an interval that holds 0."""
        return tuple(o for o in self.ranked if o.name in self.leads and self.leads[o.name].tied)

    def lead(self, one: RankedOption, other: RankedOption) -> Lead | None:
        """How far one option leads another; None where one was not measured."""
        bills = one.usd_per_month, other.usd_per_month
        pair = self.methods[one.name], self.methods[other.name]
        return lead(*pair, bills, self.service, self.usd_per_point)

    @property
    def best(self) -> RankedOption | None:
        first = self.ranked[0]
        return first if first.net_usd_per_month is not None else None


def decide(
    methods: Mapping[str, MethodQuality],
    service: Service,
    usd_per_point: float = USD_PER_POINT,
    assumptions: Assumptions | None = None,
    draws: int = 200,
    seed: int = 0,
    among: str = "",
) -> Decision:
    """Rank methods by what their measured quality earns less what serving it costs.

    methods: name to its quality, with bootstrap samples, and the deployment option that serves it
    (``MethodQuality``; the names of options are those of ``cost.OPTIONS``: popularity, ItemKNN, EASE, EASE
    top 200, static vectors, MiniLM, ItemKNN + MiniLM, EASE + MiniLM map, ...). service: traffic, catalogue
    and limits. usd_per_point: US dollars that 0.01 NDCG@10 is worth per million lists. assumptions: planning
    values; by default those of this repository, with the fractions of the roofline that were measured.
    draws: of everything uncertain; 200 take two to three seconds. among: what the methods are, where others
    were left out, for the sentence.

    Raises:
        InputError: no method, an unknown deployment, or a number out of its range.

    >>> names = {"popularity": 0.21, "ItemKNN": 0.40}
    >>> methods = {name: MethodQuality(name, warm, 0.06) for name, warm in names.items()}
    >>> decision = decide(methods, Service(users=10_000, requests_per_s=5.0, items=20_000), draws=2)
    >>> decision.best.name, decision.best.usd_text
    ('ItemKNN', '$65')
    """
    positive("usd_per_point", usd_per_point, zero=True)
    if draws < 1:
        raise InputError(f"draws={draws!r}: expected at least 1")
    a = assumptions or default_assumptions()
    found = draw(methods, service, a, draws, seed)
    share = service.cold_share
    net, quality = found.net_usd(share, usd_per_point), found.quality(share)
    order, ranked = _ranked(methods, found.deployments, net, quality)
    others = _others(ranked)
    regret = _regret(net, order, others)
    points = nearest_turning_points(methods, service, a, usd_per_point) if np.isfinite(net[0]).any() else ()
    rival, chances = _rival(ranked, others, draws)
    leads = _leads(methods, ranked, service, usd_per_point)
    if rival:
        towards = points_towards(methods, service, a, usd_per_point, rival.name)
        sure = _rivals(ranked[0], rival, chances, usd_per_point, towards)
    else:
        sure = _clear(ranked[others[0]], chances[0], usd_per_point, leads, among) if others else ""
    sentence = _sentence(ranked, service) + sure + _ties(ranked, leads)
    told = ranked, regret, sentence, tuple(str(p) for p in points), points
    return Decision(*told, service, usd_per_point, rival, chances, leads, methods)


def _leads(
    methods: Mapping[str, MethodQuality],
    ranked: Sequence[RankedOption],
    service: Service,
    usd_per_point: float,
) -> dict[str, Lead]:
    """Of the best over each other option that can serve and was measured."""
    bills = {o.name: o.usd_per_month for o in ranked if o.net_usd_per_month is not None}
    return leads_of(methods, bills, ranked[0].name, service, usd_per_point) if bills else {}


def near_duplicates(one: RankedOption, other: RankedOption) -> bool:
    """Whether two options do the same work for nearly the same bill and quality, both with a language model
    or both without: which of these it is, is the question.
    """
    if one.quality is None or other.quality is None:
        return False
    works = one.deployment.option, other.deployment.option
    return (
        works[0].serves == works[1].serves
        and works[0].has_language_model == works[1].has_language_model
        and abs(one.usd_per_month / other.usd_per_month - 1) <= DUPLICATE_BILL
        and abs(one.quality - other.quality) <= DUPLICATE_NDCG
    )


def _others(ranked: Sequence[RankedOption]) -> list[int]:
    """The places of what can serve, is measured, and is neither the best nor a near duplicate of it."""
    return [
        place
        for place, one in enumerate(ranked)
        if place and one.net_usd_per_month is not None and not near_duplicates(ranked[0], one)
    ]


def _rival(
    ranked: Sequence[RankedOption], others: Sequence[int], draws: int
) -> tuple[RankedOption | None, tuple[float, float]]:
    """The option that the draws do not tell from the best, and in which parts of the draws each is best.

    Not told apart: the rival is best more often, or the difference of the two counts is within the 95%
    interval of ``draws`` paired draws.
    """
    if not others:
        return None, (1.0, 0.0)

    def chance(one: RankedOption) -> float:
        return sum(o.probability for o in ranked if o is one or near_duplicates(o, one))

    other = max((ranked[place] for place in others), key=lambda o: o.probability)
    p, q = chance(ranked[0]), chance(other)
    spread = 1.96 * ((p + q - (p - q) ** 2) / draws) ** 0.5
    return (other if q > 0 and p - q <= spread else None), (p, q)


def _ranked(
    methods: Mapping[str, MethodQuality],
    deployments: Sequence[Deployment],
    net: np.ndarray,
    quality: np.ndarray,
) -> tuple[list[int], tuple[RankedOption, ...]]:
    """The methods from best to worst in the base case, and their order as indices."""
    leads = (net == net.max(axis=1, keepdims=True)) & np.isfinite(net)
    probability = (leads / np.maximum(leads.sum(axis=1, keepdims=True), 1)).mean(axis=0)
    options = []
    for i, (name, one) in enumerate(zip(methods, deployments, strict=True)):
        value, earned = _number(quality[0, i]), _number(net[0, i])
        q = methods[name]
        options.append(RankedOption(name, one, q.warm, q.cold, value, earned, float(probability[i])))
    order = sorted(range(len(options)), key=lambda i: (-net[0, i], options[i].usd_per_month))
    return order, tuple(options[i] for i in order)


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _regret(net: np.ndarray, order: Sequence[int], others: Sequence[int]) -> float:
    """Mean loss of the best of the others against the best, over the draws in which both can serve."""
    if not others:
        return 0.0
    best, second = net[:, order[0]], net[:, order[others[0]]]
    both = np.isfinite(best) & np.isfinite(second)
    return float((best[both] - second[both]).mean())


def _sentence(ranked: tuple[RankedOption, ...], service: Service) -> str:
    """What to tell a manager: the choice with its bill, wait and quality."""
    best = ranked[0]
    asked = f"{service.items:,} items and {service.requests_per_s:g} lists a second at the peak"
    if best.net_usd_per_month is None:
        closest = min(ranked, key=lambda o: o.p99_s)
        why = (
            f"{closest.name}: {closest.problem}; it needs {closest.nearest}"
            if closest.problem
            else "none was measured"
        )
        return f"No option measured can serve {asked} ({why})."
    assert best.quality is not None
    return (
        f"For {asked}, use {best.name}: about {best.usd_text} a month "
        f"(${two_digits(best.usd_per_million)} per million lists), "
        f"p99 {best.p99_s * 1e3:,.0f} ms (modelled), NDCG@10 {best.quality:.3f}."
    )


def _rivals(
    best: RankedOption,
    rival: RankedOption,
    chances: tuple[float, float],
    usd_per_point: float,
    towards: Sequence[TurningPoint],
) -> str:
    """That two options are not told apart, and what would settle it."""
    text = (
        f" {best.name} ({best.usd_text}) and {rival.name} ({rival.usd_text}) cannot be told apart at "
        f"${usd_per_point:g} a point: best in {chances[0]:.0%} and {chances[1]:.0%} of the draws, near "
        "duplicates counted with each"
    )
    if not towards:
        return text + "."
    where = []
    for point in towards:
        value = two_digits(point.value)
        value = f"${value} a point" if point.number == "usd_per_point" else f"{value} items"
        where.append(f"{point.side} {value}")
    return f"{text}; {' or '.join(where)} {rival.name} leads."


def _clear(
    second: RankedOption, chance: float, usd_per_point: float, leads: Mapping[str, Lead], among: str
) -> str:
    """How sure the choice is, and what the second best would lose."""
    return (
        f" It is the best with probability {chance:.0%}{f' {among}' if among else ''}, near duplicates "
        f"counted with it, if 0.01 NDCG is worth ${usd_per_point:g} per million lists; "
        f"{second.name} at {second.usd_text} is second, and choosing it would lose about "
        f"{leads[second.name]}."
    )


def _ties(ranked: Sequence[RankedOption], leads: Mapping[str, Lead]) -> str:
    """Which options the qualities do not tell from the best, if any."""
    tied = [o.name for o in ranked if o.name in leads and leads[o.name].tied]
    if not tied:
        return ""
    more = f" and {len(tied) - MAX_TIES} more" if len(tied) > MAX_TIES else ""
    names = f"{'; '.join(tied[:MAX_TIES])}{more}"
    return f" Not decided, as the interval of the difference holds 0: against {names}."


def quality_needed(decision: Decision) -> dict[str, float]:
    """NDCG@10 over all requests that each option without a measured quality would need to be as good as the
    best; above 1 it cannot be.
    """
    best = decision.best
    if best is None or best.net_usd_per_month is None or not decision.usd_per_point:
        return {}
    per_unit = 100 * decision.usd_per_point * decision.service.lists_per_month / 1e6
    return {
        o.name: (best.net_usd_per_month + o.usd_per_month) / per_unit
        for o in decision.ranked
        if o.quality is None
    }


def with_and_without(
    decision: Decision,
) -> tuple[RankedOption | None, RankedOption | None, RankedOption | None]:
    """The best option with a language model, the best that reads text without one, and the best without
    text; None where none can serve.
    """

    def first(test: Callable[[DeploymentOption], bool]) -> RankedOption | None:
        able = (o for o in decision.ranked if o.net_usd_per_month is not None)
        return next((o for o in able if test(o.deployment.option)), None)

    return (
        first(lambda o: o.has_language_model),
        first(lambda o: bool(o.encoders) and not o.has_language_model),
        first(lambda o: not o.encoders),
    )


def served_alike(decision: Decision, model: RankedOption) -> RankedOption | None:
    """The best option that reads text without a language model and serves a request by the same work as
    ``model``; None where there is none.
    """
    for one in decision.ranked:
        option = one.deployment.option
        reads = bool(option.encoders) and not option.has_language_model
        if reads and one.net_usd_per_month is not None and option.serves == model.deployment.option.serves:
            return one
    return None
