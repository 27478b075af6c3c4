"""Sentences of a decision whose numbers are computed: titles of figures and takeaways."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from recsys_lib.cost.choose import Decision, RankedOption, served_alike, with_and_without
from recsys_lib.cost.decision_map import DecisionMap, TornadoRow
from recsys_lib.cost.deployment_options import DeploymentOption
from recsys_lib.cost.deployments import Deployment
from recsys_lib.cost.leads import Lead
from recsys_lib.cost.units import two_digits
from recsys_lib.cost.validation import HTTP, Check, summary

# Rows of the tornado that are drawn.
TORNADO_ROWS = 10


def map_title(name: str, found: DecisionMap) -> str:
    """What the map shows: how much of it the first option covers."""
    share = float((found.best == found.names.index(found.winners[0])).mean())
    some = f"{len(found.winners)} options lead somewhere"
    return f"{name}: {found.winners[0]} leads in {share:.0%} of the map; {some}"


def regret_title(found: DecisionMap) -> str:
    """What the second best loses, in the median, and where that is not decided."""
    lost, tied = two_digits(float(np.median(found.regret))), float(found.tied.mean())
    return (
        f"The second best loses ${lost} per million lists in the median; in {tied:.0%} of the map the two "
        "are tied"
    )


def quality_title(name: str, decision: Decision) -> str:
    """What the best option reaches, at which bill, and with which others it is tied."""
    best = decision.best
    if best is None:
        return f"{name}: no option measured can serve"
    return (
        f"{name}: {best.name} reaches NDCG@10 {best.quality:.3f} for {best.usd_text} a month{_tied(decision)}"
    )


def _tied(decision: Decision) -> str:
    """With how many options the best is tied, to be added to a sentence."""
    n = len(decision.tied)
    return f", tied with {n} other{'s' if n > 1 else ''}" if n else ""


def services_title(placed: Mapping[str, Sequence], expensive: str, cheap: str, subject: str) -> str:
    """How many times as much one option costs as another, over all services; ``subject`` names the first
    in words.
    """
    ratios = []
    for deployments in placed.values():
        by = {one.name: one.usd_per_month for one in deployments}
        ratios.append(by[expensive] / by[cheap])
    low, high = two_digits(min(ratios)), two_digits(max(ratios))
    return f"{subject} costs {low} to {high} times as much as {cheap}"


def dollars_label(placed: Mapping[str, Sequence[Deployment]], shown: Sequence[str]) -> str:
    """The label of the axis, which explains the arrows where there are any."""
    bounds = any(one.basis == "bound" for row in placed.values() for one in row if one.name in shown)
    return "USD per million lists" + (" (arrow: a lower bound)" if bounds else "")


def tornado_title(rows: Sequence[TornadoRow], decision: Decision) -> str:
    """How many of the inputs shown change the choice, and with how many options the best is tied."""
    rows, best = rows[:TORNADO_ROWS], f"{decision.ranked[0].name}{_tied(decision)}"
    best += "," if decision.tied else ""
    flips = sum(row.flips for row in rows)
    says = (
        f"gives way to another option with {flips} of the {len(rows)} inputs shown"
        if flips
        else "stays the best"
    )
    return f"{best} {says}"


def forecasts_title(groups: Mapping[str, Sequence[Check]]) -> str:
    """Median and worst factor over all checks, those of waiting over HTTP apart."""
    every = [check for name, checks in groups.items() if name != HTTP for check in checks]
    middle, worst = summary(every)
    title = (
        f"Over {len(every)} checks, forecasts are off by a factor of {middle:.2f} in the median and "
        f"{worst:.1f} at worst"
    )
    if HTTP in groups:
        middle, worst = summary(groups[HTTP])
        title += f"; p99 over HTTP on shared cores by {middle:.1f} and {worst:.0f}"
    return title


def takeaways(decisions: Mapping[str, Decision], groups: Mapping[str, Sequence[Check]]) -> list[str]:
    """What each service should do, what a language model adds there, what one list changes, and how far to
    trust the numbers.
    """
    found = [_service(name, decision) for name, decision in decisions.items()]
    return [*found, *one_list(decisions), *_misses(groups)]


def with_quality_of(protocol: str, decisions: Mapping[str, Decision]) -> str:
    """The choice for each service where quality is that of another catalogue, and whether a language model
    is worth anything there.
    """
    parts = []
    for name, decision in decisions.items():
        model, cheap, _ = with_and_without(decision)
        if decision.best:
            worth = _worth(decision, model, cheap) if model else ""
            parts.append(f"{name}: {decision.best.name} at {decision.best.usd_text} a month.{worth}")
    return f"With the quality on {protocol}: {' '.join(parts)}"


def _service(name: str, decision: Decision) -> str:
    model, cheap, without = with_and_without(decision)
    best = decision.best
    if best is None or without is None:
        return f"{name}: {decision.sentence}"
    sure = f"the best with probability {decision.rival_probabilities[0]:.0%}, near duplicates counted"
    if decision.rival:
        ours, theirs = decision.rival_probabilities
        sure = (
            f"not to be told apart from {decision.rival.name} at {decision.rival.usd_text} "
            f"(best in {ours:.0%} and {theirs:.0%} of the draws)"
        )
    text = f"{name}: {best.name} at {best.usd_text} a month, {sure}{_tied(decision)}."
    if model is None:
        return text
    for one in _alike(decision, model):
        text += _worth(decision, one, served_alike(decision, model) or cheap)
    return text + _worth(decision, model, without)


def _alike(decision: Decision, model: RankedOption) -> list[RankedOption]:
    """The options whose language model reads items beside EASE and that serve a request by the same work."""
    of_model = model.deployment.option
    return [
        one
        for one in decision.ranked
        if one.net_usd_per_month is not None
        and (option := one.deployment.option).has_language_model
        and (option.kind, option.serves, option.one_list) == (of_model.kind, of_model.serves, False)
    ]


def _worth(decision: Decision, model: RankedOption, other: RankedOption | None) -> str:
    """What one option adds over another: with its interval, and not decided where that holds 0."""
    by = decision.lead(model, other) if other else None
    if other is None or by is None:
        return ""
    says = "not decided" if by.tied else "worth more" if by.usd_per_month > 0 else "worth less"
    return f" {model.name} against {other.name}: {says}, {by}."


def one_list(decisions: Mapping[str, Decision]) -> list[str]:
    """What the map adds to EASE where cold items have a place of their own, and where both compete in one
    list; empty where that was not measured.
    """
    said, left = [], []
    for name, decision in decisions.items():
        own, one = (
            [o for o in decision.ranked if o.deployment.option.one_list is kind] for kind in (False, True)
        )
        apart, joint = _map_adds(decision, own), _map_adds(decision, one)
        if apart and joint and apart.usd_per_month > 0:
            left.append(joint.usd_per_month / apart.usd_per_month)
            undecided = " (not decided)" if joint.tied else ""
            said.append(f"{name} {apart} with a list of their own, {joint}{undecided} in one list")
    if not said:
        return []
    least, most = f"{min(left):.0%}", f"{max(left):.0%}"
    kept = most if least == most else f"{least} to {most}"
    return [
        f"What the best map adds to EASE top 200 depends on where cold items are shown: {'; '.join(said)}. "
        f"By point estimates one list, with or without places kept for cold items, leaves {kept} of "
        "the gain; there the baseline is EASE top 200 in one list, too."
    ]


def _map_adds(decision: Decision, options: Sequence[RankedOption]) -> Lead | None:
    """How far the best map whose weights are looked up leads EASE alone, both among ``options``; None without
    them.
    """
    able = [o for o in options if o.net_usd_per_month is not None and _looks_up_ease(o.deployment.option)]
    mapped = next((o for o in able if o.deployment.option.encoders), None)
    alone = next((o for o in able if not o.deployment.option.encoders), None)
    return decision.lead(mapped, alone) if mapped and alone else None


def _looks_up_ease(option: DeploymentOption) -> bool:
    return option.serves == ("lookup",) and "ease" in option.fits and not option.reranker


def _misses(groups: Mapping[str, Sequence[Check]]) -> list[str]:
    """How far the forecasts miss, by kind, and what is not validated."""
    each = {name: summary(checks) for name, checks in groups.items()}
    kinds = (f"{name} {m:.2f} and {w:.1f} ({len(groups[name])} checks)" for name, (m, w) in each.items())
    lines = [f"The cost model is off by a factor, median and worst: {'; '.join(kinds)}."]
    if HTTP in groups:
        low = sum(check.ratio < 1 for check in groups[HTTP])
        lines.append(
            f"A p99 over HTTP is not validated: {low} of {len(groups[HTTP])} forecasts are too low where two "
            "cores carry server and client."
        )
    return lines
